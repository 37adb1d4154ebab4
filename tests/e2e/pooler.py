"""PgBouncer of Debian in transaction mode between the servers of a run and PostgreSQL (BELAY_TEST_POOLER): fewer connections
behind it than the servers have, so that each transaction may find itself on another."""
import os
import shutil
import socket
import subprocess
import tempfile
import time
from urllib.parse import urlsplit

CONNECTIONS = 5


class Pooler:
    def __init__(self, postgres):
        behind = urlsplit(postgres)
        self.folder = tempfile.mkdtemp(prefix="belay-pooler-")
        os.chmod(self.folder, 0o755)  # it runs as somebody else
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        file = os.path.join(self.folder, "pgbouncer.ini")
        with open(file, "w", encoding="ascii") as out:
            out.write(f"[databases]\n* = host={behind.hostname} port={behind.port} user={behind.username}\n"
                      f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
                      f"pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\nmax_client_conn = 500\n")
        os.chmod(file, 0o644)
        owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] if os.geteuid() == 0 else []
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*owner, "/usr/sbin/pgbouncer", "-q", file], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        end = time.monotonic() + 30
        while not self._is_there():
            if time.monotonic() > end or self.process.poll() is not None:
                with open(self.log, encoding="utf-8", errors="replace") as text:
                    raise AssertionError("PgBouncer does not start:\n" + text.read()[-2000:])
            time.sleep(0.05)

    def _is_there(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, direct):
        """The same database through it."""
        parts = urlsplit(direct)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
