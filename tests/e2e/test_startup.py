#!/usr/bin/python3
"""What keeps a program from starting: one clear line, the right exit status, and nothing changed; and the modes."""
from harness import *

USAGE, CONFIG, TEMPORARY = 64, 78, 75


class Startup(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="start", dir=scratch())
        self.state = os.path.join(self.directory, "state")

    def run_program(self, program, *args, timeout=20, **environment):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BELAY_")}
        return subprocess.run([os.path.join(BIN, program), *args], capture_output=True, text=True, timeout=timeout,
                              env={**kept, **environment}, stdin=subprocess.DEVNULL, check=False)

    def refuses(self, status, words, *args, program="belay-server", **environment):
        run = self.run_program(program, *args, **environment)
        self.assertEqual(status, run.returncode, run.stderr)
        self.assertNotIn("Sanitizer", run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)
        plain = [line for line in run.stderr.splitlines() if not line.startswith("{")]
        self.assertLessEqual(len(plain), 2, run.stderr)
        return run.stderr

    def server(self, *args):
        return ("--state-dir", self.state, "--listen", "127.0.0.1:0", *args)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path


class Options(Startup):
    def test_unknown_and_malformed_options(self):
        self.refuses(USAGE, ["no-such"], *self.server("--no-such"))
        self.refuses(USAGE, ["workers"], *self.server("--workers", "many"))
        self.refuses(USAGE, ["workers"], *self.server("--workers", "0"))
        self.refuses(USAGE, ["mode"], "--mode", "both")
        self.refuses(USAGE, ["frob"], *self.server("frob"))
        self.assertFalse(os.path.exists(self.state))

    def test_unknown_key_in_the_file_names_place_and_nearest(self):
        path = self.write("server.yaml", "workers: 2\nheartbeat_intervall: 5s\n")
        run = self.run_program("belay-server", *self.server("--config", path))
        text = run.stderr
        self.assertIn(run.returncode, (CONFIG, USAGE))
        self.assertIn("server.yaml:2:1", text)
        self.assertIn("\"heartbeat_interval\"", text)
        self.assertIn("heartbeat_intervall", text)
        self.assertFalse(os.path.exists(self.state))

    def test_combinations_that_cannot_be(self):
        self.refuses(USAGE, ["agent-config"], *self.server("--mode", "server", "--agent-config", "/nowhere"))
        self.refuses(USAGE, ["tls-key"], *self.server("--tls-certificate", "/nowhere"))
        self.refuses(USAGE, ["plaintext"], *self.server("--allow-remote-plaintext"))
        self.refuses(USAGE, ["migrate"], "--mode", "agent", "migrate", "up")
        self.assertFalse(os.path.exists(self.state))

    def test_an_address_that_is_none(self):
        for option in ("listen", "listen-plaintext"):
            wrong = ("--state-dir", self.state, f"--{option}", "nonsense")
            self.refuses(USAGE, [f"--{option}", "nonsense", "host:port"], *wrong)
            self.refuses(USAGE, [f"--{option}"], *wrong, "config", "check")
        self.assertFalse(os.path.exists(self.state))

    def test_config_show_hides_what_is_secret(self):
        run = self.run_program("belay-server", "config", "show", BELAY_DATABASE_URL="postgresql://u:hunter2@h/d")
        self.assertEqual(0, run.returncode, run.stderr)
        self.assertNotIn("hunter2", run.stdout + run.stderr)
        self.assertEqual(0, self.run_program("belay-server", "config", "check").returncode)


