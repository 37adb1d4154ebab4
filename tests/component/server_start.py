#!/usr/bin/python3
"""belay-server with each thing that can be wrong at its start: one clear line, its exit status, and a
clean end (no sanitizer report, no hanging thread). Usage: server_start.py BELAY-SERVER"""
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse

SERVER = sys.argv[1]
USAGE, UNAVAILABLE, TEMPORARY, NO_PERMISSION, CONFIG = 64, 69, 75, 77, 78
STARTED = []
failures = []
count = 0


class Place:
    """A state folder of the case's own."""

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix="belay-start.")
        self.state = os.path.join(self.root, "state")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.root, *names)

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def args(self, *extra, listen="127.0.0.1:0"):
        return [SERVER, "--state-dir", self.state, "--listen", listen, *extra]


def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("BELAY_")}


def database(url):
    return {"BELAY_DATABASE_URL": url}


def run(args, timeout=60, env=None):
    done = subprocess.run(
        args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=timeout, check=False, env={**environment(), **(env or {})})
    return done.returncode, done.stdout, done.stderr


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def refused(args, status, *words, env=None):
    """Ends with status and one line on standard error that holds the words (logs are JSON lines)."""
    code, out, err = run(args, env=env)
    lines = [line for line in err.splitlines() if line and not line.startswith("{")]
    check("Sanitizer" not in err, f"sanitizer report:\n{err[-3000:]}")
    check(code == status, f"exit status {code}, expected {status}: {err[-800:]}")
    check(len(lines) == 1, f"{len(lines)} lines: {err[-800:]}")
    check(lines[0].startswith("belay-server: "), lines[0])
    for word in words:
        check(word in lines[0], f"{word!r} is not in: {lines[0]}")
    for never in ("SELECT ", "INSERT ", "secretpassword"):
        check(never not in err, f"{never!r} leaks: {err}")
    return lines[0]


def start(args, env=None):
    """A running server, ready."""
    process = subprocess.Popen(
        args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**environment(), **(env or {})})
    STARTED.append(process)
    text = []
    for line in process.stderr:
        text.append(line)
        if '"event":"ready"' in line:
            return process
    process.wait()
    raise AssertionError("did not start: " + "".join(text)[-800:])


