"""Files that a program under test maps: what a fault shall do, and when. One class per layout:
common/sys/fault.h, tests/support/torn_vfs.c, tests/support/clock_jump.c."""
import mmap
import os
import struct
import time

SIZE = 4096


class Page:
    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.write(bytes(SIZE))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SIZE)

    def put(self, offset, value, form="=I"):
        struct.pack_into(form, self.memory, offset, value)

    def get(self, offset):
        return struct.unpack_from("=I", self.memory, offset)[0]

    def close(self):
        self.memory.close()
        os.unlink(self.path)


class FaultPage(Page):
    """A named step of a running program."""
    KILL, HOLD = 1, 2
    ACTION, SKIP, FIRED, RELEASED, NAME, NAME_BYTES = 0, 4, 8, 12, 16, 64

    def arm(self, step, action, skip=0):
        self.disarm()
        self.memory[self.NAME:self.NAME + self.NAME_BYTES] = step.encode().ljust(self.NAME_BYTES, b"\0")
        self.put(self.SKIP, skip)
        self.put(self.FIRED, 0)
        self.put(self.RELEASED, 0)
        self.put(self.ACTION, action)

    def disarm(self):
        self.put(self.ACTION, 0)
        self.put(self.RELEASED, 1)

    def release(self):
        self.put(self.RELEASED, 1)

    @property
    def fired(self):
        return self.get(self.FIRED) == 1


class TornPage(Page):
    """The disk below SQLite loses power after so many operations."""
    ARMED, SKIP, FIRED, SEED = 0, 4, 8, 12

    def arm(self, skip, seed):
        self.put(self.ARMED, 0)
        self.put(self.SKIP, skip)
        self.put(self.FIRED, 0)
        self.put(self.SEED, seed)
        self.put(self.ARMED, 1)

    def disarm(self):
        self.put(self.ARMED, 0)

    @property
    def fired(self):
        return self.get(self.FIRED) == 1


class ClockPage(Page):
    """What is added to the wall clock."""

    def shift(self, seconds):
        self.put(0, int(seconds * 1e6), "=q")


def wait_for(condition, timeout):
    """Whether it came true in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
