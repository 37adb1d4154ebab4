"""A small file system of its own below one folder, which a test can fill up: an image that is mounted by a loop device,
so that blocks run out as they do on a disk."""
import os
import subprocess
import tempfile


def _run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


class SmallDisk:
    """mounted is False where there is none (why says the reason): the folder is then as it was."""

    def __init__(self, directory, size):
        self.directory = directory
        self.filler = os.path.join(directory, "filler")
        self.mounted, self.why = False, "mounting needs root"
        if os.geteuid() != 0:
            return
        handle, image = tempfile.mkstemp(prefix="belay-disk")
        try:
            os.truncate(handle, size)
            for command in (("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image),
                            ("mount", "-o", "loop,nodev,nosuid", image, directory)):
                done = _run(*command)
                if done.returncode != 0:
                    self.why = f"{command[0]}: {done.stderr.strip()}"
                    return
            self.mounted, self.why = True, None
            os.chmod(directory, 0o700)
            os.rmdir(os.path.join(directory, "lost+found"))
        except FileNotFoundError as error:
            self.why = str(error)
        finally:
            os.close(handle)
            os.unlink(image)  # the loop device holds it as long as it is mounted

    def fill(self):
        with open(self.filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def empty(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)

    def close(self):
        if self.mounted:
            _run("umount", "-l", self.directory)
            self.mounted = False


def why_not():
    """Why none can be had here, or None."""
    with tempfile.TemporaryDirectory(prefix="belay-disk") as directory:
        disk = SmallDisk(directory, 1 << 20)
        disk.close()
        return disk.why
