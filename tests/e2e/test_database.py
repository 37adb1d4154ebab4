#!/usr/bin/python3
"""PostgreSQL itself crashed under the server, which stays up, says that it is not ready, and loses and doubles
nothing of what it acknowledged; hung, it is given up in time; one that takes no writes is read; one whose disk is
full refuses; its standby takes over. On SQLite: a database that another process holds locked."""
import socket

from sandbox_agent import *
from small_disk import SmallDisk


def event(sequence):
    one = gateway.AgentEvent(time_us=sequence, severity=gateway.SEVERITY_INFO, kind="outage.test", text=str(sequence))
    return gateway.UploadEventsRequest(payload=gateway.EventBatch(events=[one]).SerializeToString(), captured_at=now(),
                                       sequence=sequence, format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)


class Sender:
    """Sends until everything is acknowledged, on a thread of its own."""

    def __init__(self, agent, total):
        self.agent, self.total, self.acked = agent, total, 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        end = time.monotonic() + 80
        while self.acked < self.total and time.monotonic() < end:
            first = self.acked + 1
            try:
                reply = self.agent.upload((event(i) for i in range(first, min(first + 50, self.total + 1))), events=True,
                                          timeout=10)
                self.acked = max(self.acked, reply.acked_sequence)
            except grpc.RpcError:
                time.sleep(0.05)


class Outage(ServerCase):
    def stored(self):
        return sorted(int(row[0]) for row in self.server.database.query("SELECT text FROM event WHERE kind = 'outage.test'"))


