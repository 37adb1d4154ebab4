"""One installation under fault: a server, its database, an agent behind a relay (and, where it can
be, in a network namespace), and the handles with which a round breaks and mends them."""
import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import harness
from harness import ADMIN_SERVICE, BIN, ENGINE, ROOT, Code, RealAgent, Server, admin, eventually, gateway, grpc
from network import Namespace
from pages import ClockPage, FaultPage, TornPage, wait_for
from relay import Relay
from small_disk import SmallDisk

DISK_BYTES = 32 * 1024 * 1024
READY_S = 60
CALL_S = 10
LEDGER = """
CREATE TABLE IF NOT EXISTS chaos_ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER, sequence INTEGER, format INTEGER,
    compression INTEGER, payload BLOB);
CREATE TRIGGER IF NOT EXISTS chaos_accepted AFTER INSERT ON record BEGIN
    INSERT INTO chaos_ledger (stream, sequence, format, compression, payload)
    VALUES (NEW.stream, NEW.sequence, NEW.format, NEW.compression, NEW.payload); END;
CREATE TRIGGER IF NOT EXISTS chaos_renumbered AFTER UPDATE OF sequence ON record BEGIN
    UPDATE chaos_ledger SET sequence = NEW.sequence
    WHERE stream = OLD.stream AND sequence = OLD.sequence; END;
"""


class Broken(Exception):
    """A promise that was not kept."""


def _sanitizer():
    """The sanitizer's library must come before any other that is preloaded."""
    listed = subprocess.run(["ldd", os.path.join(BIN, "belay-server")], capture_output=True, text=True, check=True)
    return [line.split()[2] for line in listed.stdout.splitlines() if "libasan" in line or "libtsan" in line]


class Tail:
    """The lines that were added to a log since the last look; half a line waits for its end."""

    def __init__(self, path):
        self.path = path
        self.offset = 0

    def lines(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path, "rb") as log:
            log.seek(self.offset)
            data = log.read()
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].decode("utf-8", "replace").splitlines()


class Controls:
    """The pages of one program, and what it is started with so that it maps them."""

    def __init__(self, directory, name):
        self.fault = FaultPage(os.path.join(directory, name + ".fault"))
        self.torn = TornPage(os.path.join(directory, name + ".torn"))
        self.clock = ClockPage(os.path.join(directory, name + ".clock"))

    def environment(self):
        libraries = [os.path.join(os.path.dirname(BIN), "faults", name + ".so") for name in ("torn_vfs", "clock_jump")]
        return {"BELAY_FAULT_PAGE": self.fault.path, "BELAY_TORN_PAGE": self.torn.path,
                "BELAY_CLOCK_PAGE": self.clock.path, "LD_PRELOAD": ":".join(_sanitizer() + libraries)}

    def disarm(self):
        self.fault.disarm()
        self.torn.disarm()
        self.clock.shift(0)


