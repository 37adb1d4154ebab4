"""A network namespace for the agent: a pair of virtual interfaces that can be pulled apart, or made
deaf in one direction. Needs root and iproute2; everything it makes goes away with it."""
import os
import subprocess


def _ip(*args, check=True):
    return subprocess.run(["ip", *args], capture_output=True, text=True, timeout=10, check=check)


def why_not():
    """Why there can be no namespace here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"belay-probe-{os.getpid()}"
    try:
        run = _ip("netns", "add", name, check=False)
        _ip("netns", "del", name, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"ip netns: {error}"
    return None if run.returncode == 0 else f"ip netns: {run.stderr.strip()}"


class Namespace:
    def __init__(self, lane):
        number = os.getpid()
        self.name = f"belay-{number}-{lane}"
        self.near = f"bn{number % 100000}-{lane}"  # interface names have at most 15 characters
        self.far = f"bf{number % 100000}-{lane}"
        net = f"10.{64 + number // 256 % 128}.{number % 256}"
        self.host = f"{net}.{lane * 4 + 1}"
        self.address = f"{net}.{lane * 4 + 2}"
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.name)
            _ip("addr", "add", f"{self.host}/30", "dev", self.near)
            _ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", self.far)
            _ip("link", "set", self.near, "up")
            _ip("-n", self.name, "link", "set", self.far, "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError:
            self.close()
            raise

    def prefix(self):
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def pull(self):
        """Nothing passes."""
        _ip("link", "set", self.near, "down")

    def deafen(self, agent):
        """Frames to one side go to an address that nobody has: lost without a word."""
        where = [] if agent else ["-n", self.name]
        device, address = (self.near, self.address) if agent else (self.far, self.host)
        _ip(*where, "neigh", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", device, "nud", "permanent")

    def heal(self):
        _ip("link", "set", self.near, "up")
        _ip("neigh", "del", self.address, "dev", self.near, check=False)
        _ip("-n", self.name, "neigh", "del", self.host, "dev", self.far, check=False)

    def close(self):
        _ip("link", "del", self.near, check=False)
        _ip("netns", "del", self.name, check=False)
