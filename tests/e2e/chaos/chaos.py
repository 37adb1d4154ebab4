#!/usr/bin/python3
"""Faults by the thousand, seeded and repeatable: see docs/faults.md.

Several lanes run side by side, each with an installation of its own; lane L of N does the rounds
L, L + N, ... What a round does follows from the seed and its number alone.
"""
import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
FAILED, USAGE, SKIPPED = 1, 64, 77
ROUNDS_OF_A_WORLD = 150


def arguments():
    parser = argparse.ArgumentParser(prog="chaos", description="Kills, cuts, fills, tears and shifts an installation of "
                                     "Belay, and checks after every round that nothing was lost, doubled or done twice.")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="rounds to run (100)")
    parser.add_argument("--cycles", type=int, metavar="N", help="as many rounds as N cycles have: in one every fault comes "
                        "by its weight, and every named step once")
    parser.add_argument("--seed", type=int, metavar="S", help="of everything random; printed, by default a new one")
    parser.add_argument("--round", type=int, metavar="K", help="this round alone")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite", help="the server's database (sqlite)")
    parser.add_argument("--faults", metavar="LIST", help="only these, separated by commas; 'list' prints them")
    parser.add_argument("--lanes", type=int, default=2, metavar="N", help="installations side by side (2)")
    parser.add_argument("--seconds", type=int, metavar="T", help="begin no round after this time")
    parser.add_argument("--recovery", type=int, default=5, metavar="N", help="restarts to measure of each kind (5)")
    parser.add_argument("--build", metavar="DIR", help="folder of a build with BELAY_FAULTS (build/faults, else build/asan)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the folders of a failed round")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(args):
    """The environment that the harness reads when it is imported."""
    if args.build:
        os.environ["BELAY_BIN"] = os.path.join(os.path.abspath(args.build), "bin")
    elif "BELAY_BIN" not in os.environ:
        builds = [os.path.join(ROOT, "build", name, "bin") for name in ("faults", "asan")]
        os.environ["BELAY_BIN"] = next((one for one in builds if os.path.exists(one)), builds[0])
    os.environ["BELAY_TEST_ENGINE"] = "postgresql" if args.engine == "postgres" else "sqlite"
    if os.access("/dev/shm", os.W_OK):
        os.environ.setdefault("TMPDIR", "/dev/shm")
    sys.path[:0] = [HERE, os.path.dirname(HERE)]


def check_build():
    """Why this build cannot be used, or None."""
    folder = os.environ["BELAY_BIN"]
    if not os.path.exists(os.path.join(folder, "belay-server")):
        return f"no belay-server in {folder}: cmake --preset faults && cmake --build --preset faults"
    if not os.path.exists(os.path.join(os.path.dirname(folder), "faults", "torn_vfs.so")):
        return f"{folder} is built without BELAY_FAULTS: use the preset faults, or one of the tests'"
    return None


def has_postgres():
    return "BELAY_TEST_NO_POSTGRES" not in os.environ and os.path.isdir("/usr/lib/postgresql")


def tell(**what):
    print(json.dumps(what), flush=True)


# One lane: prints a line of JSON per round.

