"""What the end-to-end tests share: real servers and agents in folders of their own, and clients that
have no code in common with them (grpcio; protobuf classes made by protoc from the contracts).

Environment: BELAY_BIN (folder of the built programs), BELAY_TEST_ENGINE ("sqlite" or "postgresql"),
BELAY_TEST_POSTGRES (URL of a PostgreSQL in which databases may be made), BELAY_TEST_POOLER (servers reach it through
PgBouncer; tests that look into the database do not).
"""
import contextlib
import glob
import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BELAY_BIN", os.path.join(ROOT, "build", "asan", "bin"))
ENGINE = os.environ.get("BELAY_TEST_ENGINE", "sqlite")
POSTGRES = os.environ.get("BELAY_TEST_POSTGRES", "")
POOLED = ENGINE == "postgresql" and bool(os.environ.get("BELAY_TEST_POOLER"))
TIMEOUT = 30
SKIPPED = 77
GATEWAY = "/agentgateway.v1.AgentGatewayService/"
ADMIN = "/agentgateway.v1.AgentAdminService/"
Code = grpc.StatusCode

_scratch = tempfile.mkdtemp(prefix="belay-e2e-")
_spawned = []  # every process, so that none outlives a test that failed on its way


def _compile_protos():
    out = os.path.join(_scratch, "proto")
    os.mkdir(out)
    here = os.path.join(ROOT, "tests", "e2e")
    contracts = os.path.join(ROOT, "proto")
    files = ["agentgateway/v1/agentgateway.proto", "agentgateway/v1/admin.proto", "belay/v1/options.proto",
             "openshell/options/v1/options.proto", "openshell/datamodel/v1/datamodel.proto",
             "openshell/sandbox/v1/sandbox.proto", "openshell/v1/openshell.proto"]
    subprocess.run(["protoc", "-I", contracts, "-I", here, "--python_out", out, *files, "base.proto"], check=True)
    sys.path.insert(0, out)


_compile_protos()
import base_pb2 as base  # noqa: E402
from pooler import Pooler  # noqa: E402
from agentgateway.v1 import admin_pb2 as admin  # noqa: E402
from agentgateway.v1 import agentgateway_pb2 as gateway  # noqa: E402
from google.protobuf.timestamp_pb2 import Timestamp  # noqa: E402
from openshell.sandbox.v1 import sandbox_pb2 as policy_types  # noqa: E402
from openshell.v1 import openshell_pb2 as openshell  # noqa: E402

GATEWAY_SERVICE = gateway.DESCRIPTOR.services_by_name["AgentGatewayService"]
ADMIN_SERVICE = admin.DESCRIPTOR.services_by_name["AgentAdminService"]
OPENSHELL_SERVICE = openshell.DESCRIPTOR.services_by_name["OpenShell"]


def message_class(descriptor):
    return descriptor._concrete_class


def now():
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


def eventually(probe, what, timeout=TIMEOUT):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.03)


