#!/usr/bin/python3
"""Exec and forwards where operator and agent are at different servers: the agent's RelayStream reaches one server, the
operator's stream is at another."""

from replicas import *
from sandbox_agent import SandboxAgent, READY, V, frame

PER_CONNECTION = 100


class Frugal(Replica):
    """AddressSanitizer keeps no freed memory, so that a server's size tells what it holds."""

    def environment(self):
        return {**super().environment(), "ASAN_OPTIONS": "quarantine_size_mb=1"}


class RelayCase(ReplicaCase):
    @classmethod
    def make(cls, name, first):
        replica = Frugal(name, first, cls.options, cls.log_level)
        return replica

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shells = [Service(replica.local_channel(), OPENSHELL_SERVICE) for replica in cls.replicas]

    def setUp(self):
        self.used = type(self).used = getattr(type(self), "used", 0) + 1
        self.agent = self.agent_at(1)
        self.id = self.sandbox(f"s-{self.used}", self.agent)

    def tearDown(self):
        self.agent.control.cancel()

    def agent_at(self, index, name=None):
        agent = SandboxAgent(self, name or f"relays-{self.used}", sandboxes=64)
        agent.base.channel = self.replicas[index].channel()
        return agent.connect()

    def sandbox(self, name, agent):
        made = self.shells[0].CreateSandbox(name=name, spec=V.SandboxSpec(command=["true"]),
                                            annotations={"belay.dev/agent": agent.base.name}).sandbox
        agent.take("sandbox_create", READY)
        eventually(lambda: self.shells[0].GetSandbox(name=name).sandbox.status.phase == V.SANDBOX_PHASE_READY, "ready")
        return made.metadata.id

    def exec(self, **fields):
        return self.shells[0].ExecSandbox(**{"sandbox_id": self.id, "command": ["sleep"], **fields})

    def runs(self, events, stream):
        """The joined streams carry bytes both ways, and the exit."""
        stream.send(frame(data=b"out"))
        stream.send(frame(errors=b"err"))
        stream.send(frame(exit=gateway.RelayExit(exit_code=3)))
        self.assertEqual([b"out", b"err", 3], [event.stdout.data or event.stderr.data or event.exit.exit_code
                                               for event in events])
        self.assertEqual(Code.CANCELLED, stream.end()[0])  # the operator has what it came for


