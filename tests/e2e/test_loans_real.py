#!/usr/bin/python3
"""Part of an agent's room for another workspace, from end to end: the command line, the real server, the real agent, the
agent it runs for the borrower, real sandboxes of both."""
import signal

from chaos.pages import FaultPage
from harness import *
import test_sandboxes_real as real

V = openshell
MIB = 1 << 20


def lives(pid):
    """Also not when it has ended and waits for whoever is its parent by now."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Loans(real.RealSandboxCase):
    agent_options = ("--sandboxes", "on", "--sandbox-slots", "6", "--sandbox-cpu", "4000", "--sandbox-memory", "4GiB",
                     "--sandbox-disk", "8GiB")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (7, 'other', 0)")

    def setUp(self):
        super().setUp()
        self.addCleanup(self.take_back)

    def belay(self, *args, status=0):
        run = self.server.cli(*args, check=False)
        self.assertEqual(status, run.returncode, run.stdout + run.stderr)
        return run.stdout + run.stderr

    def lend(self, name="guest", sandboxes=2, cpu="1", memory="1GiB", disk="2GiB", status=0):
        return self.belay("loan", "create", "host", "--to", "other", "--name", name, "--sandboxes", str(sandboxes), "--cpu", cpu,
                          "--memory", memory, "--disk", disk, "--wait", status=status)

    def loans(self):
        return list(self.operator.ListLoans().loans)

    def lent(self, name="guest", **fields):
        self.lend(name, **fields)

        def online():
            loan = next((loan for loan in self.loans() if loan.name == name and loan.is_online), None)
            offers = loan and self.operator.GetAgent(agent=name, workspace="other").capacity.sandboxes
            return loan if offers else None
        return eventually(online, f"{name} is online")

    def guests(self):
        """As the lender tells: by loan."""
        return {guest["loan_id"]: guest for guest in self.host.status()["guests"]}

    def end(self, loan):
        self.belay("loan", "end", loan.id, "--yes", "--wait")

    def take_back(self):
        for loan in self.loans():
            self.end(loan)

    def room(self):
        return self.operator.GetAgent(agent="host").capacity

    def theirs(self, name, *command):
        self.shell.CreateSandbox(name=name, workspace="other", spec=V.SandboxSpec(command=list(command)))
        return self.their_phase(name, V.SANDBOX_PHASE_READY)

    def their_phase(self, name, phase):
        def look():
            sandbox = self.shell.GetSandbox(name=name, workspace="other").sandbox
            return sandbox if sandbox.status.phase == phase else None
        return eventually(look, f"{name} is {V.SandboxPhase.Name(phase)}")

    def forget(self, name):
        self.shell.DeleteSandbox(name=name, workspace="other")
        eventually(lambda: code_of(lambda: self.shell.GetSandbox(name=name, workspace="other"))[0] == Code.NOT_FOUND,
                   f"{name} is gone")

    def their_lines(self, sandbox):
        return [line.message for line in self.shell.GetSandboxLogs(
            sandbox_id=sandbox.metadata.id, workspace="other", lines=2000, sources=["sandbox"]).logs]

    def shim(self, sandbox):
        (path,) = glob.glob(os.path.join(self.host.state, "guests", "*", "sandboxes", "run", sandbox.metadata.id, "state.json"))
        with open(path, encoding="utf-8") as file:
            return json.load(file)["shim_pid"]

    def test_from_lending_to_taking_back(self):
        whole = self.room()
        loan = self.lent("theirs")
        rest = eventually(lambda: self.room() if self.room().sandboxes == 4 else None, "the lender offers less")
        self.assertEqual((whole.cpus - 1, whole.memory_bytes - 1024 * MIB, whole.disk_bytes - 2048 * MIB),
                         (rest.cpus, rest.memory_bytes, rest.disk_bytes))
        guest = self.operator.GetAgent(agent="theirs", workspace="other")
        self.assertEqual((2, 1, 1024 * MIB, 2048 * MIB), (
            guest.capacity.sandboxes, guest.capacity.cpus, guest.capacity.memory_bytes, guest.capacity.disk_bytes))
        self.assertEqual(("theirs", "", 1, 1024 * MIB), (
            guest.host.hostname, guest.host.machine_id, guest.host.cpu_count, guest.host.memory_bytes))
        self.assertEqual({"belay.dev/lent": "true"}, dict(guest.labels))
        ours = self.ready("same", "sh", "-c", "echo ours; exec cat")
        theirs = self.theirs("same", "sh", "-c", "echo theirs; exec cat")
        self.assertNotEqual(ours.metadata.id, theirs.metadata.id)
        self.says(ours, "ours")
        eventually(lambda: "theirs" in self.their_lines(theirs), "the borrower's sandbox says its word")
        shim = self.shim(theirs)
        pid = self.guests()[loan.id]["pid"]
        self.end(loan)
        self.shell.DeleteSandbox(name="same", workspace="other")  # of a revoked agent's only the record is left
        self.refused(Code.NOT_FOUND, lambda: self.shell.GetSandbox(name="same", workspace="other"))
        self.assertFalse(lives(shim), "the borrower's sandbox runs on")
        self.assertFalse(lives(pid), "the borrower's agent runs on")
        self.assertEqual([], os.listdir(os.path.join(self.host.state, "guests")))
        with open("/proc/mounts", encoding="ascii") as mounts:
            self.assertNotIn(os.path.join(self.host.state, "guests"), mounts.read())
        eventually(lambda: self.room() == whole, "the lender offers all of it again")
        self.says(ours, "ours")
        self.shell.DeleteSandbox(name="same")
        self.gone("same")

    def test_the_local_operator_works_there_as_at_home(self):
        self.lent("there")

        def there(*args, status=0):
            return self.belay("sandbox", *args[:1], "-w", "other", *args[1:], status=status)
        self.assertIn("hello\n", there("create", "--rm", "--", "sh", "-c", "echo hello; exit 7", status=7))
        there("create", "--name", "work", "-d", "--", "sh", "-c",
              "mkdir /sandbox/site; cd /sandbox/site; exec python3 -m http.server 8080 --bind 127.0.0.1")
        self.assertIn("in it\n", there("exec", "work", "--", "sh", "-c", "echo in it; exit 5", status=5))
        path = os.path.join(self.server.directory, "page")
        with open(path, "wb") as file:
            file.write(b"served")
        eventually(lambda: self.server.cli("sandbox", "-w", "other", "cp", path, "work:/sandbox/site/", check=False).returncode == 0,
                   "the file is there")
        with subprocess.Popen([os.path.join(BIN, "belay"), "sandbox", "forward", "-w", "other", "work", ":8080", "-o", "name"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "BELAY_SOCKET": self.server.operator_socket}) as forward:
            self.addCleanup(lambda: forward.poll() is None and forward.kill())
            address = forward.stdout.readline().strip()
            eventually(lambda: fetch(f"http://{address}/page") == b"served", "the page is there")
            forward.terminate()
            forward.communicate(timeout=TIMEOUT)
        self.assertEqual(0, self.server.database.number("SELECT count(*) FROM sandbox_forward"))
        eventually(lambda: "GET /page" in there("logs", "work"), "the log is there")
        there("delete", "work", "--wait")

    def test_the_borrower_learns_nothing_of_the_machine(self):
        self.lent("blind")
        order = gateway.AgentCommand(telemetry_now=gateway.TelemetryNow())
        for order in (order, gateway.AgentCommand(device_command=gateway.DeviceCommand(action="identify"))):
            sent = self.operator.SendCommand(agent="blind", workspace="other", command=order)

            def ended(sent=sent):
                command = self.operator.GetCommand(id=sent.id, workspace="other")
                return command if command.state == admin.COMMAND_STATE_FAILED else None
            self.assertEqual(gateway.ACK_CODE_FORBIDDEN, eventually(ended, "it is refused").code)
        self.assertEqual([], list(self.operator.ListMetrics(workspace="other").metrics))
        secrets = {os.uname().nodename} - {"localhost"}
        with contextlib.suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
            secrets.add(file.read().strip())
        told = str(self.operator.ListAgents(workspace="other")) + str(self.operator.ListEvents(workspace="other")) + str(
            self.operator.ListDevices(workspace="other"))
        for secret in secrets - {""}:
            self.assertNotIn(f'"{secret}"', told)

    def test_no_more_than_there_is(self):
        self.lent("much", sandboxes=3, memory="3GiB")
        for fields, word in ((dict(sandboxes=4), "3"), (dict(memory="2GiB"), "memory"), (dict(cpu="3500m"), "processor"),
                             (dict(disk="7GiB"), "disk")):
            self.assertIn(word, self.lend("more", status=1, **fields))
        waiting = [loan for loan in self.loans() if loan.name != "much"]
        self.assertEqual(4, len(waiting))
        for loan in waiting:
            self.end(loan)
        self.assertEqual(1, len(self.guests()))
        self.ready("own", "cat")
        self.assertIn("sandboxes", self.lend("more", sandboxes=3, memory="8MiB", cpu="10m", disk="1MiB", status=1))
        self.shell.DeleteSandbox(name="own")
        self.gone("own")

    def test_a_guest_lends_nothing(self):
        self.lent("second")
        self.refused(Code.FAILED_PRECONDITION, lambda: self.operator.LendAgent(
            agent="second", workspace="other", to_workspace="default", room=gateway.LoanRoom(
                sandboxes=1, cpu_millis=10, memory_bytes=4 * MIB, disk_bytes=MIB)))

    def test_kill_9_of_either(self):
        loan = self.lent("tough")
        sandbox = self.theirs("steady", "sh", "-c", "echo once >>n; cat n; exec cat")
        shim = self.shim(sandbox)
        first = self.guests()[loan.id]["pid"]
        os.kill(first, signal.SIGKILL)
        second = eventually(lambda: (self.guests()[loan.id]["pid"] or first) != first and self.guests()[loan.id]["pid"],
                            "it is started again")
        self.host.kill()
        eventually(lambda: not lives(second), "the borrower's agent goes with its lender")
        self.start()
        eventually(lambda: any(one.is_online for one in self.loans()), "it is back with its lender")
        again = self.their_phase("steady", V.SANDBOX_PHASE_READY)
        self.assertEqual("run-1", again.status.main_process_instance_id)
        self.assertEqual(shim, self.shim(sandbox))
        eventually(lambda: self.their_lines(sandbox), "its word has come")
        self.assertEqual(["once"], list(dict.fromkeys(self.their_lines(sandbox))))
        self.forget("steady")

    def users(self, sandbox):
        (path,) = glob.glob(os.path.join(self.host.state, "guests", "*", "sandboxes", "run", sandbox.metadata.id, "state.json"))
        with open(path, encoding="utf-8") as file:
            init = json.load(file)["init_pid"]
        with open(f"/proc/{init}/uid_map", encoding="utf-8") as file:
            return {int(line.split()[1]) for line in file}

    def test_users_of_what_runs_on_without_its_agent_are_nobody_elses(self):
        loan = self.lent("away", sandboxes=1)
        first = self.theirs("first", "cat")
        users = self.users(first)
        os.kill(self.guests()[loan.id]["pid"], signal.SIGKILL)
        self.lent("new", sandboxes=1)  # starts before the other is started again
        self.shell.CreateSandbox(name="second", workspace="other", spec=V.SandboxSpec(command=["cat"]),
                                 annotations={"belay.dev/agent": "new"})
        second = self.their_phase("second", V.SANDBOX_PHASE_READY)
        self.assertEqual(set(), users & self.users(second))
        eventually(lambda: all(one.is_online for one in self.loans()), "both are online")
        self.forget("first")
        self.forget("second")

    def test_an_orderly_stop_takes_it_along(self):
        loan = self.lent("orderly")
        sandbox = self.theirs("stays", "cat")
        pid = self.guests()[loan.id]["pid"]
        self.assertEqual(0, self.host.terminate())
        self.assertFalse(lives(pid))
        self.assertTrue(lives(self.shim(sandbox)))
        self.start()
        eventually(lambda: any(one.is_online for one in self.loans()), "it is back")
        self.their_phase("stays", V.SANDBOX_PHASE_READY)
        self.forget("stays")


class Steps(Loans):
    """kill -9 of the lender at every step: a loan is there once, or gone, all the same."""

    def cut(self, step, *args):
        self.fault.arm(step, FaultPage.KILL)
        told = self.belay(*args)  # does not wait for the answer
        eventually(lambda: not self.host.is_running(), f"the agent dies at {step}")
        self.assertTrue(self.fault.fired)
        self.start()
        return told

    def test_lending(self):
        for number, step in enumerate(("command.numbered", "loan.join_kept", "loan.kept", "command.done", "command.acked")):
            with self.subTest(step):
                name = f"part-{number}"
                self.cut("agent." + step, "loan", "create", "host", "--to", "other", "--name", name, "--sandboxes", "1",
                         "--cpu", "500m", "--memory", "256MiB", "--disk", "256MiB")
                eventually(lambda n=name: any(loan.name == n and loan.is_online for loan in self.loans()), f"{name} is online")
                self.assertEqual(number + 1, len(self.guests()))
        eventually(lambda: self.room().sandboxes == 1, "each is counted once")

    def test_taking_back(self):
        for number, step in enumerate(("command.numbered", "loan.ending", "loan.left", "loan.erased", "loan.gone", "command.done")):
            with self.subTest(step):
                loan = self.lent(f"part-{number}", sandboxes=1)
                sandbox = self.theirs(f"box-{number}", "cat")
                shim = self.shim(sandbox)
                self.cut("agent." + step, "loan", "end", loan.id, "--yes")
                eventually(lambda: not self.guests(), "the loan is gone")
                self.assertFalse(lives(shim))
                self.assertEqual([], os.listdir(os.path.join(self.host.state, "guests")))
                eventually(lambda: self.room().sandboxes == 6, "the room is the lender's again")
                self.forget(f"box-{number}")


for name in [name for name in dir(Loans) if name.startswith("test_")]:
    setattr(Steps, name, None)


if __name__ == "__main__":
    unittest.main(verbosity=2)
