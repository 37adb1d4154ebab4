#!/usr/bin/python3
"""The real agent against a server whose database or keys somebody has got at: it obeys what was signed for it,
once, and nothing else; and it speaks to no other server."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))
from harness import *  # noqa: E402

IDENTIFY = gateway.AgentCommand(device_command=gateway.DeviceCommand(action="identify"))
REBOOT = gateway.AgentCommand(device_command=gateway.DeviceCommand(action="reboot")).SerializeToString()


class Tampering(ServerCase):
    def real(self, name):
        agent = RealAgent(self.server, name)
        agent.enroll(self.operator)
        return agent

    def queue(self, name, ttl=600):
        return self.operator.SendCommand(agent=name, command=IDENTIFY, ttl_seconds=ttl).id

    def ended(self, command_id):
        def look():
            command = self.operator.GetCommand(id=command_id)
            return command if command.state in (admin.COMMAND_STATE_SUCCEEDED, admin.COMMAND_STATE_FAILED) else None
        return eventually(look, f"{command_id} ends")

    def test_altered_commands_are_refused_and_the_next_good_one_obeyed(self):
        agent = self.real("wary")
        changes = {"payload": f"payload = {Database.blob(REBOOT)}", "actor": "actor = 'user:local/1'",
                   "signature": f"signature = {Database.blob(bytes(64))}", "expiry": "expires_at = expires_at + 1000000",
                   "issue": "created_at = created_at - 1000000", "sequence": "sequence = sequence + 1000000",
                   "signature's length": f"signature = {Database.blob(bytes(10))}"}
        altered = {}
        for what, change in changes.items():
            altered[what] = self.queue("wary")
            self.server.database.query(f"UPDATE command SET {change} WHERE id = '{altered[what]}'")
        agent.start()
        for what, one in altered.items():
            command = self.ended(one)
            self.assertEqual(admin.COMMAND_STATE_FAILED, command.state, what)
            self.assertIn(command.code, (gateway.ACK_CODE_FORBIDDEN, gateway.ACK_CODE_BAD_REQUEST), what)
        agent.terminate()
        agent.start()
        good = self.queue("wary")
        self.assertEqual(admin.COMMAND_STATE_SUCCEEDED, self.ended(good).state)
        self.assertEqual([good], [line["command"] for line in agent.log_lines("command_started")])
        self.assertEqual(set(altered.values()), {line["command"] for line in agent.log_lines("command_refused")})
        told = eventually(lambda: [event for event in self.operator.ListEvents(agent="wary").events
                                   if "command" in event.kind], "the refusals are told as events")
        self.assertTrue(told)

    def test_a_command_for_another_agent_is_refused(self):
        agent = self.real("alice")
        other = self.real("bob")
        meant_for_bob = self.queue("bob")
        number = self.operator.GetAgent(agent="alice").id
        self.server.database.query(f"UPDATE command SET agent_id = {number} WHERE id = '{meant_for_bob}'")
        agent.start()
        self.assertEqual(gateway.ACK_CODE_FORBIDDEN, self.ended(meant_for_bob).code)
        self.assertEqual([], agent.log_lines("command_started"))
        self.assertFalse(other.is_running())

    def test_a_replayed_command_is_answered_from_the_log(self):
        agent = self.real("once")
        agent.start()
        first = self.queue("once")
        done = self.ended(first)
        for _ in range(3):
            self.server.database.query(f"UPDATE command SET state = 1, result = {Database.blob(b'')} WHERE id = '{first}'")
            agent.terminate()
            agent.start()
            again = self.ended(first)
            self.assertEqual((done.state, done.code, done.result), (again.state, again.code, again.result))
        self.assertEqual([first], [line["command"] for line in agent.log_lines("command_started")])

    def test_a_server_with_another_command_key_is_not_obeyed(self):
        agent = self.real("loyal")
        self.assertEqual(0, self.server.terminate())
        path = os.path.join(self.server.state, "command.key")
        kept = path + ".kept"
        os.rename(path, kept)
        try:
            self.server.start()
            eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")
            forged = self.queue("loyal")
            agent.start()
            self.assertEqual(gateway.ACK_CODE_FORBIDDEN, self.ended(forged).code)
            self.assertEqual([], agent.log_lines("command_started"))
        finally:
            agent.terminate()
            self.server.terminate()
            os.replace(kept, path)
            self.server.start()
            eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")

    def test_a_server_with_another_ca_is_not_spoken_to(self):
        agent = self.real("faithful")
        calls = "agentgateway.v1.AgentGatewayService"
        self.assertEqual(0, self.server.terminate())
        folder = os.path.join(self.server.state, "tls")
        os.rename(folder, folder + ".kept")
        try:
            self.server.forget_channels()
            self.server.start()
            type(self).operator = self.server.operator()
            before = sum(1 for line in self.server.log_lines("rpc") if calls in line["method"])
            agent.start()
            eventually(lambda: agent.log_lines("link_problem"), "the agent says what is wrong")
            problem = agent.log_lines("link_problem")[0]["error"]
            self.assertTrue(any(word in problem.lower() for word in ("certificate", "ca", "identity", "trust")), problem)
            self.assertEqual(before, sum(1 for line in self.server.log_lines("rpc") if calls in line["method"]))
        finally:
            agent.terminate()
            self.server.terminate()
            shutil.rmtree(folder)
            os.rename(folder + ".kept", folder)
            self.server.forget_channels()
            self.server.start()
            type(self).operator = self.server.operator()


if __name__ == "__main__":
    main()
