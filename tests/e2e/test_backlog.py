#!/usr/bin/python3
"""After a long time offline: what is now is seen at once, over a line on which the backlog takes long, and in
the end every record is stored once."""
import hashlib
import socket

from harness import *

BACKLOG = 2500
SERIES = 20


class SlowLine:
    """A TCP relay to the server that passes so many bytes a second upwards; None: all it can."""

    def __init__(self, port, bytes_per_second):
        self.port = port
        self.rate = bytes_per_second
        self.passed = 0
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # what waits, waits at the agent
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.address = self.listener.getsockname()
        self.open = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            self.open += [near, far]
            threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, source, sink, is_slow):
        try:
            while data := source.recv(1024 if is_slow and self.rate else 65536):
                sink.sendall(data)
                if is_slow:
                    self.passed += len(data)
                    if self.rate:
                        time.sleep(len(data) / self.rate)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for one in self.open:
            one.close()


def checksum(captured_at, payload):
    """As the agent computes it: each part after its length; half of the hash."""
    digest = hashlib.blake2b(digest_size=32)
    for part in (b"belay.spool.v1", f"{captured_at} 1 0".encode(), payload):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def fill(agent, count):
    """What a spool holds after a long time away: as many records, each of some seconds."""
    begin = int(time.time() * 1e6) - count * 5_000_000
    series = [gateway.TelemetrySeries(metric=f"test.backlog.a-longer-name-{i}", unit="count") for i in range(SERIES)]
    database = sqlite3.connect(os.path.join(agent.state, "spool.db"))
    first, = database.execute("SELECT next_sequence FROM stream WHERE stream = 1").fetchone()
    clock, = database.execute("SELECT value FROM setting WHERE name = 'spool_clock'").fetchone()
    size = 0
    for i in range(count):
        at = begin + i * 5_000_000
        batch = gateway.TelemetryBatch(series=series, samples=[
            gateway.TelemetrySample(series=n, time_us=at, value=i) for n in range(SERIES)])
        payload = batch.SerializeToString()
        size += len(payload) + 64
        database.execute(
            "INSERT INTO record (stream, sequence, captured_at, stored_at, format, compression, checksum, payload) "
            "VALUES (1, ?, ?, ?, 1, 0, ?, ?)", (first + i, at, clock, checksum(at, payload)[:16], payload))
    database.execute("UPDATE stream SET next_sequence = next_sequence + ?, records = records + ?, bytes = bytes + ? "
                     "WHERE stream = 1", (count, count, size))
    database.commit()
    database.close()
    return first + count - 1, begin


class Backlog(ServerCase):
    def test_what_is_now_is_seen_while_the_past_goes_up(self):
        agent = RealAgent(self.server, "long-away")
        agent.enroll(self.operator)
        agent.start()
        eventually(lambda: self.operator.GetAgent(agent="long-away").telemetry_sequence > 0, "telemetry is stored")
        self.assertEqual(0, agent.terminate())
        last, begin = fill(agent, BACKLOG)
        self.assertIn("good", agent.run("spool", "verify").stdout)

        line = SlowLine(self.server.port, 96 * 1024)
        self.addCleanup(line.close)
        enrollment = os.path.join(agent.state, "enrollment")
        with open(enrollment, encoding="utf-8") as file:
            text = file.read()
        with open(enrollment, "w", encoding="utf-8") as file:
            file.write(text.replace(f"127.0.0.1:{self.server.port}", "%s:%d" % line.address))

        started = int(time.time() * 1e6)
        watch = self.operator.WatchTelemetry(metric="host.uptime", agent="long-away", timeout=60)
        agent.start("--sample-interval", "1s")
        fresh = []
        for point in watch:
            at = point.time.ToMicroseconds()
            if at > started:
                fresh.append(at)
            if len(fresh) == 3:
                break
        held = self.operator.GetAgent(agent="long-away").telemetry_sequence
        self.assertLess(held, last, "the backlog was up before: nothing was shown")
        self.assertGreater(last - held, BACKLOG // 4)
        watch.cancel()
        self.assertGreater(int(agent.status()["link"]["uploaded_copies"]), 0)

        line.rate = None
        eventually(lambda: self.operator.GetAgent(agent="long-away").telemetry_sequence > last + 2, "the backlog is up", 90)
        self.assertEqual(0, agent.terminate())
        agent.start()
        eventually(lambda: (agent.status() or {}).get("link", {}).get("online"), "the agent is online")
        eventually(lambda: agent.spool()["telemetry"]["records"] == 0, "the spool is empty")
        self.assertEqual(0, agent.terminate())
        stored = self.server.database.query(
            "SELECT s.metric, count(*), count(DISTINCT p.time_us), min(p.time_us), max(p.value) FROM sample p "
            "JOIN series s ON s.workspace_id = p.workspace_id AND s.id = p.series_id "
            "WHERE s.metric LIKE 'test.backlog.%' GROUP BY s.metric")
        self.assertEqual(SERIES, len(stored))
        for _, rows, times, oldest, highest in stored:
            self.assertEqual((BACKLOG, BACKLOG, begin, BACKLOG - 1), (int(rows), int(times), int(oldest), float(highest)))
        # Every record of the agent's own holds one sample of host.uptime, whether a copy went before it or not.
        uptimes = self.server.database.number(
            "SELECT count(*) FROM sample p JOIN series s ON s.workspace_id = p.workspace_id AND s.id = p.series_id "
            "WHERE s.metric = 'host.uptime'")
        self.assertEqual(self.operator.GetAgent(agent="long-away").telemetry_sequence - BACKLOG, uptimes)
        self.assertEqual(0, self.server.database.number("SELECT count(*) FROM upload"))


if __name__ == "__main__":
    main()
