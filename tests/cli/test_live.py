#!/usr/bin/python3
"""Every command of `belay` against a real server with its agent: exit statuses, formats, secrets."""
import json
import os
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness  # noqa: E402

BELAY = os.path.join(harness.BIN, "belay")


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(mode="combined").start()
        harness.eventually(lambda: "online" in cls.run_cli("agent", "list").stdout, "the agent is online")
        cls.agent = cls.run_cli("agent", "list", "-o", "name").stdout.strip()
        harness.eventually(lambda: "host.cpu.busy" in cls.run_cli("telemetry", "list", "-o", "name").stdout,
                           "telemetry is there")

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    @classmethod
    def run_cli(cls, *args):
        return cls.server.cli(*args, check=False)

    def belay(self, *args, status=0):
        run = self.run_cli(*args)
        self.assertEqual(run.returncode, status, f"belay {' '.join(args)}\n{run.stdout}\n{run.stderr}")
        self.assertNotIn("Sanitizer", run.stderr)
        return run

    def json(self, *args):
        return json.loads(self.belay(*args, "-o", "json").stdout)

    def remote(self, key, *args, status=0):
        """The same through TLS, as a user with gateways of his own."""
        run = subprocess.run([BELAY, *args], capture_output=True, text=True, timeout=60, input=key, check=False,
                             env={"HOME": self.home(), "PATH": os.environ["PATH"]})
        self.assertEqual(run.returncode, status, f"belay {' '.join(args)}\n{run.stdout}\n{run.stderr}")
        return run

    def home(self):
        path = os.path.join(self.server.directory, "home")
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def test_status(self):
        text = self.belay("status").stdout
        self.assertRegex(text, r"Agents: +1, 1 online")
        status = self.json("status")
        self.assertTrue(status["reachable"])
        self.assertEqual(status["server"]["mode"], "combined")

    def test_agents(self):
        name = self.agent
        listed = self.json("agent", "list")
        self.assertEqual([agent["name"] for agent in listed["agents"]], [name])
        number = listed["agents"][0]["id"]
        self.assertEqual(self.json("agent", "get", number)["name"], name)
        self.assertRegex(self.belay("agent", "get", name).stdout, r"FINGERPRINT: +([0-9a-f]{4}-){7}[0-9a-f]{4}\n")
        self.assertIn("site=north", self.belay("agent", "label", name, "site=north", "rack=7").stdout)
        self.assertEqual(self.belay("agent", "list", "-l", "site=north", "-o", "name").stdout, name + "\n")
        self.assertEqual(self.belay("agent", "list", "-l", "site=south", "-o", "name").stdout, "")
        self.assertNotIn("rack", self.belay("agent", "label", name, "rack-", "site-").stdout)
        self.assertIn("cordoned", self.belay("agent", "cordon", name).stdout)
        self.assertNotIn("cordoned", self.belay("agent", "uncordon", name).stdout)
        self.assertIn("  The list command", self.belay("agent", "get", "nobody", status=2).stderr)
        self.belay("agent", "list", "-l", "a in (b", status=4)
        self.belay("agent", "revoke", name, status=64)

    def test_watches_end_with_their_time(self):
        lines = self.belay("agent", "watch", "--timeout", "1s", "-o", "json").stdout.splitlines()
        changes = [json.loads(line) for line in lines]
        self.assertTrue(any(change["initialDone"] for change in changes))
        self.belay("event", "watch", "--timeout", "500ms")
        self.belay("audit", "watch", "--timeout", "500ms")

    def tampered(self, change, back, words, *args):
        """What verify says of a record that somebody with the database in hand has changed."""
        self.server.database.query(change)
        try:
            run = self.belay("audit", "verify", *args, status=1)
        finally:
            self.server.database.query(back)
        self.assertEqual("", run.stdout)
        self.assertRegex(run.stderr, words)

    def test_the_audit_chain(self):
        operator = harness.Service(self.server.local_channel(), harness.ADMIN_SERVICE)
        first = self.belay("audit", "verify", "-o", "name").stdout.strip()
        made = harness.in_threads(8, lambda i: [operator.CreateEnrollmentToken() for _ in range(130)])
        self.assertEqual([130] * 8, [len(tokens) for tokens in made])
        head = self.json("audit", "verify")
        number = head["records"]
        self.assertGreater(number, 1040)  # more than a page
        self.assertTrue(head["head"].startswith(f"{number}:"))
        self.assertIn("none missing", self.belay("audit", "verify", "--head", first).stdout)
        self.assertNotIn("\r", self.belay("audit", "verify", "--head", head["head"]).stderr)
        self.belay("audit", "verify", "--head", "7:abc", status=64)
        of = f"workspace_id = 1 AND sequence = {number - 1020}"
        (record, actor), = self.server.database.query(f"SELECT record, actor FROM audit WHERE {of}")
        self.tampered(f"UPDATE audit SET actor = 'key:other' WHERE {of}", f"UPDATE audit SET actor = '{actor}' WHERE {of}",
                      f"record {number - 1020}: its field actor")
        self.tampered(f"UPDATE audit SET record = replace(record, 'allowed', 'denied'), decision = 'denied' WHERE {of}",
                      f"UPDATE audit SET record = '{record}', decision = 'allowed' WHERE {of}",
                      f"record {number - 1020}: its hash is not that of its text")
        self.tampered(f"UPDATE audit SET sequence = 1000000 + sequence WHERE {of}",
                      f"UPDATE audit SET sequence = {number - 1020} WHERE workspace_id = 1 AND sequence > 1000000",
                      "record [0-9]+ is missing")
        newest = f"workspace_id = 1 AND sequence = {number}"
        database = self.server.database
        database.query(f"CREATE TABLE taken AS SELECT * FROM audit WHERE {newest}")
        self.tampered(f"DELETE FROM audit WHERE {newest}", "INSERT INTO audit SELECT * FROM taken",
                      f"record {number}, whose hash was kept, is missing|record {number} is missing", "--head", head["head"])
        database.query("DROP TABLE taken")
        self.belay("audit", "verify", "--head", head["head"])

    def test_devices_and_events(self):
        devices = self.json("device", "list", "--agent", self.agent)["devices"]
        self.assertEqual(devices[0]["name"], "host")
        self.assertIn("hostname=", self.belay("device", "get", devices[0]["id"]).stdout)
        self.belay("device", "get", "999999", status=2)
        harness.eventually(lambda: "agent.started" in self.belay("event", "list").stdout, "the event has come")
        self.assertNotIn("agent.started", self.belay("event", "list", "--severity", "error").stdout)

    def test_telemetry(self):
        def values():
            return self.json("telemetry", "query", "host.cpu.busy", "--since", "5m")["series"]
        harness.eventually(lambda: values() and len(values()[0]["rows"]) >= 2, "two samples")
        plot = self.belay("telemetry", "plot", "host.cpu.busy", "--since", "1m", "--ascii", "--width", "60").stdout
        self.assertIn("last ", plot)
        self.assertIn("*", plot)
        live = self.belay("telemetry", "plot", "host.cpu.busy", "--since", "1m", "--follow", "--duration", "1s").stdout
        self.assertIn("UTC", live)
        self.assertNotIn("\033", live)
        self.belay("telemetry", "query", "host.cpu.busy", "--since", "1h", "--step", "10s", "--aggregate", "max")
        self.belay("telemetry", "query", "host.cpu.busy", "--max-points", "1", status=75)

    def test_commands(self):
        name = self.agent
        done = self.belay("command", "send", name, "telemetry-now", "--wait").stdout
        self.assertRegex(done, r"STATE: +succeeded")
        self.assertIn("host.memory.total", done)
        self.assertIn("hostname", self.belay("command", "send", name, "device", "--action", "identify", "--wait").stdout)
        refused = self.belay("command", "send", name, "device", "--action", "reboot", "--wait", status=1).stdout
        self.assertIn("forbidden", refused)
        first = self.json("command", "send", name, "telemetry-now", "--idempotency-key", "same")
        again = self.json("command", "send", name, "telemetry-now", "--idempotency-key", "same")
        self.assertEqual(first["id"], again["id"])
        self.belay("command", "watch", first["id"])
        self.assertEqual(self.json("command", "get", first["id"])["state"], "COMMAND_STATE_SUCCEEDED")
        self.belay("command", "cancel", first["id"], status=5)
        self.belay("command", "get", "cmd_none", status=2)
        self.belay("command", "watch", "cmd_none", status=2)
        self.assertIn("succeeded", self.belay("command", "list").stdout)
        rotated = self.belay("agent", "rotate-key", name, "--wait").stdout
        self.assertRegex(rotated, r"STATE: +succeeded")

    def test_usage(self):
        self.assertIn("No sandbox used anything", self.belay("usage").stderr)
        agent = self.json("agent", "get", self.agent)["id"]
        hour = 3_600_000_000
        first = int(time.time() * 1e6) // hour * hour - 2 * hour
        for i, (name, owner) in enumerate((("calm", "user:a"), ("evil\x1b[2J\u202e", "user:b\x1b]0;t\x07"))):
            self.server.database.query("INSERT INTO sandbox_account VALUES "
                                       f"(1, 'sbx_{i}', '{name}', {agent}, '{owner}', '{{\"team\":\"t{i}\"}}', 0)")
            for n in range(2):
                since = first + n * hour
                self.server.database.query(
                    f"INSERT INTO sandbox_usage VALUES (1, 'sbx_{i}', 'b', {n}, {agent}, '{owner}', {since}, {since + hour // 2}, "
                    f"90000000, {2 << 30}, 1048576, 1, 2, 3, 4, {1 << 30}, 7, 0)")
        text = self.belay("usage").stdout
        self.assertEqual(["SANDBOX", "OWNER", "RUNNING", "CPU", "MEMORY", "GIB-H"], text.split("\n")[0].split()[:6])
        self.assertRegex(text, r"calm +user:a +60m +3m +0\.001 +1 MiB +1\.000 +6 B +8 B")
        for options in ([], ["-o", "wide", "--hourly"], ["-o", "name"], ["-o", "yaml"], ["-o", "json"]):
            shown = self.belay("usage", *options).stdout
            self.assertIn("calm", shown)
            for raw in ("\x1b", "\x07") if options[-1:] in (["yaml"], ["json"]) else ("\x1b", "\x07", "\u202e"):
                self.assertNotIn(raw, shown)
        hourly = self.json("usage", "--hourly", "--sandbox", "calm")["rows"]
        self.assertEqual([("90000000", "calm")] * 2, [(row["cpuUs"], row["sandboxName"]) for row in hourly])
        self.assertEqual(["t0", "t1"], [row["labelValue"] for row in self.json("usage", "--by-label", "team")["rows"]])
        self.assertEqual(["user:a"], [row["owner"] for row in self.json(
            "usage", "--by", "owner", "--owner", "user:a")["rows"]])
        whole = self.json("usage", "--by", "workspace", "-A")["rows"]
        self.assertEqual([("default", "360000000", "2")], [(row["workspace"], row["cpuUs"], row["sandboxes"]) for row in whole])
        self.assertEqual([], self.json("usage", "--until", "24h", "--since", "48h")["rows"])
        self.belay("usage", "--by", "owner", "--by-label", "team", status=64)
        self.belay("usage", "-A", "-w", "default", status=64)
        self.belay("usage", "--by", "nobody", status=64)
        self.belay("usage", "--since", "1h", "--until", "2h", status=4)
        self.belay("usage", "--by-label", "not a key", status=4)

    def test_quotas(self):
        self.assertIn("No quota here", self.belay("quota", "list").stderr)
        self.assertRegex(self.belay("quota", "get").stdout, r"QUOTA: +none\n")
        self.assertRegex(self.belay("quota", "set", "--sandboxes", "5", "--cpu", "2.5", "--memory", "16GiB").stdout,
                         r"\(workspace\) +0 of 5 +0 of 2\.5 +0 B of 16 GiB +0 B of - +its own")
        self.belay("quota", "set", "--each", "--sandboxes", "3", "--disk", "1TiB")
        self.assertRegex(self.belay("quota", "get", "user:x").stdout, r"QUOTA: +each owner\n")
        mine = self.json("quota", "set", "user:x", "--cpu", "500m")
        self.assertEqual(("user:x", {"sandboxes": "3", "diskBytes": str(1 << 40), "cpuMillis": "500"}),
                         (mine["owner"], mine["limits"]))  # begins with that of each
        mine = self.json("quota", "set", "user:x", "--disk", "none", "--sandboxes", "0")
        self.assertEqual({"sandboxes": "0", "cpuMillis": "500"}, mine["limits"])
        self.assertEqual("(workspace)\n*\nuser:x\n", self.belay("quota", "list", "-o", "name").stdout)
        self.assertTrue(self.json("quota", "delete", "user:x")["isOfAll"])
        self.belay("quota", "delete", "user:x", status=2)
        self.assertIn("at least one of", self.belay("quota", "set", status=64).stderr)
        self.belay("quota", "set", "user:x", "--each", "--cpu", "1", status=64)
        for option, value in (("sandboxes", "1000001"), ("sandboxes", "-1"), ("cpu", "1.2345"), ("cpu", "x"), ("cpu", "1.m"),
                              ("memory", "2EiB"), ("memory", "lots"), ("disk", "")):
            self.assertIn("--" + option, self.belay("quota", "set", f"--{option}={value}", status=64).stderr)
        self.assertEqual("5", self.json("quota", "get")["limits"]["sandboxes"])
        self.belay("quota", "rm")
        self.belay("quota", "rm", "--each")
        self.assertEqual([], self.json("quota", "list")["quotas"])

    def test_quotas_of_two_at_once(self):
        """Each changes another limit: neither takes the other's away."""
        self.belay("quota", "set", "user:two", "--sandboxes", "1")
        runs = [subprocess.Popen([BELAY, "quota", "set", "user:two", option, "7"], stdout=subprocess.DEVNULL,
                                 env={**os.environ, "BELAY_SOCKET": self.server.operator_socket}) for option in
                ("--sandboxes", "--cpu", "--memory", "--disk")]
        self.assertEqual([0] * 4, [run.wait(60) for run in runs])
        self.assertEqual({"sandboxes": "7", "cpuMillis": "7000", "memoryBytes": "7", "diskBytes": "7"},
                         self.json("quota", "get", "user:two")["limits"])
        self.belay("quota", "rm", "user:two")

    def test_enrollment(self):
        made = self.belay("enroll", "token", "--label", "a=b", "--ttl", "2m")
        self.assertRegex(made.stdout, r"\Abelay://\S+\n\Z")
        self.assertIn("shown once", made.stderr)
        listed = self.json("enroll", "list", "--state", "pending")
        self.assertNotIn(re.search(r"token=([^&]+)", made.stdout).group(1), json.dumps(listed))
        token = listed["tokens"][0]["id"]
        self.assertIn("cancelled", self.belay("enroll", "revoke", token).stdout)
        self.belay("enroll", "confirm", token, "1234", status=4)
        self.belay("enroll", "revoke", "enr_none", status=2)

    def test_formats(self):
        lists = (("agent", "list"), ("device", "list"), ("event", "list"), ("command", "list"), ("apikey", "list"),
                 ("audit", "list"), ("enroll", "list"), ("telemetry", "list"), ("gateway", "list"))
        for words in lists:
            with self.subTest(words=words):
                self.json(*words)
                self.assertTrue(self.belay(*words, "-o", "yaml").stdout.endswith("\n"))
                title = self.belay(*words, "-o", "wide").stdout.splitlines()[0]
                self.assertEqual(title, title.upper())
                self.assertNotIn(title, self.belay(*words, "-o", "wide", "--no-headers").stdout)
                self.belay(*words, "-o", "name")

    def test_yaml_is_the_same_value(self):
        try:
            import yaml
        except ImportError:
            self.skipTest("python3-yaml is not installed")
        shown = self.belay("device", "list", "-o", "yaml").stdout
        stable = [{key: value for key, value in device.items() if key != "lastSeenAt"}
                  for device in yaml.safe_load(shown)["devices"]]
        expected = [{key: value for key, value in device.items() if key != "lastSeenAt"}
                    for device in self.json("device", "list")["devices"]]
        self.assertEqual(stable, expected)

    def test_remote_with_a_key(self):
        pin = self.json("status")["server"]["caSha256"]
        endpoint = f"127.0.0.1:{self.server.port}"
        made = self.json("apikey", "create", "reader", "--scope", "agent:read")
        key = made["secret"]
        added = self.remote(key, "gateway", "add", "lab", endpoint, "--ca-sha256", pin, "--key-stdin")
        self.assertIn(made["key"]["id"], added.stderr)
        self.assertIn(self.agent, self.remote("", "agent", "list").stdout)
        denied = self.remote("", "agent", "cordon", self.agent, status=3)
        self.assertIn("agent:write", denied.stderr)
        wrong = ("0" if pin[0] != "0" else "1") + pin[1:]
        other = self.remote(key, "gateway", "add", "x", endpoint, "--ca-sha256", wrong, "--key-stdin", status=3)
        self.assertIn("another CA", other.stderr)
        misnamed = self.remote(key, "gateway", "add", "x", endpoint, "--ca-sha256", pin, "--server-name",
                               "elsewhere.example", "--key-stdin", status=69)
        self.assertIn("does not carry the expected name", misnamed.stderr)
        for run in (added, denied, self.remote("", "gateway", "list", "-o", "json"),
                    self.remote("", "config", "show", "-o", "json")):
            self.assertNotIn(key, run.stdout + run.stderr)
        self.assertEqual(os.stat(os.path.join(self.home(), ".config/belay/gateways.json")).st_mode & 0o777, 0o600)
        self.belay("apikey", "revoke", made["key"]["id"])
        harness.eventually(lambda: self.run_revoked() == 3, "the key is worthless")

    def run_revoked(self):
        return subprocess.run([BELAY, "agent", "list"], capture_output=True, check=False,
                              env={"HOME": self.home(), "PATH": os.environ["PATH"]}).returncode


class Gone(unittest.TestCase):
    def test_a_watch_ends_when_the_server_does(self):
        server = harness.Server().start()
        environment = {"BELAY_SOCKET": server.operator_socket, "HOME": server.directory, "PATH": os.environ["PATH"]}
        with subprocess.Popen([BELAY, "audit", "watch", "-o", "json"], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as watch:
            self.addCleanup(watch.kill)
            self.assertEqual(server.cli("apikey", "create", "x", "--scope", "*").returncode, 0)
            json.loads(watch.stdout.readline())  # the watch stands
            server.terminate()
            _, error = watch.communicate(timeout=harness.TIMEOUT)
            self.assertEqual(watch.returncode, 69, error)
            self.assertIn("start the watch again", error)
            self.assertNotIn("Is belay-server running", error)
        self.assertEqual(server.cli("status", check=False).returncode, 69)
        server.close()


if __name__ == "__main__":
    harness.main()
