"""An agent that offers sandboxes, driven step by step."""
import harness
from harness import *
from harness import __all__ as _of_harness

V = openshell
READY, STOPPED, EXITED, FAILED, LOST, DELETED = (gateway.SANDBOX_STATE_READY, gateway.SANDBOX_STATE_STOPPED,
                                                 gateway.SANDBOX_STATE_EXITED, gateway.SANDBOX_STATE_FAILED,
                                                 gateway.SANDBOX_STATE_LOST, gateway.SANDBOX_STATE_DELETED)


class SandboxAgent:
    """An agent that offers sandboxes and does with its orders what the test says."""

    def __init__(self, case, name, workspace="", **capacity):
        self.base = BaseAgent(case.server, name)
        self.registered = self.enroll(case.operator, workspace)
        room = dict(cpus=4, memory_bytes=4 << 30, disk_bytes=16 << 30, sandboxes=8, sandbox_drivers=["native"])
        self.capacity = gateway.Capacity(**{**room, **capacity})
        self.sequence = 0
        self.relays = set()
        self.control = None

    def enroll(self, operator, workspace):
        created = operator.CreateEnrollmentToken(workspace=workspace)
        reply = self.base.unary("Register", base.RegisterRequest(
            enrollment_token=created.secret, name=self.base.name, identity_pubkey=self.base.identity_public,
            encryption_pubkey=self.base.encryption_public), gateway.RegisterResponse)
        self.base.id = reply.agent_id
        self.base.api_key = operator.ConfirmAgent(enrollment_id=created.token.id, reveal_api_key=True,
                                                  workspace=workspace, fingerprint=reply.identity_fingerprint).api_key
        self.base.handshake()
        return reply

    def connect(self, *reports):
        self.control = Stream(self.base.channel, GATEWAY + "ControlStream", self.base.credentials, timeout=10 * TIMEOUT)
        self.control.send(gateway.ControlStreamRequest(hello=gateway.ControlHello(
            capacity=self.capacity, sandboxes=list(reports))))
        assert self.control.receive().WhichOneof("message") == "accepted"
        return self

    def order(self, kind):
        command = self.control.command()
        payload = gateway.AgentCommand.FromString(command.payload)
        assert payload.WhichOneof("command") == kind, payload
        return command, getattr(payload, kind)

    def made(self, sandbox_id, state, **fields):
        self.sequence += 1
        return gateway.SandboxReport(sandbox_id=sandbox_id, sequence=self.sequence, state=state, **fields)

    def report(self, sandbox_id, state, **fields):
        self.control.send(gateway.ControlStreamRequest(sandbox_report=self.made(sandbox_id, state, **fields)))

    def relay_order(self):
        """The next relay the server asks for; a new control stream brings again what was asked for a moment ago."""
        while True:
            message = self.control.receive()
            if message.WhichOneof("message") == "relay_open" and message.relay_open.relay_id not in self.relays:
                self.relays.add(message.relay_open.relay_id)
                return message.relay_open

    def join(self, relay_id, channel=None, credentials=None, depth=0, **init):
        """A stream for a relay: ours by our own channel, unless said otherwise."""
        stream = Stream(channel or self.base.channel, GATEWAY + "RelayStream", credentials or self.base.credentials,
                        gateway.RelayFrame, depth=depth)
        stream.send(gateway.RelayFrame(init=gateway.RelayInit(relay_id=relay_id, **init)))
        return stream

    def relay(self, depth=0, channel=None, **init):
        """The next relay the server asks for: its order, and our stream for it."""
        order = self.relay_order()
        return order, self.join(order.relay_id, channel, depth=depth, **init)

    def take(self, kind, state=None, **fields):
        command, order = self.order(kind)
        if state is not None:
            self.report(order.sandbox_id, state, **fields)
        self.control.send(ack(command.command_id))
        return order


def frame(**fields):
    return gateway.RelayFrame(**fields)


__all__ = [*_of_harness, *(name for name in globals() if not name.startswith("_") and name not in _of_harness)]
