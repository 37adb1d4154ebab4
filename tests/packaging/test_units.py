#!/usr/bin/python3
"""The systemd units as systemd itself reads them: no unknown setting, no missing program, and an exposure that does not
grow unseen. Exit status 77 where systemd-analyze is not installed.

usage: test_units.py FOLDER_OF_THE_PROGRAMS"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BIN = os.path.abspath(sys.argv[1])
UNITS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "packaging", "systemd")
# What it starts, and how exposed it may be: of 10, by systemd's own count, to which every right of root adds.
NAMES = {"belay-agent": ("belay-agent", 2.0), "belay-server": ("belay-server", 2.0),
         "belay-agent-sandboxes": ("belay-agent", 7.3), "belay-sandboxes": ("sleep", 3.5)}


class Units(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="belay-units-")
        self.addCleanup(shutil.rmtree, self.dir)

    def analyze(self, *args):
        return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=60, check=False)

    def unit(self, name):
        """A copy whose program is the built one."""
        with open(os.path.join(UNITS, name + ".service"), encoding="utf-8") as file:
            text = file.read()
        program = NAMES[name][0]
        self.assertIn(f"/usr/bin/{program} ", text)
        path = os.path.join(self.dir, name + ".service")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("/usr/bin/belay-", BIN + "/belay-"))
        return path

    def test_units_are_understood(self):
        for name in NAMES:
            run = self.analyze("verify", "--man=no", "--recursive-errors=no", self.unit(name))
            self.assertEqual((0, ""), (run.returncode, run.stdout + run.stderr), name)

    def test_a_wrong_setting_would_be_noticed(self):
        path = self.unit("belay-agent")
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n[Service]\nProtectEverything=yes\n")
        self.assertIn("ProtectEverything", self.analyze("verify", "--man=no", path).stderr)

    def setting(self, name, key):
        with open(os.path.join(UNITS, name + ".service"), encoding="utf-8") as file:
            return re.findall(rf"^{key}=(.*)$", file.read(), re.M)

    def test_an_agent_that_ends_leaves_its_sandboxes(self):
        self.assertEqual(["process"], self.setting("belay-agent-sandboxes", "KillMode"))
        self.assertEqual(["cpu io memory pids"], self.setting("belay-sandboxes", "Delegate"))
        # Else one program that hears no SIGTERM would hold up the host's end for a minute and a half.
        self.assertEqual(["10s"], self.setting("belay-sandboxes", "TimeoutStopSec"))
        self.assertIn("belay-sandboxes.service", self.setting("belay-agent-sandboxes", "Requires"))
        self.assertEqual(["belay-agent.service"], self.setting("belay-agent-sandboxes", "Conflicts"))

    def test_one_agent_has_ended_before_the_other_starts(self):
        """Else both have the state folder for a moment, and its change of owner can be cut short."""
        self.assertIn("belay-agent.service", self.setting("belay-agent-sandboxes", "After")[0].split())

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root")
    def test_the_rights_of_the_unit_suffice_for_a_sandbox(self):
        """With every limit, and what a program leaves behind deleted; and one right less does not."""
        rights = self.setting("belay-agent-sandboxes", "CapabilityBoundingSet")[0].lower().replace("cap_", "").split()

        def run(rights):
            return subprocess.run(
                ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all," + ",".join("+" + r for r in rights),
                 os.path.join(BIN, "belay-agent"), "sandbox", "run", "--driver", "native", "--memory", "64MiB", "--pids",
                 "32", "--cpu", "500", "--", "sh", "-c",
                 "id -u; mkdir -p shut/deep; touch shut/deep/file; chmod 000 shut; sleep 60 & exit 3"],
                capture_output=True, text=True, timeout=120, check=False,
                env={**os.environ, "TMPDIR": self.dir, "ASAN_OPTIONS": "detect_leaks=0"})
        ran = run(rights)
        self.assertEqual((3, "1000\n", ""), (ran.returncode, ran.stdout, ran.stderr))
        # Without the copy of the ground, which takes one right, it builds all of it by itself.
        ran = run([right for right in rights if right != "sys_chroot"])
        self.assertEqual((3, "1000\n", ""), (ran.returncode, ran.stdout, ran.stderr))
        self.assertEqual([], [name for name in os.listdir(self.dir) if name.startswith("belay-sandbox")])
        self.assertNotEqual(3, run([right for right in rights if right != "sys_admin"]).returncode)

    def test_exposure(self):
        for name, (_, most) in NAMES.items():
            run = self.analyze("security", "--offline=true", "--no-pager", self.unit(name))
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", run.stdout)
            self.assertIsNotNone(found, run.stdout + run.stderr)
            print(f"{name}: exposure {found.group(1)}")
            self.assertLessEqual(float(found.group(1)), most)


if __name__ == "__main__":
    if shutil.which("systemd-analyze") is None:
        print("skipped: no systemd-analyze")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
