#!/usr/bin/python3
"""kill -9 of server and agent in the middle of uploads, commands and enrollment: what was acknowledged is
stored once, what was ordered is done at most once. The seed is printed; BELAY_TEST_SEED repeats it."""
import random

from harness import *

SEED = int(os.environ.get("BELAY_TEST_SEED", str(random.SystemRandom().randrange(1 << 32))))
print("seed", SEED, flush=True)


class Crash(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.server = Server()
        self.addCleanup(self.server.close)
        self.server.start()
        self.operator = self.server.operator()

    def back(self):
        eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket answers")

    def restart_server(self):
        self.server.kill()
        self.server.start()
        self.back()

    def row(self, name):
        return self.operator.GetAgent(agent=name)

    def uptimes(self, name):
        rows = self.server.database.query(
            "SELECT p.time_us FROM sample p JOIN series s ON s.workspace_id = p.workspace_id AND s.id = p.series_id "
            f"JOIN agent a ON a.id = s.agent_id WHERE a.name = '{name}' AND s.metric = 'host.uptime'")
        return [int(row[0]) for row in rows]


class Uploads(Crash):
    def test_server_killed_under_a_client_that_sends_until_it_is_acknowledged(self):
        agent = BaseAgent(self.server, "sender").enroll(self.operator)
        total = 3000
        progress = {"acked": 0}

        def event(sequence):
            one = gateway.AgentEvent(time_us=sequence, severity=gateway.SEVERITY_INFO, kind="crash.test", text=str(sequence))
            return gateway.UploadEventsRequest(
                payload=gateway.EventBatch(events=[one]).SerializeToString(), captured_at=now(), sequence=sequence,
                format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)

        def send_all():
            end = time.monotonic() + 80
            while progress["acked"] < total and time.monotonic() < end:
                first = progress["acked"] + 1
                try:
                    reply = agent.upload((event(i) for i in range(first, min(first + 60, total + 1))), events=True)
                    progress["acked"] = max(progress["acked"], reply.acked_sequence)
                except grpc.RpcError:
                    with contextlib.suppress(grpc.FutureTimeoutError):  # see test_balancer.py
                        grpc.channel_ready_future(agent.channel).result(TIMEOUT)
        thread = threading.Thread(target=send_all)
        thread.start()
        for kill in range(1, 6):
            mark = total * kill // 6 + self.random.randrange(100)
            eventually(lambda m=mark: progress["acked"] >= m or not thread.is_alive(), "the upload goes on", 60)
            acked = progress["acked"]
            self.restart_server()
            self.assertGreaterEqual(self.row("sender").events_sequence, acked)
        thread.join()
        self.assertEqual(total, progress["acked"])
        stored = self.server.database.query("SELECT text FROM event WHERE kind = 'crash.test'")
        self.assertEqual(list(range(1, total + 1)), sorted(int(row[0]) for row in stored))

    def test_agent_and_server_killed_while_the_agent_uploads(self):
        agent = RealAgent(self.server, "victim")
        agent.enroll(self.operator)
        agent.start("--sample-interval", "250ms", "--spool-delay", "1s")
        eventually(lambda: self.row("victim").telemetry_sequence > 2, "telemetry is stored")
        spooled = set()
        for _ in range(4):
            self.server.kill()
            held = agent.spool()["telemetry"]["next_sequence"] + self.random.randrange(2, 6)
            eventually(lambda h=held: agent.spool()["telemetry"]["next_sequence"] >= h, "the spool grows")
            agent.kill()
            listed = agent.run("spool", "list").stdout.splitlines()
            spooled |= {line.split()[0] for line in listed if " host.uptime " in line}
            # with a delay some of it dies in memory: then its numbers are given again
            agent.start("--sample-interval", "250ms", "--spool-delay", self.random.choice(("0s", "1s")))
            self.server.start()
            self.back()
            target = agent.spool()["telemetry"]["next_sequence"] - self.random.randrange(1, 3)
            eventually(lambda t=target: self.row("victim").telemetry_sequence >= t, "it catches up")
        eventually(lambda: agent.spool()["telemetry"]["records"] == 0, "the spool is empty")
        self.assertEqual(0, agent.terminate())
        stats = agent.spool()["telemetry"]
        self.assertEqual((0, 0), (stats["dropped"], stats["quarantined"]))
        times = self.uptimes("victim")
        self.assertEqual(len(times), len(set(times)))
        self.assertEqual(self.row("victim").telemetry_sequence, len(times))
        self.assertGreaterEqual(self.row("victim").telemetry_sequence, stats["acked_sequence"])
        self.assertGreater(len(spooled), 4)
        from datetime import datetime, timezone
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        wanted = {(datetime.fromisoformat(text.replace("Z", "+00:00")) - epoch) for text in spooled}
        lost = {round(delta.total_seconds() * 1e6) for delta in wanted} - set(times)
        self.assertEqual(set(), lost)
        self.assertIn("good", agent.run("spool", "verify").stdout)


class Commands(Crash):
    def test_agent_and_server_killed_while_commands_run(self):
        agent = RealAgent(self.server, "worker")
        agent.enroll(self.operator)
        agent.start()
        sent = []
        for turn in range(5):
            begun = len(agent.log_lines("command_started"))
            for _ in range(self.random.randrange(4, 10)):
                command = gateway.AgentCommand(device_command=gateway.DeviceCommand(action="identify"))
                sent.append(self.operator.SendCommand(agent="worker", command=command, ttl_seconds=600).id)
            wanted = self.random.randrange(1, 4)
            eventually(lambda b=begun, w=wanted: len(agent.log_lines("command_started")) >= b + w, "commands run")
            if turn % 2:
                self.restart_server()
            else:
                agent.kill()
                agent.start()
        open_states = (admin.COMMAND_STATE_QUEUED, admin.COMMAND_STATE_SENT)
        for one in sent:
            eventually(lambda c=one: self.operator.GetCommand(id=c).state not in open_states, f"{one} ends", 60)
        started = [line["command"] for line in agent.log_lines("command_started")]
        self.assertEqual(len(started), len(set(started)), "a command was begun twice")
        states = {one: self.operator.GetCommand(id=one).state for one in sent}
        for one, state in states.items():
            if state == admin.COMMAND_STATE_SUCCEEDED:
                self.assertIn(one, started)
        succeeded = sum(1 for state in states.values() if state == admin.COMMAND_STATE_SUCCEEDED)
        self.assertGreaterEqual(succeeded, len(sent) - 3 * 4)


class Enrollment(Crash):
    def join_file(self, agent, **fields):
        path = os.path.join(agent.directory, "join")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(self.operator.CreateEnrollmentToken(**fields).join_string + "\n")
        return path

    def rows(self, name):
        return self.server.database.number(f"SELECT count(*) FROM agent WHERE name = '{name}'")

    def test_agent_killed_at_every_step(self):
        agent = RealAgent(self.server, "stubborn")
        args = ("--name", "stubborn", "--join", self.join_file(agent))
        marks = [lambda: agent.log_lines("agent_started"), lambda: agent.log_lines("link_state"),
                 lambda: self.rows("stubborn"), lambda: self.rows("stubborn")]
        for mark in marks:
            agent.start(*args)
            eventually(mark, "a step of the enrollment")
            agent.kill()
        row = self.row("stubborn")
        agent.start(*args)
        self.operator.ConfirmAgent(enrollment_id=row.enrollment_id, fingerprint=row.fingerprint)
        eventually(lambda: self.row("stubborn").session_epoch > 0, "the first session")
        agent.kill()
        agent.start(*args)
        eventually(lambda: self.row("stubborn").online and self.row("stubborn").session_epoch > 1, "it is online")
        self.assertEqual(1, self.rows("stubborn"))

    def test_server_killed_at_every_step(self):
        agent = RealAgent(self.server, "patient")
        args = ("--name", "patient", "--join", self.join_file(agent))
        agent.start(*args)
        eventually(lambda: agent.log_lines("link_state"), "it begins")
        self.restart_server()
        eventually(lambda: self.rows("patient"), "it is registered")
        self.restart_server()
        row = self.row("patient")
        self.operator.ConfirmAgent(enrollment_id=row.enrollment_id, fingerprint=row.fingerprint)
        self.restart_server()
        eventually(lambda: self.row("patient").session_epoch > 0, "the first session")
        self.restart_server()
        eventually(lambda: self.row("patient").telemetry_sequence > 0, "telemetry is stored")
        self.assertEqual(1, self.rows("patient"))
        self.assertTrue(agent.is_running())


if __name__ == "__main__":
    main()
