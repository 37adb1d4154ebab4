#!/usr/bin/python3
"""What sandboxes may and may not reach: HTTP and TLS on an address, a resolver beside them, and a victim on loopback
and on a port of the address. usage: egress_server.py ADDRESS CERTIFICATE KEY. Prints one line of JSON with the ports;
then, at each line of its input, one with what it saw."""
import http.server
import json
import socket
import socketserver
import ssl
import struct
import sys
import threading

ADDRESS, CERTIFICATE, KEY = sys.argv[1:4]
NAMES = {"good.test": [ADDRESS], "evil.test": ["127.0.0.1"], "mapped.test": ["::ffff:127.0.0.1"], "flip.test": [ADDRESS, "127.0.0.1"],
         "good.test.evil.test": ["127.0.0.1"], "xgood.test": [ADDRESS]}
SEEN = {"requests": [], "names": [], "victims": 0}
FLIPPED = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        SEEN["requests"].append([self.command, self.path, self.headers.get("Host")])
        reply = b"from outside: " + body
        if self.path.startswith("/bytes/"):
            reply = b"x" * int(self.path[7:])
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Victim(socketserver.BaseRequestHandler):
    def handle(self):
        SEEN["victims"] += 1


class Resolver(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode("latin-1"))
            at += data[at] + 1
        name, kind = ".".join(labels).lower(), struct.unpack(">H", data[at + 1:at + 3])[0]
        SEEN["names"].append(name)
        found = NAMES.get(name)
        if name == "flip.test" and kind == 1:
            FLIPPED[name] = FLIPPED.get(name, 0) + 1
            found = [found[0] if FLIPPED[name] == 1 else found[1]]
        answers = b""
        count = 0
        for address in found or []:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if kind == (28 if family == socket.AF_INET6 else 1):
                packed = socket.inet_pton(family, address)
                answers += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
                count += 1
        flags = 0x8180 if found is not None else 0x8183
        sock.sendto(data[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + data[12:at + 5] + answers, self.client_address)


class Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    allow_reuse_address = True


class Tcp(Threads, socketserver.TCPServer):
    request_queue_size = 128


class Udp(Threads, socketserver.UDPServer):
    pass


class Http(Threads, http.server.HTTPServer):
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # without asking for a name of the address
        self.server_name, self.server_port = self.server_address


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


plain = Http((ADDRESS, 0), Handler)
secure = Http((ADDRESS, 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
ports = {"port": serve(plain), "tls_port": serve(secure), "echo_port": serve(Tcp((ADDRESS, 0), Echo)),
         "resolver_port": serve(Udp((ADDRESS, 0), Resolver)), "victim_port": serve(Tcp((ADDRESS, 0), Victim))}
serve(Tcp(("127.0.0.1", ports["port"]), Victim))
serve(Tcp(("127.0.0.1", 0), Victim))
print(json.dumps(ports), flush=True)
for _ in sys.stdin:
    print(json.dumps(SEEN), flush=True)
