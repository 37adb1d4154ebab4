#!/usr/bin/python3
"""The whole admin service by grpcio: every method, its main refusals, pages, selectors, keys, watches, audit."""
import hashlib

from harness import *


def point(metric, time_us, value, instance=""):
    batch = gateway.TelemetryBatch(
        series=[gateway.TelemetrySeries(metric=metric, instance=instance, unit="ratio")],
        samples=[gateway.TelemetrySample(series=0, time_us=time_us, value=value)])
    return gateway.UploadTelemetryRequest(payload=batch.SerializeToString(), captured_at=now(),
                                          format=gateway.PAYLOAD_FORMAT_TELEMETRY_BATCH)


def event(kind, text="", severity=gateway.SEVERITY_INFO, time_us=None):
    one = gateway.AgentEvent(time_us=int(time.time() * 1e6) if time_us is None else time_us, severity=severity, kind=kind,
                             text=text)
    return gateway.UploadEventsRequest(payload=gateway.EventBatch(events=[one]).SerializeToString(), captured_at=now(),
                                       format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)


class Case(ServerCase):
    def pages(self, method, field, size, **filters):
        """Everything, page by page; no page is larger than asked."""
        items, token = [], ""
        while True:
            reply = method(page_size=size, page_token=token, **filters)
            page = list(getattr(reply, field))
            self.assertLessEqual(len(page), size)
            items += page
            token = reply.next_page_token
            if not token:
                return items


