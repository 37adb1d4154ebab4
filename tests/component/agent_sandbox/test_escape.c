/*
 * The escape suite: one hostile program (tests/security/sandbox_probe.py) outside, where what it
 * tries must be seen to work, then inside, where nothing may, and each time a look at what could
 * have happened: the process it aimed at, the files, the sockets, the kernel's settings.
 */
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SCRIPT_BYTES_MAX = 65536,
    SHELL_BYTES_MAX = 4 << 20,
    NOBODY = 65534,
    ANSWER_BYTES_MAX = 65536
};

#define TOKEN  "belay-token-5fe1c0d4"
#define SECRET "belay-secret-91ab77"

struct target {
    char *dir;
    pid_t pid; /* a process of the host with the token in its environment */
    int tcp;
    unsigned port;
    int abstract;
    int local;
    int shm;
    char queue[32];
    mqd_t messages;
    char *goals;
    struct buf core_pattern;
    struct stat files[4];
};

static const char *const watched[] = { "/etc/passwd", "/usr/bin/env", BELAY_SHIM_PATH, "/usr" };

static int listen_unix(const char *path, bool abstract)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t bytes = strlen(path);
    memcpy(address.sun_path + (abstract ? 1 : 0), path, bytes);
    (void)unlink(path); /* of a test before that failed */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + (abstract ? 1 : 0));
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void listen_tcp(struct target *target)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t bytes = sizeof(address);
    target->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(target->tcp, (const struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(target->tcp, 8), 0);
    assert_int_equal(getsockname(target->tcp, (struct sockaddr *)&address, &bytes), 0);
    target->port = ntohs(address.sin_port);
}

static pid_t start_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        char name[] = "sleep";
        char time[] = "600";
        char token[] = "TOKEN=" TOKEN;
        char *arguments[] = { name, time, NULL };
        char *environment[] = { token, NULL };
        (void)execve("/bin/sleep", arguments, environment);
        _exit(127);
    }
    return pid;
}

/* "/dev/vda": the disk below the root, which nobody inside may open. */
static const char *disk_name(void)
{
    return access("/dev/vda", F_OK) == 0 ? "/dev/vda" : "/dev/sda";
}

static void open_queue(struct target *target)
{
    struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 64 };
    (void)snprintf(target->queue, sizeof(target->queue), "/belay-escape-%d", (int)getpid());
    mode_t before = umask(0);
    target->messages =
        mq_open(target->queue, O_RDONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0666, &attributes);
    (void)umask(before);
    assert_true(target->messages != (mqd_t)-1);
}

/* How many messages came since the last time. */
static unsigned take_messages(const struct target *target)
{
    char text[64];
    unsigned count = 0;
    while (mq_receive(target->messages, text, sizeof(text), NULL) >= 0) {
        count++;
    }
    return count;
}

/* Two shells that lend their owner's rights: one of the host's root, one of the user who is root in
 * the sandbox. Who is not root of the host can plant its own alone. */
static void plant(const char *dir, uid_t cage, mode_t mode)
{
    const struct {
        const char *name;
        uid_t owner;
    } plants[] = { { "hosts", 0 }, { "cages", cage } };
    AUTO_BUF struct buf shell = BUF_INIT(SHELL_BYTES_MAX);
    assert_ok(file_read("/usr/bin/dash", SHELL_BYTES_MAX, &shell, NULL));
    for (size_t i = 0; i < ARRAY_LENGTH(plants); i++) {
        AUTO_FREE char *path = mem_printf("%s/%s", dir, plants[i].name);
        assert_ok(file_write_atomic(path, shell.data, shell.len, 0755, NULL));
        assert_true(geteuid() != 0 || chown(path, plants[i].owner, NOBODY) == 0);
        assert_int_equal(chmod(path, mode), 0);
    }
}

/* As they are from here on. */
static void look_at_files(struct target *target)
{
    for (size_t i = 0; i < ARRAY_LENGTH(watched); i++) {
        assert_int_equal(stat(watched[i], &target->files[i]), 0);
    }
}

