#!/usr/bin/python3
"""Sandboxes as the server keeps them: openshell.v1.OpenShell on one side, an agent that is driven step by step on the
other. What runs inside a sandbox is not looked at here."""
import hashlib

from sandbox_agent import *

class SandboxCase(ServerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shell = Service(cls.server.local_channel(), OPENSHELL_SERVICE)

    def setUp(self):
        self.agents = []

    def tearDown(self):
        for sandbox in self.shell.ListSandboxes(limit=1000).sandboxes:
            self.shell.DeleteSandbox(name=sandbox.metadata.name, metadata=(("belay-force", "true"),))
        for one in self.agents:
            if one.control:
                one.control.cancel()
            self.operator.RevokeAgent(agent=one.base.name)

    def offer(self, name, **capacity):
        agent = SandboxAgent(self, name, **capacity)
        self.agents.append(agent)
        return agent.connect()

    def create(self, name="", agent=None, spec=None, **fields):
        if agent is not None:
            fields["annotations"] = {"belay.dev/agent": agent.base.name}
        return self.shell.CreateSandbox(name=name, spec=spec or V.SandboxSpec(command=["true"]), **fields).sandbox

    def phase(self, name, phase):
        def look():
            sandbox = self.shell.GetSandbox(name=name).sandbox
            return sandbox if sandbox.status.phase == phase else None
        return eventually(look, f"{name} is {V.SandboxPhase.Name(phase)}")

    def ready(self, name, agent, **fields):
        sandbox = self.create(name, agent, **fields)
        agent.take("sandbox_create", READY)
        # An answer that is not stored before the stream ends has its order come again with the next.
        eventually(lambda: not self.operator.ListCommands(agent=agent.base.name, state=admin.COMMAND_STATE_SENT).commands,
                   f"the order of {name} is answered")
        return self.phase(sandbox.metadata.name, V.SANDBOX_PHASE_READY)

    def gone(self, name):
        eventually(lambda: code_of(lambda: self.shell.GetSandbox(name=name))[0] == Code.NOT_FOUND, f"{name} is gone")


class Life(SandboxCase):
    def test_from_order_to_end(self):
        agent = self.offer("life")
        policy = policy_types.SandboxPolicy(version=1)
        spec = V.SandboxSpec(command=["sleep", "9"], environment={"A": "1"}, policy=policy, template=V.SandboxTemplate(
            environment={"A": "0", "B": "2"}))
        sandbox = self.create("whole", agent, spec, labels={"team": "x"})
        self.assertEqual((V.SANDBOX_PHASE_PROVISIONING, "default", "user:local/0"),
                         (sandbox.status.phase, sandbox.metadata.workspace,
                          self.server.database.query("SELECT created_by FROM sandbox")[0][0]))
        order = agent.take("sandbox_create", READY, instance_id="run-1")
        self.assertEqual((sandbox.metadata.id, "whole", ["sleep", "9"], {"A": "1", "B": "2"}, 1000, 512 << 20, 1 << 30),
                         (order.sandbox_id, order.name, list(order.command), dict(order.environment),
                          order.limits.cpu_millis, order.limits.memory_bytes, order.limits.disk_bytes))
        ready = self.phase("whole", V.SANDBOX_PHASE_READY)
        self.assertEqual(("run-1", 1, "life"), (ready.status.main_process_instance_id,
                                                ready.status.current_policy_version, ready.status.agent_pod))
        self.assertEqual(("Ready", "True"), (ready.status.conditions[0].type, ready.status.conditions[0].status))
        self.assertEqual(V.SANDBOX_PHASE_STOPPING, self.shell.StopSandbox(name="whole").sandbox.status.phase)
        agent.take("sandbox_stop", STOPPED)
        self.phase("whole", V.SANDBOX_PHASE_STOPPED)
        self.assertEqual(V.SANDBOX_PHASE_STARTING, self.shell.StartSandbox(name="whole").sandbox.status.phase)
        agent.take("sandbox_start", READY, instance_id="run-2")
        self.phase("whole", V.SANDBOX_PHASE_READY)
        agent.report(sandbox.metadata.id, EXITED, exit_code=7)
        ended = self.phase("whole", V.SANDBOX_PHASE_ERROR)
        self.assertTrue(ended.status.HasField("exit_code"))
        self.assertEqual(7, ended.status.exit_code)
        self.assertTrue(self.shell.DeleteSandbox(name="whole").deleted)
        self.phase("whole", V.SANDBOX_PHASE_DELETING)
        self.assertTrue(self.shell.DeleteSandbox(name="whole").deleted)
        agent.take("sandbox_delete", DELETED)
        self.gone("whole")
        actions = [record.action for record in self.operator.ListAuditRecords(page_size=50).records]
        for action in ("openshell.v1.OpenShell/CreateSandbox", "openshell.v1.OpenShell/StopSandbox",
                       "openshell.v1.OpenShell/DeleteSandbox", "sandbox.removed"):
            self.assertIn(action, actions)

    def test_the_exit_of_zero_is_an_exit_code_too(self):
        agent = self.offer("zero")
        sandbox = self.ready("zero", agent)
        agent.report(sandbox.metadata.id, EXITED, exit_code=0)
        ended = self.phase("zero", V.SANDBOX_PHASE_ERROR)
        self.assertTrue(ended.status.HasField("exit_code"))
        self.assertEqual(0, ended.status.exit_code)

    def test_names(self):
        agent = self.offer("names")
        made = self.create("", agent)
        self.assertRegex(made.metadata.name, r"^[a-z]+-[a-z]+$")
        self.assertLessEqual(len(made.metadata.name), 19)
        self.create("taken", agent)
        self.refused(Code.ALREADY_EXISTS, lambda: self.create("taken", agent), "taken")
        for bad in ("Upper", "-a", "a-", "a--b", "a_b", "x" * 20):
            self.refused(Code.INVALID_ARGUMENT, lambda n=bad: self.create(n, agent), "name")

    def test_orders_in_the_wrong_phase(self):
        agent = self.offer("wrong")
        self.create("wrong", agent)
        for call in (self.shell.StopSandbox, self.shell.StartSandbox):
            self.refused(Code.FAILED_PRECONDITION, lambda c=call: c(name="wrong"), "provisioning")
        for call in (self.shell.GetSandbox, self.shell.StopSandbox, self.shell.DeleteSandbox):
            self.refused(Code.NOT_FOUND, lambda c=call: c(name="nothing"), "not found")

    def test_an_order_the_agent_refuses(self):
        agent = self.offer("refuses")
        self.create("refused", agent)
        command, _ = agent.order("sandbox_create")
        agent.control.send(ack(command.command_id, False, "the host cannot do seccomp"))
        failed = self.phase("refused", V.SANDBOX_PHASE_ERROR)
        self.assertIn("seccomp", failed.status.conditions[0].message)

    def test_a_stop_or_start_that_is_refused_for_a_while(self):
        agent = self.offer("busy")
        sandbox = self.ready("busy", agent)
        def refuse(kind, code):
            command, _ = agent.order(kind)
            agent.control.send(gateway.ControlStreamRequest(ack=gateway.ControlAck(
                command_id=command.command_id, code=code, error_message="the disk is full")))
        self.shell.StopSandbox(name="busy")
        refuse("sandbox_stop", gateway.ACK_CODE_INTERNAL)
        self.assertEqual("the disk is full", self.phase("busy", V.SANDBOX_PHASE_READY).status.conditions[0].message)
        self.shell.StopSandbox(name="busy")
        agent.take("sandbox_stop", STOPPED)
        self.phase("busy", V.SANDBOX_PHASE_STOPPED)
        self.shell.StartSandbox(name="busy")
        refuse("sandbox_start", gateway.ACK_CODE_BUSY)
        condition = self.phase("busy", V.SANDBOX_PHASE_STOPPED).status.conditions[0]
        self.assertEqual(("OrderRefused", "the disk is full"), (condition.reason, condition.message))
        self.shell.StartSandbox(name="busy")
        refuse("sandbox_start", gateway.ACK_CODE_AGENT_INCAPABLE)
        self.phase("busy", V.SANDBOX_PHASE_ERROR)

    def test_a_stop_that_is_refused_for_a_while_leaves_it_as_it_was_last_told(self):
        agent = self.offer("early")
        sandbox = self.ready("early", agent)

        def condition(field, value):
            eventually(lambda: getattr(self.shell.GetSandbox(name="early").sandbox.status.conditions[0], field) == value,
                       f"{field}: {value}")

        def stop(*reports):
            self.shell.StopSandbox(name="early")
            command, _ = agent.order("sandbox_stop")
            for number, state in enumerate(reports):
                agent.report(sandbox.metadata.id, state, reason="Said", message=f"report {number}")
                condition("message", f"report {number}")
            agent.control.send(gateway.ControlStreamRequest(ack=gateway.ControlAck(
                command_id=command.command_id, code=gateway.ACK_CODE_BUSY, error_message="later")))
            condition("message", "later")
            return self.shell.GetSandbox(name="early").sandbox.status.phase
        starting = gateway.SANDBOX_STATE_STARTING
        agent.report(sandbox.metadata.id, starting, reason="Restarting")
        self.phase("early", V.SANDBOX_PHASE_STARTING)
        self.assertEqual(V.SANDBOX_PHASE_STARTING, stop())
        self.assertEqual(V.SANDBOX_PHASE_READY, stop(READY))
        self.assertEqual(V.SANDBOX_PHASE_STARTING, stop(starting))
        self.assertEqual(V.SANDBOX_PHASE_READY, stop(starting, READY))

    def test_what_a_sandbox_was_made_with_is_in_no_finished_command(self):
        agent = self.offer("secret")
        self.ready("secret", agent, spec=V.SandboxSpec(command=["a"], environment={"KEY": "hush"}))
        command = eventually(lambda: next((c for c in self.operator.ListCommands(agent="secret").commands
                                           if c.state == admin.COMMAND_STATE_SUCCEEDED), None), "acknowledged")
        self.assertEqual("sandbox_create", command.kind)
        self.assertNotIn(b"hush", command.SerializeToString())

    def test_old_and_foreign_reports_change_nothing(self):
        agent, other = self.offer("mine"), self.offer("other")
        sandbox = self.ready("mine", agent)
        other.report(sandbox.metadata.id, FAILED, message="not mine to say")
        other.sequence = 900
        other.report(sandbox.metadata.id, FAILED, message="nor this")
        agent.control.send(gateway.ControlStreamRequest(sandbox_report=gateway.SandboxReport(
            sandbox_id=sandbox.metadata.id, sequence=1, state=LOST)))
        agent.report(sandbox.metadata.id, READY, instance_id="still")
        eventually(lambda: self.shell.GetSandbox(name="mine").sandbox.status.main_process_instance_id == "still", "newer")
        self.assertEqual(V.SANDBOX_PHASE_READY, self.shell.GetSandbox(name="mine").sandbox.status.phase)

    def test_a_report_of_a_session_that_was_replaced_changes_nothing(self):
        agent = self.offer("replaced")
        sandbox = self.ready("replaced", agent)
        # As another server does whose word does not get here.
        self.server.database.query("UPDATE agent SET session_epoch = session_epoch + 1 WHERE name = 'replaced'")
        agent.report(sandbox.metadata.id, FAILED, message="not mine any more")
        self.assertEqual(Code.UNAUTHENTICATED, agent.control.end()[0])
        self.assertEqual(V.SANDBOX_PHASE_READY, self.shell.GetSandbox(name="replaced").sandbox.status.phase)

    def test_an_agent_that_comes_back(self):
        agent = self.offer("back")
        kept, lost, doomed = (self.ready(name, agent) for name in ("kept", "lost", "doomed"))
        agent.control.cancel()
        self.shell.DeleteSandbox(name="doomed")
        stranger = agent.made("sbx_stranger", READY)
        agent.connect(agent.made(kept.metadata.id, READY, instance_id="again"),
                      agent.made(doomed.metadata.id, READY), stranger)
        gone = {agent.take("sandbox_delete").sandbox_id for _ in range(2)}  # ordered once, and the stranger
        self.assertEqual({doomed.metadata.id, "sbx_stranger"}, gone)
        self.assertIn("no longer", self.phase("lost", V.SANDBOX_PHASE_ERROR).status.conditions[0].message)
        self.assertEqual("again", self.phase("kept", V.SANDBOX_PHASE_READY).status.main_process_instance_id)
        agent.report(doomed.metadata.id, DELETED)
        self.gone("doomed")


class Away(SandboxCase):
    """Agents that are not there; a heartbeat a second, so that three are missed soon."""

    options = ("--heartbeat-interval", "1s")

    def test_unknown_after_the_grace_and_back_by_itself(self):
        agent = self.offer("away")
        sandbox = self.ready("away", agent)
        agent.control.cancel()
        gone = self.phase("away", V.SANDBOX_PHASE_UNKNOWN)
        self.assertEqual("False", gone.status.conditions[0].status)
        self.refused(Code.FAILED_PRECONDITION, lambda: next(self.shell.ExecSandbox(
            sandbox_id=sandbox.metadata.id, command=["a"])), "unknown")
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("nowhere", agent), "offline")
        agent.connect(agent.made(sandbox.metadata.id, READY))
        self.phase("away", V.SANDBOX_PHASE_READY)

    def test_what_starts_again_on_return_is_not_as_if_it_were_new(self):
        agent = self.offer("restarts")
        sandbox = self.ready("restarts", agent)
        agent.control.cancel()
        self.phase("restarts", V.SANDBOX_PHASE_UNKNOWN)
        agent.connect(agent.made(sandbox.metadata.id, gateway.SANDBOX_STATE_STARTING))
        self.phase("restarts", V.SANDBOX_PHASE_STARTING)
        self.assertEqual(V.SANDBOX_PHASE_STOPPING, self.shell.StopSandbox(name="restarts").sandbox.status.phase)
        self.assertEqual(sandbox.metadata.id, agent.take("sandbox_stop").sandbox_id)

    def test_deleted_while_away_and_gone_on_return(self):
        agent = self.offer("doomed")
        sandbox = self.ready("doomed", agent)
        agent.control.cancel()
        self.phase("doomed", V.SANDBOX_PHASE_UNKNOWN)
        self.assertTrue(self.shell.DeleteSandbox(name="doomed").deleted)
        self.assertEqual(V.SANDBOX_PHASE_DELETING, self.shell.GetSandbox(name="doomed").sandbox.status.phase)
        agent.connect(agent.made(sandbox.metadata.id, READY))
        self.assertEqual(sandbox.metadata.id, agent.take("sandbox_delete", DELETED).sandbox_id)
        self.gone("doomed")

    def test_forced_away_the_record_goes_and_the_rest_on_return(self):
        agent = self.offer("forced")
        sandbox = self.ready("forced", agent)
        agent.control.cancel()
        self.shell.DeleteSandbox(name="forced", metadata=(("belay-force", "true"),))
        self.gone("forced")
        self.create("forced", self.offer("other"))  # the name is free at once
        agent.connect(agent.made(sandbox.metadata.id, READY))
        self.assertEqual(sandbox.metadata.id, agent.take("sandbox_delete").sandbox_id)


    def test_of_a_revoked_agent_they_are_forgotten_at_once(self):
        agent = self.offer("revoked")
        names = "plain", "forced", "doomed"
        for name in names:
            self.ready(name, agent)
        self.shell.DeleteSandbox(name="doomed")
        agent.control.cancel()
        self.agents.remove(agent)
        self.operator.RevokeAgent(agent="revoked")
        self.refused(Code.FAILED_PRECONDITION, lambda: self.shell.StopSandbox(name="plain"))
        for name, metadata in zip(names, ((), (("belay-force", "true"),), ())):
            self.assertTrue(self.shell.DeleteSandbox(name=name, metadata=metadata).deleted)
            self.assertEqual(Code.NOT_FOUND, code_of(lambda: self.shell.GetSandbox(name=name))[0])


