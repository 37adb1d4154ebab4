#!/usr/bin/python3
"""What sandboxes used and how much may stand, as operators ask for it and set it."""
from test_sandboxes import HOUR, SandboxCase
from sandbox_agent import *

SECOND = 1_000_000
BIG = (1 << 63) - 1


def at(us):
    return Timestamp(seconds=us // SECOND, nanos=us % SECOND * 1000)


class UsageCase(SandboxCase):
    def setUp(self):
        super().setUp()
        UsageCase.serial = getattr(UsageCase, "serial", 0) + 1
        self.agent = self.offer(f"used-{self.serial}")
        self.sequence = 0

    def tearDown(self):
        super().tearDown()
        for table in ("sandbox_usage", "sandbox_account", "quota"):
            self.server.database.query(f"DELETE FROM {table}")

    def old(self, name, hours=5, **fields):
        """The id of a sandbox that has been there for hours."""
        sandbox = self.ready(name, self.agent, **fields)
        made = int(time.time() * SECOND) - hours * HOUR
        self.server.database.query(
            f"UPDATE sandbox_account SET created_at = {made} WHERE sandbox_id = '{sandbox.metadata.id}'")
        return sandbox.metadata.id

    def use(self, sandbox_id, *intervals):
        """(from, until, what was used) each."""
        events = []
        for since, until, fields in intervals:
            self.sequence += 1
            row = gateway.SandboxUsage(sandbox_id=sandbox_id, boot_id="boot", sequence=self.sequence, from_us=since,
                                       until_us=until, **fields)
            events.append(gateway.AgentEvent(time_us=until, kind="sandbox.usage", device=sandbox_id, usage=row))
        self.agent.base.upload([gateway.UploadEventsRequest(
            payload=gateway.EventBatch(events=events).SerializeToString(), captured_at=now(), sequence=self.sequence,
            format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)], events=True)

    def usage(self, size=1000, service=None, **fields):
        """Every row, page by page."""
        rows, token = [], ""
        while True:
            reply = (service or self.operator).GetUsage(page_size=size, page_token=token, **fields)
            self.assertLessEqual(len(reply.rows), size)
            rows += reply.rows
            token = reply.next_page_token
            if not token:
                return rows


class Usage(UsageCase):
    def test_sums_of_a_sandbox_and_its_range(self):
        now_us = int(time.time() * SECOND)
        first = now_us - 3 * HOUR
        one = self.old("sums")
        self.use(one, (first, first + 60 * SECOND, dict(
            cpu_us=10, memory_byte_seconds=20, memory_peak_bytes=30, read_bytes=40, written_bytes=50, sent_bytes=60,
            received_bytes=70, disk_bytes=80, processes_peak=9)),
                 (first + 60 * SECOND, first + 90 * SECOND, dict(
                     cpu_us=1, memory_byte_seconds=2, memory_peak_bytes=31, read_bytes=4, written_bytes=5, sent_bytes=6,
                     received_bytes=7, disk_bytes=8, processes_peak=3)))
        (row,) = self.usage()
        self.assertEqual(
            ("default", one, "sums", "user:local/%d" % os.geteuid(), "", 1, 90 * SECOND, 11, 22, 80 * 60 + 8 * 30, 31, 9, 44, 55,
             66, 77),
            (row.workspace, row.sandbox_id, row.sandbox_name, row.owner, row.label_value, row.sandboxes, row.running_us,
             row.cpu_us, row.memory_byte_seconds, row.disk_byte_seconds, row.memory_peak_bytes, row.processes_peak,
             row.read_bytes, row.written_bytes, row.sent_bytes, row.received_bytes))
        self.assertFalse(row.HasField("hour"))
        self.assertEqual(first + 90 * SECOND, row.until.seconds * SECOND + row.until.nanos // 1000)
        for start, end, cpu in ((first, first + 60 * SECOND, 10), (first + 60 * SECOND - 1, first + 60 * SECOND, 10),
                                (first + 60 * SECOND, now_us, 1), (first, first + 60 * SECOND - 1, None),
                                (first + 90 * SECOND, now_us, None)):
            rows = self.usage(start=at(start), end=at(end))
            self.assertEqual([] if cpu is None else [cpu], [row.cpu_us for row in rows])
        self.assertEqual([], self.usage(end=at(first)))  # the day before that
        self.refused(Code.INVALID_ARGUMENT, lambda: self.usage(start=at(first), end=at(first)), "start")
        longest = now_us - 400 * 24 * HOUR
        self.assertEqual([11], [row.cpu_us for row in self.usage(start=at(longest), end=at(now_us))])
        self.refused(Code.INVALID_ARGUMENT, lambda: self.usage(start=at(longest - 1), end=at(now_us)),
                     "start: at most 400 days before end")

    def test_groups_hours_filters_and_pages(self):
        first = int(time.time() * SECOND) // HOUR * HOUR - 3 * HOUR
        key = self.operator.CreateApiKey(name="owner", scopes=["openshell:all"])
        mine = f"user:local/{os.geteuid()}"
        a = self.old("a", labels={"team": "x", "example.com/a.b": "1"})
        b = self.old("b", labels={"team": "y"})
        shell, self.shell = self.shell, Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key.secret))
        c = self.old("c", labels={"team": "x"})
        self.shell = shell
        for i, sandbox in enumerate((a, b, c)):
            self.use(sandbox, *((first + hour * HOUR, first + hour * HOUR + 60 * SECOND, dict(cpu_us=10 ** i, sent_bytes=BIG))
                                for hour in range(2)))
        theirs = f"key:{key.key.id}"
        group = lambda word: admin.UsageGroup.Value("USAGE_GROUP_" + word)
        shown = lambda rows, field: sorted((getattr(row, field), row.cpu_us, row.sandboxes) for row in rows)
        self.assertEqual(sorted([(a, 2, 1), (b, 20, 1), (c, 200, 1)]), shown(self.usage(), "sandbox_id"))
        self.assertEqual(sorted([(mine, 22, 2), (theirs, 200, 1)]), shown(self.usage(group_by=group("OWNER")), "owner"))
        self.assertEqual([("default", 222, 3)], shown(self.usage(group_by=group("WORKSPACE")), "workspace"))
        self.assertEqual([("x", 202, 2), ("y", 20, 1)],
                         shown(self.usage(group_by=group("LABEL"), label_key="team"), "label_value"))
        self.assertEqual([("", 220, 2), ("1", 2, 1)],
                         shown(self.usage(group_by=group("LABEL"), label_key="example.com/a.b"), "label_value"))
        self.assertEqual({BIG}, {row.sent_bytes for row in self.usage(group_by=group("WORKSPACE"))})  # shown as the most
        self.assertEqual([("b", 20, 1)], shown(self.usage(sandbox="b"), "sandbox_name"))
        self.assertEqual([("b", 20, 1)], shown(self.usage(sandbox=b), "sandbox_name"))
        self.assertEqual([("c", 200, 1)], shown(self.usage(owner=theirs), "sandbox_name"))
        self.assertEqual([], self.usage(sandbox="%"))
        hourly = self.usage(hourly=True)
        self.assertEqual([first // SECOND] * 3 + [(first + HOUR) // SECOND] * 3, [row.hour.seconds for row in hourly])
        self.assertEqual({1, 10, 100}, {row.cpu_us for row in hourly})
        for size in (1, 2, 4, 5, 6):
            self.assertEqual(hourly, self.usage(size=size, hourly=True))
        token = self.operator.GetUsage(page_size=1, hourly=True).next_page_token
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.GetUsage(page_size=1, page_token=token), "page_token")

    def test_bad_questions(self):
        label = admin.USAGE_GROUP_LABEL
        for word, fields in (("label_key", {"group_by": label}), ("label_key", {"group_by": label, "label_key": 'a"b'}),
                             ("label_key", {"group_by": label, "label_key": "$.x"}), ("label_key", {"label_key": "team"}),
                             ("group_by", {"group_by": 77}), ("page_size", {"page_size": 1001}),
                             ("owner", {"owner": "o" * 256}), ("sandbox", {"sandbox": "a\nb"}),
                             ("all_workspaces", {"all_workspaces": True, "workspace": "default"})):
            self.refused(Code.INVALID_ARGUMENT, lambda f=fields: self.operator.GetUsage(**f), word)

    def test_a_workspace_sees_its_own_and_a_platform_admin_all(self):
        self.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (3, 'third', 0) "
                                   "ON CONFLICT DO NOTHING")
        until = int(time.time() * SECOND)
        own = self.old("walled")
        self.use(own, (until - SECOND, until, dict(cpu_us=7)))
        foreign = SandboxAgent(self, f"foreign-{self.serial}", workspace="third")
        self.server.database.query("INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, "
                                   f"created_at) VALUES (3, 'sbx_theirs', 'theirs', {foreign.base.id}, 'o', '{{}}', 0)")
        foreign.sequence, self.agent, kept = 0, foreign, self.agent
        self.use("sbx_theirs", (until - SECOND, until, dict(cpu_us=8)))
        self.agent = kept
        key = lambda **fields: self.server.with_key(self.operator.CreateApiKey(name="k", scopes=["usage:read"], **fields).secret)
        here, there = key(), key(workspace="third")
        cpu = lambda service, **fields: [(row.workspace, row.cpu_us) for row in self.usage(service=service, **fields)]
        self.assertEqual([("default", 7)], cpu(here))
        self.assertEqual([("third", 8)], cpu(there))
        self.assertEqual([], cpu(here, sandbox="sbx_theirs"))
        self.refused(Code.NOT_FOUND, lambda: cpu(here, workspace="third"))
        self.refused(Code.PERMISSION_DENIED, lambda: cpu(here, all_workspaces=True))
        self.assertEqual([("default", 7), ("third", 8)], cpu(self.operator, all_workspaces=True))
        self.assertEqual([("default", 7), ("third", 8)],
                         cpu(self.operator, all_workspaces=True, group_by=admin.USAGE_GROUP_WORKSPACE, size=1))
        self.assertEqual([("third", 8)], cpu(self.operator, workspace="third"))


