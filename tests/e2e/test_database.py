#!/usr/bin/python3
"""PostgreSQL itself crashed under the server, which stays up, says that it is not ready, and loses and doubles
nothing of what it acknowledged. On SQLite: a database that another process holds locked."""
from harness import *


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


@unittest.skipUnless(ENGINE == "postgresql", "SQLite has no server to kill")
class Postgres(Outage):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="belay-e2e-pg")
        os.chmod(cls.folder, 0o755)
        cls.postgres("start")
        import harness
        cls.kept, harness.POSTGRES = harness.POSTGRES, cls.url
        try:
            super().setUpClass()
        finally:
            harness.POSTGRES = cls.kept

    @classmethod
    def tearDownClass(cls):
        import harness
        harness.POSTGRES = cls.url
        try:
            super().tearDownClass()
        finally:
            harness.POSTGRES = cls.kept
            cls.postgres("stop")
            shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def postgres(cls, verb):
        run = subprocess.run([os.path.join(ROOT, "tools", "postgres"), verb, "--dir", cls.folder], capture_output=True,
                             text=True, timeout=90, check=False, stdin=subprocess.DEVNULL)
        if run.returncode != 0:
            raise AssertionError(run.stdout + run.stderr)
        if verb == "start":
            cls.url = run.stdout.splitlines()[-1]

    def control(self, *args):
        binary = sorted(os.listdir("/usr/lib/postgresql"), key=int)[-1]
        command = [f"/usr/lib/postgresql/{binary}/bin/pg_ctl", "-D", os.path.join(self.folder, "data"), "-t", "60", "-w", *args]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", *command]
        with open(os.path.join(self.folder, "control.log"), "ab") as log:
            subprocess.run(command, cwd="/", check=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=90)

    def crash_postgres(self):
        """Every process of it ends at once, without a checkpoint: the next start recovers from the log."""
        self.control("-m", "immediate", "stop")

    def same_port_again(self):
        """Starts it where it was: the server's URL stays good."""
        port = self.url.rsplit(":", 1)[1].split("/")[0]
        self.control("-l", os.path.join(self.folder, "data", "server.log"), "-o", f"-p {port}", "start")

    def test_crashed_twice_under_uploads(self):
        agent = self.agent()
        stream = agent.stream(timeout=120)
        sender = Sender(agent, 1500)
        for mark in (300, 900):
            eventually(lambda m=mark: sender.acked >= m, "the upload goes on", 60)
            self.crash_postgres()
            acked = sender.acked
            eventually(lambda: self.server.http("/readyz")[0] == 503, "it says that it is not ready")
            self.assertEqual(200, self.server.http("/healthz")[0])
            code, text = code_of(lambda: self.operator.ListAgents(timeout=10))
            self.assertEqual(Code.UNAVAILABLE, code, text)
            self.assertNotIn("postgres", text.lower().replace("postgresql", ""))
            self.same_port_again()
            eventually(lambda: self.server.http("/readyz")[0] == 200, "it is ready again")
            self.assertGreaterEqual(self.agent_row(agent).events_sequence, acked)
        sender.thread.join()
        self.assertEqual(1500, sender.acked)
        self.assertEqual(list(range(1, 1501)), self.stored())
        self.assertTrue(self.server.is_running())
        sent = self.send(agent)
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