static void target_open(struct target *target)
{
    memset(target, 0, sizeof(*target));
    target->dir = test_dir_create();
    AUTO_FREE char *secret = mem_printf("%s/secret", target->dir);
    AUTO_FREE char *local = mem_printf("%s/socket", target->dir);
    AUTO_FREE char *abstract = mem_printf("belay-escape-%d", (int)getpid());
    assert_ok(file_write_atomic(secret, SECRET, strlen(SECRET), 0644, NULL));
    target->pid = start_process();
    listen_tcp(target);
    target->abstract = listen_unix(abstract, true);
    target->local = listen_unix(local, false);
    target->shm = shmget((key_t)(0x6265000 + getpid()), 4096, IPC_CREAT | 0666);
    assert_true(target->shm >= 0);
    open_queue(target);
    plant(target->dir, 0, 04750); /* for the control, which becomes nobody */
    assert_int_equal(chmod(target->dir, 0711), 0);
    target->core_pattern = (struct buf)BUF_INIT(4096);
    assert_ok(file_read("/proc/sys/kernel/core_pattern", 4096, &target->core_pattern, NULL));
    look_at_files(target);
    target->goals = mem_printf(
        "{\"token\":\"%s\",\"pid\":%d,\"init\":%%d,\"port\":%u,\"address\":\"127.0.0.2\",\"abstract\":"
        "\"@%s\",\"unix\":\"%s\",\"secret\":\"%s\",\"scratch\":\"%%s\",\"shm\":%d,\"disk\":\"%s\","
        "\"queue\":\"%s\",\"planted\":[\"hosts\",\"cages\"],\"plants\":\"%%s\"}",
        TOKEN,
        (int)target->pid,
        target->port,
        abstract,
        local,
        secret,
        0x6265000 + (int)getpid(),
        disk_name(),
        target->queue + 1);
}

static bool was_called(int fd)
{
    int taken = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (taken >= 0) {
        (void)close(taken);
    }
    return taken >= 0;
}

/* Nothing of the host has changed. */
static void assert_untouched(struct target *target)
{
    AUTO_BUF struct buf pattern = BUF_INIT(4096);
    assert_int_equal(kill(target->pid, 0), 0);
    assert_int_equal(waitpid(target->pid, NULL, WNOHANG), 0);
    assert_false(was_called(target->tcp));
    assert_false(was_called(target->abstract));
    assert_false(was_called(target->local));
    assert_int_equal(take_messages(target), 0);
    assert_ok(file_read("/proc/sys/kernel/core_pattern", 4096, &pattern, NULL));
    assert_string_equal(buf_text(&pattern), buf_text(&target->core_pattern));
    for (size_t i = 0; i < ARRAY_LENGTH(watched); i++) {
        struct stat info;
        assert_int_equal(stat(watched[i], &info), 0);
        assert_int_equal(info.st_mode, target->files[i].st_mode);
        assert_int_equal(info.st_size, target->files[i].st_size);
        /* Nobody can set it back: a change of content, rights or owner shows. */
        assert_memory_equal(&info.st_ctim, &target->files[i].st_ctim, sizeof(info.st_ctim));
    }
    assert_int_not_equal(access("/usr/belay-probe", F_OK), 0);
}

static void target_close(struct target *target)
{
    (void)kill(target->pid, SIGKILL);
    (void)waitpid(target->pid, NULL, 0);
    (void)close(target->tcp);
    (void)close(target->abstract);
    (void)close(target->local);
    (void)shmctl(target->shm, IPC_RMID, NULL);
    (void)mq_close(target->messages);
    (void)mq_unlink(target->queue);
    buf_deinit(&target->core_pattern);
    mem_free(target->goals);
    test_dir_remove(target->dir);
}

static char *read_script(void)
{
    AUTO_BUF struct buf text = BUF_INIT(SCRIPT_BYTES_MAX);
    AUTO_FREE char *path = mem_printf("%s/tests/security/sandbox_probe.py", test_source_dir());
    assert_ok(file_read(path, SCRIPT_BYTES_MAX, &text, NULL));
    return buf_steal(&text);
}