class Figures(UsageCase):
    """What is so now: agents read their sandboxes while somebody looks."""

    def watched(self, agent=None):
        """The next order to read; what comes before it is passed over."""
        while True:
            message = (agent or self.agent).control.receive()
            if message.WhichOneof("message") == "sandbox_watch":
                return message.sandbox_watch

    def read(self, sandbox_id, agent=None, **fields):
        reading = gateway.SandboxReading(**{"sandbox_id": sandbox_id, "taken_us": 5 * SECOND, "interval_us": 2 * SECOND,
                                            "cpu_us": 3 * SECOND, **fields})
        (agent or self.agent).control.send(gateway.ControlStreamRequest(
            sandbox_readings=gateway.ControlSandboxReadings(readings=[reading])))

    def figures(self, service=None, **fields):
        return list((service or self.operator).ListSandboxFigures(**fields).figures)

    def tearDown(self):
        super().tearDown()
        self.server.database.query("DELETE FROM sandbox_watch")

    def test_whoever_looks_has_them_read(self):
        sandbox = self.ready("busy", self.agent)
        (row,) = self.figures()
        self.assertEqual(("default", sandbox.metadata.id, "busy", f"user:local/{os.geteuid()}", self.agent.base.name, True,
                          "ready", 1000, 512 << 20, 1 << 30, 0, 0),
                         (row.workspace, row.sandbox_id, row.sandbox_name, row.owner, row.agent_name, row.agent_online,
                          row.phase, row.cpu_limit_millis, row.memory_limit_bytes, row.disk_limit_bytes, row.cpu_us,
                          row.interval_us))
        self.assertFalse(row.HasField("taken_at"))
        order = self.watched()
        self.assertEqual(2000, order.interval_ms)
        self.assertTrue(10000 < order.duration_ms <= 20000, order.duration_ms)
        self.read(sandbox.metadata.id, memory_bytes=1, disk_bytes=2, read_bytes=3, written_bytes=4, sent_bytes=5,
                  received_bytes=6, processes=7)
        row = eventually(lambda: next((one for one in self.figures() if one.interval_us), None), "the figures are there")
        self.assertEqual((5, 2 * SECOND, 3 * SECOND, 1500, 1, 2, 3, 4, 5, 6, 7),
                         (row.taken_at.seconds, row.interval_us, row.cpu_us, row.cpu_millis, row.memory_bytes, row.disk_bytes,
                          row.read_bytes, row.written_bytes, row.sent_bytes, row.received_bytes, row.processes))
        self.assertLess(row.age_ms, 10000)
        self.assertEqual(1, self.server.database.number("SELECT COUNT(*) FROM sandbox_figures"))
        self.shell.StopSandbox(name="busy")
        self.agent.take("sandbox_stop", STOPPED)
        self.phase("busy", V.SANDBOX_PHASE_STOPPED)
        (row,) = self.figures()
        self.assertEqual(("stopped", 0, False), (row.phase, row.interval_us, row.HasField("taken_at")))
        self.shell.DeleteSandbox(name="busy", metadata=(("belay-force", "true"),))
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox_figures"))

    def test_what_nobody_looks_at_is_passed_over(self):
        sandbox = self.ready("unseen", self.agent)
        self.read(sandbox.metadata.id)
        self.shell.StopSandbox(name="unseen")
        self.agent.take("sandbox_stop", STOPPED)  # behind the reading, on the same stream
        self.phase("unseen", V.SANDBOX_PHASE_STOPPED)
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox_figures"))

    def test_an_agent_hears_of_it_now_and_then_and_when_it_comes_back(self):
        self.ready("again", self.agent)
        for _ in range(20):
            self.figures()
        first = self.watched()
        self.agent.control.cancel()
        self.agent.connect(self.agent.made(self.shell.GetSandbox(name="again").sandbox.metadata.id, READY))
        self.assertLess(self.watched().duration_ms, first.duration_ms + 1)
        self.server.database.query("UPDATE sandbox_watch SET until_us = until_us - 10000000")
        self.figures()
        self.assertGreater(self.watched().duration_ms, 15000)
        self.figures()
        command = self.send(self.agent.base)
        message = self.agent.control.receive()
        self.assertEqual(command.id, message.command.command_id)  # nothing about figures before it

    def test_agents_write_of_their_own_and_not_faster_than_they_are_asked(self):
        other = self.offer(f"others-{self.serial}")
        mine, theirs = self.ready("mine", self.agent).metadata.id, self.ready("theirs", other).metadata.id
        self.figures()
        self.watched()
        self.watched(other)
        self.read(theirs)
        self.read("sbx_nothing")  # too early
        eventually(lambda: self.stored(mine, interval_us=1) is not None, "an own one is stored")
        self.assertEqual([(mine,)], self.server.database.query("SELECT sandbox_id FROM sandbox_figures"))
        for _ in range(50):
            self.read(mine, interval_us=77)
        eventually(lambda: self.stored(mine, interval_us=(1 << 64) - 1, cpu_us=(1 << 64) - 1), "it goes on after them")
        (row,) = [one for one in self.figures() if one.sandbox_id == mine]
        self.assertEqual((BIG, BIG, 1000), (row.interval_us, row.cpu_us, row.cpu_millis))

    def stored(self, sandbox_id, **fields):
        self.read(sandbox_id, **fields)
        wanted = min(fields["interval_us"], BIG)
        return next((one for one in self.figures() if one.sandbox_id == sandbox_id and one.interval_us == wanted), None)

    def test_before_the_hello_nothing_is_taken(self):
        stream = Stream(self.agent.base.channel, GATEWAY + "ControlStream", self.agent.base.credentials)
        stream.send(gateway.ControlStreamRequest(sandbox_readings=gateway.ControlSandboxReadings()))
        self.assertEqual(Code.INVALID_ARGUMENT, stream.end()[0])

    def test_an_agent_without_sandboxes_is_not_asked(self):
        plain = self.agent_stream()
        self.ready("somewhere", self.agent)
        self.figures()
        self.watched()
        sent = self.send(plain.base)
        message = plain.control.receive()
        self.assertEqual(sent.id, message.command.command_id)
        plain.control.cancel()

    def agent_stream(self):
        plain = SandboxAgent(self, f"plain-{self.serial}", sandbox_drivers=[])
        self.agents.append(plain)
        return plain.connect()

    def test_names_and_pages(self):
        for name in ("p-a", "p-b", "p-c"):
            self.create(name, self.agent)
        shown = lambda **fields: [one.sandbox_name for one in self.figures(**fields)]
        self.assertEqual(["p-a", "p-c"], shown(sandboxes=["p-c", "nothing", "p-a"]))
        self.assertEqual(["p-a", "p-c"], shown(sandboxes=["p-c", "p-c", "p-a", "p-c"]))  # once each
        self.assertEqual([], shown(sandboxes=['"', "\\", "'"]))
        self.assertEqual([], shown(sandboxes=["%"]))
        for names in (["p-a", "p-b", "p-c"], ["p-a", "p-c"]):
            seen, token = [], ""
            for _ in names:
                reply = self.operator.ListSandboxFigures(page_size=1, page_token=token, sandboxes=names if len(names) == 2 else [])
                seen += [one.sandbox_name for one in reply.figures]
                token = reply.next_page_token
            self.assertEqual((names, ""), (seen, token))
        for fields in ({"sandboxes": [""]}, {"sandboxes": ["x" * 64]}, {"sandboxes": ["x"] * 101}):
            self.refused(Code.INVALID_ARGUMENT, lambda f=fields: self.figures(**f), "sandboxes")

    def test_the_wall(self):
        self.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (3, 'third', 0) "
                                   "ON CONFLICT DO NOTHING")
        self.create("walled", self.agent)
        key = self.operator.CreateApiKey(name="k", scopes=["sandbox:read"], workspace="third").secret
        there = self.server.with_key(key)
        self.assertEqual([], self.figures(there))
        self.assertEqual([], self.figures(there, sandboxes=["walled"]))
        self.refused(Code.NOT_FOUND, lambda: self.figures(there, workspace="default"))
        self.refused(Code.PERMISSION_DENIED, lambda: self.figures(there, all_workspaces=True))
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox_watch"))
        self.assertEqual([("default", "walled")], [(one.workspace, one.sandbox_name)
                                                   for one in self.figures(all_workspaces=True)])
        self.assertEqual([("1",)], self.server.database.query("SELECT workspace_id FROM sandbox_watch"))
        writer = self.server.with_key(self.operator.CreateApiKey(name="w", scopes=["usage:read"]).secret)
        self.refused(Code.PERMISSION_DENIED, lambda: self.figures(writer), "sandbox:read")


