"""What a hostile program tries at the egress proxy, and around it. Runs inside a sandbox whose policy allows
GOALS["host"] (a name) on GOALS["port"] (plain HTTP) and GOALS["tls_port"], and nothing else. Prints one JSON object:
name -> "done", or why not. What begins with "allowed_" must be done: it shows that the way is open."""
import errno
import json
import socket
import ssl
import sys

GOALS = json.loads(sys.argv[1])
HOST, PORT, TLS_PORT = GOALS["host"], GOALS["port"], GOALS["tls_port"]
PROXY = ("127.0.0.1", 3128)
ATTEMPTS = {}


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def talk(data, most=65536):
    """What the proxy answers to these bytes, to its end."""
    with socket.create_connection(PROXY, timeout=5) as sock:
        sock.settimeout(5)
        try:
            sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        try:
            while len(answer) < most:
                part = sock.recv(65536)
                if not part:
                    break
                answer += part
        except (ConnectionResetError, socket.timeout):
            pass
    return answer.decode("latin-1")


def must_be_200(answer):
    if " 200 " not in answer.split("\r\n")[0]:
        raise PermissionError(errno.EACCES, answer.split("\r\n")[0] or "closed")


def get(target, host):
    must_be_200(talk(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))


def tunnel(authority):
    must_be_200(talk(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n", most=12))


def tls(name):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(PROXY, timeout=5) as sock:
        sock.sendall(f"CONNECT {HOST}:{TLS_PORT} HTTP/1.1\r\nHost: {HOST}:{TLS_PORT}\r\n\r\n".encode())
        must_be_200(sock.recv(4096).decode("latin-1"))
        with context.wrap_socket(sock, server_hostname=name) as inner:
            inner.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            must_be_200(inner.recv(4096).decode("latin-1"))


@attempt
def allowed_request():
    get(f"http://{HOST}:{PORT}/", f"{HOST}:{PORT}")


@attempt
def allowed_tunnel():
    tls(HOST)


for number, target in enumerate(GOALS["direct"]):
    def direct(target=tuple(target)):
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(3)
            sock.connect(target)
    ATTEMPTS[f"direct_{target[0]}:{target[1]}"] = direct


@attempt
def direct_dns():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\4good\4test\0\0\1\0\1", tuple(GOALS["resolver"]))
        sock.recv(512)


for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
             "0", "169.254.169.254", "[fe80::1]", "[64:ff9b::7f00:1]", "evil.test", "mapped.test", HOST + ".evil.test",
             "x" + HOST, "10.77.0.1", "b\xc3\xbc.test"):
    ATTEMPTS["tunnel_" + host] = lambda host=host: tunnel(f"{host}:{PORT}")
    ATTEMPTS["request_" + host] = lambda host=host: get(f"http://{host}:{PORT}/", f"{host}:{PORT}")

for port in ("0", "65536", "22", "3128", str(GOALS["victim_port"]), ""):
    ATTEMPTS["port_" + port] = lambda port=port: tunnel(f"{HOST}:{port}")


@attempt
def other_name_in_tls():
    tls("evil.test")


@attempt
def no_name_in_tls():
    tls(None)


@attempt
def host_field_of_another():
    get(f"http://{HOST}:{PORT}/", f"evil.test:{PORT}")


@attempt
def name_before_an_at():
    get(f"http://{HOST}:{PORT}@127.0.0.1:{PORT}/", f"{HOST}:{PORT}")


@attempt
def line_in_the_target():
    tunnel(f"{HOST}:{PORT} HTTP/1.1\r\n\r\nCONNECT 127.0.0.1:{PORT}")


@attempt
def request_behind_two_lengths():
    hidden = f"GET http://127.0.0.1:{PORT}/smuggled HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n\r\n"
    must_be_200(talk(f"POST http://{HOST}:{PORT}/ HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nContent-Length: {len(hidden) + 5}\r\n"
                     f"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"))


@attempt
def request_behind_a_folded_line():
    must_be_200(talk(f"POST http://{HOST}:{PORT}/ HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n"))


@attempt
def huge_head():
    must_be_200(talk(f"GET http://{HOST}:{PORT}/ HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nX: " + "x" * 300000 + "\r\n\r\n"))


@attempt
def many_fields():
    must_be_200(talk(f"GET http://{HOST}:{PORT}/ HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n" + "X: x\r\n" * 1000 + "\r\n"))


@attempt
def listen_in_its_place():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(PROXY)
        sock.listen()


RESULTS = {}
for attempt_name, attempt_function in ATTEMPTS.items():
    try:
        attempt_function()
        RESULTS[attempt_name] = "done"
    except OSError as error:
        RESULTS[attempt_name] = errno.errorcode.get(error.errno, str(error))
    except Exception as error:  # a fault of the probe is not a defence
        RESULTS[attempt_name] = f"broken: {error!r}"
print(json.dumps(RESULTS))
