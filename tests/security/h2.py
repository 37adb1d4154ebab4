"""HTTP/2 by hand over TLS: a peer that may break every rule. One connection, one thread."""
import socket
import ssl

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
ENHANCE_YOUR_CALM = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name, value):
    """A literal that is not indexed."""
    out = b"\x00"
    for text in (name, value):
        raw = text.encode() if isinstance(text, str) else text
        out += (bytes([len(raw)]) if len(raw) < 127 else b"\x7f" + varint(len(raw) - 127)) + raw
    return out


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def request(path, *more):
    """The header block of a call."""
    return b"\x83\x87" + field(":path", path) + field(":authority", "localhost") + field(
        "content-type", "application/grpc") + field("te", "trailers") + b"".join(field(*one) for one in more)


class Peer:
    """Connected, through the handshake, its preface sent; the server's SETTINGS acknowledged if so wished."""

    def __init__(self, server, ack=True, timeout=30, port=None, source=""):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=server.ca().decode())
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", port or server.port), timeout, (source, 0))
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self.send(PREFACE + frame(SETTINGS))
        if ack:
            self.read()
            self.send(frame(SETTINGS, ACK))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """False: the server has closed."""
        try:
            self.socket.sendall(data)
            return True
        except (ConnectionError, ssl.SSLError):
            return False

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the end")
            data += more
        return data

    def read(self):
        """(type, flags, stream, payload); None: the server has closed."""
        try:
            head = self._exactly(9)
            payload = self._exactly(int.from_bytes(head[:3], "big"))
        except (ConnectionError, ssl.SSLError):
            return None
        return head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def status(self, stream):
        """The grpc-status of the first call that is answered on this connection; the server's reset
        or end without one: None."""
        while True:
            got = self.read()
            if got is None or got[0] == GOAWAY or (got[0] == RESET and got[2] == stream):
                return None
            if got[0] == HEADERS and got[2] == stream and b"grpc-status" in got[3]:
                rest = got[3].split(b"grpc-status", 1)[1]
                return int(rest[1:1 + rest[0]])
            if got[0] == HEADERS and got[1] & END_STREAM:
                return None

    def goodbye(self):
        """Reads to the end; the error code of the GOAWAY, or None."""
        code = None
        while True:
            got = self.read()
            if got is None:
                return code
            if got[0] == GOAWAY:
                code = int.from_bytes(got[3][4:8], "big")