static char *goals_for(
    const struct target *target, int init, const char *scratch, const char *plants)
{
    const char *const places[] = { scratch, plants };
    size_t place = 0;
    AUTO_BUF struct buf text = BUF_INIT(8192);
    struct str_view rest = str_of(target->goals);
    struct str_view head = STR_NONE;
    /* What was left open: %d, and %s in turn. */
    while (str_cut(rest, '%', &head, &rest)) {
        buf_append_str(&text, head);
        if (rest.ptr[0] == 'd') {
            buf_printf(&text, "%d", init);
        } else {
            buf_append_str(&text, str_of(places[place++]));
        }
        rest = str_from(rest.ptr + 1, rest.len - 1);
    }
    buf_append_str(&text, rest);
    return buf_steal(&text);
}

/* Beside the cage: a sandbox with a file, two sockets and a program of its own. */
static struct recorded_program *start_neighbour(struct fixture *fixture)
{
    static const char *const argv[] = { "python3",
                                        "-c",
                                        "import selectors,socket\n"
                                        "open('/sandbox/secret','w').write('" SECRET "')\n"
                                        "one=socket.socket(socket.AF_UNIX)\n"
                                        "one.bind('\\0belay-neighbour')\n"
                                        "two=socket.create_server(('127.0.0.1',8099))\n"
                                        "wait=selectors.DefaultSelector()\n"
                                        "for sock in (one,two):\n"
                                        "    sock.listen(); wait.register(sock,1)\n"
                                        "print('ready',flush=True)\n"
                                        "wait.select()\n"
                                        "print('called',flush=True)\n",
                                        NULL };
    const struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    fixture_start(fixture, "neighbour");
    assert_ok(sandbox_exec(fixture->all, "neighbour", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "neighbour", number);
    for (int i = 0; i < 3000 && program->out.len < strlen("ready\n"); i++) {
        loop_step(fixture->loop, 10);
    }
    assert_string_equal(buf_text(&program->out), "ready\n");
    return program;
}

static long long state_number(const struct fixture *fixture, const char *id, const char *name)
{
    AUTO_BUF struct buf text = BUF_INIT(8192);
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/%s/state.json", fixture->dir, id);
    AUTO_FREE char *key = mem_printf("\"%s\":", name);
    assert_ok(file_read(path, 8192, &text, NULL));
    const char *at = strstr(buf_text(&text), key);
    assert_non_null(at);
    return strtoll(at + strlen(key), NULL, 10);
}

/* What there is to get at beside the host itself: all of it is there, as the control shows. */
static char *more_goals(const struct fixture *fixture)
{
    struct stat disk; /* one that can be opened: some hosts keep even root from the disk */
    assert_true(stat("/dev/loop0", &disk) == 0 || stat(disk_name(), &disk) == 0);
    return mem_printf(
        "{\"others\":[%d,%lld,%lld],\"state\":\"%s/sandboxes/run/cage\","
        "\"neighbour\":\"%s/sandboxes/run/neighbour/workspace/secret\",\"disk_number\":[%u,%u]}",
        (int)getpid(),
        state_number(fixture, "cage", "shim_pid"),
        state_number(fixture, "neighbour", "init_pid"),
        fixture->dir,
        fixture->dir,
        major(disk.st_rdev),
        minor(disk.st_rdev));
}

static bool says(const char *answer, const char *name, const char *verdict)
{
    AUTO_FREE char *wanted = mem_printf("\"%s\": \"%s", name, verdict);
    return strstr(answer, wanted) != NULL;
}

/* What can be shown to work outside, without harm: as root, in a mount and host name namespace of
 * the control's own; as anybody else. */
static const char *const works_as_root[] = { "kill_host",
                                             "proc_init_environ",
                                             "token_in_proc",
                                             "mount_tmpfs",
                                             "fsopen",
                                             "open_tree",
                                             "chroot",
                                             "unshare_user",
                                             "unshare_net",
                                             "unshare_mount",
                                             "clone3_user",
                                             "setns",
                                             "make_device",
                                             "read_shadow",
                                             "read_secret",
                                             "write_passwd",
                                             "socket_raw",
                                             "socket_packet",
                                             "socket_netfilter",
                                             "socket_sock_diag",
                                             "connect_host_port",
                                             "connect_abstract",
                                             "connect_unix",
                                             "shared_memory",
                                             "message_queue",
                                             "mount_queues",
                                             "setuid_program",
                                             "planted_hosts",
                                             "planted_cages",
                                             "host_tasks",
                                             "become_root",
                                             "become_unmapped",
                                             "drop_groups",
                                             "call_keyctl",
                                             "call_syslog",
                                             "call_sethostname",
                                             "call_personality",
                                             "realtime",
                                             "nice",
                                             "cgroup_mount",
                                             "read_secret_by_root",
                                             "proc_init_root",
                                             "privileges",
                                             "ptrace_init",
                                             "kill_others",
                                             "read_state",
                                             "read_neighbour",
                                             "make_block_device",
                                             NULL };
static const char *const works_for_all[] = {
    "kill_others",      "read_state",    "read_neighbour", "read_secret",   "connect_host_port",
    "connect_abstract", "shared_memory", "host_tasks",     "message_queue", "setuid_program",
    "call_personality", "cgroup_mount",  "unshare_user",   "setuid_mounts", NULL
};

/* Not tried outside: they would do harm there, or end the control. */
#define SKIPPED                                                                                                \
    "for name in ('unmount_proc','pivot_root','remount_root','write_core_pattern','write_ip_forward',"         \
    "'create_in_usr','chmod_program','read_sysrq','call_clock_settime','call_reboot','own_setuid_program'):\n" \
    "    ATTEMPTS.pop(name, None)\n"

static char *run_outside(const struct target *target, const char *script, const char *more)
{
    AUTO_BUF struct buf answer = BUF_INIT(ANSWER_BYTES_MAX);
    AUTO_BUF struct buf text = BUF_INIT(SCRIPT_BYTES_MAX * 2);
    AUTO_FREE char *goals = goals_for(target, (int)target->pid, target->dir, target->dir);
    const char *results = strstr(script, "RESULTS = {}");
    int pair[2];
    assert_non_null(results);
    buf_append(&text, script, (size_t)(results - script));
    buf_append_str(&text, STR(SKIPPED));
    buf_append_str(&text, str_of(results));
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(pair[1], 1);
        if (geteuid() == 0) {
            (void)execlp(
                "unshare",
                "unshare",
                "--mount",
                "--uts",
                "python3",
                "-c",
                buf_text(&text),
                goals,
                more,
                NULL);
        } else {
            (void)execlp("python3", "python3", "-c", buf_text(&text), goals, more, NULL);
        }
        _exit(127);
    }
    (void)close(pair[1]);
    char part[4096];
    ssize_t got = 0;
    while ((got = read(pair[0], part, sizeof(part))) > 0) {
        buf_append(&answer, part, (size_t)got);
    }
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
    return mem_strdup(buf_text(&answer));
}

