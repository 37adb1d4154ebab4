#!/usr/bin/python3
"""Sandboxes from end to end: openshell.v1.OpenShell on the real server, the real agent, real sandboxes."""
import signal

from chaos.pages import FaultPage
from harness import *

V = openshell
COUNTER = 'i=0; while [ $i -lt 40 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done; exit 5'


class RealSandboxCase(ServerCase):
    """One server, one agent as root, its sandboxes native."""
    agent_options = ("--sandboxes", "on", "--sandbox-cpu", "64000",
                     "--sandbox-memory", "64GiB", "--sandbox-disk", "256GiB")

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("the native driver needs root")
        super().setUpClass()
        cls.shell = Service(cls.server.local_channel(), OPENSHELL_SERVICE)
        cls.host = RealAgent(cls.server, "host")
        cls.fault = FaultPage(os.path.join(cls.host.directory, "fault"))
        cls.host.enroll(cls.operator)
        cls.prepare()
        cls.start()

    @classmethod
    def prepare(cls):
        """Between enrolling and the first start."""

    @classmethod
    def command(cls):
        return [os.path.join(BIN, "belay-agent")]

    @classmethod
    def tearDownClass(cls):
        try:
            cls.fault.disarm()
            if not cls.host.is_running():
                cls.start()
            for sandbox in cls.shell.ListSandboxes(limit=1000).sandboxes:
                code_of(lambda name=sandbox.metadata.name: cls.shell.DeleteSandbox(name=name))  # it may be on its way out
            eventually(lambda: not cls.shell.ListSandboxes(limit=1000).sandboxes, "every sandbox is gone")
            eventually(lambda: not os.listdir(cls.folder()), "nothing of them is left")
        finally:
            cls.host.close()
            super().tearDownClass()

    @classmethod
    def start(cls):
        cls.host.spawn([*cls.command(), "run", "--state-dir", cls.host.state, "--spool-delay", "0s",
                        *cls.agent_options], BELAY_FAULT_PAGE=cls.fault.path)
        eventually(lambda: (cls.host.status() or {}).get("link", {}).get("online"), "the agent is online")

    def setUp(self):
        if not self.host.is_running():
            self.start()

    @classmethod
    def folder(cls, *parts):
        return os.path.join(cls.host.state, "sandboxes", "run", *parts)

    def record(self, sandbox, name):
        with open(self.folder(sandbox.metadata.id, name), encoding="utf-8") as file:
            return json.load(file)

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

    def failed(self, name, reason):
        sandbox = self.phase(name, V.SANDBOX_PHASE_ERROR)
        self.assertEqual(reason, sandbox.status.conditions[0].reason)
        return sandbox

    def gone(self, name):
        eventually(lambda: code_of(lambda: self.shell.GetSandbox(name=name))[0] == Code.NOT_FOUND, f"{name} is gone")

    def no_folder(self, sandbox):
        eventually(lambda: not os.path.exists(self.folder(sandbox.metadata.id)), "its folder is gone")

    def lines(self, sandbox):
        return [line.message for line in self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id, lines=2000, sources=["sandbox"]).logs]

    def says(self, sandbox, *wanted):
        eventually(lambda: set(wanted) <= set(self.lines(sandbox)), f"it said {wanted}")


