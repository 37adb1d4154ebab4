#!/usr/bin/python3
"""Part of an agent's room for another workspace, as the server keeps it: the lender and the agent it runs for the
borrower are driven step by step. The real ones are in test_loans_real.py."""
import ctypes
import urllib.parse

from sandbox_agent import *

SODIUM = ctypes.CDLL("libsodium.so.23")
SEAL_BYTES = 48
ROOM = dict(sandboxes=2, cpu_millis=1500, memory_bytes=1 << 30, disk_bytes=1 << 30)


def opened(agent, box):
    """What is sealed to a driven agent's encryption key."""
    secret = agent.encryption.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                            serialization.NoEncryption())
    out = ctypes.create_string_buffer(len(box) - SEAL_BYTES)
    if SODIUM.crypto_box_seal_open(out, box, ctypes.c_ulonglong(len(box)), agent.encryption_public, secret) != 0:
        raise AssertionError("the box is not sealed to this agent")
    return out.raw.decode()


class Loans(ServerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (7, 'other', 0)")
        cls.shell = Service(cls.server.local_channel(), OPENSHELL_SERVICE)
        cls.master = cls.operator.CreateApiKey(name="master", scopes=["*"]).secret

    def lender(self, name):
        agent = SandboxAgent(self, name).connect()
        self.addCleanup(agent.control.cancel)
        return agent

    def lend(self, lender, **fields):
        room = gateway.LoanRoom(**{**ROOM, **fields.pop("room", {})})
        return self.operator.LendAgent(**{**dict(agent=lender.base.name, to_workspace="other", room=room), **fields})

    def loans(self, **fields):
        return list(self.operator.ListLoans(**fields).loans)

    def guest(self, lender, name="guest"):
        """The lender does as it is told: an agent that enrolls with what came sealed, and offers the room it was given."""
        command, order = lender.order("lend")
        guest = BaseAgent(self.server, order.name)
        token = urllib.parse.parse_qs(urllib.parse.urlparse(opened(lender.base, order.sealed_join)).query)["token"][0]
        reply = guest.unary("Register", base.RegisterRequest(
            enrollment_token=token, name=guest.name, identity_pubkey=guest.identity_public,
            encryption_pubkey=guest.encryption_public), gateway.RegisterResponse)
        guest.id = reply.agent_id
        guest.api_key = opened(guest, reply.sealed_api_key)
        guest.handshake()
        stream = Stream(guest.channel, GATEWAY + "ControlStream", guest.credentials)
        stream.send(gateway.ControlStreamRequest(hello=gateway.ControlHello(capacity=gateway.Capacity(
            cpus=order.room.cpu_millis / 1000, memory_bytes=order.room.memory_bytes, disk_bytes=order.room.disk_bytes,
            sandboxes=order.room.sandboxes, sandbox_drivers=["native"]))))
        self.assertEqual("accepted", stream.receive().WhichOneof("message"))
        self.addCleanup(stream.cancel)
        lender.control.send(ack(command.command_id))
        return guest, stream, order

    def test_from_order_to_end(self):
        lender = self.lender("host")
        change = self.lend(lender, name="borrowed")
        loan = change.loan
        self.assertEqual(("host", "default", "other", "", 0, admin.ENROLLMENT_STATE_PENDING, "user:local/0"), (
            loan.agent, loan.workspace, loan.to_workspace, loan.name, loan.agent_id, loan.state, loan.created_by))
        self.assertEqual(("lend", lender.base.id), (change.command.kind, change.command.agent_id))
        guest, stream, order = self.guest(lender)
        self.assertEqual((loan.id, "other", "borrowed", gateway.LoanRoom(**ROOM)),
                         (order.loan_id, order.workspace, order.name, order.room))
        (loan,) = self.loans(agent="host")
        self.assertEqual(("borrowed", guest.id, admin.ENROLLMENT_STATE_CONFIRMED, True),
                         (loan.name, loan.agent_id, loan.state, loan.is_online))
        # In the other workspace it is an agent like any other, and in this one there is none of it.
        seen = self.operator.GetAgent(agent="borrowed", workspace="other")
        self.assertEqual({"belay.dev/lent": "true"}, dict(seen.labels))
        self.refused(Code.NOT_FOUND, lambda: self.operator.GetAgent(agent="borrowed"))
        self.refused(Code.NOT_FOUND, lambda: self.operator.GetAgent(agent="host", workspace="other"))
        made = self.shell.CreateSandbox(name="theirs", workspace="other", spec=V.SandboxSpec(command=["true"])).sandbox
        command = stream.command()
        self.assertEqual(made.metadata.id, gateway.AgentCommand.FromString(command.payload).sandbox_create.sandbox_id)
        stream.send(ack(command.command_id))
        ended = self.operator.ReclaimAgent(loan_id=loan.id)
        self.assertEqual(admin.ENROLLMENT_STATE_REVOKED, ended.loan.state)
        self.refused(Code.UNAUTHENTICATED, guest.heartbeat)
        self.assertEqual(loan.id, lender.take("reclaim").loan_id)
        self.assertEqual([], self.loans(agent="host"))
        self.assertEqual([loan.id], [one.id for one in self.loans(agent="host", with_ended=True)])
        again = self.operator.ReclaimAgent(loan_id=loan.id)  # the first order may be over before the lender hears of it
        self.assertEqual(loan.id, lender.take("reclaim").loan_id)
        self.assertEqual(admin.ENROLLMENT_STATE_REVOKED, again.loan.state)
        for workspace, actions in (("default", {"LendAgent", "ReclaimAgent"}), ("other", {"agent.lent", "agent.reclaimed"})):
            trail = {record.action.rsplit("/", 1)[-1] for record in
                     self.operator.ListAuditRecords(workspace=workspace, page_size=1000).records}
            self.assertLessEqual(actions, trail)

    def test_the_token_is_in_no_command_and_no_log(self):
        lender = self.lender("secretive")
        change = self.lend(lender)
        command, order = lender.order("lend")
        token = urllib.parse.parse_qs(urllib.parse.urlparse(opened(lender.base, order.sealed_join)).query)["token"][0]
        self.assertGreater(len(token), 20)
        self.assertNotIn(token, str(change))
        self.assertNotIn(token.encode(), command.payload)
        self.assertNotIn(token, self.server.log_text())
        lender.control.send(ack(command.command_id))
        self.operator.ReclaimAgent(loan_id=change.loan.id)
        self.refused(Code.UNAUTHENTICATED, lambda: BaseAgent(self.server, "late").register(token))

    def test_taken_back_before_it_came(self):
        lender = self.lender("hasty")
        loan = self.lend(lender).loan
        ended = self.operator.ReclaimAgent(loan_id=loan.id)
        self.assertEqual(admin.ENROLLMENT_STATE_CANCELLED, ended.loan.state)
        lender.take("lend")  # in the order they were given
        lender.take("reclaim")

    def test_an_agent_that_the_borrower_revoked_is_still_to_be_taken_back(self):
        lender = self.lender("shut-out")
        self.lend(lender, name="theirs-to-revoke")
        guest, _, order = self.guest(lender)
        self.operator.RevokeAgent(agent="theirs-to-revoke", workspace="other")
        self.refused(Code.UNAUTHENTICATED, guest.heartbeat)
        (loan,) = self.loans(agent="shut-out")
        self.assertEqual((order.loan_id, admin.ENROLLMENT_STATE_REVOKED, False), (loan.id, loan.state, loan.is_online))
        self.operator.ReclaimAgent(loan_id=loan.id)
        lender.take("reclaim")
        self.assertEqual([], self.loans(agent="shut-out"))

    def test_a_lender_that_is_revoked(self):
        lender = self.lender("goner")
        self.lend(lender, name="orphan")
        guest, _, order = self.guest(lender)
        self.operator.RevokeAgent(agent="goner")
        guest.heartbeat()  # nobody revoked this one
        change = self.operator.ReclaimAgent(loan_id=order.loan_id)
        self.assertFalse(change.HasField("command"))
        self.refused(Code.UNAUTHENTICATED, guest.heartbeat)

    def test_pages(self):
        lender = self.lender("generous")
        made = [self.lend(lender, name=f"part-{i}").loan.id for i in range(5)]
        first = self.operator.ListLoans(agent="generous", page_size=3)
        second = self.operator.ListLoans(agent="generous", page_size=3, page_token=first.next_page_token)
        self.assertEqual((made[:1:-1], made[1::-1], ""),
                         ([one.id for one in first.loans], [one.id for one in second.loans], second.next_page_token))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.ListLoans(page_size=3, page_token=first.next_page_token))

    def test_refusals(self):
        lender = self.lender("careful")
        SandboxAgent(self, "taken", workspace="other")
        before = self.server.database.query("SELECT * FROM enrollment ORDER BY id"), self.server.database.query(
            "SELECT id FROM command ORDER BY id")
        for fields, code, word in (
                (dict(agent="nobody"), Code.NOT_FOUND, "agent"), (dict(to_workspace="no-such"), Code.NOT_FOUND, "to_workspace"),
                (dict(to_workspace="default"), Code.INVALID_ARGUMENT, "to_workspace"),
                (dict(to_workspace=""), Code.INVALID_ARGUMENT, "to_workspace"),
                (dict(to_workspace="NO such"), Code.INVALID_ARGUMENT, "to_workspace"),
                (dict(workspace="no-such"), Code.NOT_FOUND, "workspace"), (dict(agent=""), Code.INVALID_ARGUMENT, "agent"),
                (dict(name="taken"), Code.ALREADY_EXISTS, "name"), (dict(name="a\nb"), Code.INVALID_ARGUMENT, "name"),
                (dict(room=dict(sandboxes=0)), Code.INVALID_ARGUMENT, "sandboxes"),
                (dict(room=dict(sandboxes=4097)), Code.INVALID_ARGUMENT, "sandboxes"),
                (dict(room=dict(cpu_millis=9)), Code.INVALID_ARGUMENT, "cpu_millis"),
                (dict(room=dict(memory_bytes=4 << 20 >> 1)), Code.INVALID_ARGUMENT, "memory_bytes"),
                (dict(room=dict(disk_bytes=1 << 60)), Code.INVALID_ARGUMENT, "disk_bytes")):
            with self.subTest(fields):
                self.refused(code, lambda f=fields: self.lend(lender, **f), word)
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.LendAgent(agent="careful", to_workspace="other"), "room")
        self.refused(Code.NOT_FOUND, lambda: self.operator.ReclaimAgent(loan_id="enr_00000000000000000000000000"), "loan_id")
        for order in (gateway.AgentCommand(reclaim=gateway.AgentReclaim(loan_id="enr_x")), gateway.AgentCommand(
                lend=gateway.AgentLend(loan_id="enr_x", workspace="w", name="n", sealed_join=bytes(64),
                                       room=gateway.LoanRoom(**ROOM)))):
            self.refused(Code.INVALID_ARGUMENT, lambda o=order: self.operator.SendCommand(agent="careful", command=o),
                         "LendAgent")
        key = self.server.with_key(self.master, self.server.channel())
        self.refused(Code.PERMISSION_DENIED, lambda: key.LendAgent(
            agent="careful", to_workspace="other", room=gateway.LoanRoom(**ROOM)), "platform admin")
        self.assertEqual(before, (self.server.database.query("SELECT * FROM enrollment ORDER BY id"),
                                  self.server.database.query("SELECT id FROM command ORDER BY id")))

    def test_what_is_lent_lends_nothing(self):
        lender = self.lender("first")
        self.lend(lender, name="second")
        self.guest(lender)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.LendAgent(
            agent="second", workspace="other", to_workspace="default", room=gateway.LoanRoom(**ROOM)), "lent")
        unconfirmed = BaseAgent(self.server, "unconfirmed")
        unconfirmed.register(self.operator.CreateEnrollmentToken().secret)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.LendAgent(
            agent="unconfirmed", to_workspace="other", room=gateway.LoanRoom(**ROOM)), "confirmed")
        loan = self.loans(agent="first")[0]
        self.refused(Code.NOT_FOUND, lambda: self.operator.ReclaimAgent(workspace="other", loan_id=loan.id), "loan_id")


if __name__ == "__main__":
    unittest.main(verbosity=2)