class Cluster:
    """A PostgreSQL of the test's own, on a port that it keeps."""

    def __init__(self, folder):
        self.folder = folder
        self.data = os.path.join(folder, "data")
        self.url = self.tool("start")
        self.port = int(self.url.rsplit(":", 1)[1].split("/")[0])

    def tool(self, verb):
        run = subprocess.run([os.path.join(ROOT, "tools", "postgres"), verb, "--dir", self.folder], capture_output=True,
                             text=True, timeout=90, check=False, stdin=subprocess.DEVNULL)
        if run.returncode != 0:
            raise AssertionError(run.stdout + run.stderr)
        return run.stdout.splitlines()[-1] if run.stdout else ""

    def program(self, name, *args):
        version = sorted(os.listdir("/usr/lib/postgresql"), key=int)[-1]
        command = [f"/usr/lib/postgresql/{version}/bin/{name}", *args]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", *command]
        with open(os.path.join(self.folder, "control.log"), "ab") as log:
            subprocess.run(command, cwd="/", check=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=90)

    def control(self, *args, data=None):
        self.program("pg_ctl", "-D", data or self.data, "-t", "60", "-w", *args)

    def crash(self):
        """Every process of it ends at once, without a checkpoint: the next start recovers from the log."""
        self.control("-m", "immediate", "stop")

    def start_again(self, settings=""):
        """Where it was: the server's URL stays good."""
        self.control("-l", os.path.join(self.data, "server.log"), "-o", f"-p {self.port} {settings}", "start")

    def add_standby(self, port):
        """A copy that follows, and without which nothing is committed from now on."""
        copy = os.path.join(self.folder, "standby")
        self.program("pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-R", "-c", "fast", "-D", copy)
        self.control("-l", os.path.join(copy, "server.log"), "-o", f"-p {port}", "start", data=copy)
        self.say("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.say("SELECT pg_reload_conf()")
        eventually(lambda: self.say("SELECT sync_state FROM pg_stat_replication") == [("sync",)], "the standby follows")
        return copy

    def make_standby(self):
        """Of a server that is stopped: it starts as one that follows nobody, until it is promoted."""
        with open(os.path.join(self.data, "standby.signal"), "wb") as file:
            os.fchmod(file.fileno(), 0o666)

    def say(self, sql):
        return Database._psql(self.url, sql)

    def processes(self):
        """The postmaster first, so that it makes no other while the rest are signalled."""
        with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as file:
            master = int(file.readline())
        with open(f"/proc/{master}/task/{master}/children", encoding="ascii") as file:
            return [master, *map(int, file.read().split())]

    def freeze(self):
        """It takes connections still (the kernel does), and says nothing more."""
        self.frozen = []
        for turn in range(2):  # the second for those that were born meanwhile
            for one in self.processes():
                if one not in self.frozen:
                    os.kill(one, signal.SIGSTOP)
                    self.frozen.append(one)

    def thaw(self):
        for one in reversed(self.frozen):
            os.kill(one, signal.SIGCONT)
        self.frozen = []


@unittest.skipUnless(ENGINE == "postgresql", "SQLite has no server to kill")
class OwnCluster(Outage):
    options = ("--database-timeout", "1s")
    GIVEN_UP_S = 3  # the timeout, and two seconds

    @classmethod
    def setUpClass(cls):
        import harness
        cls.folder = tempfile.mkdtemp(prefix="belay-e2e-pg")
        os.chmod(cls.folder, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.make_disk()
        cls.cluster = Cluster(cls.folder)
        cls.addClassCleanup(cls.cluster.tool, "stop")
        cls.addClassCleanup(setattr, harness, "POSTGRES", harness.POSTGRES)
        harness.POSTGRES = cls.cluster.url
        super().setUpClass()

    @classmethod
    def make_disk(cls):
        """Below cls.folder, for those who want one of their own."""

    def is_ready(self):
        return self.server.http("/readyz")[0] == 200

    def check_it_goes_on(self, agent, stream):
        """The stream is the one of before, and all that was acknowledged is there once."""
        eventually(self.is_ready, "it is ready again")
        sent = self.send(agent)
        self.assertEqual(sent.id, stream.command().command_id)
        stream.send(ack(sent.id))
        eventually(lambda: self.operator.GetCommand(id=sent.id).state == admin.COMMAND_STATE_SUCCEEDED, "the command is done")

    def check_stored(self, agent, total):
        rows = self.server.database.query(f"SELECT text FROM event WHERE agent_id = {agent.id} ORDER BY id")
        self.assertEqual(list(range(1, total + 1)), [int(row[0]) for row in rows])


class Postgres(OwnCluster):
    def test_crashed_twice_under_uploads(self):
        agent = self.agent()
        stream = agent.stream(timeout=120)
        sender = Sender(agent, 1500)
        for mark in (300, 900):
            eventually(lambda m=mark: sender.acked >= m, "the upload goes on", 60)
            self.cluster.crash()
            acked = sender.acked
            eventually(lambda: self.server.http("/readyz")[0] == 503, "it says that it is not ready")
            self.assertEqual(200, self.server.http("/healthz")[0])
            code, text = code_of(lambda: self.operator.ListAgents(timeout=10))
            self.assertEqual(Code.UNAVAILABLE, code, text)
            self.assertNotIn("postgres", text.lower().replace("postgresql", ""))
            self.cluster.start_again()
            eventually(lambda: self.server.http("/readyz")[0] == 200, "it is ready again")
            self.assertGreaterEqual(self.agent_row(agent).events_sequence, acked)
        sender.thread.join()
        self.assertEqual(1500, sender.acked)
        self.check_stored(agent, 1500)
        self.assertTrue(self.server.is_running())
        sent = self.send(agent)
        self.assertEqual(sent.id, stream.command().command_id)
        stream.cancel()

    def refuses_in_time(self, call):
        """Gives the text."""
        begun = time.monotonic()
        text = self.refused(Code.UNAVAILABLE, call)
        self.assertLess(time.monotonic() - begun, self.GIVEN_UP_S + 2)  # the machine may be loaded
        return text

    def test_hung_it_is_given_up_and_nothing_is_acknowledged(self):
        agent = self.agent()
        stream = agent.stream(timeout=120)
        watch = self.operator.WatchAgents(timeout=120)
        self.assertEqual(1, agent.upload([event(1)], events=True).acked_sequence)
        self.cluster.freeze()
        try:
            for call in (lambda: self.operator.ListAgents(timeout=30), lambda: self.send(agent),
                         lambda: agent.upload([event(2)], events=True)):
                self.refuses_in_time(call)
            eventually(lambda: not self.is_ready(), "it says that it is not ready")
            self.assertEqual(200, self.server.http("/healthz")[0])
            # Once it is known to hang, it is asked by one at a time, and the others need not wait for that.
            begun = time.monotonic()
            answers = in_threads(8, lambda _: code_of(lambda: self.operator.ListAgents(timeout=30)))
            self.assertEqual({Code.UNAVAILABLE}, {code for code, _ in answers})
            self.assertLess(time.monotonic() - begun, self.GIVEN_UP_S + 4)
            self.assertTrue(stream.call.is_active())
            self.assertTrue(watch.is_active())
        finally:
            self.cluster.thaw()
        eventually(self.is_ready, "it is ready again")
        self.check_stored(agent, 1)
        self.assertEqual(2, agent.upload([event(2)], events=True).acked_sequence)
        self.check_stored(agent, 2)
        self.check_it_goes_on(agent, stream)
        watch.cancel()
        stream.cancel()

    def set_read_only(self, state):
        self.cluster.say(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
        self.cluster.say("SELECT pg_reload_conf()")

    def test_a_database_that_takes_no_writes_is_read(self):
        agent = self.agent()
        stream = agent.stream(timeout=120)
        self.assertEqual(1, agent.upload([event(1)], events=True).acked_sequence)
        self.set_read_only("on")
        try:
            eventually(lambda: code_of(lambda: self.operator.CreateApiKey(name="no", scopes=["agent:read"]))[0]
                       == Code.UNAVAILABLE, "writes are refused")
            self.assertIn("takes no writes", self.refuses_in_time(lambda: self.send(agent)))
            self.assertIn("not stored", self.refuses_in_time(lambda: agent.upload([event(2)], events=True)))
            self.assertEqual(str(agent.name), self.agent_row(agent).name)
            self.assertEqual(0, len(self.operator.ListSandboxFigures().figures))
            self.assertTrue(stream.call.is_active())
        finally:
            self.set_read_only("off")
        eventually(lambda: code_of(lambda: self.agent_row(agent))[0] == Code.OK, "it answers")
        sent = eventually(lambda: code_of(lambda: agent.upload([event(2)], events=True))[0] == Code.OK, "it stores again")
        self.assertTrue(sent)
        self.check_stored(agent, 2)
        self.check_it_goes_on(agent, stream)
        stream.cancel()


    def test_a_standby_is_read(self):
        agent = SandboxAgent(self, "followed").connect()
        shell = Service(self.server.local_channel(), OPENSHELL_SERVICE)
        shell.CreateSandbox(name="followed", spec=V.SandboxSpec(command=["true"]))
        agent.take("sandbox_create", READY)
        figures = lambda: [(row.sandbox_name, row.HasField("taken_at")) for row in self.operator.ListSandboxFigures().figures]
        eventually(lambda: shell.GetSandbox(name="followed").sandbox.status.phase == V.SANDBOX_PHASE_READY, "it is ready")
        self.operator.ListSandboxFigures()
        self.assertGreater(agent.control.receive().sandbox_watch.duration_ms, 0)
        agent.control.send(gateway.ControlStreamRequest(sandbox_readings=gateway.ControlSandboxReadings(readings=[
            gateway.SandboxReading(sandbox_id=shell.GetSandbox(name="followed").sandbox.metadata.id, taken_us=1,
                                   interval_us=2)])))
        eventually(lambda: figures() == [("followed", True)], "its figures are there")
        self.cluster.control("-m", "fast", "stop")
        self.cluster.make_standby()
        self.cluster.start_again()
        eventually(lambda: code_of(figures)[0] == Code.OK, "it answers")
        self.assertEqual([("followed", False)], figures())
        self.assertEqual(["followed"], [sandbox.metadata.name for sandbox in shell.ListSandboxes().sandboxes])
        self.cluster.control("promote")
        eventually(lambda: code_of(lambda: shell.DeleteSandbox(name="followed"))[0] == Code.OK, "it is written again")
        agent.order("sandbox_delete")  # by the stream of before
        agent.control.cancel()
        shell.DeleteSandbox(name="followed", metadata=(("belay-force", "true"),))


class Full(OwnCluster):
    """PostgreSQL's disk is a small file system, and nothing more fits."""
    DISK_BYTES = 192 << 20

    @classmethod
    def make_disk(cls):
        cls.disk = SmallDisk(cls.folder, cls.DISK_BYTES)
        cls.addClassCleanup(cls.disk.close)
        if not cls.disk.mounted:
            raise unittest.SkipTest(f"no small file system here: {cls.disk.why}")
        os.chmod(cls.folder, 0o755)

    def test_a_full_disk_refuses_and_goes_on_with_the_first_byte(self):
        agent = self.agent()
        stream = agent.stream(timeout=120)
        watch = self.operator.WatchAgents(timeout=120)
        acked, said = 0, None

        def is_refused():
            nonlocal acked, said
            code, said = code_of(lambda: agent.upload([event(acked + 1)], events=True))
            acked += code == Code.OK
            return code if code != Code.OK else None

        def is_taken():
            return is_refused() is None

        self.assertTrue(is_taken())
        self.disk.fill()
        try:
            self.assertEqual(Code.UNAVAILABLE, eventually(is_refused, "no more fits", 60), said)
            self.assertIn("not stored", said)
            self.check_stored(agent, acked)
            self.assertEqual(str(agent.name), self.agent_row(agent).name)
            self.assertEqual(200, self.server.http("/healthz")[0])
            self.assertTrue(stream.call.is_active())
            self.assertTrue(watch.is_active())
        finally:
            self.disk.empty()
        before = acked
        eventually(is_taken, "it stores again")
        self.assertEqual(before + 1, acked)
        self.check_stored(agent, acked)
        self.check_it_goes_on(agent, stream)
        watch.cancel()
        stream.cancel()


class TwoHostsServer(Server):
    """Its URL names the database and the one that follows it."""

    def environment(self):
        head, name = self.database.url.rsplit("/", 1)
        return {"BELAY_DATABASE_URL": f"{head},127.0.0.1:{self.standby_port}/{name}?target_session_attrs=read-write"}


class Failover(OwnCluster):
    def test_the_standby_takes_over_with_all_that_was_acknowledged(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        copy = self.cluster.add_standby(port)
        self.addCleanup(self.cluster.control, "-m", "immediate", "stop", data=copy)
        server = TwoHostsServer(options=self.options)
        self.addCleanup(server.close)
        server.standby_port = port
        # For what is removed from it at the end, alone.
        self.addCleanup(self.cluster.start_again, "-c synchronous_standby_names=")
        server.start()
        operator = server.operator()
        agent = BaseAgent(server, "follower").enroll(operator)
        stream = agent.stream(timeout=120)
        sender = Sender(agent, 1000)
        eventually(lambda: sender.acked >= 300, "the upload goes on", 60)
        self.cluster.crash()
        eventually(lambda: server.http("/readyz")[0] == 503, "it says that it is not ready")
        self.refused(Code.UNAVAILABLE, lambda: operator.ListAgents(timeout=30))
        acked = sender.acked
        self.cluster.control("promote", data=copy)
        server.database.url = server.database.url.replace(f":{self.cluster.port}/", f":{port}/")
        eventually(lambda: server.http("/readyz")[0] == 200, "it is ready again")
        self.assertGreaterEqual(operator.GetAgent(agent="follower").events_sequence, acked)
        sender.thread.join()
        self.assertEqual(1000, sender.acked)
        rows = server.database.query("SELECT text FROM event WHERE kind = 'outage.test' ORDER BY id")
        self.assertEqual(list(range(1, 1001)), [int(row[0]) for row in rows])
        sent = operator.SendCommand(agent="follower", command=gateway.AgentCommand(telemetry_now=gateway.TelemetryNow()))
        self.assertEqual(sent.id, stream.command().command_id)
        stream.cancel()


@unittest.skipUnless(ENGINE == "sqlite", "PostgreSQL locks rows")
class Locked(Outage):
    def test_a_lock_that_another_holds_delays_and_loses_nothing(self):
        agent = self.agent()
        sender = Sender(agent, 600)
        eventually(lambda: sender.acked >= 100, "the upload goes on")
        other = sqlite3.connect(self.server.database.path, timeout=TIMEOUT, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        held = sender.acked
        end = time.monotonic() + 1.5
        eventually(lambda: time.monotonic() > end, "the lock is held for a while")
        self.assertLessEqual(sender.acked, held + 50)
        other.execute("ROLLBACK")
        other.close()
        sender.thread.join()
        self.assertEqual(600, sender.acked)
        self.assertEqual(list(range(1, 601)), self.stored())


if __name__ == "__main__":
    main()
