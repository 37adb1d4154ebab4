#!/usr/bin/python3
"""The handshake, sessions and epochs, eviction and revocation, and the order of the control stream."""
from harness import *

REFUSED = "the agent's credential is not valid"


class Handshake(ServerCase):
    def test_challenge_is_tagged_for_this_server_and_agent(self):
        import hashlib
        agent = self.agent()
        info = self.operator.GetServerInfo()
        parts = [b"belay.agent.challenge.v1", info.server_id.encode(), str(agent.id).encode()]
        tag = hashlib.blake2b(digest_size=32)
        for part in parts:
            tag.update(len(part).to_bytes(8, "big") + part)
        one, two = agent.begin().challenge, agent.begin().challenge
        self.assertEqual(tag.digest(), one[:32])
        self.assertEqual(one[:32], two[:32])
        self.assertNotEqual(one[32:], two[32:])

    def test_wrong_signature_spends_the_challenge(self):
        agent = self.agent()
        challenge = agent.begin().challenge
        text = self.refused(Code.UNAUTHENTICATED, lambda: agent.complete(challenge, bytes(64)))
        self.assertEqual(REFUSED, text)
        self.assertEqual(REFUSED, self.refused(Code.UNAUTHENTICATED, lambda: agent.complete(challenge)))

    def test_a_challenge_is_good_once(self):
        agent = self.agent()
        challenge = agent.begin().challenge
        agent.complete(challenge)
        self.assertEqual(REFUSED, self.refused(Code.UNAUTHENTICATED, lambda: agent.complete(challenge)))

    def test_twenty_completions_at_once_with_one_challenge(self):
        agent = self.agent()
        challenge = agent.begin().challenge
        signature = agent.identity.sign(challenge)
        others = [BaseAgent(self.server, agent.name) for _ in range(20)]
        replies = in_threads(20, lambda i: others[i].complete(challenge, signature))
        self.assertEqual(1, sum(1 for reply in replies if not isinstance(reply, Exception)))

    def test_an_expired_challenge_is_refused(self):
        agent = self.agent()
        challenge = agent.begin().challenge
        self.server.database.query("UPDATE challenge SET expires_at = 1")
        self.assertEqual(REFUSED, self.refused(Code.UNAUTHENTICATED, lambda: agent.complete(challenge)))

    def test_bounds_of_the_handshake(self):
        agent = self.agent()
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.begin(api_key="short"), "api_key")
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.begin(api_key="x" * 513), "api_key")
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.begin(identity=bytes(31)), "identity_pubkey")
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.complete(bytes(15), bytes(64)), "challenge")
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.complete(bytes(65), bytes(64)), "challenge")
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.complete(bytes(64), bytes(63)), "signature")

    def test_a_stolen_api_key_is_nothing(self):
        agent = self.agent()
        thief = BaseAgent(self.server, "thief")
        for key in ("bla_" + "A" * 43, agent.session, agent.api_key):
            text = self.refused(Code.UNAUTHENTICATED, lambda k=key: thief.begin(api_key=k))
            self.assertEqual(REFUSED, text)
        # With both public halves a challenge is to be had, but not answered; nor does it shut the agent out.
        own = agent.begin().challenge
        stolen = [thief.begin(api_key=agent.api_key, identity=agent.identity_public).challenge for _ in range(3)]
        self.refused(Code.UNAUTHENTICATED, lambda: thief.complete(stolen[0]))
        self.assertTrue(agent.complete(own).session_token)

    def test_an_unconfirmed_agent_has_no_handshake(self):
        created = self.operator.CreateEnrollmentToken()
        agent = BaseAgent(self.server, "unconfirmed")
        agent.register(created.secret)
        self.refused(Code.UNAUTHENTICATED, lambda: agent.begin(api_key=created.secret))