class Postgres:
    """A PostgreSQL of our own, which can be killed and comes back on the same port. It does not wait
    for the disk (nothing here takes the machine's memory away), but a commit is written."""
    SETTINGS = ("-c fsync=off -c full_page_writes=off -c synchronous_commit=on "
                "-c dynamic_shared_memory_type=mmap")  # in its folder, not left in /dev/shm by a kill

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory)
        os.chmod(os.path.dirname(directory), 0o711)
        self._tool("start", "--fast")
        self.url = self._tool("url").strip()
        self.port = self.url.rsplit(":", 1)[1].split("/")[0]
        self._tool("stop")
        self.start()

    def _tool(self, verb, *args):
        run = subprocess.run([os.path.join(ROOT, "tools", "postgres"), verb, "--dir", self.directory, *args],
                             capture_output=True, text=True, timeout=90, check=True)
        return run.stdout

    def start(self):
        """As our own child, so that a killed one is gone and does not linger as a zombie."""
        programs = sorted(os.listdir("/usr/lib/postgresql"), key=float)[-1]
        owner = ["setpriv", "--pdeathsig", "QUIT"]
        owner += ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        with open(os.path.join(self.directory, "postgres.log"), "ab") as log:
            self.master = subprocess.Popen(
                [*owner, "--", f"/usr/lib/postgresql/{programs}/bin/postgres", "-D", os.path.join(self.directory, "data"),
                 "-p", self.port, *self.SETTINGS.split()], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not wait_for(lambda: self._is_ready() or self.master.poll() is not None, 60) or self.master.poll() is not None:
            with open(log.name, encoding="utf-8", errors="replace") as text:
                raise Broken("PostgreSQL does not start:\n" + text.read()[-1500:])

    def _is_ready(self):
        try:
            with open(os.path.join(self.directory, "data", "postmaster.pid"), encoding="ascii") as file:
                lines = file.read().split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.master.pid) and lines[7].strip() == "ready"

    def is_running(self):
        return self.master.poll() is None

    def children(self):
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                        parent = int(file.read().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
                if parent == self.master.pid:
                    found.append(int(name))
        return found

    def kill(self):
        if not self.is_running():
            return
        self.master.send_signal(signal.SIGSTOP)  # it makes no child while they are counted
        victims = self.children()
        self.master.kill()
        for one in victims:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.master.wait()
        wait_for(lambda: not any(_is_alive(one) for one in victims), 10)

    def kill_backend(self, index):
        """One of its processes: PostgreSQL then ends the others and recovers by itself."""
        children = self.children()
        if children:
            os.kill(children[index % len(children)], signal.SIGKILL)

    def close(self):
        if self.is_running():
            self.master.send_signal(signal.SIGINT)
            self.master.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class ChaosServer(Server):
    def __init__(self, controls, options):
        super().__init__(options=options)
        self.controls = controls
        os.mkdir(self.state, 0o700)
        self.disk = SmallDisk(self.state, DISK_BYTES)
        self.tail = Tail(self.log)

    def environment(self):
        return {**super().environment(), **self.controls.environment()}

    def spawn(self, args, **environment):
        super().spawn(["setpriv", "--pdeathsig", "KILL", "--", *args], **environment)

    def start(self, *more):
        """As the parent's, which reads the log from its beginning each time."""
        self.tail.lines()
        self.spawn([os.path.join(BIN, "belay-server"), "--mode", "server", "--state-dir", self.state,
                    "--migrate", "auto", "--listen", f"127.0.0.1:{self.port}", "--log-level", self.log_level,
                    *self.options, *more], **self.environment())
        ready = []

        def is_ready():
            if not self.is_running():
                raise Broken("the server ended at its start:\n" + self.log_text()[-2000:])
            ready.extend(line for line in self.tail.lines() if '"event":"ready"' in line)
            return ready
        if not wait_for(is_ready, READY_S):
            raise Broken("the server is not ready in time:\n" + self.log_text()[-2000:])
        self.port = harness.json.loads(ready[-1])["tls_port"]
        return self

    def close(self):
        try:
            super().close()
        finally:
            self.disk.close()


class ChaosAgent(RealAgent):
    def __init__(self, server, name, controls, namespace):
        super().__init__(server, name)
        self.controls = controls
        self.prefix = namespace.prefix() if namespace else []
        self.delay_s = 0  # how long samples may wait in memory before they are taken
        self.in_memory = set()  # streams of which records may wait there since the disk was full
        self.starts = 0
        os.mkdir(self.state, 0o700)
        self.disk = SmallDisk(self.state, DISK_BYTES)
        self.tail = Tail(self.log)

    def run(self, *args, text=None, check=True):
        """Enrolls from where the agent will live."""
        run = subprocess.run([*self.prefix, os.path.join(BIN, "belay-agent"), *args, "--state-dir", self.state],
                             input=text, capture_output=True, text=True, timeout=60, check=False)
        if check and run.returncode != 0:
            raise Broken(f"belay-agent {' '.join(args)}: {run.stdout}\n{run.stderr}")
        return run

    def start(self, *args):
        self.starts += 1
        self.begun_at = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        self.spawn(["setpriv", "--pdeathsig", "KILL", "--", *self.prefix, os.path.join(BIN, "belay-agent"), "run",
                    "--state-dir", self.state, "--sample-interval", "1h", "--spool-delay", f"{self.delay_s}s", *args],
                   **self.controls.environment())
        return self

    def close(self):
        try:
            super().close()
        finally:
            self.disk.close()

    def was_online(self):
        """Since it was started: what it records at its start is in the spool then."""
        with open(self.log, "rb") as log:
            log.seek(self.begun_at)
            return b'"event":"link_online"' in log.read()

    def query(self, sql):
        """A look into the spool; nothing stays open, so that a crash finds the agent alone."""
        connection = sqlite3.connect(f"file:{self.state}/spool.db?mode=ro", uri=True, timeout=20)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def keep_ledger(self):
        connection = sqlite3.connect(f"{self.state}/spool.db", timeout=20)
        try:
            connection.executescript(LEDGER)
        finally:
            connection.close()


class Sent:
    """A command that was ordered: its idempotency key makes sure that asking again is harmless."""

    def __init__(self, kind, request):
        self.kind = kind
        self.request = request
        self.future = None
        self.id = None


class World:
    def __init__(self, lane, skips):
        self.closers = []
        try:
            self._build(lane, skips)
        except BaseException:
            self.close(check=False)
            raise

    def _build(self, lane, skips):
        self.directory = tempfile.mkdtemp(prefix="w", dir=harness.scratch())
        self.namespace = None if "partition" in skips else Namespace(lane)
        if self.namespace:
            self.closers.append(self.namespace.close)
        self.postgres = None
        if ENGINE == "postgresql":
            os.chmod(harness.scratch(), 0o711)
            self.postgres = Postgres(os.path.join(self.directory, "postgres"))
            self.closers.append(self.postgres.close)
            harness.POSTGRES = self.postgres.url
        host = self.namespace.host if self.namespace else "127.0.0.1"
        self.relay = Relay(host, 0)
        self.closers.append(self.relay.close)
        controls = Controls(self.directory, "server")
        self.server = ChaosServer(controls, ["--advertise", f"{host}:{self.relay.port}", "--tls-name", host])
        self.closers.append(self._close_server)
        self.local = None
        self.server.start()
        self.relay.target_port = self.server.port
        self.agent = self.new_agent("subject")
        self.agent.enroll(self.server.operator())
        self.agent.start()
        if not wait_for(lambda: self._is_online("subject"), READY_S):
            raise Broken("the first session does not begin")
        self.agent_id = self.server.operator().GetAgent(agent="subject").id
        self.settle([], READY_S)
        self.agent.kill()
        self.agent.keep_ledger()
        self.rounds = 0

    def new_agent(self, name):
        controls = Controls(self.directory, f"agent-{name}")
        return ChaosAgent(self.server, name, controls, self.namespace)

    def _is_online(self, name):
        try:
            return self.server.operator().GetAgent(agent=name).session_epoch > 0
        except grpc.RpcError:
            return False

    def _close_server(self):
        for one in (self.server, *self.server.agents):
            one.controls.disarm()
        if not self.check_at_close:
            for one in (self.server, *self.server.agents):
                if one.is_running():
                    one.kill()
        self.server.close()

    check_at_close = True

    def close(self, check=True):
        """The programs end normally and leave clean logs, if check says so."""
        self.check_at_close = check
        problem = None
        while self.closers:
            try:
                self.closers.pop()()
            except Exception as error:  # the others are closed all the same
                problem = problem or error
        if problem is not None and check:
            raise problem

    # The operator's side.

    def operator(self):
        if self.local is None:
            self.local = self.server.local_channel()
        return self.local

    def forget_operator(self):
        self.server.forget_channels()
        self.local = None

    def call(self, name, request):
        method = ADMIN_SERVICE.methods_by_name[name]
        stub = self.operator().unary_unary(
            f"/{ADMIN_SERVICE.full_name}/{name}", lambda message: message.SerializeToString(),
            harness.message_class(method.output_type).FromString)
        return stub.future(request, timeout=CALL_S)

    def ask(self, name, request, tries=8):
        """Until it is answered; only for what may be asked twice."""
        for turn in range(tries):
            try:
                return self.call(name, request).result()
            except grpc.RpcError as error:
                passing = error.code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.ABORTED,
                                           Code.RESOURCE_EXHAUSTED, Code.CANCELLED)
                if turn == tries - 1 or not passing:
                    raise Broken(f"{name}: {error.code()} {error.details()}") from None
                self.forget_operator()
                time.sleep(0.05 * 2 ** turn)
        return None

    def send(self, kind, key):
        """Orders one command and does not wait."""
        command = {
            "identify": lambda: gateway.AgentCommand(device_command=gateway.DeviceCommand(action="identify")),
            "telemetry": lambda: gateway.AgentCommand(telemetry_now=gateway.TelemetryNow()),
            "config": lambda: gateway.AgentCommand(set_config=gateway.SetConfig(upload_batch_bytes=65536)),
            "drain": lambda: gateway.AgentCommand(drain=gateway.Drain(reconnect_after_ms=0)),
        }[kind]()
        sent = Sent(kind, admin.SendCommandRequest(
            agent="subject", command=command, ttl_seconds=3600, idempotency_key=key))
        sent.future = self.call("SendCommand", sent.request)
        return sent

    def confirm(self, sent):
        """What was ordered has a row: asks again when the answer did not come."""
        for one in sent:
            if one.id is None:
                try:
                    one.id = one.future.result().id
                except grpc.RpcError:
                    one.id = self.ask("SendCommand", one.request).id

    # Breaking and mending.

    def restart_server(self):
        """After its end, however it came. Returns the seconds until it serves."""
        self.forget_operator()
        begun = time.monotonic()
        self.server.start()
        self.relay.target_port = self.server.port
        self.ask("GetServerInfo", admin.GetServerInfoRequest())
        return time.monotonic() - begun

    def kill_server(self):
        self.server.kill()
        self.forget_operator()

    def mend(self):
        """Everything that a round may have broken is whole again."""
        for one in (self.server, *self.server.agents):
            one.controls.disarm()
            one.disk.empty()
        self.relay.reset()
        if self.namespace:
            self.namespace.heal()
        if self.postgres and not self.postgres.is_running():
            self.postgres.start()
        if not self.server.is_running():
            self.server.process.wait()
            self.restart_server()
        if not self.agent.is_running():
            self.agent.process.wait()
            self.agent.start()

    def settle(self, sent, timeout):
        """Until every order has ended and the spool is empty."""
        end = time.monotonic() + timeout
        self.confirm(sent)
        while True:
            for program in (self.server, self.agent):
                if not program.is_running():
                    raise Broken(f"ended by itself: {os.path.basename(program.log)}")
            waiting = self.open_commands()  # looked at first: none of them makes a record afterwards
            streams = self.agent.query("SELECT records, next_sequence, acked_sequence FROM stream ORDER BY stream")
            # What waits in memory, and its mark, the file does not know.
            is_empty = all(records == 0 and (self.agent.delay_s or upcoming == acked + 1)
                           for records, upcoming, acked in streams)
            if is_empty and not waiting and self.agent.was_online():
                return
            if time.monotonic() > end:
                raise Broken(f"not settled within {timeout} s: commands {waiting}, spool {streams}")
            time.sleep(0.02)

    def open_commands(self):
        found = []
        for state in (admin.COMMAND_STATE_QUEUED, admin.COMMAND_STATE_SENT):
            found += self.ask("ListCommands", admin.ListCommandsRequest(agent="subject", state=state, page_size=10)).commands
        return [one.id for one in found]


class Zstd:
    """Just enough of libzstd."""

    def __init__(self):
        self.library = ctypes.CDLL("libzstd.so.1")
        self.library.ZSTD_decompress.restype = ctypes.c_size_t

    def decompress(self, data):
        room = ctypes.create_string_buffer(8 * 1024 * 1024)
        size = self.library.ZSTD_decompress(room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)))
        if size > len(room):
            raise Broken("a record in the spool does not decompress")
        return room.raw[:size]
