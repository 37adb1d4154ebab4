#!/usr/bin/python3
"""belay-agent as a process: its exit statuses and texts, its state folder, and what survives kill -9,
against a real belay-server on a free port with its own SQLite file. Nothing here waits for a fixed
time: every wait is for a condition, with a bound.

usage: test_program.py BELAY_AGENT BELAY_SERVER BELAY
"""
import http.server
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

AGENT, SERVER, CLI = sys.argv[1:4]
PATIENCE = 60
TOKEN = "blt_0123456789abcdefghijABCDEFGHIJ-_0123456789a"


def wait_for(what, condition):
    """Polls until condition() is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        select.select([], [], [], 0.05)
    raise AssertionError(f"never: {what}")


def is_reading(pid):
    """It stands in read() of its standard input: the number of the system call, then its arguments."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        return file.read().split()[:2] == ["0", "0x0"]


class World(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="belay-agent-")
        self.processes = []
        self.mounts = []
        self.port = None
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("BELAY_")}
        self.env["XDG_CONFIG_HOME"] = self.path("config")

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.log.close()
        for folder in self.mounts:
            self.run_program("umount", "-l", folder)
        shutil.rmtree(self.dir)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def run_program(self, *args, stdin=None):
        return subprocess.run(args, env=self.env, input=stdin, capture_output=True, text=True,
                              timeout=PATIENCE, check=False)

    def agent(self, *args, state="agent", stdin=None):
        return self.run_program(AGENT, *args, "--state-dir", self.path(state), stdin=stdin)

    def start(self, *args):
        log = open(self.path(f"log-{len(self.processes)}"), "w+", encoding="utf-8")
        process = subprocess.Popen(args, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        process.log = log
        self.processes.append(process)
        return process

    def log_of(self, process):
        with open(process.log.name, encoding="utf-8") as text:
            return text.read()

    def start_server(self, folder="server"):
        listen = f"127.0.0.1:{self.port or 0}"
        process = self.start(SERVER, "--mode", "server", "--state-dir", self.path(folder),
                             "--listen", listen, "--heartbeat-interval", "1s",
                             *(["--advertise", listen] if self.port else []))
        ready = wait_for("server ready", lambda: self.find_event(process, "ready"))
        self.port = ready["tls_port"]
        self.socket = ready["operator_socket"]
        return process

    def find_event(self, process, name):
        if process.poll() is not None:
            raise AssertionError(self.log_of(process))
        for line in self.log_of(process).splitlines():
            if f'"event":"{name}"' in line:
                return json.loads(line)
        return None

    def cli(self, *args):
        result = self.run_program(CLI, "-g", "test", *args)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def add_gateway(self):
        result = self.run_program(CLI, "gateway", "add", "test", "unix:" + self.socket, "--replace")
        self.assertEqual(result.returncode, 0, result.stderr)

    def join_string(self, *args):
        return self.cli("enroll", "token", *args).strip()

    def start_agent(self, *args, state="agent"):
        return self.start(AGENT, "run", "--state-dir", self.path(state), "--sample-interval", "250ms",
                          "--spool-delay", "0s", *args)

    def status(self, state="agent"):
        result = self.agent("status", "-o", "json", state=state)
        return json.loads(result.stdout) if result.returncode == 0 else None

    def is_online(self):
        status = self.status()
        return status is not None and status["link"]["online"]

    def enroll(self):
        result = self.agent("enroll", self.join_string("--auto-confirm"), "--name", "pump-7")
        self.assertEqual(result.returncode, 0, result.stderr)


class Alone(World):
    """What needs no server."""

    def check(self, result, status, *texts):
        self.assertEqual(result.returncode, status, result.stderr + result.stdout)
        for text in texts:
            self.assertIn(text, result.stderr)
        self.assertNotIn(TOKEN[:10], result.stderr)

    def test_usage(self):
        self.check(self.run_program(AGENT), 64, "no command")
        self.check(self.run_program(AGENT, "bogus"), 64, "unknown command: bogus")
        self.check(self.run_program(AGENT, "run", "--stat-dir", "x"), 64, '"--state-dir"')
        self.check(self.run_program(AGENT, "run", "extra"), 64, "unexpected word: extra")
        self.check(self.agent("run", "--sample-interval", "1ms"), 64, "sample-interval")
        self.assertEqual(self.run_program(AGENT, "--help").returncode, 0)
        self.assertIn("belay-agent", self.run_program(AGENT, "--version").stdout)

    def test_configuration_file(self):
        with open(self.path("agent.yaml"), "w", encoding="utf-8") as file:
            file.write("sample_interval: 2s\nspool_max_byte: 64MiB\n")
        result = self.agent("config", "check", "--config", self.path("agent.yaml"))
        self.check(result, 64, "agent.yaml:2:1", "spool_max_bytes")

    def test_not_enrolled(self):
        self.check(self.agent("run"), 78, "not enrolled", "belay-agent enroll")
        self.check(self.agent("status"), 69, "not running", "not enrolled")

    def test_wrong_join_strings(self):
        self.check(self.agent("enroll"), 64, "join string")
        self.check(self.agent("enroll", "https://host/?token=" + TOKEN), 64, "join string")
        self.check(self.agent("enroll", "elay://host:1/?token=" + TOKEN), 64, "join string")
        self.check(self.agent("enroll", TOKEN), 64, "join string")
        self.check(self.agent("enroll", self.path("nowhere")), 73, "nowhere")
        self.check(self.agent("enroll", "belay://host:1/?token=" + TOKEN), 64, "no ca=")
        self.check(self.agent("enroll", "belay://host:1/?token=" + TOKEN + "&ca=12"), 64, "64 hex")
        self.check(self.agent("enroll", f"belay://127.0.0.1:1/?token={TOKEN}"), 69, "127.0.0.1:1")
        self.assertFalse(os.path.exists(self.path("agent", "pending")))

    def test_waiting_for_a_join_string_can_be_ended(self):
        waiting = subprocess.Popen([AGENT, "enroll", "-", "--state-dir", self.path("agent")], env=self.env,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(waiting.stdout.close)
        self.addCleanup(waiting.stdin.close)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        wait_for("it reads", lambda: is_reading(waiting.pid))
        waiting.send_signal(signal.SIGINT)
        self.assertEqual(-signal.SIGINT, waiting.wait(PATIENCE))

    def test_a_proxy_without_http2(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        server.RequestHandlerClass.log_message = lambda *args: None
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            join = f"belay://127.0.0.1:{server.server_port}/?token={TOKEN}"
            self.check(self.agent("enroll", join), 69, "does not pass HTTP/2", "proxy")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def test_state_folder(self):
        self.check(self.agent("run"), 78)
        os.chmod(self.path("agent"), 0o755)
        self.check(self.agent("run"), 77, "chmod 700")
        os.chmod(self.path("agent"), 0o700)
        os.chmod(self.path("agent", "identity.key"), 0o644)
        self.check(self.agent("run"), 77, "identity.key", "chmod 600")
        os.symlink(self.path("agent"), self.path("link"))
        self.check(self.agent("run", state="link"), 77, "link")

    def test_reset_asks(self):
        self.check(self.agent("run"), 78)
        self.check(self.agent("reset"), 64, "--yes")
        self.assertTrue(os.path.exists(self.path("agent", "identity.key")))
        self.assertEqual(self.agent("reset", "--yes").returncode, 0)
        self.assertEqual(os.listdir(self.path("agent")), ["lock"])

    def test_a_spool_from_the_future(self):
        self.check(self.agent("run"), 78)
        with sqlite3.connect(self.path("agent", "spool.db")) as database:
            table = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'belay_schema%'").fetchone()[0]
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            row = list(database.execute(f"SELECT * FROM {table}").fetchone())
            row[columns.index("version")] = 99
            database.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
        self.check(self.agent("run"), 78, "version 99", "upgrade")


class WithServer(World):
    def test_enrolling_and_obeying(self):
        server = self.start_server()
        self.add_gateway()
        join = self.join_string()
        enroll = self.start(AGENT, "enroll", "-", "--state-dir", self.path("agent"), "--name", "pump-7")
        enroll.wait(PATIENCE)  # nothing on standard input
        self.assertEqual(enroll.returncode, 64)
        result = self.agent("enroll", "-", "--no-wait", "--name", "pump-7", stdin=join + "\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        fingerprint = result.stdout.split("Fingerprint: ")[1].split()[0]
        agent = self.start_agent()
        enrollment = json.loads(self.cli("enroll", "list", "-o", "json"))
        text = json.dumps(enrollment)
        self.assertIn(fingerprint, text)
        ids = self.cli("enroll", "list", "--no-headers").splitlines()
        waiting = [line.split()[0] for line in ids if "awaiting" in line]
        self.cli("enroll", "confirm", waiting[0], fingerprint)
        wait_for("online", self.is_online)
        again = self.agent("enroll", join)
        self.assertEqual(again.returncode, 75, again.stderr)  # the folder is in use
        answer = self.cli("command", "send", "pump-7", "device", "--action", "identify", "--wait")
        self.assertIn('"hostname"', answer)
        refused = self.run_program(CLI, "-g", "test", "command", "send", "pump-7", "device",
                                   "--action", "reboot", "--wait")
        self.assertIn("not allowed", refused.stdout + refused.stderr)
        agent.send_signal(signal.SIGTERM)
        self.assertEqual(agent.wait(PATIENCE), 0)
        self.assertIsNone(server.poll())
        again = self.agent("enroll", join)
        self.assertEqual(again.returncode, 73, again.stderr)
        self.assertIn("already enrolled", again.stderr)

    def test_a_reboot_that_the_machine_allows(self):
        """For real, in a namespace of processes of its own: there reboot(2) ends that namespace and nothing else."""
        self.start_server()
        self.add_gateway()
        self.enroll()
        agent = self.start("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", AGENT, "run", "--state-dir",
                           self.path("agent"), "--allow-actions", "reboot")
        wait_for("online, or the end", lambda: agent.poll() is not None or self.is_online())
        if agent.poll() is not None:
            self.skipTest("may not make a namespace of processes: " + self.log_of(agent).strip())
        # Before anything is commanded: it is the first process of a namespace that is not ours.
        self.assertEqual(1, self.status()["pid"])
        with open(f"/proc/{agent.pid}/task/{agent.pid}/children", encoding="ascii") as children:
            inside = int(children.read().split()[0])
        self.assertNotEqual(os.readlink("/proc/self/ns/pid"), os.readlink(f"/proc/{inside}/ns/pid"))
        answer = self.cli("command", "send", "pump-7", "device", "--action", "reboot", "--wait")
        self.assertIn("succeeded", answer.lower())
        # What the kernel does to a namespace that asks for a restart: its first process dies of SIGHUP.
        self.assertIn(agent.wait(PATIENCE), (-signal.SIGHUP, 128 + signal.SIGHUP))
        self.assertEqual(self.agent("spool", "verify").returncode, 0)
        # After the "boot" the command is not carried out again.
        again = self.start_agent()  # here it must not be allowed: it would be this machine
        wait_for("online again", self.is_online)
        wait_for("the command is known as acknowledged", lambda: [
            command for command in self.status()["commands"] if command["status"] == "acknowledged"])
        self.assertNotIn("command_started", self.log_of(again))

    def test_tokens_work_once(self):
        self.start_server()
        self.add_gateway()
        join = self.join_string("--auto-confirm")
        self.assertEqual(self.agent("enroll", join, state="one").returncode, 0)
        result = self.agent("enroll", join, state="two")
        self.assertEqual(result.returncode, 77, result.stderr)
        self.assertFalse(os.path.exists(self.path("two", "pending")))

    def test_another_server_is_not_trusted(self):
        self.start_server()
        self.add_gateway()
        join = self.join_string("--auto-confirm")
        other = join.split("ca=")[0] + "ca=" + "00" * 32
        result = self.agent("enroll", other)
        self.assertEqual(result.returncode, 77, result.stderr)
        self.assertFalse(os.path.exists(self.path("agent", "ca.pem")))
        self.enroll()
        # the same address, but a server with another CA: not a byte of the key reaches it
        for process in self.processes:
            process.kill()
            process.wait()
        self.start_server(folder="impostor")
        self.start_agent()
        error = wait_for("an error", lambda: (self.status() or {"link": {"last_error": ""}})["link"]["last_error"])
        self.assertIn("certificate", error)
        self.assertFalse(self.is_online())

    def stored_times(self):
        """Times of one metric's samples, as the server stored them."""
        uri = f"file:{self.path('server', 'belay.db')}?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=10)
        try:
            return [row[0] for row in database.execute(
                "SELECT time_us FROM sample WHERE series_id IN "
                "(SELECT id FROM series WHERE metric = 'host.uptime')")]
        finally:
            database.close()

    def spool(self):
        result = self.agent("spool", "inspect", "-o", "json")
        return json.loads(result.stdout)["telemetry"] if result.returncode == 0 else None

    def test_a_full_disk(self):
        """A small file system of its own: the agent goes on in memory, and writes when there is room."""
        folder = self.path("small")
        os.mkdir(folder)
        mount = self.run_program("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", folder)
        if mount.returncode != 0:
            self.skipTest("may not mount a tmpfs: " + mount.stderr.strip())
        self.mounts.append(folder)
        server = self.start_server()
        self.add_gateway()
        state = os.path.join("small", "agent")
        result = self.agent("enroll", self.join_string("--auto-confirm"), state=state)
        self.assertEqual(result.returncode, 0, result.stderr)
        server.kill()
        server.wait()
        filler = open(self.path("small", "filler"), "wb")
        self.start_agent(state=state)
        wait_for("running", lambda: self.status(state))
        try:
            while True:
                filler.write(bytes(4096))
                filler.flush()
        except OSError:
            pass
        wait_for("degraded", lambda: self.status(state)["spool"]["degraded"])
        self.assertIn("full", self.status(state)["spool"]["last_error"])
        wait_for("records in memory", lambda: self.status(state)["spool"]["waiting_in_memory"] > 2)
        try:
            filler.close()
        except OSError:
            pass
        os.unlink(self.path("small", "filler"))
        wait_for("written", lambda: not self.status(state)["spool"]["degraded"])
        self.assertEqual(self.status(state)["spool"]["waiting_in_memory"], 0)
        self.assertEqual(self.status(state)["spool"]["telemetry"]["dropped"], 0)
        self.start_server()
        wait_for("online and empty", lambda: self.status(state)["link"]["online"]
                 and self.status(state)["spool"]["telemetry"]["records"] <= 1)

    def test_nothing_is_lost_or_doubled_by_kill(self):
        server = self.start_server()
        self.add_gateway()
        self.enroll()
        agent = self.start_agent()
        wait_for("online", self.is_online)
        for round_number in range(3):
            before = self.spool()["next_sequence"]
            server.kill()
            server.wait()
            wait_for("records wait", lambda start=before: self.spool()["next_sequence"] > start + 4)
            agent.kill()
            agent.wait()
            self.assertEqual(self.agent("spool", "verify").returncode, 0)
            server = self.start_server()
            agent = self.start_agent()
            wait_for("caught up", lambda: self.is_online() and self.spool()["records"] <= 1)
            if round_number == 1:  # in the middle of uploads too
                agent.kill()
                agent.wait()
                agent = self.start_agent()
                wait_for("online", self.is_online)
        agent.send_signal(signal.SIGTERM)
        self.assertEqual(agent.wait(PATIENCE), 0)
        spool = self.spool()
        times = self.stored_times()
        # every record holds one sample of host.uptime: as many as were numbered, less those that still wait
        self.assertEqual(len(times), len(set(times)))
        self.assertEqual(len(times), spool["next_sequence"] - 1 - spool["records"])
        self.assertEqual(spool["dropped"], 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
