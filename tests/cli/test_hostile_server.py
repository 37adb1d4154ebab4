#!/usr/bin/python3
"""`belay` against a server, and sandboxes behind it, that answer what no honest one would."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import grpc, openshell  # noqa: E402
from hostile_server import HostileServer, event, sandbox  # noqa: E402
from test_sandbox import Terminal  # noqa: E402

BELAY = os.path.join(harness.BIN, "belay")
EVIL = b"\033[2Jevil\x9b1m"


class HostileCase(unittest.TestCase):
    def setUp(self):
        self.server = HostileServer()
        self.addCleanup(self.server.close)
        self.folder = self.server.folder
        self.does = self.server.functions
        self.does["GetSandbox"] = lambda request, context: openshell.SandboxResponse(sandbox=sandbox(request.name))

    def environment(self):
        kept = {key: value for key, value in os.environ.items() if key.endswith("SAN_OPTIONS")}
        return {**kept, "BELAY_SOCKET": self.server.socket, "HOME": self.folder, "PATH": os.environ["PATH"], "TERM": "xterm"}

    def belay(self, *args, status=0, **options):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        run = subprocess.run([BELAY, *args], timeout=harness.TIMEOUT, check=False, env=self.environment(), **pipes)
        self.assertEqual(run.returncode, status, f"belay {' '.join(args)}\n{run.stdout}\n{run.stderr}")
        self.assertNotIn(b"Sanitizer", run.stderr or b"")
        return run

    def is_clean(self, *texts):
        for text in texts:
            for byte in (b"\033", b"\x9b", b"\xc2\x9b"):
                self.assertNotIn(byte, text)

    def programs(self, **answers):
        """What the sandbox's programs do: name -> f(inputs, context), an iterator of events."""
        def run(inputs, context):
            name = os.path.basename(next(inputs).start.command[0])
            yield from answers[name](inputs, context)
        self.does["ExecSandboxInteractive"] = run


class Sessions(HostileCase):
    def test_a_stream_that_breaks_is_never_the_program_s_status(self):
        for code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND,
                     grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
            with self.subTest(code=code):
                def broken(inputs, context, code=code):
                    yield event("stdout", b"out\n")
                    context.abort(code, "said by the server")
                self.programs(prog=broken)
                run = self.belay("sandbox", "exec", "box", "prog", status=255)
                self.assertEqual(b"out\n", run.stdout)
                self.assertIn(b"said by the server", run.stderr)

    def test_a_cancel_before_the_first_answer_is_said(self):
        def canceled(inputs, context):
            context.abort(grpc.StatusCode.CANCELLED, "said by the server")
            yield
        self.programs(prog=canceled)
        self.assertIn(b"said by the server", self.belay("sandbox", "exec", "box", "prog", status=255).stderr)

    def test_a_full_disk_is_not_a_lost_connection(self):
        self.programs(prog=lambda inputs, context: iter([event("stdout", b"out\n"), event("exit", 0)]))
        with open("/dev/full", "wb") as full:
            errors = self.belay("sandbox", "exec", "box", "prog", status=69, stdout=full).stderr
        self.assertIn(b"cannot write the output", errors)
        self.assertNotIn(b"lost", errors)

    def test_nobody_reads_the_output(self):
        reader, writer = os.pipe()
        os.close(reader)
        self.programs(prog=lambda inputs, context: iter([event("stdout", b"out\n"), event("exit", 0)]))
        self.assertEqual(b"", self.belay("sandbox", "exec", "box", "prog", status=1, stdout=writer).stderr)
        os.close(writer)

    def test_the_way_out_while_nothing_is_read(self):
        ended = threading.Event()
        self.addCleanup(ended.set)

        def deaf(inputs, context):
            yield event("stdout", b"up\n")
            ended.wait(harness.TIMEOUT)
        self.programs(sh=deaf)
        terminal = Terminal(self.environment(), "sandbox", "exec", "-it", "box", "sh")
        self.addCleanup(terminal.close)
        terminal.expect(rb"up")

        def paste():
            for _ in range(8192):
                terminal.type(b"x" * 1023 + b"\r")
            terminal.type(b"\r~.")
        typing = threading.Thread(target=paste, daemon=True)
        typing.start()
        terminal.expect(rb"is left")
        self.assertEqual(255, terminal.wait())
        typing.join(harness.TIMEOUT)


