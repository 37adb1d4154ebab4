#!/usr/bin/python3
"""Policies from end to end: given to the real server, held by the real agent's egress proxy, seen from inside real
sandboxes and by a real server outside. In a network namespace of the test's own, with SQLite."""
import ctypes
import fcntl
import socket
import struct

import test_sandboxes_real as real
from harness import *

V = openshell
OUTSIDE = "10.77.0.1"

# Asks for both places again and again, and says what changes.
WATCHER = r"""
import os, socket, sys, time
def ask(host, port):
    try:
        with socket.create_connection(("127.0.0.1", 3128), timeout=5) as sock:
            sock.sendall(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(4096).decode("latin-1")[9:12] or "closed"
    except OSError as error:
        return type(error).__name__
def tunnel(host, port):
    try:
        sock = socket.create_connection(("127.0.0.1", 3128), timeout=5)
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        good = sock.recv(4096)[9:12] == b"200"
        sock.settimeout(0.01)
        return sock if good else None
    except OSError:
        return None
def gone(sock):
    try:
        return sock is not None and sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
port, echo = sys.argv[1:3]
last, held = {}, None
while True:
    now = {host: ask(host, port) for host in ("good.test", "other.test")}
    for host, code in now.items():
        if last.get(host) != code:
            print(host, code, time.time_ns() // 1000, flush=True)
    last = now
    if held is None and now["good.test"] == "200":
        held = tunnel("good.test", echo)
        if held is not None:
            print("tunnel open", flush=True)
    if gone(held):
        print("tunnel gone", time.time_ns() // 1000, flush=True)
        held = None
    time.sleep(0.02)
"""


def make_network():
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
        raise unittest.SkipTest("no network namespace can be made here")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = b"lo".ljust(16, b"\0")
        flags, = struct.unpack_from("<h", fcntl.ioctl(sock, 0x8913, name + bytes(24)), 16)
        fcntl.ioctl(sock, 0x8914, name + struct.pack("<h", flags | 1) + bytes(22))
        address = struct.pack("<H2s4s8s", socket.AF_INET, b"", socket.inet_aton(OUTSIDE), b"")
        fcntl.ioctl(sock, 0x8916, b"lo:test".ljust(16, b"\0") + address + bytes(8))


def rule(host, *ports, **fields):
    return policy_types.NetworkPolicyRule(
        endpoints=[policy_types.NetworkEndpoint(host=host, ports=ports, allowed_ips=[OUTSIDE], **fields)],
        binaries=[policy_types.NetworkBinary(path="/**")])


