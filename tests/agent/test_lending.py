#!/usr/bin/python3
"""Guests of belay-agent as processes, with sandboxes that really run: what a guest is, what of it outlives what, and
that nothing is left at the end. Loans are put into the state folder as the agent itself writes them, so that no
server has to lend. Needs root: the native driver.

usage: test_lending.py BELAY_AGENT BELAY_SERVER BELAY
"""
import glob
import hashlib
import json
import os
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_program import AGENT, SERVER, World, wait_for  # noqa: E402  pylint: disable=wrong-import-position

ROOM = {"sandboxes": 2, "cpu_millis": 1500, "memory_bytes": 1 << 30, "disk_bytes": 1 << 30}


def processes_below(folder):
    """Those that name the folder in their command line, or stand in it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace")
            where = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if folder in words or where.startswith(folder):
            found.append(int(pid))
    return found


def loops_below(folder):
    found = []
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            with open(path, encoding="utf-8") as file:
                found += [path] if file.read().startswith(folder) else []
        except OSError:
            pass
    return found


def groups_of(instance):
    return glob.glob(f"/sys/fs/cgroup/**/belay-{instance}-*", recursive=True)


def record(loan, name, phase="running"):
    lines = ["belay-loan 1", f"loan {loan}", "workspace other", f"name {name}"]
    lines += [f"{key} {value}" for key, value in ROOM.items()] + [f"phase {phase}"]
    text = "\n".join(lines) + "\n"
    return text + "sum " + hashlib.sha256(text.encode()).hexdigest()[:16] + "\n"


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Lending(World):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()
        self.add_gateway()

    def tearDown(self):
        for process in self.processes:
            process.kill()
            process.wait()
        wait_for("nothing runs here", self.end_what_is_left)
        super().tearDown()

    def end_what_is_left(self):
        """Guests end with their lender, and may write until then."""
        left = processes_below(self.dir)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left

    def write(self, text, *parts):
        path = self.path(*parts)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def start_host(self, *args):
        return self.start(AGENT, "run", "--state-dir", self.path("agent"), "--sandboxes=on", "--sandbox-slots=8",
                          "--sandbox-cpu=8000", "--sandbox-memory=8GiB", "--sandbox-disk=8GiB", *args)

    def enroll(self):
        result = self.agent("enroll", self.join_string("--auto-confirm"), "--name", "host")
        self.assertEqual(result.returncode, 0, result.stderr)

    def agents(self):
        return {agent["name"]: agent for agent in json.loads(self.cli("agent", "list", "-o", "json"))["agents"]}

    def online(self, name):
        return wait_for(f"{name} online", lambda: self.agents().get(name, {}).get("online") and self.agents()[name])

    def shown(self, name):
        return json.loads(self.cli("agent", "get", name, "-o", "json"))

    def make_sandbox(self, name, agent):
        self.cli("sandbox", "create", "--name", name, "--agent", agent, "--disk", "64MiB", "--memory", "64MiB",
                 "--cpu", "0.1", "--detach", "--", "sleep", "100000")

    def instance(self, *parts):
        with open(self.path("agent", *parts, "sandboxes", "instance"), encoding="ascii") as file:
            return file.read()

    def assert_nothing_below(self, folder, instance):
        self.assertEqual(processes_below(folder), [])
        self.assertEqual(loops_below(folder), [])
        self.assertEqual(groups_of(instance), [])
        with open("/proc/mounts", encoding="utf-8") as mounts:
            self.assertNotIn(folder, mounts.read())

    def guests(self):
        status = self.status()
        return status["guests"] if status else None

    def guest_in(self, phase):
        found = [guest for guest in self.guests() or [] if guest["phase"] == phase]
        return found[0] if found else None

    def lend(self, phase="running"):
        """One that is known to the server already, by its join string."""
        self.write(self.join_string("--auto-confirm"), "agent", "guests", "1.join")
        self.write(record("ln_1", "guest", phase), "agent", "guests", "1.loan")

    def test_reset_ends_sandboxes(self):
        self.enroll()
        host = self.start_host()
        self.online("host")
        self.make_sandbox("one", "host")
        host.kill()
        host.wait()
        folder, instance = self.path("agent", "sandboxes"), self.instance()
        self.assertNotEqual(processes_below(folder), [])  # the controls: there is something to end
        self.assertNotEqual(groups_of(instance), [])
        self.assertNotEqual(loops_below(folder), [])
        result = self.agent("reset")
        self.assertEqual(result.returncode, 64)
        self.assertNotEqual(processes_below(folder), [])
        result = self.agent("reset", "--yes")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_nothing_below(folder, instance)
        self.assertEqual(os.listdir(os.path.join(folder, "run")), [])
        self.assertFalse(os.path.exists(self.path("agent", "enrollment")))

    def test_reset_ends_guests(self):
        self.enroll()
        self.lend()
        host = self.start_host()
        self.online("guest")
        self.make_sandbox("one", "guest")
        instance = self.instance("guests", "1")
        host.send_signal(signal.SIGTERM)
        self.assertEqual(host.wait(60), 0)
        folder = self.path("agent", "guests")
        self.assertNotEqual(processes_below(folder), [])
        result = self.agent("reset", "--yes")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_nothing_below(folder, instance)
        self.assertFalse(os.path.exists(folder))

    def test_a_guest_lives_and_is_ended(self):
        self.enroll()
        self.lend()
        host = self.start_host("--label", "of=host")
        self.online("host")
        guest = self.online("guest")
        self.assertNotIn("of", guest.get("labels", {}))
        wait_for("join string gone", lambda: not os.path.exists(self.path("agent", "guests", "1.join")))
        shown = wait_for("guest runs", lambda: self.guest_in("running"))
        self.assertEqual((shown["loan_id"], shown["workspace"], shown["name"], shown["room"]),
                         ("ln_1", "other", "guest", ROOM))
        self.assertIn("ln_1 running", self.agent("status").stdout)
        self.make_sandbox("one", "guest")
        folder, instance = self.path("agent", "guests", "1"), self.instance("guests", "1")
        held = [os.readlink(path) for path in glob.glob(f"/proc/{shown['pid']}/fd/*") if os.path.lexists(path)]
        self.assertNotEqual([name for name in held if name.startswith(folder)], [])
        self.assertEqual([name for name in held if name.startswith(self.path("agent")) and not name.startswith(folder)],
                         [])

        # A guest that ends comes again, and so it does with its lender, however that ended. Its sandbox stays.
        os.kill(shown["pid"], signal.SIGKILL)
        again = wait_for("guest again", lambda: (g := self.guest_in("running")) and g["pid"] != shown["pid"] and g)
        host.kill()
        host.wait()
        wait_for("guest ends with its lender", lambda: not os.path.exists(f"/proc/{again['pid']}"))
        self.assertEqual(len(groups_of(instance)) > 0, True)
        host = self.start_host()
        self.online("host")
        again = wait_for("guest again", lambda: self.guest_in("running"))
        self.online("guest")
        self.assertEqual(self.cli("sandbox", "exec", "one", "--", "echo", "still here").strip(), "still here")

        # A lender that stops gently waits for it.
        host.send_signal(signal.SIGTERM)
        self.assertEqual(host.wait(60), 0)
        self.assertFalse(os.path.exists(f"/proc/{again['pid']}"))
        self.assertNotEqual(processes_below(folder), [])

        # What was being ended is carried on.
        self.write(record("ln_1", "guest", "ending"), "agent", "guests", "1.loan")
        host = self.start_host()
        wait_for("all gone", lambda: self.guests() == [])
        self.assert_nothing_below(folder, instance)
        self.assertEqual(os.listdir(self.path("agent", "guests")), [])

    def test_a_lender_may_be_the_server_program(self):
        self.enroll()
        self.lend()
        server = os.path.join(os.path.dirname(os.path.abspath(AGENT)), "belay-server")  # of the agent's own build
        host = self.start(server, "--mode", "agent", "--", "run", "--state-dir", self.path("agent"), "--sandboxes=on")
        self.online("guest")
        with open(f"/proc/{self.guest_in('running')['pid']}/exe", "rb") as mine, open(server, "rb") as program:
            self.assertEqual(os.fstat(mine.fileno()).st_ino, os.fstat(program.fileno()).st_ino)
        self.write(record("ln_1", "guest", "ending"), "agent", "guests", "1.loan")
        host.send_signal(signal.SIGTERM)
        self.assertEqual(host.wait(60), 0)
        self.start(server, "--mode", "agent", "--", "run", "--state-dir", self.path("agent"), "--sandboxes=on")
        wait_for("all gone", lambda: self.guests() == [])

    def test_what_is_lent_is_not_offered(self):
        self.enroll()
        self.lend()
        self.start_host()
        self.online("guest")
        self.online("host")
        offered = self.shown("host")["capacity"]
        self.assertEqual({key: float(offered[key]) for key in ("sandboxes", "cpus", "memoryBytes", "diskBytes")},
                         {"sandboxes": 6, "cpus": 6.5, "memoryBytes": 7 << 30, "diskBytes": 7 << 30})
        offered = self.shown("guest")["capacity"]
        self.assertEqual((float(offered["sandboxes"]), float(offered["cpus"])), (2, 1.5))

    def test_the_host_stays_unknown(self):
        self.enroll()
        self.lend()
        self.start_host("--sample-interval=250ms", "--spool-delay=0s")
        self.online("guest")
        host = wait_for("samples", lambda: (h := self.shown("host")) and int(h["telemetrySequence"]) > 1 and h)
        guest = self.shown("guest")
        self.assertEqual(host["host"]["hostname"], os.uname().nodename)
        self.assertEqual((guest["host"]["hostname"], guest["host"]["machineId"], guest["telemetrySequence"]),
                         ("guest", "", "0"))
        self.assertEqual((guest["host"]["cpuCount"], guest["host"]["memoryBytes"]), (2, str(1 << 30)))
        self.assertNotEqual(self.status()["host"], [])
        self.assertEqual(self.status(os.path.join("agent", "guests", "1"))["host"], [])

    def test_a_damaged_record_is_left_alone(self):
        self.enroll()
        self.lend()
        path = self.write(record("ln_1", "guest").replace("2", "3", 1), "agent", "guests", "1.loan")
        host = self.start_host()
        shown = wait_for("damaged", lambda: self.guest_in("damaged"))
        self.assertEqual((shown["pid"], shown["loan_id"]), (0, "ln_1"))
        self.assertTrue(os.path.exists(path))
        self.assertIsNotNone(self.find_event(host, "loan_damaged"))

    def test_lent_is_for_lenders(self):
        result = self.agent("run", "--lent")
        self.assertEqual(result.returncode, 64, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