class Copies(HostileCase):
    def setUp(self):
        super().setUp()
        self.file = os.path.join(self.folder, "file")
        with open(self.file, "wb") as file:
            file.write(b"x" * (8 << 20))

    @staticmethod
    def folder_there(inputs, context):
        yield event("stderr", EVIL)
        yield event("stdout", b"d\n")
        yield event("exit", 0)

    def test_what_the_sandbox_writes_is_escaped(self):
        def taking(inputs, context):
            yield event("stdout", EVIL)
            for _ in inputs:
                pass
            yield event("stderr", b"tar: one\n" + EVIL + b"\n" + b"y" * (1 << 20))
            yield event("exit", 2)

        def giving(inputs, context):
            yield event("stderr", b"tar: one\n" + EVIL)
            yield event("exit", 2)
        self.programs(sh=self.folder_there, tar=taking)
        run = self.belay("sandbox", "cp", self.file, "box:/sandbox", status=1)
        self.is_clean(run.stdout, run.stderr)
        self.assertEqual(b"", run.stdout)
        self.assertIn(b"tar: one\n", run.stderr)
        self.assertIn(rb"\x1b[2Jevil\x9b1m", run.stderr)
        self.assertLess(len(run.stderr), 16384)
        self.programs(tar=giving)
        run = self.belay("sandbox", "cp", "box:/sandbox/file", self.folder, status=1)
        self.is_clean(run.stdout, run.stderr)
        self.assertIn(b"tar: one\n", run.stderr)

    def test_a_tar_that_ends_before_it_has_read_everything(self):
        self.programs(sh=self.folder_there, tar=lambda inputs, context: iter([event("exit", 0)]))
        run = self.belay("sandbox", "cp", self.file, "box:/sandbox", status=1)
        self.assertIn(b"before it had read everything", run.stderr)
        self.assertNotIn(b"1 files", run.stderr)

    def test_a_line_that_is_cut_is_no_missing_folder(self):
        def cut(inputs, context):
            yield event("stderr", b"x")
            context.abort(grpc.StatusCode.UNAVAILABLE, "the agent went away")
        self.programs(sh=cut)
        run = self.belay("sandbox", "cp", self.file, "box:/sandbox", status=255)
        self.assertIn(b"the agent went away", run.stderr)
        self.assertNotIn(b"no folder", run.stderr)

    def test_an_answer_that_is_none(self):
        for answer, code in ((b"", 0), (b"?\n", 0), (b"d" * 100, 0), (b"\0\n", 0), (b"d\n", 255), (b"d\n", 1)):
            with self.subTest(answer=answer, code=code):
                self.programs(sh=lambda inputs, context, answer=answer, code=code: iter(
                    [event("stdout", answer), event("exit", code)]))
                run = self.belay("sandbox", "cp", self.file, "box:/sandbox", status=1)
                self.assertNotIn(b"no folder", run.stderr)
                self.assertIn(b"/sandbox", run.stderr)