class Placement(SandboxCase):
    def test_nowhere_to_go(self):
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("a"), "no agent fits: none is enrolled in this workspace")
        self.offer("small", memory_bytes=100 << 20)
        text = self.refused(Code.FAILED_PRECONDITION, lambda: self.create("a"), "memory", "512 MiB", "100 MiB")
        self.offer("none", sandbox_drivers=[])
        self.operator.UpdateAgent(agent=self.offer("closed").base.name, cordoned=True)
        text = self.refused(Code.FAILED_PRECONDITION, lambda: self.create("a"), "1 cordoned", "driver", "memory")
        self.assertNotIn("closed", text or "")

    def test_restart_is_asked_of_agents_that_know_it(self):
        wants = {"annotations": {"belay.dev/restart": "on-failure"}}
        old = self.offer("old")
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("crashes", **wants), "too old to restart")
        self.refused(Code.INVALID_ARGUMENT, lambda: self.create("bad", annotations={"belay.dev/restart": "maybe"}),
                     "annotations[belay.dev/restart]", "never, on-failure or always", "maybe")
        agent = self.offer("new", sandbox_protections=["restart"])
        sandbox = self.create("crashes", **wants)
        self.assertEqual(gateway.SANDBOX_RESTART_ON_FAILURE, agent.take("sandbox_create", READY).restart)
        self.phase("crashes", V.SANDBOX_PHASE_READY)
        agent.report(sandbox.metadata.id, gateway.SANDBOX_STATE_STARTING, reason="Restarting", message="restart 1 follows")
        pause = self.phase("crashes", V.SANDBOX_PHASE_STARTING)
        self.assertEqual("restart 1 follows", pause.status.conditions[0].message)
        self.assertFalse(pause.status.HasField("exit_code"))
        self.assertEqual(V.SANDBOX_PHASE_STOPPING, self.shell.StopSandbox(name="crashes").sandbox.status.phase)
        agent.take("sandbox_stop", STOPPED)
        self.phase("crashes", V.SANDBOX_PHASE_STOPPED)
        never = self.create("never", old)
        self.assertEqual(V.SANDBOX_PHASE_PROVISIONING, never.status.phase)

    def test_least_loaded_selector_and_limits(self):
        for name, slots in (("one", 8), ("two", 8), ("three", 1)):
            self.offer(name, sandboxes=slots)
        self.operator.UpdateAgent(agent="three", set_labels={"zone": "b"})

        def agent_of(sandbox):
            return self.shell.GetSandbox(name=sandbox.metadata.name).sandbox.status.agent_pod
        self.assertEqual({"one", "two"}, {agent_of(self.create(f"s{i}")) for i in range(2)})
        in_zone = {"annotations": {"belay.dev/agent-selector": "zone=b"}}
        self.assertEqual("three", agent_of(self.create("chosen", **in_zone)))
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("full", **in_zone), "limit of sandboxes")
        self.refused(Code.INVALID_ARGUMENT,
                     lambda: self.create("bad", annotations={"belay.dev/agent-selector": "=="}), "agent-selector")
        resources = V.SandboxTemplate()
        resources.resources.update({"limits": {"cpu": "3500m", "memory": "1Gi"}})
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("big", spec=V.SandboxSpec(template=resources)), "3500m")
        self.offer("four")
        self.assertEqual("four", agent_of(self.create("big", spec=V.SandboxSpec(template=resources))))
        resources.resources.update({"limits": {"cpu": "9"}})
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("huge", spec=V.SandboxSpec(template=resources)), "9000m")

    def test_bounds(self):
        agent = self.offer("bounds")
        struct = V.SandboxTemplate()
        struct.resources.update({"limits": {"cpu": "lots"}})
        unknown = V.SandboxTemplate()
        unknown.resources.update({"limits": {"nvidia.com/gpu": 1}})
        bad = {
            "environment": V.SandboxSpec(environment={"k" * 257: "v"}),
            "reserved": V.SandboxSpec(environment={"OPENSHELL_X": "v"}),
            "8192": V.SandboxSpec(environment={"A": "v" * 8193}),
            "128": V.SandboxSpec(environment={f"K{i}": "" for i in range(129)}),
            "command": V.SandboxSpec(command=["x" * 200000, "y" * 100000]),
            "256 entries": V.SandboxSpec(command=["a"] * 257),
            "65536": self.template(driver_config={"native": {f"k{i}": "v" * 4000 for i in range(17)}}),
            "at most 65536": self.template(resources={f"k{i}": "v" * 4000 for i in range(17)}),
            "policy": V.SandboxSpec(policy=policy_types.SandboxPolicy(network_policies={
                f"r{i}": policy_types.NetworkPolicyRule(name="x" * 4000) for i in range(70)})),
            "providers": V.SandboxSpec(providers=[f"p{i}" for i in range(33)]),
            "cpu": V.SandboxSpec(template=struct),
            "nvidia": V.SandboxSpec(template=unknown),
            "read_only": V.SandboxSpec(policy=policy_types.SandboxPolicy(
                filesystem=policy_types.FilesystemPolicy(read_only=["/a/../b"]))),
            "websocket": V.SandboxSpec(policy=self.policy("example.com", 443, protocol="websocket")),
        }
        bad["only tcp"] = bad.pop("websocket")
        bad["65537 characters"] = self.template(driver_config={"native": {"note": "v" * 65537}})
        bad["\"limit\" is not known; limits and requests"] = self.template(resources={"limit": {"cpu": "1"}})
        bad["resources.limits: must be an object"] = self.template(resources={"limits": "x"})
        bad["driver_config.native: must be an object"] = self.template(driver_config={"native": 5})
        bad["log_level: trace, debug, info, warn or error"] = V.SandboxSpec(log_level="nonsense")
        bad["argument 1: 131072 bytes, at most 131071"] = V.SandboxSpec(command=["a", "x" * 131072])
        bad["no newline"] = V.SandboxSpec(environment={"A\nB": "v"})
        bad["129 entries"] = V.SandboxSpec(environment={f"K{i}": "" for i in range(100)}, template=V.SandboxTemplate(
            environment={f"K{i}": "" for i in range(50, 129)}))
        bad["of 262144"] = V.SandboxSpec(environment={f"K{i}": "v" * 8000 for i in range(20)}, template=V.SandboxTemplate(
            environment={f"T{i}": "v" * 8000 for i in range(20)}))
        for word, spec in bad.items():
            self.refused(Code.INVALID_ARGUMENT, lambda s=spec: self.create("bad", agent, s), word)
        self.refused(Code.FAILED_PRECONDITION, lambda: self.create("p", agent, V.SandboxSpec(providers=["x"])), "provider")
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox"))
        large = self.template(driver_config={"native": {"note": "v" * 65000}})  # one text may take nearly all of it
        self.assertEqual(large, self.create("large", agent, large).spec)
        most = V.SandboxSpec(environment={f"K{i}": "" for i in range(100)}, log_level="Debug", command=["a", "x" * 131071],
                             template=V.SandboxTemplate(environment={f"K{i}": "" for i in range(28, 128)}))
        self.assertEqual(most, self.create("most", agent, most).spec)

    @staticmethod
    def template(**structs):
        template = V.SandboxTemplate()
        for name, value in structs.items():
            getattr(template, name).update(value)
        return V.SandboxSpec(template=template)

    @staticmethod
    def policy(host, port, **fields):
        rule = policy_types.NetworkPolicyRule(
            endpoints=[policy_types.NetworkEndpoint(host=host, port=port, **fields)],
            binaries=[policy_types.NetworkBinary(path="/**")])
        return policy_types.SandboxPolicy(version=1, network_policies={"web": rule})