class Agents(Case):
    def test_get_by_id_and_name(self):
        agent = self.agent("by-name")
        self.assertEqual(self.operator.GetAgent(agent="by-name"), self.operator.GetAgent(agent=str(agent.id)))
        for name in ("no-such", "999999", "by-name'--", "%", "by_name"):
            self.refused(Code.NOT_FOUND, lambda n=name: self.operator.GetAgent(agent=n))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.GetAgent(), "agent")

    def test_update_labels_and_cordon(self):
        agent = self.agent()
        name = str(agent.id)
        row = self.operator.UpdateAgent(agent=name, set_labels={"a": "1", "b": "2"}, cordoned=True)
        self.assertEqual(({"a": "1", "b": "2"}, True), (dict(row.labels), row.cordoned))
        row = self.operator.UpdateAgent(agent=name, set_labels={"a": "3"}, remove_labels=["b"])
        self.assertEqual(({"a": "3"}, True), (dict(row.labels), row.cordoned))
        row = self.operator.UpdateAgent(agent=name, cordoned=False)
        self.assertEqual(({"a": "3"}, False), (dict(row.labels), row.cordoned))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.UpdateAgent(agent=name, set_labels={"a b": "1"}), "labels")
        self.refused(Code.NOT_FOUND, lambda: self.operator.UpdateAgent(agent="nobody", cordoned=True))
        self.assertEqual({"a": "3"}, dict(self.operator.GetAgent(agent=name).labels))

    def test_list_pages_filters_and_selectors(self):
        for i in range(11):
            agent = BaseAgent(self.server, f"page-{i:02}")
            agent.register(self.operator.CreateEnrollmentToken(
                labels={"parity": "odd" if i % 2 else "even", "n": str(i)}).secret)
        every = [agent.name for agent in self.pages(self.operator.ListAgents, "agents", 3, name_prefix="page-")]
        self.assertEqual([f"page-{i:02}" for i in range(11)], sorted(every))
        self.assertEqual(11, len(set(every)))
        for selector, count in (("parity=odd", 5), ("parity!=odd", 6), ("parity in (odd, even)", 11), ("n", 11), ("!n", 0),
                                ("parity=odd,n=3", 1), ("n notin (0,1,2)", 8)):
            found = self.pages(self.operator.ListAgents, "agents", 2, name_prefix="page-", label_selector=selector)
            self.assertEqual(count, len(found), selector)
        self.assertEqual(0, len(self.operator.ListAgents(name_prefix="page-", only_online=True).agents))
        self.assertEqual(11, len(self.operator.ListAgents(
            name_prefix="page-", state=admin.AGENT_STATE_AWAITING_CONFIRMATION).agents))
        for prefix in ("page%", "page_", "'", "PAGE-"):
            self.assertEqual(0, len(self.operator.ListAgents(name_prefix=prefix).agents), prefix)
        for selector in ("=", "a in", "a in ()", "a==", ",", "a=b c", "(" * 500):
            code, text = code_of(lambda s=selector: self.operator.ListAgents(label_selector=s))
            self.assertIn(code, (Code.INVALID_ARGUMENT, Code.OK), selector)
            if code == Code.OK:
                self.assertIn(selector, ("a==", "a in ()"))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.ListAgents(page_size=1001), "page_size")

    def test_page_tokens_are_bound_to_filter_caller_and_method(self):
        for i in range(4):
            BaseAgent(self.server, f"bound-{i}").register(self.operator.CreateEnrollmentToken().secret)
        token = self.operator.ListAgents(name_prefix="bound-", page_size=2).next_page_token
        self.assertTrue(token)
        self.assertEqual(2, len(self.operator.ListAgents(name_prefix="bound-", page_size=3, page_token=token).agents))
        key = self.operator.CreateApiKey(name="pager", scopes=["*"]).secret
        other = self.server.with_key(key)
        wrong = [lambda: self.operator.ListAgents(name_prefix="bound", page_size=2, page_token=token),
                 lambda: self.operator.ListAgents(page_size=2, page_token=token),
                 lambda: other.ListAgents(name_prefix="bound-", page_size=2, page_token=token),
                 lambda: self.operator.ListDevices(page_size=2, page_token=token),
                 lambda: self.operator.ListAgents(name_prefix="bound-", page_token=token[:-2] + "AA"),
                 lambda: self.operator.ListAgents(name_prefix="bound-", page_token="A" * 400),
                 lambda: self.operator.ListAgents(name_prefix="bound-", page_token="!"),
                 lambda: self.operator.ListAgents(name_prefix="bound-", page_token="x" * 513)]
        for call in wrong:
            self.refused(Code.INVALID_ARGUMENT, call, "page_token")

    def test_devices(self):
        agent = self.agent()
        listed = self.pages(self.operator.ListDevices, "devices", 1, agent=str(agent.id))
        self.assertEqual([("host", "host")], [(device.name, device.kind) for device in listed])
        self.assertEqual(listed[0], self.operator.GetDevice(id=listed[0].id))
        self.refused(Code.NOT_FOUND, lambda: self.operator.GetDevice(id=424242))
        self.refused(Code.NOT_FOUND, lambda: self.operator.GetDevice(id=-1))
        self.refused(Code.NOT_FOUND, lambda: self.operator.ListDevices(agent="nobody"))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.GetDevice(), "id")

    def test_enrollment_tokens(self):
        made = [self.operator.CreateEnrollmentToken(ttl_seconds=120).token.id for _ in range(5)]
        listed = [token.id for token in self.pages(self.operator.ListEnrollmentTokens, "tokens", 2,
                                                   state=admin.ENROLLMENT_STATE_PENDING)]
        self.assertEqual(set(), set(made) - set(listed))
        self.assertEqual(len(listed), len(set(listed)))
        self.assertEqual(admin.ENROLLMENT_STATE_CANCELLED, self.operator.RevokeEnrollmentToken(id=made[0]).state)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.RevokeEnrollmentToken(id=made[0]))
        self.refused(Code.NOT_FOUND, lambda: self.operator.RevokeEnrollmentToken(id="enr_00000000000000000000000000"))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.CreateEnrollmentToken(ttl_seconds=2592001), "ttl_seconds")
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.CreateEnrollmentToken(labels={"/": "x"}), "labels")
        self.assertNotIn("blt_", str(self.operator.ListEnrollmentTokens()))

    def test_commands_list_and_get(self):
        agent = self.agent()
        made = [self.send(agent).id for _ in range(7)]
        listed = [command.id for command in self.pages(self.operator.ListCommands, "commands", 3, agent=str(agent.id))]
        self.assertEqual(made[::-1], listed)
        self.operator.CancelCommand(id=made[0])
        cancelled = self.operator.ListCommands(agent=str(agent.id), state=admin.COMMAND_STATE_CANCELLED).commands
        self.assertEqual([made[0]], [command.id for command in cancelled])
        self.refused(Code.NOT_FOUND, lambda: self.operator.GetCommand(id="cmd_00000000000000000000000000"))
        self.refused(Code.NOT_FOUND, lambda: self.operator.CancelCommand(id="cmd_00000000000000000000000000"))
        self.refused(Code.NOT_FOUND, lambda: self.operator.SendCommand(
            agent="nobody", command=gateway.AgentCommand(drain=gateway.Drain())))
        self.refused(Code.NOT_FOUND, lambda: self.operator.RotateAgentKey(agent="nobody"))
        self.refused(Code.NOT_FOUND, lambda: self.operator.EvictAgent(agent="nobody"))
        self.refused(Code.NOT_FOUND, lambda: self.operator.RevokeAgent(agent="nobody"))


