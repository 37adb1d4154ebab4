#!/usr/bin/python3
"""A client that shares no code with the server: grpcio with request bytes written by hand.

usage: foreign_client.py SERVER
SERVER is the built serve_main. Exit status 1 on the first difference."""
import subprocess
import sys
import threading

import grpc

GATEWAY = "/agentgateway.v1.AgentGatewayService/"
TIMEOUT = 20


def field(number, data):
    """A length-delimited field."""
    length = b""
    size = len(data)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def register_request(name):
    key = bytes(32)
    token = b"a-token-that-is-long-enough"
    return field(1, token) + field(2, name) + field(3, key) + field(4, key)


def hello(order):
    return field(1, field(1, order))


def unary(channel, path, request, **options):
    return channel.unary_unary(path)(request, timeout=TIMEOUT, **options)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def expect_code(code, call, what):
    try:
        call()
    except grpc.RpcError as error:
        expect(error.code() == code, f"{what}: {error.code()} {error.details()}")
        return error
    raise AssertionError(f"{what}: went through")


def check_health(channel):
    reply = unary(channel, "/grpc.health.v1.Health/Check", b"")
    expect(reply == b"\x08\x01", f"health of the server: {reply}")
    reply = unary(channel, "/grpc.health.v1.Health/Check", field(1, b"agentgateway.v1.AgentGatewayService"))
    expect(reply == b"\x08\x01", f"health of a service: {reply}")
    expect_code(grpc.StatusCode.NOT_FOUND,
                lambda: unary(channel, "/grpc.health.v1.Health/Check", field(1, b"no.Such")), "health of nothing")
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=TIMEOUT)
    expect(next(watch) == b"\x08\x01", "watch")
    watch.cancel()


def check_reflection(channel):
    for version in ("v1", "v1alpha"):
        ask = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        answers = list(ask(iter([field(7, b"*"), field(4, b"grpc.health.v1.Health")]), timeout=TIMEOUT))
        expect(len(answers) == 2, f"reflection {version}: {len(answers)} answers")
        for name in (b"agentgateway.v1.AgentGatewayService", b"grpc.health.v1.Health",
                     b"grpc.reflection." + version.encode() + b".ServerReflection"):
            expect(field(1, name) in answers[0], f"reflection {version} lists {name}")
        expect(b"grpc/health/v1/health.proto" in answers[1], f"reflection {version} gives the file")


def check_unary(channel):
    call = channel.unary_unary(GATEWAY + "Register")
    reply, info = call.with_call(register_request(b"edge-7"), timeout=TIMEOUT)
    expect(reply == b"\x08\x06", f"register: {reply}")
    expect(("x-note", "kept") in [(k, v) for k, v in info.trailing_metadata()], "trailer")
    error = expect_code(grpc.StatusCode.NOT_FOUND,
                        lambda: unary(channel, GATEWAY + "Register", register_request(b"missing")), "error")
    expect(error.details() == "no such thing: missing", error.details())
    expect_code(grpc.StatusCode.UNIMPLEMENTED, lambda: unary(channel, "/a.B/C", b""), "unknown method")
    expect_code(grpc.StatusCode.INVALID_ARGUMENT,
                lambda: unary(channel, GATEWAY + "Register", b"\xff\xff\xff"), "malformed bytes")
    expect_code(grpc.StatusCode.INVALID_ARGUMENT,
                lambda: unary(channel, GATEWAY + "Register", register_request(b"a\xffb")), "malformed UTF-8")
    expect_code(grpc.StatusCode.RESOURCE_EXHAUSTED,
                lambda: unary(channel, GATEWAY + "Register", register_request(b"x" * 70000)), "oversized")
    expect_code(grpc.StatusCode.UNAUTHENTICATED,
                lambda: unary(channel, GATEWAY + "Register", register_request(b"edge"),
                              metadata=[("x-gate", "refuse")]), "refused")
    slow = field(1, bytes(64)) + field(2, bytes(64))
    expect_code(grpc.StatusCode.DEADLINE_EXCEEDED,
                lambda: channel.unary_unary(GATEWAY + "CompleteAuthHandshake")(slow, timeout=0.1), "deadline")
    expect_code(grpc.StatusCode.UNIMPLEMENTED,
                lambda: unary(channel, GATEWAY + "Register", register_request(b"x" * 200),
                              compression=grpc.Compression.Gzip), "compressed")


def check_excess(channel):
    """Last: it may cost the connection."""
    expect_code(grpc.StatusCode.RESOURCE_EXHAUSTED,
                lambda: unary(channel, "/grpc.health.v1.Health/Check", b"",
                              metadata=[(f"x-{i}", "y" * 1000) for i in range(10)]), "much metadata")


def check_streams(channel):
    control = channel.stream_stream(GATEWAY + "ControlStream")
    answers = list(control(iter([hello(b"echo")] * 30), timeout=TIMEOUT))
    expect(len(answers) == 30, f"echo: {len(answers)}")
    batch = field(2, b"\x08\x01") + field(1, bytes(1000))
    for method in ("UploadTelemetry", "UploadEvents"):
        reply = channel.stream_unary(GATEWAY + method)(iter([batch] * 500), timeout=TIMEOUT)
        expect(reply == b"\x08\xf4\x03", f"{method}: {reply}")
    done = threading.Event()

    def order():
        yield hello(b"flood")
        done.wait(TIMEOUT)

    count = sum(1 for _ in control(order(), timeout=TIMEOUT))
    done.set()
    expect(count == 400, f"flood: {count}")
    late = control(iter([hello(b"burst-finish")]), timeout=TIMEOUT)
    count = 0
    try:
        for _ in late:
            count += 1
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.ABORTED and error.details() == "newer session", str(error))
    expect(count == 50, f"flushed before the status: {count}")


def check_many(channel):
    failures = []

    def run():
        try:
            for _ in range(50):
                expect(unary(channel, GATEWAY + "Register", register_request(b"many")) == b"\x08\x04", "many")
        except (grpc.RpcError, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, failures)


def check_all(target):
    with grpc.insecure_channel(target) as channel:
        for check in (check_health, check_reflection, check_unary, check_streams, check_many,
                      check_excess):
            check(channel)
            print(f"{check.__name__} {target}: ok", flush=True)


def main():
    with subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        targets = [server.stdout.readline().strip() for _ in range(2)]
        try:
            for target in targets:
                check_all(target)
        finally:
            server.stdin.close()
        expect(server.wait(timeout=TIMEOUT) == 0, f"server ended with {server.returncode}")


if __name__ == "__main__":
    main()