class Life(RealSandboxCase):
    def test_from_creation_to_end(self):
        sandbox = self.ready("whole", "sh", "-c", "echo hello $A $BELAY_SANDBOX_NAME; echo oops >&2; echo x >>n; cat n; exec cat",
                             environment={"A": "there"})
        self.says(sandbox, "hello there whole", "oops", "x")
        logs = {line.message: line for line in self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id).logs}
        self.assertEqual(("stdout", "INFO"), (logs["x"].target, logs["x"].level))
        self.assertEqual("stderr", logs["oops"].target)
        self.shell.StopSandbox(name="whole")
        self.phase("whole", V.SANDBOX_PHASE_STOPPED)
        self.shell.StartSandbox(name="whole")
        again = self.phase("whole", V.SANDBOX_PHASE_READY)
        self.assertEqual("run-2", again.status.main_process_instance_id)
        eventually(lambda: self.lines(sandbox).count("x") == 3, "the workspace was kept")
        self.shell.DeleteSandbox(name="whole")
        self.gone("whole")
        self.no_folder(sandbox)

    def test_no_key_token_or_spool_of_the_agent_is_to_be_had_inside(self):
        """The number of every readable file but the host's programs, and the words of every process: item 65."""
        script = """if True:
            import glob, os, sys
            skip = {'/proc', '/sys', '/usr', '/dev'}
            for folder, folders, files in os.walk(sys.argv[1]):
                folders[:] = [one for one in folders if os.path.join(folder, one) not in skip]
                for path in (os.path.join(folder, one) for one in files):
                    if os.path.isfile(path) and os.access(path, os.R_OK):
                        print('file', os.stat(path).st_dev, os.stat(path).st_ino)
            for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):
                try:
                    for word in open(path, 'rb').read().split(b'\\0'):
                        print('word', word[:200].decode(errors='replace').replace('\\n', ' '))
                except OSError:
                    pass
            print('looked')
            """
        paths = {name: os.path.join(self.host.state, name) for name in os.listdir(self.host.state)}
        secrets = {f"file {status.st_dev} {status.st_ino}" for path in paths.values() if os.path.isfile(path) for status in [os.stat(path)]}
        self.assertTrue(any("key" in name for name in paths) and any("spool" in name for name in paths), paths)
        outside = subprocess.run(["/usr/bin/python3", "-c", script, self.host.state], capture_output=True, timeout=60,
                                 check=True, text=True).stdout.splitlines()
        self.assertLessEqual(secrets, set(outside), "the same look finds them all from outside")
        self.assertIn(f"word {self.host.state}", outside)
        sandbox = self.ready("looks", "sh", "-c", "python3 -c \"$SCRIPT\" / > found; cat found; exec sleep 600",
                             environment={"SCRIPT": script})
        self.says(sandbox, "looked")
        inside = self.lines(sandbox)
        self.assertFalse(secrets & set(inside))
        self.assertFalse([line for line in inside if self.host.state in line])
        self.assertTrue([line for line in inside if line.startswith("file ")], "it reads what it may")
        self.assertIn("word BELAY_SANDBOX_NAME=looks", inside)
        self.shell.DeleteSandbox(name="looks")
        self.gone("looks")

    def image(self, *args, **options):
        run = subprocess.run([os.path.join(BIN, "belay-agent"), "image", args[0], "--state-dir", self.host.state, *args[1:]],
                             capture_output=True, timeout=60, check=False, **options)
        self.assertEqual(0, run.returncode, run.stderr)

    def create_from_image(self, name):
        spec = V.SandboxSpec(command=["/no/such/program"], template=V.SandboxTemplate(image=name))
        return code_of(lambda: self.shell.CreateSandbox(name="of-" + name, spec=spec))

    def offered(self, name):
        code, _ = self.create_from_image(name)
        if code == Code.OK:
            self.shell.DeleteSandbox(name="of-" + name)
            self.gone("of-" + name)
        return code == Code.OK

    def test_an_image_that_comes_while_the_agent_runs_is_offered(self):
        code, text = self.create_from_image("late")
        self.assertEqual(Code.FAILED_PRECONDITION, code, text)
        self.assertIn("without the image", text)
        self.image("import", "late", "-", input=subprocess.run(
            ["tar", "-C", "/", "-c", "etc/hostname"], capture_output=True, check=True).stdout)
        eventually(lambda: self.offered("late"), "the image is offered")
        self.image("remove", "late")
        eventually(lambda: not self.offered("late"), "the image is offered no more")

    def test_how_it_ends_is_told_apart(self):
        self.create("seven", "sh", "-c", "printf 'last words'; exit 7")
        self.create("killed", "sh", "-c", "kill -9 $$")
        self.create("nothing", "/no/such/program")
        seven = self.failed("seven", "MainProcessExited")
        self.assertEqual(7, seven.status.exit_code)
        self.says(seven, "last words")
        self.assertEqual(137, self.failed("killed", "MainProcessExited").status.exit_code)
        nothing = self.failed("nothing", "StartFailed")
        self.assertIn("could not be started", nothing.status.conditions[0].message)
        self.assertFalse(nothing.status.HasField("exit_code"))

    def test_what_fails_is_started_again_with_its_workspace(self):
        self.shell.CreateSandbox(name="crashes", annotations={"belay.dev/restart": "on-failure"}, spec=V.SandboxSpec(
            command=["sh", "-c", "echo x >>runs; [ $(wc -l <runs) -lt 3 ] && exit 9; exec sleep 1000"]))
        def is_up():
            status = self.shell.GetSandbox(name="crashes").sandbox.status
            return status if status.main_process_instance_id == "run-3" and status.phase == V.SANDBOX_PHASE_READY else None
        status = eventually(is_up, "its third run is ready")
        self.assertEqual("restarts: 2; its last run ended with exit code 9", status.conditions[0].message)
        self.assertFalse(status.HasField("exit_code"))
        told = eventually(lambda: list(self.operator.ListEvents(agent="host", kind_prefix="sandbox.restart").events), "events")
        self.assertEqual([("1", "9"), ("2", "9")],
                         sorted((e.attributes["restart"], e.attributes["exit_code"]) for e in told))

    def test_a_terminal_and_a_shell(self):
        sandbox = self.ready("shell")  # no command: a login shell on a terminal
        self.assertEqual(["/bin/sh", "-l"], self.arguments(sandbox))
        self.shell.StopSandbox(name="shell")
        self.phase("shell", V.SANDBOX_PHASE_STOPPED)
        # It does not hear SIGTERM; were it not for the other, it would be killed when the grace is over.
        self.assertEqual(signal.SIGHUP, self.record(sandbox, "exit.json")["status"] & 0x7f)

    def arguments(self, sandbox):
        """What runs as the main program, looked at from the host."""
        init = self.record(sandbox, "state.json")["init_pid"]
        def look():
            with open(f"/proc/{init}/task/{init}/children", encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/cmdline", "rb") as file:
                    return file.read().decode().split("\0")[:-1]
            return None
        return eventually(look, "a main program")

    def test_what_it_used_becomes_rows_of_its_own(self):
        sandbox = self.ready("used", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec cat")
        self.shell.StopSandbox(name="used")
        self.phase("used", V.SANDBOX_PHASE_STOPPED)
        rows = eventually(lambda: self.server.database.query(
            "SELECT boot_id, until_us - from_us, cpu_us, memory_peak_bytes, processes_peak, is_final FROM sandbox_usage "
            f"WHERE sandbox_id = '{sandbox.metadata.id}'"), "its figures are here")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            self.assertEqual(file.read().strip(), rows[0][0])
        self.assertEqual(1, len(rows))
        self.assertTrue(all(int(figure) > 0 for figure in rows[0][1:]), rows)

    def test_limits_reach_the_control_groups(self):
        template = V.SandboxTemplate()
        template.resources.update({"limits": {"memory": "64Mi", "ephemeral-storage": "32Mi"}})
        sandbox = self.ready("limits", "sh", "-c", "head -c 40M /dev/zero >/sandbox/big; ls -s /sandbox/big; exec cat",
                             template=template)
        said = eventually(lambda: [line for line in self.lines(sandbox) if "/sandbox/big" in line], "it tried")
        self.assertTrue(all(int(line.split()[0]) < 33 << 10 for line in said if line[0].isdigit()), said)

    def test_a_bomb_of_lines_is_cut_and_says_so(self):
        calm = self.ready("calm", "sh", "-c", "while :; do date +%s.%N; sleep 0.2; done")
        bomb = self.ready("bomb", "sh", "-c", "yes a line of a bomb | head -c 20000000; exec cat")
        eventually(lambda: any("are not here" in line for line in self.lines(bomb)), "what was dropped is told")
        before = self.lines(calm)[-1]
        eventually(lambda: self.lines(calm)[-1] > before, "its neighbour is heard")
        self.assertLess(len(self.lines(bomb)), 2500)


    def test_what_operators_run_is_logged_apart(self):
        sandbox = self.ready("ops", "sh", "-c", "echo main; exec cat")
        def run(*command, **fields):
            events = list(self.shell.ExecSandbox(sandbox_id=sandbox.metadata.id, command=list(command), **fields))
            self.assertEqual(0, events[-1].exit.exit_code)
            return b"".join(event.stdout.data for event in events if event.WhichOneof("payload") == "stdout")
        run("/bin/sh", "-c", "echo found; echo odd >&2; printf 'no end'")
        run("sh", "-c", "echo on a terminal", tty=True)
        self.assertEqual(1 << 20, len(run("head", "-c", "1M", "/dev/zero")))
        self.says(sandbox, "main", "found", "odd", "no end", "(no text: the rest of it is not logged)")
        logs = {line.message: line for line in self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id).logs}
        self.assertEqual(("stdout", "INFO", "sandbox"), (logs["main"].target, logs["main"].level, logs["main"].source))
        self.assertNotIn("program", logs["main"].fields)
        found, odd = logs["found"], logs["odd"]
        self.assertEqual(("exec.stdout", "INFO", "sandbox", "sh"), (found.target, found.level, found.source, found.fields["program"]))
        self.assertEqual(("exec.stderr", "WARN", "sandbox"), (odd.target, odd.level, odd.source))
        self.assertEqual(found.fields["exec"], odd.fields["exec"])
        self.assertFalse([text for text in logs if "terminal" in text])
        with open(self.folder(sandbox.metadata.id, "exec-out.log"), "rb") as file:
            self.assertEqual(b"found\nno end", file.read())
        with open(self.folder(sandbox.metadata.id, "exec-err.log"), "rb") as file:
            self.assertEqual(b"odd\n", file.read())
        with open(self.folder(sandbox.metadata.id, "out.log"), "rb") as file:
            self.assertEqual(b"main\n", file.read())

    def test_an_operators_bomb_of_lines_ends_and_leaves_the_log_to_the_main_program(self):
        sandbox = self.ready("flood", "sh", "-c", "while :; do date +%s.%N; sleep 0.2; done")
        events = self.shell.ExecSandbox(sandbox_id=sandbox.metadata.id, command=["sh", "-c", "yes a line | head -c 20000000"])
        self.assertEqual(20000000, sum(len(event.stdout.data) for event in events))
        count = lambda: sum(line.target == "stdout" for line in self.shell.GetSandboxLogs(
            sandbox_id=sandbox.metadata.id, lines=10000).logs)
        before = count()
        eventually(lambda: count() > before, "the main program is heard")
        eventually(lambda: any("are not here" in line for line in self.lines(sandbox)), "what was dropped is told")
        sizes = [os.path.getsize(self.folder(sandbox.metadata.id, name)) for name in ("exec-out.log", "exec-out.log.1")]
        self.assertTrue(all(size <= 4 << 20 for size in sizes), sizes)


class Away(RealSandboxCase):
    """The agent is killed, stopped and started; what it holds goes on."""

    def test_a_killed_agent_loses_no_line_and_no_exit(self):
        sandbox = self.ready("steady", "sh", "-c", COUNTER)
        self.says(sandbox, "line 3")
        self.host.kill()
        self.start()
        self.assertEqual("run-1", self.shell.GetSandbox(name="steady").sandbox.status.main_process_instance_id)
        self.says(sandbox, "line 20")
        self.host.kill()
        eventually(lambda: os.path.exists(self.folder(sandbox.metadata.id, "exit.json")), "it ends without an agent")
        self.start()
        self.assertEqual(5, self.failed("steady", "MainProcessExited").status.exit_code)
        self.says(sandbox, "line 39")
        got = [line for line in self.lines(sandbox) if line.startswith("line ")]
        self.assertEqual([f"line {i}" for i in range(40)], list(dict.fromkeys(got)))
        count = len(self.lines(sandbox))
        self.host.kill()
        self.start()
        self.assertEqual(count, len(self.lines(sandbox)), "nothing of the past is said again")

    def test_an_upgrade_is_a_stop_and_a_start(self):
        sandbox = self.ready("upgraded", "sh", "-c", "exec cat")
        init = self.record(sandbox, "state.json")["init_pid"]
        self.assertEqual(0, self.host.terminate())
        os.kill(init, 0)
        self.start()
        self.assertEqual(init, self.record(sandbox, "state.json")["init_pid"])
        self.assertEqual(V.SANDBOX_PHASE_READY, self.shell.GetSandbox(name="upgraded").sandbox.status.phase)

    def test_deletion_and_oblivion_while_the_agent_is_away(self):
        deleted, forgotten = self.ready("deleted", "cat"), self.ready("forgotten", "cat")
        self.host.kill()
        self.shell.DeleteSandbox(name="deleted")
        self.shell.DeleteSandbox(name="forgotten", metadata=(("belay-force", "true"),))
        self.gone("forgotten")
        self.start()
        self.gone("deleted")
        self.no_folder(deleted)
        self.no_folder(forgotten)

    def test_a_dead_shim_is_told_as_lost(self):
        here, away = self.ready("here", "cat"), self.ready("away", "cat")
        os.kill(self.record(here, "state.json")["shim_pid"], signal.SIGKILL)
        self.failed("here", "ShimLost")
        self.host.kill()
        os.kill(self.record(away, "state.json")["shim_pid"], signal.SIGKILL)
        self.start()
        self.failed("away", "ShimLost")
        self.assertFalse(self.shell.GetSandbox(name="away").sandbox.status.HasField("exit_code"))

    def test_another_boot_is_told_apart(self):
        sandbox = self.ready("rebooted", "cat")
        self.host.kill()
        os.kill(self.record(sandbox, "state.json")["shim_pid"], signal.SIGKILL)
        state = self.record(sandbox, "state.json")
        state["boot"] = "00000000-0000-0000-0000-000000000000"
        with open(self.folder(sandbox.metadata.id, "state.json"), "w", encoding="utf-8") as file:
            json.dump(state, file)
        self.start()
        self.failed("rebooted", "HostRestarted")


class Unprivileged(RealSandboxCase):
    """An agent that is nobody: bubblewrap builds, and limits that need control groups are left out."""
    agent_options = ("--sandboxes", "auto", "--sandbox-limits", "best-effort")

    @classmethod
    def prepare(cls):
        os.chmod(os.path.dirname(cls.host.directory), 0o711)
        for where, _, names in os.walk(cls.host.directory):
            for path in (where, *(os.path.join(where, name) for name in names)):
                os.chown(path, 65534, 65534)

    @classmethod
    def command(cls):
        return [os.path.join(ROOT, "tests", "support", "reachable"), "setpriv", "--reuid", "65534", "--regid", "65534",
                "--clear-groups", *super().command()]

    def test_its_life(self):
        sandbox = self.ready("plain", "sh", "-c", "id -u; sleep 1; echo later; exec cat")
        self.says(sandbox, "1000", "later")
        self.assertIn("not enforced", sandbox.status.conditions[0].message)
        self.host.kill()
        self.start()
        self.assertEqual(V.SANDBOX_PHASE_READY, self.shell.GetSandbox(name="plain").sandbox.status.phase)
        self.shell.DeleteSandbox(name="plain")
        self.gone("plain")
        self.no_folder(sandbox)


class Neighbours(RealSandboxCase):
    """Two workspaces on one machine: an agent of each, and nothing in common but the kernel."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (7, 'other', 0)")
        key = cls.operator.CreateApiKey(name="other", scopes=["*"], workspace="other").secret
        cls.other = Service(cls.server.channel(), OPENSHELL_SERVICE, bearer(key))
        cls.second = RealAgent(cls.server, "host")
        cls.addClassCleanup(cls.second.close)
        cls.second.enroll(Service(cls.server.channel(), ADMIN_SERVICE, bearer(key)))
        cls.second.start(*cls.agent_options)
        eventually(lambda: (cls.second.status() or {}).get("link", {}).get("online"), "the second agent is online")

    def users(self, agent, sandbox):
        with open(os.path.join(agent.state, "sandboxes", "run", sandbox.metadata.id, "state.json"), encoding="utf-8") as file:
            init = json.load(file)["init_pid"]
        with open(f"/proc/{init}/uid_map", encoding="utf-8") as file:
            maps = [[int(number) for number in line.split()] for line in file]
        return {(first, first + count) for _, first, count in maps}

    def test_each_has_its_own_agent_users_and_sandboxes(self):
        ours = self.ready("same", "sh", "-c", "echo ours; exec cat")
        spec = V.SandboxSpec(command=["sh", "-c", "echo theirs; exec cat"])
        self.other.CreateSandbox(name="same", spec=spec)
        theirs = eventually(lambda: self.running("same"), "the other's is ready")
        self.addCleanup(self.end, "same")
        self.assertNotEqual(ours.metadata.id, theirs.metadata.id)
        for first, end in self.users(self.host, ours):
            for other_first, other_end in self.users(self.second, theirs):
                self.assertTrue(end <= other_first or other_end <= first, "users of one are users of the other")
        self.says(ours, "ours")
        self.assertEqual(["same"], [sandbox.metadata.name for sandbox in self.other.ListSandboxes().sandboxes])
        self.assertEqual(Code.NOT_FOUND, code_of(lambda: self.other.GetSandboxLogs(sandbox_id=ours.metadata.id))[0])

    def running(self, name):
        sandbox = self.other.GetSandbox(name=name).sandbox
        return sandbox if sandbox.status.phase == V.SANDBOX_PHASE_READY else None

    def end(self, name):
        self.other.DeleteSandbox(name=name)
        eventually(lambda: not self.other.ListSandboxes().sandboxes, "the other's sandbox is gone")


class Steps(RealSandboxCase):
    """kill -9 of the agent at every step of an order: it is carried out once all the same."""

    def cut(self, step, order):
        self.fault.arm(step, FaultPage.KILL)
        order()
        eventually(lambda: not self.host.is_running(), f"the agent dies at {step}")
        self.assertTrue(self.fault.fired)
        self.start()

    def test_creation(self):
        for number, step in enumerate(("command.numbered", "command.logged", "sandbox.made", "sandbox.policy",
                                       "sandbox.reported", "command.done", "command.answered", "command.acked")):
            with self.subTest(step):
                name = f"made-{number}"
                self.cut("agent." + step, lambda n=name: self.create(n, "sh", "-c", "echo once >>n; cat n; exec cat"))
                sandbox = self.phase(name, V.SANDBOX_PHASE_READY)
                self.says(sandbox, "once")
                self.assertEqual(["once"], list(dict.fromkeys(self.lines(sandbox))))
                self.assertEqual("run-1", sandbox.status.main_process_instance_id)

    def test_stop_start_and_deletion(self):
        sandbox = self.ready("often", "sh", "-c", "echo x >>n; wc -l <n; exec cat")
        self.cut("agent.sandbox.stopping", lambda: self.shell.StopSandbox(name="often"))
        self.phase("often", V.SANDBOX_PHASE_STOPPED)
        self.cut("agent.sandbox.started", lambda: self.shell.StartSandbox(name="often"))
        again = self.phase("often", V.SANDBOX_PHASE_READY)
        self.assertEqual("run-2", again.status.main_process_instance_id)
        self.says(sandbox, "2")
        self.assertNotIn("3", self.lines(sandbox))
        self.cut("agent.command.done", lambda: self.shell.DeleteSandbox(name="often"))
        self.gone("often")
        self.no_folder(sandbox)


if __name__ == "__main__":
    main()
