#!/usr/bin/python3
"""`belay sandbox ...` against a real server. The agent speaks the real protocol and runs programs without isolation, so that
terminals, pipes, signals and exit statuses can be tried on any machine."""
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import OPENSHELL_SERVICE, Service, eventually  # noqa: E402
from local_agent import LocalAgent  # noqa: E402

BELAY = os.path.join(harness.BIN, "belay")
TIMEOUT = harness.TIMEOUT


class Terminal:
    """belay in a terminal of its own, as a person sees it."""

    def __init__(self, environment, *args, size=(24, 80), shell=False):
        """shell: below a shell that outlives it, since a terminal is hung up when the leader of its session ends."""
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            ["sh", "-c", '"$@"; s=$?; sleep 0.5; exit $s', "sh"] * shell + [BELAY, *args], stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True, env=environment,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number):
        """To belay itself."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            os.kill(int(file.read().split()[0]), number)

    def type(self, keys):
        os.write(self.master, keys)

    def expect(self, pattern, timeout=TIMEOUT):
        """Reads until the pattern has come; what was read counts once."""
        end = time.monotonic() + timeout
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"{pattern} did not come: {self.seen[-2000:]}")
            self.seen += os.read(self.master, 65536)
        self.seen = self.seen[found.end():]
        return found

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait(self):
        """The end; the terminal is read meanwhile, as a terminal emulator does."""
        end = time.monotonic() + TIMEOUT
        while self.process.poll() is None:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.seen += os.read(self.master, 65536)
            if time.monotonic() > end:
                raise AssertionError(f"it did not end: {self.seen[-2000:]}")
        return self.process.returncode

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class SandboxCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server().start()
        cls.operator = cls.server.operator()
        cls.agent = LocalAgent(cls, "local").connect()
        cls.shell = Service(cls.server.local_channel(), OPENSHELL_SERVICE)

    @classmethod
    def tearDownClass(cls):
        for sandbox in cls.shell.ListSandboxes(limit=1000).sandboxes:
            cls.agent.end(sandbox.metadata.id)
        cls.agent.control.cancel()
        shutil.rmtree(cls.agent.root, ignore_errors=True)
        cls.server.close()

    @classmethod
    def environment(cls, **more):
        return {"BELAY_SOCKET": cls.server.operator_socket, "HOME": cls.server.directory, "PATH": os.environ["PATH"],
                "TERM": "xterm", **more}

    def belay(self, *args, status=0, text=None, **more):
        run = subprocess.run([BELAY, "sandbox", *args], capture_output=True, text=True, timeout=TIMEOUT, check=False,
                             input=text, stdin=subprocess.DEVNULL if text is None else None, env=self.environment(**more))
        self.assertEqual(run.returncode, status, f"belay sandbox {' '.join(args)}\n{run.stdout}\n{run.stderr}")
        self.assertNotIn("Sanitizer", run.stderr)
        return run

    def json(self, *args):
        return json.loads(self.belay(*args, "-o", "json").stdout)

    def start(self, *args, **options):
        """belay beside the test, killed with it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([BELAY, "sandbox", *args], **{"env": self.environment(), **pipes})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                self.addCleanup(pipe.close)
        return process

    def terminal(self, *args, **options):
        terminal = Terminal(self.environment(), "sandbox", *args, **options)
        self.addCleanup(terminal.close)
        return terminal

    def made(self, name, *args):
        self.assertEqual(name + "\n", self.belay("create", "--name", name, *args).stdout)
        return name

    def names(self):
        return [sandbox["metadata"]["name"] for sandbox in self.json("list")["sandboxes"]]


