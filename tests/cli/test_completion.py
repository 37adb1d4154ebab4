#!/usr/bin/python3
"""What the shells do with names that an agent chose: completion offers them and runs nothing of them."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness  # noqa: E402

LINE = "belay -o name agent get "
# By the prefix that is typed. Each would leave the file `mark` behind in a shell that expands it.
NAMES = {
    "one": "one$(touch${IFS}mark)",
    "two": "two`touch${IFS}mark`",
    "three": "three;touch${IFS}mark",
    "four": "four with spaces 'and' \"quotes\"",
    "five": "five*",
    "six": "six${x:=$(touch${IFS}mark)}",
}


class Completion(harness.ServerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in NAMES.values():
            harness.BaseAgent(cls.server, name).enroll(cls.operator)

    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=harness.scratch())
        self.environment = {"HOME": self.folder, "TERM": "dumb", "LC_ALL": "C.UTF-8", "PS1": "> ",
                            "PATH": os.path.abspath(harness.BIN) + ":" + os.environ["PATH"],
                            "BELAY_SOCKET": self.server.operator_socket}
        self.environment.update({key: value for key, value in os.environ.items() if key.endswith("SAN_OPTIONS")})

    def nothing_ran(self):
        self.assertFalse(os.path.exists(os.path.join(self.folder, "mark")), "the name's own command ran")

    def at_a_terminal(self, command, keys, wanted):
        """Types keys into a shell and reads until the line `wanted` stands there."""
        leader, follower = pty.openpty()
        with subprocess.Popen(command, env=self.environment, cwd=self.folder, stdin=follower, stdout=follower,
                              stderr=follower, start_new_session=True) as shell:
            os.close(follower)
            try:
                os.write(leader, keys.encode())
                return self.read_line(leader, wanted)
            finally:
                os.killpg(shell.pid, signal.SIGKILL)
                os.close(leader)

    def read_line(self, leader, wanted):
        text = ""
        end = time.monotonic() + harness.TIMEOUT
        while time.monotonic() < end:
            if select.select([leader], [], [], 0.2)[0]:
                text += os.read(leader, 65536).decode(errors="replace")
            lines = [line.strip("\r") for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).split("\n")]
            if wanted in lines:
                return
        self.fail(f"{wanted!r} is not in {text!r}")

    def shell(self, *command):
        if shutil.which(command[0]) is None:
            self.skipTest(f"{command[0]} is not installed")
        return command

    def test_bash(self):
        start = os.path.join(self.folder, "start")
        with open(start, "w", encoding="utf-8") as file:
            file.write("source <(belay completion bash)\n")
        command = self.shell("bash", "--noprofile", "--rcfile", start, "-i")
        for prefix, name in NAMES.items():
            with self.subTest(prefix=prefix):
                self.at_a_terminal(command, f"{LINE}{prefix}\t\r", name)
                self.nothing_ran()

    def test_zsh(self):
        with open(os.path.join(self.folder, ".zshrc"), "w", encoding="utf-8") as file:
            file.write("autoload -Uz compinit; compinit -u -D; source <(belay completion zsh)\n")
        command = self.shell("zsh", "-d", "-i")
        for prefix, name in NAMES.items():
            with self.subTest(prefix=prefix):
                self.at_a_terminal(command, f"{LINE}{prefix}\t\r", name)
                self.nothing_ran()

    def test_fish(self):
        command = self.shell("fish", "--no-config", "-c",
                             f"belay completion fish | source; complete -C '{LINE}'")
        run = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True,
                             timeout=harness.TIMEOUT, check=True)
        self.assertEqual(sorted(run.stdout.splitlines()), sorted(NAMES.values()), run.stderr)
        self.nothing_ran()


if __name__ == "__main__":
    harness.main()