/* As root, of those that this host has. */
static bool opens_devices(const char *answer)
{
    const char *const devices[] = { "/dev/kmsg",    "/dev/mem",          "/dev/kvm", "/dev/fuse",
                                    "/dev/net/tun", "/dev/loop-control", disk_name() };
    for (size_t i = 0; i < ARRAY_LENGTH(devices); i++) {
        AUTO_FREE char *name = mem_printf("open_%s", devices[i]);
        AUTO_FD int fd = open(devices[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0 && !says(answer, name, "done")) {
            print_error("outside, %s did not work\n", name);
            return false;
        }
    }
    return true;
}

static void assert_control(struct target *target, const char *script, const char *more)
{
    AUTO_FREE char *answer = run_outside(target, script, more);
    const char *const *works = geteuid() == 0 ? works_as_root : works_for_all;
    bool all = opens_devices(answer);
    for (size_t i = 0; works[i] != NULL; i++) {
        if (!says(answer, works[i], "done")) {
            print_error("outside, %s did not work\n", works[i]);
            all = false;
        }
    }
    if (!all) {
        print_error("%s\n", answer);
    }
    assert_true(all);
    assert_int_equal(take_messages(target), 1);
    while (was_called(target->tcp) || was_called(target->abstract) || was_called(target->local)) {
    }
    look_at_files(target);
}

static void print_allowed(const char *answer)
{
    const char *at = answer;
    while ((at = strstr(at, "\": \"")) != NULL) {
        const char *name = at;
        while (name > answer && name[-1] != '"') {
            name--;
        }
        const char *verdict = at + 4;
        if (strncmp(verdict, "done", 4) == 0 || strncmp(verdict, "broken", 6) == 0) {
            print_error("inside, %.*s: %.60s\n", (int)(at - name), name, verdict);
        }
        at = verdict;
    }
}

static char *run_inside(
    struct fixture *fixture, const char *script, const char *goals, const char *more)
{
    const char *const argv[] = { "python3", "-c", script, goals, more, NULL };
    struct recorded_program *program = fixture_run(fixture, "cage", argv);
    if (program->out.len == 0) {
        print_error("%s\n", buf_text(&program->err));
    }
    assert_true(program->out.len > 100);
    return mem_strdup(buf_text(&program->out));
}

static char *plants_of(const struct fixture *fixture, const char *name)
{
    return mem_printf("%s/sandboxes/run/cage/workspace/%s", fixture->dir, name);
}

/* By the host, into the workspace of the sandbox. */
static void plant_inside(const struct fixture *fixture)
{
    struct sandbox_info info;
    AUTO_FREE char *dir = plants_of(fixture, "");
    assert_true(sandbox_find(fixture->all, "cage", &info));
    plant(dir, (uid_t)info.uid_base, 04755);
}

/* They ran, and what they made is the sandbox's user's. */
static void assert_plants_lent_nothing(const struct fixture *fixture)
{
    static const char *const names[] = { "by-hosts", "by-cages" };
    struct sandbox_info info;
    assert_true(sandbox_find(fixture->all, "cage", &info));
    uid_t owner = geteuid() == 0 ? (uid_t)info.uid_base + SANDBOX_UID : geteuid();
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        struct stat made;
        AUTO_FREE char *path = plants_of(fixture, names[i]);
        assert_int_equal(lstat(path, &made), 0);
        assert_int_equal(made.st_uid, owner);
    }
}

