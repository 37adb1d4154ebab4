#!/usr/bin/python3
"""The image store of belay-agent as its commands show it: what archives may be, what hostile ones try, what a kill
leaves, what is in use. Each attempt has a control beside it: the same archive without the trick is taken.

usage: test_images.py BELAY_AGENT BELAY"""
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

AGENT, CLI = (os.path.abspath(path) for path in sys.argv[1:3])
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e", "chaos"))
from pages import FaultPage  # noqa: E402  pylint: disable=wrong-import-position

ROOT = os.geteuid() == 0
DRIVER = "native" if ROOT else "bwrap"


def member(name, data=None, **fields):
    """One entry: a file if it has data, else what its type says."""
    info = tarfile.TarInfo(name)
    info.type = fields.pop("type", tarfile.REGTYPE)
    info.mode = fields.pop("mode", 0o644)
    for key, value in fields.items():
        setattr(info, key, value)
    if data is not None:
        info.size = len(data)
    return info, data


def archive(*members, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def renamed(data, old, new):
    """A name inside the archive replaced by one that Python's writer would not write, with the sum mended."""
    at = data.index(old)
    block = bytearray(data[at:at + 512])
    block[:len(old)] = new.ljust(len(old), b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:at] + bytes(block) + data[at + 512:]


GOOD = member("etc/name", b"good\n")


class Images(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="belay-images-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.store = os.path.join(self.dir, "state", "sandboxes", "images")
        self.secret = os.path.join(self.dir, "outside")
        with open(self.secret, "w", encoding="ascii") as file:
            file.write("untouched")

    def agent(self, *args, data=None, **extra):
        return subprocess.run(
            [AGENT, *args[:2], "--state-dir", os.path.join(self.dir, "state"), *args[2:]], input=data,
            capture_output=True, timeout=120, check=False, env={**os.environ, **extra})

    def take(self, data, name="one", *more):
        return self.agent("image", "import", name, "-", "-o", "json", *more, data=data)

    def taken(self, data, name="one"):
        run = self.take(data, name)
        self.assertEqual(0, run.returncode, run.stderr)
        return json.loads(run.stdout)

    def names(self):
        run = self.agent("image", "list", "-o", "json")
        self.assertEqual(0, run.returncode, run.stderr)
        return [image["name"] for image in json.loads(run.stdout)]

    def inside(self, *path):
        return os.path.join(self.store, *path)

    def assert_clean(self, names=()):
        """Nothing half: no name but these, nothing staged, nothing outside changed."""
        found = os.listdir(self.store) if os.path.exists(self.store) else []
        self.assertEqual(list(names), sorted(name for name in found if not name.startswith(".")))
        if ".staging" in found:
            self.assertEqual([], os.listdir(self.inside(".staging")))
        with open(self.secret, encoding="ascii") as file:
            self.assertEqual("untouched", file.read())
        self.assertFalse(os.path.exists(os.path.join(self.dir, "escape")))

    def refused(self, data, text, *more):
        run = self.take(data, "bad", *more)
        self.assertNotEqual(0, run.returncode)
        self.assertIn(text, run.stderr.decode())
        self.assert_clean()
        return run.returncode

    # ---- What is taken ----

    def test_plain_gzip_and_zstd_are_the_same_image(self):
        data = archive(GOOD, member("bin", type=tarfile.SYMTYPE, linkname="usr/bin"))
        zstd = subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout \
            if shutil.which("zstd") else None
        for name, wrapped in (("plain", data), ("gzip", gzip.compress(data)), ("zstd", zstd)):
            if wrapped is None:
                continue
            image = self.taken(wrapped, name)
            self.assertEqual("sha256:" + hashlib.sha256(wrapped).hexdigest(), image["digest"])
            self.assertEqual(("folder", 5, 2), (image["kind"], image["bytes"], image["entries"]))
            with open(self.inside(name, "etc", "name"), encoding="ascii") as file:
                self.assertEqual("good\n", file.read())
            self.assertEqual("usr/bin", os.readlink(self.inside(name, "bin")))

    def test_long_names_of_each_kind_of_tar(self):
        long = "/".join(["folder" * 15] * 12) + "/file"
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            self.taken(archive(member(long, b"x"), member("to", type=tarfile.SYMTYPE, linkname=long), form=form), f"f{form}")
            self.assertTrue(os.path.isfile(self.inside(f"f{form}", long)))
            self.assertEqual(long, os.readlink(self.inside(f"f{form}", "to")))
        self.taken(archive(member("d" * 90 + "/" + "f" * 90, b"x"), form=tarfile.USTAR_FORMAT), "ustar")
        self.assertTrue(os.path.isfile(self.inside("ustar", "d" * 90, "f" * 90)))

    def test_what_system_tar_writes(self):
        source = os.path.join(self.dir, "tree")
        os.makedirs(os.path.join(source, "deep", "er"))
        with open(os.path.join(source, "deep", "file"), "w", encoding="ascii") as file:
            file.write("x" * 5000)
        os.link(os.path.join(source, "deep", "file"), os.path.join(source, "deep", "er", "link"))
        self.taken(subprocess.run(["tar", "-C", source, "-c", "."], capture_output=True, check=True).stdout)
        one, other = (os.stat(self.inside("one", "deep", name)) for name in ("file", "er/link"))
        self.assertEqual((5000, one.st_ino), (one.st_size, other.st_ino))

    def test_an_image_appears_in_the_list_and_goes(self):
        self.taken(archive(GOOD))
        os.mkdir(self.inside("byhand"))
        self.assertEqual(["byhand", "one"], self.names())
        self.assertIn(b"put there by hand", self.agent("image", "list").stdout)
        self.assertNotEqual(0, self.take(archive(GOOD)).returncode)  # the name is taken
        self.assertEqual(0, self.agent("image", "remove", "one").returncode)
        self.assertEqual(0, self.agent("image", "remove", "byhand").returncode)
        run = self.agent("image", "remove", "one")
        self.assertIn(b"no image one", run.stderr)
        self.assert_clean()
        self.taken(archive(GOOD))

    def test_the_list_says_where_an_image_came_from(self):
        self.taken(archive(GOOD))
        imported = self.taken(archive(GOOD), "two")
        listed = {image["name"]: image for image in json.loads(self.agent("image", "list", "-o", "json").stdout)}
        self.assertEqual(imported, listed["two"])
        self.assertTrue(listed["one"]["digest"].startswith("sha256:"))
        self.assertNotIn(b"put there by hand", self.agent("image", "list").stdout)

    def test_the_command_line_names_what_is_wrong(self):
        for args in ((), ("import",), ("import", "one"), ("list", "x"), ("remove",), ("burn", "x")):
            self.assertEqual(64, self.agent("image", *args).returncode)
        for name in ("../x", ".hidden", "a/b", "x" * 65, ""):
            self.assertIn(b"image name", self.take(archive(GOOD), name).stderr)
        self.assertIn(b"No such file", self.agent("image", "import", "one", "/no/such/file").stderr)
        self.assert_clean()

    def test_belay_image_is_the_agents_command(self):
        self.taken(archive(GOOD))
        env = {**os.environ, "BELAY_STATE_DIR": os.path.join(self.dir, "state")}
        run = subprocess.run([CLI, "image", "list", "-o", "json"], capture_output=True, timeout=60, check=False, env=env)
        self.assertEqual((0, ["one"]), (run.returncode, [i["name"] for i in json.loads(run.stdout)]), run.stderr)
        run = subprocess.run([CLI, "image", "remove", "two"], capture_output=True, timeout=60, check=False, env=env)
        self.assertEqual(1, run.returncode)
        self.assertIn(b"no image two", run.stderr)
        run = subprocess.run([CLI, "image", "import", "two", "-"], input=archive(GOOD), capture_output=True, timeout=60,
                             check=False, env=env)
        self.assertEqual(0, run.returncode, run.stderr)
        self.assertEqual(["one", "two"], self.names())

    # ---- What hostile archives try ----

    def test_names_that_lead_out(self):
        self.taken(archive(member("sub/escape", b"x")))
        self.agent("image", "remove", "one")
        for name in ("../escape", "../../../../escape", "a/../../escape", "a/..", ".."):
            for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
                self.refused(archive(member(name, b"x"), form=form), "'..'")
                self.refused(archive(member(name + "/" + "n" * 200, b"x"), form=form), "'..'")
        self.refused(archive(member(self.dir + "/escape", b"x")), "absolute")
        self.refused(renamed(archive(member("x" * 20, b"x")), b"x" * 20, b"/escape"), "absolute")

    def test_links_do_not_lead_out(self):
        link = member("way", type=tarfile.SYMTYPE, linkname=self.dir)
        up = member("way", type=tarfile.SYMTYPE, linkname="../../../../..")
        folder = member("way", type=tarfile.DIRTYPE, mode=0o755)
        self.taken(archive(folder, member("way/escape", b"x")))
        self.agent("image", "remove", "one")
        for first in (link, up):
            self.refused(archive(first, member("way/escape", b"x")), "a link or a file on its way")
            self.refused(archive(first, member("way/deep/escape", b"x")), "a link or a file on its way")
            self.refused(archive(first, member("way/escape", type=tarfile.DIRTYPE)), "a link or a file on its way")
        # A file in place of a link replaces it; what it led to is not written.
        self.taken(archive(member("name", type=tarfile.SYMTYPE, linkname=self.secret), member("name", b"mine")))
        self.assertFalse(os.path.islink(self.inside("one", "name")))
        self.agent("image", "remove", "one")
        # So does a folder, or it is refused: its bits are never set on what the link led to.
        before = os.stat(self.dir).st_mode
        self.take(archive(link, member("way", type=tarfile.DIRTYPE, mode=0o777)), "bad")
        self.assertEqual(before, os.stat(self.dir).st_mode)
        self.assert_clean()

    def test_hard_links_stay_in(self):
        def hard(target):
            return member("stolen", type=tarfile.LNKTYPE, linkname=target)
        self.taken(archive(GOOD, hard("etc/name")))
        self.assertEqual(2, os.stat(self.inside("one", "stolen")).st_nlink)
        self.agent("image", "remove", "one")
        self.refused(archive(hard(self.secret)), "absolute")
        self.refused(archive(hard("../../../../outside")), "'..'")
        self.refused(archive(hard("missing")), "no file of the archive")
        self.refused(archive(member("way", type=tarfile.SYMTYPE, linkname=self.secret), hard("way")), "no file of the archive")
        self.refused(archive(member("way", type=tarfile.SYMTYPE, linkname=self.dir), hard("way/outside")), "on its way")
        self.refused(archive(member("d", type=tarfile.DIRTYPE), hard("d")), "no file of the archive")

    def test_devices_are_left_out_and_bits_dropped(self):
        image = self.taken(archive(
            member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), member("disk", type=tarfile.BLKTYPE, devmajor=8),
            member("pipe", type=tarfile.FIFOTYPE), member("su", b"x", mode=0o6755), member("open", b"x", mode=0o666),
            member("tmp", type=tarfile.DIRTYPE, mode=0o1777), member("shut", type=tarfile.DIRTYPE, mode=0)))
        self.assertEqual(3, image["skipped"])
        modes = {name: stat.S_IMODE(os.stat(self.inside("one", name)).st_mode) for name in os.listdir(self.inside("one"))}
        self.assertEqual({"su": 0o755, "open": 0o644, "tmp": 0o755, "shut": 0o700}, modes)

    def test_the_sandboxes_user_sees_what_it_owned(self):
        """Bits of others, as they are for whoever is user 1000 inside."""
        self.taken(archive(
            member("mine", b"x", mode=0o700, uid=1000), member("group", b"x", mode=0o750, gid=1000),
            member("roots", b"x", mode=0o600), member("all", b"x", mode=0o604)))
        modes = {name: stat.S_IMODE(os.stat(self.inside("one", name)).st_mode) & 7 for name in os.listdir(self.inside("one"))}
        self.assertEqual({"mine": 5, "group": 5, "roots": 0, "all": 4}, modes)

    def test_bombs_and_lies_about_sizes(self):
        zeros = archive(member("big", bytes(8 << 20)))
        self.taken(gzip.compress(zeros))
        self.agent("image", "remove", "one")
        self.refused(gzip.compress(zeros), "larger than", "--image-max-bytes", "1MiB")
        self.refused(zeros, "larger than", "--image-max-bytes", "1MiB")
        self.refused(zeros[:1 << 20], "breaks off")
        self.refused(gzip.compress(zeros)[:-2000], "breaks off")
        huge = bytearray(archive(member("big", b"x")))
        huge[124:136] = b"%011o\0" % (1 << 32)
        huge[148:156] = b" " * 8
        huge[148:156] = b"%06o\0 " % sum(huge[:512])
        self.refused(bytes(huge), "breaks off")
        huge[124:136] = b"\x80" + b"\xff" * 11
        huge[148:156] = b" " * 8
        huge[148:156] = b"%06o\0 " % sum(huge[:512])
        self.refused(bytes(huge), "too large")
        self.refused(archive(member("/".join(["d"] * 200), b"x")), "too deep")

    def test_what_is_no_archive(self):
        good = archive(GOOD)
        self.refused(b"", "empty")
        self.refused(bytes(1024), "empty")
        self.refused(b"hello" * 200, "not a tar archive")
        self.refused(good[:300], "breaks off")
        self.refused(b"X" + good[1:], "damaged")
        self.refused(b"\xfd7zXZ\0" + bytes(600), "xz")
        self.refused(b"\x1f\x8b" + bytes(600), "damaged")
        self.refused(b"\x28\xb5\x2f\xfd" + b"\xff" * 600, "zstd")
        sparse = bytearray(good)
        sparse[156:157] = b"S"
        at = sparse.index(b"ustar") - 257
        block = bytearray(sparse[at:at + 512])
        block[156:157] = b"S"
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        self.refused(bytes(block) + good[at + 512:], "sparse")

    def test_random_damage_never_leaves_the_store(self):
        good = archive(GOOD, member("way", type=tarfile.SYMTYPE, linkname="etc"), member("d" * 120 + "/x", b"y" * 3000))
        luck = random.Random(int(os.environ.get("BELAY_TEST_SEED", "7")))
        for _ in range(12):
            data = bytearray(good)
            for _ in range(luck.randrange(1, 6)):
                data[luck.randrange(len(data))] = luck.randrange(256)
            run = self.take(bytes(data), "bad")
            self.assertIn(run.returncode, range(0, 100), run.stderr)
            if run.returncode == 0:
                self.agent("image", "remove", "bad")
            self.assert_clean()

    def test_names_as_long_as_a_path_may_be_go_again(self):
        """Below the store they are longer than any path: what was refused, removed or killed goes all the same."""
        long = "/".join(["n" * 250] * 16)
        self.assertLess(len(long), 4096)
        broken = archive(member(long, b"x"), member("big", bytes(1 << 16)))[:-40000]
        self.refused(broken, "breaks off")
        self.taken(archive(member(long, b"x")))
        run = self.agent("image", "remove", "one")
        self.assertEqual((0, b""), (run.returncode, run.stderr))
        self.assert_clean()

    # ---- What a kill leaves ----

    def test_a_kill_at_each_step_leaves_nothing_half(self):
        for step in ("agent.image.staged", "agent.image.recorded"):
            page = FaultPage(os.path.join(self.dir, "fault"))
            page.arm(step, FaultPage.KILL)
            run = self.agent("image", "import", "one", "-", data=archive(GOOD), BELAY_FAULT_PAGE=page.path)
            self.assertEqual(-signal.SIGKILL, run.returncode, run.stderr)
            self.assertTrue(page.fired)
            page.close()
            self.assertEqual([], self.names())
            self.taken(archive(member("etc/name", b"later")))
            self.assertEqual([], os.listdir(self.inside(".staging")))
            with open(self.inside("one", "etc", "name"), encoding="ascii") as file:
                self.assertEqual("later", file.read())
            self.assertEqual(0, self.agent("image", "remove", "one").returncode)

    def test_a_kill_in_the_middle(self):
        data = archive(*(member(f"d{i % 10}/{i}", bytes(20000)) for i in range(300)))
        process = subprocess.Popen([AGENT, "image", "import", "one", "-", "--state-dir", os.path.join(self.dir, "state")],
                                   stdin=subprocess.PIPE)
        process.stdin.write(data[:len(data) // 2])
        process.stdin.flush()
        end = time.monotonic() + 60
        while time.monotonic() < end and not any("d9" in dirs for _, dirs, _ in os.walk(self.store)):
            time.sleep(0.01)
        process.kill()
        process.wait()
        process.stdin.close()
        self.assertEqual([], self.names())
        self.assertNotEqual([], os.listdir(self.inside(".staging")))  # or there was nothing to see
        self.taken(archive(GOOD), "two")
        self.assert_clean(["two"])

    def importing(self, *command, **options):
        """An import that waits for the rest of its archive."""
        data = archive(*(member(f"d{i % 10}/{i}", bytes(20000)) for i in range(300)))
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env={**os.environ, "BELAY_STATE_DIR": os.path.join(self.dir, "state")}, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stderr.close)
        process.stdin.write(data[:len(data) // 2])
        process.stdin.flush()
        end = time.monotonic() + 60
        while time.monotonic() < end and not any("d9" in dirs for _, dirs, _ in os.walk(self.store)):
            time.sleep(0.01)
        return process

    def stopped(self, process, status):
        """It ends although its input does not."""
        self.assertEqual(status, process.wait(60))
        self.assertEqual([], self.names())
        self.taken(archive(GOOD), "later")
        self.assert_clean(["later"])  # nobody holds what was half done
        process.stdin.close()
        self.assertEqual(0, self.agent("image", "remove", "later").returncode)

    def test_an_import_can_be_stopped(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.importing(AGENT, "image", "import", "one", "-")
            process.send_signal(number)
            self.stopped(process, -number)

    def test_belay_image_stops_with_what_it_started(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.importing(CLI, "image", "import", "one", "-")
            process.send_signal(number)  # to belay alone
            self.stopped(process, 128 + number)

    def test_what_was_stopped_goes_with_the_agents_next_start(self):
        root = member("x", b"", mode=0o755)
        self.taken(archive(root), "other")
        process = self.importing(AGENT, "image", "import", "one", "-")
        process.terminate()
        process.wait(60)
        process.stdin.close()
        self.assertNotEqual([], os.listdir(self.inside(".staging")))  # or there was nothing to see
        self.agent("sandbox", "run", "--driver", DRIVER, "--image", "other", "--", "/x")
        self.assert_clean(["other"])

    def test_two_imports_of_one_name(self):
        runs = [subprocess.Popen([AGENT, "image", "import", "one", "-", "--state-dir", os.path.join(self.dir, "state")],
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
        data = archive(GOOD)
        for run in runs:
            run.stdin.write(data[:1000])
            run.stdin.flush()
        for run in runs:
            run.communicate(data[1000:], timeout=60)
        self.assertEqual([0, 1], sorted(min(run.returncode, 1) for run in runs))
        self.assert_clean(["one"])

    # ---- In a sandbox ----

    def tools(self):
        """A root with a shell and what it needs."""
        members = []
        for path in ("/bin/sh", "/bin/cat", "/bin/sleep"):
            libraries = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout.split()
            for file in [path] + [word for word in libraries if word.startswith("/")]:
                name = file.lstrip("/")
                if not any(info.name == name for info, _ in members):
                    with open(file, "rb") as content:
                        members.append(member(name, content.read(), mode=0o755))
        return members

    def run_inside(self, image, *command):
        return self.agent("sandbox", "run", "--driver", DRIVER, "--image", image, "--", *command)

    def test_programs_run_in_an_image(self):
        self.taken(archive(*self.tools(), GOOD, member("su", b"x", mode=0o4755), member("roots", b"x", mode=0o600)), "root")
        run = self.run_inside("root", "/bin/sh", "-c", "cat /etc/name; echo no >/etc/name || echo sealed; test -e /usr || echo bare")
        self.assertEqual((0, b"good\nsealed\nbare\n"), (run.returncode, run.stdout), run.stderr)
        self.assertIn(b"no image other", self.run_inside("other", "/bin/sh").stderr)
        if ROOT:
            self.assertIn(b"denied", self.run_inside("root", "/bin/cat", "/roots").stderr)

    def test_input_from_a_file_comes_whole(self):
        path = os.path.join(self.dir, "input")
        with open(path, "wb") as file:
            file.write(random.Random(1).randbytes(3 << 20))
        long = os.path.join(self.dir, "t" * 60)
        os.mkdir(long)
        for source, wanted in ((path, 3 << 20), ("/dev/null", 0)):
            with open(source, "rb") as file:
                run = subprocess.run([AGENT, "sandbox", "run", "--driver", DRIVER, "--", "cat"], stdin=file,
                                     capture_output=True, timeout=120, check=False, env={**os.environ, "TMPDIR": long})
            with open(source, "rb") as file:
                self.assertEqual((0, wanted), (run.returncode, len(run.stdout)), run.stderr)
                self.assertTrue(file.read() == run.stdout)
            self.assertEqual([], os.listdir(long))
        run = subprocess.run([AGENT, "sandbox", "probe"], capture_output=True, timeout=60, check=False,
                             env={**os.environ, "TMPDIR": "/" + "t" * 4090})
        self.assertEqual(64, run.returncode)
        self.assertIn(b"TMPDIR", run.stderr)

    def test_an_image_in_use_stays(self):
        self.taken(archive(*self.tools()), "root")
        process = subprocess.Popen(
            [AGENT, "sandbox", "run", "--driver", DRIVER, "--image", "root", "--state-dir", os.path.join(self.dir, "state"),
             "--", "/bin/sh", "-c", "echo up; /bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.kill)
        self.assertEqual(b"up\n", process.stdout.readline())
        run = self.agent("image", "remove", "root")
        self.assertNotEqual(0, run.returncode)
        self.assertIn(b"in use", run.stderr)
        self.assertEqual(["root"], self.names())
        process.communicate(timeout=60)
        self.assertEqual(0, self.agent("image", "remove", "root").returncode)
        self.assert_clean()

    @unittest.skipUnless(shutil.which("mksquashfs"), "no mksquashfs")
    def test_a_squashfs_image(self):
        tree = os.path.join(self.dir, "tree")
        with tarfile.open(fileobj=io.BytesIO(archive(*self.tools(), GOOD))) as tar:
            tar.extractall(tree)
        os.chmod(tree, 0o755)
        path = os.path.join(self.dir, "tree.squashfs")
        subprocess.run(["mksquashfs", tree, path, "-quiet", "-no-progress", "-all-root"], check=True, capture_output=True)
        with open(path, "rb") as file:
            image = self.taken(file.read(), "root")
        self.assertEqual("squashfs", image["kind"])
        run = self.run_inside("root", "/bin/cat", "/etc/name")
        if ROOT:
            self.assertEqual((0, b"good\n"), (run.returncode, run.stdout), run.stderr)
        else:
            self.assertIn(b"takes images that are folders", run.stderr)
        self.assertEqual(0, self.agent("image", "remove", "root").returncode)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
