"""What a hostile program tries. Runs inside a sandbox, and outside of it as the control that shows an
attempt can succeed at all. Prints one JSON object: name -> "done", or why not."""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
NOWHERE = {"others": [], "state": "/nowhere", "neighbour": "/nowhere", "disk_number": [7, 0]}
GOALS = {**NOWHERE, **json.loads(sys.argv[1]), **json.loads("".join(sys.argv[2:3]) or "{}")}
ATTEMPTS = {}


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def call(*arguments):
    """A system call by number; an OSError when it fails."""
    result = LIBC.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def in_child(function):
    """How a child that does this ends; what it must not do to us, it does to itself."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise OSError(1000 + os.WTERMSIG(status), "")
    if os.WEXITSTATUS(status) != 0:
        raise OSError(os.WEXITSTATUS(status), "")


def write(path, data):
    with open(path, "wb", buffering=0) as file:
        file.write(data)


def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))


@attempt
def kill_host():
    os.kill(GOALS["pid"], 0)


@attempt
def kill_others():
    for pid in GOALS["others"]:  # the agent, this sandbox's shim, a program of the neighbour's
        try:
            os.kill(pid, 0)
            return
        except ProcessLookupError:
            pass
    raise OSError(errno.ESRCH, "")


@attempt
def read_state():
    os.listdir(GOALS["state"])


@attempt
def read_neighbour():
    opened(GOALS["neighbour"])


@attempt
def connect_neighbour():
    for family, address in ((socket.AF_UNIX, "\0belay-neighbour"), (socket.AF_INET, ("127.0.0.1", 8099))):
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            if sock.connect_ex(address) == 0:
                return
    raise OSError(errno.ECONNREFUSED, "")


@attempt
def ptrace_init():
    call(101, 0x4206, GOALS["init"], 0, 0)  # PTRACE_SEIZE, which stops nothing


for part in ("environ", "mem", "fd", "root", "exe"):
    def look(part=part):
        path = f"/proc/{GOALS['init']}/{part}"
        if part in ("fd", "root"):
            os.listdir(path)
        elif part == "exe":
            os.readlink(path)
        else:
            opened(path)
    ATTEMPTS["proc_init_" + part] = look


@attempt
def token_in_proc():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    if GOALS["token"].encode() in file.read() and int(pid) != os.getpid():
                        return
            except OSError:
                pass
    raise OSError(errno.ENOENT, "")


@attempt
def descriptors():
    for fd in os.listdir("/proc/self/fd"):
        target = os.readlink(f"/proc/self/fd/{fd}") if int(fd) < 3 else ""
        try:
            os.fstat(int(fd))
        except OSError:
            continue
        if int(fd) > 2 or target.startswith(("/tmp", "/work", "/dev/pts/", "/home", "/var")):
            return
    raise OSError(errno.ENOENT, "")


@attempt
def mount_tmpfs():
    def inner():
        if LIBC.mount(b"x", b"/dev/shm", b"tmpfs", 0, None) != 0:
            raise OSError(ctypes.get_errno(), "")
    in_child(inner)


@attempt
def remount_root():
    if LIBC.mount(None, b"/", None, 32 | 4096, None) != 0:  # MS_REMOUNT | MS_BIND
        raise OSError(ctypes.get_errno(), "")


@attempt
def unmount_proc():
    call(166, b"/proc", 2)


@attempt
def fsopen():
    os.close(call(430, b"tmpfs", 0))


@attempt
def open_tree():
    os.close(call(428, -100, b"/usr", 1))


@attempt
def mount_setattr():
    attributes = struct.pack("<QQQQ", 0, 1, 0, 0)
    call(442, -100, b"/usr", 0, attributes, 32)


@attempt
def pivot_root():
    call(155, b".", b".")


@attempt
def chroot():
    in_child(lambda: os.chroot("/tmp"))


for name, flag in (("user", 0x10000000), ("net", 0x40000000), ("mount", 0x00020000), ("pid", 0x20000000)):
    ATTEMPTS["unshare_" + name] = lambda flag=flag: in_child(lambda: call(272, flag))


@attempt
def clone3_user():
    def inner():
        arguments = struct.pack("<8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
        if call(435, arguments, 64) == 0:
            os._exit(0)
    in_child(inner)


@attempt
def setns():
    with open("/proc/self/ns/net", "rb") as file:
        call(308, file.fileno(), 0)


@attempt
def write_core_pattern():
    write("/proc/sys/kernel/core_pattern", b"|/tmp/x")


@attempt
def write_ip_forward():
    write("/proc/sys/net/ipv4/ip_forward", b"1")


@attempt
def read_sysrq():
    opened("/proc/sysrq-trigger", os.O_WRONLY)
    if os.stat("/proc/sysrq-trigger").st_rdev == os.makedev(1, 3):
        raise OSError(errno.ENOENT, "")  # /dev/null lies over it


@attempt
def write_oom_score():
    write("/proc/self/oom_score_adj", b"-900")


for name in ("/dev/kmsg", "/dev/mem", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop-control",
             GOALS["disk"]):
    ATTEMPTS["open_" + name] = lambda name=name: opened(name)


@attempt
def read_kcore():
    with open("/proc/kcore", "rb") as file:
        if not file.read(4):
            raise OSError(errno.ENOENT, "")


@attempt
def make_device():
    os.mknod(GOALS["scratch"] + "/null", 0o600 | 0o020000, os.makedev(1, 3))
    opened(GOALS["scratch"] + "/null")


@attempt
def make_block_device():
    os.mknod(GOALS["scratch"] + "/disk", 0o600 | 0o060000, os.makedev(*GOALS["disk_number"]))
    opened(GOALS["scratch"] + "/disk")


@attempt
def write_passwd():
    opened("/etc/passwd", os.O_WRONLY | os.O_APPEND)


@attempt
def create_in_usr():
    opened("/usr/belay-probe", os.O_WRONLY | os.O_CREAT)


@attempt
def chmod_program():
    os.chmod("/usr/bin/env", 0o4755)


@attempt
def hard_link_out():
    """A name of ours for a file of the host, which would outlive its own."""
    os.link("/usr/bin/env", GOALS["scratch"] + "/env")


@attempt
def read_shadow():
    opened("/etc/shadow")


@attempt
def read_secret():
    opened(GOALS["secret"])


@attempt
def read_secret_by_root():
    opened("/proc/self/root/../.." + GOALS["secret"])


@attempt
def read_secret_by_init():
    opened(f"/proc/{GOALS['init']}/root" + GOALS["secret"])


@attempt
def write_own_program():
    opened("/proc/self/exe", os.O_WRONLY)


@attempt
def write_init_program():
    opened(f"/proc/{GOALS['init']}/exe", os.O_WRONLY)


@attempt
def become_root():
    in_child(lambda: os.setresuid(0, 0, 0))


@attempt
def become_unmapped():
    in_child(lambda: os.setresuid(70000, 70000, 70000))


@attempt
def drop_groups():
    in_child(lambda: os.setgroups([0]))


for name, arguments in (("raw", (2, 3, 1)), ("packet", (17, 3, 768)), ("vsock", (40, 1, 0)),
                        ("alg", (38, 5, 0)), ("netfilter", (16, 3, 12)), ("sock_diag", (16, 3, 4)),
                        ("xfrm", (16, 3, 6)), ("bluetooth", (31, 3, 0))):
    ATTEMPTS["socket_" + name] = lambda arguments=arguments: os.close(call(41, *arguments))


def connect(family, kind, address):
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.send(b"probe")


@attempt
def connect_host_port():
    connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", GOALS["port"]))


@attempt
def connect_host_address():
    connect(socket.AF_INET, socket.SOCK_STREAM, (GOALS["address"], GOALS["port"]))


@attempt
def connect_abstract():
    connect(socket.AF_UNIX, socket.SOCK_STREAM, GOALS["abstract"].replace("@", "\0"))


@attempt
def connect_unix():
    connect(socket.AF_UNIX, socket.SOCK_STREAM, GOALS["unix"])


@attempt
def connect_metadata():
    connect(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80))


@attempt
def send_dns():
    connect(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.53", 53))


@attempt
def connect_ipv6():
    connect(socket.AF_INET6, socket.SOCK_DGRAM, ("2001:db8::1", 53))


for name, arguments in (
        ("keyctl", (250, 0, -3, 1)), ("add_key", (248, b"user", b"x", b"y", 1, -2)),
        ("bpf", (321, 0, struct.pack("<IIII", 2, 4, 4, 1) + bytes(100), 116)),
        ("perf", (298, struct.pack("<IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0)),
        ("userfaultfd", (323, 0)), ("io_uring", (425, 4, bytes(120))),
        ("kexec", (246, 0, 0, 0, 0)), ("init_module", (175, 0, 0, b"")), ("reboot", (169, 0, 0, 0, 0)),
        ("swapon", (167, b"/tmp/none", 0)), ("clock_settime", (227, 0, bytes(16))),
        ("syslog", (103, 10, 0, 0)), ("open_by_handle_at", (304, -100, bytes(16), 0)),
        ("fanotify", (300, 0, 0)), ("personality", (135, 0x0040000)), ("acct", (163, 0)),
        ("quotactl", (179, 0, 0, 0, 0)), ("sethostname", (170, b"x", 1)),
        ("process_vm_readv", (310, os.getpid(), 0, 0, 0, 0, 0)), ("kcmp", (312, os.getpid(), os.getpid(), 0, 0, 0)),
        ("above_ceiling", (451, 0, 0, 0)), ("open_tree_attr", (467, -100, b"/usr", 1, 0, 0))):
    ATTEMPTS["call_" + name] = lambda arguments=arguments: in_child(lambda: call(*arguments))


@attempt
def push_terminal_input():
    _, slave = os.openpty()

    def inner():
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
        fcntl.ioctl(slave, 0x5412, b"x")  # TIOCSTI
    in_child(inner)


@attempt
def terminal_of_console():
    _, slave = os.openpty()
    in_child(lambda: fcntl.ioctl(slave, 0x541C, b"\x06"))  # TIOCLINUX


@attempt
def foreign_call_32():
    """int 0x80, getpid."""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"

    def inner():
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    in_child(inner)


@attempt
def foreign_call_x32():
    in_child(lambda: call(0x40000000 + 39))


@attempt
def shared_memory():
    call(29, GOALS["shm"], 0, 0)


@attempt
def message_queue():
    queue = call(240, GOALS["queue"].encode(), os.O_WRONLY, 0, 0)  # mq_open
    call(242, queue, b"probe", 5, 0, 0)  # mq_timedsend
    os.close(queue)


@attempt
def mount_queues():
    """The file system that shows them all."""
    def inner():
        if LIBC.mount(b"x", b"/dev/shm", b"mqueue", 0, None) != 0:
            raise OSError(ctypes.get_errno(), "")
        if GOALS["queue"] not in os.listdir("/dev/shm"):
            raise OSError(errno.ENOENT, "")
    in_child(inner)


def effective_user(*command):
    """Of a program that was begun by nobody in particular; who is root becomes nobody for it."""
    user = 65534 if os.geteuid() == 0 else None
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, user=user, group=user, **pipes) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # what is dead and unburied still has its users
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            users = next(line for line in file if line.startswith("Uid:")).split()
    if users[1] == users[2]:
        raise OSError(errno.EPERM, "")
    return int(users[2])


@attempt
def setuid_program():
    """One of the host's, as it stands in /usr."""
    for name in ("mount", "umount", "su", "passwd", "newgrp", "chsh"):
        path = "/usr/bin/" + name
        if os.path.exists(path) and os.stat(path).st_mode & stat.S_ISUID:
            effective_user(path, "--version")
            return
    raise OSError(errno.ENOENT, "")


