"""A server that says whatever a test wants: grpcio on a Unix socket, each method a function of the test."""
import os
import tempfile
from concurrent import futures

import harness
from harness import grpc, openshell

READY = openshell.SANDBOX_PHASE_READY


class _Methods(grpc.GenericRpcHandler):
    def __init__(self):
        self.functions = {}

    def service(self, handler_call_details):
        method = next((method for service in (harness.ADMIN_SERVICE, harness.OPENSHELL_SERVICE)
                       for method in service.methods
                       if handler_call_details.method == f"/{service.full_name}/{method.name}"), None)
        function = self.functions.get(method.name) if method else None
        if function is None:
            return None
        make = {(False, False): grpc.unary_unary_rpc_method_handler, (False, True): grpc.unary_stream_rpc_method_handler,
                (True, True): grpc.stream_stream_rpc_method_handler}[harness.stream_kind(method)]
        return make(function, harness.message_class(method.input_type).FromString,
                    lambda message: message.SerializeToString())


class HostileServer:
    """functions: method name -> f(request or iterator, context); the table may change at any time."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="h", dir=harness.scratch())
        self.socket = os.path.join(self.folder, "socket")
        methods = _Methods()
        self.functions = methods.functions
        self.server = grpc.server(futures.ThreadPoolExecutor(16), handlers=(methods,))
        self.server.add_insecure_port("unix:" + self.socket)
        self.server.start()

    def close(self):
        self.server.stop(None).wait()


def sandbox(name="box", **status):
    made = openshell.Sandbox()
    made.metadata.id, made.metadata.name, made.metadata.workspace = "sb_1", name, "default"
    made.spec.SetInParent()
    made.status.phase = status.pop("phase", READY)
    for key, value in status.items():
        setattr(made.status, key, value)
    return made


def event(kind, value):
    if kind == "exit":
        return openshell.ExecSandboxEvent(exit=openshell.ExecSandboxExit(exit_code=value))
    message = openshell.ExecSandboxEvent()
    getattr(message, kind).data = value
    return message