class Telemetry(Case):
    def test_query_range_step_and_aggregates(self):
        agent = self.agent()
        start = (int(time.time()) - 600) // 60 * 60
        agent.upload([point("q.value", (start + i) * 1000000, float(i)) for i in range(120)])
        common = {"metric": "q.value", "agent": str(agent.id), "start": Timestamp(seconds=start),
                  "end": Timestamp(seconds=start + 120)}
        raw = self.operator.QueryTelemetry(**common).series[0].rows
        self.assertEqual([float(i) for i in range(120)], [row.value for row in raw])
        expected = {"MEAN": [29.5, 89.5], "MIN": [0, 60], "MAX": [59, 119], "SUM": [1770, 5370], "COUNT": [60, 60],
                    "LAST": [59, 119], "UNSPECIFIED": [29.5, 89.5]}
        for name, values in expected.items():
            rows = self.operator.QueryTelemetry(step_seconds=60, aggregate=admin.Aggregate.Value("AGGREGATE_" + name),
                                                **common).series[0].rows
            self.assertEqual(values, [row.value for row in rows], name)
            self.assertEqual([start, start + 60], [row.time.seconds for row in rows])
        end_excluded = dict(common, end=Timestamp(seconds=start + 119))
        self.assertEqual(119, len(self.operator.QueryTelemetry(**end_excluded).series[0].rows))
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: self.operator.QueryTelemetry(max_points=10, **common))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.operator.QueryTelemetry(agent=str(agent.id)), "metric")
        self.refused(Code.NOT_FOUND, lambda: self.operator.QueryTelemetry(metric="q.value", agent="nobody"))
        self.assertEqual(0, len(self.operator.QueryTelemetry(metric="q.nothing").series))

    def test_list_metrics(self):
        agent = self.agent()
        at = int(time.time() * 1e6)
        agent.upload([point("list.m", at, float(i), instance=f"i{i:02}") for i in range(9)])
        listed = self.pages(self.operator.ListMetrics, "metrics", 4, agent=str(agent.id), metric_prefix="list.")
        self.assertEqual([f"i{i:02}" for i in range(9)], sorted(metric.instance for metric in listed))
        self.assertEqual({float(i) for i in range(9)}, {metric.last_value for metric in listed})
        self.assertEqual(0, len(self.operator.ListMetrics(metric_prefix="list%").metrics))

    def test_events_list_filters(self):
        agent = self.agent()
        agent.upload([event("ev.one", "a", gateway.SEVERITY_DEBUG), event("ev.two", "b", gateway.SEVERITY_ERROR)], events=True)
        agent.upload([event(f"ev.n{i}") for i in range(6)], events=True)
        listed = self.pages(self.operator.ListEvents, "events", 3, agent=str(agent.id))
        self.assertEqual(8, len(listed))
        self.assertEqual(sorted((one.id for one in listed), reverse=True), [one.id for one in listed])
        errors = self.operator.ListEvents(agent=str(agent.id), min_severity=gateway.SEVERITY_WARNING).events
        self.assertEqual(["ev.two"], [one.kind for one in errors])
        self.assertEqual(6, len(self.operator.ListEvents(agent=str(agent.id), kind_prefix="ev.n").events))
        past = Timestamp(seconds=1)
        self.assertEqual(0, len(self.operator.ListEvents(agent=str(agent.id), end=past).events))


