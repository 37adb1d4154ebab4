"""The faults. A round is: some load, one fault in the midst of it, mending, waiting until everything
has come to rest, and the check. What a round does follows from the seed and its number alone."""
import os
import random
import re
import time

import harness
import small_disk
from check import EVENTS, TELEMETRY
from harness import ENGINE, ROOT, admin, gateway, grpc
from network import why_not
from pages import FaultPage, wait_for
from world import Broken

STEP_S = 5       # until a step is reached, for each of so many loads; then the round has failed
STEP_LOADS = 6
SETTLE_S = 90
COMMANDS_MAX = 5
DELAY_S = 2
POINT = re.compile(r'FAULT_POINT\("([a-z._]+)"\)')

# What makes a step come by; every other one is passed by commands and their telemetry.
# An agent that comes back has its token: only a new key makes it prove itself anew.
HANDSHAKE = ("agent.challenge.", "agent.session.", "agent.marks.", "server.challenge.", "server.session.", "agent.key.")
STEP_LOAD = [(("agent.enrollment.", "server.registration."), "enroll"), (HANDSHAKE, "rotate"),
             (("agent.config.",), "config"), (("server.hello.",), "drain")]
# Steps between a commit and its answer: where an acknowledgement can be lost.
ANSWERS = ("server.batch.stored", "server.ack.stored", "server.challenge.stored", "server.session.stored",
           "server.command.sent", "server.command.marked", "server.hello.stored")
# A held writer keeps the embedded database's one write lock, so only steps outside a transaction.
LATE = ("server.batch.taken", "server.batch.stored", "server.ack.received", "server.ack.stored")
DATABASE_STEPS = ("server.work.uncommitted", "server.work.committed", "server.batch.unstored", "server.batch.taken",
                  "server.ack.received", "server.audit.unplaced", "server.audit.placed")


def steps():
    """Every named step of the two programs, from their source; those of sandboxes have test_sandboxes_real.py,
    those of images tests/agent/test_images.py, those of loans tests/component/agent_guest."""
    found = set()
    for folder in ("common", "cmd"):
        for where, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(".c"):
                    with open(os.path.join(where, name), encoding="utf-8") as file:
                        found.update(POINT.findall(file.read()))
    elsewhere = ["agent.sandbox.", "agent.image.", "agent.loan."]
    if ENGINE != "postgresql":
        elsewhere.append("server.audit.")  # there a record gets its place with its effect
    return sorted(step for step in found if not step.startswith(tuple(elsewhere)))


def step_load(step):
    for prefixes, load in STEP_LOAD:
        if step.startswith(prefixes):
            return load
    return "commands"


class Round:
    """One round under way."""

    def __init__(self, world, check, number, seed, what):
        self.world = world
        self.check = check
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.kind, self.step = what
        self.sent = []
        self.may_fail = False
        self.loose = set(world.agent.in_memory)  # streams that the agent may send from its memory
        self.notes = {}

    def key(self):
        return f"{self.number}-{len(self.sent)}-{self.world.directory[-8:]}"

    def send(self, kind):
        self.sent.append(self.world.send(kind, self.key()))

    def commands(self, least=1):
        """The first one makes a record for sure."""
        for i in range(self.random.randint(least, COMMANDS_MAX)):
            self.send(self.random.choice(("identify", "identify", "telemetry", "telemetry", "config")[:5 if i else 4]))

    def load(self, what):
        if what == "rotate":
            self.world.call("RotateAgentKey", admin.RotateAgentKeyRequest(agent="subject"))
        elif what in ("config", "drain"):
            self.send(what)
        self.commands(2)

    def pause(self, longest=0.06):
        time.sleep(self.random.uniform(0, longest))

    def run(self):
        starts = self.world.agent.starts
        FAULTS[self.kind](self)
        self.world.mend()
        self.world.settle(self.sent, SETTLE_S)
        if self.world.agent.delay_s > 0:
            self.loose.add(TELEMETRY)
        self.check.run(self.sent, self.may_fail, self.loose)
        if self.world.agent.starts != starts and self.kind != "agent-disk-full":
            self.world.agent.in_memory = set()

    def prepare(self):
        """Of each hundred rounds the second half lets samples wait in memory."""
        agent = self.world.agent
        delay_s = DELAY_S if self.number % 100 >= 50 else 0
        if agent.delay_s != delay_s:
            agent.delay_s = delay_s
            agent.kill()
            agent.start()
            self.world.settle([], SETTLE_S)
            self.check.run([], True, {TELEMETRY} | agent.in_memory)
            agent.in_memory = set()

    def restart_agent(self):
        self.world.agent.kill()
        self.world.agent.start()
        self.may_fail = True

    def restart_server(self):
        self.world.kill_server()
        self.notes["back"] = self.world.restart_server()


