#!/usr/bin/python3
"""Two servers behind HAProxy with the configuration of packaging/haproxy: agents and operators reach whichever is there;
a restart of both in turn loses no command and doubles none; a server that dies loses its agents to the other."""
import socket

from replicas import *

AGENTS = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Haproxy(Process):
    def __init__(self, replicas):
        self.directory = tempfile.mkdtemp(prefix="h", dir=scratch())
        super().__init__(os.path.join(self.directory, "haproxy.log"))
        self.port = free_port()
        a, b = replicas
        self.variables = {
            "BELAY_FRONT": f"127.0.0.1:{self.port}", "BELAY_A": f"127.0.0.1:{a.port}", "BELAY_B": f"127.0.0.1:{b.port}",
            "BELAY_A_HTTP": str(a.http_port), "BELAY_B_HTTP": str(b.http_port)}

    def start(self):
        self.spawn(["/usr/sbin/haproxy", "-db", "-f", os.path.join(ROOT, "packaging", "haproxy", "haproxy.cfg")],
                   **self.variables)
        return self

    def channel(self, ca):
        return grpc.secure_channel(f"127.0.0.1:{self.port}", grpc.ssl_channel_credentials(ca), [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "belay-server"),
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)])


class Balanced(ReplicaCase):
    options = ("--heartbeat-interval", "4s", "--drain-delay", "1500ms")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.haproxy = Haproxy(cls.replicas).start()
        # Join strings name the balancer: the servers are told where it is.
        for replica in cls.replicas:
            replica.terminate()
            replica.options += ["--advertise", f"127.0.0.1:{cls.haproxy.port}"]
            replica.start()
        cls.operator = cls.operators[0] = cls.replicas[0].operator()
        cls.key = cls.operator.CreateApiKey(name="through", scopes=["agent:read", "command:read", "command:write"]).secret
        cls.channel = cls.haproxy.channel(cls.server.ca())
        cls.through = Service(cls.channel, ADMIN_SERVICE, bearer(cls.key))
        cls.agents = []
        for i in range(AGENTS):
            agent = RealAgent(cls.server, f"mover-{i}")
            agent.enroll(cls.operator)
            cls.agents.append(agent.start("--sample-interval", "1s"))

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        for agent in cls.agents:
            agent.close()
        cls.server.agents = []
        cls.haproxy.terminate()
        super().tearDownClass()

    def again(self, call):
        """An operator's tool tries again when it is told UNAVAILABLE; the idempotency key makes that safe. A call that
        arrives just as the library's server shuts down is answered CANCELLED by the library."""
        def attempt():
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() not in (Code.UNAVAILABLE, Code.ABORTED, Code.CANCELLED):
                    raise
                return None
        return eventually(attempt, "the call goes through")

    def is_streaming(self, agent):
        states = agent.log_lines("link_state")
        return states and states[-1]["state"] == "streaming"

    def send(self, number):
        name = f"mover-{number % AGENTS}"
        return self.again(lambda: self.through.SendCommand(
            agent=name, command=TELEMETRY_NOW, ttl_seconds=300, idempotency_key=f"roll-{self.id()}-{number}", timeout=10))

    def check_all_done_once(self, sent):
        for command in sent:
            eventually(lambda c=command: self.again(lambda: self.through.GetCommand(id=c.id, timeout=10)).state
                       == admin.COMMAND_STATE_SUCCEEDED, "every command has succeeded")
        started = [line["command"] for agent in self.agents for line in agent.log_lines("command_started")]
        mine = [one for one in started if one in {command.id for command in sent}]
        self.assertEqual(sorted(command.id for command in sent), sorted(mine))

    def test_both_restart_in_turn_while_commands_flow(self):
        for agent in self.agents:
            eventually(lambda a=agent: self.is_streaming(a), "the agent is there")
        sent, ending = [], threading.Event()

        def flow():
            number = 0
            while not ending.is_set() or number < 20:
                sent.append(self.send(number))
                number += 1
        thread = threading.Thread(target=flow)
        thread.start()
        for replica in self.replicas:
            count = len(sent)
            self.assertEqual(0, replica.terminate())
            replica.start()
            for agent in self.agents:
                eventually(lambda a=agent: self.is_streaming(a), "the agent is back")
            eventually(lambda c=count: len(sent) > c + 3, "commands go on")
        ending.set()
        thread.join()
        self.check_all_done_once(sent)
        self.check_back_within_the_interval()

    def check_back_within_the_interval(self):
        from datetime import datetime
        for agent in self.agents:
            goaway = None
            for line in agent.log_text().splitlines():
                if '"event":"goaway"' in line:
                    goaway = json.loads(line)
                elif '"event":"link_state"' in line and json.loads(line)["state"] == "streaming" and goaway:
                    times = [datetime.fromisoformat(one["time"].replace("Z", "+00:00")) for one in (goaway, json.loads(line))]
                    self.assertLess((times[1] - times[0]).total_seconds(), 4.0)
                    goaway = None

    def test_one_is_killed(self):
        for agent in self.agents:
            eventually(lambda a=agent: self.is_streaming(a), "the agent is there")
        victim = self.replicas[1]
        victim.kill()
        sent = [self.send(1000 + number) for number in range(AGENTS * 2)]
        self.check_all_done_once(sent)
        victim.start()


if __name__ == "__main__":
    main()