/* The filter says no before the kernel looks at what was asked: not that the asking was wrong. */
static void assert_calls_are_filtered(const char *answer)
{
    static const char prefix[] = "\"call_";
    size_t count = 0;
    for (const char *at = strstr(answer, prefix); at != NULL; at = strstr(at + 1, prefix)) {
        const char *verdict = strstr(at, "\": \"") + 4;
        if (strncmp(verdict, "EPERM\"", 6) != 0 && strncmp(verdict, "ENOSYS\"", 7) != 0) {
            print_error("inside, %.60s\n", at);
            fail();
        }
        count++;
    }
    assert_true(count > 10);
}

/* ahead: its shim was started before it was asked for, and has made its network. */
static void try_everything(const struct sandbox_spec *spec, bool ahead)
{
    struct fixture *fixture = fixture_create();
    struct target target;
    target_open(&target);
    AUTO_FREE char *script = read_script();
    AUTO_FREE char *goals = goals_for(&target, 1, "/tmp", "/sandbox");
    const struct recorded_program *neighbour = start_neighbour(fixture);
    pid_t spare = fixture_spare(fixture);
    assert_true(spare > 0);
    if (!ahead) {
        assert_int_equal(kill(spare, SIGKILL), 0);
        fixture_wait_end(spare);
    }
    fixture_create_sandbox(fixture, spec);
    AUTO_FREE char *more = more_goals(fixture);
    assert_control(&target, script, more);
    plant_inside(fixture);
    AUTO_FREE char *answer = run_inside(fixture, script, goals, more);
    print_allowed(answer);
    assert_null(strstr(answer, "\"done\""));
    assert_null(strstr(answer, "\"broken"));
    assert_null(strstr(answer, SECRET));
    assert_calls_are_filtered(answer);
    assert_true(says(answer, "foreign_call_32", "killed by 31"));
    assert_true(says(answer, "foreign_call_x32", "killed by 31"));
    assert_true(says(answer, "call_above_ceiling", "ENOSYS"));
    assert_true(says(answer, "clone3_user", "ENOSYS"));
    assert_true(says(answer, "message_queue", "ENOENT"));
    assert_true(says(answer, "setuid_program", "EPERM"));
    assert_untouched(&target);
    assert_plants_lent_nothing(fixture);
    assert_string_equal(buf_text(&neighbour->out), "ready\n");
    assert_false(neighbour->exited);
    fixture_destroy(fixture);
    target_close(&target);
}

