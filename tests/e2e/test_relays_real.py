#!/usr/bin/python3
"""Operators inside real sandboxes: exec and forward from grpcio through the real server to the real agent."""
import hashlib
import http.client
import re
import signal
import socket

from harness import *
from test_sandboxes_real import RealSandboxCase

V = openshell
MUCH = 10 << 20
LAST = object()
PATIENCE = 120  # for much data, on a machine that has other work

# AddressSanitizer keeps little freed memory, so that a process's size tells what it holds.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


class Outcome:
    """What came of one exec, read to its end."""

    def __init__(self, events):
        self.out, self.err, self.codes = b"", b"", []
        for event in events:
            kind = event.WhichOneof("payload")
            assert not self.codes, "an event after the exit"
            if kind == "stdout":
                self.out += event.stdout.data
            elif kind == "stderr":
                self.err += event.stderr.data
            else:
                self.codes.append(event.exit.exit_code)
        assert len(self.codes) == 1, self.codes
        self.code = self.codes[0]


class Session:
    """ExecSandboxInteractive, driven by hand."""

    def __init__(self, shell, **start):
        self.inputs = queue.Queue()
        self.inputs.put(V.ExecSandboxInput(start=V.ExecSandboxRequest(**start)))
        self.events = shell.ExecSandboxInteractive(iter(self.inputs.get, LAST), timeout=PATIENCE)
        self.out = b""

    def say(self, data):
        self.inputs.put(V.ExecSandboxInput(stdin=data))

    def resize(self, columns, rows):
        self.inputs.put(V.ExecSandboxInput(resize=V.ExecSandboxWindowResize(cols=columns, rows=rows)))

    def end_input(self):
        self.inputs.put(LAST)

    def read_until(self, text):
        while text not in self.out:
            self.out += next(self.events).stdout.data

    def exit(self):
        self.end_input()
        outcome = Outcome(self.events)
        self.out += outcome.out
        return outcome.code

    def cancel(self):
        self.events.cancel()
        self.inputs.put(LAST)


class RelayCase(RealSandboxCase):
    def open(self, name):
        self.sandbox = self.ready(name, "sleep", "infinity")
        self.id = self.sandbox.metadata.id

    def tearDown(self):
        for sandbox in self.shell.ListSandboxes(limit=1000).sandboxes:
            self.shell.DeleteSandbox(name=sandbox.metadata.name)

    def online(self):
        eventually(lambda: (self.host.status() or {}).get("link", {}).get("online"), "the agent is online")

    def run_(self, *command, **fields):
        return Outcome(self.shell.ExecSandbox(sandbox_id=self.id, command=list(command), **fields))

    def sh(self, script, **fields):
        return self.run_("sh", "-c", script, **fields)

    def running(self, name):
        """How many programs of that name are in the sandbox."""
        return int(self.sh('n=0; for f in /proc/[0-9]*/comm; do read c < $f; [ "$c" = ' + name +
                           " ] && n=$((n+1)); done; echo $n").out)