class State(Startup):
    def refuses_folder(self, program, *args):
        run = self.run_program(program, *args)
        self.assertNotEqual(0, run.returncode)
        self.assertNotIn("Sanitizer", run.stderr)
        self.assertIn(self.state, run.stderr)
        self.assertIn("mode", run.stderr)

    def test_loose_modes_of_the_state_folder(self):
        os.mkdir(self.state, 0o755)
        os.chmod(self.state, 0o755)
        run = self.run_program("belay-server", *self.server("migrate", "status"))
        self.assertNotIn("Sanitizer", run.stderr)
        self.refuses_folder("belay-server", *self.server())

    def test_loose_modes_of_an_agents_state_folder(self):
        os.mkdir(self.state, 0o755)
        os.chmod(self.state, 0o755)
        self.refuses_folder("belay-agent", "run", "--state-dir", self.state)

    def test_loose_modes_of_a_key(self):
        server = Server()
        try:
            server.start()
            self.assertEqual(0, server.terminate())
            for name in ("command.key", os.path.join("tls", "server.key")):
                path = os.path.join(server.state, name)
                os.chmod(path, 0o644)
                run = self.run_program("belay-server", "--state-dir", server.state, "--listen", "127.0.0.1:0",
                                       **server.environment())
                self.assertNotEqual(0, run.returncode)
                self.assertIn(name.rsplit("/", maxsplit=1)[-1], run.stderr)
                os.chmod(path, 0o600)
        finally:
            server.close()

    def test_a_state_folder_in_use(self):
        server = Server()
        try:
            server.start()
            text = self.refuses(TEMPORARY, [server.state], "--state-dir", server.state, "--listen", "127.0.0.1:0",
                                **server.environment())
            self.assertTrue(text)
            self.assertEqual("default", server.operator().GetServerInfo().workspace)
        finally:
            server.close()

    def test_an_address_in_use(self):
        server = Server()
        try:
            server.start()
            run = self.run_program("belay-server", "--state-dir", self.state, "--listen", f"127.0.0.1:{server.port}")
            self.assertNotEqual(0, run.returncode)
            self.assertIn(str(server.port), run.stderr)
            self.assertNotIn("Sanitizer", run.stderr)
        finally:
            server.close()

    def test_a_database_from_the_future(self):
        server = Server()
        try:
            server.start()
            self.assertEqual(0, server.terminate())
            server.database.query("INSERT INTO belay_schema (version, name, sha256, applied_at) VALUES (9999, 'future', '00', 0)")
            text = self.refuses(CONFIG, ["9999"], "--state-dir", server.state, "--listen", "127.0.0.1:0", "--migrate", "auto",
                                **server.environment())
            self.assertTrue(text)
            server.database.query("DELETE FROM belay_schema WHERE version = 9999")
            server.start()
        finally:
            server.close()

    def test_a_database_that_is_none(self):
        run = self.run_program("belay-server", *self.server(), BELAY_DATABASE_URL="mysql://x/y")
        self.assertIn(run.returncode, (USAGE, CONFIG), run.stderr)
        self.assertIn("scheme", run.stderr)
        run = self.run_program("belay-server", *self.server(), BELAY_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x")
        self.assertEqual(69, run.returncode, run.stderr)
        self.assertNotIn("hunter2", run.stderr)
        self.assertNotIn("Sanitizer", run.stderr)

    @unittest.skipUnless(ENGINE == "postgresql", "SQLite migrates itself")
    def test_postgresql_is_not_migrated_unasked(self):
        server = Server()
        try:
            run = self.run_program("belay-server", *self.server(), **server.environment())
            self.assertEqual(CONFIG, run.returncode, run.stderr)
            self.assertIn("migrate", run.stderr)
            plan = self.run_program("belay-server", "migrate", "plan", **server.environment())
            self.assertEqual(0, plan.returncode, plan.stderr)
            self.assertIn("spine", plan.stdout)
            self.assertEqual(0, self.run_program("belay-server", "migrate", "up", **server.environment()).returncode)
            self.assertEqual(0, self.run_program("belay-server", "migrate", "up", **server.environment()).returncode)
            status = self.run_program("belay-server", "migrate", "status", **server.environment()).stdout
            self.assertRegex(status, r"applied +(\d+)\nknown +\1\n")
            server.start("--migrate", "check")
        finally:
            server.close()


class Modes(Startup):
    def test_agent_mode_never_tries_the_database(self):
        import socket
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            url = f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/x"
            run = self.run_program("belay-server", "--mode", "agent", "--", "run", "--state-dir", self.state,
                                   BELAY_DATABASE_URL=url)
            self.assertNotEqual(0, run.returncode)
            self.assertIn("enroll", run.stderr)
            with self.assertRaises(BlockingIOError):
                listener.accept()

    def test_server_mode_opens_nothing_of_an_agent(self):
        server = Server()
        try:
            server.start()
            self.assertFalse(os.path.exists(server.agent_dir))
            self.assertEqual(0, server.operator().GetServerInfo().agents)
            children = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=False)
            self.assertEqual("", children.stdout)
        finally:
            server.close()


if __name__ == "__main__":
    main()