def agent_kill(one):
    one.commands()
    one.pause()
    one.restart_agent()


def server_kill(one):
    one.commands()
    one.pause()
    one.restart_server()


def both_kill(one):
    one.commands()
    one.pause()
    for end in one.random.sample((one.world.agent.kill, one.world.kill_server), 2):
        end()
        one.pause(0.02)
    one.may_fail = True
    for begin in one.random.sample((one.world.agent.start, one.world.restart_server), 2):
        begin()


def ends_if_fired(victim):
    """Whether it has reached its step; then it is on its way out, which takes a while on a busy machine."""
    fired = victim.controls.fault.fired
    if fired:
        victim.process.wait(SETTLE_S)
    return fired


def reach(one, load, is_there):
    """Loads until the step is reached: one may come too late for it, as a key that is being changed already."""
    return any(one.load(load) or wait_for(is_there, STEP_S) for _ in range(STEP_LOADS))


def step_kill(one):
    """The program ends itself with SIGKILL at the named step."""
    load = step_load(one.step)
    if load == "enroll":
        enroll(one)
        return
    server_dies = one.step.startswith("server.")
    victim = one.world.server if server_dies else one.world.agent
    victim.controls.fault.arm(one.step, FaultPage.KILL, one.random.choice((0, 0, 1)) if load == "commands" else 0)
    one.may_fail = not server_dies
    reach(one, load, lambda: not victim.is_running())
    one.notes["fired"] = ends_if_fired(victim)
    victim.controls.disarm()
    if victim.is_running():
        raise Broken(f"{one.step} was not reached")
    if server_dies:
        one.restart_server()
    else:
        victim.process.wait()
        victim.start()


