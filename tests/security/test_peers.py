#!/usr/bin/python3
"""Peers that speak HTTP/2 by hand and break its rules or ours; afterwards the server serves as before."""
import hashlib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import h2  # noqa: E402
from harness import *  # noqa: E402
from h2 import Peer, field, frame, request  # noqa: E402

LIST = ADMIN + "ListAgents"
REGISTER = GATEWAY + "Register"
EMPTY = bytes(5)
UNIMPLEMENTED, UNAUTHENTICATED, EXHAUSTED, OK = 12, 16, 8, 0
REFUSED = (UNAUTHENTICATED, 14, None)  # 14: the library cannot read a binary header


class Served(ServerCase):
    def tearDown(self):
        self.assertTrue(self.server.is_running())
        self.assertEqual("default", self.operator.GetServerInfo().workspace)
        with Peer(self.server) as peer:
            self.assertEqual(OK, self.ask(peer, "/grpc.health.v1.Health/Check"))

    def ask(self, peer, path, *headers, body=EMPTY):
        peer.send(frame(h2.HEADERS, h2.END_HEADERS, 1, request(path, *headers)) +
                  frame(h2.DATA, h2.END_STREAM, 1, body))
        return peer.status(1)


class Requests(Served):
    """Metadata, paths and message frames."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = cls.operator.CreateApiKey(name="peers", scopes=["*"]).secret

    def status(self, path, *headers, body=EMPTY):
        with Peer(self.server) as peer:
            return self.ask(peer, path, *headers, body=body)

    def test_paths(self):
        credential = ("authorization", "Bearer " + self.key)
        self.assertEqual(OK, self.status(LIST, credential))
        for path in (LIST[1:], "/" + LIST, LIST + "/", LIST.replace("/L", "%2FL"), LIST.replace("/L", "//L"), LIST + "?x=1",
                     LIST + "#", LIST.upper(), "*", "", "/", LIST + "\x00", "/x/.." + LIST, "http://localhost" + LIST):
            self.assertIn(self.status(path, credential), (UNIMPLEMENTED, None), path)

    def test_credentials_stand_once_and_as_text(self):
        value = "Bearer " + self.key
        self.assertEqual(OK, self.status(LIST, ("authorization", value)))
        for headers in ([("authorization", value)] * 2, [("authorization", value + ", " + value)],
                        [("authorization-bin", value)], [("Authorization", value)],
                        [("authorization", value + "\x00")], [("authorization", "Bearer\t" + self.key)]):
            self.assertIn(self.status(LIST, *headers), REFUSED, str(headers)[:40])
        for raw in ("!", "=", "AAAA=AAA", "\xff\xfe", "A" * 4000):
            self.assertIn(self.status(LIST, ("authorization", value), ("x-trace-bin", raw)), REFUSED + (OK,), raw[:9])

    def test_message_prefixes(self):
        for body in (b"\x00\xff\xff\xff\xff", b"\x00\x00\x00\x00\x09abc", b"\x01\x00\x00\x00\x03abc", b"\x02\x00\x00\x00\x00",
                     b"\x80\x00\x00\x00\x00", b"\x00\x00", b"", b"\x00\x40\x00\x00\x00" + bytes(1000)):
            self.assertNotEqual(OK, self.status(REGISTER, body=body), body[:9])

    def test_a_stranger_is_refused_before_its_request_is_sent(self):
        for path in (LIST, GATEWAY + "UploadHeartbeat", GATEWAY + "UploadTelemetry", GATEWAY + "ControlStream"):
            with Peer(self.server) as peer:
                peer.send(frame(h2.HEADERS, h2.END_HEADERS, 1, request(path)))
                self.assertEqual(UNAUTHENTICATED, peer.status(1), path)


class Floods(Served):
    """Frames without end: each is told to calm down, and cut off."""

    def flood(self, piece, ack=True, before=b""):
        with Peer(self.server, ack) as peer:
            peer.send(before)
            for _ in range(160):
                if not peer.send(piece * (100000 // len(piece))):
                    break
            else:
                self.fail("16 MB were taken")
            return peer

    def calmed(self, piece, ack=True, before=b""):
        """Few enough that what the server says is not lost behind what it does not read."""
        with Peer(self.server, ack) as peer:
            peer.send(before + piece)
            self.assertEqual(h2.ENHANCE_YOUR_CALM, peer.goodbye())

    def test_header_blocks_without_end(self):
        some = field("a", "b") * 1600
        self.flood(frame(h2.CONTINUATION, 0, 1, some), before=frame(h2.HEADERS, 0, 1, some))
        endless = b"\x00\x01a\x7f" + h2.varint(1 << 28)
        self.flood(frame(h2.CONTINUATION, 0, 1, b"b" * 8000), before=frame(h2.HEADERS, 0, 1, endless))
        self.calmed(frame(h2.CONTINUATION, 0, 1) * 100, before=frame(h2.HEADERS, 0, 1, b"\x83"))

    def test_references_to_the_table(self):
        many = b"".join(frame(h2.HEADERS, h2.END_HEADERS, i, b"\x83" * 4000) for i in range(1, 21, 2))
        self.calmed(many, ack=False)

    def test_streams_that_are_reset(self):
        """A stranger's come too slowly to be a flood; so it is one that has shown a key."""
        key = self.operator.CreateApiKey(name="resets", scopes=["*"]).secret
        block = request(REGISTER)
        with Peer(self.server) as peer:
            self.assertEqual(OK, self.ask(peer, LIST, ("authorization", "Bearer " + key)))
            peer.send(b"".join(frame(h2.HEADERS, h2.END_HEADERS, i, block) + frame(h2.RESET, 0, i, bytes(4))
                               for i in range(3, 2001, 2)))
            self.assertEqual(h2.ENHANCE_YOUR_CALM, peer.goodbye())

    def test_small_frames(self):
        opened = frame(h2.HEADERS, h2.END_HEADERS, 1, request(REGISTER))
        for kind, stream, payload in ((h2.PING, 0, bytes(8)), (h2.SETTINGS, 0, b"\x00\x03\x00\x00\x00\x64"),
                                      (h2.DATA, 1, b""), (h2.WINDOW, 0, bytes(3) + b"\x01"), (h2.PRIORITY, 1, bytes(5)),
                                      (0xEE, 0, b"?")):
            self.calmed(frame(kind, 0, stream, payload) * 2000, before=opened)

    def test_settings_acknowledged_before_they_came(self):
        with Peer(self.server, ack=False) as peer:
            peer.send(frame(h2.SETTINGS, h2.ACK) * 3)
            self.assertIn(peer.goodbye(), (1, h2.ENHANCE_YOUR_CALM))