class Sessions(ServerCase):
    def test_newer_session_ends_the_older_and_its_stream(self):
        agent = self.agent()
        old = agent.session
        stream = agent.stream()
        first = self.agent_row(agent).session_epoch
        agent.handshake()
        self.assertEqual(first + 1, self.agent_row(agent).session_epoch)
        code, text = stream.end()
        self.assertEqual(Code.UNAUTHENTICATED, code, text)
        new, agent.session = agent.session, old
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.UNAUTHENTICATED, "the old session is dead", 10)
        self.refused(Code.UNAUTHENTICATED, agent.stream)
        agent.session = new
        agent.heartbeat()
        agent.stream().cancel()

    def test_an_older_sessions_upload_is_fenced(self):
        agent = self.agent()
        batches = queue.SimpleQueue()
        batches.put(base.UploadTelemetryRequest(payload=b"before", captured_at=now()))
        stub = agent.channel.stream_unary(GATEWAY + "UploadTelemetry", lambda m: m.SerializeToString(),
                                          gateway.UploadTelemetryResponse.FromString)
        call = stub.future(iter(batches.get, None), timeout=TIMEOUT, metadata=agent.credentials)
        rows = f"SELECT count(*) FROM upload WHERE agent_id = {agent.id}"
        eventually(lambda: self.server.database.number(rows) == 1, "the first record is stored")
        agent.handshake()
        batches.put(base.UploadTelemetryRequest(payload=b"after", captured_at=now()))
        batches.put(None)
        self.assertEqual(Code.UNAUTHENTICATED, call.exception().code())
        self.assertEqual(1, self.server.database.number(rows))

    def test_an_expired_session_is_refused_and_its_stream_ends(self):
        agent = self.agent()
        self.server.database.query(f"UPDATE session SET expires_at = 1 WHERE agent_id = {agent.id}")
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.UNAUTHENTICATED, "the session is over", 15)
        self.assertEqual(Code.UNAUTHENTICATED, code_of(agent.stream)[0])
        agent.handshake()
        agent.heartbeat()

    def test_evicted_may_come_back(self):
        agent = self.agent()
        stream = agent.stream()
        self.assertEqual(admin.AGENT_STATE_EVICTED, self.operator.EvictAgent(agent=str(agent.id), reason="r").state)
        self.assertEqual(Code.UNAUTHENTICATED, stream.end()[0])
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.UNAUTHENTICATED, "the session is over", 10)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.EvictAgent(agent=str(agent.id)))
        agent.handshake()
        self.assertEqual(admin.AGENT_STATE_CONFIRMED, self.agent_row(agent).state)
        agent.stream().cancel()

    def test_revoked_may_not(self):
        agent = self.agent()
        stream = agent.stream()
        challenge = agent.begin().challenge
        self.assertEqual(admin.AGENT_STATE_REVOKED, self.operator.RevokeAgent(agent=str(agent.id), reason="r").state)
        self.assertEqual(Code.UNAUTHENTICATED, stream.end()[0])
        self.assertEqual(REFUSED, self.refused(Code.UNAUTHENTICATED, lambda: agent.complete(challenge)))
        self.assertEqual(REFUSED, self.refused(Code.UNAUTHENTICATED, agent.begin))
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.UNAUTHENTICATED, "the session is over", 10)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.RevokeAgent(agent=str(agent.id)))
        for table in ("session", "challenge"):
            self.assertEqual(0, self.server.database.number(f"SELECT count(*) FROM {table} WHERE agent_id = {agent.id}"))

    def test_a_session_outlives_a_restart_of_the_server(self):
        agent = self.agent()
        self.server.terminate()
        self.server.start()
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.OK, "the session goes on")
        eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")