class Watches(Case):
    def test_agents(self):
        agent = self.agent()
        watch = self.operator.WatchAgents(agent=str(agent.id))
        self.assertEqual(agent.id, next(watch).agent.id)
        self.assertTrue(next(watch).initial_done)
        self.operator.UpdateAgent(agent=str(agent.id), set_labels={"seen": "yes"})
        while dict(next(watch).agent.labels).get("seen") != "yes":
            pass
        watch.cancel()
        watch = self.operator.WatchAgents(label_selector="joined=later")
        self.assertTrue(next(watch).initial_done)
        self.operator.UpdateAgent(agent=str(agent.id), set_labels={"joined": "later"})
        self.assertEqual((agent.id, False), (lambda c: (c.agent.id, c.removed))(next(watch)))
        self.operator.UpdateAgent(agent=str(agent.id), remove_labels=["joined"])
        while not next(watch).removed:
            pass
        watch.cancel()
        self.refused(Code.NOT_FOUND, lambda: next(self.operator.WatchAgents(agent="nobody")))

    def test_command_until_it_has_finished(self):
        agent = self.agent()
        sent = self.send(agent)
        watch = self.operator.WatchCommand(id=sent.id)
        self.assertEqual(admin.COMMAND_STATE_QUEUED, next(watch).state)
        stream = agent.stream()
        stream.command()
        self.assertEqual(admin.COMMAND_STATE_SENT, next(watch).state)
        stream.send(ack(sent.id))
        self.assertEqual([admin.COMMAND_STATE_SUCCEEDED], [change.state for change in watch])
        self.assertEqual([admin.COMMAND_STATE_SUCCEEDED], [change.state for change in self.operator.WatchCommand(id=sent.id)])
        self.refused(Code.NOT_FOUND, lambda: next(self.operator.WatchCommand(id="cmd_00000000000000000000000000")))
        stream.cancel()

    def test_telemetry(self):
        agent = self.agent()
        watch = self.operator.WatchTelemetry(metric="watch.", agent=str(agent.id))
        at = int(time.time() * 1e6)
        agent.upload([point("watch.a", at, 1.0), point("other.a", at, 5.0)])
        first = next(watch)
        self.assertEqual(("watch.a", 1.0, agent.id), (first.metric, first.value, first.agent_id))
        agent.upload([point("watch.a", at + 1000000, 2.0)])
        self.assertEqual(2.0, next(watch).value)
        watch.cancel()

    def test_events(self):
        agent = self.agent()
        agent.upload([event("w.past", "p")], events=True)
        watch = self.operator.WatchEvents(agent=str(agent.id), kind_prefix="w.", tail=10)
        self.assertEqual("w.past", next(watch).kind)
        agent.upload([event("x.not"), event("w.new")], events=True)
        self.assertEqual("w.new", next(watch).kind)
        watch.cancel()

    def test_audit(self):
        watch = self.operator.WatchAuditRecords(tail=1)
        first = next(watch)
        created = self.operator.CreateEnrollmentToken()
        second = next(watch)
        self.assertEqual(first.sequence + 1, second.sequence)
        self.assertEqual(f"enrollment/{created.token.id}", second.target)
        watch.cancel()

    def test_every_watch_ends_when_its_key_is_revoked(self):
        agent = self.agent()
        sent = self.send(agent)
        key = self.operator.CreateApiKey(name="watcher", scopes=["*"])
        caller = self.server.with_key(key.secret)
        watches = [caller.WatchAgents(), caller.WatchTelemetry(metric="x."), caller.WatchEvents(),
                   caller.WatchAuditRecords(), caller.WatchCommand(id=sent.id)]
        next(watches[0])
        next(watches[4])
        self.operator.RevokeApiKey(id=key.key.id)
        for watch in watches:
            with self.assertRaises(grpc.RpcError) as raised:
                for _ in watch:
                    pass
            self.assertEqual(Code.UNAUTHENTICATED, raised.exception.code())