class Calls(Served):
    """Calls without end that are refused, each on a connection of its own: they are so many tries, and no more."""

    options = ("--bootstrap-burst", "5", "--bootstrap-per-second", "1")

    def tries(self, path, *headers):
        """What 20 calls of as many strangers are told; and how many tries the time has given them back, at most."""
        begin, codes = time.monotonic(), []
        for _ in range(20):
            with Peer(self.server) as peer:
                codes.append(self.ask(peer, path, *headers))
        return codes, 6 + int(time.monotonic() - begin)

    def check_told(self, codes, most):
        self.assertIn(EXHAUSTED, codes)
        self.assertLessEqual(set(codes), {UNAUTHENTICATED, EXHAUSTED})
        self.assertLessEqual(codes.count(UNAUTHENTICATED), most)

    def test_tokens_of_nobody_are_looked_up_at_a_rate(self):
        keys = [self.operator.CreateApiKey(name=name, scopes=["*"]).secret for name in ("known", "fresh")]
        caller = self.server.with_key(keys[0])
        caller.GetServerInfo()
        for token in ("bls_", "blk_", "blr_1.2."):
            codes, most = self.tries(LIST, ("authorization", "Bearer " + token + "A" * 43))
            self.check_told(codes, most)
        # On a connection that is known neither what is in memory nor what has to be looked up is refused.
        caller.GetServerInfo()
        caller.GetServerInfo(metadata=bearer(keys[1]))

    def test_refusals_do_not_fill_the_audit_trail(self):
        def written():
            return self.server.database.number("SELECT count(*) FROM audit WHERE decision = 'denied'")
        before = written()
        codes, most = self.tries(ADMIN + "RevokeAgent")
        self.check_told(codes, most)
        self.assertEqual(written() - before, codes.count(UNAUTHENTICATED))

    def test_strangers_do_not_fill_the_log(self):
        def lines():
            return [line for line in self.server.log_lines("rpc") if line["method"] == "grpc.health.v1.Health/Check"]
        before = len(lines())
        codes, most = self.tries("/grpc.health.v1.Health/Check")
        self.assertEqual([OK] * 20, codes)
        self.assertLessEqual(len(lines()) - before, most)
        counted = re.search(r'belay_rpc_calls_total{method="grpc.health.v1.Health/Check",status="OK"} (\d+)',
                            self.server.http("/metrics")[1])
        self.assertGreaterEqual(int(counted.group(1)), 20)

        def told():
            self.tries("/grpc.health.v1.Health/Check")
            return any(line.get("left_out", 0) > 0 for line in lines())
        eventually(told, "how many lines were left out")


