#!/usr/bin/python3
"""Two servers behind HAProxy and behind nginx, with the configurations of packaging: agents and operators reach whichever
is there; a restart of both in turn loses no command and doubles none; a server that dies loses its agents to the other; a
balancer that reloads cuts nobody off. Through the PROXY protocol servers see who the clients are."""
import socket
import struct

from fronts import *
from replicas import *

sys.path.insert(0, os.path.join(ROOT, "tests", "security"))
import h2  # noqa: E402

AGENTS = 3
EVERYTHING = ["agent:read", "command:read", "command:write"]


class Balanced(ReplicaCase):
    options = ("--heartbeat-interval", "4s", "--drain-delay", "1500ms")
    front_class = Haproxy

    @classmethod
    def make(cls, name, first):
        # Join strings name the balancer.
        return Replica(name, first, (*cls.options, "--advertise", f"127.0.0.1:{cls.front.port}"), cls.log_level)

    @classmethod
    def setUpClass(cls):
        cls.front = cls.front_class()
        super().setUpClass()
        cls.addClassCleanup(cls.front.close)
        cls.front.start(cls.replicas)
        cls.key = cls.operator.CreateApiKey(name="through", scopes=EVERYTHING).secret
        cls.channel = cls.front.channel(cls.server.ca())
        cls.addClassCleanup(cls.channel.close)
        cls.through = Service(cls.channel, ADMIN_SERVICE, bearer(cls.key))
        cls.agents = []
        for i in range(AGENTS):
            agent = RealAgent(cls.server, f"mover-{i}")
            agent.enroll(cls.operator)
            cls.agents.append(agent.start("--sample-interval", "1s"))

    def again(self, call):
        """An operator's tool tries again when it is told UNAVAILABLE; the idempotency key makes that safe. A call that
        arrives just as the library's server shuts down is answered CANCELLED by the library."""
        def attempt():
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() not in (Code.UNAVAILABLE, Code.ABORTED, Code.CANCELLED):
                    raise
                # Calls that fail at once move no connection on: without one that waits, grpcio looks at it each 5 s.
                grpc.channel_ready_future(self.channel).result(TIMEOUT)
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

    def test_a_reload_cuts_nobody_off(self):
        for agent in self.agents:
            eventually(lambda a=agent: self.is_streaming(a), "the agent is there")
        watch = Watch(self.through.WatchAgents(timeout=60))
        eventually(lambda: watch.got, "the watch has begun")
        before = [len(agent.log_lines("link_state")) for agent in self.agents]
        self.front.reload()
        channel = self.front.channel(self.server.ca())
        newcomer = Service(channel, ADMIN_SERVICE, bearer(self.key))
        self.assertEqual(AGENTS, len(newcomer.ListAgents(timeout=10).agents))
        self.check_all_done_once([self.send(2000 + number) for number in range(AGENTS)])
        self.assertEqual(before, [len(agent.log_lines("link_state")) for agent in self.agents])
        self.assertIsNone(watch.end)
        watch.cancel()
        channel.close()


class BehindNginx(Balanced):
    """It asks nobody whether he is ready, so a delay would tell it nothing."""

    options = ("--heartbeat-interval", "4s")
    front_class = Nginx


