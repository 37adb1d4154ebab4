#!/usr/bin/python3
"""Commands as an agent of the base gets them: queued, delivered, acknowledged once, expired, taken back."""
import hashlib

from harness import *


class Commands(ServerCase):
    def finished(self, command_id, state):
        def look():
            command = self.operator.GetCommand(id=command_id)
            return command if command.state == state else None
        return eventually(look, f"the command ends as {admin.CommandState.Name(state)}")

    def test_queued_while_away_delivered_in_order_on_connect(self):
        agent = self.agent()
        sent = [self.send(agent) for _ in range(40)]
        self.assertEqual({admin.COMMAND_STATE_QUEUED}, {command.state for command in sent})
        stream = agent.stream()
        got = [stream.command() for _ in sent]
        self.assertEqual([command.id for command in sent], [command.command_id for command in got])
        self.assertEqual(sorted(command.sequence for command in got), [command.sequence for command in got])
        self.assertEqual(admin.COMMAND_STATE_SENT, self.operator.GetCommand(id=sent[0].id).state)
        for command in got:
            stream.send(ack(command.command_id))
        for command in sent:
            self.finished(command.id, admin.COMMAND_STATE_SUCCEEDED)
        stream.cancel()
        again = agent.stream()
        later = self.send(agent)
        self.assertEqual(later.id, again.command().command_id)
        again.cancel()

    def test_unacknowledged_commands_come_again(self):
        agent = self.agent()
        sent = self.send(agent)
        stream = agent.stream()
        first = stream.command()
        stream.cancel()
        stream = agent.stream()
        self.assertEqual(first, stream.command())
        stream.send(ack(sent.id))
        self.finished(sent.id, admin.COMMAND_STATE_SUCCEEDED)
        stream.cancel()

    def test_a_command_whose_acknowledgement_was_lost_comes_again_though_the_agent_has_seen_it(self):
        agent = self.agent()
        one, two = self.send(agent), self.send(agent)
        stream = Stream(agent.channel, GATEWAY + "ControlStream", agent.credentials)
        stream.send(gateway.ControlStreamRequest(hello=gateway.ControlHello(last_command_sequence=two.sequence)))
        self.assertEqual([one.id, two.id], [stream.command().command_id for _ in range(2)])
        stream.cancel()

    def test_signature_is_that_of_the_key_given_at_enrollment(self):
        created = self.operator.CreateEnrollmentToken()
        agent = BaseAgent(self.server, "verifier")
        reply = agent.unary("Register", base.RegisterRequest(
            enrollment_token=created.secret, name=agent.name, identity_pubkey=agent.identity_public,
            encryption_pubkey=agent.encryption_public), gateway.RegisterResponse)
        agent.id = reply.agent_id
        agent.api_key = self.operator.ConfirmAgent(
            enrollment_id=created.token.id, fingerprint=reply.identity_fingerprint, reveal_api_key=True).api_key
        agent.handshake()
        self.send(agent)
        stream = agent.stream()
        command = stream.command()
        stream.cancel()

        def micros(stamp):
            return str(stamp.seconds * 1000000 + stamp.nanos // 1000).encode()
        with open(os.path.join(ROOT, "common", "crypto", "command_signature.h"), encoding="utf-8") as header:
            domain = header.read().split("COMMAND_SIGNATURE_DOMAIN")[1].split('"')[1].encode()
        fields = [domain, reply.server_id.encode(), str(agent.id).encode(), str(command.sequence).encode(),
                  command.command_id.encode(), command.actor.encode(), micros(command.issued_at),
                  micros(command.expires_at), hashlib.sha512(command.payload).digest()]
        message = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
        key = ed25519.Ed25519PublicKey.from_public_bytes(reply.command_pubkey)
        key.verify(command.signature, message)
        with self.assertRaises(Exception):
            key.verify(command.signature, message[:-1] + b"\x00")

    def test_another_agents_command_cannot_be_acknowledged(self):
        owner, other = self.agent(), self.agent()
        sent = self.send(owner)
        audit = self.operator.ListAuditRecords(action_prefix="command.acknowledged", page_size=1).records
        stream = other.stream()
        stream.send(ack(sent.id))
        stream.send(ack("cmd_00000000000000000000000000"))
        stream.send(ack("'; DROP TABLE command; --"))
        mine = self.send(other)
        self.assertEqual(mine.id, stream.command().command_id)
        stream.send(ack(mine.id))
        self.finished(mine.id, admin.COMMAND_STATE_SUCCEEDED)
        self.assertEqual(admin.COMMAND_STATE_QUEUED, self.operator.GetCommand(id=sent.id).state)
        after = self.operator.ListAuditRecords(action_prefix="command.acknowledged").records
        before = audit[0].sequence if audit else 0
        self.assertEqual([f"command/{mine.id}"], [record.target for record in after if record.sequence > before])
        stream.cancel()

    def test_the_first_acknowledgement_wins(self):
        agent = self.agent()
        stream = agent.stream()
        sent = self.send(agent)
        stream.command()
        stream.send(ack(sent.id, False, "first"))
        stream.send(ack(sent.id, True))
        marker = self.send(agent)
        self.assertEqual(marker.id, stream.command().command_id)
        stream.send(ack(marker.id))
        self.finished(marker.id, admin.COMMAND_STATE_SUCCEEDED)
        command = self.operator.GetCommand(id=sent.id)
        self.assertEqual((admin.COMMAND_STATE_FAILED, "first"), (command.state, command.error_message))
        stream.cancel()

    def test_result_and_code_of_the_whole_contract(self):
        agent = self.agent()
        stream = agent.stream()
        sent = self.send(agent)
        stream.command()
        stream.send(gateway.ControlStreamRequest(ack=gateway.ControlAck(
            command_id=sent.id, succeeded=True, code=gateway.ACK_CODE_PARTIAL, payload=os.urandom(1000))))
        command = self.finished(sent.id, admin.COMMAND_STATE_SUCCEEDED)
        self.assertEqual((gateway.ACK_CODE_PARTIAL, 1000), (command.code, len(command.result)))
        stream.cancel()

    def test_expired_commands_are_not_delivered(self):
        agent = self.agent()
        sent = self.send(agent, ttl=1)
        self.finished(sent.id, admin.COMMAND_STATE_EXPIRED)
        later = self.send(agent)
        stream = agent.stream()
        self.assertEqual(later.id, stream.command().command_id)
        stream.cancel()
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.CancelCommand(id=sent.id))

    def test_cancel_takes_back_what_was_not_sent(self):
        agent = self.agent()
        sent = self.send(agent)
        self.assertEqual(admin.COMMAND_STATE_CANCELLED, self.operator.CancelCommand(id=sent.id).state)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.CancelCommand(id=sent.id))
        stream = agent.stream()
        delivered = self.send(agent)
        self.assertEqual(delivered.id, stream.command().command_id)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.CancelCommand(id=delivered.id))
        stream.cancel()

    def test_idempotency_key(self):
        agent, other = self.agent(), self.agent()
        first = self.send(agent, idempotency_key="again")
        for _ in range(3):
            self.assertEqual(first.id, self.send(agent, idempotency_key="again").id)
        replies = in_threads(10, lambda i: self.send(agent, idempotency_key="at once"))
        ids = {reply.id for reply in replies if not isinstance(reply, Exception)}
        self.assertEqual(1, len(ids), replies)
        self.refused(Code.ALREADY_EXISTS, lambda: self.send(other, idempotency_key="again"), "idempotency_key")
        drain = gateway.AgentCommand(drain=gateway.Drain())
        self.refused(Code.ALREADY_EXISTS, lambda: self.send(agent, command=drain, idempotency_key="again"))
        self.assertEqual(2, len(self.operator.ListCommands(agent=str(agent.id)).commands))

    def test_commands_that_are_refused(self):
        agent = self.agent()
        wrong = [("command", gateway.AgentCommand()),
                 ("rotate_key", gateway.AgentCommand(rotate_key=gateway.RotateKey(sealed_api_key=bytes(64)))),
                 ("sample_interval_ms", gateway.AgentCommand(set_config=gateway.SetConfig(sample_interval_ms=249))),
                 ("action", gateway.AgentCommand(device_command=gateway.DeviceCommand())),
                 ("action", gateway.AgentCommand(device_command=gateway.DeviceCommand(action="a b"))),
                 ("reconnect_after_ms", gateway.AgentCommand(drain=gateway.Drain(reconnect_after_ms=3600001)))]
        for word, command in wrong:
            self.refused(Code.INVALID_ARGUMENT, lambda c=command: self.send(agent, command=c), word)
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.SendCommand(agent=str(agent.id)), "command")
        self.refused(Code.INVALID_ARGUMENT, lambda: self.send(agent, ttl=604801), "ttl_seconds")
        self.refused(Code.INVALID_ARGUMENT, lambda: self.send(agent, idempotency_key="k" * 129), "idempotency_key")
        self.assertEqual(0, len(self.operator.ListCommands(agent=str(agent.id)).commands))
        revoked = self.agent()
        self.operator.RevokeAgent(agent=str(revoked.id))
        code, _ = code_of(lambda: self.send(revoked))
        self.assertIn(code, (Code.FAILED_PRECONDITION, Code.NOT_FOUND))

    def test_commands_survive_a_restart_and_a_kill(self):
        agent = self.agent()
        sent = [self.send(agent, ttl=600) for _ in range(5)]
        stream = agent.stream()
        stream.command()
        self.server.kill()
        self.server.start()
        stream.end()
        eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.OK, "the agent's way is back")
        stream = agent.stream()
        self.assertEqual([command.id for command in sent], [stream.command().command_id for _ in sent])
        for command in sent:
            stream.send(ack(command.id))
        for command in sent:
            self.finished(command.id, admin.COMMAND_STATE_SUCCEEDED)
        stream.cancel()


if __name__ == "__main__":
    main()