class Order(ServerCase):
    def test_message_before_hello(self):
        stream = self.agent().stream(hello=False)
        stream.send(ack("cmd_0"))
        code, text = stream.end()
        self.assertEqual(Code.INVALID_ARGUMENT, code)
        self.assertIn("hello", text)

    def test_second_hello(self):
        stream = self.agent().stream()
        stream.send(base.ControlStreamRequest(hello=base.ControlHello()))
        code, text = stream.end()
        self.assertEqual(Code.INVALID_ARGUMENT, code)
        self.assertIn("hello", text)

    def test_empty_message(self):
        stream = self.agent().stream()
        stream.send(b"")
        self.assertEqual(Code.INVALID_ARGUMENT, stream.end()[0])

    def test_no_hello_within_five_seconds(self):
        stream = self.agent().stream(hello=False)
        begun = time.monotonic()
        self.assertEqual(Code.DEADLINE_EXCEEDED, stream.end()[0])
        self.assertLess(time.monotonic() - begun, 15)
        self.assertGreater(time.monotonic() - begun, 4)

    def test_newest_stream_of_a_session_is_served(self):
        agent = self.agent()
        first = agent.stream()
        second = agent.stream()
        self.assertEqual(Code.ABORTED, first.end()[0])
        sent = self.send(agent)
        self.assertEqual(sent.id, second.command().command_id)
        second.send(ack(sent.id))
        eventually(lambda: self.operator.GetCommand(id=sent.id).state == admin.COMMAND_STATE_SUCCEEDED, "acked")
        second.cancel()

    @staticmethod
    def numbered(number):
        return gateway.ControlStreamRequest(hello=gateway.ControlHello(stream_number=number, agent_version=f"v{number}"))

    def test_hello_that_comes_late(self):
        """After that of a newer stream; a new session counts anew."""
        agent = self.agent()
        for _session in range(2):
            late, newer, last = (Stream(agent.channel, GATEWAY + "ControlStream", agent.credentials) for _ in range(3))
            newer.send(self.numbered(2))
            newer.receive()
            late.send(self.numbered(1))
            self.assertEqual(Code.ABORTED, late.end()[0])
            self.assertEqual("v2", self.agent_row(agent).version)
            sent = self.send(agent)
            self.assertEqual(sent.id, newer.command().command_id)
            newer.send(ack(sent.id))
            eventually(lambda c=sent.id: self.operator.GetCommand(id=c).state == admin.COMMAND_STATE_SUCCEEDED, "acked")
            last.send(self.numbered(3))
            self.assertEqual(Code.ABORTED, newer.end()[0])
            last.receive()
            agent.handshake()
            self.assertEqual(Code.UNAUTHENTICATED, last.end()[0])

    def test_stream_number_out_of_bounds(self):
        agent = self.agent()
        stream = Stream(agent.channel, GATEWAY + "ControlStream", agent.credentials)
        stream.send(self.numbered(1 << 31))
        code, text = stream.end()
        self.assertEqual(Code.INVALID_ARGUMENT, code)
        self.assertIn("stream_number", text)

    def test_bounds_of_an_ack(self):
        agent = self.agent()
        for field, message in (("command_id", base.ControlAck(succeeded=True)),
                               ("command_id", base.ControlAck(command_id="c" * 129)),
                               ("error_message", base.ControlAck(command_id="c", error_message="e" * 4097))):
            stream = agent.stream()
            stream.send(base.ControlStreamRequest(ack=message))
            code, text = stream.end()
            self.assertEqual(Code.INVALID_ARGUMENT, code)
            self.assertIn(field, text)

    def test_hello_of_the_whole_contract_is_kept(self):
        agent = self.agent()
        stream = Stream(agent.channel, GATEWAY + "ControlStream", agent.credentials)
        stream.send(gateway.ControlStreamRequest(hello=gateway.ControlHello(
            agent_version="9.8.7", boot_id="boot", capabilities=["telemetry", "x"],
            capacity=gateway.Capacity(cpus=1.5, memory_bytes=5))))
        accepted = stream.receive().accepted
        self.assertEqual(accepted.session_epoch, self.agent_row(agent).session_epoch)
        row = self.agent_row(agent)
        self.assertEqual(("9.8.7", ["telemetry", "x"], 1.5), (row.version, list(row.capabilities), row.capacity.cpus))
        self.assertTrue(row.online)
        stream.cancel()
        stream = Stream(agent.channel, GATEWAY + "ControlStream", agent.credentials)
        stream.send(gateway.ControlStreamRequest(hello=gateway.ControlHello(last_command_sequence=1 << 63)))
        self.assertEqual(Code.INVALID_ARGUMENT, stream.end()[0])

    def test_heartbeat_is_seen_in_the_agents_row(self):
        agent = self.agent()
        status = gateway.AgentStatus(spool_records=11, spool_bytes=1 << 40, uptime_ms=5, state="streaming")
        agent.unary("UploadHeartbeat", gateway.UploadHeartbeatRequest(sent_at=now(), status=status),
                    gateway.UploadHeartbeatResponse, agent.credentials)
        row = eventually(lambda: self.agent_row(agent) if self.agent_row(agent).status == status else None, "status")
        self.assertTrue(row.online)
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.unary(
            "UploadHeartbeat", base.UploadHeartbeatRequest(), base.UploadHeartbeatResponse, agent.credentials), "sent_at")

    def test_goaway_when_the_server_drains(self):
        agent = self.agent()
        streams = [agent.stream(), *(self.agent().stream() for _ in range(11))]
        self.server.process.send_signal(signal.SIGTERM)
        delays = []
        for stream in streams:
            message = stream.receive()
            self.assertEqual("goaway", message.WhichOneof("message"))
            delays.append(message.goaway.reconnect_after_ms)
            self.assertEqual(Code.UNAVAILABLE, stream.end()[0])
        self.assertLessEqual(max(delays), 5000)  # half a heartbeat's interval
        self.assertGreater(len(set(delays)), len(delays) // 2, "the agents come back one by one")
        self.assertEqual(0, self.server.process.wait(TIMEOUT))
        self.server.start()
        eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")
        eventually(lambda: code_of(agent.heartbeat)[0] == Code.OK, "back")
        agent.stream().cancel()


if __name__ == "__main__":
    main()