class Policies(real.RealSandboxCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("the native driver needs root")
        make_network()
        folder = os.path.dirname(os.path.abspath(__file__))
        cls.directory = tempfile.mkdtemp(prefix="belay-policies.")
        key, certificate = (os.path.join(cls.directory, name) for name in ("key.pem", "certificate.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                        "-subj", "/CN=good.test"], check=True, stderr=subprocess.DEVNULL)
        cls.outside = subprocess.Popen(
            ["/usr/bin/python3", "-B", os.path.join(folder, "..", "support", "egress_server.py"), OUTSIDE, certificate, key],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.ports = json.loads(cls.outside.stdout.readline())
        cls.agent_options = (*cls.agent_options, "--sandbox-resolvers", f"{OUTSIDE}:{cls.ports['resolver_port']}")
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.outside.kill()
        cls.outside.communicate()
        shutil.rmtree(cls.directory, ignore_errors=True)

    def policy(self, **rules):
        return policy_types.SandboxPolicy(version=1, network_policies=rules)

    def watcher(self, name, **rules):
        sandbox = self.ready(name, "python3", "-c", WATCHER, str(self.ports["port"]), str(self.ports["echo_port"]),
                             policy=self.policy(**rules))
        return sandbox

    def said(self, sandbox, *words, after=0):
        """The newest line with these words, once it is there."""
        def look():
            lines = [line for line in self.lines(sandbox)[after:] if all(word in line for word in words)]
            return lines[-1] if lines else None
        return eventually(look, f"{words} is said; last: {self.lines(sandbox)[-5:]}")

    def loaded(self, name, version):
        def look():
            status = self.shell.GetSandboxPolicyStatus(name=name)
            return status if status.active_version == version else None
        return eventually(look, f"revision {version} is loaded")

    def denials(self, sandbox):
        return [event for event in self.operator.ListEvents(kind_prefix="sandbox.denied", page_size=1000).events
                if event.device == sandbox.metadata.id]

    def test_rules_hold_change_live_and_survive_the_agent(self):
        sandbox = self.watcher("box", web=rule("good.test", self.ports["port"], self.ports["echo_port"]))
        self.said(sandbox, "good.test 200")
        self.said(sandbox, "other.test 403")
        self.said(sandbox, "tunnel open")
        self.assertEqual(V.POLICY_STATUS_LOADED, self.loaded("box", 1).revision.status)
        denied = eventually(lambda: self.denials(sandbox), "a denial is an event")[0]
        self.assertEqual(("other.test", str(self.ports["port"])), (denied.attributes["host"], denied.attributes["port"]))
        self.assertIn("no rule", denied.attributes["reason"])

        # Merges: a rule more is loaded and opens a way; one less closes it, and the tunnel with it.
        more = V.PolicyMergeOperation(add_rule=V.AddNetworkRule(rule_name="more", rule=rule("other.test", self.ports["port"])))
        self.assertEqual(2, self.shell.UpdateConfig(name="box", merge_operations=[more]).version)
        self.loaded("box", 2)
        self.said(sandbox, "other.test 502")  # allowed by now, and there is no such name
        less = V.PolicyMergeOperation(remove_rule=V.RemoveNetworkRule(rule_name="web"))
        before = time.time_ns() // 1000
        self.shell.UpdateConfig(name="box", merge_operations=[less])
        gone = int(self.said(sandbox, "tunnel gone").split()[-1])
        self.said(sandbox, "good.test 403")
        self.loaded("box", 3)
        print(f"a tunnel was gone {(gone - before) / 1000:.1f} ms after the update was asked for", file=sys.stderr)

        # What no agent can enforce is refused by the server; what this one cannot is reported as failed.
        code, text = code_of(lambda: self.shell.UpdateConfig(name="box", policy=self.policy(
            web=policy_types.NetworkPolicyRule(endpoints=[policy_types.NetworkEndpoint(host="x.test", port=1, allowed_ips=["10/8"])],
                                               binaries=[policy_types.NetworkBinary(path="/**")]))))
        self.assertEqual(Code.INVALID_ARGUMENT, code)
        self.assertIn("allowed_ips", text)
        for field, fields in (("host", {"host": "0x7f.1", "port": 80}), ("host", {"host": "x.test:443", "port": 443}),
                              ("rules", {"host": "x.test", "port": 80, "protocol": "rest", "rules": [policy_types.L7Rule(
                                  allow=policy_types.L7Allow(method="GET /", path="/a"))]})):
            code, text = code_of(lambda: self.shell.UpdateConfig(name="box", policy=self.policy(
                web=policy_types.NetworkPolicyRule(endpoints=[policy_types.NetworkEndpoint(**fields)],
                                                   binaries=[policy_types.NetworkBinary(path="/**")]))))
            self.assertEqual(Code.INVALID_ARGUMENT, code, fields)
            self.assertIn(f"network_policies[web].endpoints[0].{field}: ", text)
        # More endpoints than an agent holds.
        many = [policy_types.NetworkEndpoint(host="x.test", port=80)] * 1000
        crowd = {f"r{i}": policy_types.NetworkPolicyRule(
            endpoints=many, binaries=[policy_types.NetworkBinary(path="/**")]) for i in range(5)}
        code, text = code_of(lambda: self.shell.UpdateConfig(name="box", policy=self.policy(**crowd)))
        self.assertEqual((Code.INVALID_ARGUMENT, "policy.network_policies: 5000 endpoints, at most 4096"), (code, text))
        self.assertEqual(3, self.shell.GetSandboxPolicyStatus(name="box").active_version)
        def networks(count):
            lines = [line for line in self.shell.GetSandboxLogs(sandbox_id=sandbox.metadata.id, sources=["gateway"]).logs
                     if line.target == "sandbox.network"]
            return lines if len(lines) == count else None
        good, echo = f"good.test:{self.ports['port']}", f"good.test:{self.ports['echo_port']}"
        self.assertEqual(0, self.host.terminate())  # what it has counted by destination, it tells
        self.start()
        self.phase("box", V.SANDBOX_PHASE_READY)
        line, = eventually(lambda: networks(1), "its destinations are told")
        self.assertEqual({good, echo}, set(line.fields))

        # The agent dies with a tunnel open: the sandbox lives, and its rules are the newest.
        self.shell.UpdateConfig(name="box", policy=self.policy(web=rule("good.test", self.ports["port"], self.ports["echo_port"])))
        self.loaded("box", 4)
        self.said(sandbox, "good.test 200")
        told = len(self.lines(sandbox))
        opened = self.lines(sandbox).count("tunnel open")
        eventually(lambda: self.lines(sandbox).count("tunnel open") > 1, "a tunnel is open again")
        self.host.kill()
        self.start()
        self.said(sandbox, "tunnel gone", after=told)
        eventually(lambda: self.lines(sandbox).count("tunnel open") > max(opened, 2), "a tunnel after the restart")
        self.assertEqual(4, self.shell.GetSandboxPolicyStatus(name="box").active_version)
        self.assertEqual(sandbox.status.main_process_instance_id,
                         self.shell.GetSandbox(name="box").sandbox.status.main_process_instance_id)

        self.outside.stdin.write("\n")
        self.outside.stdin.flush()
        seen = json.loads(self.outside.stdout.readline())
        self.assertEqual(0, seen["victims"])
        self.assertEqual({"good.test", "other.test"}, set(seen["names"]))

        # What went through is in the figures.
        self.shell.StopSandbox(name="box")
        self.phase("box", V.SANDBOX_PHASE_STOPPED)
        def used():
            rows = self.server.database.query(
                f"SELECT coalesce(sum(sent_bytes), 0), coalesce(sum(received_bytes), 0) FROM sandbox_usage WHERE sandbox_id = '{sandbox.metadata.id}'")
            return int(rows[0][0]) > 100 and int(rows[0][1]) > 100
        eventually(used, "bytes are counted")

        # And with whom, once more at the end of the run.
        line = eventually(lambda: networks(2), "its destinations are told")[1]
        self.assertIn(f"{good} sent=", line.message)
        fields = dict(line.fields)
        self.assertEqual({good, echo}, set(fields))
        for value in fields.values():
            self.assertRegex(value, r"^sent=\d+ received=\d+ connections=[1-9]\d*$")
        self.assertRegex(fields[good], r"^sent=[1-9]\d* received=[1-9]\d* ")


if __name__ == "__main__":
    main()
