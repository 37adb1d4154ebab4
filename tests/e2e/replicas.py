"""What the tests of several servers on one PostgreSQL share. PostgreSQL only: SQLite has one server."""
import harness
from harness import *
from harness import __all__ as _of_harness

child_environment = harness._child_environment
LISTEN_GONE = ("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
               "WHERE datname = current_database() AND query LIKE 'LISTEN%'")


class Replica(Server):
    """Its connections carry its name: pg_stat_activity tells whose they are."""

    def __init__(self, name, first=None, options=(), log_level="info"):
        super().__init__(options=options, log_level=log_level, first=first)
        self.name = name

    def environment(self):
        return database_environment(f"{self.database.url}?application_name={self.name}")

    def migrate(self):
        """Past any pooler, as an operator does it."""
        subprocess.run([os.path.join(BIN, "belay-server"), "migrate", "up"], check=True, stdout=subprocess.DEVNULL,
                       timeout=TIMEOUT, env=child_environment(BELAY_DATABASE_URL=self.database.url))

    def signal(self, number):
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            eventually(self.is_stopped, "each of its threads stands still")

    def is_stopped(self):
        """A busy machine lets threads run on for a while after the signal."""
        folder = f"/proc/{self.process.pid}/task"
        states = set()
        for thread in os.listdir(folder):
            with open(os.path.join(folder, thread, "stat"), encoding="utf-8", errors="replace") as file:
                states.add(file.read().rsplit(")", 1)[1].split()[0])
        return states == {"T"}


class ReplicaCase(ServerCase):
    """Servers a, b, c, ... of one fleet; `self.server` and `self.operator` are those of a."""

    count = 2

    @classmethod
    def make(cls, name, first):
        return Replica(name, first, cls.options, cls.log_level)

    @classmethod
    def setUpClass(cls):
        cls.replicas = []
        try:
            for name in "abc"[:cls.count]:
                cls.replicas.append(cls.make(name, cls.replicas[0] if cls.replicas else None).start())
        except BaseException:
            for replica in cls.replicas:
                replica.kill()
            raise
        cls.server = cls.replicas[0]
        cls.operators = [replica.operator() for replica in cls.replicas]
        cls.operator = cls.operators[0]

    @classmethod
    def tearDownClass(cls):
        for replica in reversed(cls.replicas):
            replica.close()

    def agent_on(self, replica, name=None):
        """An enrolled base client that talks to this replica."""
        agent = self.agent(name)
        return self.move(agent, replica)

    @staticmethod
    def move(agent, replica):
        agent.channel = replica.channel()
        return agent

    def carry(self, operator, agent, stream, *, within=TIMEOUT):
        """A command given to one server arrives on a stream of whichever server; gives it, acknowledged."""
        sent = operator.SendCommand(agent=str(agent.id), command=TELEMETRY_NOW, ttl_seconds=120)
        begun = time.monotonic()
        self.assertEqual(sent.id, stream.command().command_id)
        self.assertLess(time.monotonic() - begun, within)
        stream.send(ack(sent.id))
        return sent

    def ends_well(self, operator, command_id):
        return eventually(lambda: operator.GetCommand(id=command_id).state == admin.COMMAND_STATE_SUCCEEDED,
                          "the command has succeeded")


TELEMETRY_NOW = gateway.AgentCommand(telemetry_now=gateway.TelemetryNow())


def event(sequence, kind="replica.test"):
    one = gateway.AgentEvent(time_us=sequence, severity=gateway.SEVERITY_INFO, kind=kind, text=str(sequence))
    return gateway.UploadEventsRequest(payload=gateway.EventBatch(events=[one]).SerializeToString(), captured_at=now(),
                                       sequence=sequence, format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)


def sample(sequence, metric, value):
    batch = gateway.TelemetryBatch(series=[gateway.TelemetrySeries(metric=metric)],
                                   samples=[gateway.TelemetrySample(series=0, time_us=time.time_ns() // 1000, value=value)])
    return gateway.UploadTelemetryRequest(payload=batch.SerializeToString(), captured_at=now(), sequence=sequence,
                                          format=gateway.PAYLOAD_FORMAT_TELEMETRY_BATCH)


class Watch:
    """Collects what a server stream sends, on a thread of its own; `end` has its status."""

    def __init__(self, call):
        self.call, self.got, self.end = call, [], None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            for message in self.call:
                self.got.append(message)
            self.end = (Code.OK, "")
        except grpc.RpcError as error:
            self.end = (error.code(), error.details())

    def cancel(self):
        self.call.cancel()
        self.thread.join(TIMEOUT)


class Holder:
    """A transaction of somebody else in the database, kept open from begin to release."""

    def __init__(self, database, statement):
        self.psql = subprocess.Popen(["psql", "-X", "-q", "-At", database.url], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        self.psql.stdin.write(f"BEGIN;\n{statement};\nSELECT 'held';\n")
        self.psql.stdin.flush()
        while self.psql.stdout.readline().strip() != "held":
            if self.psql.poll() is not None:
                raise AssertionError("psql has ended")

    def release(self):
        self.psql.communicate("COMMIT;\n", timeout=TIMEOUT)


__all__ = [*_of_harness, *(name for name in globals() if not name.startswith("_") and name not in _of_harness)]