class Joined(RelayCase):
    count = 3

    def test_a_command_with_its_input_and_its_exit(self):
        given = os.urandom(700000)
        events = self.exec(stdin=given)
        order, stream = self.agent.relay()
        self.assertEqual("user:local/0", order.actor)
        got = b""
        while True:
            message = stream.receive()
            if message.WhichOneof("frame") == "end":
                break
            got += message.data
        self.assertEqual(given, got)
        self.runs(events, stream)

    def test_wherever_control_stream_relay_and_operator_are(self):
        for control in range(3):
            self.agent.control.cancel()
            self.agent.base.channel = self.replicas[control].channel()
            self.agent.connect(self.agent.made(self.id, READY))
            for relay in range(3):
                events = self.exec()
                _, stream = self.agent.relay(channel=self.replicas[relay].channel())
                self.runs(events, stream)

    def test_a_terminal(self):
        inputs = queue.Queue()
        events = self.shells[0].ExecSandboxInteractive(iter(inputs.get, None))
        inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(sandbox_id=self.id, command=["sh"], tty=True)))
        order, stream = self.agent.relay()
        self.assertTrue(order.exec.tty)
        for i in range(50):  # each answer waits for its question: nothing is held back on the way
            inputs.put(V.ExecSandboxInput(stdin=b"%d" % i))
            self.assertEqual(b"%d" % i, stream.receive().data)
            stream.send(frame(data=b"=%d" % i))
            self.assertEqual(b"=%d" % i, next(events).stdout.data)
        inputs.put(V.ExecSandboxInput(resize=V.ExecSandboxWindowResize(cols=100, rows=30)))
        resize = stream.receive().resize
        self.assertEqual((100, 30), (resize.columns, resize.rows))
        inputs.put(None)
        self.assertEqual("end", stream.receive().WhichOneof("frame"))
        stream.send(frame(exit=gateway.RelayExit(exit_code=0)))
        self.assertEqual(["exit"], [event.WhichOneof("payload") for event in events])

    def test_a_forward(self):
        token = self.shells[2].CreateSshSession(sandbox_id=self.id).token
        inputs = queue.Queue()
        frames = self.shells[0].ForwardTcp(iter(inputs.get, None))
        inputs.put(V.TcpForwardFrame(init=V.TcpForwardInit(
            sandbox_id=self.id, tcp=V.TcpRelayTarget(host="localhost", port=8080), authorization_token=token)))
        order, stream = self.agent.relay()
        self.assertEqual(8080, order.tcp.port)
        inputs.put(V.TcpForwardFrame(data=b"GET /"))
        self.assertEqual(b"GET /", stream.receive().data)
        stream.send(frame(data=b"200"))
        self.assertEqual(b"200", next(frames).data)
        stream.send(frame(end=gateway.RelayEnd()))
        self.assertEqual([], list(frames))
        inputs.put(None)

    def test_forwards_are_counted_over_all_servers(self):
        tokens = [self.shells[0].CreateSshSession(sandbox_id=self.id).token for _ in range(8)]
        opened = []

        def forward(index, token):
            inputs = queue.Queue()
            frames = self.shells[index % 3].ForwardTcp(iter(inputs.get, None), timeout=60)
            inputs.put(V.TcpForwardFrame(init=V.TcpForwardInit(
                sandbox_id=self.id, tcp=V.TcpRelayTarget(host="localhost", port=8080), authorization_token=token)))
            return frames, inputs

        def refusals(calls):
            """Which of them end by themselves, though no agent comes to any."""
            return eventually(lambda: [call.details() for call in calls if call.done()], "some are refused")
        first = [forward(i, tokens[0])[0] for i in range(6)]
        eventually(lambda: len(refusals(first)) == 3, "three of six with one token are refused")
        self.assertEqual({"at most 3 connections with one token"}, set(refusals(first)))
        opened = [call for call in first if not call.done()]
        more = [forward(i, tokens[1 + i // 3])[0] for i in range(18)]
        eventually(lambda: len(refusals(more)) == 1, "all but one of the rest have room")
        self.assertEqual(["at most 20 connections to one sandbox"], refusals(more))
        for call in opened + more:
            call.cancel()
        eventually(lambda: self.server.database.number("SELECT COUNT(*) FROM sandbox_connection") == 0, "none is left")
        again, _ = forward(0, tokens[0])
        order = self.agent.relay_order()
        while order.relay_id not in self.rows():
            order = self.agent.relay_order()
        stream = self.agent.join(order.relay_id)
        stream.send(frame(data=b"again"))
        self.assertEqual(b"again", next(again).data)
        until = self.server.database.number("SELECT until_us FROM sandbox_connection")
        eventually(lambda: self.server.database.number("SELECT until_us FROM sandbox_connection") > until, "it is renewed")
        again.cancel()

    def test_a_forward_that_is_over_counts_no_more(self):
        """Whoever has seen its end may open the next with the same token, at whichever server."""
        token = self.shells[0].CreateSshSession(sandbox_id=self.id).token
        opened = []
        for turn in range(9):
            inputs = queue.Queue()
            self.addCleanup(inputs.put, None)
            frames = self.shells[turn % 3].ForwardTcp(iter(inputs.get, None))
            inputs.put(V.TcpForwardFrame(init=V.TcpForwardInit(
                sandbox_id=self.id, tcp=V.TcpRelayTarget(host="localhost", port=8080), authorization_token=token)))
            opened.append((frames, self.agent.relay()[1]))
            if len(opened) == 3:
                ended, stream = opened.pop(0)
                held = Holder(self.server.database, "LOCK TABLE sandbox_connection IN EXCLUSIVE MODE")
                stream.send(frame(data=b"last"))
                stream.send(frame(end=gateway.RelayEnd()))
                self.assertEqual(b"last", next(ended).data)  # waits for nothing
                time.sleep(0.2)
                self.assertFalse(ended.done(), "it is told as over while it counts")
                held.release()
                self.assertEqual([], list(ended))

    def rows(self):
        return {row[0] for row in self.server.database.query("SELECT relay_id FROM sandbox_connection")}

    def test_either_side_may_go(self):
        events = self.exec()
        _, stream = self.agent.relay()
        self.assertEqual("end", stream.receive().WhichOneof("frame"))
        events.cancel()
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        events = self.exec()
        _, stream = self.agent.relay()
        stream.send(frame(data=b"half"))
        self.assertEqual(b"half", next(events).stdout.data)
        stream.cancel()
        self.refused(Code.UNAVAILABLE, lambda: next(events), "went away")

    def test_what_the_agent_sent_last_arrives_though_it_goes_at_once(self):
        for _ in range(10):
            events = self.exec()
            _, stream = self.agent.relay()
            stream.send(frame(data=b"x" * 200000))
            stream.send(frame(exit=gateway.RelayExit(exit_code=5)))
            stream.half_close()
            self.assertEqual([200000, 5], [len(event.stdout.data) or event.exit.exit_code for event in events])

    def test_a_relay_outlives_a_renewed_session_and_no_revoked_agent(self):
        events = self.exec()
        _, stream = self.agent.relay()
        self.agent.base.handshake()
        self.agent.connect()
        stream.send(frame(data=b"one"))
        self.assertEqual(b"one", next(events).stdout.data)
        time.sleep(6)  # the right to it is looked up every 5 s
        stream.send(frame(data=b"two"))
        self.assertEqual(b"two", next(events).stdout.data)
        self.operator.RevokeAgent(agent=str(self.agent.base.id))  # which goes on as if nothing had been said
        self.refused(Code.PERMISSION_DENIED, lambda: next(events), "revoked")
        self.assertEqual("end", stream.receive().WhichOneof("frame"))
        self.assertEqual(Code.CANCELLED, stream.end()[0])

    def test_the_agents_refusal(self):
        events = self.exec()
        _, stream = self.agent.relay()
        stream.send(frame(failure=gateway.RelayFailure(code=gateway.ACK_CODE_BUSY, message="64 execs run already")))
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: next(events), "64 execs run already")

    def test_more_at_once_than_a_connection_takes(self):
        channels = [self.replicas[1].channel() for _ in range(2)]
        joined = []
        shells = [Service(self.replicas[0].local_channel(), OPENSHELL_SERVICE) for _ in range(2)]
        for i in range(PER_CONNECTION + 20):
            events = shells[i % 2].ExecSandbox(sandbox_id=self.id, command=["sleep"])
            joined.append((events, self.agent.relay(channel=channels[i % 2])[1]))
        for events, stream in joined:
            self.runs(events, stream)

    def test_a_reader_that_stops_stops_the_agent_and_no_server(self):
        before = [self.memory(replica) for replica in self.replicas]
        events = self.exec()
        _, stream = self.agent.relay(depth=2)
        piece, total = os.urandom(1 << 16), 1 << 26
        done = []

        def pour():
            for _ in range(total // len(piece)):
                stream.send(frame(data=piece))
                done.append(1)
            stream.send(frame(exit=gateway.RelayExit(exit_code=0)))
        threading.Thread(target=pour, daemon=True).start()
        seen = -1
        while seen != len(done):
            seen = len(done)
            time.sleep(0.5)
        self.assertLess(seen * len(piece), total // 2)
        for replica, had in zip(self.replicas, before):
            self.assertLess(self.memory(replica) - had, 16 << 20, replica.name)
        self.assertEqual(total, sum(len(event.stdout.data) for event in events))

    def test_an_agent_that_stops_reading_stops_the_operator(self):
        inputs = queue.Queue(2)
        sent = []
        events = self.shells[0].ExecSandboxInteractive(iter(inputs.get, None))
        inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(sandbox_id=self.id, command=["cat"])))
        _, stream = self.agent.relay()
        piece, total = os.urandom(1 << 16), 1 << 25

        def pour():
            for _ in range(total // len(piece)):
                inputs.put(V.ExecSandboxInput(stdin=piece))
                sent.append(1)
            inputs.put(None)
        threading.Thread(target=pour, daemon=True).start()
        seen = -1
        while seen != len(sent):
            seen = len(sent)
            time.sleep(0.5)
        self.assertLess(seen * len(piece), total // 2)
        got = 0
        while got < total:
            got += len(stream.receive().data)
        self.assertEqual("end", stream.receive().WhichOneof("frame"))
        events.cancel()

    def made(self, relay_id, address=None, agent_id=None, key=None, domain=b"belay.replica.v1"):
        """The pass that servers show each other, made here from the key they share."""
        agent_id = self.agent.base.id if agent_id is None else agent_id
        if key is None:
            with open(os.path.join(self.server.state, "command.key"), "rb") as file:
                key = ed25519.Ed25519PrivateKey.from_private_bytes(file.read()[:32])
        parts = [domain, self.agent.registered.server_id.encode(),
                 (address or f"127.0.0.1:{self.server.port}").encode(), relay_id.encode(), str(agent_id).encode()]
        signature = key.sign(b"".join(len(part).to_bytes(8, "big") + part for part in parts))
        return bearer(f"blr_{relay_id}.{agent_id}.{signature.hex()}")

    def test_passes(self):
        events = self.exec()
        relay = self.agent.relay_order().relay_id
        other = "rly_" + "0" * 26
        at_owner = self.server.channel()
        for why, credentials, named, code in (
                ("another key", self.made(relay, key=ed25519.Ed25519PrivateKey.generate()), relay, Code.UNAUTHENTICATED),
                ("another server", self.made(relay, address=f"127.0.0.1:{self.replicas[1].port}"), relay,
                 Code.UNAUTHENTICATED),
                ("another purpose", self.made(relay, domain=b"belay.command.v1"), relay, Code.UNAUTHENTICATED),
                ("another agent's number", bearer(self.made(relay)[0][1][7:].replace(
                    f".{self.agent.base.id}.", ".999.")), relay, Code.UNAUTHENTICATED),
                ("no signature", bearer(f"blr_{relay}.{self.agent.base.id}."), relay, Code.UNAUTHENTICATED),
                ("nothing", bearer("blr_"), relay, Code.UNAUTHENTICATED),
                ("another agent", self.made(relay, agent_id=999), relay, Code.NOT_FOUND),
                ("another relay's pass", self.made(other), relay, Code.NOT_FOUND),
                ("a relay that is not", self.made(other), other, Code.NOT_FOUND)):
            with self.subTest(why):
                self.assertEqual(code, self.agent.join(named, at_owner, credentials).end()[0])
        good = self.made(relay)
        # A pass is for its relay alone: not for what else an agent or an operator may call.
        for service, name in ((GATEWAY_SERVICE, "UploadHeartbeat"), (GATEWAY_SERVICE, "ControlStream"),
                              (ADMIN_SERVICE, "ListAgents"), (OPENSHELL_SERVICE, "ListSandboxes")):
            call = getattr(Service(at_owner, service, good), name)
            code, _ = code_of(lambda c=call: next(c()) if name == "ControlStream" else c())
            self.assertEqual(Code.PERMISSION_DENIED, code, name)
        # At another server than the owner it leads nowhere on, though that one could find the owner.
        elsewhere = self.made(relay, address=f"127.0.0.1:{self.replicas[1].port}")
        self.assertEqual(Code.NOT_FOUND, self.agent.join(relay, self.replicas[1].channel(), elsewhere).end()[0])
        stream = self.agent.join(relay, at_owner, good)
        self.assertEqual("end", stream.receive().WhichOneof("frame"))
        self.assertEqual(Code.ABORTED, self.agent.join(relay, at_owner, good).end()[0])
        self.runs(events, stream)

    def test_another_agent_finds_nothing_by_any_server(self):
        thief = self.agent_at(1, f"thief-{self.used}")
        events = self.exec()
        relay = self.agent.relay_order().relay_id
        for replica in self.replicas:
            self.assertEqual(Code.NOT_FOUND, thief.join(relay, replica.channel()).end()[0])
        stream = self.agent.join(relay)
        self.runs(events, stream)
        thief.control.cancel()

    def test_an_operator_who_goes_is_seen_though_input_waits(self):
        inputs = queue.Queue()
        events = self.shells[0].ExecSandboxInteractive(iter(inputs.get, None))
        inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(sandbox_id=self.id, command=["sleep"])))
        for _ in range(64):
            inputs.put(V.ExecSandboxInput(stdin=bytes(1 << 16)))
        _, stream = self.agent.relay(input_window=1 << 16)
        self.assertEqual(1 << 16, len(stream.receive().data))
        time.sleep(1)  # all that can be on its way is there
        events.cancel()
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        inputs.put(None)

    @staticmethod
    def memory(replica):
        with open(f"/proc/{replica.process.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


class Killed(RelayCase):
    def tearDown(self):
        for replica in self.replicas:
            if not replica.is_running():
                replica.start()
        super().tearDown()

    def test_the_operators_server(self):
        events = self.exec()
        _, stream = self.agent.relay()
        stream.send(frame(data=b"half"))
        self.assertEqual(b"half", next(events).stdout.data)
        self.replicas[0].kill()
        code, text = stream.end()
        self.assertEqual(Code.UNAVAILABLE, code)
        self.assertNotIn(str(self.replicas[0].port), text)  # the inside of the installation is not an agent's business
        self.assertEqual(Code.UNAVAILABLE, code_of(lambda: next(events))[0])
        self.replicas[0].start()
        self.shells[0] = Service(self.replicas[0].local_channel(), OPENSHELL_SERVICE)
        events = self.exec()  # and it goes on with the server that is back
        self.runs(events, self.agent.relay()[1])

    def test_the_agents_server(self):
        events = self.exec()
        _, stream = self.agent.relay()
        stream.send(frame(data=b"half"))
        self.assertEqual(b"half", next(events).stdout.data)
        self.replicas[1].kill()
        self.refused(Code.UNAVAILABLE, lambda: next(events), "went away")
        self.assertEqual(Code.UNAVAILABLE, stream.end()[0])

    def test_the_operators_server_before_the_agent_comes(self):
        events = self.exec()
        order = self.agent.relay_order()
        self.replicas[0].kill()
        stream = self.agent.join(order.relay_id)
        begun = time.monotonic()
        self.assertEqual(Code.UNAVAILABLE, stream.end()[0])
        self.assertLess(time.monotonic() - begun, 10)
        self.assertEqual(Code.UNAVAILABLE, code_of(lambda: next(events))[0])


class Deaf(RelayCase):
    """Servers that hear no notifications, as behind PgBouncer."""

    options = ("--no-database-prepared-statements",)

    @classmethod
    def make(cls, name, first):
        replica = super().make(name, first)
        if first is None:
            replica.migrate()
        return replica

    def test_an_agent_elsewhere_hears_of_the_relay_in_time(self):
        for _ in range(3):
            events = self.exec()
            self.runs(events, self.agent.relay()[1])


if __name__ == "__main__":
    main()