class Quotas(UsageCase):
    def set(self, owner="", service=None, version=None, **limits):
        fields = {} if version is None else {"expected_version": version}
        return (service or self.operator).SetQuota(owner=owner, limits=admin.QuotaLimits(**limits), **fields)

    @staticmethod
    def limits(quota):
        return {field.name: value for field, value in quota.limits.ListFields()}

    def test_set_get_and_what_it_does(self):
        none = self.operator.GetQuota()
        self.assertEqual((0, {}, False, ""), (none.version, self.limits(none), none.is_of_all, none.changed_by))
        quota = self.set(sandboxes=1, memory_bytes=1 << 40, cpu_millis=0)
        self.assertEqual({"sandboxes": 1, "memory_bytes": 1 << 40, "cpu_millis": 0}, self.limits(quota))
        self.assertEqual(("default", "", f"user:local/{os.geteuid()}"), (quota.workspace, quota.owner, quota.changed_by))
        self.assertLess(abs(quota.changed_at.seconds - time.time()), 60)
        self.assertEqual(quota, self.operator.GetQuota())
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: self.create("none", self.agent), "cpu", "at most 0m")
        second = self.set(sandboxes=1)
        self.assertGreater(second.version, quota.version)
        self.ready("one", self.agent)
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: self.create("two", self.agent), "sandboxes")
        used = self.operator.GetQuota().used
        self.assertEqual((1, 1000, 512 << 20, 1 << 30), (used.sandboxes, used.cpu_millis, used.memory_bytes, used.disk_bytes))
        self.assertEqual((0, {}), (lambda q: (q.version, self.limits(q)))(self.operator.DeleteQuota()))
        self.ready("two", self.agent)
        self.refused(Code.NOT_FOUND, self.operator.DeleteQuota, "owner")

    def test_owners_and_those_without_one_of_their_own(self):
        self.set("*", sandboxes=3, cpu_millis=5)
        inherited = self.operator.GetQuota(owner="user:x")
        self.assertEqual((True, 0, {"sandboxes": 3, "cpu_millis": 5}, "user:x"),
                         (inherited.is_of_all, inherited.version, self.limits(inherited), inherited.owner))
        own = self.set("user:x")  # none at all: more than the others
        self.assertEqual((False, {}), (own.is_of_all, self.limits(own)))
        self.assertEqual({}, self.limits(self.operator.GetQuota(owner="user:x")))
        self.assertTrue(self.operator.DeleteQuota(owner="user:x").is_of_all)
        self.assertEqual((False, {}), (lambda q: (q.is_of_all, self.limits(q)))(self.operator.GetQuota()))

    def test_versions(self):
        first = self.set("user:v", version=0, sandboxes=1)
        self.refused(Code.ABORTED, lambda: self.set("user:v", version=0, sandboxes=2), "expected_version", str(first.version))
        second = self.set("user:v", version=first.version, sandboxes=2)
        self.refused(Code.ABORTED, lambda: self.set("user:v", version=first.version, sandboxes=3), "expected_version")
        self.refused(Code.ABORTED, lambda: self.operator.DeleteQuota(owner="user:v", expected_version=first.version))
        self.assertEqual(second, self.operator.GetQuota(owner="user:v"))
        self.operator.DeleteQuota(owner="user:v", expected_version=second.version)
        self.refused(Code.ABORTED, lambda: self.set("user:v", version=second.version, sandboxes=3))

    def test_of_many_at_once_one_wins(self):
        for owner in ("user:new", "user:old"):
            stands = self.set(owner, sandboxes=50).version if owner == "user:old" else 0
            got = in_threads(8, lambda i, o=owner, v=stands: code_of(lambda: self.set(o, version=v, sandboxes=i)))
            self.assertEqual([Code.ABORTED] * 7 + [Code.OK], sorted((code for code, _ in got), key=lambda c: c != Code.ABORTED))
        made = in_threads(8, lambda i: self.set("user:any", sandboxes=i))  # without a version all of them do, one after the other
        self.assertEqual([], [one for one in made if isinstance(one, Exception)])
        self.assertLess(self.operator.GetQuota(owner="user:any").limits.sandboxes, 8)

    def test_a_row_that_was_written_by_hand(self):
        self.server.database.query("INSERT INTO quota VALUES (1, 'user:hand', 5, NULL, NULL, NULL, 'me', 0)")
        quota = self.operator.GetQuota(owner="user:hand")
        self.assertEqual((1, {"sandboxes": 5}), (quota.version, self.limits(quota)))
        self.set("user:hand", version=1, sandboxes=6)

    def test_list_by_pages(self):
        owners = ["", "*", "key:key_1", "user:a", "user:b"]
        for owner in owners:
            self.set(owner, sandboxes=3)
        self.ready("counted", self.agent)
        mine = f"user:local/{os.geteuid()}"
        self.set(mine, disk_bytes=1)
        for size in (1, 2, 6, 7):
            listed, token = [], ""
            while True:
                reply = self.operator.ListQuotas(page_size=size, page_token=token)
                self.assertLessEqual(len(reply.quotas), size)
                listed += reply.quotas
                token = reply.next_page_token
                if not token:
                    break
            self.assertEqual(sorted(owners + [mine]), sorted(quota.owner for quota in listed))
        by_owner = {quota.owner: quota for quota in listed}
        self.assertEqual((1, 1), (by_owner[""].used.sandboxes, by_owner[mine].used.sandboxes))
        self.assertEqual(0, by_owner["user:a"].used.sandboxes)
        self.assertFalse(by_owner["*"].HasField("used"))
        for owner in owners[:1] + owners[2:] + [mine]:
            self.assertEqual(by_owner[owner], self.operator.GetQuota(owner=owner))

    def test_who_may_and_what_is_left_of_it(self):
        keyed = lambda *scopes: self.server.with_key(self.operator.CreateApiKey(name="k", scopes=list(scopes)).secret)
        reader, writer = keyed("usage:read"), keyed("usage:read", "usage:write")
        reader.GetQuota(owner="user:x")
        self.refused(Code.PERMISSION_DENIED, lambda: self.set("user:x", reader, sandboxes=1), "usage:write")
        self.refused(Code.PERMISSION_DENIED, lambda: keyed("*", "openshell:all").SetQuota(limits=admin.QuotaLimits()), "owner")
        self.refused(Code.PERMISSION_DENIED, lambda: keyed("openshell:all").GetUsage(), "usage:read")
        self.set("user:x", writer, sandboxes=1)
        self.refused(Code.PERMISSION_DENIED, lambda: self.set("", writer, sandboxes=1), "platform admins")
        self.set("", sandboxes=100)
        self.refused(Code.PERMISSION_DENIED, writer.DeleteQuota, "platform admins")
        records = self.operator.ListAuditRecords(action_prefix="agentgateway.v1.AgentAdminService/SetQuota").records[:5]
        self.assertEqual([("quota/", "allowed"), ("quota/", "denied"), ("quota/user:x", "allowed"), ("quota/", "denied"),
                          ("", "denied")], [(one.target, one.decision) for one in records])

    def test_bad_input_changes_nothing(self):
        stands = self.set("user:x", sandboxes=1)
        for word, call in (("limits", lambda: self.operator.SetQuota(owner="user:x")),
                           ("sandboxes", lambda: self.set("user:x", sandboxes=1000001)),
                           ("cpu_millis", lambda: self.set("user:x", cpu_millis=10 ** 9 + 1)),
                           ("memory_bytes", lambda: self.set("user:x", memory_bytes=(1 << 60) + 1)),
                           ("disk_bytes", lambda: self.set("user:x", disk_bytes=(1 << 64) - 1)),
                           ("owner", lambda: self.set("o" * 256, sandboxes=1)),
                           ("owner", lambda: self.set("\u00e9" * 200, sandboxes=1)),
                           ("owner", lambda: self.set("a\x1b[31m", sandboxes=1))):
            self.refused(Code.INVALID_ARGUMENT, call, word)
        self.assertEqual([stands], list(self.operator.ListQuotas().quotas))

    def test_the_longest_owner_fits_a_page_token(self):
        owners = ["o" * 254 + str(i) for i in range(3)]
        for owner in owners:
            self.set(owner, sandboxes=1)
        token, seen = "", []
        for _ in owners:
            reply = self.operator.ListQuotas(page_size=1, page_token=token)
            seen += [quota.owner for quota in reply.quotas]
            token = reply.next_page_token
        self.assertEqual((owners, ""), (seen, token))


if __name__ == "__main__":
    main()
