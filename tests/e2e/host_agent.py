"""An agent whose sandboxes are programs of this machine, unprotected: what a client of the contract sees of it is what it
sees of a real one."""
import fcntl
import pty
import struct
import termios

from sandbox_agent import *
from sandbox_agent import __all__ as _of_sandbox_agent

ECHO = ["sh", "-c", "echo main says hello; exec python3 -c 'import time; time.sleep(600)'"]


class HostAgent(SandboxAgent):
    def serve(self):
        """Does what it is told, until the control stream ends."""
        threading.Thread(target=self.obey, daemon=True).start()
        return self

    def obey(self):
        try:
            while True:
                message = self.control.receive()
                kind = message.WhichOneof("message")
                if kind == "command":
                    self.carry_out(message.command)
                elif kind == "relay_open":
                    threading.Thread(target=self.serve_relay, args=(message.relay_open,), daemon=True).start()
        except grpc.RpcError:
            pass

    def carry_out(self, command):
        payload = gateway.AgentCommand.FromString(command.payload)
        kind = payload.WhichOneof("command")
        order = getattr(payload, kind)
        if kind == "sandbox_create":
            self.say(order.sandbox_id, "main says hello")
        if kind == "sandbox_policy":
            self.report(order.sandbox_id, READY, policy_version=order.policy_version)
        else:
            self.report(order.sandbox_id, {"sandbox_create": READY, "sandbox_start": READY, "sandbox_stop": STOPPED,
                                           "sandbox_delete": DELETED}[kind])
        self.control.send(ack(command.command_id))

    def say(self, sandbox_id, text):
        event = gateway.AgentEvent(time_us=int(time.time() * 1e6), severity=gateway.SEVERITY_INFO, kind="sandbox.log",
                                   device=sandbox_id, text=text, attributes={"target": "stdout"})
        self.base.upload([gateway.UploadEventsRequest(
            payload=gateway.EventBatch(events=[event]).SerializeToString(), captured_at=now(),
            format=gateway.PAYLOAD_FORMAT_EVENT_BATCH)], events=True)

    def serve_relay(self, order):
        stream = self.join(order.relay_id, depth=8)
        if order.WhichOneof("target") == "exec":
            Exec(order.exec, stream).run()
        else:
            echo(stream)


def echo(stream):
    try:
        while True:
            message = stream.receive()
            if message.WhichOneof("frame") == "end":
                stream.send(frame(end=gateway.RelayEnd()))
                stream.end()
                return
            stream.send(frame(data=message.data))
    except grpc.RpcError:
        pass


class Exec:
    def __init__(self, order, stream):
        self.order, self.stream = order, stream
        self.master = None

    def run(self):
        child = self.spawn()
        threading.Thread(target=self.feed, args=(child,), daemon=True).start()
        outputs = [(self.master, "data")] if self.order.tty else [(child.stdout.fileno(), "data"),
                                                                  (child.stderr.fileno(), "errors")]
        readers = [threading.Thread(target=self.pump, args=output) for output in outputs]
        for reader in readers:
            reader.start()
        try:
            code = child.wait(self.order.timeout_seconds or None)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            code = 124
        for reader in readers:
            reader.join()
        for file in (child.stdout, child.stderr):
            if file:
                file.close()
        self.stream.send(frame(exit=gateway.RelayExit(exit_code=code if code >= 0 else 128 - code)))

    def spawn(self):
        how = {"env": {**os.environ, **dict(self.order.environment)}, "cwd": self.order.workdir or "/"}
        if not self.order.tty:
            return subprocess.Popen(list(self.order.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, bufsize=0, **how)
        self.master, slave = pty.openpty()
        self.resize(self.order.columns, self.order.rows)
        child = subprocess.Popen(list(self.order.command), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                 preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **how)
        os.close(slave)
        return child

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, descriptor, kind):
        try:
            while data := os.read(descriptor, 1 << 16):
                self.stream.send(frame(**{kind: data}))
        except OSError:  # a terminal whose last program has ended
            pass

    def feed(self, child):
        try:
            while True:
                message = self.stream.receive()
                kind = message.WhichOneof("frame")
                if kind == "resize":
                    self.resize(message.resize.columns, message.resize.rows)
                elif kind == "end" and not self.order.tty:
                    child.stdin.close()
                elif kind == "data":
                    self.write(child, message.data)
        except (grpc.RpcError, OSError, ValueError):
            child.kill()
        finally:
            if child.stdin:
                child.stdin.close()
            else:
                os.close(self.master)

    def write(self, child, data):
        descriptor = self.master if self.order.tty else child.stdin.fileno()
        while data:
            data = data[os.write(descriptor, data):]


__all__ = [*_of_sandbox_agent, "HostAgent", "ECHO"]