static void test_nothing_of_what_a_program_tries_leaves_the_sandbox(void **unused)
{
    (void)unused;
    const struct sandbox_spec spec = { .id = "cage", .open_files = 256 };
    try_everything(&spec, true);
}

/* One with a bind has no copy of the ground: all of its root is its own. */
static const struct sandbox_bind a_bind = { .source = "/usr/share", .destination = "/srv/share" };

static void test_nothing_leaves_a_sandbox_with_a_bind(void **unused)
{
    (void)unused;
    const struct sandbox_spec spec = {
        .id = "cage", .open_files = 256, .binds = &a_bind, .bind_count = 1
    };
    try_everything(&spec, false);
}

/* What the namespaces hold by themselves. */
static const char *const starred[] = { "kill_host",
                                       "kill_others",
                                       "read_state",
                                       "read_neighbour",
                                       "connect_neighbour",
                                       "proc_init_exe",
                                       "open_/dev/fuse",
                                       "open_/dev/net/tun",
                                       "open_/dev/loop-control",
                                       "make_block_device",
                                       "ptrace_init",
                                       "proc_init_environ",
                                       "proc_init_mem",
                                       "proc_init_fd",
                                       "proc_init_root",
                                       "token_in_proc",
                                       "descriptors",
                                       "mount_tmpfs",
                                       "remount_root",
                                       "unmount_proc",
                                       "fsopen",
                                       "open_tree",
                                       "mount_setattr",
                                       "pivot_root",
                                       "chroot",
                                       "unshare_user",
                                       "unshare_net",
                                       "unshare_mount",
                                       "clone3_user",
                                       "setns",
                                       "write_core_pattern",
                                       "write_ip_forward",
                                       "read_sysrq",
                                       "write_oom_score",
                                       "open_/dev/kmsg",
                                       "open_/dev/mem",
                                       "open_/dev/kvm",
                                       "read_kcore",
                                       "make_device",
                                       "write_passwd",
                                       "create_in_usr",
                                       "chmod_program",
                                       "hard_link_out",
                                       "read_shadow",
                                       "read_secret",
                                       "read_secret_by_root",
                                       "read_secret_by_init",
                                       "write_own_program",
                                       "write_init_program",
                                       "become_root",
                                       "become_unmapped",
                                       "drop_groups",
                                       "socket_raw",
                                       "socket_packet",
                                       "connect_host_port",
                                       "connect_host_address",
                                       "connect_abstract",
                                       "connect_unix",
                                       "connect_metadata",
                                       "send_dns",
                                       "connect_ipv6",
                                       "shared_memory",
                                       "message_queue",
                                       "mount_queues",
                                       "setuid_program",
                                       "planted_hosts",
                                       "planted_cages",
                                       "own_setuid_program",
                                       "host_tasks",
                                       "cgroup_path",
                                       "cgroup_mount",
                                       "realtime",
                                       "privileges",
                                       "setuid_mounts" };