def stop(process):
    process.send_signal(signal.SIGTERM)
    err = process.stderr.read()
    code = process.wait(timeout=30)
    check("Sanitizer" not in err, f"sanitizer report:\n{err[-3000:]}")
    check(code == 0, f"ended with {code}: {err[-800:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def made(place):
    """State folder of a server that has run once."""
    stop(start(place.args()))


# Each case is a function; its name is its description.

def unknown_option(place):
    refused(place.args("--lisen-http", "x"), USAGE, "lisen-http", "--listen-http")


def bad_mode(place):
    refused(place.args("--mode", "both"), USAGE, "mode", "combined")


def unknown_command(place):
    refused(place.args("migrat", "up"), USAGE, "migrat")


def unknown_command_in_combined_mode(place):
    refused(place.args("--mode", "combined", "migrat", "up"), USAGE, "migrat")


def agent_mode_cannot_migrate(place):
    refused(place.args("--mode", "agent", "migrate", "up"), USAGE, "migrate")


def server_mode_runs_no_agent(place):
    refused(place.args("--agent-config", "/x"), USAGE, "--agent-config", "combined")


def certificate_without_key(place):
    refused(place.args("--tls-certificate", "/x"), USAGE, "--tls-key")


def plaintext_flag_alone(place):
    refused(place.args("--allow-remote-plaintext"), USAGE, "--listen-plaintext")


def plaintext_beyond_loopback(place):
    refused(place.args("--listen-plaintext", "0.0.0.0:0"), NO_PERMISSION, "0.0.0.0:0", "loopback")


def bad_duration(place):
    refused(place.args("--drain-grace", "soon"), USAGE, "drain-grace")


def unknown_key_in_the_file(place):
    file = place.write("server.yaml", "listen: 127.0.0.1:0\nlisten_htp: x\n")
    refused([SERVER, "--config", file], CONFIG, "server.yaml:2:1", "listen_htp")


def broken_yaml(place):
    file = place.write("server.yaml", "listen: [\n")
    refused([SERVER, "--config", file], CONFIG, "server.yaml:")


def missing_configuration_file(place):
    refused([SERVER, "--config", place.path("none.yaml")], CONFIG, "none.yaml")


def bad_environment(place):
    refused(place.args(), USAGE, "BELAY_WORKERS", env={"BELAY_WORKERS": "many"})


def unknown_engine(place):
    refused(place.args(), CONFIG, "unknown scheme", env=database("mysql://u:secretpassword@h/d"))


def password_in_the_arguments(place):
    url = "postgresql://u:secretpassword@127.0.0.1/belay"
    refused(place.args("--database-url", url), USAGE, "BELAY_DATABASE_URL")


def database_away(place):
    url = f"postgresql://u:secretpassword@127.0.0.1:{free_port()}/belay"
    refused(place.args(), UNAVAILABLE, "refused", env=database(url))


def database_host_unknown(place):
    url = "postgresql://u:secretpassword@nowhere.invalid/belay"
    refused(place.args(), UNAVAILABLE, "nowhere.invalid", env=database(url))


def postgres():
    url = os.environ.get("BELAY_TEST_POSTGRES")
    return url or None


def with_database(fn):
    """fn(url) of a fresh database; nothing where the run has no PostgreSQL."""
    server = postgres()
    if server is None:
        return
    name = f"t_start_{os.getpid()}_{count}"
    parts = urllib.parse.urlsplit(server)
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", server, "-c"]
    subprocess.run([*psql, f"CREATE DATABASE {name}"], check=True, stdout=subprocess.DEVNULL)
    try:
        fn(urllib.parse.urlunsplit(parts._replace(path="/" + name)))
    finally:
        subprocess.run([*psql, f"DROP DATABASE {name} WITH (FORCE)"], check=True,
                       stdout=subprocess.DEVNULL)


def database_does_not_exist(place):
    if postgres():
        parts = urllib.parse.urlsplit(postgres())
        url = urllib.parse.urlunsplit(parts._replace(path="/t_nowhere"))
        refused(place.args(), UNAVAILABLE, "t_nowhere", env=database(url))


def schema_missing_on_postgresql(place):
    with_database(lambda url: refused(place.args(), CONFIG, "migrate up", env=database(url)))


def migrate_then_start_on_postgresql(place):
    def body(url):
        code, out, err = run(place.args("migrate", "up"), env=database(url))
        check(code == 0 and "applied 0001" in out, f"{code} {out} {err}")
        code, out, err = run(place.args("migrate", "plan"), env=database(url))
        check(code == 0 and "nothing to do" in out, f"{code} {out} {err}")
        stop(start(place.args(), env=database(url)))
        psql = ["psql", "-X", "-q", url, "-c"]
        subprocess.run([*psql, "INSERT INTO belay_schema SELECT version + 1, name, 'ff', applied_at "
                        "FROM belay_schema ORDER BY version DESC LIMIT 1"], check=True)
        refused(place.args(), CONFIG, "upgrade the program", env=database(url))
        refused(place.args("migrate", "up"), CONFIG, "upgrade the program", env=database(url))
    with_database(body)


def newer_schema_on_sqlite(place):
    made(place)
    base = sqlite3.connect(os.path.join(place.state, "belay.db"))
    base.execute("INSERT INTO belay_schema SELECT version + 1, name, 'ff', applied_at FROM "
                 "belay_schema ORDER BY version DESC LIMIT 1")
    base.commit()
    base.close()
    refused(place.args(), CONFIG, "upgrade the program")


def damaged_database(place):
    made(place)
    for name in ("belay.db-wal", "belay.db-shm"):
        if os.path.exists(os.path.join(place.state, name)):
            os.unlink(os.path.join(place.state, name))
    with open(os.path.join(place.state, "belay.db"), "r+b") as file:
        file.write(b"this is no database at all" * 40)
    refused(place.args(), CONFIG, "belay.db")


def port_in_use(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused(place.args(listen=address), TEMPORARY, address)


def http_port_in_use(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused(place.args("--listen-http", address), TEMPORARY, address)


def bad_address(place):
    refused(place.args(listen="127.0.0.1:99999"), USAGE, "127.0.0.1:99999")


def state_folder_in_use(place):
    first = start(place.args())
    try:
        refused(place.args(), TEMPORARY, place.state)
    finally:
        stop(first)


def state_folder_with_loose_mode(place):
    os.mkdir(place.state)
    os.chmod(place.state, 0o777)
    refused(place.args(), NO_PERMISSION, place.state)


def state_folder_is_a_file(place):
    place.write("state", "x")
    refused(place.args(), NO_PERMISSION, place.state, "not a folder")


def command_key_with_loose_mode(place):
    made(place)
    key = os.path.join(place.state, "command.key")
    check(stat.S_IMODE(os.stat(key).st_mode) == 0o600, "mode of command.key")
    os.chmod(key, 0o644)
    refused(place.args(), NO_PERMISSION, "command.key")


def command_key_is_damaged(place):
    made(place)
    with open(os.path.join(place.state, "command.key"), "wb") as file:
        file.write(b"short")
    refused(place.args(), CONFIG, "command.key", "backup")


def command_key_is_a_link(place):
    made(place)
    key = os.path.join(place.state, "command.key")
    os.rename(key, place.path("elsewhere"))
    os.symlink(place.path("elsewhere"), key)
    refused(place.args(), NO_PERMISSION, "command.key")


def certificate_file_missing(place):
    refused(place.args("--tls-certificate", place.path("c.pem"), "--tls-key", place.path("k.pem")),
            CONFIG, "c.pem")


def make_pair(place):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", place.path("k.pem"), "-out",
         place.path("c.pem")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(place.path("k.pem"), 0o600)


def tls_args(place):
    return place.args("--tls-certificate", place.path("c.pem"), "--tls-key", place.path("k.pem"))


def given_certificate_serves(place):
    make_pair(place)
    stop(start(tls_args(place)))


def tls_key_with_loose_mode(place):
    make_pair(place)
    os.chmod(place.path("k.pem"), 0o644)
    refused(tls_args(place), NO_PERMISSION, "k.pem")


def tls_key_is_no_key(place):
    make_pair(place)
    place.write("k.pem", "no key\n")
    refused(tls_args(place), CONFIG, "key")


def tls_key_of_another_certificate(place):
    make_pair(place)
    os.rename(place.path("c.pem"), place.path("first.pem"))
    make_pair(place)
    os.rename(place.path("first.pem"), place.path("c.pem"))
    refused(tls_args(place), CONFIG, "key")


def own_certificate_is_damaged(place):
    made(place)
    folder = os.path.join(place.state, "tls")
    keys = [name for name in os.listdir(folder) if "key" in name]
    check(keys, str(os.listdir(folder)))
    for name in keys:
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write("damaged\n")
    refused(place.args(), CONFIG, folder)


def socket_path_too_long(place):
    refused(place.args("--operator-socket", place.path("s" * 120)), CONFIG, "sss", "107 bytes")


def operator_socket_is_another_file(place):
    path = place.write("operator.sock", "not a socket")
    refused(place.args("--operator-socket", path), TEMPORARY, "operator.sock")
    with open(path, encoding="utf-8") as file:
        check(file.read() == "not a socket", "the file was touched")


def stale_operator_socket_is_replaced(place):
    process = start(place.args())
    process.kill()
    process.wait()
    process.stderr.close()
    check(os.path.exists(os.path.join(place.state, "operator.sock")), "no stale socket")
    stop(start(place.args()))


def agent_mode_never_tries_the_database(place):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"postgresql://u:secretpassword@127.0.0.1:{listening.getsockname()[1]}/belay"
        code, _, err = run(
            [SERVER, "--mode", "agent", "--", "status", "--state-dir",
             place.path("agent")], env=database(url))
        check(code not in (USAGE, -signal.SIGSEGV), f"{code}: {err}")
        process = subprocess.Popen(
            [SERVER, "--mode", "agent", "--", "run", "--state-dir", place.path("agent")],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**environment(), **database(url)})
        STARTED.append(process)
        listening.settimeout(2)
        try:
            listening.accept()
            raise AssertionError("the agent mode connected to the database")
        except socket.timeout:
            pass
        if process.poll() is None:
            process.terminate()
        err = process.stderr.read()
        process.wait(timeout=30)
        check("secretpassword" not in err, "the password leaks")
        check("Sanitizer" not in err, err[-3000:])
        check(not os.path.exists(place.state), "a server's state folder was made")


def password_never_shows(place):
    url = "postgresql://u:secretpassword@127.0.0.1/belay"
    code, out, err = run(place.args("config", "show"), env=database(url))
    check(code == 0 and "secretpassword" not in out + err, f"{code} {out} {err}")
    code, out, err = run(place.args("config", "check"), env=database(url))
    check(code == 0, f"{code} {out} {err}")


CASES = [
    unknown_option, bad_mode, unknown_command, unknown_command_in_combined_mode,
    agent_mode_cannot_migrate, server_mode_runs_no_agent, certificate_without_key,
    plaintext_flag_alone, plaintext_beyond_loopback, bad_duration, unknown_key_in_the_file,
    broken_yaml, missing_configuration_file, bad_environment, unknown_engine,
    password_in_the_arguments, database_away,
    database_host_unknown, database_does_not_exist, schema_missing_on_postgresql,
    migrate_then_start_on_postgresql, newer_schema_on_sqlite, damaged_database, port_in_use,
    http_port_in_use, bad_address, state_folder_in_use, state_folder_with_loose_mode,
    state_folder_is_a_file, command_key_with_loose_mode, command_key_is_damaged,
    command_key_is_a_link, certificate_file_missing, given_certificate_serves,
    tls_key_with_loose_mode, tls_key_is_no_key, tls_key_of_another_certificate,
    own_certificate_is_damaged, socket_path_too_long, operator_socket_is_another_file,
    stale_operator_socket_is_replaced, agent_mode_never_tries_the_database, password_never_shows,
]

for case in CASES:
    if len(sys.argv) > 2 and case.__name__ not in sys.argv[2:]:
        continue
    count += 1
    began = time.monotonic()
    try:
        with Place() as place:
            case(place)
        print(f"ok   {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    except (AssertionError, subprocess.SubprocessError, OSError) as error:
        failures.append(case.__name__)
        print(f"FAIL {case.__name__}: {error}", flush=True)
for process in STARTED:
    if process.poll() is None:
        process.kill()
        process.wait()
print(f"{count - len(failures)} passed, {len(failures)} failed")
sys.exit(1 if failures else 0)
