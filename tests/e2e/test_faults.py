#!/usr/bin/python3
"""Defects that the fault rounds (chaos/) found, or that their checks made visible: one test each, at the very
step where it went wrong."""
import sys

from harness import *

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e", "chaos"))
from pages import wait_for  # noqa: E402
from world import ChaosServer, Controls  # noqa: E402


class Faults(unittest.TestCase):
    def setUp(self):
        self.server = ChaosServer(Controls(tempfile.mkdtemp(dir=scratch()), "server"), [])
        self.addCleanup(self.server.close)
        self.addCleanup(self.server.controls.disarm)
        self.server.start()
        self.operator = self.server.operator()

    @staticmethod
    def event(sequence):
        one = gateway.AgentEvent(time_us=sequence, severity=gateway.SEVERITY_INFO, kind="fault.test", text=str(sequence))
        return gateway.UploadEventsRequest(
            payload=gateway.EventBatch(events=[one]).SerializeToString(), captured_at=now(), sequence=sequence,
            format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)

    @unittest.skipIf(ENGINE == "sqlite", "SQLite has one writer: nothing is stored while a session begins")
    def test_a_new_session_names_what_the_old_one_stored(self):
        """An agent whose spool is new numbers its records after the mark it is given. A mark from before
        the last records of the old session made the server take the first new ones for repetitions."""
        agent = BaseAgent(self.server, "quick").enroll(self.operator)
        self.assertEqual(2, agent.upload((self.event(i) for i in range(1, 3)), events=True).acked_sequence)
        challenge = agent.begin().challenge
        page = self.server.controls.fault
        page.arm("server.challenge.taken", page.HOLD)
        replies, uploads = [], []
        begins = threading.Thread(target=lambda: replies.append(agent.complete(challenge)))
        begins.start()
        self.assertTrue(wait_for(lambda: page.fired, TIMEOUT))
        sends = threading.Thread(target=lambda: uploads.append(
            code_of(lambda: agent.upload((self.event(i) for i in range(3, 6)), events=True))))
        sends.start()
        sends.join(0.5)
        self.assertTrue(sends.is_alive(), "the mark is read: nothing is stored until the new session stands")
        page.release()
        for thread in (begins, sends):
            thread.join(TIMEOUT)
        whole = gateway.CompleteAuthHandshakeResponse.FromString(replies[0].SerializeToString())
        self.assertEqual(2, whole.events_acked_sequence)
        self.assertEqual((Code.UNAUTHENTICATED, "the session was replaced by a newer one"), uploads[0])
        agent.session = replies[0].session_token
        self.assertEqual(5, agent.upload((self.event(i) for i in range(3, 6)), events=True).acked_sequence)
        self.assertEqual(5, self.server.database.number("SELECT COUNT(*) FROM event WHERE kind = 'fault.test'"))

    @unittest.skipIf(ENGINE == "postgresql", "of the embedded database")
    def test_what_was_acknowledged_survives_a_loss_of_power(self):
        agent = BaseAgent(self.server, "durable").enroll(self.operator)
        self.assertEqual(3, agent.upload((self.event(i) for i in range(1, 4)), events=True).acked_sequence)
        epoch = self.operator.GetAgent(agent="durable").session_epoch
        self.server.controls.torn.arm(0, 1)
        code_of(lambda: self.operator.CreateEnrollmentToken())
        self.assertTrue(wait_for(lambda: not self.server.is_running(), TIMEOUT))
        self.server.controls.torn.disarm()
        self.server.kill()
        self.server.start()
        operator = self.server.operator()
        eventually(lambda: code_of(operator.GetServerInfo)[0] == Code.OK, "it serves again")
        row = operator.GetAgent(agent="durable")
        self.assertEqual((epoch, 3), (row.session_epoch, row.events_sequence))
        self.assertEqual(3, self.server.database.number("SELECT COUNT(*) FROM event WHERE kind = 'fault.test'"))


if __name__ == "__main__":
    main()