/* The namespaces must hold by themselves, should the filter ever have a hole. */
static void try_without_filter(const struct sandbox_spec *spec)
{
    struct fixture *fixture = fixture_create();
    struct target target;
    target_open(&target);
    AUTO_FREE char *script = read_script();
    AUTO_FREE char *goals = goals_for(&target, 1, "/tmp", "/sandbox");
    const struct recorded_program *neighbour = start_neighbour(fixture);
    fixture_create_sandbox(fixture, spec);
    AUTO_FREE char *more = more_goals(fixture);
    AUTO_FREE char *disk = mem_printf("open_%s", disk_name());
    plant_inside(fixture);
    AUTO_FREE char *answer = run_inside(fixture, script, goals, more);
    assert_true(says(answer, disk, "ENOENT") || says(answer, disk, "EACCES"));
    assert_string_equal(buf_text(&neighbour->out), "ready\n");
    for (size_t i = 0; i < ARRAY_LENGTH(starred); i++) {
        assert_true(says(answer, starred[i], "")); /* it was tried */
        if (says(answer, starred[i], "done") || says(answer, starred[i], "broken")) {
            print_error("without the filter, %s: %s\n", starred[i], answer);
            fail();
        }
    }
    assert_true(says(answer, "unshare_user", "ENOSPC"));
    assert_untouched(&target);
    assert_plants_lent_nothing(fixture);
    fixture_destroy(fixture);
    target_close(&target);
}

static void test_the_namespaces_hold_without_the_filter(void **unused)
{
    (void)unused;
    try_without_filter(&(struct sandbox_spec){ .id = "cage", .flags = SANDBOX_FLAG_UNFILTERED });
}

static void test_the_namespaces_hold_without_the_filter_and_with_a_bind(void **unused)
{
    (void)unused;
    try_without_filter(&(struct sandbox_spec){
        .id = "cage", .flags = SANDBOX_FLAG_UNFILTERED, .binds = &a_bind, .bind_count = 1 });
}

/* A bind source that is, or passes through, a symbolic link is refused, whoever made it so. */
static void test_a_link_on_the_way_of_a_bind_is_refused(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    char *dir = test_dir_create();
    AUTO_FREE char *real = mem_printf("%s/real", dir);
    AUTO_FREE char *link = mem_printf("%s/link", dir);
    AUTO_FREE char *file = mem_printf("%s/real/file", dir);
    AUTO_FREE char *through = mem_printf("%s/link/file", dir);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(mkdir(real, 0755), 0);
    assert_ok(file_write_atomic(file, "bound\n", 6, 0644, NULL));
    assert_int_equal(symlink(real, link), 0);
    struct sandbox_bind good = { .source = real, .destination = "/srv/data" };
    struct sandbox_spec spec = { .id = "good", .binds = &good, .bind_count = 1 };
    fixture_create_sandbox(fixture, &spec);
    struct recorded_program *program = fixture_shell(
        fixture, "good", "cat /srv/data/file; echo x 2>/dev/null >/srv/data/file || echo refused");
    assert_string_equal(buf_text(&program->out), "bound\nrefused\n");
    const char *const sources[] = { link, through };
    for (size_t i = 0; i < ARRAY_LENGTH(sources); i++) {
        struct sandbox_bind bad = { .source = sources[i], .destination = "/srv/data" };
        char id[] = { 'b', (char)('0' + i), '\0' };
        spec = (struct sandbox_spec){
            .id = id, .driver = fixture->driver, .binds = &bad, .bind_count = 1
        };
        assert_ok(sandbox_create(fixture->all, &spec, NULL));
        fixture_wait_count(fixture, &fixture->ended_count, (unsigned)i + 1);
        assert_int_equal(fixture->exit.reason, SANDBOX_END_FAILED);
    }
    fixture_destroy(fixture);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_of_what_a_program_tries_leaves_the_sandbox),
        cmocka_unit_test(test_nothing_leaves_a_sandbox_with_a_bind),
        cmocka_unit_test(test_the_namespaces_hold_without_the_filter),
        cmocka_unit_test(test_the_namespaces_hold_without_the_filter_and_with_a_bind),
        cmocka_unit_test(test_a_link_on_the_way_of_a_bind_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