class Reading(SandboxCase):
    def test_lists(self):
        agent = self.offer("lists")
        for name, team in (("a", "x"), ("b", "y"), ("c", "x")):
            self.create(name, agent, labels={"team": team})
        names = lambda **f: [s.metadata.name for s in self.shell.ListSandboxes(**f).sandboxes]
        self.assertEqual(["a", "b", "c"], names())
        self.assertEqual(["a", "c"], names(label_selector="team=x,,"))
        self.assertEqual(["b"], names(limit=1, offset=1))
        self.assertEqual(["a", "b", "c"], names(all_workspaces=True))
        self.assertEqual(["a", "c"], names(limit=2, label_selector="team=x"))
        self.assertEqual(["c"], names(offset=1, label_selector="team=x"))
        self.assertEqual(["a", "b", "c"], names(limit=5000))
        self.assertEqual([], names(offset=3))
        for bad, said in (("team", '"team" is not'), ("team==x", "team==x"), ("team!=x", "team!=x"), ("=x", '"=x"'),
                          ("team=x,-bad=y", '"-bad=y"'), ("team=not a value", "not a value"), ("team in (x)", "team in (x)"),
                          (",".join(f"k{i}=v" for i in range(65)), "more than 64 pairs")):
            with self.subTest(bad):
                self.refused(Code.INVALID_ARGUMENT, lambda b=bad: names(label_selector=b), "label_selector: ", said)
        self.refused(Code.INVALID_ARGUMENT, lambda: names(all_workspaces=True, workspace="default"), "all_workspaces")
        key = self.operator.CreateApiKey(name="reader", scopes=["sandbox:read"]).secret
        reader = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key))
        self.assertEqual(3, len(reader.ListSandboxes().sandboxes))
        self.refused(Code.PERMISSION_DENIED, lambda: reader.ListSandboxes(all_workspaces=True), "platform admin")
        self.refused(Code.PERMISSION_DENIED, lambda: reader.DeleteSandbox(name="a"), "sandbox:write")

    def test_another_workspaces_sandboxes_do_not_exist(self):
        agent = self.offer("walled")
        sandbox = self.ready("walled", agent)
        self.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (7, 'other', 0)")
        key = self.operator.CreateApiKey(name="other", scopes=["openshell:all"], workspace="other").secret
        other = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key))
        self.assertEqual([], list(other.ListSandboxes().sandboxes))
        self.refused(Code.FAILED_PRECONDITION, lambda: other.CreateSandbox(
            name="lent", spec=V.SandboxSpec(command=["a"]), annotations={"belay.dev/agent": "walled"}), "or lent to it")
        for call in (lambda: other.GetSandbox(name="walled"), lambda: other.DeleteSandbox(name="walled"),
                     lambda: other.GetSandboxLogs(sandbox_id=sandbox.metadata.id),
                     lambda: other.GetSandboxConfig(sandbox_id=sandbox.metadata.id),
                     lambda: other.CreateSshSession(sandbox_id=sandbox.metadata.id),
                     lambda: next(other.WatchSandbox(id=sandbox.metadata.id))):
            self.refused(Code.NOT_FOUND, call, "sandbox not found")
        for workspace in ("default", "no-such"):  # to name one is another thing, and tells no more of it
            for call in (lambda w: other.ListSandboxes(workspace=w), lambda w: other.GetSandbox(name="walled", workspace=w),
                         lambda w: other.CreateSandbox(name="mine", workspace=w, spec=V.SandboxSpec(command=["a"])),
                         lambda w: other.DeleteSandbox(name="walled", workspace=w)):
                self.refused(Code.PERMISSION_DENIED, lambda c=call, w=workspace: c(w), f"not a member of workspace '{workspace}'",
                             f"openshell workspace member add --workspace '{workspace}' --subject ", "--role user")

    def test_the_local_operator_reaches_every_workspaces_sandboxes_by_their_ids(self):
        self.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (9, 'ninth', 0)")
        key = self.operator.CreateApiKey(name="ninth", scopes=["openshell:all"], workspace="ninth").secret
        theirs = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key))
        agent = SandboxAgent(self, "ninth", workspace="ninth").connect()
        self.addCleanup(agent.control.cancel)
        made = theirs.CreateSandbox(name="ninth", spec=V.SandboxSpec(command=["true"])).sandbox.metadata.id
        agent.take("sandbox_create", READY)
        eventually(lambda: theirs.GetSandbox(name="ninth").sandbox.status.phase == V.SANDBOX_PHASE_READY, "theirs is ready")
        self.assertEqual("ninth", next(self.shell.WatchSandbox(id=made)).sandbox.metadata.workspace)
        self.assertEqual(self.shell.GetSandboxConfig(sandbox_id=made), theirs.GetSandboxConfig(sandbox_id=made))
        for ask in (lambda: self.shell.ExecSandbox(sandbox_id=made, command=["true"]),
                    lambda: self.shell.ExecSandboxInteractive(iter([V.ExecSandboxInput(start=V.ExecSandboxRequest(
                        sandbox_id=made, command=["true"]))]))):
            events = ask()
            order, stream = agent.relay()
            self.assertEqual("user:local/0", order.actor)
            stream.send(frame(exit=gateway.RelayExit(exit_code=3)))
            self.assertEqual(3, list(events)[-1].exit.exit_code)
        token = self.shell.CreateSshSession(sandbox_id=made).token
        frames = self.shell.ForwardTcp(iter([V.TcpForwardFrame(init=V.TcpForwardInit(
            sandbox_id=made, tcp=V.TcpRelayTarget(host="localhost", port=80), authorization_token=token))]))
        _, stream = agent.relay()
        stream.send(frame(data=b"200"))
        stream.send(frame(end=gateway.RelayEnd()))
        self.assertEqual([b"200"], [one.data for one in frames])
        self.assertTrue(self.shell.RevokeSshSession(token=token).revoked)
        self.assertFalse(theirs.RevokeSshSession(token=token).revoked)
        # What was done there is in that workspace's trail.
        done = [record.action.rsplit("/", 1)[1] for record in self.operator.ListAuditRecords(workspace="ninth").records
                if record.actor == "user:local/0"]
        self.assertLessEqual({"ExecSandbox", "ExecSandboxInteractive", "CreateSshSession", "ForwardTcp", "RevokeSshSession"}, set(done))
        # A key reaches no more than it did.
        ours = self.server.channel()
        mine = Service(ours, OPENSHELL_SERVICE, bearer(self.operator.CreateApiKey(name="mine", scopes=["*"]).secret))
        for call in (lambda: next(mine.WatchSandbox(id=made)), lambda: mine.GetSandboxConfig(sandbox_id=made),
                     lambda: list(mine.ExecSandbox(sandbox_id=made, command=["true"])),
                     lambda: mine.CreateSshSession(sandbox_id=made)):
            self.refused(Code.NOT_FOUND, call, "sandbox not found")
        self.refused(Code.NOT_FOUND, lambda: next(self.shell.WatchSandbox(id="sbx_none")), "sandbox not found")
        self.shell.DeleteSandbox(name="ninth", workspace="ninth", metadata=(("belay-force", "true"),))

    def test_a_list_reads_no_more_than_it_answers(self):
        agent = self.offer("large")
        for name in ("a", "b", "c"):
            self.create(name, agent, labels={"team": "xyz"["abc".index(name)]})
        names = lambda **f: [s.metadata.name for s in self.shell.ListSandboxes(**f).sandboxes]
        text = "repeat('x', 40000000)" if self.server.database.url else "replace(hex(zeroblob(20000000)), '0', 'x')"
        self.server.database.query(f"UPDATE sandbox SET annotations = '{{\"k\":\"' || {text} || '\"}}' WHERE name <> 'b'")
        try:
            self.assertEqual(["b"], names(limit=1, offset=1))
            self.assertEqual(["b"], names(label_selector="team=y"))
        finally:
            self.server.database.query("UPDATE sandbox SET annotations = '{}'")

    def test_a_list_of_large_ones_is_no_larger_than_clients_take(self):
        agent = self.offer("huge", cpus=64, memory_bytes=64 << 30, disk_bytes=64 << 30, sandboxes=64)
        spec = V.SandboxSpec(environment={f"K{i}": "v" * 8000 for i in range(30)}, command=["x" * 120000] * 2)
        for i in range(12):
            self.create(f"huge-{i:02}", agent, spec)
        names = lambda **f: [s.metadata.name for s in self.shell.ListSandboxes(**f).sandboxes]
        all_of_them = [f"huge-{i:02}" for i in range(12)]
        try:
            self.refused(Code.RESOURCE_EXHAUSTED, lambda: names(limit=20), "limit of 8 fits")
            self.assertEqual(all_of_them[:8], names(limit=8))
            self.assertEqual(all_of_them[8:], names(offset=8))
            listed = self.server.cli("sandbox", "list", "--no-headers").stdout
            self.assertEqual(all_of_them, [line.split()[0] for line in listed.splitlines()])
        finally:
            for name in all_of_them:
                self.shell.DeleteSandbox(name=name, metadata=(("belay-force", "true"),))

    def test_a_list_of_many(self):
        self.create("many", self.offer("many"), labels={"team": "x"})
        copied = "agent_id, phase, annotations, spec, cpu_millis, memory_bytes, disk_bytes, policy_version, created_by, " \
            "created_at, changed_at"
        self.server.database.query(
            f"INSERT INTO sandbox (workspace_id, id, name, labels, {copied}) WITH RECURSIVE n (i) AS "
            "(SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1999) SELECT workspace_id, 'sbx_many' || i, 'many-' || i, "
            "CASE WHEN i % 100 = 0 THEN labels ELSE '{}' END, " + copied + " FROM sandbox, n WHERE name = 'many'")
        try:
            names = lambda **f: [s.metadata.name for s in self.shell.ListSandboxes(**f).sandboxes]
            self.assertEqual(["many"] + [f"many-{i}" for i in range(1000, 1999)], names(limit=1000))
            self.assertEqual(["many-1998", "many-1999"], names(offset=999))
            self.assertEqual(100, len(names()))
            self.assertEqual(["many-1999"], names(offset=1000, all_workspaces=True))
            self.assertEqual([f"many-{i}" for i in range(1000, 2000, 100)], names(offset=1, label_selector="team=x"))
        finally:
            self.server.database.query("DELETE FROM sandbox WHERE name LIKE 'many-%'")

    def test_logs_and_watch(self):
        agent = self.offer("logs")
        sandbox = self.ready("logs", agent)
        watch = self.shell.WatchSandbox(id=sandbox.metadata.id, follow_status=True, follow_logs=True, follow_events=True,
                                        log_sources=["sandbox"])
        self.assertEqual("sandbox", next(watch).WhichOneof("payload"))
        at = int(time.time() * 1e6)
        lines = gateway.EventBatch(events=[
            gateway.AgentEvent(time_us=at + i, severity=2 + 2 * (i % 2), kind="sandbox.log", device=sandbox.metadata.id,
                               text=f"line {i}", attributes={"target": "stdout"}) for i in range(4)])
        agent.base.upload([gateway.UploadEventsRequest(payload=lines.SerializeToString(), captured_at=now(), sequence=1,
                                                       format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)], events=True)
        got = [next(watch).log for _ in range(4)]
        self.assertEqual([f"line {i}" for i in range(4)], [line.message for line in got])
        self.assertEqual(("INFO", "stdout", "sandbox"), (got[0].level, got[0].target, got[0].source))
        logs = self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id)
        self.assertEqual([f"line {i}" for i in range(4)], [line.message for line in logs.logs if line.source == "sandbox"])
        self.assertEqual(["line 1", "line 3"], [line.message for line in self.shell.GetSandboxLogs(
            sandbox_id=sandbox.metadata.id, min_level="error").logs])
        self.assertEqual(["line 3"], [line.message for line in self.shell.GetSandboxLogs(
            sandbox_id=sandbox.metadata.id, lines=1).logs])
        self.refused(Code.INVALID_ARGUMENT, lambda: self.shell.GetSandboxLogs(
            sandbox_id=sandbox.metadata.id, min_level="loud"), "min_level")
        agent.report(sandbox.metadata.id, EXITED, exit_code=3, message="main ended")
        kinds = {next(watch).WhichOneof("payload") for _ in range(2)}
        self.assertEqual({"sandbox", "event"}, kinds)
        self.shell.DeleteSandbox(name="logs")
        agent.take("sandbox_delete", DELETED)
        list(watch)  # ends by itself

    def lines(self, agent, sandbox, *lines, sequence=1):
        events = [gateway.AgentEvent(time_us=at, severity=severity, kind=kind, device=sandbox.metadata.id, text=text,
                                     attributes={"target": "stdout"}) for at, severity, kind, text in lines]
        agent.base.upload([gateway.UploadEventsRequest(
            payload=gateway.EventBatch(events=events).SerializeToString(), captured_at=now(), sequence=sequence,
            format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)], events=True)

    def test_tails(self):
        agent = self.offer("tails")
        sandbox = self.ready("tails", agent)
        at = int(time.time() * 1e6)
        self.lines(agent, sandbox, *((at + i, 2, "sandbox.log", f"line {i}") for i in range(250)),
                   *((at + 300 + i, 2, "sandbox.other", f"event {i}") for i in range(5)))
        since = at // 1000 + 60_000

        def watched(count, number, **fields):
            """What a watch brings at once, and then the next line."""
            watch = self.shell.WatchSandbox(id=sandbox.metadata.id, **{"log_sources": ["sandbox"], **fields})
            first = next(watch)
            self.assertEqual("sandbox", first.WhichOneof("payload"))  # whatever is followed: first how it stands
            self.assertEqual("tails", first.sandbox.metadata.name)
            got = [next(watch) for _ in range(count)]
            self.lines(agent, sandbox, (since * 1000, 4, "sandbox.log", f"next {number}"), sequence=1 + number)
            while got[-1].log.message != f"next {number}":
                got.append(next(watch))
            watch.cancel()
            return [event.log.message or event.event.message for event in got ]
        self.assertEqual([f"line {i}" for i in range(50, 250)] + ["next 1"], watched(200, 1, follow_logs=True))
        self.assertEqual(["line 249", "next 1", "next 2"], watched(2, 2, follow_logs=True, log_tail_lines=2))
        self.assertEqual(["next 2", "event 3", "event 4", "next 3"], watched(
            3, 3, follow_logs=True, follow_events=True, event_tail=2, log_tail_lines=1, log_min_level="error"))
        self.assertEqual(["next 1", "next 2", "next 3", "next 4"], watched(3, 4, follow_logs=True, log_since_ms=since))
        self.refused(Code.INVALID_ARGUMENT, lambda: next(self.shell.WatchSandbox(
            id=sandbox.metadata.id, log_sources=["kernel"])), "sources")
        logs = lambda **f: [line.message for line in self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id, **f).logs]
        self.assertEqual([f"next {i}" for i in range(1, 5)], logs(since_ms=since))
        self.assertEqual([], logs(since_ms=(1 << 63) - 1))
        news = ["provisioning, ordered by user:local/0", "ready"] + [f"event {i}" for i in range(5)]
        self.assertEqual(news, logs(sources=["gateway"]))
        self.assertEqual(254, len(logs(sources=["sandbox"])))
        self.assertEqual(254 + 7, len(logs()))
        self.assertEqual(254 + 7, len(logs(sources=["gateway", "sandbox"])))
        self.assertEqual(news[-2:] + [f"next {i}" for i in range(1, 6)],
                         watched(6, 5, follow_logs=True, log_sources=[], log_tail_lines=6))

    def test_what_becomes_of_it_is_in_its_log(self):
        agent = self.offer("told")
        sandbox = self.create("told", agent, V.SandboxSpec(command=["sleep", "9"], policy=Policies.policy("a.example", 443)))
        watch = self.shell.WatchSandbox(id=sandbox.metadata.id, follow_logs=True, log_sources=["gateway"])
        self.assertEqual("sandbox", next(watch).WhichOneof("payload"))
        order = agent.take("sandbox_create", READY)
        self.phase("told", V.SANDBOX_PHASE_READY)
        for version, verdict in ((2, {"policy_version": 2}), (3, {"policy_version": 2, "policy_failed_version": 3,
                                                                  "policy_error": "no room"})):
            self.shell.UpdateConfig(name="told", policy=Policies.policy(f"{version}.example", 443))
            agent.take("sandbox_policy", READY, **verdict)
            agent.report(order.sandbox_id, READY, **verdict)  # again: said once
            eventually(lambda: self.shell.GetSandboxPolicyStatus(name="told", version=version).revision.status
                       in (V.POLICY_STATUS_LOADED, V.POLICY_STATUS_FAILED), "it is settled")
        at = int(time.time() * 1e6)
        self.lines(agent, sandbox, (at, 2, "sandbox.log", "of a program"), (at, 3, "sandbox.denied", "denied: b.example:443"))
        self.shell.StopSandbox(name="told")
        command, _ = agent.order("sandbox_stop")
        agent.control.send(ack(command.command_id, False, "it is busy"))
        self.phase("told", V.SANDBOX_PHASE_ERROR)
        self.shell.DeleteSandbox(name="told")
        agent.take("sandbox_delete", DELETED)
        by = ", ordered by user:local/0"
        wanted = [("INFO", "sandbox.phase", "provisioning" + by), ("INFO", "sandbox.phase", "ready"),
                  ("INFO", "sandbox.policy", "version 2 of the policy" + by),
                  ("INFO", "sandbox.policy", "version 2 of the policy is in force"),
                  ("INFO", "sandbox.policy", "version 3 of the policy" + by),
                  ("ERROR", "sandbox.policy", "version 3 of the policy could not be loaded: no room"),
                  ("WARN", "sandbox.denied", "denied: b.example:443"), ("INFO", "sandbox.phase", "stopping" + by),
                  ("ERROR", "sandbox.phase", "error: it is busy"), ("INFO", "sandbox.phase", "deleting" + by),
                  ("INFO", "sandbox.phase", "gone")]
        got = [event.log for event in watch]  # to its end
        self.assertEqual(wanted, [(line.level, line.target, line.message) for line in got])
        self.assertEqual({("gateway", sandbox.metadata.id)}, {(line.source, line.sandbox_id) for line in got})
        self.assertEqual({"phase": "stopping", "by": "user:local/0", "agent": "told"}, dict(got[7].fields))
        self.assertEqual("OrderRefused", got[8].fields["reason"])
        self.assertEqual(f"agent:{agent.base.id}", got[8].fields["by"])

    def test_a_log_of_many(self):
        agent = self.offer("wordy")
        sandbox = self.ready("wordy", agent)
        self.lines(agent, sandbox, (int(time.time() * 1e6), 2, "sandbox.log", "again"))
        logs = lambda **fields: self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id, sources=["sandbox"], **fields)
        copied = "workspace_id, agent_id, time_us, received_at, severity, kind, device, text, attributes"
        eventually(lambda: logs().buffer_total == 3, "the line, and two phases")
        self.server.database.query(
            f"INSERT INTO event ({copied}) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100) "
            f"SELECT {copied} FROM event, n WHERE kind = 'sandbox.log' AND device = '{sandbox.metadata.id}'")
        for answer, count in ((logs(), 2000), (logs(lines=5), 5), (logs(min_level="error"), 0)):
            self.assertEqual((count, 2103), (len(answer.logs), answer.buffer_total))
        # What clients take of a message is 4 MiB: the newest lines that fit.
        long = "substr(text, 1, 0) || " + ("repeat('x', 8000)" if self.server.database.url else "hex(zeroblob(4000))")
        self.server.database.query(f"UPDATE event SET text = {long} WHERE kind = 'sandbox.log'")
        answer = logs()
        self.assertEqual(2103, answer.buffer_total)
        self.assertIn(answer.ByteSize(), range(4 * 1024 * 1024 - 1024 - 8200, 4 * 1024 * 1024))

    def test_a_watch_is_woken_by_what_leaves_no_event(self):
        agent = self.offer("woken")
        sandbox = self.ready("woken", agent)
        watch = self.shell.WatchSandbox(id=sandbox.metadata.id, follow_status=True)
        for number in range(40):  # each within two seconds by the watch's own look would take longer than the call may
            agent.report(sandbox.metadata.id, READY, instance_id=f"run-{number}")
            while next(watch).sandbox.status.main_process_instance_id != f"run-{number}":
                pass
        watch.cancel()

    def test_watch_until_ready(self):
        agent = self.offer("until")
        sandbox = self.create("until", agent)
        watch = self.shell.WatchSandbox(id=sandbox.metadata.id, follow_status=True, stop_on_terminal=True)
        self.assertEqual(V.SANDBOX_PHASE_PROVISIONING, next(watch).sandbox.status.phase)
        agent.take("sandbox_create", READY)
        self.assertEqual(V.SANDBOX_PHASE_READY, [event.sandbox.status.phase for event in watch][-1])

    def test_the_server_itself(self):
        anybody = Service(self.server.channel(), OPENSHELL_SERVICE)
        self.assertEqual(V.SERVICE_STATUS_HEALTHY, anybody.Health().status)
        self.refused(Code.UNAUTHENTICATED, anybody.GetCurrentUser)
        user = self.shell.GetCurrentUser()
        self.assertEqual(["openshell-user", "openshell-admin"], list(user.roles))
        self.assertIn("sandbox:write", user.scopes)
        self.assertEqual(1, len(self.shell.GetGatewayInfo().compute_drivers))
        self.assertEqual(0, len(self.shell.GetGatewayConfig().settings))
        key = self.operator.CreateApiKey(name="all", scopes=["openshell:all"]).secret
        service = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key))
        self.refused(Code.PERMISSION_DENIED, service.GetGatewayInfo, "platform admin role required")
        self.assertEqual(["sandbox:read", "sandbox:write", "config:read", "config:write", "provider:read", "provider:write",
                          "workspace:read", "workspace:write"], list(service.GetCurrentUser().scopes))


