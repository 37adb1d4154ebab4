"""What must be true after every round. The truth about what the agent accepted is a ledger that
triggers write in the spool's own transactions; it is compared with the rows of the server's store."""
import hashlib
import json
import os
import sqlite3
import subprocess

from harness import ENGINE, admin, gateway
from pages import wait_for
from world import Broken, Zstd

MARK = "-- next --"
TELEMETRY, EVENTS = 1, 2
PLACES_S = 20
ALLOWED_SEND = ("agentgateway.v1.AgentAdminService/SendCommand", "agentgateway.v1.AgentAdminService/RotateAgentKey")


class Store:
    """Several questions to the server's database, answered as of one moment."""

    def __init__(self, server):
        self.server = server

    def ask(self, *questions):
        return self._postgres(questions) if ENGINE == "postgresql" else self._sqlite(questions)

    def _sqlite(self, questions):
        connection = sqlite3.connect(f"file:{self.server.database.path}?mode=ro", uri=True, timeout=20, isolation_level=None)
        try:
            connection.execute("BEGIN")
            return [[tuple("" if value is None else value for value in row) for row in connection.execute(sql)]
                    for sql in questions]
        finally:
            connection.close()

    def _postgres(self, questions):
        script = "SET app.workspace_id = 'all';\nBEGIN ISOLATION LEVEL REPEATABLE READ;\n" + "".join(
            f"{sql};\n\\echo {MARK}\n" for sql in questions)
        run = subprocess.run(["psql", "-X", "-q", "-At", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", self.server.database.url],
                             input=script, capture_output=True, text=True, timeout=30, check=False)
        if run.returncode != 0:
            raise Broken(f"psql: {run.stderr}")
        parts = run.stdout.split(MARK + "\n")[:-1]
        return [[tuple(line.split("\x1f")) for line in part.splitlines()] for part in parts]


def _hex(column):
    return f"encode({column}, 'hex')" if ENGINE == "postgresql" else f"lower(hex({column}))"


class Ledger:
    """What the agent's spool has accepted, and how much of it was checked."""

    def __init__(self, agent):
        self.agent = agent
        self.zstd = Zstd()
        self.next = dict(agent.query("SELECT stream, next_sequence FROM stream"))
        self.seen = 0

    def new_records(self):
        rows = self.agent.query("SELECT id, stream, sequence, format, compression, payload FROM chaos_ledger "
                                f"WHERE id > {self.seen} ORDER BY stream, sequence")
        if rows:
            self.seen = max(row[0] for row in rows)
        return [(stream, sequence, self._unpack(form, compression, payload))
                for _, stream, sequence, form, compression, payload in rows]

    def _unpack(self, form, compression, payload):
        data = self.zstd.decompress(payload) if compression == gateway.PAYLOAD_COMPRESSION_ZSTD else payload
        kind = gateway.EventBatch if form == gateway.PAYLOAD_FORMAT_EVENT_BATCH else gateway.TelemetryBatch
        return kind.FromString(data)


def _events(batches):
    return [(one.time_us, int(one.severity), one.kind, one.text, tuple(sorted(one.attributes.items())))
            for batch in batches for one in batch.events]


def _samples(batches):
    found = {}
    for batch in batches:
        for one in batch.samples:
            series = batch.series[one.series]
            found[(series.metric, series.device, series.instance, one.time_us)] = one.value
    return found


def _is_within(some, all_of_them):
    """In the same order, with others between."""
    rest = iter(all_of_them)
    return all(one in rest for one in some)


class Check:
    """Begins while the agent is away and its spool is empty."""

    def __init__(self, world):
        self.world = world
        self.store = Store(world.server)
        self.ledger = Ledger(world.agent)
        self.last_event = self.last_command = 0
        self.samples = 0
        self.chain = {0: (0, b""), 1: (0, b"")}  # workspace -> (sequence, hash)
        self.orders = {}      # audit target -> how many allowed orders
        self.acknowledged = {}
        self.sessions = 0
        self.started = {}     # command id -> how often the agent began it
        self.identified = 0   # times that the agent says it did
        self.effects = 0      # events that identifying leaves
        self.owed = 0         # orders that must have a row
        self._begin()

    def _begin(self):
        """What was there before the first round."""
        agent = self.world.agent_id
        event, samples = self.store.ask(f"SELECT COALESCE(MAX(id), 0) FROM event WHERE agent_id = {agent}",
                                        self._sample_count())
        self.last_event = int(event[0][0])
        self.samples = int(samples[0][0])
        for line in self.world.agent.tail.lines():
            self._note(line)

    def _sample_count(self):
        return ("SELECT COUNT(*) FROM sample p JOIN series s ON s.workspace_id = p.workspace_id AND s.id = p.series_id "
                f"WHERE s.agent_id = {self.world.agent_id}")

    def _note(self, line):
        if '"event":"command_started"' in line:
            command = json.loads(line)["command"]
            self.started[command] = self.started.get(command, 0) + 1
        elif '"event":"identify"' in line:
            self.identified += 1

    def run(self, sent, may_fail, loose=()):
        """loose: streams whose records may have reached the store from the agent's memory, without the ledger's knowledge.
        may_fail: the round lets commands end without success (their agent died, or its disk was full)."""
        agent = self.world.agent_id
        records = self.ledger.new_records()
        telemetry = _samples(batch for stream, _, batch in records if stream == TELEMETRY)
        times = sorted({key[3] for key in telemetry}) or [0]
        answers = self._ask_when_audit_is_placed(
            f"SELECT telemetry_sequence, events_sequence, session_epoch FROM agent WHERE id = {agent}",
            f"SELECT id, time_us, severity, kind, text, attributes FROM event WHERE agent_id = {agent} "
            f"AND id > {self.last_event} ORDER BY id",
            "SELECT s.metric, s.device, s.instance, p.time_us, p.value FROM sample p JOIN series s "
            f"ON s.workspace_id = p.workspace_id AND s.id = p.series_id WHERE s.agent_id = {agent} "
            f"AND p.time_us IN ({','.join(map(str, times))})",
            self._sample_count(),
            f"SELECT id, sequence, state, kind, code, error_message FROM command WHERE agent_id = {agent} "
            f"AND sequence > {self.last_command} ORDER BY sequence",
            f"SELECT workspace_id, sequence, action, target, decision, record, {_hex('hash')}, actor FROM audit "
            f"WHERE {self._new_audit()} ORDER BY workspace_id, sequence",
            "SELECT COUNT(*) FROM upload",
            f"SELECT id, audit_sequence, {_hex('audit_hash')} FROM workspace")
        for line in self.world.agent.tail.lines():
            self._note(line)
        self._check_spool()
        self._check_marks(records, answers[0][0], loose)
        self._check_events(records, answers[1], EVENTS in loose)
        self._check_samples(telemetry, answers[2], answers[3], TELEMETRY in loose)
        if int(answers[6][0][0]) != 0:
            raise Broken("the server kept records that it could not decode")
        self._check_audit(answers[5], answers[7], answers[0][0])
        self._check_commands(answers[4], sent, may_fail)

    def _ask_when_audit_is_placed(self, *questions):
        """On PostgreSQL a record gets its place in the chain a moment after its commit; whatever died meanwhile."""
        answers = []

        def ask():
            answers[:] = self.store.ask(*questions, "SELECT COUNT(*) FROM audit WHERE sequence < 0")
            return int(answers.pop()[0][0]) == 0
        if not wait_for(ask, PLACES_S):
            raise Broken("audit records wait for their places")
        return answers

    def _new_audit(self):
        return " OR ".join(f"(workspace_id = {workspace} AND sequence > {at[0]})" for workspace, at in self.chain.items())

    def _check_spool(self):
        rows = self.world.agent.query("SELECT stream, dropped_records, quarantined FROM stream")
        if any(row[1:] != (0, 0) for row in rows):
            raise Broken(f"the spool dropped or quarantined records: {rows}")
        aside = [name for name in os.listdir(self.world.agent.state) if ".corrupt-" in name]
        if aside:
            raise Broken(f"the spool was damaged and set aside: {aside}")

    def _check_marks(self, records, marks, loose):
        for stream, mark in ((TELEMETRY, marks[0]), (EVENTS, marks[1])):
            skips = stream in loose
            for sequence in [one[1] for one in records if one[0] == stream]:
                if skips and sequence < self.ledger.next[stream]:
                    continue  # stored from memory before it came to disk; that it is the same one shows below
                if sequence != self.ledger.next[stream] and not (skips and sequence > self.ledger.next[stream]):
                    raise Broken(f"stream {stream}: record {sequence} where {self.ledger.next[stream]} should be: a gap")
                self.ledger.next[stream] = sequence + 1
            if skips and int(mark) >= self.ledger.next[stream]:
                self.ledger.next[stream] = int(mark) + 1
            if int(mark) != self.ledger.next[stream] - 1:
                raise Broken(f"stream {stream}: the server's mark is {mark}, accepted through {self.ledger.next[stream] - 1}")

    def _check_events(self, records, rows, loose):
        wanted = _events(batch for stream, _, batch in records if stream == EVENTS)
        stored = [(int(row[1]), int(row[2]), row[3], row[4], tuple(sorted(json.loads(row[5]).items()))) for row in rows]
        if wanted != stored and not (loose and _is_within(wanted, stored) and len(set(stored)) == len(stored)):
            lost = [one for one in wanted if one not in stored]
            extra = [one for one in stored if one not in wanted]
            raise Broken(f"events: {len(wanted)} accepted, {len(stored)} stored; lost {lost[:3]}, not accepted {extra[:3]}")
        if rows:
            self.last_event = int(rows[-1][0])
        self.effects += sum(1 for one in wanted if one[2] == "device.action")

    def _check_samples(self, wanted, rows, count, loose):
        stored = {(row[0], row[1], row[2], int(row[3])): float(row[4]) for row in rows}
        if wanted != stored and not (loose and wanted.items() <= stored.items()):
            lost = [key for key in wanted if stored.get(key) != wanted[key]]
            raise Broken(f"samples: {len(wanted)} accepted, {len(stored)} stored; lost or changed {lost[:3]}")
        self.samples = int(count[0][0]) if loose else self.samples + len(wanted)
        if int(count[0][0]) != self.samples:
            raise Broken(f"samples: {count[0][0]} in the store, {self.samples} were accepted")

    def _check_audit(self, rows, heads, agent_row):
        for workspace, sequence, action, target, decision, record, digest, actor in rows:
            workspace, sequence = int(workspace), int(sequence)
            before, previous = self.chain[workspace]
            if sequence != before + 1:
                raise Broken(f"audit of workspace {workspace}: {sequence} follows {before}")
            if audit_hash(previous, sequence, record) != digest:
                raise Broken(f"audit of workspace {workspace}: the chain breaks at {sequence}")
            self.chain[workspace] = (sequence, bytes.fromhex(digest))
            if action in ALLOWED_SEND and decision == "allowed" and target.startswith("command/"):
                self.orders[target[8:]] = self.orders.get(target[8:], 0) + 1
            elif action == "command.acknowledged" and actor == f"agent:{self.world.agent_id}":
                self.acknowledged[target[8:]] = self.acknowledged.get(target[8:], 0) + 1
            elif action == "agent.session_begun" and target == f"agent/{self.world.agent_id}":
                self.sessions += 1
        for workspace, sequence, digest in heads:
            at = self.chain[int(workspace)]
            if (int(sequence), digest) != (at[0], at[1].hex()):
                raise Broken(f"audit of workspace {workspace}: its head is {sequence}, the chain ends at {at[0]}")
        if self.sessions != int(agent_row[2]):
            raise Broken(f"audit: {self.sessions} sessions begun, the epoch is {agent_row[2]}")

    def _check_commands(self, rows, sent, may_fail):
        known = {one.id for one in sent}
        for identifier, sequence, state, kind, code, error in rows:
            sequence, state = int(sequence), int(state)
            if sequence != self.last_command + 1:
                raise Broken(f"command {sequence} follows {self.last_command}")
            self.last_command = sequence
            known.discard(identifier)
            self._check_command(identifier, state, f"{identifier} ({kind}, code {code}, {error!r})", may_fail)
        if known:
            raise Broken(f"commands that were acknowledged to the operator have no row: {known}")
        if not self.effects <= self.identified <= len(self.started):
            raise Broken(f"{self.effects} effects of {self.identified} actions of {len(self.started)} commands")

    def _check_command(self, identifier, state, what, may_fail):
        if state in (admin.COMMAND_STATE_QUEUED, admin.COMMAND_STATE_SENT):
            raise Broken(f"still open: {what}")
        begun = self.started.get(identifier, 0)
        if begun > 1:
            raise Broken(f"begun {begun} times: {what}")
        if state == admin.COMMAND_STATE_SUCCEEDED and begun != 1:
            raise Broken(f"succeeded and was never begun: {what}")
        if state != admin.COMMAND_STATE_SUCCEEDED and not may_fail:
            raise Broken(f"state {state} without a reason: {what}")
        if self.orders.get(identifier, 0) != 1:
            raise Broken(f"{self.orders.get(identifier, 0)} audit records of the order: {what}")
        ended = state in (admin.COMMAND_STATE_SUCCEEDED, admin.COMMAND_STATE_FAILED)
        if self.acknowledged.get(identifier, 0) != (1 if ended else 0):
            raise Broken(f"{self.acknowledged.get(identifier, 0)} audit records of the end: {what}")


def audit_hash(previous, sequence, record):
    state = hashlib.sha256()
    for part in (b"belay.audit.v2", previous, sequence.to_bytes(8, "big"), record.encode()):
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()
