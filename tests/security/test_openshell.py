#!/usr/bin/python3
"""Every method of openshell.v1.OpenShell, as its row in the contract says: who may not call it, in which words; and that
what is not served is authorised like the rest and then answers UNIMPLEMENTED."""
import importlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))
from harness import *  # noqa: E402

RULE = importlib.import_module("openshell.options.v1.options_pb2").authorization
SERVED = {"Health", "GetCurrentUser", "GetGatewayInfo", "GetGatewayConfig", "CreateSandbox", "GetSandbox", "ListSandboxes",
          "DeleteSandbox", "StopSandbox", "StartSandbox", "WatchSandbox", "ExecSandbox", "ExecSandboxInteractive",
          "GetSandboxLogs", "CreateSshSession", "RevokeSshSession", "ForwardTcp", "GetSandboxConfig", "UpdateConfig",
          "GetSandboxPolicyStatus", "ListSandboxPolicies"}
SCOPES = ["sandbox:read", "sandbox:write", "provider:read", "provider:write", "config:read", "config:write",
          "workspace:read", "workspace:write"]


class Rows(ServerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rows = {method.name: method.GetOptions().Extensions[RULE] for method in OPENSHELL_SERVICE.methods}
        cls.channel = cls.server.channel()

    def as_key(self, *scopes):
        key = self.operator.CreateApiKey(name="rows", scopes=list(scopes)).secret
        return Service(self.channel, OPENSHELL_SERVICE, bearer(key))

    def end(self, service, name):
        """Status and text of the method with an empty request."""
        def call():
            reply = getattr(service, name)(timeout=20)
            if hasattr(reply, "__next__"):
                next(reply)
        return code_of(call)

    def check(self, service, expect):
        for name, rule in self.rows.items():
            expected = expect(name, rule)
            if expected is None:
                continue
            code, text = self.end(service, name)
            self.assertEqual(expected[0], code, f"{name}: {text}")
            for word in expected[1:]:
                self.assertIn(word, text, name)

    def test_nobody(self):
        for metadata in ((), bearer("blk_" + "x" * 43), (("authorization", "Basic x"),)):
            self.check(Service(self.channel, OPENSHELL_SERVICE, metadata), lambda name, rule: (
                None if rule.auth_mode == "unauthenticated" else (Code.UNAUTHENTICATED,)))

    def test_an_agents_session(self):
        service = Service(self.channel, OPENSHELL_SERVICE, self.agent().credentials)
        self.check(service, lambda name, rule: (
            None if rule.auth_mode == "unauthenticated" else (Code.PERMISSION_DENIED,)))

    def test_the_scope_that_is_missing_is_named(self):
        for scope in SCOPES:
            service = self.as_key(*(other for other in SCOPES if other != scope))
            self.check(service, lambda name, rule, scope=scope: (
                (Code.PERMISSION_DENIED, "platform admin role required") if rule.global_role and rule.scope == scope else
                (Code.PERMISSION_DENIED, scope) if rule.scope == scope else None))

    def test_roles_and_sandboxes(self):
        self.check(self.as_key("*"), lambda name, rule: (
            (Code.PERMISSION_DENIED, "platform admin role required") if rule.global_role else
            (Code.PERMISSION_DENIED, "sandbox") if rule.auth_mode == "sandbox" else None))

    def test_what_is_not_served_is_authorised_first(self):
        self.check(self.as_key("openshell:all"), lambda name, rule: (
            None if name in SERVED or rule.global_role or rule.auth_mode == "sandbox" else (Code.UNIMPLEMENTED,)))
        local = Service(self.server.local_channel(), OPENSHELL_SERVICE)
        self.check(local, lambda name, rule: (Code.UNIMPLEMENTED,) if rule.global_role and name not in SERVED else None)

    def test_existence_and_validity_are_told_to_nobody_without_the_right(self):
        """An invalid request, or one for what is not there, of a caller without the scope: the refusal comes first."""
        reader = self.as_key("sandbox:read")
        for name, fields in (("CreateSandbox", {"name": "NOT A NAME"}), ("DeleteSandbox", {"name": "nothing"}),
                             ("ExecSandbox", {"sandbox_id": "sbx_none", "command": []}),
                             ("UpdateConfig", {"name": "nothing"}), ("CreateSshSession", {"sandbox_id": ""})):
            def call(name=name, fields=fields):
                reply = getattr(reader, name)(**fields)
                if hasattr(reply, "__next__"):
                    next(reply)
            self.assertEqual(Code.PERMISSION_DENIED, code_of(call)[0], name)


if __name__ == "__main__":
    main()