class OperatorsThroughNginx(ServerCase):
    """TLS ends at the balancer; what it sends on is plaintext on the same machine."""

    options = ("--listen-plaintext", "127.0.0.1:0")

    def test_calls_and_watches(self):
        self.server.plain_port = self.server.log_lines("ready")[-1]["plaintext_port"]
        front = NginxForOperators().start([self.server])
        self.addCleanup(front.close)
        key = self.operator.CreateApiKey(name="web", scopes=EVERYTHING).secret
        channel = front.operator_channel()
        self.addCleanup(channel.close)
        through = Service(channel, ADMIN_SERVICE, bearer(key))
        watch = Watch(through.WatchAgents(timeout=60))
        eventually(lambda: any(one.initial_done for one in watch.got), "the watch has begun")
        agent = self.agent()
        eventually(lambda: any(one.agent.id == agent.id for one in watch.got), "an agent is seen as it comes")
        sent = through.SendCommand(agent=str(agent.id), command=TELEMETRY_NOW, ttl_seconds=60)
        stream = agent.stream()
        self.assertEqual(sent.id, stream.command().command_id)
        stream.cancel()
        self.refused(Code.UNAUTHENTICATED, lambda: Service(channel, ADMIN_SERVICE).ListAgents())
        self.refused(Code.PERMISSION_DENIED, through.ListApiKeys)
        front.reload()
        self.assertEqual(1, len(through.ListAgents().agents))
        self.check_command_line(front, key)
        self.assertIsNone(watch.end)
        watch.cancel()


    def check_command_line(self, front, key):
        path = os.path.join(self.server.directory, "web.key")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(key + "\n")
        self.server.cli("gateway", "add", "web", f"127.0.0.1:{front.port}", "--ca-file", front.pem,
                        "--server-name", "belay.example.com", "--key-file", path)
        self.assertIn("base-1", self.server.cli("--gateway", "web", "agent", "list").stdout)


def proxy_header(source, port):
    body = socket.inet_aton(source) + socket.inet_aton("127.0.0.1") + struct.pack(">HH", port, 443)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", len(body)) + body


class Proxied(ServerCase):
    """Only 127.0.0.1, from where HAProxy connects, may say who the client is; and must."""

    CONNECTIONS = 6
    options = ("--trusted-proxy", "127.0.0.1/32", "--max-connections-per-address", str(CONNECTIONS))

    @classmethod
    def setUpClass(cls):
        cls.front = Haproxy("send-proxy-v2")
        cls.options += ("--advertise", f"127.0.0.1:{cls.front.port}")
        super().setUpClass()
        cls.addClassCleanup(cls.front.close)
        cls.front.start([cls.server, cls.server])

    def peer(self, source, port=None):
        return h2.Peer(self.server, port=port or self.front.port, source=source)

    def test_audit_names_the_client(self):
        key = self.operator.CreateApiKey(name="reader", scopes=["agent:read"]).secret
        with self.peer("127.0.0.3") as peer:
            port = peer.socket.getsockname()[1]
            block = h2.request("/agentgateway.v1.AgentAdminService/CreateApiKey", ("authorization", "Bearer " + key))
            peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block))
            self.assertEqual(Code.PERMISSION_DENIED.value[0], peer.status(1))
        eventually(lambda: f"127.0.0.3:{port}" in [one.source for one in self.operator.ListAuditRecords(page_size=50).records],
                   "the trail names the client")

    def test_limits_are_of_each_client(self):
        peers = [self.peer("127.0.0.4") for _ in range(self.CONNECTIONS)]
        with self.assertRaises((OSError, EOFError)):
            self.peer("127.0.0.4").read()
            raise EOFError
        with self.peer("127.0.0.5") as other:
            self.assertTrue(other.send(h2.frame(h2.PING, payload=bytes(8))))
            self.assertEqual(h2.PING, next(got[0] for got in iter(other.read, None) if got[0] == h2.PING))
        for peer in peers:
            peer.socket.close()

    def test_who_is_not_trusted_may_not_name_anybody(self):
        with self.peer("127.0.0.6", self.server.port) as peer:
            self.assertTrue(peer.send(h2.frame(h2.PING, payload=bytes(8))))
            self.assertIsNotNone(peer.read())
        with socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT, ("127.0.0.6", 0)) as raw:
            raw.sendall(proxy_header("127.0.0.9", 5))
            raw.settimeout(TIMEOUT)
            self.assertIn(raw.recv(100)[:1], (b"", b"\x15"))  # the end, or an alert of TLS

    def test_who_is_trusted_must_name_the_client(self):
        with self.assertRaises(OSError):
            self.peer("127.0.0.1", self.server.port)
        eventually(lambda: self.server.log_lines("proxy_header_refused"), "the log says why")

    def test_an_agent_through_it(self):
        agent = RealAgent(self.server, "through")
        agent.enroll(self.operator)
        agent.start()
        eventually(lambda: agent.log_lines("link_online"), "the agent is there")


if __name__ == "__main__":
    main()