class Quotas(SandboxCase):
    def tearDown(self):
        super().tearDown()
        self.server.database.query("DELETE FROM quota")

    def quota(self, owner="", **limits):
        values = ", ".join(str(limits.get(name, "NULL")) for name in ("sandboxes", "cpu_millis", "memory_bytes", "disk_bytes"))
        self.server.database.query(f"INSERT INTO quota VALUES (1, '{owner}', {values}, 'test', 0)")

    def test_each_limit_is_named(self):
        agent = self.offer("limits")
        self.create("first", agent)
        for limits, words in (({"sandboxes": 1}, ("sandboxes", "1 stand", "1 asked", "at most 1;")),
                              ({"cpu_millis": 1999}, ("cpu", "1000m stand", "1000m asked", "at most 1999m")),
                              ({"memory_bytes": (1 << 30) - 1}, ("memory", "512 MiB stand", "at most 1023 MiB")),
                              ({"disk_bytes": 2 << 29}, ("disk", "1024 MiB stand", "at most 1024 MiB"))):
            self.quota(**limits)
            self.refused(Code.RESOURCE_EXHAUSTED, lambda: self.create("more", agent), "workspace 'default'", *words)
            self.server.database.query("DELETE FROM quota")
        self.quota(sandboxes=2, cpu_millis=2000, memory_bytes=1 << 30, disk_bytes=2 << 30)
        self.create("more", agent)  # exactly full
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: self.create("over", agent), "sandboxes")
        self.shell.DeleteSandbox(name="first", metadata=(("belay-force", "true"),))
        self.create("again", agent)

    def test_owners(self):
        agent = self.offer("owners")
        key = self.operator.CreateApiKey(name="limited", scopes=["openshell:all"])
        limited = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key.secret))
        self.quota("*", sandboxes=1)
        make = lambda shell: shell.CreateSandbox(spec=V.SandboxSpec(command=["true"]))
        make(limited)
        make(self.shell)
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: make(limited), f"key:{key.key.id}", "sandboxes")
        self.quota(f"key:{key.key.id}", sandboxes=2)  # an owner's own instead of that of all
        make(limited)
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: make(limited), "at most 2;")
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: make(self.shell), "user:local/0")

    def test_many_at_once_at_the_limit(self):
        agent = self.offer("race", cpus=64, memory_bytes=64 << 30, disk_bytes=64 << 30, sandboxes=64)
        self.quota(sandboxes=5)
        shells = [Service(self.server.local_channel(), OPENSHELL_SERVICE) for _ in range(4)]
        got = in_threads(16, lambda i: code_of(lambda: shells[i % 4].CreateSandbox(
            name=f"race-{i}", spec=V.SandboxSpec(command=["true"]))))
        self.assertEqual([Code.OK] * 5 + [Code.RESOURCE_EXHAUSTED] * 11, sorted((code for code, _ in got),
                                                                               key=lambda code: code.value[0]))
        self.assertEqual(5, self.server.database.number("SELECT COUNT(*) FROM sandbox"))


