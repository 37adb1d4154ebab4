#!/usr/bin/python3
"""Checks what `belay` makes from its command table.

usage: check_docs.py reference|man|bash|zsh|fish|exit BELAY
Exit status 1 with the finding, 77 when the shell or man is not installed."""
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIP = 77


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def output(*command, **more):
    done = run(*command, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return done.stdout


def need(program):
    if shutil.which(program) is None:
        print(f"{program} is not installed")
        sys.exit(SKIP)


def check_reference(belay):
    with open(os.path.join(ROOT, "docs", "cli.md"), encoding="utf-8") as file:
        if file.read() != output(belay, "reference"):
            sys.exit("docs/cli.md is out of date; run: belay reference > docs/cli.md")


def check_man(belay):
    need("man")
    need("groff")
    with tempfile.TemporaryDirectory() as folder:
        output(belay, "man", folder)
        pages = sorted(os.listdir(folder))
        if "belay.1" not in pages or "belay-telemetry.1" not in pages:
            sys.exit(f"pages are missing: {pages}")
        for page in pages:
            done = run("groff", "-man", "-Tutf8", "-ww", "-rCHECKSTYLE=3", "-z",
                       os.path.join(folder, page))
            if done.returncode != 0 or done.stderr:
                sys.exit(f"{page}: {done.stderr}")
        shown = output("man", "-l", os.path.join(folder, "belay-gateway.1"),
                       env=dict(os.environ, MANWIDTH="80", MANPAGER="cat", LC_ALL="C.UTF-8"))
        for text in ("belay gateway add", "--ca-sha256 PIN", "EXIT STATUS"):
            if text not in shown:
                sys.exit(f"belay-gateway.1 lacks {text!r}")


def complete(belay, script, line):
    """What bash offers for a line whose last word is being typed."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
            "_belay; printf '%s\\n' \"${COMPREPLY[@]}\"")
    folder = os.path.dirname(belay)
    path = folder + os.pathsep + os.environ["PATH"]
    return output("bash", "-c", code, env=dict(os.environ, PATH=path)).split()


def check_bash(belay):
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "belay.bash")
        with open(script, "w", encoding="utf-8") as file:
            file.write(output(belay, "completion", "bash"))
        output("bash", "-n", script)
        expected = [
            ("belay age", ["agent"]),
            ("belay agent ro", ["rotate-key"]),
            ("belay -o json agent ro", ["rotate-key"]),
            ("belay agent list --onl", ["--online"]),
            ("belay agent list -o y", ["yaml"]),
            ("belay agent list --state ev", ["evicted"]),
            ("belay command send node-7 set", ["set-config"]),
            ("belay completion z", ["zsh"]),
            ("belay event list --severity w", ["warning"]),
            ("belay telemetry plot m --agg", ["--aggregate"]),
            ("belay telemetry plot m --aggregate m", ["mean", "min", "max"]),
        ]
        for line, wanted in expected:
            offered = complete(belay, script, line)
            if offered != wanted:
                sys.exit(f"{line!r} offers {offered}, not {wanted}")
        if "belay" in complete(belay, script, "belay "):
            sys.exit("the program offers itself")
        if "man" in complete(belay, script, "belay "):
            sys.exit("a hidden command is offered")


def check_shell(belay, shell):
    need(shell)
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "belay." + shell)
        with open(script, "w", encoding="utf-8") as file:
            file.write(output(belay, "completion", shell))
        output(shell, "-n", script)


def check_exit(belay):
    """Statuses of the program itself; Ctrl-C ends a wait with 130 and not a word."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"HOME": folder, "PATH": os.environ["PATH"], "TERM": "xterm"}
        env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        for words, status in (("version", 0), ("status", 69), ("agnt", 64), ("", 64),
                              ("gateway list", 0), ("gateway remove x", 2)):
            done = run(belay, *words.split(), env=env, cwd=folder)
            if done.returncode != status:
                sys.exit(f"belay {words}: status {done.returncode}, not {status}\n{done.stderr}")
        listener = os.path.join(folder, "mute.sock")
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(listener)
            mute.listen(1)
            env["BELAY_SOCKET"] = listener
            child = subprocess.Popen([belay, "agent", "watch"], env=env, cwd=folder,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            connection, _ = mute.accept()  # held: closed, it would be a server that went away
            connection.recv(16)  # it waits for a server that says nothing
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
            connection.close()
            if child.returncode != 130 or out or err:
                sys.exit(f"Ctrl-C: status {child.returncode}, {out}, {err}")
        check_colors(belay, env, folder)


def check_colors(belay, env, folder):
    """Colors only on a terminal, and not against NO_COLOR."""
    for extra, colored in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        shown = on_terminal([belay, "config", "show"], dict(env, **extra), folder)
        if ("\033[" in shown) != colored:
            sys.exit(f"{extra}: colors are {'missing' if colored else 'there'}: {shown!r}")


def on_terminal(command, env, folder):
    leader, follower = pty.openpty()
    child = subprocess.Popen(command, env=env, cwd=folder, stdout=follower)
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    child.wait(timeout=30)
    os.close(leader)
    return text.decode()


def main():
    check, belay = sys.argv[1], os.path.abspath(sys.argv[2])
    checks = {"reference": check_reference, "man": check_man, "bash": check_bash,
              "zsh": lambda path: check_shell(path, "zsh"),
              "fish": lambda path: check_shell(path, "fish"), "exit": check_exit}
    checks[check](belay)


if __name__ == "__main__":
    main()
