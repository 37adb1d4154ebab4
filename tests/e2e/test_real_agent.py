#!/usr/bin/python3
"""The real agent against the real server: enrollment, telemetry, commands, key rotation, outages."""
from harness import *


def device(action, name=""):
    return gateway.AgentCommand(device_command=gateway.DeviceCommand(device=name, action=action))


class RealAgentCase(ServerCase):
    def real(self, name, *args):
        agent = RealAgent(self.server, name)
        agent.enroll(self.operator)
        agent.start("--sample-interval", "250ms", *args)
        self.online(name)
        return agent

    def row(self, name):
        return self.operator.GetAgent(agent=name)

    def online(self, name):
        eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket answers")
        return eventually(lambda: self.row(name).online and self.row(name).session_epoch, f"{name} is online")

    def carry_out(self, name, command):
        sent = self.operator.SendCommand(agent=name, command=command, ttl_seconds=60)
        last = None
        for last in self.operator.WatchCommand(id=sent.id):
            pass
        return last


class Life(RealAgentCase):
    def test_telemetry_arrives_and_is_queried(self):
        self.real("teller")
        eventually(lambda: self.row("teller").telemetry_sequence > 4, "telemetry is stored")
        metrics = self.operator.ListMetrics(agent="teller").metrics
        self.assertIn("host.cpu.busy", [metric.metric for metric in metrics])
        reply = self.operator.QueryTelemetry(metric="host.memory.total", agent="teller")
        self.assertEqual(1, len(reply.series))
        self.assertGreater(len(reply.series[0].rows), 3)
        with open("/proc/meminfo", encoding="ascii") as info:
            total = int(info.readline().split()[1]) * 1024
        self.assertEqual({float(total)}, {row.value for row in reply.series[0].rows})
        devices = self.operator.ListDevices(agent="teller").devices
        self.assertEqual(["host"], [entry.name for entry in devices])
        self.assertEqual(os.uname().release, devices[0].facts["kernel"])

    def test_every_command_of_now(self):
        agent = self.real("obedient")
        before = self.row("obedient").session_epoch
        done = self.carry_out("obedient", gateway.AgentCommand(telemetry_now=gateway.TelemetryNow()))
        self.assertEqual((admin.COMMAND_STATE_SUCCEEDED, gateway.ACK_CODE_OK), (done.state, done.code))
        self.assertIn("host.cpu.busy", [one.metric for one in gateway.TelemetryBatch.FromString(done.result).series])
        done = self.carry_out("obedient", device("identify"))
        self.assertEqual(os.uname().nodename, json.loads(done.result)["hostname"])
        done = self.carry_out("obedient", device("reboot"))
        self.assertEqual((admin.COMMAND_STATE_FAILED, gateway.ACK_CODE_FORBIDDEN), (done.state, done.code))
        self.assertTrue(done.error_message)
        done = self.carry_out("obedient", device("identify", "no-such"))
        self.assertEqual((admin.COMMAND_STATE_FAILED, gateway.ACK_CODE_BAD_REQUEST), (done.state, done.code))
        done = self.carry_out("obedient", device("explode"))
        self.assertEqual(admin.COMMAND_STATE_FAILED, done.state)
        done = self.carry_out("obedient", gateway.AgentCommand(set_config=gateway.SetConfig(sample_interval_ms=500)))
        self.assertEqual(admin.COMMAND_STATE_SUCCEEDED, done.state)
        done = self.carry_out("obedient", gateway.AgentCommand(drain=gateway.Drain(reconnect_after_ms=300)))
        self.assertEqual(admin.COMMAND_STATE_SUCCEEDED, done.state)
        eventually(lambda: any(line["state"] == "draining" for line in agent.log_lines("link_state")), "it drains")
        eventually(lambda: len(agent.log_lines("link_online")) > 1 and agent.status()["link"]["online"], "it is back")
        self.assertEqual(before, self.row("obedient").session_epoch)  # with the token it had
        self.assertEqual(admin.COMMAND_STATE_SUCCEEDED, self.carry_out("obedient", device("identify")).state)

    def test_key_rotation(self):
        self.real("rotating")
        keys = (f"SELECT {Database.hex('api_key_hash')}, coalesce({Database.hex('next_api_key_hash')}, '') "
                "FROM agent WHERE name = 'rotating'")
        (first, none), = self.server.database.query(keys)
        self.assertEqual("", none)
        command = self.operator.RotateAgentKey(agent="rotating")
        self.assertEqual("rotate_key", command.kind)
        eventually(lambda: self.operator.GetCommand(id=command.id).state == admin.COMMAND_STATE_SUCCEEDED, "rotated")
        # The agent comes again with the new key at once, and with that the old one is dead.
        eventually(lambda: self.server.database.query(keys)[0][0] != first, "a session with the new key")
        (new, none), = self.server.database.query(keys)
        self.assertNotEqual(first, new)
        self.assertEqual("", none)
        epoch = self.row("rotating").session_epoch
        self.operator.EvictAgent(agent="rotating")
        eventually(lambda: self.row("rotating").session_epoch > epoch, "another session with the new key")
        self.assertEqual(admin.COMMAND_STATE_SUCCEEDED, self.carry_out("rotating", device("identify")).state)

    def test_revoked_agent_says_so_and_does_not_come_back(self):
        agent = self.real("outcast")
        eventually(lambda: agent.log_lines("link_online"), "the agent knows that it is online")
        self.operator.RevokeAgent(agent="outcast")
        eventually(lambda: not self.row("outcast").online or self.row("outcast").state == admin.AGENT_STATE_REVOKED, "out")
        eventually(lambda: (agent.status() or {"link": {"online": False}})["link"]["online"] is False, "the link is down")
        self.assertEqual(admin.AGENT_STATE_REVOKED, self.row("outcast").state)
        eventually(lambda: any(line["what"] == "handshake" and line["code"] == "unauthenticated"
                               for line in agent.log_lines("link_problem")), "its key is refused as well")
        self.assertEqual(1, len(agent.log_lines("link_online")))

    def test_commands_sent_while_the_agent_is_away(self):
        agent = self.real("traveller")
        self.assertEqual(0, agent.terminate())
        sent = [self.operator.SendCommand(agent="traveller", command=device("identify"), ttl_seconds=600)
                for _ in range(20)]
        agent.start()
        for command in sent:
            eventually(lambda c=command: self.operator.GetCommand(id=c.id).state == admin.COMMAND_STATE_SUCCEEDED, "done")
        started = [line["command"] for line in agent.log_lines("command_started")]
        self.assertEqual([command.id for command in sent], started)