HOUR = 3_600_000_000


class Usage(SandboxCase):
    def setUp(self):
        super().setUp()
        self.used = type(self).used = getattr(type(self), "used", 0) + 1
        self.agent = self.offer(f"usage-{self.used}")
        self.id = self.ready(f"usage-{self.used}", self.agent).metadata.id
        self.sequence = 0

    def send(self, *rows, agent=None, kind="sandbox.usage"):
        self.sequence += 1
        events = [gateway.AgentEvent(time_us=int(time.time() * 1e6), kind=kind, device=self.id, usage=row) for row in rows]
        (agent or self.agent).base.upload([gateway.UploadEventsRequest(
            payload=gateway.EventBatch(events=events).SerializeToString(), captured_at=now(), sequence=self.sequence,
            format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)], events=True)

    def row(self, sequence, **fields):
        at = int(time.time() * 1e6)
        return gateway.SandboxUsage(**{"sandbox_id": self.id, "boot_id": "boot", "sequence": sequence, "from_us": at - 10,
                                       "until_us": at, "cpu_us": 5, **fields})

    def rows(self, columns="sequence, cpu_us"):
        return self.server.database.query(
            f"SELECT {columns} FROM sandbox_usage WHERE sandbox_id = '{self.id}' ORDER BY sequence")

    def refusals(self):
        return [event.text for event in self.operator.ListEvents(kind_prefix="sandbox.usage_refused", page_size=50).events
                if event.device == self.id]

    def test_a_row_is_a_row_once(self):
        self.send(self.row(1, cpu_us=10, memory_byte_seconds=20, memory_peak_bytes=30, read_bytes=40, written_bytes=50,
                           sent_bytes=60, received_bytes=70, disk_bytes=80, processes_peak=90), self.row(2))
        self.send(self.row(1, cpu_us=999), self.row(2, cpu_us=999), self.row(3, is_final=True))
        self.assertEqual([("1", "10"), ("2", "5"), ("3", "5")], self.rows())
        self.assertEqual([("20", "30", "40", "50", "60", "70", "80", "90", "0", "user:local/0")], self.rows(
            "memory_byte_seconds, memory_peak_bytes, read_bytes, written_bytes, sent_bytes, received_bytes, disk_bytes, "
            "processes_peak, is_final, owner")[:1])
        self.send(self.row(1, boot_id="the next boot", cpu_us=7))
        self.assertEqual(4, len(self.rows()))
        self.assertEqual(0, len([e for e in self.operator.ListEvents(kind_prefix="sandbox.usage").events
                                 if e.device == self.id]))

    def test_the_last_row_may_come_after_the_sandbox_is_gone(self):
        name = f"usage-{self.used}"
        self.shell.DeleteSandbox(name=name)
        self.agent.take("sandbox_delete", DELETED)
        self.gone(name)
        self.send(self.row(9, is_final=True))
        self.assertEqual([("9", "5")], self.rows())
        self.assertEqual([(name,)], self.server.database.query(
            f"SELECT name FROM usage_hour WHERE sandbox_id = '{self.id}'"))

    def test_an_agent_writes_of_its_own_sandboxes_alone(self):
        other = self.offer(f"usage-other-{self.used}")
        self.send(self.row(1), agent=other)
        self.assertEqual([], self.rows())
        self.assertEqual(["usage.sandbox_id: no sandbox of this agent"], self.refusals())
        self.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (8, 'eighth', 0)")
        foreign = SandboxAgent(self, "foreign", workspace="eighth")
        self.send(self.row(1), agent=foreign)
        self.send(self.row(2, sandbox_id="sbx_nothing"))
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox_usage WHERE sequence < 3 AND "
                                                        f"sandbox_id IN ('{self.id}', 'sbx_nothing')"))

    def test_bad_input_is_an_event_that_says_why_and_the_rest_is_stored(self):
        self.send(self.row(1, cpu_us=1 << 63), self.row(2), self.row(1 << 63))
        self.send(self.row(3), kind="sandbox.other")
        self.send(None)
        self.assertEqual([("2", "5")], self.rows())
        self.assertEqual({"usage.cpu_us: at most 9223372036854775807", "usage.sequence: at most 9223372036854775807",
                          "usage: only in an event of the kind sandbox.usage",
                          "usage: an event of the kind sandbox.usage needs it"}, set(self.refusals()))
        self.send(self.row(0), self.row(4))  # against the field's own rule: the record is kept as it came
        self.assertEqual([("2", "5")], self.rows())
        self.assertEqual(1, self.server.database.number(
            f"SELECT COUNT(*) FROM upload WHERE agent_id = {self.agent.base.id}"))

    def test_an_agents_clock_moves_nothing_out_of_the_sandboxs_life(self):
        at = int(time.time() * 1e6)
        self.send(self.row(1, from_us=0, until_us=1), self.row(2, from_us=at, until_us=at * 2),
                  self.row(3, from_us=at, until_us=at - 5), self.row(4, from_us=-1 << 62, until_us=(1 << 63) - 1))
        made = self.server.database.number(f"SELECT created_at FROM sandbox WHERE id = '{self.id}'")
        for since, until in self.rows("from_us, until_us"):
            self.assertLessEqual(made, int(since))
            self.assertLessEqual(int(since), int(until))
            self.assertLessEqual(int(until), int(time.time() * 1e6))

    def test_hours(self):
        made = int(time.time() * 1e6) - 5 * HOUR
        for table in ("sandbox", "sandbox_account"):
            key = "id" if table == "sandbox" else "sandbox_id"
            self.server.database.query(f"UPDATE {table} SET created_at = {made} WHERE {key} = '{self.id}'")
        hour = made - made % HOUR + HOUR
        big = (1 << 63) - 1
        self.send(self.row(1, from_us=hour + 1, until_us=hour + 1_000_000, cpu_us=10, memory_peak_bytes=3),
                  self.row(2, from_us=hour + 1_000_000, until_us=hour + HOUR, cpu_us=11, memory_peak_bytes=9),
                  self.row(3, from_us=hour + HOUR, until_us=hour + HOUR + 2_000_000, cpu_us=12, disk_bytes=100, is_final=True),
                  *(self.row(4 + i, from_us=hour + 2 * HOUR, until_us=hour + 2 * HOUR + 1, read_bytes=big) for i in range(3)))
        rows = self.server.database.query(
            "SELECT hour_us, cpu_us, memory_peak_bytes, disk_byte_seconds, readings, has_ended, read_bytes, owner "
            f"FROM usage_hour WHERE sandbox_id = '{self.id}' ORDER BY hour_us")
        self.assertEqual([(hour, 21, 9, 0, 2, 0), (hour + HOUR, 12, 0, 200, 1, 1), (hour + 2 * HOUR, 15, 0, 0, 3, 0)],
                         [tuple(int(float(value)) for value in row[:6]) for row in rows])
        self.assertGreater(float(rows[2][6]), 2.7e19)  # no sum is too large
        self.assertEqual("user:local/0", rows[0][7])