class Access(Case):
    def test_keys_and_their_scopes(self):
        made = self.operator.CreateApiKey(name="reader", scopes=["agent:read"], ttl_seconds=60)
        self.assertTrue(made.secret.startswith("blk_"))
        self.assertLess(made.key.expires_at.seconds - now().seconds, 62)
        reader = self.server.with_key(made.secret)
        reader.ListAgents()
        info = reader.GetServerInfo()
        self.assertEqual((f"key:{made.key.id}", ["agent:read"], "default"),
                         (info.principal, list(info.scopes), info.workspace))
        self.refused(Code.PERMISSION_DENIED, reader.ListEvents, "telemetry:read")
        self.refused(Code.PERMISSION_DENIED, lambda: reader.CreateApiKey(name="more", scopes=["agent:read"]), "access:write")
        giver = self.server.with_key(self.operator.CreateApiKey(name="giver", scopes=["access:write", "agent:read"]).secret)
        giver.CreateApiKey(name="child", scopes=["agent:read"])
        for scope in ("agent:write", "*"):
            self.refused(Code.PERMISSION_DENIED, lambda s=scope: giver.CreateApiKey(name="child", scopes=[s]), "scopes")
        self.refused(Code.NOT_FOUND, lambda: giver.CreateApiKey(name="x", scopes=["agent:read"], workspace="other"))

    def test_bounds(self):
        for word, fields in (("name", {"name": "", "scopes": ["*"]}), ("name", {"name": "n" * 64, "scopes": ["*"]}),
                             ("scopes", {"name": "n"}), ("scopes", {"name": "n", "scopes": ["no:such"]}),
                             ("scopes", {"name": "n", "scopes": [""]}), ("scopes", {"name": "n", "scopes": ["*"] * 33}),
                             ("ttl_seconds", {"name": "n", "scopes": ["*"], "ttl_seconds": 315360001})):
            self.refused(Code.INVALID_ARGUMENT, lambda f=fields: self.operator.CreateApiKey(**f), word)

    def test_expired_and_revoked_keys(self):
        made = self.operator.CreateApiKey(name="short", scopes=["*"])
        caller = self.server.with_key(made.secret)
        caller.ListAgents()
        listed = {key.id: key for key in self.pages(self.operator.ListApiKeys, "keys", 2)}
        self.assertIn(made.key.id, listed)
        self.assertNotIn(made.secret, str(listed))
        self.server.database.query(f"UPDATE api_key SET expires_at = 1 WHERE id = '{made.key.id}'")
        eventually(lambda: code_of(caller.ListAgents)[0] == Code.UNAUTHENTICATED, "the key is over", 15)
        second = self.operator.CreateApiKey(name="second", scopes=["*"])
        caller = self.server.with_key(second.secret)
        caller.ListAgents()
        self.assertGreater(self.operator.RevokeApiKey(id=second.key.id).revoked_at.seconds, 0)
        self.refused(Code.UNAUTHENTICATED, caller.ListAgents)
        code, _ = code_of(lambda: self.operator.RevokeApiKey(id=second.key.id))
        self.assertIn(code, (Code.FAILED_PRECONDITION, Code.OK))
        self.refused(Code.NOT_FOUND, lambda: self.operator.RevokeApiKey(id="key_00000000000000000000000000"))

    def test_server_info(self):
        info = self.operator.GetServerInfo()
        self.assertEqual(("server", ENGINE, "user:local/%d" % os.geteuid(), "default"),
                         (info.mode, info.database, info.principal, info.workspace))
        from cryptography import x509
        certificate = x509.load_pem_x509_certificate(self.server.ca())
        public = certificate.public_bytes(serialization.Encoding.DER)
        spki = certificate.public_key().public_bytes(serialization.Encoding.DER,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo)
        self.assertIn(info.ca_sha256, (hashlib.sha256(public).hexdigest(), hashlib.sha256(spki).hexdigest()))


