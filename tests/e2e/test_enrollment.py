#!/usr/bin/python3
"""Enrollment: a token is good for one agent, and tells nobody why it is refused."""
from harness import *

REFUSED = "the enrollment token is not valid"


class Enrollment(ServerCase):
    def new(self, name="", **fields):
        return self.operator.CreateEnrollmentToken(**fields), BaseAgent(self.server, name or f"new-{os.urandom(6).hex()}")

    def refused_token(self, agent, token):
        text = self.refused(Code.UNAUTHENTICATED, lambda: agent.register(token))
        self.assertEqual(REFUSED, text)

    def reasons(self, since):
        records = self.operator.ListAuditRecords(action_prefix="agentgateway.v1.AgentGatewayService/",
                                                 workspace="belay-system").records
        return [record.reason for record in records if record.sequence > since]

    def test_fifty_registrations_at_once_with_one_token(self):
        created, _ = self.new()
        agents = [BaseAgent(self.server, f"racer-{i}") for i in range(50)]
        for agent in agents:
            grpc.channel_ready_future(agent.channel).result(TIMEOUT)
        replies = in_threads(50, lambda i: agents[i].register(created.secret))
        won = [reply for reply in replies if not isinstance(reply, Exception)]
        lost = [reply for reply in replies if isinstance(reply, Exception)]
        self.assertEqual(1, len(won), [str(e) for e in lost][:3])
        for error in lost:
            self.assertEqual((Code.UNAUTHENTICATED, REFUSED), (error.code(), error.details()))
        racers = self.operator.ListAgents(name_prefix="racer-").agents
        self.assertEqual([won[0].agent_id], [racer.id for racer in racers])

    def test_a_lost_reply_is_harmless_until_the_first_handshake(self):
        created, agent = self.new()
        first = agent.register(created.secret)
        again = agent.register(created.secret)
        self.assertEqual(first, again)
        confirmed = self.operator.ConfirmAgent(enrollment_id=created.token.id, fingerprint=first.identity_fingerprint,
                                               reveal_api_key=True)
        agent.api_key = confirmed.api_key
        self.assertEqual(gateway.ENROLLMENT_STATUS_CONFIRMED, agent.register(created.secret).enrollment_status)
        agent.handshake()
        self.refused_token(agent, created.secret)
        self.assertEqual(1, self.server.database.number(f"SELECT count(*) FROM agent WHERE name = '{agent.name}'"))

    def test_twenty_lost_replies_at_once_give_one_agent(self):
        created, agent = self.new()
        channels = [BaseAgent(self.server, agent.name) for _ in range(20)]
        for other in channels:
            other.identity, other.encryption = agent.identity, agent.encryption
        replies = in_threads(20, lambda i: channels[i].register(created.secret))
        good = {reply.agent_id for reply in replies if not isinstance(reply, Exception)}
        self.assertEqual(1, len(good))
        again = agent.register(created.secret)
        self.assertEqual({again.agent_id}, good)

    def test_another_key_is_refused_and_audited(self):
        created, agent = self.new()
        agent.register(created.secret)
        thief = BaseAgent(self.server, agent.name)
        self.refused_token(thief, created.secret)
        audit = self.operator.ListAuditRecords(workspace="belay-system").records
        self.assertIn("another identity key", audit[0].reason)
        self.assertEqual("denied", audit[0].decision)

    def test_every_wrong_token_gets_one_text(self):
        unknown = BaseAgent(self.server, "unknown")
        for token in ("blt_" + "A" * 43, "x" * 20, "y" * 512, "blk_" + "A" * 43, "\u00e9" * 30):
            self.refused_token(unknown, token)
        created, agent = self.new(ttl_seconds=1)
        self.server.database.query(f"UPDATE enrollment SET expires_at = 1 WHERE id = '{created.token.id}'")
        self.refused_token(agent, created.secret)
        created, agent = self.new()
        self.operator.RevokeEnrollmentToken(id=created.token.id)
        self.refused_token(agent, created.secret)
        created, agent = self.new()
        agent.register(created.secret)
        revoked = self.operator.RevokeEnrollmentToken(id=created.token.id)
        self.assertEqual(admin.ENROLLMENT_STATE_REVOKED, revoked.state)
        self.refused_token(agent, created.secret)
        self.assertEqual(admin.AGENT_STATE_REVOKED, self.operator.GetAgent(agent=str(agent.id)).state)

    def test_bounds_name_their_field_and_change_nothing(self):
        created, agent = self.new()
        before = self.server.database.number("SELECT count(*) FROM agent")
        good = {"enrollment_token": created.secret, "name": "bounds", "identity_pubkey": agent.identity_public,
                "encryption_pubkey": agent.encryption_public}
        wrong = [("enrollment_token", ""), ("enrollment_token", "x" * 19), ("enrollment_token", "x" * 513), ("name", ""),
                 ("name", "n" * 256), ("name", "a\nb"), ("identity_pubkey", b""), ("identity_pubkey", bytes(31)),
                 ("identity_pubkey", bytes(33)), ("encryption_pubkey", bytes(31)), ("encryption_pubkey", bytes(32)),
                 ("identity_pubkey", bytes(32)), ("encryption_pubkey", bytes(33))]
        for field, value in wrong:
            request = base.RegisterRequest(**{**good, field: value})
            self.refused(Code.INVALID_ARGUMENT, lambda r=request: agent.unary("Register", r, base.RegisterResponse), field)
        self.assertEqual(before, self.server.database.number("SELECT count(*) FROM agent"))
        # 255 characters, not bytes, and the token is still whole.
        agent.name = "\u00e9" * 255
        self.assertEqual(gateway.ENROLLMENT_STATUS_PENDING, agent.register(created.secret).enrollment_status)

    def test_small_order_encryption_keys_are_refused(self):
        created, agent = self.new()
        for point in ("00" * 32, "01" + "00" * 31, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                      "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"):
            request = base.RegisterRequest(enrollment_token=created.secret, name="small",
                                           identity_pubkey=agent.identity_public, encryption_pubkey=bytes.fromhex(point))
            self.refused(Code.INVALID_ARGUMENT, lambda r=request: agent.unary("Register", r, base.RegisterResponse),
                         "encryption_pubkey")

    def test_confirmation_quotes_enrollment_and_fingerprint(self):
        created, agent = self.new()
        reply = agent.register(created.secret)
        unused = self.operator.CreateEnrollmentToken().token
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.ConfirmAgent(
            enrollment_id=unused.id, fingerprint=reply.identity_fingerprint))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.ConfirmAgent(
            enrollment_id=created.token.id, fingerprint="0000 1111"), "fingerprint")
        wrong = reply.identity_fingerprint[:-1] + ("0" if reply.identity_fingerprint[-1] != "0" else "1")
        self.refused(Code.PERMISSION_DENIED, lambda: self.operator.ConfirmAgent(
            enrollment_id=created.token.id, fingerprint=wrong), "fingerprint")
        self.refused(Code.NOT_FOUND, lambda: self.operator.ConfirmAgent(
            enrollment_id="enr_00000000000000000000000000", fingerprint=reply.identity_fingerprint))
        confirmed = self.operator.ConfirmAgent(enrollment_id=created.token.id, fingerprint=reply.identity_fingerprint)
        self.assertEqual("", confirmed.api_key)
        self.assertEqual(admin.AGENT_STATE_CONFIRMED, confirmed.agent.state)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.ConfirmAgent(
            enrollment_id=created.token.id, fingerprint=reply.identity_fingerprint, reveal_api_key=True))

    def test_a_living_name_or_key_does_not_stand_twice_a_revoked_one_may_return(self):
        agent = self.agent("phoenix")
        created, other = self.new("phoenix")
        self.refused(Code.ALREADY_EXISTS, lambda: other.register(created.secret))
        created, same = self.new("phoenix-two")
        same.identity, same.encryption = agent.identity, agent.encryption
        self.refused(Code.ALREADY_EXISTS, lambda: same.register(created.secret))
        self.operator.RevokeAgent(agent=str(agent.id), reason="test")
        again = BaseAgent(self.server, "phoenix")
        again.identity, again.encryption = agent.identity, agent.encryption
        again.enroll(self.operator)
        self.assertNotEqual(agent.id, again.id)
        self.assertEqual(again.id, self.operator.GetAgent(agent="phoenix").id)

    def test_labels_of_the_token_win_and_auto_confirm_confirms(self):
        created, agent = self.new(auto_confirm=True, labels={"site": "north", "rack": "7"})
        request = gateway.RegisterRequest(
            enrollment_token=created.secret, name=agent.name, identity_pubkey=agent.identity_public,
            encryption_pubkey=agent.encryption_public, labels={"site": "forged", "own": "yes"},
            host=gateway.HostFacts(os="linux", cpu_count=3))
        reply = agent.unary("Register", request, gateway.RegisterResponse)
        self.assertEqual(gateway.ENROLLMENT_STATUS_CONFIRMED, reply.enrollment_status)
        self.assertGreater(len(reply.sealed_api_key), 48)
        self.assertEqual(32, len(reply.command_pubkey))
        row = self.operator.GetAgent(agent=agent.name)
        self.assertEqual({"site": "north", "rack": "7", "own": "yes"}, dict(row.labels))
        self.assertEqual(3, row.host.cpu_count)

    def test_bad_labels_are_refused(self):
        created, agent = self.new()
        for labels in ({"": "x"}, {"a b": "x"}, {"-a": "x"}, {"a": "x" * 64}, {"a" * 64: "x"}, {"a/b/c": "x"},
                       {f"k{i}": "v" for i in range(65)}):
            request = gateway.RegisterRequest(
                enrollment_token=created.secret, name=agent.name, identity_pubkey=agent.identity_public,
                encryption_pubkey=agent.encryption_public, labels=labels)
            self.refused(Code.INVALID_ARGUMENT, lambda r=request: agent.unary("Register", r, gateway.RegisterResponse),
                         "labels")

    def test_bootstrap_calls_are_limited_per_key(self):
        agent = self.agent("hammer")  # a stranger's calls come too slowly for it
        codes = {code_of(lambda: agent.register("blt_" + "Z" * 43))[0] for _ in range(400)}
        self.assertEqual({Code.UNAUTHENTICATED, Code.RESOURCE_EXHAUSTED}, codes)


if __name__ == "__main__":
    main()