class Policies(SandboxCase):
    policy = staticmethod(Placement.policy)

    def test_revisions(self):
        agent = self.offer("policy")
        sandbox = self.ready("policy", agent, spec=V.SandboxSpec(policy=self.policy("one.example", 443)))
        first = self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id)
        self.assertEqual((1, "one.example"), (first.version, first.policy.network_policies["web"].endpoints[0].host))
        eventually(lambda: self.shell.GetSandboxPolicyStatus(name="policy").revision.status == V.POLICY_STATUS_LOADED, "1")
        same = self.shell.UpdateConfig(name="policy", policy=self.policy("one.example", 443))
        self.assertEqual((1, first.policy_hash), (same.version, same.policy_hash))
        second = self.shell.UpdateConfig(name="policy", policy=self.policy("two.example", 443))
        self.assertEqual(2, second.version)
        self.assertNotEqual(first.policy_hash, second.policy_hash)
        order = agent.take("sandbox_policy")
        self.assertEqual((2, "two.example"), (order.policy_version, order.policy.network_policies["web"].endpoints[0].host))
        agent.report(sandbox.metadata.id, READY, policy_version=2)
        eventually(lambda: self.shell.GetSandboxPolicyStatus(name="policy").active_version == 2, "2 is loaded")
        self.assertEqual([(2, V.POLICY_STATUS_LOADED), (1, V.POLICY_STATUS_SUPERSEDED)],
                         [(r.version, r.status) for r in self.shell.ListSandboxPolicies(name="policy").revisions])
        self.shell.UpdateConfig(name="policy", policy=self.policy("three.example", 443))
        agent.take("sandbox_policy")
        agent.report(sandbox.metadata.id, READY, policy_version=2, policy_failed_version=3, policy_error="no such thing")
        def failed():
            revision = self.shell.GetSandboxPolicyStatus(name="policy", version=3).revision
            return revision if revision.status == V.POLICY_STATUS_FAILED else None
        self.assertEqual("no such thing", eventually(failed, "3 has failed").load_error)
        standing = self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id)
        self.assertEqual((2, "two.example"), (standing.version, standing.policy.network_policies["web"].endpoints[0].host))
        same = self.shell.UpdateConfig(name="policy", policy=self.policy("two.example", 443))
        self.assertEqual((2, standing.policy_hash), (same.version, same.policy_hash))
        rule = policy_types.NetworkPolicyRule(endpoints=[policy_types.NetworkEndpoint(host="more.example", port=443)],
                                              binaries=[policy_types.NetworkBinary(path="/**")])
        merged = self.shell.UpdateConfig(name="policy", merge_operations=[
            V.PolicyMergeOperation(add_rule=V.AddNetworkRule(rule_name="more", rule=rule))])
        self.assertEqual(4, merged.version)  # numbers are not given twice
        rules = agent.take("sandbox_policy").policy.network_policies
        self.assertEqual(("two.example", "more.example"), tuple(rules[name].endpoints[0].host for name in ("web", "more")))

    def test_merges(self):
        agent = self.offer("merge")
        sandbox = self.ready("merge", agent, spec=V.SandboxSpec(policy=self.policy("one.example", 80, protocol="rest")))
        rule = policy_types.NetworkPolicyRule(endpoints=[policy_types.NetworkEndpoint(host="two.example", port=443)],
                                              binaries=[policy_types.NetworkBinary(path="/**")])
        deny = policy_types.L7DenyRule(method="DELETE", path="/**")
        self.shell.UpdateConfig(name="merge", merge_operations=[
            V.PolicyMergeOperation(add_rule=V.AddNetworkRule(rule_name="more", rule=rule)),
            V.PolicyMergeOperation(add_deny_rules=V.AddDenyRules(host="one.example", port=80, deny_rules=[deny]))])
        policy = self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id).policy
        self.assertEqual({"web", "more"}, set(policy.network_policies))
        self.assertEqual("DELETE", policy.network_policies["web"].endpoints[0].deny_rules[0].method)
        self.shell.UpdateConfig(name="merge", merge_operations=[
            V.PolicyMergeOperation(remove_rule=V.RemoveNetworkRule(rule_name="web"))])
        self.assertEqual({"more"}, set(self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id).policy.network_policies))
        self.refused(Code.NOT_FOUND, lambda: self.shell.UpdateConfig(name="merge", merge_operations=[
            V.PolicyMergeOperation(remove_endpoint=V.RemoveNetworkEndpoint(host="none.example", port=1))]), "none.example")

    def test_each_merge_operation(self):
        sandbox = self.ready("each", self.offer("each"), spec=V.SandboxSpec(policy=self.policy("one.example", 80, protocol="rest")))

        def merged(**operation):
            self.shell.UpdateConfig(name="each", merge_operations=[V.PolicyMergeOperation(**operation)])
            return dict(self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id).policy.network_policies)

        def refused(code, text, **operation):
            before = self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id)
            self.refused(code, lambda: merged(**operation), text)
            self.assertEqual(before, self.shell.GetSandboxConfig(sandbox_id=sandbox.metadata.id))

        more = policy_types.NetworkPolicyRule(
            endpoints=[policy_types.NetworkEndpoint(host="two.example", ports=[443, 8443])],
            binaries=[policy_types.NetworkBinary(path="/**")])
        web = merged(add_rule=V.AddNetworkRule(rule_name="web", rule=more))["web"]  # a rule that is there grows
        self.assertEqual((["one.example", "two.example"], ["/**", "/**"]),
                         ([e.host for e in web.endpoints], [b.path for b in web.binaries]))
        allow = policy_types.L7Rule(allow=policy_types.L7Allow(method="POST", path="/in/**"))
        web = merged(add_allow_rules=V.AddAllowRules(host="ONE.example", port=80, rules=[allow]))["web"]
        self.assertEqual(("POST", "/in/**"), (web.endpoints[0].rules[-1].allow.method, web.endpoints[0].rules[-1].allow.path))
        self.assertFalse(web.endpoints[1].rules)
        web = merged(remove_binary=V.RemoveNetworkBinary(rule_name="web", binary_path="/**"))["web"]
        self.assertEqual(["/**"], [b.path for b in web.binaries])
        refused(Code.NOT_FOUND, "two.example:80", remove_endpoint=V.RemoveNetworkEndpoint(host="two.example", port=80))
        web = merged(remove_endpoint=V.RemoveNetworkEndpoint(host="two.example", port=8443))["web"]
        self.assertEqual(["one.example"], [e.host for e in web.endpoints])
        refused(Code.NOT_FOUND, "no rule", remove_rule=V.RemoveNetworkRule(rule_name="none"))
        refused(Code.NOT_FOUND, "no binary", remove_binary=V.RemoveNetworkBinary(rule_name="web", binary_path="/bin/no"))
        refused(Code.NOT_FOUND, "no endpoint", add_allow_rules=V.AddAllowRules(host="no.example", port=80, rules=[allow]))
        refused(Code.INVALID_ARGUMENT, "needs a name", add_rule=V.AddNetworkRule(rule=more))
        refused(Code.INVALID_ARGUMENT, "one of the operations is required")

    def test_refusals(self):
        agent = self.offer("refusals")
        self.ready("fixed", agent)
        fixed = policy_types.SandboxPolicy(filesystem=policy_types.FilesystemPolicy(read_write=["/data"]))
        self.refused(Code.INVALID_ARGUMENT, lambda: self.shell.UpdateConfig(name="fixed", policy=fixed), "filesystem")
        self.refused(Code.INVALID_ARGUMENT, lambda: self.shell.UpdateConfig(name="fixed"), "merge_operations")
        self.refused(Code.UNIMPLEMENTED, lambda: self.shell.UpdateConfig(setting_key="log_level", **{"global": True}))
        self.refused(Code.ABORTED, lambda: self.shell.UpdateConfig(
            name="fixed", policy=self.policy("a.example", 1), expected_resource_version=999), "resource_version")

    def test_forward_tokens(self):
        agent = self.offer("tokens")
        sandbox = self.ready("tokens", agent)
        session = self.shell.CreateSshSession(sandbox_id=sandbox.metadata.id)
        self.assertTrue(session.token.startswith("blf_"))
        self.assertTrue(self.shell.RevokeSshSession(token=session.token).revoked)
        self.assertFalse(self.shell.RevokeSshSession(token=session.token).revoked)


