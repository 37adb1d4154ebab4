#!/usr/bin/python3
"""The base protocol from the token to the acknowledged command, by a client that knows nothing else."""
import unittest

from harness import *


class BaseProtocol(ServerCase):
    def test_whole_life_of_a_base_agent(self):
        created = self.operator.CreateEnrollmentToken()
        self.assertTrue(created.secret.startswith("blt_"))
        agent = BaseAgent(self.server, "base-alone")
        reply = agent.register(created.secret)
        self.assertGreater(reply.agent_id, 0)
        self.assertEqual(gateway.ENROLLMENT_STATUS_PENDING, reply.enrollment_status)
        self.assertTrue(reply.identity_fingerprint)
        row = self.operator.GetAgent(agent="base-alone")
        self.assertEqual(admin.AGENT_STATE_AWAITING_CONFIRMATION, row.state)
        self.assertEqual(reply.identity_fingerprint, row.fingerprint)

        confirmed = self.operator.ConfirmAgent(enrollment_id=created.token.id, fingerprint=row.fingerprint,
                                               reveal_api_key=True)
        agent.api_key = confirmed.api_key
        self.assertEqual(gateway.ENROLLMENT_STATUS_CONFIRMED, agent.register(created.secret).enrollment_status)

        begun = agent.begin()
        self.assertEqual(64, len(begun.challenge))
        self.assertLessEqual(begun.expires_at.seconds - now().seconds, 31)
        completed = agent.complete(begun.challenge)
        agent.session = completed.session_token
        self.assertGreater(completed.expires_at.seconds, now().seconds + 86000)

        self.assertLess(abs(agent.heartbeat().received_at.seconds - now().seconds), 30)
        telemetry = [base.UploadTelemetryRequest(payload=b"whatever %d" % i, captured_at=now()) for i in range(20)]
        self.assertEqual(20, agent.upload(telemetry).accepted_count)
        events = [base.UploadEventsRequest(payload=b"\x00\xff", captured_at=now())]
        self.assertEqual(1, agent.upload(events, events=True).accepted_count)
        kept = self.server.database.query(
            f"SELECT stream, count(*) FROM upload WHERE agent_id = {agent.id} GROUP BY stream ORDER BY stream")
        self.assertEqual([("1", "20"), ("2", "1")], kept)

        stream = agent.stream(response=base.ControlStreamResponse)
        sent = self.send(agent)
        got = stream.command()
        self.assertEqual(sent.id, got.command_id)
        self.assertEqual("telemetry_now", gateway.AgentCommand.FromString(got.payload).WhichOneof("command"))
        stream.send(ack(got.command_id))
        self.done(sent.id, admin.COMMAND_STATE_SUCCEEDED)
        failing = self.send(agent)
        stream.send(ack(stream.command().command_id, False, "no sensor here"))
        finished = self.done(failing.id, admin.COMMAND_STATE_FAILED)
        self.assertEqual("no sensor here", finished.error_message)
        stream.half_close()
        self.assertEqual((Code.OK, ""), stream.end())

    def done(self, command_id, state):
        def look():
            command = self.operator.GetCommand(id=command_id)
            return command if command.state == state else None
        return eventually(look, f"the command ends as {admin.CommandState.Name(state)}")


if __name__ == "__main__":
    main()