class Enrolling(RealAgentCase):
    def test_confirmation_by_fingerprint_from_the_command_line(self):
        agent = RealAgent(self.server, "asker")
        join = self.operator.CreateEnrollmentToken(labels={"site": "lab"}).join_string
        out = agent.run("enroll", "-", "--name", "asker", "--no-wait", text=join, check=False)
        if out.returncode != 0:
            out = agent.run("enroll", "-", "--name", "asker", "--wait=false", text=join)
        row = self.row("asker")
        self.assertIn(row.fingerprint, out.stdout)
        self.assertEqual("lab", row.labels["site"])
        agent.start()
        self.assertEqual(admin.AGENT_STATE_AWAITING_CONFIRMATION, self.row("asker").state)
        self.operator.ConfirmAgent(enrollment_id=row.enrollment_id, fingerprint=row.fingerprint)
        self.online("asker")

    def test_join_strings_that_are_refused(self):
        good = self.operator.CreateEnrollmentToken(auto_confirm=True).join_string
        agent = RealAgent(self.server, "refused")
        # The pin is the last run of hex digits: one digit changed is another server.
        flipped = good[:-1] + ("0" if good[-1] != "0" else "1")
        for join in ("", "nonsense", "http://127.0.0.1:1/", flipped, good[:20]):
            run = agent.run("enroll", "-", "--name", "refused", text=join, check=False)
            self.assertNotEqual(0, run.returncode, join)
            self.assertTrue(run.stderr.strip())
            self.assertNotIn("Sanitizer", run.stderr)
        self.assertEqual(0, len(self.operator.ListAgents(name_prefix="refused").agents))
        agent.run("enroll", "-", "--name", "refused", text=good)
        other = RealAgent(self.server, "second")
        run = other.run("enroll", "-", "--name", "second", text=good, check=False)
        self.assertNotEqual(0, run.returncode)
        self.assertIn("token", run.stderr)
        again = agent.run("enroll", "-", "--name", "refused", text=good, check=False)
        self.assertIn("already enrolled", again.stderr)
        self.assertNotEqual(0, again.returncode)


class Combined(ServerCase):
    mode = "combined"

    def test_the_nodes_own_agent_enrolls_itself_and_obeys(self):
        eventually(lambda: self.operator.GetServerInfo().agents_online == 1, "the local agent is online")
        agent, = self.operator.ListAgents().agents
        self.assertEqual("true", agent.labels["belay.dev/local"])
        eventually(lambda: self.operator.GetAgent(agent=agent.name).telemetry_sequence > 0, "telemetry is stored")
        sent = self.operator.SendCommand(agent=agent.name, command=device("identify"))
        eventually(lambda: self.operator.GetCommand(id=sent.id).state == admin.COMMAND_STATE_SUCCEEDED, "done")
        self.assertIn(agent.name, self.server.cli("agent", "list").stdout)
        self.assertEqual(0, self.server.terminate())
        self.server.start()
        eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")
        eventually(lambda: self.operator.GetAgent(agent=agent.name).session_epoch > agent.session_epoch, "it is back")
        self.assertEqual(1, len(self.operator.ListAgents().agents))

    def test_a_name_that_is_taken_is_said_and_not_asked_for_again_and_again(self):
        server = Server("combined")
        self.addCleanup(server.close)
        server.start()
        operator = server.operator()
        eventually(lambda: operator.GetServerInfo().agents_online == 1, "the local agent is online")
        name = operator.ListAgents().agents[0].name
        server.terminate()
        shutil.rmtree(server.agent_dir)  # a new agent, of a name that another one has
        starts = len(server.log_lines("local_agent_started"))
        server.start()
        refused, = eventually(lambda: server.log_lines("local_agent_refused"), "it is said")
        self.assertIn("--name NAME", refused["do"])
        self.assertEqual("error", refused["level"])
        self.assertTrue(any("choose another name" in line["error"] for line in server.log_lines("link_problem")))
        server.operator().RevokeAgent(agent=name)
        server.terminate()
        self.assertEqual(starts + 1, len(server.log_lines("local_agent_started")))
        server.start()
        eventually(lambda: server.operator().GetServerInfo().agents_online == 1, "it is enrolled anew")


if __name__ == "__main__":
    main()