class Life(SandboxCase):
    def test_from_create_to_delete(self):
        self.assertIn("No sandbox here", self.belay("list", "-l", "none=1").stderr)
        made = self.belay("create", "--name", "whole", "-l", "team=x", "--annotation", "a=b", "--cpu", "500m", "--memory",
                          "64MiB", "--disk", "32MiB", "--agent", "local", "-e", "A=1", "-e", "SECRET", SECRET="hush")
        self.assertEqual("whole\n", made.stdout)
        self.assertNotIn("\033", made.stderr)
        sandbox = self.json("get", "whole")
        self.assertEqual(({"A": "1", "SECRET": "hush"}, {"team": "x"}, {"a": "b", "belay.dev/agent": "local"}),
                         (sandbox["spec"]["environment"], sandbox["metadata"]["labels"], sandbox["metadata"]["annotations"]))
        self.assertEqual({"cpu": "500m", "memory": "67108864", "ephemeral-storage": "33554432"},
                         sandbox["spec"]["template"]["resources"]["limits"])
        shown = self.belay("get", "whole").stdout
        self.assertRegex(shown, r"PHASE: +ready")
        self.assertIn("A, SECRET", shown)
        self.assertNotIn("hush", shown)
        self.assertEqual("whole\n", self.belay("list", "-l", "team=x", "-o", "name").stdout)
        self.assertIn("whole", self.belay("list", "--all-workspaces", "-o", "wide").stdout)
        self.assertRegex(self.belay("stop", "whole", "--wait").stdout, r"whole +stopped")
        self.assertIn("stopped", self.belay("exec", "whole", "true", status=5).stderr)
        self.assertRegex(self.belay("start", "whole", "--wait").stdout, r"whole +ready")
        self.assertIn("whole is gone", self.belay("delete", "whole", "--wait").stderr)
        self.belay("get", "whole", status=2)

    def test_several_are_deleted_and_each_error_is_said(self):
        for name in ("one", "two"):
            self.made(name)
        run = self.belay("delete", "one", "nothing", "two", status=2)
        self.assertIn("nothing: ", run.stderr)
        eventually(lambda: not {"one", "two"} & set(self.names()), "both are gone")

    def test_a_program_and_its_status(self):
        run = self.belay("create", "--rm", "--name", "prog", "--", "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
        self.assertEqual(("out\n", "err\n"), (run.stdout, run.stderr))
        eventually(lambda: "prog" not in self.names(), "it is removed")
        self.belay("create", "--name", "killed", "--", "sh", "-c", "kill -9 $$", status=137)
        self.assertEqual(137, self.json("get", "killed")["status"]["exitCode"])
        self.assertIn("out", self.belay("create", "--name", "logs", "--", "sh", "-c", "echo out; echo err >&2").stdout)
        self.assertEqual("out\n", self.belay("logs", "logs").stdout)
        self.assertEqual("out\n", self.belay("logs", "-f", "logs").stdout)
        self.assertEqual(["out", "err"], sorted((line["message"] for line in self.json("logs", "logs")["logs"]), reverse=True))
        self.assertRegex(self.belay("logs", "logs", "--timestamps").stdout, r"^\d{4}-\d\d-\d\dT\S+Z out\n$")
        self.assertIn("stderr", self.belay("logs", "logs", "-o", "wide").stdout)
        both = self.json("logs", "logs", "--source", "gateway", "--source", "sandbox")["logs"]
        self.assertEqual({"gateway", "sandbox"}, {line["source"] for line in both})
        told = self.belay("logs", "logs", "--source", "gateway")
        self.assertRegex(told.stdout, r"^\[gateway\] provisioning, ordered by user:local/\d+\n\[gateway\] ready\n\[gateway\] error")
        self.assertEqual("", told.stderr)
        self.assertIn("[gateway] ready\n", self.belay("logs", "-f", "logs", "--source", "gateway").stdout)
        self.assertEqual("", self.belay("logs", "logs", "--source", "gateway", "--main").stdout)
        self.assertEqual("", self.belay("logs", "logs", "--since", "now").stdout)
        self.belay("delete", "killed", "logs")

    def test_what_fails_is_said_with_its_reason(self):
        self.agent.refusals.append("the host cannot do seccomp")
        self.assertIn("the host cannot do seccomp", self.belay("create", "--name", "refused", status=5).stderr)
        self.belay("delete", "refused", "--force")
        self.assertIn("No such file", self.belay("create", "--rm", "--", "/no/such/program", status=5).stderr)
        self.assertIn("no agent fits", self.belay("create", "--agent", "nobody", status=5).stderr)
        self.assertIn("no agent fits", self.belay("create", "--cpu", "99", status=5).stderr)

    def test_what_this_machine_lacks_is_said_without_a_word_of_the_server(self):
        self.belay("create", "--name", "here")
        missing = "/nothing/there"
        for args in (("create", "--policy", missing), ("create", "--env-file", missing), ("cp", missing, "here:/sandbox"),
                     ("policy", "set", "here", missing)):
            self.assertEqual(f"belay: {missing}: No such file or directory\n", self.belay(*args, status=2).stderr)
        with open("/dev/full", "wb") as full:
            run = subprocess.run([BELAY, "sandbox", "list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT,
                                 check=False, env=self.environment())
        self.assertEqual("belay: cannot write the output: No space left on device\n", run.stderr)
        taken = self.belay("forward", "here", "192.0.2.1:9999:80", status=3).stderr
        self.assertEqual(1, taken.count("\n"), taken)

    def test_ctrl_c_removes_it_or_leaves_it(self):
        for options, is_left in ((["--rm"], False), ([], True)):
            name = "kept" if is_left else "removed"
            process = self.start("create", "--name", name, *options, "--", "sh", "-c", "echo up; sleep 60")
            self.assertEqual(b"up\n", process.stdout.readline())
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIMEOUT)
            self.assertEqual(130, process.returncode, errors)
            self.assertEqual(is_left, f"belay sandbox logs -f {name}" in errors.decode())
            eventually(lambda: (name in self.names()) == is_left, f"{name}: {is_left}")
        self.belay("delete", "kept")

    def test_watch(self):
        self.made("watched")
        watch = self.start("watch", "watched", "-o", "json")
        self.assertIn(b"SANDBOX_PHASE_READY", next(line for line in watch.stdout if b'"sandbox":' in line))
        self.belay("delete", "watched", "--wait")
        rest, errors = watch.communicate(timeout=TIMEOUT)
        self.assertEqual(0, watch.returncode, errors)
        self.assertIn(b"SANDBOX_PHASE_DELETING", rest)

    def test_follow_ends_with_the_program(self):
        self.made("lines", "-d", "--", "sh", "-c", "echo first; sleep 1; printf 'evil\\033[2J\\n'; exit 0")
        terminal = self.terminal("logs", "-f", "lines")
        terminal.expect(rb"first\r\n")
        terminal.expect(rb"evil\\x1b\[2J")
        self.assertEqual(0, terminal.wait())
        self.belay("delete", "lines")

    def test_policies(self):
        folder = self.server.directory
        text = """
version: 1
network_policies:
  web:
    name: web
    endpoints:
      - host: example.com
        port: 443
    binaries: [{path: /**}]
"""
        with open(os.path.join(folder, "policy.yaml"), "w", encoding="utf-8") as file:
            file.write(text)
        os.symlink("policy.yaml", os.path.join(folder, "link.yaml"))
        self.made("policied", "--policy", os.path.join(folder, "link.yaml"))
        shown = self.belay("policy", "get", "policied").stdout
        self.assertIn("network_policies:", shown)
        again = self.belay("policy", "set", "policied", "-", text=shown)
        self.assertRegex(again.stdout, r"(?m)^ +1 ")
        other = self.belay("policy", "get", "policied", "-o", "json").stdout.replace("example.com", "other.example")
        self.assertRegex(self.belay("policy", "set", "policied", "-", "--wait", text=other).stdout, r"2 +loaded")
        self.assertIn("other.example", self.belay("policy", "get", "policied").stdout)
        self.assertIn("example.com", self.belay("policy", "get", "policied", "--revision", "1").stdout)
        history = self.json("policy", "history", "policied")["revisions"]
        self.assertEqual([2, 1], [revision["version"] for revision in history])
        for bad, word in (("version: 1\nversion: 2\n", "comes twice"), ("a: &x 1\n", "anchors"), ("", "empty"),
                          ("nonsense: 1\n", "nonsense"), ("version: [", "standard input:"),
                          ("version: 1\n---\nversion: 1\n", "one document")):
            self.assertIn(word, self.belay("policy", "set", "policied", "-", text=bad, status=4).stderr)
        self.belay("delete", "policied")

    def test_bad_input(self):
        for words, word in (
                (["create", "--rm"], "--rm"), (["create", "--rm", "-d", "--", "a"], "--rm excludes"),
                (["create", "--tty", "--no-wait"], "--tty excludes"), (["create", "--cpu", "lots"], "--cpu"),
                (["create", "--cpu", "1.x"], "--cpu"), (["create", "--memory", "much"], "--memory"),
                (["create", "--memory", "1MiB"], "--memory"), (["create", "-e", "=x"], "--env"),
                (["create", "-e", "NOT_SET_HERE"], "NOT_SET_HERE"), (["create", "-l", "x"], "--label"),
                (["create", "-l", "a=1", "-l", "a=2"], "twice"), (["create", "--name", "x" * 20], "--name"),
                (["exec", "x"], "CMD"), (["exec", "x", "--workdir", "tmp", "a"], None), (["delete"], "SANDBOX"),
                (["exec", "x", "ls", "-l"], "-l"), (["logs", "x", "--level", "loud"], "--level"),
                (["logs", "x", "--source", "kernel"], "--source"),
                (["list", "-A", "-w", "x"], "exclude"), (["forward", "x"], None), (["forward", "x", "a:b"], None),
                (["cp", "a", "b"], None)):
            with self.subTest(words=words):
                status = 2 if word is None and words[0] == "exec" else 64
                text = self.belay(*words, status=status).stderr
                if word:
                    self.assertIn(word, text)
        self.assertIn("name", self.belay("create", "--name", "Upper", status=4).stderr)
        self.assertIn("reserved", self.belay("create", "-e", "BELAY_X=1", status=4).stderr)
        path = os.path.join(self.server.directory, "env")
        with open(path, "w", encoding="utf-8") as file:
            file.write("# comment\nFROM_FILE=1\nSAME=file\n\nINHERITED\n")
        self.made("envfile", "--env-file", path, "-e", "SAME=line", "-e", "INHERITED=here")
        self.assertEqual({"FROM_FILE": "1", "SAME": "line", "INHERITED": "here"},
                         self.json("get", "envfile")["spec"]["environment"])
        self.assertIn("env:5", self.belay("create", "--env-file", path, status=64).stderr)  # INHERITED is not set
        self.belay("delete", "envfile")


class Top(SandboxCase):
    """The screen; what is in it is looked at where sandboxes are real."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ("one", "two"):
            subprocess.run([BELAY, "sandbox", "create", "--name", name], check=True, env=cls.environment(), timeout=TIMEOUT,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def opened(self, *args, **options):
        terminal = self.terminal("top", *args, **options)
        terminal.expect(rb"\x1b\[\?1049h\x1b\[\?25l")
        terminal.expect(rb"2 sandboxes")
        terminal.expect(rb"q ends")
        self.assertTrue(terminal.is_raw())
        return terminal

    def check_left(self, terminal):
        """The other screen is left and the cursor is back, each at least once and last."""
        for taken, left in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h")):
            self.assertGreater(terminal.seen.rfind(left), terminal.seen.rfind(taken))
        self.assertTrue(terminal.restored())

    def test_keys(self):
        terminal = self.opened()
        for key, order in ((b"m", b"memory"), (b"a", b"name"), (b"x", None), (b"c", b"cpu")):
            terminal.type(key)
            if order:
                terminal.expect(b"; by " + order)
        terminal.type(b"q")
        self.assertEqual(0, terminal.wait())
        self.check_left(terminal)
        terminal = self.opened("--sort", "disk")
        terminal.type(b"\x03")
        self.assertEqual(130, terminal.wait())
        self.check_left(terminal)

    def test_it_looks_again_and_follows_the_size(self):
        terminal = self.opened("--interval", "1s", size=(10, 40))
        for _ in range(3):
            terminal.expect(rb"\x1b\[H2 sandboxes")
        terminal.expect(rb"\x1b\[10;1Hq ends")
        terminal.resize(20, 100)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.expect(rb"\x1b\[20;1Hq ends")
        frame = terminal.expect(rb"(?s)\x1b\[H(.*?)\x1b\[20;1H").group(1)
        for line in frame.decode().replace("\x1b[K", "").replace("\x1b[J", "").split("\r\n"):
            self.assertLessEqual(len(re.sub(r"\x1b\[[0-9;]*m", "", line)), 100)
        terminal.type(b"q")
        self.assertEqual(0, terminal.wait())

    def test_the_terminal_is_put_back_whatever_happens(self):
        for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, 137), (signal.SIGSEGV, None)):
            with self.subTest(number=number):
                terminal = self.opened(shell=True)
                terminal.signal(number)
                ended = terminal.wait()
                if status is not None:
                    self.assertEqual(status, ended)
                eventually(terminal.restored, f"put back after {number}")
                if terminal.seen.rfind(b"\x1b[?25h") < 0:
                    terminal.expect(rb"\x1b\[\?1049l\x1b\[\?25h")
                else:
                    self.check_left(terminal)

    def test_once_where_there_is_no_screen(self):
        for args, more in (((), {}), (("--once",), {})):
            text = self.belay("top", *args, **more).stdout
            self.assertNotIn("\x1b", text)
            self.assertRegex(text, r"(?m)^SANDBOX +CPU% .*\none +- .*\ntwo +- ")
        terminal = self.terminal("top", "--once")
        terminal.expect(rb"one +(\x1b\[2m)?-")
        self.assertEqual(0, terminal.wait())
        self.assertNotIn(b"\x1b[?1049h", terminal.seen)
        self.assertEqual(["one"], [row["sandboxName"] for row in self.json("top", "one")["figures"]])
        self.assertIn("nothing", self.belay("top", "one", "nothing", status=2).stderr)
        self.assertIn("nothing", self.belay("top", "nothing", status=2).stderr)
        self.belay("top", "--interval", "11s", status=64)
        self.belay("top", "--sort", "age", status=64)
        self.belay("top", "-A", "-w", "default", status=64)
        self.assertIn("WORKSPACE", self.belay("top", "-A").stdout)

    def test_a_hostile_name_does_not_reach_the_terminal(self):
        evil = "evil\x1b[2J\x07\u202e"
        self.server.database.query(f"UPDATE agent SET name = '{evil}'")
        try:
            shown = self.belay("top", "-o", "wide").stdout
        finally:
            self.server.database.query("UPDATE agent SET name = 'local'")
        self.assertIn(r"evil\x1b[2J", shown)
        for raw in ("\x1b", "\x07", "\u202e"):
            self.assertNotIn(raw, shown)

    def test_a_server_that_goes_is_said_on_the_screen(self):
        terminal = self.opened("--interval", "1s", "--timeout", "2s")
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            terminal.expect(rb"\x1b\[H2 sandboxes[^\n]*\r\nthe server at [^\n]*did not")
            terminal.type(b"q")
            self.assertEqual(0, terminal.wait())
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)
        self.check_left(terminal)


class Sessions(SandboxCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("belay").made("box")

    def test_streams_and_statuses(self):
        run = self.belay("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3", status=3)
        self.assertEqual(("out\n", "err\n"), (run.stdout, run.stderr))
        self.belay("exec", "box", "--", "sh", "-c", "kill -15 $$", status=143)
        self.belay("exec", "box", "--timeout", "1s", "--", "sleep", "30", status=124)
        self.belay("exec", "box", "--", "no-such-program", status=127)
        self.assertEqual("v /tmp\n", self.belay("exec", "box", "-e", "A=v", "--workdir", "/tmp", "--", "sh", "-c",
                                                "echo $A $PWD").stdout)
        self.belay("exec", "nothing", "true", status=2)

    def test_input(self):
        self.assertEqual("abc", self.belay("exec", "-i", "box", "cat", text="abc").stdout)
        self.assertEqual("", self.belay("exec", "box", "cat", text="abc").stdout)  # without -i there is none
        self.assertEqual("", self.belay("exec", "-i", "box", "cat").stdout)  # /dev/null, which epoll refuses
        path = os.path.join(self.server.directory, "input")
        with open(path, "wb") as file:
            file.write(b"x" * 1000000)
        with open(path, "rb") as file:
            run = self.start("exec", "-i", "box", "--", "wc", "-c", stdin=file)
            self.assertEqual(b"1000000\n", run.communicate(timeout=TIMEOUT)[0])
        shared = self.start("exec", "-i", "box", "--", "head", "-c", "3", stdin=subprocess.PIPE)
        self.assertEqual(b"abc", shared.communicate(b"abcdef" * 100000, timeout=TIMEOUT)[0])  # it ends before its input

    def test_a_reader_that_goes_ends_it_quietly(self):
        run = self.start("exec", "box", "yes")
        self.assertEqual(b"y\n", run.stdout.readline())
        run.stdout.close()
        self.assertEqual(1, run.wait(TIMEOUT))
        self.assertEqual(b"", run.stderr.read())

    def test_much_goes_through_and_memory_stays_small(self):
        size = 100 << 20
        # A sanitizer keeps what is freed for a while: that is not what is looked for.
        run = self.start("exec", "-i", "box", "cat", stdin=subprocess.PIPE, env=self.environment(
            ASAN_OPTIONS="quarantine_size_mb=1:thread_local_quarantine_size_kb=64"))

        def feed():
            block = b"0123456789abcdef" * 4096
            for _ in range(size // len(block)):
                run.stdin.write(block)
            run.stdin.close()
        threading.Thread(target=feed, daemon=True).start()
        time.sleep(1)  # nobody reads: everything has to stand still

        def resident():
            with open(f"/proc/{run.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * 4096
        first = resident()
        most, seen = first, 0
        while data := os.read(run.stdout.fileno(), 1 << 20):
            seen += len(data)
            most = max(most, resident())
        self.assertEqual(size, seen)
        self.assertEqual(0, run.wait(TIMEOUT))
        self.assertLess(most - first, 64 << 20)

    def test_a_terminal(self):
        terminal = self.terminal("exec", "-it", "box", "--", "sh", size=(33, 77))
        terminal.type(b"stty size; echo $TERM\r")
        terminal.expect(rb"33 77\r\n")
        terminal.expect(rb"xterm")
        self.assertTrue(terminal.is_raw())
        terminal.resize(44, 99)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.type(b"sleep 0.3; stty size\r")
        terminal.expect(rb"44 99\r\n")
        terminal.type(b"echo sleepi''ng; sleep 60\r")
        terminal.expect(rb"sleeping\r\n")
        time.sleep(0.3)
        terminal.type(b"\x03")
        terminal.type(b"echo s''till here\r")
        terminal.expect(rb"still here")
        terminal.type(b"exit 9\r")
        self.assertEqual(9, terminal.wait())
        self.assertTrue(terminal.restored())

    def test_the_keys(self):
        terminal = self.terminal("shell", "box")
        terminal.type(b"echo re''ady\r")
        terminal.expect(rb"ready\r\n")
        terminal.type(b"~?")
        terminal.expect(rb"end the session")
        terminal.type(b"~~\x03")  # the shell gets one ~
        terminal.type(b"echo a~.b\r")  # not at the start of a line
        terminal.expect(rb"a~\.b\r\n")
        terminal.type(b"~.")
        terminal.expect(rb"is left")
        self.assertEqual(255, terminal.wait())
        self.assertTrue(terminal.restored())

    def test_the_terminal_is_put_back_whatever_happens(self):
        for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, 137), (signal.SIGSEGV, None)):
            with self.subTest(number=number):
                terminal = self.terminal("exec", "-it", "box", "--", "sh", shell=True)
                terminal.type(b"echo re''ady\r")
                terminal.expect(rb"ready\r\n")
                self.assertTrue(terminal.is_raw())
                terminal.signal(number)
                ended = terminal.wait()
                if status is not None:
                    self.assertEqual(status, ended)
                eventually(terminal.restored, f"put back after {number}")

    def test_create_with_a_terminal(self):
        terminal = self.terminal("create", "--rm", "--tty", "--name", "tty", "--", "sh", "-c", "tty; read a; exit $a")
        terminal.expect(rb"/dev/pts/\d+\r\n")
        self.assertIn("tty", self.names())
        terminal.type(b"5\r")
        self.assertEqual(5, terminal.wait())
        eventually(lambda: "tty" not in self.names(), "it is removed")

    def test_progress_only_on_a_terminal(self):
        terminal = self.terminal("create", "--name", "shown")
        terminal.expect(rb"\r\x1b\[Kshown: ")
        self.assertEqual(0, terminal.wait())
        self.belay("delete", "shown")

    def test_without_a_terminal_of_ours(self):
        self.assertEqual("24 80\n", self.belay("exec", "-t", "box", "--", "stty", "size").stdout)


class Forwards(SandboxCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("belay").made("served")

    def echo_server(self, answer=None):
        """A port 'in the sandbox' that sends back what comes, or one answer at the end of the input."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve(connection):
            with connection:
                got = b""
                while data := connection.recv(65536):
                    got += data
                    if answer is None:
                        connection.sendall(data)
                if answer is not None:
                    connection.sendall(answer + b" " + str(len(got)).encode())

        def accept():
            try:
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
            except OSError:
                pass
        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    def forward(self, *words):
        process = self.start("forward", "served", *words, "-o", "name")
        ports = [int(process.stdout.readline().decode().rsplit(":", 1)[1]) for _ in words]
        return process, ports

    def test_many_connections_both_ways_and_a_half_close(self):
        echo, late = self.echo_server(), self.echo_server(b"got")
        process, (one, two) = self.forward(f":{echo}", f"127.0.0.1:0:{late}")

        def talk(index):
            with socket.create_connection(("127.0.0.1", one), timeout=TIMEOUT) as connection:
                for turn in range(3):
                    text = f"{index}.{turn}".encode() * 1000
                    connection.sendall(text)
                    got = b""
                    while len(got) < len(text):
                        data = connection.recv(65536)
                        self.assertTrue(data)
                        got += data
                    self.assertEqual(text, got)
        self.assertEqual([None] * 40, harness.in_threads(40, talk))  # more than may be open at once
        with socket.create_connection(("127.0.0.1", two), timeout=TIMEOUT) as connection:
            connection.sendall(b"x" * 300000)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(65536):
                answer += data
            self.assertEqual(b"got 300000", answer)
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox_forward") // 17)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual((130, b""), (process.returncode, errors))
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM sandbox_forward"))  # the tokens are revoked

    def test_a_connection_that_fails_is_said(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process, (local,) = self.forward(f":{port}")
        with socket.create_connection(("127.0.0.1", local), timeout=TIMEOUT) as connection:
            self.assertEqual(b"", connection.recv(1))
        line = process.stderr.readline().decode()
        self.assertIn(f"-> served:{port}: a connection failed: ", line)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(143, process.wait(TIMEOUT))

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.assertIn("cannot be listened at", self.belay("forward", "served", f"{port}:80", status=5).stderr)
        self.belay("forward", "nothing", ":80", status=2)


class Copies(SandboxCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("belay").made("copied")

    def setUp(self):
        self.here = os.path.join(self.server.directory, self.id())
        self.there = os.path.join(self.here, "there")  # absolute paths are those of this machine: nothing is isolated
        os.makedirs(self.there)

    def write(self, path, content=b"x", mode=0o640):
        path = os.path.join(self.here, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        os.utime(path, (1000, 1700000000))
        return path

    @staticmethod
    def tree(path):
        found = {}
        for folder, folders, files in os.walk(path):
            for name in folders + files:
                full = os.path.join(folder, name)
                stat = os.lstat(full)
                if os.path.islink(full):
                    found[os.path.relpath(full, path)] = os.readlink(full)
                elif name in files:
                    with open(full, "rb") as file:
                        found[os.path.relpath(full, path)] = (file.read(), stat.st_mode & 0o7777, int(stat.st_mtime))
                else:
                    found[os.path.relpath(full, path)] = stat.st_mode & 0o7777
        return found

    def test_a_folder_there_and_back(self):
        self.write("site/index.html", b"<html>", 0o644)
        self.write("site/deep/" + "n" * 200 + "/run", b"\0" * 1000001, 0o755)
        self.write("site/deep/empty", b"", 0o600)
        os.symlink("deep/empty", os.path.join(self.here, "site", "link"))
        os.chmod(os.path.join(self.here, "site", "deep"), 0o750)
        sent = self.belay("cp", os.path.join(self.here, "site"), f"copied:{self.there}")
        self.assertRegex(sent.stderr, r"^3 files, 3 folders, 1 link, ")
        self.assertEqual(self.tree(os.path.join(self.here, "site")), self.tree(os.path.join(self.there, "site")))
        back = self.belay("cp", f"copied:{self.there}/site", os.path.join(self.here, "back"))
        self.assertRegex(back.stderr, r"^3 files, 3 folders, 1 link, ")
        self.assertEqual(self.tree(os.path.join(self.here, "site")), self.tree(os.path.join(self.here, "back")))
        again = self.belay("cp", f"copied:{self.there}/site", self.here)  # over what is there
        self.assertRegex(again.stderr, r"^3 files")

    def test_files_and_names(self):
        path = self.write("one", b"content", 0o751)
        self.belay("cp", path, f"copied:{self.there}/two")
        self.assertEqual({"two": (b"content", 0o751, 1700000000)}, self.tree(self.there))
        self.belay("cp", f"copied:{self.there}/two", os.path.join(self.here, "three"))
        self.assertEqual(0o751, os.stat(os.path.join(self.here, "three")).st_mode & 0o7777)
        self.assertIn("no folder", self.belay("cp", path, f"copied:{self.there}/none/two", status=2).stderr)
        self.assertIn("no folder", self.belay("cp", path, f"copied:{self.there}/none/", status=2).stderr)
        self.belay("cp", os.path.join(self.here, "none"), f"copied:{self.there}", status=2)
        missing = self.belay("cp", f"copied:{self.there}/none", self.here, status=1)
        self.assertIn("none", missing.stderr)
        self.belay("cp", f"copied:{self.there}/two", os.path.join(self.here, "none", "x"), status=2)
        self.assertIn("bytes", self.belay("cp", "--max-size", "3", f"copied:{self.there}/two", self.here, status=75).stderr)
        self.belay("cp", f"copied:{self.there}/..", self.here, status=64)
        os.mkfifo(os.path.join(self.here, "pipe"))
        self.assertIn("pipe", self.belay("cp", os.path.join(self.here, "pipe"), f"copied:{self.there}", status=1).stderr)

    def test_a_hostile_tar(self):
        """The sandbox's tar is a program of the attacker: here one that sends an archive made to get out."""
        outside = self.write("outside", b"mine")
        target = os.path.join(self.here, "target")
        os.mkdir(target)

        def member(name, kind=tarfile.REGTYPE, content=b"", **fields):
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            return info, content
        refused = (  # ends the copy
            [member("../x", content=b"evil")], [member("/tmp/belay-evil", content=b"evil")],
            [member("got", tarfile.DIRTYPE), member("got/../../x", content=b"evil")],
            [member("other", content=b"evil")],
            [member("got", tarfile.DIRTYPE), member("got/f", content=b"1"), member("got/f/g", content=b"evil")])
        left_out = (  # is counted
            [member("got", tarfile.SYMTYPE, linkname=outside)],
            [member("got", tarfile.DIRTYPE), member("got/l", tarfile.SYMTYPE, linkname=self.here)],
            [member("got", tarfile.DIRTYPE), member("got/l", tarfile.SYMTYPE, linkname="..")],
            [member("got", tarfile.DIRTYPE), member("got/d", tarfile.DIRTYPE),
             member("got/d/up", tarfile.SYMTYPE, linkname=".."), member("got/l", tarfile.SYMTYPE, linkname="d/up/../..")],
            [member("got", tarfile.LNKTYPE, linkname="got")],
            [member("got", tarfile.CHRTYPE, devmajor=1, devminor=3)], [member("got", tarfile.FIFOTYPE)])
        for members, status in [(one, 1) for one in refused] + [(one, 1) for one in left_out]:
            with self.subTest(members=[info.name for info, _ in members]):
                archive = os.path.join(self.here, "archive")
                with tarfile.open(archive, "w") as file:
                    for info, content in members:
                        file.addfile(info, io.BytesIO(content))
                run = self.attack(archive, target, status)
                self.assertRegex(run, "sandbox's archive|not copied: 1|cannot be made|belongs into")
                self.assertEqual(b"mine", open(outside, "rb").read())
                self.assertFalse(os.path.exists("/tmp/belay-evil") or os.path.exists(os.path.join(self.here, "x")))
                for folder, folders, files in os.walk(target):
                    for name in folders + files:
                        real = os.path.realpath(os.path.join(folder, name))
                        self.assertTrue(real.startswith(target + "/"), real)
                shutil.rmtree(target)
                os.mkdir(target)

    def attack(self, archive, target, status):
        folder = os.path.join(self.here, "bin")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "tar"), "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec cat {archive}\n")
        os.chmod(file.name, 0o755)
        environment = next(iter(self.agent.environments.values()))
        before, environment["PATH"] = environment["PATH"], folder + ":" + environment["PATH"]
        try:
            return self.belay("cp", "copied:/x/got", target, status=status).stderr
        finally:
            environment["PATH"] = before


class Lost(SandboxCase):
    def test_a_connection_that_goes(self):
        self.made("gone")
        terminal = self.terminal("exec", "-it", "gone", "--", "sh")
        terminal.type(b"echo re''ady\r")
        terminal.expect(rb"ready\r\n")
        self.server.kill()
        self.assertEqual(255, terminal.wait())
        terminal.expect(rb"the connection to gone is lost")
        self.assertTrue(terminal.restored())
        self.assertEqual(69, subprocess.run([BELAY, "sandbox", "list"], env=self.environment(), capture_output=True,
                                            check=False).returncode)
        self.server.start()


if __name__ == "__main__":
    harness.main()
