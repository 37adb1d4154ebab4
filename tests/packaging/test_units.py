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
NAMES = ("belay-agent", "belay-server")
EXPOSURE_MAX = 2.0  # of 10, by systemd's own count


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
        self.assertIn(f"/usr/bin/{name} ", text)
        path = os.path.join(self.dir, name + ".service")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(f"/usr/bin/{name}", os.path.join(BIN, name)))
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

    def test_exposure(self):
        for name in NAMES:
            run = self.analyze("security", "--offline=true", "--no-pager", self.unit(name))
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", run.stdout)
            self.assertIsNotNone(found, run.stdout + run.stderr)
            print(f"{name}: exposure {found.group(1)}")
            self.assertLessEqual(float(found.group(1)), EXPOSURE_MAX)


if __name__ == "__main__":
    if shutil.which("systemd-analyze") is None:
        print("skipped: no systemd-analyze")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
