#!/usr/bin/python3
"""`belay sandbox ...` with everything real: the server, its agent, sandboxes of this machine."""
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
import test_sandbox as local  # noqa: E402
import test_sandboxes_real as real  # noqa: E402
from harness import eventually, fetch  # noqa: E402

TIMEOUT = harness.TIMEOUT
LOOK = """
ls "$1" 2>/dev/null && exit 3
(exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && exit 4
(exec 3<>"/dev/tcp/1.1.1.1/80") 2>/dev/null && exit 5
[ "$(ls -d /proc/[0-9]* | wc -l)" -lt 12 ] || exit 6
"""


class RealCommands(real.RealSandboxCase):
    environment = local.SandboxCase.__dict__["environment"]
    belay = local.SandboxCase.belay
    json = local.SandboxCase.json
    start_cli = local.SandboxCase.start
    terminal = local.SandboxCase.terminal
    made = local.SandboxCase.made
    names = local.SandboxCase.names

    def test_a_program_from_create_to_its_removal(self):
        run = self.belay("create", "--rm", "--name", "prog", "--memory", "64MiB", "-e", "A=value", "--", "sh", "-c",
                         'echo "$A $(id -u)"; echo err >&2; exit 7', status=7)
        self.assertEqual(("value 1000\n", "err\n"), (run.stdout, run.stderr))
        eventually(lambda: "prog" not in self.names(), "it is removed")
        self.assertIn("could not be started", self.belay("create", "--rm", "--", "/no/such/program", status=5).stderr)
        self.belay("create", "--rm", "--name", "killed", "--", "sh", "-c", "kill -9 $$", status=137)

    def test_the_log_tells_operators_programs_apart(self):
        self.belay("create", "--detach", "--name", "told", "--", "sh", "-c", "echo main; exec sleep 600")
        self.belay("exec", "told", "--", "sh", "-c", "echo found; echo odd >&2")
        eventually(lambda: "[sh] odd\n" in self.belay("logs", "told").stderr, "it is in the log")
        self.assertEqual("main\n[sh] found\n", self.belay("logs", "told").stdout)
        self.assertEqual("main\n", self.belay("logs", "told", "--main").stdout)
        self.assertEqual(["main"], [line["message"] for line in self.json("logs", "told", "--main")["logs"]])
        self.assertIn("exec.stderr", self.belay("logs", "told", "-o", "wide").stdout)
        self.belay("delete", "told", "--wait")

    def test_top_sees_who_is_busy(self):
        self.belay("create", "--detach", "--name", "idle", "--", "sleep", "600")
        self.belay("create", "--detach", "--name", "busy", "--cpu", "0.5", "--memory", "64MiB", "--", "sh", "-c",
                   "cat /dev/zero | head -c 20000000 > /sandbox/file; while :; do :; done")
        eventually(lambda: self.top()["busy"]["cpuMillis"] > 100, "it is seen")
        # It may have half a CPU, and on a busy machine gets less; a reading between two periods of its limit may be above.
        top = eventually(lambda: (now := self.top())["busy"]["cpuMillis"] < 600 and now, "it is held to its limit")
        busy, idle = top["busy"], top["idle"]
        self.assertLess(idle["cpuMillis"] * 3, busy["cpuMillis"])
        self.assertEqual((500, 64 << 20, "ready", "host"), (int(busy["cpuLimitMillis"]), int(busy["memoryLimitBytes"]),
                                                            busy["phase"], busy["agentName"]))
        for row in (busy, idle):
            self.assertGreater(row["memoryBytes"], 0)
            self.assertGreater(row["processes"], 0)
            self.assertLess(row["ageMs"], 10000)
            self.assertLess(row["intervalUs"], 20_000_000)
        rows = [line.split()[0] for line in self.belay("top").stdout.splitlines()]
        self.assertEqual("busy", rows[1])
        self.assertLess(rows.index("busy"), rows.index("idle"))
        self.assertEqual(["busy", "idle"], [line.split()[0] for line in self.belay(
            "top", "--sort", "name", "--no-headers", "idle", "busy").stdout.splitlines()])
        terminal = self.terminal("top")
        terminal.expect(rb"\x1b\[\?1049h")
        terminal.expect(rb"busy +(\x1b\[\d+m)?\d+\.\d")  # coloured from half a CPU on
        terminal.type(b"q")
        self.assertEqual(0, terminal.wait())
        self.assertIn(b"\x1b[?1049l", terminal.seen)
        self.belay("stop", "busy", "--wait")
        self.assertNotIn("takenAt", {key for key, value in self.top()["busy"].items() if value is not None})
        self.belay("delete", "busy", "idle", "--wait")

    def top(self):
        rows = self.json("top", "--once")["figures"]
        return {row["sandboxName"]: {key: int(value) if isinstance(value, str) and value.isdigit() else value
                                     for key, value in row.items()} for row in rows}

    def test_it_cannot_reach_the_host(self):
        self.made("walled")
        self.belay("exec", "walled", "--", "bash", "-c", LOOK, "look", self.host.state, str(self.server.port))
        self.belay("delete", "walled", "--wait")

    def test_a_life(self):
        self.made("life")
        self.belay("exec", "life", "--", "sh", "-c", "echo kept > /sandbox/file")
        self.assertRegex(self.belay("stop", "life", "--wait").stdout, "stopped")
        self.assertRegex(self.belay("start", "life", "--wait").stdout, "ready")
        self.assertEqual("kept\n", self.belay("exec", "life", "--", "cat", "/sandbox/file").stdout)
        self.assertIn("is gone", self.belay("delete", "life", "--wait").stderr)

    def test_sessions(self):
        self.made("box")
        self.assertEqual("abc", self.belay("exec", "-i", "box", "cat", text="abc").stdout)
        self.belay("exec", "box", "--", "sh", "-c", "kill -15 $$", status=143)
        self.belay("exec", "box", "--timeout", "1s", "--", "sleep", "30", status=124)
        self.belay("exec", "box", "--", "no-such-program", status=127)
        terminal = self.terminal("shell", "box", size=(33, 77))
        terminal.type(b"stty size\r")
        terminal.expect(rb"33 77\r\n")
        terminal.resize(44, 99)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.type(b"sleep 0.3; stty size\r")
        terminal.expect(rb"44 99\r\n")
        terminal.type(b"echo sleepi''ng; sleep 60\r")
        terminal.expect(rb"sleeping\r\n")
        time.sleep(0.5)
        terminal.type(b"\x03")
        terminal.type(b"echo s''till here\r")
        terminal.expect(rb"still here")
        terminal.type(b"exit 9\r")
        self.assertEqual(9, terminal.wait())
        self.assertTrue(terminal.restored())
        def programs():
            return sorted(self.belay("exec", "box", "--", "ps", "-e", "-o", "comm=").stdout.split())
        before = programs()
        left = self.terminal("exec", "-it", "box", "--", "sh")
        left.type(b"echo re''ady\r")
        left.expect(rb"ready\r\n")
        left.type(b"~.")
        self.assertEqual(255, left.wait())
        eventually(lambda: programs() == before, "what was left is ended")
        self.belay("delete", "box", "--wait")

    def test_files_and_ports(self):
        self.made("web", "--memory", "256MiB", "-d", "--", "sh", "-c",
                  "mkdir /sandbox/site; cd /sandbox/site; exec python3 -m http.server 8080 --bind 127.0.0.1")
        site = os.path.join(self.host.directory, "page")
        with open(site, "wb") as file:
            file.write(b"served" * 1000)
        os.chmod(site, 0o640)
        eventually(lambda: "file" in self.belay("cp", site, "web:/sandbox/site/").stderr, "the folder is there")
        self.belay("cp", "web:/sandbox/site", os.path.join(self.host.directory, "back"))
        with open(os.path.join(self.host.directory, "back", "page"), "rb") as file:
            self.assertEqual(b"served" * 1000, file.read())
        self.assertEqual(0o640, os.stat(file.name).st_mode & 0o7777)
        forward = self.start_cli("forward", "web", ":8080", "-o", "name")
        address = forward.stdout.readline().decode().strip()
        eventually(lambda: fetch(f"http://{address}/page") == b"served" * 1000, "the page is there")
        with socket.create_server(("127.0.0.1", 0)) as here:  # a port of the host is not one of the sandbox
            other = self.start_cli("forward", "web", f":{here.getsockname()[1]}", "-o", "name")
            host, port = other.stdout.readline().decode().strip().rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
                self.assertEqual(b"", connection.recv(1))
            self.assertIn("a connection failed", other.stderr.readline().decode())
        self.belay("delete", "web", "--wait")


if __name__ == "__main__":
    harness.main()