class Texts(Served):
    """What stands in texts is data: for SQL, for logs, for the pages."""

    NAMES = ("%", "_", "a%b", "100%", "x' OR '1'='1", "x\"; DROP TABLE agent; --", "back\\slash", "$1", "{}", "\u202e")

    def test_metacharacters_of_sql(self):
        agents = {name: BaseAgent(self.server, name).enroll(self.operator) for name in self.NAMES}
        for name, agent in agents.items():
            self.assertEqual(agent.id, self.operator.GetAgent(agent=name).id, name)
            found = [one.name for one in self.operator.ListAgents(name_prefix=name).agents]
            self.assertEqual([other for other in self.NAMES if other.startswith(name)], sorted(found, key=self.NAMES.index))
        for wild in ("%%", "a_b", "*", "?", "[a-z]", "' OR 1=1 --"):
            self.assertEqual([], list(self.operator.ListAgents(name_prefix=wild).agents), wild)
            self.assertEqual([], list(self.operator.ListAuditRecords(action_prefix=wild).records), wild)
            self.assertEqual([], list(self.operator.ListAuditRecords(actor_prefix=wild).records), wild)
        self.assertEqual(len(self.NAMES), self.server.database.number("SELECT count(*) FROM agent"))

    def test_pages_for_everybody_tell_nothing_of_tenants(self):
        agent = BaseAgent(self.server, "unseen-by-strangers").enroll(self.operator)
        agent.heartbeat()
        code_of(lambda: self.operator.GetAgent(agent="asked-for-in-vain"))
        for path in ("/metrics", "/healthz", "/readyz", "/"):
            page = self.server.http(path)[1]
            for word in ("unseen-by-strangers", "asked-for-in-vain", agent.api_key, agent.session):
                self.assertNotIn(word, page, path)
        health = self.server.channel().unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=TIMEOUT)
        self.assertEqual(b"\x08\x01", health)


class Evidence(Served):
    """The audit chain commits to every record, its place and its predecessor."""

    def records(self):
        self.operator.ListAuditRecords(page_size=1)  # on PostgreSQL records get their places when somebody looks, or a moment later
        text = "convert_to(record, 'UTF8')" if ENGINE == "postgresql" else "record"
        rows = self.server.database.query(f"SELECT sequence, {Database.hex(text)}, {Database.hex('hash')} "
                                          "FROM audit WHERE workspace_id = 1 ORDER BY sequence")
        return [(int(number), bytes.fromhex(raw).decode(), digest) for number, raw, digest in rows]

    @staticmethod
    def holds(records):
        previous = b""
        for expected, (number, text, digest) in enumerate(records, 1):
            made = hashlib.sha256()
            for part in (b"belay.audit.v2", previous, number.to_bytes(8, "big"), text.encode()):
                made.update(len(part).to_bytes(8, "big") + part)
            previous = made.digest()
            if number != expected or previous.hex() != digest:
                return False
        return True

    def test_a_gap_an_edit_and_another_order_are_seen(self):
        for i in range(5):
            self.operator.CreateApiKey(name=f"key-{i}", scopes=["agent:read"])
        records = self.records()
        self.assertGreaterEqual(len(records), 5)
        self.assertTrue(self.holds(records))
        self.assertFalse(self.holds(records[:2] + records[3:]), "gap")
        self.assertFalse(self.holds(records[1:]), "the first gone")
        number, text, digest = records[2]
        self.assertFalse(self.holds(records[:2] + [(number, text.replace("key", "kex"), digest)] + records[3:]), "edit")
        swapped = [(records[0][0],) + records[1][1:], (records[1][0],) + records[0][1:]]
        self.assertFalse(self.holds(swapped + records[2:]), "order")


if __name__ == "__main__":
    main()