class Signals(HostileCase):
    def start(self, *args, ignored=()):
        def ignore():
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
        process = subprocess.Popen([BELAY, *args], env=self.environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore)
        for end in (process.stdout.close, process.stderr.close, process.wait, process.kill):
            self.addCleanup(end)
        return process

    def test_what_was_ignored_at_the_start_stays_ignored(self):
        """nohup, and a shell's & in a script."""
        process = self.start("sandbox", "forward", "box", ":80", "-o", "name", ignored=(signal.SIGHUP, signal.SIGINT))
        host, port = process.stdout.readline().decode().rsplit(":", 1)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        with socket.create_connection((host, int(port)), timeout=harness.TIMEOUT):
            self.assertIn(b"a connection failed", process.stderr.readline())  # and it goes on
        process.send_signal(signal.SIGTERM)
        self.assertEqual(143, process.wait(harness.TIMEOUT))

    def test_ctrl_c_ends_each_wait_with_its_status(self):
        ended = threading.Event()
        self.addCleanup(ended.set)
        watched = threading.Semaphore(0)

        def watch(request, context):
            yield openshell.SandboxStreamEvent(sandbox=sandbox("box", phase=openshell.SANDBOX_PHASE_PROVISIONING))
            watched.release()
            ended.wait(harness.TIMEOUT)
        self.does["WatchSandbox"] = watch
        self.does["DeleteSandbox"] = lambda request, context: openshell.DeleteSandboxResponse()
        for method in ("StopSandbox", "StartSandbox", "CreateSandbox"):
            self.does[method] = lambda request, context: openshell.SandboxResponse(
                sandbox=sandbox("box", phase=openshell.SANDBOX_PHASE_PROVISIONING))
        for words in (["delete", "--wait", "box"], ["stop", "--wait", "box"], ["start", "--wait", "box"], ["create"],
                      ["logs", "-f", "box"]):
            for number in (signal.SIGINT, signal.SIGTERM):
                with self.subTest(words=words, number=number):
                    process = self.start("sandbox", *words)
                    self.assertTrue(watched.acquire(timeout=harness.TIMEOUT))
                    process.send_signal(number)
                    self.assertEqual(128 + number, process.wait(harness.TIMEOUT))


NAME = "evil\033[2J\x9b1m\u202e\U000e0041\"\n: #"


