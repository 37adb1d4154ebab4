#!/usr/bin/python3
"""Clocks that are ten years off, of the agent and of the server, from the start and while they run: what was
sampled is stored once, what is refused says why, and all is well again when the clock is."""
import struct

from harness import *

SHIM = os.path.join(BIN, "..", "faults", "clock_jump.so")
TEN_YEARS = 10 * 365 * 86400


class Shifted:
    """A process whose wall clock a test sets."""

    def spawn(self, args, **environment):
        self.shift_file = os.path.join(self.directory, "shift")
        if not os.path.exists(self.shift_file):
            self.set_clock(0)
        super().spawn(args, **environment, LD_PRELOAD=SHIM, BELAY_CLOCK_PAGE=self.shift_file,
                      ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")

    def set_clock(self, seconds):
        self.shift_file = os.path.join(self.directory, "shift")
        with open(self.shift_file, "r+b" if os.path.exists(self.shift_file) else "wb") as file:
            file.write(struct.pack("q", seconds * 1000000))


class ShiftedAgent(Shifted, RealAgent):
    pass


class ShiftedServer(Shifted, Server):
    pass


class Clock(unittest.TestCase):
    def setUp(self):
        self.server = ShiftedServer()
        self.addCleanup(self.server.close)
        self.server.start()
        self.operator = self.server.operator()
        self.agent = ShiftedAgent(self.server, "adrift")
        self.agent.enroll(self.operator)
        self.agent.start("--sample-interval", "250ms")
        self.more_arrives()

    def sequence(self):
        code, _ = code_of(self.operator.GetServerInfo)
        return self.operator.GetAgent(agent="adrift").telemetry_sequence if code == Code.OK else 0

    def more_arrives(self):
        before = self.sequence()
        eventually(lambda: self.sequence() > before + 2, "telemetry is stored", 60)

    def identify(self):
        """The agent judges expiry by what the server last said the time is (every 30 s): until it hears that the server's
        clock went back, it refuses with a reason."""
        command = gateway.AgentCommand(device_command=gateway.DeviceCommand(action="identify"))

        def is_done():
            sent = self.operator.SendCommand(agent="adrift", command=command, ttl_seconds=600)
            ends = (admin.COMMAND_STATE_SUCCEEDED, admin.COMMAND_STATE_FAILED)
            eventually(lambda: self.operator.GetCommand(id=sent.id).state in ends, "a command ends")
            end = self.operator.GetCommand(id=sent.id)
            if end.state == admin.COMMAND_STATE_FAILED:
                self.assertIn("expired", end.error_message)
            return end.state == admin.COMMAND_STATE_SUCCEEDED
        eventually(is_done, "a command is done", 90)

    def blames_the_clock(self):
        status = self.agent.status()
        text = status["link"]["last_error"] if status and not status["link"]["online"] else ""
        return "certificate" in text and "a clock is wrong" in text

    def expect_all_stored(self):
        self.assertEqual(0, self.agent.terminate())
        stats = self.agent.spool()["telemetry"]
        self.assertEqual((0, 0), (stats["dropped"], stats["quarantined"]))
        # In one look: what the agent sent at its end may be stored while the test is looking. Of a record that waits for its
        # turn the store may have the copy that went ahead.
        mark, stored = self.server.database.query(
            "SELECT a.telemetry_sequence, (SELECT count(*) FROM sample p JOIN series s ON s.workspace_id = p.workspace_id "
            "AND s.id = p.series_id WHERE s.metric = 'host.uptime') FROM agent a WHERE a.name = 'adrift'")[0]
        self.assertLessEqual(int(mark), int(stored))
        self.assertLessEqual(int(stored), int(mark) + stats["records"])
        self.assertIn("good", self.agent.run("spool", "verify").stdout)


class OfTheAgent(Clock):
    def test_ten_years_ahead_and_behind(self):
        for years in (TEN_YEARS, -TEN_YEARS):
            self.agent.set_clock(years)  # while it runs: the session goes on
            self.more_arrives()
            self.identify()
            self.assertEqual(0, self.agent.terminate())
            self.agent.start("--sample-interval", "250ms")  # from the start: the server's certificate is of another time
            eventually(self.blames_the_clock, "the link says why")
            held = self.agent.spool()["telemetry"]["records"]
            eventually(lambda h=held: self.agent.spool()["telemetry"]["records"] > h + 2, "what is sampled is kept")
            self.agent.set_clock(0)
            self.more_arrives()
            eventually(lambda: self.agent.spool()["telemetry"]["records"] < 3, "the backlog is up")
        self.identify()
        # What came with a time to come does not hide what is now.
        watch = self.operator.WatchTelemetry(metric="host.uptime", agent="adrift", timeout=TIMEOUT)
        started = time.time()
        point = next(one for one in watch if one.time.seconds > started - 60)
        self.assertLess(point.time.seconds, started + 3600)
        watch.cancel()
        self.expect_all_stored()


class OfTheServer(Clock):
    def stored(self):
        return self.server.database.number("SELECT count(*) FROM sample")

    def test_ten_years_ahead_and_behind(self):
        for years in (TEN_YEARS, -TEN_YEARS):
            before = self.stored()
            self.server.set_clock(years)
            eventually(lambda: self.server.log_lines("clock_jumped"), "the server says that its clock jumped")
            self.more_arrives()
            self.assertGreater(self.stored(), before)
            self.server.set_clock(0)
            self.more_arrives()
            self.identify()
        for years in (5 * 365 * 86400, -TEN_YEARS):
            before = self.stored()
            self.assertEqual(0, self.server.terminate())
            self.server.set_clock(years)
            self.server.start()
            eventually(self.blames_the_clock, "the link says why")
            self.assertGreaterEqual(self.stored(), before)
            self.assertEqual(0, self.server.terminate())
            self.server.set_clock(0)
            self.server.start()
            self.more_arrives()
            self.identify()
        self.expect_all_stored()


if __name__ == "__main__":
    main()