def code_of(call):
    """The status of a call that is made here, with its text; OK when it goes through."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return Code.OK, ""


class Database:
    """The server's own database, looked at (and, for what has no API yet, written) from outside."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "state", "belay.db")
        self.url = None
        if ENGINE == "postgresql":
            name = "e2e_" + os.path.basename(directory).replace("-", "_").lower() + f"_{os.getpid()}"
            self._psql(POSTGRES, f'CREATE DATABASE "{name}"')
            self.url = POSTGRES.rsplit("/", 1)[0] + "/" + name
            self.name = name

    @staticmethod
    def _psql(url, sql):
        run = subprocess.run(["psql", "-X", "-q", "-At", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", url],
                             input=sql + ";\n", capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if run.returncode != 0:
            raise AssertionError(f"psql: {run.stderr}")
        return [tuple(line.split("\x1f")) for line in run.stdout.splitlines()]

    def query(self, sql):
        """Rows of text. Binary columns want hex() or encode() in the statement: see blob()."""
        if self.url:
            return self._psql(self.url, "SET app.workspace_id = 'all'; " + sql)
        connection = sqlite3.connect(self.path, timeout=TIMEOUT)
        try:
            rows = connection.execute(sql).fetchall()
            connection.commit()
            return [tuple("" if value is None else str(value) for value in row) for row in rows]
        finally:
            connection.close()

    def number(self, sql):
        return int(self.query(sql)[0][0])

    @staticmethod
    def blob(data):
        """A literal."""
        return f"'\\x{data.hex()}'::bytea" if ENGINE == "postgresql" else f"x'{data.hex()}'"

    @staticmethod
    def hex(column):
        return f"encode({column}, 'hex')" if ENGINE == "postgresql" else f"lower(hex({column}))"

    def drop(self):
        if self.url:
            self._psql(POSTGRES, f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


POOLED_OPTIONS = ("--no-database-prepared-statements",) if POOLED else ()
_poolers = []


def database_environment(url):
    """What a server is given to reach this database."""
    if not POOLED:
        return {"BELAY_DATABASE_URL": url}
    if not _poolers:
        _poolers.append(Pooler(POSTGRES))
    return {"BELAY_DATABASE_URL": _poolers[0].url(url), "BELAY_DATABASE_DIRECT_URL": url}


def _child_environment(**more):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BELAY_")}
    environment.update(more)
    return environment


class Process:
    """A program whose log goes to a file."""

    def __init__(self, log):
        self.log = log
        self.process = None

    def spawn(self, args, **environment):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=_child_environment(**environment))
        _spawned.append(self.process)

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def log_lines(self, event):
        lines = []
        for line in self.log_text().splitlines():
            if f'"event":"{event}"' in line:
                lines.append(json.loads(line))
        return lines

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.is_running():
            self.process.kill()
        self.process.wait()

    def terminate(self, timeout=TIMEOUT):
        """SIGTERM; gives the exit status."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("no end after SIGTERM; the log ends with:\n" + self.log_text()[-3000:]) from None

    def check_log(self):
        text = self.log_text()
        for sign in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "ThreadSanitizer"):
            if sign in text:
                raise AssertionError(f"{sign} in {self.log}:\n" + text[text.index(sign) - 200:][:4000])


class Server(Process):
    """belay-server on a state folder and a database of its own; starts and ends as often as wanted."""

    def __init__(self, mode="server", options=(), log_level="info", first=None):
        """first: a server whose database and keys this one shares, as replicas do."""
        self.directory = tempfile.mkdtemp(prefix="s", dir=_scratch)
        super().__init__(os.path.join(self.directory, "server.log"))
        self.state = os.path.join(self.directory, "state")
        self.mode = mode
        self.options = list(options)
        self.log_level = log_level
        self.first = first
        self.database = first.database if first else Database(self.directory)
        self.port = 0
        self.http_port = 0
        self.channels = []
        self.agents = []

    @property
    def operator_socket(self):
        return os.path.join(self.state, "operator.sock")

    @property
    def agent_dir(self):
        return os.path.join(self.state, "agent")

    def environment(self):
        return database_environment(self.database.url) if self.database.url else {}

    def copy_keys(self):
        """What the operations page says a replica needs."""
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        shutil.copy(os.path.join(self.first.state, "command.key"), self.state)
        shutil.copytree(os.path.join(self.first.state, "tls"), os.path.join(self.state, "tls"), dirs_exist_ok=True)

    def start(self, *more):
        """The second and later starts use the ports of the first, as a real one would."""
        seen = len(self.log_lines("ready")) if os.path.exists(self.log) else 0
        if self.first and not os.path.exists(self.state):
            self.copy_keys()
        args = [os.path.join(BIN, "belay-server"), "--mode", self.mode, "--state-dir", self.state, "--migrate", "auto",
                "--listen", f"127.0.0.1:{self.port}", "--listen-http", f"127.0.0.1:{self.http_port}",
                "--log-level", self.log_level, *POOLED_OPTIONS, *self.options, *more]
        self.spawn(args, **self.environment())

        def is_ready():
            if not self.is_running():
                raise AssertionError("the server ended:\n" + self.log_text()[-3000:])
            return len(self.log_lines("ready")) > seen
        eventually(is_ready, "the server is ready")
        ready = self.log_lines("ready")[-1]
        self.port = ready["tls_port"]
        self.http_port = ready["http_port"]
        return self

    def ca(self):
        with open(os.path.join(self.state, "tls", "ca.pem"), "rb") as file:
            return file.read()

    def channel(self):
        """TLS; the caller's connection alone."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1),
                   ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        channel = grpc.secure_channel(f"127.0.0.1:{self.port}", grpc.ssl_channel_credentials(self.ca()), options)
        self.channels.append(channel)
        return channel

    def local_channel(self):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100),
                   ("grpc.max_reconnect_backoff_ms", 500)]
        channel = grpc.insecure_channel("unix:" + self.operator_socket, options)
        self.channels.append(channel)
        return channel

    def operator(self):
        """The admin service as the local operator."""
        return Service(self.local_channel(), ADMIN_SERVICE)

    def with_key(self, key, channel=None):
        """The admin service over TLS with an API key."""
        return Service(channel or self.channel(), ADMIN_SERVICE, bearer(key))

    def cli(self, *args, check=True):
        run = subprocess.run([os.path.join(BIN, "belay"), *args], capture_output=True, text=True, timeout=TIMEOUT,
                             env=_child_environment(BELAY_SOCKET=self.operator_socket, HOME=self.directory), check=False)
        if check and run.returncode != 0:
            raise AssertionError(f"belay {' '.join(args)}: {run.returncode}\n{run.stderr}")
        return run

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=TIMEOUT) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def forget_channels(self):
        for channel in self.channels:
            channel.close()
        self.channels = []

    def close(self):
        """The normal end, which must be clean; whatever of it fails, the server ends."""
        try:
            for agent in self.agents:
                agent.close()
        finally:
            self.forget_channels()
            self._end()

    def _end(self):
        try:
            if self.is_running():
                status = self.terminate()
                if status != 0:
                    raise AssertionError(f"the server ended with {status}:\n" + self.log_text()[-3000:])
            if os.path.exists(self.log):
                self.check_log()
        finally:
            if not self.first:
                self.database.drop()
            if not os.environ.get("BELAY_TEST_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)


def bearer(token):
    return (("authorization", "Bearer " + token),)


class Service:
    """Every method of a service by name; keyword arguments are the request's fields."""

    def __init__(self, channel, descriptor, metadata=()):
        self.channel = channel
        self.descriptor = descriptor
        self.metadata = tuple(metadata)

    def __getattr__(self, name):
        method = self.descriptor.methods_by_name.get(name)
        if method is None:
            raise AttributeError(name)
        return lambda request=None, timeout=TIMEOUT, metadata=None, **fields: self.call(
            method, request, timeout, self.metadata if metadata is None else metadata, fields)

    def call(self, method, request, timeout, metadata, fields):
        kind = message_class(method.input_type)
        if request is None:
            request = kind(**fields)
        path = f"/{self.descriptor.full_name}/{method.name}"
        client_streams, server_streams = stream_kind(method)
        make = {(False, False): self.channel.unary_unary, (False, True): self.channel.unary_stream,
                (True, False): self.channel.stream_unary, (True, True): self.channel.stream_stream}
        stub = make[(client_streams, server_streams)](
            path, lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            message_class(method.output_type).FromString)
        if client_streams and not hasattr(request, "__next__"):
            request = iter([request])
        return stub(request, timeout=timeout, metadata=metadata)


def stream_kind(method):
    """(client streams, server streams): the C++ and Python descriptors tell it in their proto."""
    from google.protobuf import descriptor_pb2
    proto = descriptor_pb2.MethodDescriptorProto()
    service = descriptor_pb2.ServiceDescriptorProto()
    method.containing_service.CopyToProto(service)
    proto = service.method[method.index]
    return proto.client_streaming, proto.server_streaming


class Stream:
    """A bidirectional call driven from a test's own thread. depth: messages that may wait to be sent; 0: any number."""

    def __init__(self, channel, path, metadata, response=gateway.ControlStreamResponse, timeout=TIMEOUT, depth=0):
        self.out = queue.Queue(depth)
        call = channel.stream_stream(
            path, lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response.FromString)
        self.call = call(iter(self.out.get, None), metadata=metadata, timeout=timeout)

    def send(self, message):
        self.out.put(message)

    def half_close(self):
        self.out.put(None)

    def receive(self):
        return next(self.call)

    def command(self):
        """The next command; what comes before it is passed over."""
        while True:
            message = self.receive()
            if message.WhichOneof("message") == "command":
                return message.command

    def end(self):
        """Reads to the end; (code, text)."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            self.out.put(None)
            return error.code(), error.details()
        self.out.put(None)
        return self.call.code(), self.call.details()

    def cancel(self):
        self.call.cancel()
        self.out.put(None)


class BaseAgent:
    """An agent that knows the base protocol and nothing else."""

    def __init__(self, server, name, channel=None):
        self.server = server
        self.name = name
        self.identity = ed25519.Ed25519PrivateKey.generate()
        self.encryption = x25519.X25519PrivateKey.generate()
        self.channel = channel or server.channel()
        self.id = 0
        self.api_key = ""
        self.session = ""

    @staticmethod
    def _raw(key):
        return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def identity_public(self):
        return self._raw(self.identity)

    @property
    def encryption_public(self):
        return self._raw(self.encryption)

    def unary(self, name, request, response, metadata=(), timeout=TIMEOUT):
        stub = self.channel.unary_unary(GATEWAY + name, lambda message: message.SerializeToString(), response.FromString)
        return stub(request, timeout=timeout, metadata=metadata)

    def register(self, token):
        reply = self.unary("Register", base.RegisterRequest(
            enrollment_token=token, name=self.name, identity_pubkey=self.identity_public,
            encryption_pubkey=self.encryption_public), base.RegisterResponse)
        self.id = reply.agent_id
        return reply

    def begin(self, api_key=None, identity=None):
        return self.unary("BeginAuthHandshake", base.BeginAuthHandshakeRequest(
            api_key=self.api_key if api_key is None else api_key, identity_pubkey=identity or self.identity_public),
            base.BeginAuthHandshakeResponse)

    def complete(self, challenge, signature=None):
        signature = self.identity.sign(challenge) if signature is None else signature
        return self.unary("CompleteAuthHandshake", base.CompleteAuthHandshakeRequest(
            challenge=challenge, signature=signature), base.CompleteAuthHandshakeResponse)

    def handshake(self):
        self.session = self.complete(self.begin().challenge).session_token
        return self.session

    def enroll(self, operator):
        """Token, registration, confirmation with the key revealed, handshake."""
        created = operator.CreateEnrollmentToken()
        registered = self.register(created.secret)
        confirmed = operator.ConfirmAgent(enrollment_id=created.token.id, fingerprint=registered.identity_fingerprint,
                                          reveal_api_key=True)
        self.api_key = confirmed.api_key
        self.enrollment_id = created.token.id
        self.handshake()
        return self

    @property
    def credentials(self):
        return bearer(self.session)

    def heartbeat(self, **fields):
        return self.unary("UploadHeartbeat", base.UploadHeartbeatRequest(sent_at=now(), **fields),
                          base.UploadHeartbeatResponse, self.credentials)

    def upload(self, requests, events=False, timeout=TIMEOUT):
        """Requests of the base or of the whole contract; the answer of the whole contract."""
        name, response = (("UploadEvents", gateway.UploadEventsResponse) if events else
                          ("UploadTelemetry", gateway.UploadTelemetryResponse))
        stub = self.channel.stream_unary(
            GATEWAY + name, lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response.FromString)
        return stub(iter(requests), timeout=timeout, metadata=self.credentials)

    def stream(self, hello=True, timeout=TIMEOUT, response=gateway.ControlStreamResponse):
        stream = Stream(self.channel, GATEWAY + "ControlStream", self.credentials, response, timeout)
        if hello:
            stream.send(base.ControlStreamRequest(hello=base.ControlHello()))
            message = stream.receive()
            assert message.WhichOneof("message") == "accepted", message
        return stream


def ack(command_id, succeeded=True, error=""):
    return base.ControlStreamRequest(ack=base.ControlAck(command_id=command_id, succeeded=succeeded, error_message=error))


class RealAgent(Process):
    """belay-agent on a state folder of its own."""

    def __init__(self, server, name, log_level="info"):
        self.directory = tempfile.mkdtemp(prefix="a", dir=_scratch)
        super().__init__(os.path.join(self.directory, "agent.log"))
        self.server = server
        self.name = name
        self.log_level = log_level
        self.state = os.path.join(self.directory, "state")
        server.agents.append(self)

    def run(self, *args, text=None, check=True):
        run = subprocess.run([os.path.join(BIN, "belay-agent"), *args, "--state-dir", self.state], input=text,
                             capture_output=True, text=True, timeout=TIMEOUT, env=_child_environment(), check=False)
        if check and run.returncode != 0:
            raise AssertionError(f"belay-agent {' '.join(args)}: {run.returncode}\n{run.stdout}\n{run.stderr}")
        return run

    def enroll(self, operator, auto_confirm=True, *args):
        join = operator.CreateEnrollmentToken(auto_confirm=auto_confirm).join_string
        return self.run("enroll", "-", "--name", self.name, *args, text=join)

    def start(self, *args):
        """What is sampled is on disk at once, so that the spool's file tells it, unless args say otherwise."""
        delay = () if "--spool-delay" in args else ("--spool-delay", "0s")
        self.spawn([os.path.join(BIN, "belay-agent"), "run", "--state-dir", self.state, "--log-level", self.log_level,
                    *delay, *args])
        return self

    def status(self):
        run = self.run("status", "-o", "json", check=False)
        return json.loads(run.stdout) if run.returncode == 0 else None

    def spool(self):
        return json.loads(self.run("spool", "inspect", "-o", "json").stdout)

    def close(self):
        try:
            if self.is_running():
                status = self.terminate()
                if status != 0:
                    raise AssertionError(f"the agent ended with {status}:\n" + self.log_text()[-3000:])
            if os.path.exists(self.log):
                self.check_log()
        finally:
            self.end_sandboxes()
            if not os.environ.get("BELAY_TEST_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)

    def end_sandboxes(self):
        """Sandboxes outlive their agent; what a test that failed left behind must not outlive the test."""
        for path in glob.glob(os.path.join(self.state, "sandboxes", "run", "*", "state.json")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                with open(path, encoding="utf-8") as file:
                    pid = json.load(file)["shim_pid"]
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                    is_ours = os.path.dirname(path) in file.read()
                if is_ours:
                    os.kill(pid, signal.SIGKILL)


class ServerCase(unittest.TestCase):
    """One server for the tests of a class."""

    mode = "server"
    options = ()
    log_level = "info"

    @classmethod
    def setUpClass(cls):
        cls.server = Server(cls.mode, cls.options, cls.log_level)
        try:
            cls.server.start()
            cls.operator = cls.server.operator()
        except BaseException:
            cls.server.kill()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def refused(self, code, call, *words):
        """The call fails with this code and a text that has these words; gives the text."""
        got, text = code_of(call)
        self.assertEqual(code, got, text)
        for word in words:
            self.assertIn(word, text)
        return text

    def agent(self, name=None):
        """An enrolled base client with a session."""
        count = getattr(type(self), "_agents", 0) + 1
        type(self)._agents = count
        return BaseAgent(self.server, name or f"base-{count}").enroll(self.operator)

    def agent_row(self, agent):
        return self.operator.GetAgent(agent=str(agent.id))

    def send(self, agent, ttl=60, **fields):
        command = gateway.AgentCommand(telemetry_now=gateway.TelemetryNow())
        return self.operator.SendCommand(agent=str(agent.id), command=fields.pop("command", command), ttl_seconds=ttl,
                                         **fields)


def fetch(url):
    """What a plain HTTP server says; b"": it is not there, or says something else than a page."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            return reply.read()
    except (OSError, ValueError):
        return b""


def in_threads(count, work):
    """work(0..count-1) at once; the results in order, exceptions as results."""
    results = [None] * count
    gate = threading.Barrier(count)

    def run(index):
        gate.wait()
        try:
            results[index] = work(index)
        except Exception as error:  # the caller judges it
            results[index] = error
    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def scratch():
    """The folder of everything this run makes."""
    return _scratch


def main():
    """Runs the tests of the calling file; exit status 77: there is no such engine here."""
    status = 1
    try:
        if ENGINE == "postgresql" and not POSTGRES:
            print("skipped: BELAY_TEST_POSTGRES is not set")
            status = SKIPPED
        else:
            status = 0 if unittest.main(verbosity=2, exit=False).result.wasSuccessful() else 1
    finally:
        for pooler in _poolers:
            pooler.close()
        for process in _spawned:
            if process.poll() is None:
                process.kill()
        if os.environ.get("BELAY_TEST_KEEP"):
            print("kept:", _scratch)
        else:
            shutil.rmtree(_scratch, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread of grpcio that still waits for its deadline holds nobody up


__all__ = [name for name in globals() if not name.startswith("_")]
