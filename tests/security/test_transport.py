#!/usr/bin/python3
"""The listener and the decoder against peers that do not behave: afterwards the server serves as before."""
import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))
from harness import *  # noqa: E402

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class Transport(ServerCase):
    def tearDown(self):
        self.assertTrue(self.server.is_running())
        self.assertEqual("default", self.operator.GetServerInfo().workspace)
        channel = self.server.channel()
        self.assertEqual(b"\x08\x01", channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=TIMEOUT))

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.server.ca().decode())
        context.set_alpn_protocols(["h2"])
        return context

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=TIMEOUT)

    def closed(self, connection):
        """Everything until the peer ends it; fails when it does not."""
        data = b""
        try:
            while True:
                more = connection.recv(65536)
                if not more:
                    return data
                data += more
        except (ConnectionError, ssl.SSLError):
            return data

    def test_plaintext_to_the_tls_port(self):
        for hello in (PREFACE, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 1000, b"\x16\x03\x01\xff\xff"):
            with self.connect() as connection:
                connection.sendall(hello)
                connection.shutdown(socket.SHUT_WR)
                self.assertNotIn(b"HTTP/1.1 200", self.closed(connection))

    def test_tls_1_1_and_unknown_roots(self):
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        context = self.context()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with self.connect() as connection, self.assertRaises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(connection, server_hostname="localhost")
        with self.connect() as connection, self.assertRaises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
        with self.connect() as connection, self.assertRaises(ssl.SSLCertVerificationError):
            self.context().wrap_socket(connection, server_hostname="not-this-server.example")

    def test_http_1_after_the_handshake(self):
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\xff" * 64):
            with self.connect() as raw, self.context().wrap_socket(raw, server_hostname="localhost") as connection:
                connection.sendall(request)
                self.closed(connection)

    def test_a_frame_that_is_too_long(self):
        with self.connect() as raw, self.context().wrap_socket(raw, server_hostname="localhost") as connection:
            connection.sendall(PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000))
            self.closed(connection)

    def test_headers_without_end(self):
        with self.connect() as raw, self.context().wrap_socket(raw, server_hostname="localhost") as connection:
            connection.sendall(PREFACE)
            block = b"\x00" + bytes([1]) + b"a" + bytes([100]) + b"b" * 100
            more = (len(block).to_bytes(3, "big") + b"\x09\x00\x00\x00\x00\x01" + block) * 10000
            with self.assertRaises((ConnectionError, ssl.SSLError)):
                connection.sendall(len(block).to_bytes(3, "big") + b"\x01\x00\x00\x00\x00\x01" + block)
                for _ in range(50):
                    connection.sendall(more)

    def test_rapid_reset_and_pings(self):
        for frames in (b"".join((4).to_bytes(3, "big") + b"\x03\x00" + (2 * i + 1).to_bytes(4, "big") + bytes(4)
                                for i in range(20000)),
                       ((8).to_bytes(3, "big") + b"\x06\x00\x00\x00\x00\x00" + bytes(8)) * 40000,
                       ((6).to_bytes(3, "big") + b"\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x64") * 40000):
            with self.connect() as raw, self.context().wrap_socket(raw, server_hostname="localhost") as connection:
                try:
                    connection.sendall(PREFACE + frames)
                except (ConnectionError, ssl.SSLError, TimeoutError):
                    pass

    def test_large_metadata(self):
        channel = self.server.channel()
        stub = channel.unary_unary("/grpc.health.v1.Health/Check")
        code, _ = code_of(lambda: stub(b"", timeout=TIMEOUT, metadata=(("x-large", "a" * 200000),)))
        self.assertNotIn(code, (Code.OK, Code.DEADLINE_EXCEEDED))
        code, _ = code_of(lambda: stub(b"", timeout=TIMEOUT, metadata=tuple((f"x-{i}", "y") for i in range(5000))))
        self.assertNotIn(code, (Code.OK, Code.DEADLINE_EXCEEDED))

    def test_compressed_bomb(self):
        agent = self.agent()
        channel = grpc.secure_channel(f"127.0.0.1:{self.server.port}", grpc.ssl_channel_credentials(self.server.ca()),
                                      [("grpc.max_send_message_length", -1)], compression=grpc.Compression.Gzip)
        stub = channel.stream_unary(GATEWAY + "UploadTelemetry")
        request = base.UploadTelemetryRequest(payload=bytes(64 << 20), captured_at=now()).SerializeToString()
        code, _ = code_of(lambda: stub(iter([request]), timeout=TIMEOUT, metadata=agent.credentials))
        self.assertIn(code, (Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED, Code.INTERNAL))
        channel.close()
        self.assertEqual(0, self.server.database.number(f"SELECT count(*) FROM upload WHERE agent_id = {agent.id}"))

    def test_more_streams_than_a_connection_may_have(self):
        agent = self.agent()
        calls = [agent.stream(hello=False, timeout=20) for _ in range(300)]
        agent.heartbeat()
        for call in calls:
            call.cancel()

    def test_no_alpn_is_no_service(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.server.ca().decode())
        context.set_alpn_protocols(["http/1.1"])
        try:
            with self.connect() as raw, context.wrap_socket(raw, server_hostname="localhost") as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                self.assertNotIn(b"200 OK", self.closed(connection))
        except (ssl.SSLError, ConnectionError):
            pass

    def test_wrong_wire_types_for_every_method(self):
        key = self.operator.CreateApiKey(name="wire", scopes=["*"]).secret
        channel = self.server.channel()
        bad = [b"\xff" * 9, b"\x0a\xff\xff\xff\xff\x07", b"\x0b" * 200, b"\x0a\x02\xc3\x28", b"\x08", os.urandom(300) + b"\x80"]
        for service in (ADMIN_SERVICE, GATEWAY_SERVICE):
            for method in service.methods:
                token = key if service is ADMIN_SERVICE else None
                client = Service(channel, service, bearer(token) if token else ())
                if method.name in ("LendAgent", "ListLoans", "ReclaimAgent"):
                    client = self.operator  # the local operator's alone
                for raw in bad:
                    def attempt(client=client, method=method, raw=raw):
                        reply = client.call(method, raw, TIMEOUT, client.metadata, {})
                        if hasattr(reply, "cancel"):
                            next(reply)
                    code, text = code_of(attempt)
                    if method.name == "GetServerInfo" and raw == b"\x0a\x02\xc3\x28":
                        self.assertEqual(Code.OK, code)  # a field it does not know, and skips
                    elif token or method.name in ("Register", "BeginAuthHandshake", "CompleteAuthHandshake"):
                        self.assertEqual(Code.INVALID_ARGUMENT, code, f"{method.name} {raw[:8]!r} {text}")
                    else:
                        self.assertEqual(Code.UNAUTHENTICATED, code, f"{method.name} {text}")


if __name__ == "__main__":
    main()