class Audit(Case):
    def chain(self, workspace):
        records = self.pages(self.operator.ListAuditRecords, "records", 7, workspace=workspace)[::-1]
        self.assertEqual(list(range(1, len(records) + 1)), [record.sequence for record in records])
        previous = b""
        for record in records:
            digest = hashlib.sha256()
            for part in (b"belay.audit.v2", previous, record.sequence.to_bytes(8, "big"), record.record_json.encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
            previous = digest.digest()
            self.assertEqual(previous.hex(), record.hash)
            ocsf = json.loads(record.record_json)
            self.assertEqual((6003, record.actor, record.action), (
                ocsf["class_uid"], ocsf["actor"]["user"]["uid"], ocsf["api"]["operation"]))
        return records

    def test_the_chain_recomputed_after_every_kind_of_call(self):
        agent = self.agent("audited \"quoted\" \\ \u00e9")
        self.operator.UpdateAgent(agent=str(agent.id), cordoned=True)
        self.refused(Code.NOT_FOUND, lambda: self.operator.UpdateAgent(agent="nobody", cordoned=True))
        key = self.operator.CreateApiKey(name="k", scopes=["agent:read"])
        self.refused(Code.PERMISSION_DENIED, lambda: self.server.with_key(key.secret).CreateEnrollmentToken())
        self.refused(Code.UNAUTHENTICATED, lambda: BaseAgent(self.server, "x").register("blt_" + "C" * 43))
        made = in_threads(20, lambda i: self.operator.CreateEnrollmentToken().token)
        self.assertEqual([], [one for one in made if isinstance(one, Exception)])
        records = self.chain("default")
        self.chain("belay-system")
        by_action = {record.action.rsplit("/", 1)[-1]: record for record in records}
        for action in ("CreateEnrollmentToken", "ConfirmAgent", "UpdateAgent", "CreateApiKey", "agent.registered",
                       "agent.session_begun"):
            self.assertIn(action, by_action)
        denied = [record for record in records if record.decision == "denied"]
        self.assertEqual([(f"key:{key.key.id}", "agentgateway.v1.AgentAdminService/CreateEnrollmentToken")],
                         [(record.actor, record.action) for record in denied])
        failed = [record for record in records if record.decision == "failed" and "UpdateAgent" in record.action]
        self.assertEqual(["agent/nobody"], [record.target for record in failed])
        reads = self.operator.ListAuditRecords(action_prefix="agentgateway.v1.AgentAdminService/List").records
        self.assertEqual(0, len(reads))
        mine = self.operator.ListAuditRecords(actor_prefix="key:").records
        self.assertEqual({f"key:{key.key.id}"}, {record.actor for record in mine})

    def test_a_refused_write_leaves_no_effect_and_one_record(self):
        before = self.operator.ListAuditRecords(page_size=1).records[0].sequence if \
            self.operator.ListAuditRecords(page_size=1).records else 0
        self.refused(Code.NOT_FOUND, lambda: self.operator.RevokeAgent(agent="nobody"))
        records = [record for record in self.operator.ListAuditRecords().records if record.sequence > before]
        self.assertEqual([("agent/nobody", "failed")], [(record.target, record.decision) for record in records])


if __name__ == "__main__":
    main()
