#!/usr/bin/python3
"""The load tool against a real server: what it counts is what the server has."""
import json
import os
import subprocess

from harness import *  # noqa: F401,F403
import harness

AGENTS = 50


class Sim(ServerCase):
    def sim(self, *args, status=0):
        run = subprocess.run(
            [os.path.join(harness.BIN, "belay-sim"), "--operator-socket", self.server.operator_socket, "--json", *args],
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(status, run.returncode, run.stdout + run.stderr)
        self.assertNotIn("Sanitizer", run.stderr)
        return run

    def values(self, agent):
        """Numbers of the records that the server has of an agent."""
        reply = self.operator.QueryTelemetry(metric="sim.sequence", agent=str(agent.id), max_points=10000)
        return sorted(int(row.value) for series in reply.series for row in series.rows)

    def test_everything_once(self):
        """Cut connections, lost answers and repeated uploads: each record is stored once, each command answered."""
        run = self.sim(
            "--agents", str(AGENTS), "--processes", "2", "--name", "once", "--duration", "4s",
            "--telemetry-interval", "500ms", "--samples", "3", "--jitter", "30%", "--duplicate", "20%", "--lose-acks", "20%",
            "--at", "1s=command:100%", "--at", "1500ms=drop:40%", "--at", "2500ms=storm:60%", "--verify")
        report = json.loads(run.stdout)
        counts = report["counts"]
        self.assertTrue(report["good"])
        self.assertGreater(counts["upload_acks_lost"], 0)
        self.assertGreater(counts["records_repeated"], 0)
        self.assertEqual(counts["records_made"], counts["records_acked"])
        self.assertEqual(counts["records_acked"], counts["stored"])
        self.assertEqual((0, 0), (counts["missing"], counts["stored_twice"]))
        self.assertEqual(AGENTS, counts["commands_executed"])

        agents = [agent for agent in self.operator.ListAgents(page_size=1000).agents if agent.name.startswith("once-")]
        self.assertEqual(AGENTS, len(agents))
        stored = [self.values(agent) for agent in agents]
        for values in stored:
            self.assertEqual(list(range(1, len(values) + 1)), values)
        self.assertEqual(counts["records_made"], sum(len(values) for values in stored))
        commands = self.operator.ListCommands(page_size=1000).commands
        ours = {agent.id for agent in agents}
        states = [command.state for command in commands if command.agent_id in ours]
        self.assertEqual([admin.COMMAND_STATE_SUCCEEDED] * AGENTS, states)

    def test_slow_readers_and_refusals(self):
        """Agents that do not read and agents that refuse: the server's rows tell."""
        run = self.sim(
            "--agents", "4", "--name", "slow", "--duration", "2s", "--telemetry-interval", "0s", "--ack", "busy",
            "--at", "0s=slow:50%", "--at", "200ms=command:100%", "--at", "1s=slow:0%")
        counts = json.loads(run.stdout)["counts"]
        self.assertEqual((4, 4), (counts["commands_given"], counts["commands_executed"]))
        ours = {agent.id for agent in self.operator.ListAgents(page_size=1000).agents if agent.name.startswith("slow-")}
        codes = [command.code for command in self.operator.ListCommands(page_size=1000).commands
                 if command.agent_id in ours]
        self.assertEqual([gateway.ACK_CODE_BUSY] * 4, codes)

    def test_usage(self):
        """What it is given is checked before anything is opened."""
        for args, word in ((("--at", "5m=drop:1%"), "--duration"), (("--at", "drop"), "TIME=ACTION:VALUE"),
                           (("--processes", "9", "--agents", "2"), "--processes"), (("--plaintext",), "--target")):
            self.assertIn(word, self.sim(*args, status=64).stderr)


if __name__ == "__main__":
    harness.main()
