"""An agent that takes a server's orders for sandboxes by running their programs as plain processes of this machine, nothing
isolated: what the command line does with a session can so be tried on any machine. The protocol and the server are real."""
import errno
import fcntl
import os
import pty
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from test_sandboxes import DELETED, EXITED, FAILED, READY, STOPPED, SandboxAgent  # noqa: E402
from harness import GATEWAY, Stream, ack, gateway, grpc, now  # noqa: E402

LIFE = 600
QUEUE = 8  # frames on their way to the server before a program waits


def status_of(code):
    return 128 - code if code < 0 else code


class Program:
    """A process with pipes or a terminal, joined with a relay."""

    def __init__(self, stream, order, folder, environment):
        self.stream = stream
        self.order = order
        self.master = None
        self.timed_out = False
        options = {"cwd": order.workdir or folder, "env": {**environment, **dict(order.environment)}, "start_new_session": True}
        if order.tty:
            self.master, slave = pty.openpty()
            self.resize(order.columns, order.rows)
            options.update(stdin=slave, stdout=slave, stderr=slave, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        else:
            options.update(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        command = list(order.command)
        program = shutil.which(command[0], path=options["env"].get("PATH"))
        self.process = subprocess.Popen(command, executable=program, **options)
        if order.tty:
            os.close(slave)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def feed(self):
        """Frames of the operator, until the end of the relay."""
        target = self.master if self.master is not None else self.process.stdin.fileno()
        try:
            while True:
                frame = self.stream.receive()
                kind = frame.WhichOneof("frame")
                if kind == "data":
                    data = frame.data
                    while data:
                        data = data[os.write(target, data):]
                elif kind == "resize" and self.master is not None:
                    self.resize(frame.resize.columns, frame.resize.rows)
                elif kind == "end" and self.master is None:
                    self.process.stdin.close()
        except (OSError, ValueError):
            self.stream.end()  # the program takes no more
        except (grpc.RpcError, StopIteration):
            self.kill()  # the operator went away

    def pump(self):
        selector = selectors.DefaultSelector()
        sources = [(self.master, "data")] if self.master is not None else [
            (self.process.stdout.fileno(), "data"), (self.process.stderr.fileno(), "errors")]
        for fd, kind in sources:
            selector.register(fd, selectors.EVENT_READ, kind)
        end = time.monotonic() + self.order.timeout_seconds if self.order.timeout_seconds else None
        while selector.get_map():
            if end and time.monotonic() > end:
                self.timed_out = True
                self.kill()
                end = None
            for key, _ in selector.select(0.1):
                try:
                    data = os.read(key.fd, 65536)
                except OSError as error:
                    assert error.errno == errno.EIO, error
                    data = b""
                if data:
                    self.stream.send(gateway.RelayFrame(**{key.data: data}))
                else:
                    selector.unregister(key.fd)

    def run(self):
        threading.Thread(target=self.feed, daemon=True).start()
        self.pump()
        code = 124 if self.process.wait() is None or self.timed_out else status_of(self.process.returncode)
        self.stream.send(gateway.RelayFrame(exit=gateway.RelayExit(exit_code=code)))
        self.stream.half_close()


class LocalAgent(SandboxAgent):
    def __init__(self, case, name, **capacity):
        super().__init__(case, name, **capacity)
        self.case = case
        self.root = tempfile.mkdtemp(prefix="belay-local-")
        self.mains = {}
        self.environments = {}
        self.event_sequence = 0
        self.lock = threading.Lock()
        self.refusals = []  # words with which the next orders are refused
        self.seen = []      # kinds of orders

    def connect(self, *reports):
        self.control = Stream(self.base.channel, GATEWAY + "ControlStream", self.base.credentials, timeout=LIFE)
        self.control.send(gateway.ControlStreamRequest(hello=gateway.ControlHello(
            capacity=self.capacity, sandboxes=list(reports))))
        assert self.control.receive().WhichOneof("message") == "accepted"
        threading.Thread(target=self.serve, daemon=True).start()
        threading.Thread(target=self.beat, daemon=True).start()
        return self

    def beat(self):
        try:
            while self.control.call.is_active():
                self.base.heartbeat()
                time.sleep(5)
        except grpc.RpcError:
            pass

    def folder(self, sandbox_id):
        path = os.path.join(self.root, sandbox_id)
        os.makedirs(path, exist_ok=True)
        return path

    def serve(self):
        try:
            while True:
                message = self.control.receive()
                kind = message.WhichOneof("message")
                if kind == "command":
                    self.obey(message.command)
                elif kind == "relay_open":
                    threading.Thread(target=self.join, args=(message.relay_open,), daemon=True).start()
        except (grpc.RpcError, StopIteration):
            pass

    def obey(self, command):
        payload = gateway.AgentCommand.FromString(command.payload)
        kind = payload.WhichOneof("command")
        order = getattr(payload, kind)
        self.seen.append(kind)
        if self.refusals:
            self.control.send(ack(command.command_id, False, self.refusals.pop(0)))
            return
        getattr(self, kind)(order)
        self.control.send(ack(command.command_id))

    def sandbox_create(self, order):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder(order.sandbox_id), **dict(order.environment)}
        self.environments[order.sandbox_id] = environment
        self.report(order.sandbox_id, READY, policy_version=order.policy_version)
        if order.command:
            threading.Thread(target=self.main, args=(order.sandbox_id, list(order.command), environment), daemon=True).start()

    def main(self, sandbox_id, command, environment):
        try:
            process = subprocess.Popen(command, env=environment, cwd=self.folder(sandbox_id), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            self.report(sandbox_id, FAILED, reason="ExecFailed", message=str(error))
            return
        self.mains[sandbox_id] = process
        readers = [threading.Thread(target=self.ship, args=(sandbox_id, target, pipe))
                   for target, pipe in (("stdout", process.stdout), ("stderr", process.stderr))]
        for one in readers:
            one.start()
        for one in readers:
            one.join()
        self.report(sandbox_id, EXITED, exit_code=status_of(process.wait()))

    def ship(self, sandbox_id, target, pipe):
        for line in pipe:
            event = gateway.AgentEvent(time_us=int(time.time() * 1e6), severity=2, kind="sandbox.log", device=sandbox_id,
                                       text=line.decode().rstrip("\n"), attributes={"target": target})
            with self.lock:
                self.event_sequence += 1
                self.base.upload([gateway.UploadEventsRequest(
                    payload=gateway.EventBatch(events=[event]).SerializeToString(), captured_at=now(),
                    sequence=self.event_sequence, format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)], events=True)

    def end(self, sandbox_id):
        process = self.mains.pop(sandbox_id, None)
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def sandbox_delete(self, order):
        self.end(order.sandbox_id)
        self.report(order.sandbox_id, DELETED)

    def sandbox_stop(self, order):
        self.report(order.sandbox_id, STOPPED)

    def sandbox_start(self, order):
        self.report(order.sandbox_id, READY)

    def sandbox_policy(self, order):
        self.report(order.sandbox_id, READY, policy_version=order.policy_version)

    def join(self, order):
        stream = Stream(self.base.channel, GATEWAY + "RelayStream", self.base.credentials, gateway.RelayFrame, depth=QUEUE,
                        timeout=LIFE)
        stream.send(gateway.RelayFrame(init=gateway.RelayInit(relay_id=order.relay_id)))
        if order.WhichOneof("target") == "tcp":
            self.forward(order.tcp, stream)
            return
        try:
            program = Program(stream, order.exec, self.folder(order.sandbox_id), self.environments[order.sandbox_id])
        except OSError as error:
            code = 126 if error.errno == errno.EACCES else 127
            stream.send(gateway.RelayFrame(errors=f"{order.exec.command[0]}: {error.strerror}\n".encode()))
            stream.send(gateway.RelayFrame(exit=gateway.RelayExit(exit_code=code)))
            stream.end()
            return
        program.run()

    @staticmethod
    def forward(target, stream):
        try:
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=10)
        except OSError as error:
            stream.send(gateway.RelayFrame(failure=gateway.RelayFailure(
                code=gateway.ACK_CODE_INTERNAL, message=f"port {target.port}: {error.strerror}")))
            stream.end()
            return
        connection.settimeout(None)

        def feed():
            try:
                while True:
                    frame = stream.receive()
                    if frame.WhichOneof("frame") == "data":
                        connection.sendall(frame.data)
                    elif frame.WhichOneof("frame") == "end":
                        connection.shutdown(socket.SHUT_WR)
            except (OSError, StopIteration, grpc.RpcError):
                connection.close()
        threading.Thread(target=feed, daemon=True).start()
        try:
            while data := connection.recv(65536):
                stream.send(gateway.RelayFrame(data=data))
        except OSError:
            pass
        stream.send(gateway.RelayFrame(end=gateway.RelayEnd()))
        stream.half_close()