for name in GOALS["planted"]:
    def run_planted(name=name):
        """A shell of another user's that lends its rights, where the program may write."""
        path = os.path.join(GOALS["plants"], name)
        if not os.stat(path).st_mode & stat.S_ISUID:
            raise OSError(errno.ENOENT, "")
        effective_user(path, "-p", "-c", f": >{GOALS['plants']}/by-{name}")
    ATTEMPTS["planted_" + name] = run_planted


@attempt
def own_setuid_program():
    """What it marks itself lends nothing but its own rights."""
    path = GOALS["scratch"] + "/own"
    with open("/bin/sh", "rb") as source:
        write(path, source.read())
    os.chmod(path, 0o6755)
    effective_user(path, "-p", "-c", ":")


@attempt
def host_tasks():
    if not any(int(pid) > 10000 or pid == str(GOALS["pid"]) for pid in os.listdir("/proc") if pid.isdigit()):
        raise OSError(errno.ENOENT, "")


@attempt
def cgroup_path():
    with open("/proc/self/cgroup", encoding="ascii") as file:
        if all(line.rstrip().endswith(":/") for line in file):
            raise OSError(errno.ENOENT, "")


@attempt
def cgroup_mount():
    os.listdir("/sys/fs/cgroup")


@attempt
def realtime():
    in_child(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)))


@attempt
def nice():
    in_child(lambda: os.nice(-10))


@attempt
def raise_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))
    except ValueError as error:
        raise OSError(errno.EPERM, "") from error


@attempt
def privileges():
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    good = all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    if good and status["NoNewPrivs"] == "1" and status["Groups"].strip() in ("", "65534"):
        raise OSError(errno.EPERM, "")


@attempt
def setuid_mounts():
    with open("/proc/self/mounts", encoding="ascii") as file:
        if all("nosuid" in line.split()[3].split(",") for line in file):
            raise OSError(errno.EPERM, "")


RESULTS = {}
for title, function in ATTEMPTS.items():
    try:
        function()
        RESULTS[title] = "done"
    except OSError as error:
        code = error.errno or 0
        RESULTS[title] = ("killed by %d" % (code - 1000)) if code > 1000 else errno.errorcode.get(code, str(error))
    except Exception as error:  # pylint: disable=broad-except
        RESULTS[title] = "broken: %r" % error
print(json.dumps(RESULTS))
