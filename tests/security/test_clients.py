#!/usr/bin/python3
"""The frame guard lets through whatever clients send that behave: four that have nothing in common."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))
from harness import *  # noqa: E402

NODE = os.path.join(ROOT, "tests", "e2e", "node")
INFO = ADMIN + "GetServerInfo"
HEADERS = ("content-type: application/grpc", "te: trailers")


class Clients(ServerCase):
    log_level = "debug"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = cls.operator.CreateApiKey(name="clients", scopes=["*"]).secret
        cls.body = os.path.join(cls.server.directory, "body")
        with open(cls.body, "wb") as file:
            file.write(bytes(5))

    def tearDown(self):
        self.assertEqual([], self.server.log_lines("connection_guarded"))
        self.assertEqual([], self.server.log_lines("connection_refused"))

    def run_client(self, *command, **more):
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=80, check=False, **more)
        self.assertEqual(0, run.returncode, run.stdout + run.stderr)
        return run.stdout

    def url(self, path):
        return f"https://localhost:{self.server.port}{path}"

    def headers(self):
        return [word for header in (*HEADERS, "authorization: Bearer " + self.key) for word in ("-H", header)]

    def test_h2load(self):
        for streams in (1, 32):
            shown = self.run_client("h2load", "-n", "2000", "-c", "4", "-m", str(streams), "-d", self.body,
                                    *self.headers(), self.url(INFO))
            self.assertIn("2000 succeeded, 0 failed, 0 errored", shown)
            self.assertEqual(2000, int(re.search(r"status codes: (\d+) 2xx", shown).group(1)))

    def test_curl(self):
        ca = os.path.join(self.server.state, "tls", "ca.pem")
        urls = [self.url(INFO)] * 20
        shown = self.run_client("curl", "-sS", "--http2", "--cacert", ca, "-D", "-", "-o", os.devnull, *self.headers(),
                                "--data-binary", "@" + self.body, *urls)
        self.assertEqual(20, shown.lower().count("grpc-status: 0"), shown)

    def test_grpcio(self):
        agent = self.agent()
        records = [base.UploadTelemetryRequest(payload=os.urandom(1000), captured_at=now()) for _ in range(2000)]
        self.assertEqual(2000, agent.upload(records).accepted_count)
        self.assertEqual(1, agent.upload([base.UploadTelemetryRequest(payload=os.urandom(1 << 20), captured_at=now())])
                         .accepted_count)
        caller = self.server.with_key(self.key)
        replies = in_threads(40, lambda i: [caller.GetServerInfo().workspace for _ in range(20)])
        self.assertEqual([["default"] * 20] * 40, replies)
        for _ in range(50):
            agent.stream(hello=False).cancel()
        caller.GetServerInfo(metadata=bearer(self.key) + (("x-long", "v" * 6000),))

    def test_grpc_js(self):
        if not shutil.which("node") or not os.path.isdir(os.path.join(NODE, "node_modules", "@grpc", "grpc-js")):
            self.skipTest("tools/setup --with-node")
        agent = self.agent("javascript")
        self.run_client("node", "smoke.js", cwd=NODE, input=json.dumps({
            "target": f"127.0.0.1:{self.server.port}", "ca": self.server.ca().decode(),
            "protos": os.path.join(ROOT, "proto"), "key": self.key, "session": agent.session, "agent": agent.name}))


if __name__ == "__main__":
    main()