def enroll(one):
    """A new agent, killed (or its server) while it enrolls; then it is there, once."""
    world = one.world
    token = world.ask("CreateEnrollmentToken", admin.CreateEnrollmentTokenRequest(auto_confirm=True))
    name = f"joiner-{one.number}"
    joiner = world.new_agent(name)
    join = os.path.join(joiner.directory, "join")
    with open(os.open(join, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(token.join_string + "\n")
    args = ("--name", name, "--join", join)
    server_dies = one.step.startswith("server.")
    victim = world.server if server_dies else joiner
    victim.controls.fault.arm(one.step, FaultPage.KILL)
    joiner.start(*args)
    wait_for(lambda: not victim.is_running(), STEP_S * STEP_LOADS)
    one.notes["fired"] = ends_if_fired(victim)
    victim.controls.disarm()
    if victim.is_running():
        raise Broken(f"{one.step} was not reached")
    if server_dies and not victim.is_running():
        one.restart_server()
    if not joiner.is_running():
        joiner.process.wait()
        joiner.start(*args)
    if not wait_for(lambda: _epoch(world, name) > 0, SETTLE_S):
        raise Broken(f"{name} does not come online")
    joiner.kill()
    agents, places, begun = one.check.store.ask(
        f"SELECT id, state, session_epoch FROM agent WHERE name = '{name}'",
        f"SELECT COUNT(*) FROM audit WHERE action = 'agent.registered_and_confirmed' AND actor = '{token.token.id}'",
        "SELECT COUNT(*) FROM audit u JOIN agent a ON u.target = 'agent/' || a.id WHERE u.action = 'agent.session_begun' "
        f"AND a.name = '{name}'")
    if len(agents) != 1 or int(places[0][0]) != 1:
        raise Broken(f"{name}: {len(agents)} agents, {places[0][0]} audit records of a registration")
    if int(begun[0][0]) != int(agents[0][2]):
        raise Broken(f"{name}: {begun[0][0]} audit records of a session, its epoch is {agents[0][2]}")
    world.ask("RevokeAgent", admin.RevokeAgentRequest(agent=name))
    world.server.agents.remove(joiner)
    joiner.close()


def _epoch(world, name):
    try:
        return world.call("GetAgent", admin.GetAgentRequest(agent=name)).result().session_epoch
    except grpc.RpcError:
        return 0


def hold(one, step):
    """The server waits at a step."""
    page = one.world.server.controls.fault
    load = step_load(step)
    page.arm(step, FaultPage.HOLD, one.random.choice((0, 0, 1)) if load == "commands" else 0)
    one.notes["fired"] = reach(one, load, lambda: page.fired)
    if not page.fired:
        raise Broken(f"{step} was not reached")


def lost_answer(one):
    """The request goes through and is stored; its answer is lost with the connection."""
    hold(one, one.step)
    one.world.relay.lose_replies = True
    one.world.server.controls.fault.release()
    time.sleep(one.random.uniform(0.01, 0.05))
    one.world.relay.cut()


def late_answer(one):
    """The answer comes late; sometimes the agent has died meanwhile and begun a new session."""
    hold(one, one.step)
    if one.random.random() < 0.5:
        one.restart_agent()
        one.pause(0.4)
    else:
        one.pause(0.3)
    one.world.server.controls.fault.release()


def agent_dies_while_server_holds(one):
    hold(one, one.step)
    one.restart_agent()
    one.world.server.controls.fault.release()


def repeated(one):
    """A client that says everything more than once, and late: what was sent, and how a command ended."""
    world = one.world
    name = f"repeater-{one.number}"
    client = harness.BaseAgent(world.server, name).enroll(world.server.operator())
    count = one.random.randint(3, 12)
    again = one.random.randint(1, count)
    for first, last in ((1, count), (again, count), (again, count + 2), (1, count + 2)):
        acked = client.upload([_event(i) for i in range(first, last + 1)], events=True).acked_sequence
        if acked != max(last, count):
            raise Broken(f"{name}: the mark is {acked} after {first} to {last}")
    order = world.ask("SendCommand", admin.SendCommandRequest(
        agent=name, command=gateway.AgentCommand(telemetry_now=gateway.TelemetryNow()), idempotency_key=name))
    for turn in range(3):
        stream = client.stream()
        if turn == 0:
            stream.command()
        for _ in range(2):
            stream.send(harness.ack(order.id, turn == 0, "" if turn == 0 else "not so"))
        stream.half_close()
        stream.end()
        client.handshake()
    stored, ended = one.check.store.ask(
        f"SELECT text FROM event WHERE agent_id = {client.id} ORDER BY id",
        f"SELECT COUNT(*) FROM audit WHERE action = 'command.acknowledged' AND target = 'command/{order.id}'")
    if [int(row[0]) for row in stored] != list(range(1, count + 3)):
        raise Broken(f"{name}: stored {stored}, sent 1 to {count + 2}")
    state = world.ask("GetCommand", admin.GetCommandRequest(id=order.id)).state
    if state != admin.COMMAND_STATE_SUCCEEDED or int(ended[0][0]) != 1:
        raise Broken(f"{name}: the command's state is {state}, with {ended[0][0]} audit records of its end")
    world.ask("RevokeAgent", admin.RevokeAgentRequest(agent=name))
    world.forget_operator()


def _event(sequence):
    one = gateway.AgentEvent(time_us=sequence, severity=gateway.SEVERITY_INFO, kind="chaos.repeated", text=str(sequence))
    return gateway.UploadEventsRequest(
        payload=gateway.EventBatch(events=[one]).SerializeToString(), captured_at=harness.now(), sequence=sequence,
        format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)


def held_replies(one):
    one.world.relay.hold_replies = True
    one.commands()
    one.pause(0.5)
    if one.random.random() < 0.3:
        one.restart_agent()
    one.world.relay.hold_replies = False


def cut(one):
    one.commands()
    for _ in range(one.random.randint(1, 3)):
        one.pause(0.03)
        one.world.relay.cut()


def refused(one):
    """Nobody gets in for a while, and who is in is thrown out."""
    one.commands()
    one.pause()
    one.world.relay.refuse = True
    one.world.relay.cut()
    one.pause(0.8)


def delay(one):
    longest = one.random.choice((0.005, 0.05, 0.2))
    one.world.relay.delay = lambda: one.random.uniform(0, longest)
    one.commands(2)
    one.world.settle(one.sent, SETTLE_S)


def partition(one):
    one.commands()
    one.pause(0.02)
    one.world.namespace.pull()
    one.commands()
    one.pause(1.2)


def one_way(one):
    one.commands()
    one.pause(0.02)
    one.world.namespace.deafen(one.random.random() < 0.5)
    one.commands()
    one.pause(1.2)


def agent_disk_full(one):
    """The spool's disk is full; sometimes the agent dies and starts while it is. What waits in memory until the disk takes
    it goes to the server from there, and is then in the store without ever having been in the spool."""
    one.may_fail = True
    one.loose = one.world.agent.in_memory = {TELEMETRY, EVENTS}
    one.commands()
    one.world.agent.disk.fill()
    one.commands(2)
    one.pause(0.2)
    if one.random.random() < 0.7:
        one.restart_agent()
        one.pause(0.3)
        one.world.agent.disk.empty()
        one.pause(0.1)
        if one.random.random() < 0.5:
            one.restart_agent()


def server_disk_full(one):
    one.may_fail = True
    one.commands()
    one.world.server.disk.fill()
    one.commands(2)
    one.pause(0.2)
    if one.random.random() < 0.5:
        one.world.kill_server()
        one.world.server.disk.empty()
        one.notes["back"] = one.world.restart_server()


def agent_power(one):
    """The disk below the spool loses power in the midst of its writes."""
    agent = one.world.agent
    one.may_fail = True
    agent.controls.torn.arm(one.random.randrange(60), one.random.randrange(1 << 31))
    one.commands(2)
    wait_for(lambda: not agent.is_running(), 1)
    _restart_after_power(one, agent, agent.start)


def server_power(one):
    server = one.world.server
    server.controls.torn.arm(one.random.randrange(150), one.random.randrange(1 << 31))
    one.commands(2)
    wait_for(lambda: not server.is_running(), 1)
    _restart_after_power(one, server, one.world.restart_server)


def _restart_after_power(one, program, restart):
    program.controls.torn.disarm()
    one.notes["fired"] = program.controls.torn.fired
    if program.controls.torn.fired:
        program.process.wait()
        one.world.forget_operator()
        restart()


def agent_clock(one):
    _jump(one, one.world.agent)


def server_clock(one):
    one.may_fail = True  # what was ordered before a jump forward may have expired by the new time
    _jump(one, one.world.server)
    # While the clock was ahead, a stream may have passed over what then looked expired: it goes with the next stream.
    one.world.server.controls.clock.shift(0)
    one.world.relay.cut()


def _jump(one, program):
    for _ in range(one.random.randint(1, 3)):
        program.controls.clock.shift(one.random.choice((-1, 1)) * one.random.choice((0.5, 60, 3600, 40000)))
        one.commands()
        one.pause()
    if one.random.random() < 0.3:
        if program is one.world.agent:
            one.restart_agent()
        else:
            one.restart_server()


def postgres_kill(one):
    one.commands()
    one.pause()
    one.world.postgres.kill()
    one.pause(0.3)
    one.world.postgres.start()


def postgres_backend(one):
    one.commands()
    one.pause()
    one.world.postgres.kill_backend(one.random.randrange(100))


def postgres_at_step(one):
    """PostgreSQL is killed while the server is at a named step."""
    hold(one, one.step)
    one.world.postgres.kill()
    one.world.server.controls.fault.release()
    one.world.postgres.start()


FAULTS = {
    "agent-kill": agent_kill, "server-kill": server_kill, "both-kill": both_kill, "step-kill": step_kill,
    "lost-answer": lost_answer, "late-answer": late_answer, "agent-dies-held": agent_dies_while_server_holds,
    "repeated": repeated, "held-replies": held_replies, "cut": cut, "refused": refused, "delay": delay,
    "partition": partition, "one-way": one_way,
    "agent-disk-full": agent_disk_full, "server-disk-full": server_disk_full,
    "agent-power": agent_power, "server-power": server_power,
    "agent-clock": agent_clock, "server-clock": server_clock,
    "postgres-kill": postgres_kill, "postgres-backend": postgres_backend, "postgres-step": postgres_at_step,
}
# Rounds of one cycle, for those that have no steps of their own.
WEIGHTS = {"agent-kill": 6, "server-kill": 4, "both-kill": 3, "repeated": 3, "held-replies": 2, "cut": 4, "refused": 2, "delay": 2,
           "partition": 2, "one-way": 2, "agent-disk-full": 1, "server-disk-full": 1, "agent-power": 6, "server-power": 6,
           "agent-clock": 3, "server-clock": 3, "postgres-kill": 5, "postgres-backend": 4}
STEPS = {"lost-answer": ANSWERS, "late-answer": LATE, "agent-dies-held": ANSWERS, "postgres-step": DATABASE_STEPS}


def why_skipped():
    """Fault -> why it cannot be tried here."""
    skipped = {}
    if ENGINE == "postgresql":
        for kind in ("server-disk-full", "server-power"):
            skipped[kind] = "of the embedded database alone"
    else:
        for kind in ("postgres-kill", "postgres-backend", "postgres-step"):
            skipped[kind] = "of PostgreSQL alone"
    reason = why_not()
    if reason:
        skipped["partition"] = skipped["one-way"] = reason
    reason = small_disk.why_not()
    if reason:
        for kind in ("agent-disk-full", "server-disk-full"):
            skipped.setdefault(kind, "no small file system: " + reason)
    return skipped


def cycle(faults):
    """Every fault by its weight, and every named step once."""
    turns = []
    for kind in faults:
        if kind == "step-kill":
            turns += [(kind, step) for step in steps()]
        elif kind in STEPS:
            turns += [(kind, step) for step in STEPS[kind]]
        else:
            turns += [(kind, "")] * WEIGHTS[kind]
    return turns


def what_happens(seed, number, turns):
    """The fault of a round: each cycle is shuffled anew."""
    order = list(turns)
    random.Random(f"{seed}/cycle/{number // len(turns)}").shuffle(order)
    return order[number % len(turns)]


__all__ = ["FAULTS", "Round", "cycle", "harness", "steps", "what_happens", "why_skipped"]
