#!/usr/bin/python3
"""The method matrix, made from the descriptors: every method of both services times every kind of caller, with the
status expected and no change of state after a refusal. A method without a row here fails the test."""
import importlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))
from harness import *  # noqa: E402

# The scope each method needs, written down a second time on purpose.
SCOPES = {
    "CreateEnrollmentToken": "agent:write", "ListEnrollmentTokens": "agent:read", "RevokeEnrollmentToken": "agent:write",
    "ListAgents": "agent:read", "GetAgent": "agent:read", "WatchAgents": "agent:read", "ConfirmAgent": "agent:write",
    "UpdateAgent": "agent:write", "EvictAgent": "agent:write", "RevokeAgent": "agent:write",
    "RotateAgentKey": "agent:write", "ListDevices": "device:read", "GetDevice": "device:read",
    "SendCommand": "command:write", "GetCommand": "command:read", "ListCommands": "command:read",
    "WatchCommand": "command:read", "CancelCommand": "command:write", "ListMetrics": "telemetry:read",
    "QueryTelemetry": "telemetry:read", "WatchTelemetry": "telemetry:read", "ListEvents": "telemetry:read",
    "WatchEvents": "telemetry:read", "CreateApiKey": "access:write", "ListApiKeys": "access:read",
    "RevokeApiKey": "access:write", "ListAuditRecords": "audit:read", "WatchAuditRecords": "audit:read",
    "GetUsage": "usage:read", "GetQuota": "usage:read", "ListQuotas": "usage:read", "SetQuota": "usage:write",
    "DeleteQuota": "usage:write", "ListSandboxFigures": "sandbox:read", "GetServerInfo": None,
}
# No key's, whatever its scopes: the local operator's alone.
PLATFORM = {"LendAgent", "ListLoans", "ReclaimAgent"}
ALL = ["agent:read", "agent:write", "device:read", "device:write", "command:read", "command:write", "telemetry:read",
       "access:read", "access:write", "audit:read", "usage:read", "usage:write", "sandbox:read"]
PUBLIC = {"Register", "BeginAuthHandshake", "CompleteAuthHandshake"}
SESSION = {"UploadHeartbeat", "UploadTelemetry", "UploadEvents", "ControlStream", "RelayStream"}
# Kept out of the comparison: what a mere look or a refusal may change.
TABLES = {
    "enrollment": "*", "challenge": "*", "device": "id, agent_id, name, labels, facts", "command": "*", "series": "*",
    "sample": "*", "event": "*", "api_key": "workspace_id, id, scopes, expires_at, revoked_at",
    "agent": "workspace_id, id, name, state, labels, cordoned, api_key_hash, next_api_key_hash, session_epoch, "
             "command_sequence, telemetry_sequence, events_sequence, revision",
    "session": "workspace_id, agent_id, token_hash, epoch, expires_at", "upload": "id, agent_id, sequence", "quota": "*",
    "sandbox_watch": "workspace_id",
}