class Exec(RelayCase):
    def test_input_outputs_and_exit_codes(self):
        self.open("codes")
        got = self.sh("cat; echo $A >&2; pwd >&2; exit 7", stdin=b"given", environment={"A": "b=c"}, workdir="/tmp")
        self.assertEqual((b"given", b"b=c\n/tmp\n", 7), (got.out, got.err, got.code))
        for script, code in (("true", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)):
            self.assertEqual(code, self.sh(script).code, script)
        for program, code, word in (("no-such", 127, b"no such"), ("/no/such", 127, b"no such"),
                                    ("/etc/passwd", 126, b"ermission"), ("/tmp", 126, b"/tmp")):
            got = self.run_(program)
            self.assertEqual(code, got.code, program)
            self.assertIn(word, got.err)
        self.assertEqual(127, self.run_("true", workdir="/no/such").code)
        got = self.run_("sh", "-c", "echo $# ${#1} ${#A}", "sh", *["x" * 32000] * 30, environment={"A": "y" * 8192})
        self.assertEqual(b"30 32000 8192\n", got.out)

    def test_a_timeout_is_124(self):
        self.open("late")
        at = time.monotonic()
        got = self.sh("trap '' TERM HUP; echo before; sleep 60", timeout_seconds=1)
        self.assertEqual((b"before\n", 124), (got.out, got.code))
        self.assertLess(time.monotonic() - at, 10)
        eventually(lambda: self.running("sleep") == 1, "the main program alone sleeps")

    def test_much_both_ways(self):
        self.open("much")
        given = os.urandom(MUCH)
        session = Session(self.shell, sandbox_id=self.id, command=["tee", "/dev/stderr"])
        for at in range(0, MUCH, 1 << 18):
            session.say(given[at:at + (1 << 18)])
        session.end_input()
        got = Outcome(session.events)
        self.assertEqual((0, hashlib.sha256(given).digest(), hashlib.sha256(given).digest()),
                         (got.code, hashlib.sha256(got.out).digest(), hashlib.sha256(got.err).digest()))

    def test_a_reader_that_stops_stops_the_program(self):
        self.open("slow")
        pids = (self.server.process.pid, self.host.process.pid)
        before = [resident_kib(pid) for pid in pids]
        events = self.shell.ExecSandbox(sandbox_id=self.id, command=["sh", "-c",
                                        ": > /sandbox/at; while :; do head -c 65536 /dev/zero; echo x >> /sandbox/at; done"])
        next(events)
        count = lambda: int(self.sh("wc -l < /sandbox/at").out)
        seen = -1
        while seen != count():
            seen = count()
            time.sleep(1)
        self.assertLess(seen * 65536, 64 << 20)
        for pid, kib in zip(pids, before):
            self.assertLess(resident_kib(pid) - kib, 64 << 10)
        got = sum(len(next(events).stdout.data) for _ in range(500))  # it goes on where it stopped
        self.assertGreater(got, 0)
        eventually(lambda: count() > seen, "it goes on")
        events.cancel()
        eventually(lambda: self.running("head") == 0, "it is gone")

    def test_a_terminal(self):
        self.open("tty")
        session = Session(self.shell, sandbox_id=self.id, tty=True, cols=100, rows=30, command=[
            "sh", "-c", "tty; stty size; read line; stty size; echo ready; read line"])
        session.read_until(b"30 100")
        self.assertIn(b"/dev/pts/", session.out)
        session.resize(132, 50)
        session.say(b"go\n")
        session.read_until(b"50 132")
        session.read_until(b"ready")
        session.say(b"\x03")
        self.assertEqual(130, session.exit())
        session = Session(self.shell, sandbox_id=self.id, tty=True, command=["cat"])
        session.end_input()  # a terminal's end of file
        self.assertEqual(0, session.exit())

    def test_an_operator_who_goes_ends_the_program(self):
        self.open("goes")
        for script, tty in (("trap '' HUP TERM INT; echo up; sleep 61", False), ("echo up; sleep 61", True)):
            session = Session(self.shell, sandbox_id=self.id, tty=tty, command=["sh", "-c", script])
            session.read_until(b"up")
            eventually(lambda: self.running("sleep") == 2, "both sleep")
            for _ in range(64):
                session.say(bytes(1 << 16))  # nobody reads it
            session.cancel()
            eventually(lambda: self.running("sleep") == 1, "the main program alone sleeps")

    def test_many_at_once(self):
        self.open("many")
        sessions = [Session(self.shell, sandbox_id=self.id, command=["cat"]) for _ in range(40)]
        for number, session in enumerate(sessions):
            session.say(str(number).encode())
        for number, session in enumerate(sessions):
            self.assertEqual(0, session.exit())
            self.assertEqual(str(number).encode(), session.out)

    def test_the_end_of_the_sandbox(self):
        self.open("stops")
        session = Session(self.shell, sandbox_id=self.id, command=["sh", "-c", "echo up; sleep 61"])
        session.read_until(b"up")
        self.shell.StopSandbox(name="stops")
        self.assertEqual(137, session.exit())
        self.refused(Code.FAILED_PRECONDITION, lambda: self.sh("true"))


class Away(RelayCase):
    """What becomes of a command when one of those between it and the operator goes."""

    def begin(self):
        self.session = Session(self.shell, sandbox_id=self.id, command=["sh", "-c", "echo up; exec sleep 61"])
        self.session.read_until(b"up")

    def test_the_agent_is_killed(self):
        self.open("killed")
        self.begin()
        self.host.kill()
        self.refused(Code.UNAVAILABLE, lambda: list(self.session.events), "went away")
        self.session.end_input()
        self.start()
        self.phase("killed", V.SANDBOX_PHASE_READY)
        eventually(lambda: self.running("sleep") == 1, "what nobody asks for any more is ended")

    def test_the_server_is_started_anew(self):
        self.open("anew")
        self.begin()
        self.server.kill()
        code, _ = code_of(lambda: list(self.session.events))
        self.assertEqual(Code.UNAVAILABLE, code)
        self.session.end_input()
        self.server.start()
        self.online()
        eventually(lambda: code_of(lambda: self.sh("true"))[0] == Code.OK, "the sandbox answers")
        eventually(lambda: self.running("sleep") == 1, "what nobody asks for any more is ended")

    def test_a_server_that_drains_lets_a_command_end(self):
        self.open("drains")
        session = Session(self.shell, sandbox_id=self.id, command=["sh", "-c", "echo up; sleep 2; echo done; exit 3"])
        session.read_until(b"up")
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(3, session.exit())
        self.assertIn(b"done", session.out)
        self.assertEqual(0, self.server.process.wait(60))  # a second signal would cut its end short
        self.server.start()
        self.online()