class Answers(HostileCase):
    def values(self, *args):
        """The same answer as JSON and YAML: clean, and still what the server said."""
        import yaml
        found = []
        for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
            run = self.belay(*args, "-o", form)
            self.is_clean(run.stdout, run.stderr)
            found.append(read(run.stdout.decode()))
        self.assertEqual(*found)
        return found[0]

    def test_names_are_escaped_in_every_format(self):
        self.does["GetSandbox"] = lambda request, context: openshell.SandboxResponse(sandbox=sandbox(NAME))
        self.does["CreateSandbox"] = self.does["GetSandbox"]
        self.assertEqual(NAME, self.values("sandbox", "get", "x")["metadata"]["name"])
        for form in ("table", "wide", "name", "json", "yaml"):
            with self.subTest(form=form):
                run = self.belay("sandbox", "create", "--no-wait", "-o", form)
                self.is_clean(run.stdout, run.stderr)
                self.assertNotIn("\u202e".encode(), run.stdout)
        self.assertEqual(1, self.belay("sandbox", "create", "--no-wait").stdout.count(b"\n"))

    def test_a_forward_names_its_sandbox(self):
        self.does["GetSandbox"] = lambda request, context: openshell.SandboxResponse(sandbox=sandbox(NAME))
        for form, lines in (("table", 1), ("json", 1), ("yaml", 4)):
            process = Signals.start(self, "sandbox", "forward", "x", ":80", "-o", form)
            shown = b"".join(process.stdout.readline() for _ in range(lines))
            process.terminate()
            self.is_clean(shown)
            self.assertIn(b":80" if form == "table" else b"80", shown)
            if form == "json":
                self.assertEqual(NAME, json.loads(shown)["sandbox"])

    def test_a_policy(self):
        def status(request, context):
            reply = openshell.GetSandboxPolicyStatusResponse()
            reply.revision.policy.network_policies["key"].name = NAME
            return reply
        self.does["GetSandboxPolicyStatus"] = status
        self.assertEqual(NAME, self.values("sandbox", "policy", "get", "x")["network_policies"]["key"]["name"])

    def test_a_history_of_several_pages(self):
        asked = []

        def page(request, context):
            asked.append((request.offset, request.limit))
            left = range(request.offset, min(1203, request.offset + request.limit))
            return openshell.ListSandboxPoliciesResponse(
                revisions=[openshell.SandboxPolicyRevision(version=1203 - i) for i in left])
        self.does["ListSandboxPolicies"] = page
        for limit, count in (("0", 1203), ("700", 700), ("500", 500), ("1000000", 1203)):
            run = self.belay("sandbox", "policy", "history", "x", "--limit", limit, "-o", "name")
            self.assertEqual(list(range(1203, 1203 - count, -1)), [int(line) for line in run.stdout.split()])
        self.assertEqual([(0, 500), (500, 500), (1000, 500)], asked[:3])

    def test_answers_that_lack_what_they_are_about(self):
        self.does["CreateApiKey"] = lambda request, context: harness.admin.CreateApiKeyResponse(secret="blk_x")
        self.does["CreateEnrollmentToken"] = lambda request, context: harness.admin.CreateEnrollmentTokenResponse(secret="x")
        self.does["ConfirmAgent"] = lambda request, context: harness.admin.ConfirmAgentResponse()
        for words, form, what in (
                (("apikey", "create", "x", "--scope", "*"), "table", b"no key"),
                (("apikey", "create", "x", "--scope", "*"), "name", b"no key"),
                (("enroll", "token"), "name", b"no token"),
                (("enroll", "confirm", "enr_1", "f"), "table", b"no agent")):
            with self.subTest(words=words, form=form):
                run = self.belay(*words, "-o", form, status=1)
                self.assertIn(what, run.stderr)
                self.assertEqual(b"", run.stdout)

    def test_a_chain_without_an_end(self):
        asked = []

        def empty(request, context):
            asked.append(request.page_token)
            if len(asked) > 5:
                context.abort(harness.Code.INTERNAL, "asked on and on")
            return harness.admin.ListAuditRecordsResponse(next_page_token="more")
        self.does["ListAuditRecords"] = empty
        run = self.belay("audit", "verify", status=1)
        self.assertIn(b"an empty page that names a next one", run.stderr)
        self.assertEqual(b"", run.stdout)

    def test_a_long_watch_is_not_memory(self):
        """Its states together are more than a run of belay may hold."""
        def watch(request, context):
            for index in range(100):
                state = sandbox(phase=openshell.SANDBOX_PHASE_READY if index == 99 else openshell.SANDBOX_PHASE_PROVISIONING)
                state.metadata.annotations["big"] = "x" * (3 << 20)
                yield openshell.SandboxStreamEvent(sandbox=state)
        self.does["WatchSandbox"] = watch
        self.does["CreateSandbox"] = lambda request, context: openshell.SandboxResponse(
            sandbox=sandbox(phase=openshell.SANDBOX_PHASE_PROVISIONING))
        self.assertEqual(b"box\n", self.belay("sandbox", "create").stdout)

    def test_tokens_that_are_over_are_not_used_again(self):
        asked = []

        def token(request, context):
            asked.append(request.sandbox_id)
            return openshell.CreateSshSessionResponse(token="t" * (5000 if len(asked) == 3 else 10), expires_at_ms=-(1 << 63))
        self.does["CreateSshSession"] = token
        self.does["RevokeSshSession"] = lambda request, context: openshell.RevokeSshSessionResponse()
        self.does["ForwardTcp"] = lambda inputs, context: context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        process = Signals.start(self, "sandbox", "forward", "box", ":80", "-o", "name")
        host, port = process.stdout.readline().decode().rsplit(":", 1)
        for count in (1, 2, 3):
            with socket.create_connection((host, int(port)), timeout=harness.TIMEOUT):
                line = process.stderr.readline()
            self.assertEqual(count, len(asked))
            self.assertIn(b"too long" if count == 3 else b"gone", line)
        process.terminate()
        self.assertEqual(143, process.wait(harness.TIMEOUT))

    def test_a_name_that_only_looks_like_this_machine(self):
        for endpoint in ("127.0.0.1.elsewhere.example:7443", "127.elsewhere.example:7443", "128.0.0.1:7443"):
            run = self.belay("gateway", "add", "x", endpoint, "--plaintext", status=3)
            self.assertIn(b"plaintext is for this machine only", run.stderr)
        self.belay("gateway", "add", "x", "127.1.2.3:1", "--plaintext", status=69)  # this machine: nobody listens


if __name__ == "__main__":
    harness.main()