class World:
    """One of each thing in a workspace, and a well-formed request for each method that is about it."""

    def __init__(self, server, operator, workspace, name):
        self.workspace = workspace
        where = {"workspace": workspace}
        self.agent = BaseAgent(server, name)
        created = operator.CreateEnrollmentToken(**where)
        reply = self.agent.register(created.secret)
        self.agent.api_key = operator.ConfirmAgent(enrollment_id=created.token.id, fingerprint=reply.identity_fingerprint,
                                                   reveal_api_key=True, **where).api_key
        self.agent.handshake()
        at = int(time.time() * 1e6)
        batch = gateway.TelemetryBatch(series=[gateway.TelemetrySeries(metric="matrix." + name, unit="ratio")],
                                       samples=[gateway.TelemetrySample(series=0, time_us=at, value=1.0)])
        self.agent.upload([gateway.UploadTelemetryRequest(payload=batch.SerializeToString(), captured_at=now(), format=1)])
        events = gateway.EventBatch(events=[gateway.AgentEvent(time_us=at, kind="matrix." + name, text=name)])
        self.agent.upload([gateway.UploadEventsRequest(payload=events.SerializeToString(), captured_at=now(), format=2)],
                          events=True)
        self.pending = operator.CreateEnrollmentToken(**where).token.id
        waiting = operator.CreateEnrollmentToken(**where)
        self.waiting = waiting.token.id
        self.fingerprint = BaseAgent(server, name + "-waiting").register(waiting.secret).identity_fingerprint
        self.device = operator.ListDevices(agent=name, **where).devices[0].id
        self.command = operator.SendCommand(agent=name, command=self.order(), ttl_seconds=3600, **where).id
        self.key = operator.CreateApiKey(name=name, scopes=["agent:read"], **where).key.id
        self.owner = "user:" + name
        operator.SetQuota(owner=self.owner, limits=admin.QuotaLimits(sandboxes=1), **where)
        self.names = [name, self.pending, self.waiting, self.command, self.key]

    @staticmethod
    def order():
        return gateway.AgentCommand(telemetry_now=gateway.TelemetryNow())

    def request(self, method, workspace=""):
        name = self.agent.name
        fields = {
            "RevokeEnrollmentToken": {"id": self.pending}, "GetAgent": {"agent": name}, "WatchAgents": {"agent": name},
            "ConfirmAgent": {"enrollment_id": self.waiting, "fingerprint": self.fingerprint},
            "UpdateAgent": {"agent": name, "cordoned": True}, "EvictAgent": {"agent": name}, "RevokeAgent": {"agent": name},
            "LendAgent": {"agent": name, "to_workspace": "third", "room": gateway.LoanRoom(
                sandboxes=1, cpu_millis=10, memory_bytes=4 << 20, disk_bytes=1 << 20)},
            "ListLoans": {"agent": name}, "ReclaimAgent": {"loan_id": self.pending},
            "RotateAgentKey": {"agent": name}, "ListDevices": {"agent": name}, "GetDevice": {"id": self.device},
            "SendCommand": {"agent": name, "command": self.order()}, "GetCommand": {"id": self.command},
            "ListCommands": {"agent": name}, "WatchCommand": {"id": self.command}, "CancelCommand": {"id": self.command},
            "ListMetrics": {"agent": name}, "QueryTelemetry": {"agent": name, "metric": "matrix." + name},
            "WatchTelemetry": {"agent": name, "metric": "matrix." + name}, "ListEvents": {"agent": name},
            "WatchEvents": {"agent": name, "tail": 5}, "CreateApiKey": {"name": "made", "scopes": ["agent:read"]},
            "RevokeApiKey": {"id": self.key}, "WatchAuditRecords": {"tail": 1}, "GetQuota": {"owner": self.owner},
            "SetQuota": {"owner": "user:made", "limits": admin.QuotaLimits(sandboxes=2)}, "DeleteQuota": {"owner": self.owner},
        }.get(method, {})
        kind = message_class(ADMIN_SERVICE.methods_by_name[method].input_type)
        return kind(**fields, **({"workspace": workspace} if workspace else {}))


