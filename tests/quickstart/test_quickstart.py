#!/usr/bin/python3
"""The way of a new user: clone, tools/quickstart; then again, in the foreground, and beside another."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD_SECONDS = 800
RUN_SECONDS = 120


def is_alive(pid):
    return os.path.exists(f"/proc/{pid}")


class Quickstart(unittest.TestCase):
    """One clone and one build; the tests run in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="belay-quickstart.")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.clone = os.path.join(cls.folder, "clone")
        subprocess.run(
            ["git", "-c", "safe.directory=*", "clone", "--quiet", SOURCE, cls.clone],
            check=True, timeout=RUN_SECONDS)
        cls.script = os.path.join(cls.clone, "tools", "quickstart")
        cls.environ = {k: v for k, v in os.environ.items()
                       if not k.startswith(("BELAY_", "ASAN_", "LSAN_", "UBSAN_"))}

    def run_script(self, *options, timeout=RUN_SECONDS):
        return subprocess.run(
            [self.script, *options], cwd="/", env=self.environ, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)

    def test_1_empty_clone(self):
        done = self.run_script("--once", "--json", timeout=BUILD_SECONDS)
        self.assertEqual(done.returncode, 0, msg=done.stderr)
        measured = json.loads(done.stdout)
        self.assertEqual(measured["command_state"], "COMMAND_STATE_SUCCEEDED")
        for name in ("ready_ms", "agent_start_to_online_ms", "enroll_to_online_ms",
                     "command_round_trip_ms"):
            self.assertGreater(measured[name], 0, msg=name)
            self.assertLess(measured[name], 60000, msg=name)
        sandbox = measured["sandbox"]
        if "skipped" in sandbox:  # the reason is said where a person reads it
            self.assertIn("no sandbox on this machine: ", done.stderr)
        else:
            self.assertEqual(0, sandbox["exit_status"])
            self.assertIn("neither files nor ports of the host are here", done.stderr)
            self.assertLess(sandbox["create_to_ready_ms"], 10000)
        for name in ("belay-server", "belay-agent", "belay-shim", "belay"):
            self.assertGreater(measured["stripped_bytes"][name], 100000)
        for text in ("online", "host.cpu.busy", "succeeded"):
            self.assertIn(text, done.stderr)
        state = os.path.join(self.clone, "var")
        self.assertEqual(os.stat(state).st_mode & 0o7777, 0o700)
        subprocess.run(["git", "-C", self.clone, "diff", "--quiet", "HEAD"], check=True)
        # Only ignored files are new.
        self.assertEqual("", subprocess.run(
            ["git", "-C", self.clone, "status", "--porcelain"], check=True, text=True,
            stdout=subprocess.PIPE).stdout)

    def test_2_again(self):
        done = self.run_script("--once", "--json", "--no-setup")
        self.assertEqual(done.returncode, 0, msg=done.stderr)
        measured = json.loads(done.stdout)
        self.assertIsNone(measured["enroll_to_online_ms"])  # it is enrolled already
        self.assertEqual(measured["command_state"], "COMMAND_STATE_SUCCEEDED")

    def test_3_foreground(self):
        script = subprocess.Popen(
            [self.script, "--no-setup"], cwd="/", env=self.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(script.kill)
        lines = []
        for line in script.stdout:
            lines.append(line)
            if line.startswith("The log is"):
                break
        text = "".join(lines)
        self.assertIn("export BELAY_SOCKET=" + os.path.join(self.clone, "var"), text)
        with open(os.path.join(self.clone, "var", "lock"), encoding="ascii") as file:
            server = int(file.read())

        second = self.run_script("--no-setup")
        self.assertEqual(second.returncode, 75, msg=second.stdout)
        self.assertIn(f"already running in {self.clone}/var (process {server})", second.stderr)

        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server)], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout.split()
        self.assertEqual(len(children), 1)  # the local agent
        script.send_signal(signal.SIGINT)
        rest, _ = script.communicate(timeout=RUN_SECONDS)
        self.assertEqual(script.returncode, 0, msg=rest)
        self.assertIn("quickstart: stopping", rest)
        self.assertFalse(is_alive(server))
        self.assertFalse(is_alive(children[0]))

    def test_4_refusals(self):
        for options, text in ((("--twice",), "unknown option --twice"),
                              (("--state-dir",), "--state-dir wants a value"),
                              (("--state-dir", "/tmp/" + "x" * 90), "too long a path")):
            done = self.run_script("--no-setup", *options)
            self.assertEqual(done.returncode, 64)
            self.assertIn(text, done.stderr)

    def test_5_loose_folder(self):
        state = os.path.join(self.folder, "loose")
        os.mkdir(state)
        os.chmod(state, 0o777)
        done = self.run_script("--once", "--no-setup", "--state-dir", state)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(state, done.stderr)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    if subprocess.run(["git", "-c", "safe.directory=*", "-C", SOURCE, "rev-parse", "HEAD"], check=False,
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        print("not a git clone: nothing to clone")
        sys.exit(77)
    unittest.main(verbosity=2)
