#!/usr/bin/python3
"""Sandboxes from end to end: openshell.v1.OpenShell on the real server, the real agent, real sandboxes."""
import shutil
import signal

from harness import *

V = openshell
UID_BASE = 1950000000 // 65536 * 65536  # away from other tests' and from the default


class RealSandboxCase(ServerCase):
    """One server, one agent as root, its sandboxes native."""
    agent_options = ("--sandboxes", "on", "--sandbox-uid-base", str(UID_BASE), "--sandbox-disk", "64GiB")

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("the native driver needs root")
        super().setUpClass()
        cls.shell = Service(cls.server.local_channel(), OPENSHELL_SERVICE)
        cls.host = RealAgent(cls.server, "host")
        cls.host.enroll(cls.operator)
        cls.host.start(*cls.agent_options)
        cls.online()

    @classmethod
    def tearDownClass(cls):
        for sandbox in cls.shell.ListSandboxes(limit=1000).sandboxes:
            cls.shell.DeleteSandbox(name=sandbox.metadata.name)
        try:
            eventually(lambda: not cls.shell.ListSandboxes(limit=1000).sandboxes, "every sandbox is gone")
            eventually(lambda: not os.listdir(cls.folder()), "nothing of them is left")
        finally:
            cls.host.close()
            super().tearDownClass()

    @classmethod
    def online(cls):
        eventually(lambda: (cls.host.status() or {}).get("link", {}).get("online"), "the agent is online")

    @classmethod
    def folder(cls, *parts):
        return os.path.join(cls.host.state, "sandboxes", "run", *parts)

    def create(self, name, *command, policy=None, **fields):
        spec = V.SandboxSpec(command=list(command), policy=policy, **fields)
        return self.shell.CreateSandbox(name=name, spec=spec).sandbox

    def phase(self, name, phase):
        def look():
            sandbox = self.shell.GetSandbox(name=name).sandbox
            return sandbox if sandbox.status.phase == phase else None
        return eventually(look, f"{name} is {V.SandboxPhase.Name(phase)}")

    def ready(self, name, *command, **fields):
        self.create(name, *command, **fields)
        return self.phase(name, V.SANDBOX_PHASE_READY)

    def gone(self, name):
        eventually(lambda: code_of(lambda: self.shell.GetSandbox(name=name))[0] == Code.NOT_FOUND, f"{name} is gone")

    def lines(self, sandbox):
        return [line.message for line in self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id).logs]


class Life(RealSandboxCase):
    def test_from_creation_to_end(self):
        sandbox = self.ready("whole", "sh", "-c", "echo hello; echo oops >&2; cat")
        eventually(lambda: {"hello", "oops"} <= set(self.lines(sandbox)), "its lines are here")
        self.shell.StopSandbox(name="whole")
        self.phase("whole", V.SANDBOX_PHASE_STOPPED)
        self.shell.StartSandbox(name="whole")
        again = self.phase("whole", V.SANDBOX_PHASE_READY)
        self.assertEqual("run-2", again.status.main_process_instance_id)
        self.shell.DeleteSandbox(name="whole")
        self.gone("whole")
        eventually(lambda: not os.path.exists(self.folder(sandbox.metadata.id)), "its folder is gone")


if __name__ == "__main__":
    main()