class Relays(SandboxCase):
    def setUp(self):
        super().setUp()
        self.agent = self.offer("relay")
        self.sandbox = self.ready("relay", self.agent)
        self.id = self.sandbox.metadata.id

    def test_a_command_with_its_input_and_its_exit(self):
        given = os.urandom(200000)
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["cat", "-"], workdir="/tmp", environment={"A": "1"},
                                        stdin=given, timeout_seconds=9)
        order, stream = self.agent.relay()
        self.assertEqual((self.id, ["cat", "-"], "/tmp", {"A": "1"}, 9, False, "user:local/0"),
                         (order.sandbox_id, list(order.exec.command), order.exec.workdir, dict(order.exec.environment),
                          order.exec.timeout_seconds, order.exec.tty, order.actor))
        got = b""
        while True:
            message = stream.receive()
            if message.WhichOneof("frame") == "end":
                break
            got += message.data
        self.assertEqual(given, got)
        stream.send(frame(data=b"out"))
        stream.send(frame(errors=b"err"))
        stream.send(frame(exit=gateway.RelayExit(exit_code=3)))
        got = list(events)
        self.assertEqual(["stdout", "stderr", "exit"], [event.WhichOneof("payload") for event in got])
        self.assertEqual((b"out", b"err", 3), (got[0].stdout.data, got[1].stderr.data, got[2].exit.exit_code))
        self.assertIn("openshell.v1.OpenShell/ExecSandbox",
                      [record.action for record in self.operator.ListAuditRecords(page_size=5).records])

    def test_orders_of_relays_that_are_over_do_not_pile_up(self):
        for number in range(8):
            events = self.shell.ExecSandbox(sandbox_id=self.id, command=["true"])
            _, stream = self.agent.relay()
            stream.send(frame(exit=gateway.RelayExit(exit_code=number)))
            self.assertEqual(number, list(events)[-1].exit.exit_code)
        self.assertLessEqual(self.server.database.number("SELECT count(*) FROM relay"), 3)

    def test_the_order_is_signed_by_the_key_of_the_enrollment(self):
        key = ed25519.Ed25519PublicKey.from_public_bytes(self.agent.registered.command_pubkey)
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["true"])
        order, stream = self.agent.relay()
        payload = gateway.ControlRelayOpen(sandbox_id=order.sandbox_id, exec=order.exec).SerializeToString()
        expires = order.expires_at.seconds * 1000000 + order.expires_at.nanos // 1000
        parts = [b"belay.command.v1", self.agent.registered.server_id.encode(), str(self.agent.base.id).encode(), b"0",
                 order.relay_id.encode(), order.actor.encode(), b"0", str(expires).encode(),
                 hashlib.sha512(payload).digest()]
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        key.verify(order.signature, message)
        events.cancel()
        stream.cancel()

    def test_interactive(self):
        inputs = queue.Queue()
        events = self.shell.ExecSandboxInteractive(iter(inputs.get, None))
        inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(sandbox_id=self.id, command=["sh"], tty=True)))
        order, stream = self.agent.relay()
        self.assertEqual((True, 80, 24), (order.exec.tty, order.exec.columns, order.exec.rows))
        inputs.put(V.ExecSandboxInput(stdin=b"ls"))
        self.assertEqual(b"ls", stream.receive().data)
        inputs.put(V.ExecSandboxInput(resize=V.ExecSandboxWindowResize(cols=100, rows=30)))
        resize = stream.receive().resize
        self.assertEqual((100, 30), (resize.columns, resize.rows))
        stream.send(frame(data=b"answer"))
        self.assertEqual(b"answer", next(events).stdout.data)
        inputs.put(None)
        self.assertEqual("end", stream.receive().WhichOneof("frame"))
        stream.send(frame(exit=gateway.RelayExit(exit_code=0)))
        self.assertEqual(["exit"], [event.WhichOneof("payload") for event in events])

    def test_a_reader_that_stops_stops_the_agent_and_not_the_server(self):
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["yes"])
        _, stream = self.agent.relay(depth=2)
        piece, total = os.urandom(1 << 16), 1 << 26
        sent = threading.Event()
        done = []

        def pour():
            for _ in range(total // len(piece)):
                stream.send(frame(data=piece))
                done.append(1)
            stream.send(frame(exit=gateway.RelayExit(exit_code=0)))
            sent.set()
        threading.Thread(target=pour, daemon=True).start()
        self.assertLess(self.standstill(done) * len(piece), total // 2)  # nobody reads yet: the pouring has stopped
        got = 0
        for event in events:
            got += len(event.stdout.data)
        self.assertEqual(total, got)
        self.assertTrue(sent.wait(TIMEOUT))

    @staticmethod
    def standstill(done):
        """How many there are once there are no more for half a second."""
        seen = -1
        while seen != len(done):
            seen = len(done)
            time.sleep(0.5)
        return seen

    def test_an_agent_with_a_window_gets_no_more_input_than_it_takes(self):
        given = os.urandom(1 << 20)
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["cat"], stdin=given[:-4096])
        _, stream = self.agent.relay(input_window=100000)
        got = []

        def gather():
            while not got or got[-1].WhichOneof("frame") != "end":
                got.append(stream.receive())
        threading.Thread(target=gather, daemon=True).start()
        total = lambda: sum(len(one.data) for one in got)
        self.standstill(got)
        self.assertTrue(0 < total() <= 100000, total())
        while got[-1].WhichOneof("frame") != "end":
            stream.send(frame(taken=total()))
            time.sleep(0.005)
        self.assertEqual(given[:-4096], b"".join(one.data for one in got))
        events.cancel()
        for taken, window in ((1, 100000), (1, 0)):
            events = self.shell.ExecSandbox(sandbox_id=self.id, command=["cat"])
            _, stream = self.agent.relay(input_window=window)
            stream.send(frame(taken=taken))
            self.assertEqual(Code.INVALID_ARGUMENT, stream.end()[0])
            events.cancel()

    def test_small_pieces_go_on_together_and_of_a_terminals_sizes_the_newest(self):
        """What waits for an agent is bounded as memory, however small and many its pieces are."""
        count = 4000
        inputs = queue.Queue()
        events = self.shell.ExecSandboxInteractive(iter(inputs.get, None))
        inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(sandbox_id=self.id, command=["sh"], tty=True)))
        _, stream = self.agent.relay(input_window=1)
        for i in range(count):
            inputs.put(V.ExecSandboxInput(stdin=b"%c" % (i % 251)))
            inputs.put(V.ExecSandboxInput(stdin=b""))
            inputs.put(V.ExecSandboxInput(resize=V.ExecSandboxWindowResize(cols=1 + i, rows=30)))
        inputs.put(None)
        eventually(inputs.empty, "all is on its way")
        time.sleep(1)  # and most of it there: the agent has taken nothing yet
        data, sizes, message = [], [], stream.receive()
        while message.WhichOneof("frame") != "end":
            if message.WhichOneof("frame") == "resize":
                sizes.append(message.resize.columns)
            else:
                data.append(message.data)
                stream.send(frame(taken=sum(map(len, data))))
            message = stream.receive()
        self.assertEqual(bytes(i % 251 for i in range(count)), b"".join(data))
        self.assertEqual((sorted(sizes), count), (sizes, sizes[-1]))
        self.assertLess(len(data), count // 2)
        events.cancel()

    def test_large_orders_all_arrive_and_the_command_behind_them(self):
        """More of them at once than the stream's queue holds."""
        agent = self.offer("slow")
        sandbox = self.ready("slow", agent)
        large = ["a"] + ["x" * 32000] * 20
        events = [self.shell.ExecSandbox(sandbox_id=sandbox.metadata.id, command=large) for _ in range(12)]
        asked = f"SELECT COUNT(*) FROM relay WHERE agent_id = {agent.base.id}"
        eventually(lambda: self.server.database.number(asked) == 12, "all are asked for")
        self.shell.StopSandbox(name="slow")
        orders, kinds = set(), []
        while len(orders) < 12 or "command" not in kinds:
            message = agent.control.receive()
            kinds.append(message.WhichOneof("message"))
            if kinds[-1] == "relay_open":
                orders.add(message.relay_open.relay_id)
                self.assertEqual(large, list(message.relay_open.exec.command))
        self.assertEqual(12, kinds.count("relay_open"))
        for one in events:
            one.cancel()

    def test_refused_relays_are_in_the_trail(self):
        token = self.shell.CreateSshSession(sandbox_id=self.id).token
        key = self.operator.CreateApiKey(name="writer", scopes=["sandbox:write"])
        keyed = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key.secret))

        def forward(**fields):
            return next(keyed.ForwardTcp(iter([V.TcpForwardFrame(init=V.TcpForwardInit(
                sandbox_id=self.id, tcp=V.TcpRelayTarget(host="localhost", port=8080), **fields))])))
        self.refused(Code.PERMISSION_DENIED, lambda: forward(authorization_token="blf_" + "0" * 40), "not a token")
        self.refused(Code.NOT_FOUND, lambda: next(keyed.ExecSandbox(sandbox_id="sbx_none", command=["a"])), "not found")
        self.refused(Code.INVALID_ARGUMENT, lambda: next(keyed.ExecSandbox(sandbox_id=self.id, command=[""])), "command")
        trail = [(one.action.split("/")[1], one.target, one.decision)
                 for one in self.operator.ListAuditRecords(page_size=50).records if one.actor == f"key:{key.key.id}"]
        self.assertEqual({("ForwardTcp", f"sandbox/{self.id}", "denied"), ("ExecSandbox", "sandbox/sbx_none", "failed"),
                          ("ExecSandbox", f"sandbox/{self.id}", "failed")}, set(trail))
        self.assertNotIn(token, str(trail))

    def test_a_forward_ends_with_its_token(self):
        token = self.shell.CreateSshSession(sandbox_id=self.id).token
        inputs = queue.Queue()
        frames = self.shell.ForwardTcp(iter(inputs.get, None))
        inputs.put(V.TcpForwardFrame(init=V.TcpForwardInit(
            sandbox_id=self.id, tcp=V.TcpRelayTarget(host="localhost", port=8080), authorization_token=token)))
        _, stream = self.agent.relay()
        stream.send(frame(data=b"here"))
        self.assertEqual(b"here", next(frames).data)
        self.assertTrue(self.shell.RevokeSshSession(token=token).revoked)
        self.refused(Code.PERMISSION_DENIED, lambda: next(frames), "revoked")
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        inputs.put(None)

    def test_an_operator_who_goes_is_seen_though_input_waits(self):
        inputs = queue.Queue()
        events = self.shell.ExecSandboxInteractive(iter(inputs.get, None))
        inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(sandbox_id=self.id, command=["sleep"])))
        for _ in range(64):
            inputs.put(V.ExecSandboxInput(stdin=bytes(1 << 16)))
        _, stream = self.agent.relay(input_window=1 << 16)
        self.assertEqual(1 << 16, len(stream.receive().data))
        events.cancel()
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        inputs.put(None)

    def test_either_side_may_go(self):
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"])
        _, stream = self.agent.relay()
        self.assertEqual("end", stream.receive().WhichOneof("frame"))  # of the input: both are there
        events.cancel()
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"])
        _, stream = self.agent.relay()
        stream.send(frame(data=b"half"))
        self.assertEqual(b"half", next(events).stdout.data)
        stream.cancel()
        self.refused(Code.UNAVAILABLE, lambda: next(events), "went away")

    def test_a_command_that_is_not_ended_in_time_exits_with_124_whatever_the_agent_does(self):
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"], timeout_seconds=1)
        order, stream = self.agent.relay()
        self.assertEqual(1, order.exec.timeout_seconds)
        stream.send(frame(data=b"half"))
        got = list(events)
        self.assertEqual([b"half", 124], [got[0].stdout.data, got[1].exit.exit_code])
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"], timeout_seconds=1)
        _, stream = self.agent.relay()
        stream.send(frame(exit=gateway.RelayExit(exit_code=124)))  # the agent says it itself: once is enough
        self.assertEqual([124], [event.exit.exit_code for event in events])

    def test_the_callers_own_deadline_ends_it(self):
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"], timeout=1)
        _, stream = self.agent.relay()
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        self.refused(Code.DEADLINE_EXCEEDED, lambda: next(events))

    def test_it_ends_with_the_right_to_it(self):
        key = self.operator.CreateApiKey(name="short", scopes=["sandbox:write"])
        keyed = Service(self.server.channel(), OPENSHELL_SERVICE, bearer(key.secret))
        events = keyed.ExecSandbox(sandbox_id=self.id, command=["sleep"])
        _, stream = self.agent.relay()
        self.operator.RevokeApiKey(id=key.key.id)
        self.assertEqual(Code.CANCELLED, stream.end()[0])
        self.refused(Code.UNAUTHENTICATED, lambda: next(events))

    def test_it_ends_with_the_sandbox(self):
        """The agent ends what runs in a sandbox that stops; a new one is refused by its phase."""
        self.shell.StopSandbox(name="relay")
        self.refused(Code.FAILED_PRECONDITION, lambda: next(self.shell.ExecSandbox(sandbox_id=self.id, command=["a"])),
                     "stopping")
        self.agent.take("sandbox_stop", STOPPED)
        self.phase("relay", V.SANDBOX_PHASE_STOPPED)
        for call in (lambda: next(self.shell.ExecSandbox(sandbox_id=self.id, command=["a"])),
                     lambda: self.shell.CreateSshSession(sandbox_id=self.id)):
            self.refused(Code.FAILED_PRECONDITION, call, "stopped")

    def test_the_agent_says_no(self):
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"])
        _, stream = self.agent.relay()
        stream.send(frame(failure=gateway.RelayFailure(code=gateway.ACK_CODE_BUSY, message="64 execs run already")))
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: next(events), "64 execs")

    def test_refusals(self):
        for word, code, fields in (
                ("command", Code.INVALID_ARGUMENT, {"command": []}),
                ("command", Code.INVALID_ARGUMENT, {"command": [""]}),
                ("workdir", Code.INVALID_ARGUMENT, {"command": ["a"], "workdir": "tmp"}),
                ("workdir", Code.INVALID_ARGUMENT, {"command": ["a"], "workdir": "/" + "x" * 4096}),
                ("command", Code.INVALID_ARGUMENT, {"command": ["a"] * 1025}),
                ("command", Code.INVALID_ARGUMENT, {"command": ["a", "x" * 32769]}),
                ("reserved", Code.INVALID_ARGUMENT, {"command": ["a"], "environment": {"OPENSHELL_A": ""}}),
                ("128", Code.INVALID_ARGUMENT, {"command": ["a"], "environment": {f"A{i}": "" for i in range(129)}}),
                ("256", Code.INVALID_ARGUMENT, {"command": ["a"], "environment": {"A" * 257: ""}}),
                ("8192", Code.INVALID_ARGUMENT, {"command": ["a"], "environment": {"A": "x" * 8193}}),
                ("262144", Code.INVALID_ARGUMENT, {"command": ["a"], "environment": {f"A{i}": "x" * 8190 for i in range(33)}}),
                ("65535", Code.INVALID_ARGUMENT, {"command": ["a"], "tty": True, "cols": 65536}),
                ("", Code.RESOURCE_EXHAUSTED, {"command": ["a"], "stdin": b"x" * (1 << 20)}),  # a message of over 1 MiB
                ("not found", Code.NOT_FOUND, {"command": ["a"], "sandbox_id": "sbx_none"})):
            request = {"sandbox_id": self.id, **fields}
            self.refused(code, lambda r=request: next(self.shell.ExecSandbox(**r)), word)
        self.create("young", self.agent)
        young = self.shell.GetSandbox(name="young").sandbox.metadata.id
        self.refused(Code.FAILED_PRECONDITION, lambda: next(self.shell.ExecSandbox(sandbox_id=young, command=["a"])),
                     "provisioning")
        self.refused(Code.INVALID_ARGUMENT, lambda: next(self.shell.ExecSandboxInteractive(V.ExecSandboxInput(stdin=b"x"))),
                     "start")

    def test_a_relay_is_its_own_agents_alone(self):
        other = self.offer("thief")
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sleep"])
        while True:
            message = self.agent.control.receive()
            if message.WhichOneof("message") == "relay_open":
                break
        for credentials, relay in ((other.base.credentials, message.relay_open.relay_id),
                                   (self.agent.base.credentials, "rly_" + "0" * 26)):
            stream = Stream(other.base.channel, GATEWAY + "RelayStream", credentials, gateway.RelayFrame)
            stream.send(frame(init=gateway.RelayInit(relay_id=relay)))
            self.assertEqual(Code.NOT_FOUND, stream.end()[0])
        events.cancel()

    def test_forwards(self):
        token = self.shell.CreateSshSession(sandbox_id=self.id).token
        inputs = queue.Queue()

        def init(**fields):
            return V.TcpForwardFrame(init=V.TcpForwardInit(**{
                "sandbox_id": self.id, "tcp": V.TcpRelayTarget(host="localhost", port=8080),
                "authorization_token": token, **fields}))
        frames = self.shell.ForwardTcp(iter(inputs.get, None))
        inputs.put(init())
        order, stream = self.agent.relay()
        self.assertEqual(8080, order.tcp.port)
        inputs.put(V.TcpForwardFrame(data=b"GET /"))
        self.assertEqual(b"GET /", stream.receive().data)
        stream.send(frame(data=b"200"))
        self.assertEqual(b"200", next(frames).data)
        stream.send(frame(end=gateway.RelayEnd()))
        self.assertEqual([], list(frames))
        inputs.put(None)
        for word, code, fields in (
                ("loopback", Code.INVALID_ARGUMENT, {"tcp": V.TcpRelayTarget(host="10.0.0.1", port=1)}),
                ("port", Code.INVALID_ARGUMENT, {"tcp": V.TcpRelayTarget(host="", port=0)}),
                ("token", Code.PERMISSION_DENIED, {"authorization_token": "blf_wrong"}),
                ("tcp", Code.UNIMPLEMENTED, {"tcp": None, "ssh": V.SshRelayTarget()})):
            self.refused(code, lambda f=fields: next(self.shell.ForwardTcp(init(**f))), word)


if __name__ == "__main__":
    main()