class Lane:
    def __init__(self, args, faults):
        import rounds
        import world
        import check
        self.rounds, self.worlds, self.checks = rounds, world, check
        self.args = args
        self.faults = faults
        self.turns = rounds.cycle(faults)
        self.world = None
        self.check = None

    def build(self):
        self.world = self.worlds.World(self.args.lane, self.rounds.why_skipped())
        self.check = self.checks.Check(self.world)
        self.world.agent.start()

    def run(self, numbers):
        end = time.monotonic() + self.args.seconds if self.args.seconds else None
        for number in numbers:
            if end and time.monotonic() > end:
                return True
            if self.world is None:
                self.build()
            what = self.rounds.what_happens(self.args.seed, number, self.turns)
            one = self.rounds.Round(self.world, self.check, number, self.args.seed, what)
            begun = time.monotonic()
            try:
                one.prepare()
                one.run()
            except Exception as error:
                self.fail(number, what, one, error)
                return False
            tell(round=number, fault=what[0], step=what[1], seconds=round(time.monotonic() - begun, 3),
                 commands=len(one.sent), **one.notes)
            self.world.rounds += 1
            if self.world.rounds >= ROUNDS_OF_A_WORLD:
                self.finish()
        return True

    def fail(self, number, what, one, error):
        logs = {os.path.basename(program.log): program.log_text().splitlines()[-25:]
                for program in (self.world.server, self.world.agent)}
        tell(round=number, fault=what[0], step=what[1], failed=f"{type(error).__name__}: {error}", logs=logs, **one.notes)
        if self.args.keep:
            kept = os.path.join("/tmp", f"chaos-{self.args.seed}-{number}")
            shutil.copytree(self.worlds.harness.scratch(), kept, dirs_exist_ok=True,
                            ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
            print("kept:", kept, file=sys.stderr)

    def finish(self):
        """A world's normal end: clean exits, clean logs."""
        world, self.world = self.world, None
        if world:
            world.close()

    def measure(self):
        """How long it takes to serve again, after kill -9 and after a normal end, in turns."""
        if self.world is None:
            self.build()
        times = {"killed": [], "clean": []}
        for _ in range(self.args.recovery):
            for how, end in (("killed", self.world.kill_server), ("clean", self.world.server.terminate)):
                end()
                times[how].append(self.world.restart_server())
        tell(recovery=times)


def stop_once(*_):
    """Nothing disturbs the cleaning up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(FAILED)


def run_lane(args, faults):
    import harness
    lane = Lane(args, faults)
    signal.signal(signal.SIGTERM, stop_once)
    good = False
    try:
        numbers = [args.round] if args.round is not None else range(args.lane, args.rounds, args.lanes)
        good = lane.run(numbers)
        if good and args.lane == 0 and args.round is None and args.recovery > 0:
            lane.measure()
        if good:
            lane.finish()
    except Exception as error:
        good = False
        tell(failed=f"outside of a round: {type(error).__name__}: {error}")
    finally:
        if lane.world:
            lane.world.close(check=False)
        shutil.rmtree(harness.scratch(), ignore_errors=True)
    sys.stdout.flush()
    os._exit(0 if good else FAILED)


# All of them.

class Result:
    def __init__(self):
        self.lock = threading.Lock()
        self.rounds = []
        self.failed = []
        self.recovery = None

    def take(self, line):
        try:
            told = json.loads(line)
        except ValueError:
            print(line, file=sys.stderr)
            return
        with self.lock:
            if "failed" in told:
                self.failed.append(told)
            elif "recovery" in told:
                self.recovery = told["recovery"]
            else:
                self.rounds.append(told)
                if len(self.rounds) % 100 == 0:
                    print(f"{len(self.rounds)} rounds", file=sys.stderr, flush=True)


def read_lane(process, result):
    for line in process.stdout:
        result.take(line.rstrip("\n"))
    process.wait()


def run_lanes(args):
    result = Result()
    lanes = 1 if args.round is not None else min(args.lanes, args.rounds)
    command = [sys.executable, "-B", os.path.abspath(__file__), "--rounds", str(args.rounds), "--seed", str(args.seed),
               "--engine", args.engine, "--lanes", str(lanes), "--recovery", str(args.recovery)]
    command += ["--faults", args.faults] if args.faults else []
    command += ["--round", str(args.round)] if args.round is not None else []
    command += ["--seconds", str(args.seconds)] if args.seconds else []
    command += ["--keep"] if args.keep else []
    processes = [subprocess.Popen([*command, "--lane", str(lane)], stdout=subprocess.PIPE, text=True)
                 for lane in range(lanes)]
    threads = [threading.Thread(target=read_lane, args=(one, result)) for one in processes]
    for thread in threads:
        thread.start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not result.failed and any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.2)
    except KeyboardInterrupt:
        result.failed.append({"failed": "interrupted"})
    if result.failed:
        for one in processes:
            one.terminate()
    for thread in threads:
        thread.join()
    if not result.failed and any(one.returncode != 0 for one in processes):
        result.failed.append({"failed": "a lane ended: " + str([one.returncode for one in processes])})
    return result


def summary(args, result, seconds, faults, skipped):
    kinds = {}
    unreached = {}
    for one in result.rounds:
        kind = kinds.setdefault(one["fault"], {"rounds": 0, "seconds": 0.0})
        kind["rounds"] += 1
        kind["seconds"] = round(kind["seconds"] + one["seconds"], 3)
        if "fired" in one:
            kind["reached"] = kind.get("reached", 0) + (1 if one["fired"] else 0)
            if one["step"]:
                seen = unreached.get((one["fault"], one["step"]), 0)
                unreached[(one["fault"], one["step"])] = seen + (1 if one["fired"] else 0)
    out = {"seed": args.seed, "engine": args.engine, "rounds": len(result.rounds), "seconds": round(seconds, 1),
           "commands": sum(one["commands"] for one in result.rounds), "faults": kinds, "skipped": skipped,
           "steps_reached": sum(1 for count in unreached.values() if count),
           "steps_not_reached": sorted(f"{fault}:{step}" for (fault, step), count in unreached.items() if not count),
           "failed": result.failed}
    if result.recovery:
        killed, clean = (statistics.median(result.recovery[how]) for how in ("killed", "clean"))
        out["recovery"] = {"killed_s": round(killed, 3), "clean_s": round(clean, 3), "ratio": round(killed / clean, 2),
                           "count": len(result.recovery["killed"])}
    return out


def report(args, out):
    if args.json:
        print(json.dumps(out, indent=1))
        return
    print(f"engine {out['engine']}, seed {out['seed']}: {out['rounds']} rounds, {out['commands']} commands, "
          f"{out['seconds']} s")
    for name, kind in sorted(out["faults"].items()):
        reached = f", {kind['reached']} reached" if "reached" in kind else ""
        print(f"  {name:18} {kind['rounds']:6} rounds{reached}, {kind['seconds'] / kind['rounds']:.2f} s each")
    for name, why in sorted(out["skipped"].items()):
        print(f"  {name:18} skipped: {why}")
    if out["steps_not_reached"]:
        print("  steps not reached:", " ".join(out["steps_not_reached"]))
    if "recovery" in out:
        times = out["recovery"]
        print(f"recovery (R3): serving {times['killed_s']} s after kill -9, {times['clean_s']} s after a normal end: "
              f"{times['ratio']} (median of {times['count']})")
    for one in out["failed"]:
        print(f"FAILED: round {one.get('round')} ({one.get('fault')} {one.get('step')}): {one['failed']}")
        for log, lines in one.get("logs", {}).items():
            print(f"--- {log}", *lines, sep="\n")
        if "round" in one:
            faults = f" --faults {args.faults}" if args.faults else ""
            print(f"repeat with: tools/bench/chaos --engine {args.engine} --seed {args.seed} --round {one['round']}{faults}")


def main():
    args = arguments()
    prepare(args)
    wrong = check_build()
    if wrong:
        print(f"chaos: {wrong}", file=sys.stderr)
        sys.exit(USAGE)
    if args.engine == "postgres" and not has_postgres():
        print("skipped: no PostgreSQL here")
        sys.exit(SKIPPED)
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 32)
    import rounds
    skipped = rounds.why_skipped()
    asked = args.faults.split(",") if args.faults and args.faults != "list" else list(rounds.FAULTS)
    unknown = sorted(set(asked) - set(rounds.FAULTS))
    faults = [kind for kind in asked if kind not in skipped]
    if args.faults == "list" or unknown or not faults:
        print("faults:", " ".join(rounds.FAULTS), file=sys.stderr)
        print("not here:", skipped, "unknown:", unknown, file=sys.stderr)
        sys.exit(0 if args.faults == "list" else USAGE)
    if args.cycles is not None:
        args.rounds = args.cycles * len(rounds.cycle(faults))
    if args.lane is not None:
        run_lane(args, faults)
    if not args.json:
        print(f"seed {args.seed}", flush=True)
    begun = time.monotonic()
    result = run_lanes(args)
    out = summary(args, result, time.monotonic() - begun, faults, {kind: why for kind, why in skipped.items() if kind in asked})
    report(args, out)
    shutil.rmtree(rounds.harness.scratch(), ignore_errors=True)
    sys.exit(FAILED if result.failed else 0)


if __name__ == "__main__":
    main()
