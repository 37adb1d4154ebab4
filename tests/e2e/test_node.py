#!/usr/bin/python3
"""grpc-js against the server over TLS: see node/smoke.js, node/whole.js and node/sandboxes.js. Skipped where its packages are not installed
(tools/setup --with-node)."""
from host_agent import *
from test_sandboxes_real import RealSandboxCase

HERE = os.path.join(ROOT, "tests", "e2e", "node")


class Node(ServerCase):
    def test_smoke(self):
        agent = self.agent("javascript")
        given = {"target": f"127.0.0.1:{self.server.port}", "ca": self.server.ca().decode(),
                 "protos": os.path.join(ROOT, "proto"), "key": self.operator.CreateApiKey(name="js", scopes=["*"]).secret,
                 "session": agent.session, "agent": agent.name}
        self.run_script("smoke.js", given)

    def test_base_and_the_whole_admin_service(self):
        self.server.database.query("INSERT INTO workspace (id, name, created_at) VALUES (7, 'other', 0)")
        self.run_script("whole.js", {
            "socket": self.server.operator_socket,
            "target": f"127.0.0.1:{self.server.port}", "ca": self.server.ca().decode(),
            "protos": os.path.join(ROOT, "proto"), "base": os.path.join(ROOT, "tests", "e2e", "base.proto"),
            "key": self.operator.CreateApiKey(name="js-whole", scopes=["*"]).secret})

    def test_sandboxes(self):
        agent = HostAgent(self, "host").connect().serve()
        self.shell_script(ECHO)
        agent.control.cancel()

    def shell_script(self, serve):
        self.run_script("sandboxes.js", {
            "target": f"127.0.0.1:{self.server.port}", "ca": self.server.ca().decode(),
            "protos": os.path.join(ROOT, "proto"), "serve": serve,
            "key": self.operator.CreateApiKey(name="js-shell", scopes=["openshell:all"]).secret,
            "weak": self.operator.CreateApiKey(name="js-weak", scopes=["sandbox:read"]).secret})

    def run_script(self, script, given):
        run = subprocess.run(["node", script], cwd=HERE, input=json.dumps(given), capture_output=True, text=True,
                             timeout=80, check=False)
        self.assertEqual(0, run.returncode, run.stdout + run.stderr)


SERVE = """
import socket
print("main says hello", flush=True)
server = socket.create_server(("127.0.0.1", 8080))
while True:
    peer, _ = server.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.close()
"""


@unittest.skipIf(ENGINE == "postgresql", "once is enough: the store has no part in it")
class NodeReal(RealSandboxCase):
    """The same script, with the real agent and real sandboxes."""

    run_script = Node.run_script
    shell_script = Node.shell_script

    def test_sandboxes(self):
        self.shell_script(["python3", "-c", SERVE])
        used = "SELECT MAX(cpu_us), SUM(has_ended), MIN(owner), MIN(name) FROM usage_hour"

        def accounted():
            """Both runs of it have ended, and what they used is in the books, though the sandbox is gone."""
            cpu, ended, owner, name = self.server.database.query(used)[0]
            return name == "js-sandbox" and float(cpu) > 0 and int(ended) >= 1 and owner.startswith("key:")
        eventually(accounted, "its usage is accounted for")
        self.assertEqual(0, self.server.database.number("SELECT COUNT(*) FROM event WHERE kind = 'sandbox.usage_refused'"))


if __name__ == "__main__":
    if not shutil.which("node") or not os.path.isdir(os.path.join(HERE, "node_modules", "@grpc", "grpc-js")):
        print("skipped: no node, or no packages in tests/e2e/node")
        shutil.rmtree(scratch(), ignore_errors=True)
        sys.exit(SKIPPED)
    main()