class Gate:
    """A port of this machine that leads into a sandbox, one ForwardTcp for each connection."""

    def __init__(self, shell, **init):
        self.shell, self.init = shell, init
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                threading.Thread(target=self.carry, args=(self.listener.accept()[0],), daemon=True).start()
        except OSError:
            pass

    def frames(self, connection):
        yield V.TcpForwardFrame(init=V.TcpForwardInit(**self.init))
        while True:
            data = connection.recv(1 << 16)
            if not data:
                return
            yield V.TcpForwardFrame(data=data)

    def carry(self, connection):
        try:
            for frame in self.shell.ForwardTcp(self.frames(connection), timeout=PATIENCE):
                connection.sendall(frame.data)
        except (grpc.RpcError, OSError):
            pass
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        connection.close()

    def close(self):
        self.listener.close()


class Forward(RelayCase):
    def serve(self, name, *command):
        self.open(name)
        self.token = self.shell.CreateSshSession(sandbox_id=self.id).token
        self.session = Session(self.shell, sandbox_id=self.id, command=list(command))
        self.addCleanup(self.session.cancel)

    def init(self, port, host="127.0.0.1", **fields):
        return {"sandbox_id": self.id, "tcp": V.TcpRelayTarget(host=host, port=port),
                "authorization_token": self.token, **fields}

    def gate(self, port):
        gate = Gate(self.shell, **self.init(port))
        self.addCleanup(gate.close)
        return gate.port

    def test_a_web_server(self):
        self.serve("web", "python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "/sandbox", "8000")
        body = os.urandom(MUCH)
        stored = Session(self.shell, sandbox_id=self.id, command=["sh", "-c", "cat > /sandbox/big"])
        for at in range(0, MUCH, 1 << 18):
            stored.say(body[at:at + (1 << 18)])
        self.assertEqual(0, stored.exit())
        self.session.read_until(b"Serving")
        port = self.gate(8000)
        results = queue.Queue()

        def fetch():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
            connection.request("GET", "/big")
            results.put(hashlib.sha256(connection.getresponse().read()).digest())
        threads = [threading.Thread(target=fetch) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([hashlib.sha256(body).digest()] * 3, [results.get_nowait() for _ in range(3)])

    def test_half_a_close_and_the_answer_after_it(self):
        self.serve("half", "python3", "-u", "-c",
                   "import socket, hashlib\n"
                   "s = socket.create_server(('127.0.0.1', 9000))\n"
                   "print('up')\n"
                   "while True:\n"
                   "    one, h = s.accept()[0], hashlib.sha256()\n"
                   "    while True:\n"
                   "        data = one.recv(65536)\n"
                   "        if not data: break\n"
                   "        h.update(data)\n"
                   "    one.sendall(h.digest()); one.close()\n")
        self.session.read_until(b"up")
        body = os.urandom(MUCH)
        frames = [V.TcpForwardFrame(init=V.TcpForwardInit(**self.init(9000, host="localhost")))]
        frames += [V.TcpForwardFrame(data=body[at:at + (1 << 18)]) for at in range(0, MUCH, 1 << 18)]
        answer = b"".join(frame.data for frame in self.shell.ForwardTcp(iter(frames), timeout=PATIENCE))
        self.assertEqual(hashlib.sha256(body).digest(), answer)

    def test_refusals(self):
        self.serve("no", "sleep", "infinity")

        def forward(**init):
            return list(self.shell.ForwardTcp(iter([V.TcpForwardFrame(init=V.TcpForwardInit(**init))])))
        self.refused(Code.FAILED_PRECONDITION, lambda: forward(**self.init(81)), "81", "nothing listens")
        self.refused(Code.INVALID_ARGUMENT, lambda: forward(**self.init(80, host="10.0.0.1")), "loopback")
        self.refused(Code.PERMISSION_DENIED, lambda: forward(**self.init(80, authorization_token="blf_no")), "token")

    def test_the_end_of_the_sandbox_ends_its_connections(self):
        self.serve("ends", "python3", "-u", "-c",
                   "import socket, time\n"
                   "s = socket.create_server(('127.0.0.1', 9000))\n"
                   "print('up')\n"
                   "one = s.accept()[0]\n"
                   "one.sendall(b'hello')\n"
                   "time.sleep(61)\n")
        self.session.read_until(b"up")
        inputs = queue.Queue()
        inputs.put(V.TcpForwardFrame(init=V.TcpForwardInit(**self.init(9000))))
        frames = self.shell.ForwardTcp(iter(inputs.get, LAST))
        self.assertEqual(b"hello", next(frames).data)
        self.shell.StopSandbox(name="ends")
        code_of(lambda: list(frames))  # ends, well or with what the kernel made of it
        inputs.put(LAST)


if __name__ == "__main__":
    main()
