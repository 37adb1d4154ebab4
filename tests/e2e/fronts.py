"""Balancers of Debian in front of two servers, with the configurations of packaging."""
import socket

import harness
from harness import *


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Front(Process):
    """Its port is known before it starts, since join strings name it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="f", dir=scratch())
        super().__init__(os.path.join(self.directory, "front.log"))
        self.port = free_port()
        self.replicas = []
        self.older = []

    def start(self, replicas):
        self.replicas = replicas
        self.run()
        eventually(self.is_there, "the balancer listens")
        return self

    def is_there(self):
        with socket.socket() as probe:
            return self.is_running() and probe.connect_ex(("127.0.0.1", self.port)) == 0

    def channel(self, ca):
        return grpc.secure_channel(f"127.0.0.1:{self.port}", grpc.ssl_channel_credentials(ca), [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "belay-server"),
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)])

    def close(self):
        """At once: who still has a stream through it is not waited for."""
        for process in (self.process, *self.older):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.process, *self.older):
            if process is not None:
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def packaged(*path):
    with open(os.path.join(ROOT, "packaging", *path), encoding="utf-8") as file:
        return file.read()


class Haproxy(Front):
    """server_options: what default-server gets besides."""

    def __init__(self, server_options=""):
        super().__init__()
        self.file = os.path.join(self.directory, "haproxy.cfg")
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(packaged("haproxy", "haproxy.cfg").replace("default-server ", f"default-server {server_options} "))

    def run(self, *more):
        a, b = self.replicas
        self.spawn(["/usr/sbin/haproxy", "-db", "-f", self.file, *more],
                   BELAY_FRONT=f"127.0.0.1:{self.port}", BELAY_A=f"127.0.0.1:{a.port}", BELAY_B=f"127.0.0.1:{b.port}",
                   BELAY_A_HTTP=str(a.http_port), BELAY_B_HTTP=str(b.http_port))

    def reload(self):
        """A new process takes the port; the old one ends when its connections have."""
        self.older.append(self.process)
        self.run("-sf", str(self.process.pid))
        eventually(self.is_there, "the new process listens")


class Nginx(Front):
    def text(self):
        a, b = self.replicas
        stream = packaged("nginx", "stream.conf")
        for old, new in (("0.0.0.0:443", f"127.0.0.1:{self.port}"), ("127.0.0.1:7443", f"127.0.0.1:{a.port}"),
                         ("127.0.0.1:7444", f"127.0.0.1:{b.port}")):
            assert old in stream
            stream = stream.replace(old, new)
        return "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n" + stream

    def run(self):
        with open(os.path.join(self.directory, "nginx.conf"), "w", encoding="utf-8") as file:
            user = "user root;\n" if os.geteuid() == 0 else ""  # its folders are ours alone
            file.write(f"{user}daemon off;\npid {self.directory}/pid;\nerror_log {self.log};\nworker_processes 1;\n"
                       f"{self.text()}\nevents {{ worker_connections 512; }}\n")
        self.spawn(["/usr/sbin/nginx", "-p", self.directory, "-c", "nginx.conf", "-e", self.log])

    def reload(self):
        """The workers of before go on with what they have."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        try:
            eventually(lambda: self.workers() - before, "there are new workers")
        except AssertionError as error:
            raise AssertionError(f"{error}; before {before}, now {self.workers()}:\n{self.log_text()[-2000:]}") from None
        eventually(self.is_there, "they listen")

    def workers(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return set(file.read().split())


class NginxForOperators(Nginx):
    """TLS ends here, with a certificate of somebody else."""

    def certificate(self):
        self.pem = os.path.join(self.directory, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                        "-subj", "/CN=belay.example.com", "-addext", "subjectAltName=DNS:belay.example.com,IP:127.0.0.1",
                        "-keyout", self.pem + ".key", "-out", self.pem], check=True, capture_output=True, timeout=TIMEOUT)

    def text(self):
        self.certificate()
        block = packaged("nginx", "operators.conf")
        for old, new in (("0.0.0.0:8443", f"127.0.0.1:{self.port}"), ("127.0.0.1:7480", f"127.0.0.1:{self.replicas[0].plain_port}"),
                         ("/etc/ssl/certs/belay.pem", self.pem), ("/etc/ssl/private/belay.key", self.pem + ".key")):
            assert old in block
            block = block.replace(old, new)
        folders = "".join(f"{kind}_temp_path {self.directory}/{kind};\n"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"http {{\naccess_log off;\n{folders}{block}\n}}"

    def operator_channel(self):
        with open(self.pem, "rb") as file:
            return grpc.secure_channel(f"127.0.0.1:{self.port}", grpc.ssl_channel_credentials(file.read()),
                                       [("grpc.ssl_target_name_override", "belay.example.com")])


__all__ = ["Front", "Haproxy", "Nginx", "NginxForOperators", "free_port"]