class Matrix(ServerCase):
    options = ("--bootstrap-burst", "100000")  # more wrong credentials than anybody may try

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (2, 'other', 0)")
        cls.world = World(cls.server, cls.operator, "default", "mine")
        cls.foreign = World(cls.server, cls.operator, "other", "theirs")
        cls.channel = cls.server.channel()
        cls.master = cls.operator.CreateApiKey(name="master", scopes=["*"]).secret
        cls.foreign_master = cls.operator.CreateApiKey(name="master", scopes=["*"], workspace="other").secret

    def as_key(self, key):
        return self.server.with_key(key, self.channel)

    def state(self):
        return {table: sorted(self.server.database.query(f"SELECT {columns} FROM {table}"))
                for table, columns in TABLES.items()}

    def attempt(self, service, method, request):
        """(status, text, first reply)"""
        got = []

        def make():
            reply = getattr(service, method)(request)
            if hasattr(reply, "cancel"):
                got.append(next(reply))
                reply.cancel()
            else:
                got.append(reply)
        code, text = code_of(make)
        return code, text, got[0] if got else None

    def expect(self, code, service, method, request, what):
        got, text, _ = self.attempt(service, method, request)
        self.assertEqual(code, got, f"{method}, {what}: {text}")
        return text

    def admin_methods(self):
        return [method.name for method in ADMIN_SERVICE.methods]

    def test_every_method_has_its_row(self):
        self.assertEqual(set(SCOPES) | PLATFORM, set(self.admin_methods()))
        self.assertEqual(PUBLIC | SESSION, {method.name for method in GATEWAY_SERVICE.methods})

    def test_no_and_malformed_credentials(self):
        good = self.master
        wrong = {
            "none": (),
            "empty": (("authorization", ""),),
            "no scheme": (("authorization", good),),
            "another scheme": (("authorization", "Basic " + good),),
            "no token": (("authorization", "Bearer "),),
            "garbage": bearer("garbage"),
            "unknown key": bearer("blk_" + "A" * 43),
            "unknown session": bearer("bls_" + "A" * 43),
            "enrollment's kind": bearer("blt_" + "A" * 43),
            "agent's api key": bearer(self.world.agent.api_key),
            "one character less": bearer(good[:-1]),
            "one character more": bearer(good + "A"),
            "trailing blank": bearer(good + " "),
            "quoted": bearer("'" + good + "'"),
            "two tokens": bearer(good + "," + good),
            "comma joined": (("authorization", f"Bearer {good}, Bearer {good}"),),
            "doubled": bearer(good) * 2,
            "good and bad": bearer(good) + bearer("garbage"),
            "64 kB": bearer("blk_" + "A" * 4000),
        }
        before = self.state()
        for method in self.admin_methods():
            request = self.world.request(method)
            for what, metadata in wrong.items():
                service = Service(self.channel, ADMIN_SERVICE, metadata)
                text = self.expect(Code.UNAUTHENTICATED, service, method, request, what)
                self.assertNotIn(good, text)
        self.assertEqual(before, self.state())

    def test_identity_headers_mean_nothing(self):
        for header in ("x-forwarded-user", "x-belay-principal", "x-belay-workspace", "x-forwarded-client-cert", "x-user"):
            service = Service(self.channel, ADMIN_SERVICE, ((header, "user:local/0"),))
            self.expect(Code.UNAUTHENTICATED, service, "ListAgents", self.world.request("ListAgents"), header)
            service = Service(self.channel, ADMIN_SERVICE, ((header, "default"),) + bearer(self.foreign_master))
            info = service.GetServerInfo()
            self.assertEqual("other", info.workspace)

    def test_a_wrong_credential_does_not_fall_through_to_the_local_operator(self):
        channel = self.server.local_channel()
        for metadata in (bearer("garbage"), (("authorization", ""),), bearer(self.master) * 2):
            service = Service(channel, ADMIN_SERVICE, metadata)
            self.expect(Code.UNAUTHENTICATED, service, "ListAgents", self.world.request("ListAgents"), metadata[0][1][:20])

    def test_an_agents_session_on_the_admin_service(self):
        before = self.state()
        service = self.as_key(self.world.agent.session)
        for method in self.admin_methods():
            self.expect(Code.PERMISSION_DENIED, service, method, self.world.request(method), "agent's session")
        self.assertEqual(before, self.state())

    def test_key_with_every_scope_but_the_one(self):
        keys = {scope: self.operator.CreateApiKey(name="without", scopes=[s for s in ALL if s != scope]).secret
                for scope in set(SCOPES.values()) if scope}
        before = self.state()
        for method, scope in SCOPES.items():
            if scope:
                text = self.expect(Code.PERMISSION_DENIED, self.as_key(keys[scope]), method, self.world.request(method),
                                   "no " + scope)
                self.assertIn(scope, text)
        self.assertEqual(before, self.state())

    def test_every_key_is_refused_what_is_between_workspaces(self):
        before = self.state()
        for method in PLATFORM:
            text = self.expect(Code.PERMISSION_DENIED, self.as_key(self.master), method, self.world.request(method), "every scope")
            self.assertIn("platform admin", text)
        self.assertEqual(before, self.state())

    def test_key_with_the_one_scope_alone(self):
        for method, scope in SCOPES.items():
            world = World(self.server, self.operator, "default", "right-" + method.lower())
            key = self.operator.CreateApiKey(name="one", scopes=[scope or "device:write"]).secret
            code = Code.OK
            if method == "CreateApiKey":
                code = Code.PERMISSION_DENIED  # agent:read is not this key's to give
            self.expect(code, self.as_key(key), method, world.request(method), "right")
        self.expect(Code.OK, self.as_key(self.master), "CreateApiKey", self.world.request("CreateApiKey"), "right")

    def test_ids_of_another_workspace_are_as_unknown_as_none(self):
        nothing = {"name": "nothing", "id": "cmd_00000000000000000000000000"}
        before = self.state()
        service = self.as_key(self.foreign_master)
        for method in self.admin_methods():
            request = self.world.request(method)
            naming = {"owner"} if method == "DeleteQuota" else {"agent", "id", "enrollment_id"}
            names = {field.name for field, _ in request.ListFields()} & naming
            code, text, reply = self.attempt(service, method, request)
            if method in PLATFORM:
                self.assertEqual(Code.PERMISSION_DENIED, code, f"{method}: {text}")
                continue
            if not names:
                if method not in ("CreateEnrollmentToken", "CreateApiKey"):
                    self.assertEqual(Code.OK, code, f"{method}: {text}")
                    if "AuditRecord" in method:  # whose own attempts name what they tried
                        self.assertEqual({"other"}, {one.workspace for one in getattr(reply, "records", [reply])})
                        continue
                    for name in self.world.names[1:]:
                        self.assertNotIn(name, str(reply), method)
                continue
            self.assertEqual(Code.NOT_FOUND, code, f"{method}: {text}")
            absent = message_class(ADMIN_SERVICE.methods_by_name[method].input_type)()
            absent.CopyFrom(request)
            (field,) = names
            old = getattr(request, field)
            setattr(absent, field, 987654321 if isinstance(old, int) else nothing["name" if field in ("agent", "owner") else "id"])
            none_code, none_text, _ = self.attempt(service, method, absent)
            self.assertEqual((code, text.replace(str(old), "*")),
                             (none_code, none_text.replace(str(getattr(absent, field)), "*")), method)
            if field == "agent":
                setattr(absent, field, str(self.world.agent.id))
                self.expect(Code.NOT_FOUND, service, method, absent, "by id")
        after = self.state()
        for table in ("enrollment", "api_key", "quota"):  # the three that made something, in their own workspace
            before[table] = [row for row in before[table] if row in after[table]]
            after[table] = [row for row in after[table] if row in before[table]]
        self.assertEqual(before, after)

    def test_naming_another_workspace_is_as_naming_none(self):
        before = self.state()
        service = self.as_key(self.foreign_master)
        for method in self.admin_methods():
            if method == "GetServerInfo" or method in PLATFORM:
                continue
            mine = self.expect(Code.NOT_FOUND, service, method, self.world.request(method, "default"), "default")
            system = self.expect(Code.NOT_FOUND, service, method, self.world.request(method, "belay-system"), "system")
            none = self.expect(Code.NOT_FOUND, service, method, self.world.request(method, "no-such"), "no such")
            self.assertEqual({mine}, {mine, system, none})
            bad = self.expect(Code.INVALID_ARGUMENT, service, method, self.world.request(method, "NO such!"), "malformed")
            self.assertIn("workspace", bad)
        self.assertEqual(before, self.state())

    def test_page_tokens_do_not_cross_workspaces(self):
        for _ in range(3):
            self.operator.CreateEnrollmentToken()
            self.operator.CreateEnrollmentToken(workspace="other")
        token = self.as_key(self.master).ListEnrollmentTokens(page_size=1).next_page_token
        self.assertTrue(token)
        self.refused(Code.INVALID_ARGUMENT,
                     lambda: self.as_key(self.foreign_master).ListEnrollmentTokens(page_size=1, page_token=token))
        self.refused(Code.INVALID_ARGUMENT,
                     lambda: self.operator.ListEnrollmentTokens(page_size=1, page_token=token, workspace="other"))

    def gateway_request(self, method):
        return {"UploadHeartbeat": base.UploadHeartbeatRequest(sent_at=now()),
                "UploadTelemetry": base.UploadTelemetryRequest(payload=b"x", captured_at=now()),
                "UploadEvents": base.UploadEventsRequest(payload=b"x", captured_at=now()),
                "ControlStream": base.ControlStreamRequest(hello=base.ControlHello()),
                "RelayStream": gateway.RelayFrame(init=gateway.RelayInit(relay_id="rly_" + "0" * 26))}[method]

    def test_the_agents_service(self):
        before = self.state()
        wrong = {"none": ((), Code.UNAUTHENTICATED), "garbage": (bearer("garbage"), Code.UNAUTHENTICATED),
                 "doubled": (bearer(self.world.agent.session) * 2, Code.UNAUTHENTICATED),
                 "api key of the agent": (bearer(self.world.agent.api_key), Code.UNAUTHENTICATED),
                 "operator's key": (bearer(self.master), Code.PERMISSION_DENIED)}
        for method in SESSION:
            for what, (metadata, code) in wrong.items():
                service = Service(self.channel, GATEWAY_SERVICE, metadata)
                self.expect(code, service, method, self.gateway_request(method), what)
            local = Service(self.server.local_channel(), GATEWAY_SERVICE)
            self.expect(Code.PERMISSION_DENIED, local, method, self.gateway_request(method), "local operator")
        self.assertEqual(before, self.state())
        for method in SESSION:
            service = Service(self.channel, GATEWAY_SERVICE, self.world.agent.credentials)
            right = Code.NOT_FOUND if method == "RelayStream" else Code.OK  # of no relay that was asked for
            self.expect(right, service, method, self.gateway_request(method), "right")

    def test_unknown_methods_and_services(self):
        for path in (ADMIN + "NoSuch", GATEWAY + "NoSuch", "/no.Such/Method", "//", "/agentgateway.v1.AgentAdminService",
                     ADMIN + "ListAgents/", ADMIN + "listagents", "/AgentAdminService/ListAgents",
                     "/agentgateway.v1.AgentAdminService%2FListAgents"):
            stub = self.channel.unary_unary(path)
            code, _ = code_of(lambda s=stub: s(b"", timeout=TIMEOUT, metadata=bearer(self.master)))
            self.assertEqual(Code.UNIMPLEMENTED, code, path)

    def test_a_row_that_crosses_workspaces_is_refused_by_the_database(self):
        blob = Database.blob(b"x")
        statements = [
            "INSERT INTO command (workspace_id, id, agent_id, sequence, state, kind, payload, actor, signature, created_at, "
            f"expires_at) VALUES (2, 'cmd_cross', {self.world.agent.id}, 99, 1, 'x', {blob}, 'x', {blob}, 0, 0)",
            "INSERT INTO session (workspace_id, agent_id, token_hash, epoch, created_at, expires_at) "
            f"VALUES (2, {self.world.agent.id}, {blob}, 1, 0, 0)",
            f"UPDATE command SET workspace_id = 2 WHERE id = '{self.world.command}'",
            f"UPDATE agent SET enrollment_id = '{self.foreign.pending}' WHERE id = {self.world.agent.id}",
        ]
        before = self.state()
        for statement in statements:
            with self.assertRaises((AssertionError, sqlite3.IntegrityError), msg=statement) as raised:
                if ENGINE == "postgresql":
                    self.server.database.query(statement)
                else:
                    connection = sqlite3.connect(self.server.database.path, timeout=TIMEOUT)
                    try:
                        connection.execute("PRAGMA foreign_keys = ON")
                        connection.execute(statement)
                    finally:
                        connection.close()
            self.assertIn("foreign key", str(raised.exception).lower())
        self.assertEqual(before, self.state())

    @unittest.skipUnless(ENGINE == "postgresql", "row-level security is PostgreSQL's")
    def test_row_level_security_without_the_servers_own_check(self):
        role = f"e2e_reader_{os.getpid()}"
        rows = Database._psql(self.server.database.url, f"""BEGIN;
            CREATE ROLE {role} NOLOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; SET LOCAL ROLE {role};
            SELECT 'unset', count(*) FROM agent;
            SET LOCAL app.workspace_id = '2';
            SELECT 'other', count(*) FROM agent WHERE workspace_id <> 2;
            SELECT 'own', count(*) FROM agent WHERE workspace_id = 2;
            SELECT 'audit', count(*) FROM audit WHERE workspace_id <> 2;
            SELECT 'sample', count(*) FROM sample WHERE workspace_id <> 2;
            ROLLBACK""")
        counts = {name: int(count) for name, count in rows}
        self.assertEqual((0, 0, 0, 0), (counts["unset"], counts["other"], counts["audit"], counts["sample"]))
        self.assertGreater(counts["own"], 0)


class OpenShellMatrix(ServerCase):
    """openshell.v1.OpenShell: the rule of each method is the one its contract carries."""

    options = ("--bootstrap-burst", "100000")  # more wrong credentials than anybody may try

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (2, 'other', 0)")
        cls.channel = cls.server.channel()
        cls.rules = {}
        options = importlib.import_module("openshell.options.v1.options_pb2")
        for method in OPENSHELL_SERVICE.methods:
            cls.rules[method.name] = method.GetOptions().Extensions[options.authorization]
        cls.agent = BaseAgent(cls.server, "matrix").enroll(cls.operator)

    def code(self, service, name):
        def make():
            reply = getattr(service, name)()
            if hasattr(reply, "cancel"):
                next(reply)
        return code_of(make)

    def with_scopes(self, *scopes, workspace=""):
        fields = {"workspace": workspace} if workspace else {}
        key = self.operator.CreateApiKey(name="k", scopes=list(scopes), **fields).secret
        return Service(self.channel, OPENSHELL_SERVICE, bearer(key))

    def test_every_method_has_a_rule(self):
        self.assertEqual(67, len(self.rules))
        for name, rule in self.rules.items():
            self.assertIn(rule.auth_mode, ("unauthenticated", "bearer", "sandbox", "dual"), name)

    def test_without_and_with_a_wrong_credential(self):
        for metadata in ((), bearer("blk_" + "A" * 43), bearer("garbage"), bearer(self.agent.api_key)):
            service = Service(self.channel, OPENSHELL_SERVICE, metadata)
            for name, rule in self.rules.items():
                code, text = self.code(service, name)
                expected = Code.OK if rule.auth_mode == "unauthenticated" else Code.UNAUTHENTICATED
                self.assertEqual(expected, code, f"{name}: {text}")

    def test_an_agents_session(self):
        service = Service(self.channel, OPENSHELL_SERVICE, self.agent.credentials)
        for name, rule in self.rules.items():
            if rule.auth_mode != "unauthenticated":
                self.assertEqual(Code.PERMISSION_DENIED, self.code(service, name)[0], name)

    def test_every_scope_but_the_one(self):
        scopes = sorted({rule.scope for rule in self.rules.values() if rule.scope})
        self.assertEqual(8, len(scopes))
        for scope in scopes:
            service = self.with_scopes(*[other for other in scopes if other != scope])
            for name, rule in self.rules.items():
                if rule.scope == scope:
                    code, text = self.code(service, name)
                    self.assertEqual(Code.PERMISSION_DENIED, code, name)
                    self.assertTrue(scope in text or rule.global_role, f"{name}: {text}")

    def test_sandbox_and_platform_methods_are_not_for_keys(self):
        service = self.with_scopes("*")
        for name, rule in self.rules.items():
            code, text = self.code(service, name)
            if rule.auth_mode == "sandbox":
                self.assertEqual(Code.PERMISSION_DENIED, code, name)
            elif rule.global_role:
                self.assertEqual((Code.PERMISSION_DENIED, "platform admin role required"), (code, text), name)
            else:
                self.assertNotIn(code, (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED), f"{name}: {text}")

    def test_what_is_not_served_says_so_after_the_gate(self):
        served = {"Health", "GetCurrentUser", "GetGatewayInfo", "GetGatewayConfig", "CreateSandbox", "GetSandbox",
                  "ListSandboxes", "DeleteSandbox", "StopSandbox", "StartSandbox", "WatchSandbox", "ExecSandbox",
                  "ExecSandboxInteractive", "GetSandboxLogs", "CreateSshSession", "RevokeSshSession", "ForwardTcp",
                  "GetSandboxConfig", "UpdateConfig", "GetSandboxPolicyStatus", "ListSandboxPolicies"}
        service = Service(self.server.local_channel(), OPENSHELL_SERVICE)
        for name, rule in self.rules.items():
            code, text = self.code(service, name)
            if rule.auth_mode == "sandbox":
                self.assertEqual(Code.PERMISSION_DENIED, code, name)
            else:
                self.assertEqual(name not in served, code == Code.UNIMPLEMENTED, f"{name}: {text}")


if __name__ == "__main__":
    main()
