/*
 * The bubblewrap builder, for an agent that is not root: bwrap makes the namespaces and mounts, and
 * our init is its payload. What keeps its known traps shut: an empty environment (bwrap's own would
 * show in /proc/1/environ), --as-pid-1 with an init that cannot be read, every descriptor but the
 * wanted ones CLOEXEC, allow-listed paths alone, and never as root. Without control groups of
 * version 1 and without loop devices: the agent refuses limits that this cannot give.
 */
#include "cmd/shim/builder/builder.h"
#include "cmd/shim/builder/filter.h"
#include "cmd/shim/builder/mounts.h"
#include "cmd/shim/builder/rootfs.h"
#include "common/base/cleanup.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/host_files.h"
#include "common/sandbox/process.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    INIT_SOCKET = 3,
    ARGUMENTS_BYTES_MAX = 262144,
    WORDS_BYTES_MAX = 4096,
    BUILD_MS = 20000,
    FD_FLOOR = 20
};

#define PROGRAM  "/usr/bin/bwrap"
#define INIT     "/run/belay-init"
#define SHM_SIZE "67108864"

/* What bwrap is told, and the descriptors it is given: kept open until it has them. */
struct plan {
    const struct build *build;
    struct buf arguments; /* a list */
    int fds[16 + 64];
    size_t fd_count;
    bool failed;
};

static void say(struct plan *plan, const char *word)
{
    message_list_add(&plan->arguments, str_of(word));
}

static void say_all(struct plan *plan, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        say(plan, words[i]);
    }
}

/* Names a descriptor that stays open across the exec; the plan owns it. */
static void say_fd(struct plan *plan, int take_fd)
{
    char digits[16];
    int fd = take_fd < 0 ? -1 : fcntl(take_fd, F_DUPFD, FD_FLOOR);
    fd_close(&take_fd);
    if (fd < 0 || plan->fd_count == ARRAY_LENGTH(plan->fds)) {
        fd_close(&fd);
        plan->failed = true;
        return;
    }
    plan->fds[plan->fd_count++] = fd;
    (void)snprintf(digits, sizeof(digits), "%d", fd);
    say(plan, digits);
}

static int memory_file(const char *name, const void *data, size_t bytes)
{
    AUTO_FD int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || fd_write_all(fd, data, bytes, NULL) != ERR_OK || lseek(fd, 0, SEEK_SET) != 0) {
        return -1;
    }
    return fd_steal(&fd);
}

static void say_file(struct plan *plan, const char *path, const char *text)
{
    const char *const words[] = { "--perms", "0644", "--ro-bind-data", NULL };
    say_all(plan, words);
    say_fd(plan, memory_file("file", text, strlen(text)));
    say(plan, path);
}

/* The host's folders of programs: links are made again, the rest is bound. */
static void plan_host_tools(struct plan *plan)
{
    char target[4096];
    for (size_t i = 0; host_files_programs[i] != NULL; i++) {
        char path[64];
        struct stat info;
        (void)snprintf(path, sizeof(path), "/%s", host_files_programs[i]);
        if (lstat(path, &info) != 0) {
            continue;
        }
        ssize_t bytes = S_ISLNK(info.st_mode) ? readlink(path, target, sizeof(target) - 1) : 0;
        target[bytes < 0 ? 0 : bytes] = '\0';
        say(plan, bytes > 0 ? "--symlink" : "--ro-bind");
        say(plan, bytes > 0 ? target : path);
        say(plan, path);
    }
    for (size_t i = 0; host_files_etc[i] != NULL; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "/etc/%s", host_files_etc[i]);
        if (access(path, R_OK) == 0) {
            say(plan, "--ro-bind");
            say(plan, path);
            say(plan, path);
        }
    }
    say_file(plan, "/etc/passwd", rootfs_passwd());
    say_file(plan, "/etc/group", rootfs_group());
    say_file(plan, "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
}

/* An image's top folders, by descriptor: where it lies may not be ours to enter after the step
 * down. */
static void plan_image(struct plan *plan)
{
    static const char *const folders[] = { "usr",   "bin",    "sbin", "lib",  "lib32",
                                           "lib64", "libx32", "etc",  "home", "opt",
                                           "root",  "srv",    "var",  "mnt" };
    AUTO_FREE char *path = mem_printf("%.*s", STR_ARG(plan->build->spec->image));
    char target[4096];
    AUTO_FD int image = mounts_open_source(path);
    for (size_t i = 0; i < ARRAY_LENGTH(folders) && image >= 0; i++) {
        char name[32];
        struct stat info;
        (void)snprintf(name, sizeof(name), "/%s", folders[i]);
        if (fstatat(image, folders[i], &info, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        if (S_ISLNK(info.st_mode)) {
            ssize_t bytes = readlinkat(image, folders[i], target, sizeof(target) - 1);
            target[bytes < 0 ? 0 : bytes] = '\0';
            say(plan, "--symlink");
            say(plan, target);
        } else {
            say(plan, "--ro-bind-fd");
            say_fd(plan, openat(image, folders[i], O_PATH | O_NOFOLLOW | O_CLOEXEC));
        }
        say(plan, name);
    }
    plan->failed = plan->failed || image < 0;
}

static void plan_binds(struct plan *plan)
{
    size_t cursor = 0;
    struct str_view mode;
    struct str_view source;
    struct str_view destination;
    const struct message_list *binds = &plan->build->spec->binds;
    while (message_list_next(binds, &cursor, &mode) && message_list_next(binds, &cursor, &source)
           && message_list_next(binds, &cursor, &destination)) {
        say(plan, str_equal(mode, STR("rw")) ? "--bind-fd" : "--ro-bind-fd");
        say_fd(plan, mounts_open_source(source.ptr));
        say(plan, destination.ptr);
    }
}

static void plan_namespaces(struct plan *plan)
{
    static const char *const always[] = { "--unshare-user",
                                          "--unshare-ipc",
                                          "--unshare-pid",
                                          "--unshare-uts",
                                          "--unshare-cgroup",
                                          "--disable-userns",
                                          "--die-with-parent",
                                          "--as-pid-1",
                                          "--new-session",
                                          "--clearenv",
                                          "--cap-drop",
                                          "ALL",
                                          NULL };
    const struct message_spec *spec = plan->build->spec;
    char uid[16];
    say_all(plan, always);
    if (spec->network != SANDBOX_NETWORK_HOST) {
        say(plan, "--unshare-net");
    }
    (void)snprintf(uid, sizeof(uid), "%" PRIu64, spec->uid);
    const char *const words[] = { "--uid", uid, "--gid", uid, "--hostname", NULL };
    say_all(plan, words);
    message_list_add(&plan->arguments, spec->hostname);
}

static void plan_mounts(struct plan *plan)
{
    static const char *const devices[] = { "--proc",  "/proc",    "--dev",  "/dev",
                                           "--perms", "1777",     "--size", SHM_SIZE,
                                           "--tmpfs", "/dev/shm", NULL };
    char tmp[24];
    (void)snprintf(tmp, sizeof(tmp), "%" PRIu64, plan->build->spec->tmp_bytes);
    const char *const writable[] = { "--perms", "1777", "--size", tmp, "--tmpfs", "/tmp", NULL };
    say_all(plan, devices);
    say_all(plan, writable);
    say(plan, "--bind-fd");
    say_fd(
        plan,
        openat(
            plan->build->dir_fd,
            SANDBOX_FILE_WORKSPACE,
            O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    say(plan, "/sandbox");
    plan_binds(plan);
    say(plan, "--ro-bind-fd");
    say_fd(plan, fcntl(plan->build->program_fd, F_DUPFD_CLOEXEC, FD_FLOOR));
    say(plan, INIT);
    say(plan, "--remount-ro");
    say(plan, "/");
}

/* status: the writing end on which bwrap tells the child's number. */
static void plan_all(struct plan *plan, int take_status)
{
    struct filter filter;
    const struct message_spec *spec = plan->build->spec;
    plan_namespaces(plan);
    if (spec->image.len > 0) {
        plan_image(plan);
    } else {
        plan_host_tools(plan);
    }
    plan_mounts(plan);
    if ((spec->flags & SANDBOX_FLAG_UNFILTERED) == 0) {
        filter_build(&filter, (spec->flags & SANDBOX_FLAG_DEBUG) != 0);
        say(plan, "--seccomp");
        say_fd(plan, memory_file("filter", filter.code, filter.count * sizeof(struct sock_filter)));
    }
    say(plan, "--json-status-fd");
    say_fd(plan, take_status);
    const char *const end[] = { "--chdir", "/", NULL };
    say_all(plan, end);
}

static void plan_deinit(struct plan *plan)
{
    for (size_t i = 0; i < plan->fd_count; i++) {
        fd_close(&plan->fds[i]);
    }
    buf_deinit(&plan->arguments);
}

/* ---- The child ---- */

static void run_bwrap(const struct plan *plan, int init, int errors, int go)
{
    char name[] = PROGRAM;
    char args[] = "--args";
    char end[] = "--";
    char payload[] = INIT;
    char digits[16];
    char *environment[] = { NULL };
    char word = 0;
    AUTO_FD int list = memory_file("args", plan->arguments.data, plan->arguments.len);
    int kept = list < 0 ? -1 : fcntl(list, F_DUPFD, FD_FLOOR);
    (void)snprintf(digits, sizeof(digits), "%d", kept);
    char *arguments[] = { name, args, digits, end, payload, NULL };
    if (kept < 0 || dup2(errors, 2) < 0 || dup3(init, INIT_SOCKET, 0) < 0
        || read(go, &word, 1) != 1) {
        _exit(126);
    }
    (void)execve(PROGRAM, arguments, environment);
    _exit(127);
}

/* ---- The shim's side ---- */

/* {"child-pid": 4711, ...}: the only number we need of it. */
static pid_t parse_pid(struct str_view text)
{
    struct str_view key = STR("\"child-pid\":");
    uint64_t pid = 0;
    while (text.len > key.len && !str_has_prefix(text, key)) {
        text = str_from(text.ptr + 1, text.len - 1);
    }
    text =
        str_trim(text.len > key.len ? str_from(text.ptr + key.len, text.len - key.len) : STR_NONE);
    size_t digits = 0;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9') {
        digits++;
    }
    return str_parse_uint64(str_from(text.ptr, digits), INT32_MAX, &pid) == ERR_OK ? (pid_t)pid : 0;
}

static pid_t await_pid(int status)
{
    char text[WORDS_BYTES_MAX];
    size_t count = 0;
    struct pollfd watched = { .fd = status, .events = POLLIN };
    while (count < sizeof(text) && poll(&watched, 1, BUILD_MS) == 1) {
        ssize_t got = read(status, text + count, sizeof(text) - count);
        if (got <= 0) {
            break;
        }
        count += (size_t)got;
        if (memchr(text, '\n', count) != NULL) {
            return parse_pid(str_from(text, count));
        }
    }
    return 0;
}

static enum err_code tell_failure(int errors, struct err_info *err)
{
    char text[300];
    struct pollfd watched = { .fd = errors, .events = POLLIN };
    ssize_t got = poll(&watched, 1, 1000) == 1 ? read(errors, text, sizeof(text)) : 0;
    struct str_view words = str_trim(str_from(text, got < 0 ? 0 : (size_t)got));
    return ERR_SET(
        err,
        ERR_UNSUPPORTED,
        "bubblewrap: %.*s",
        words.len == 0 ? 30 : (int)words.len,
        words.len == 0 ? "failed without a word         " : words.ptr);
}

static enum err_code check(const struct build *build, struct err_info *err)
{
    struct stat info;
    AUTO_FREE char *image = mem_printf("%.*s", STR_ARG(build->spec->image));
    if (geteuid() == 0) {
        /* Its user namespace would map root to root, and it cannot reach our folder as another. */
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "for an agent that is not root; as root the native driver does more");
    }
    if (access(PROGRAM, X_OK) != 0) {
        return ERR_SET(err, ERR_UNSUPPORTED, PROGRAM " is not installed (package bubblewrap)");
    }
    if (build->spec->disk_bytes > 0) {
        return ERR_SET(err, ERR_UNSUPPORTED, "the bwrap driver cannot cap the workspace");
    }
    if (image[0] != '\0' && (stat(image, &info) != 0 || !S_ISDIR(info.st_mode))) {
        return ERR_SET(err, ERR_UNSUPPORTED, "the bwrap driver takes images that are folders");
    }
    return ERR_OK;
}

struct pipes {
    int status[2];
    int errors[2];
    int go[2];
    int init[2];
};

static enum err_code open_pipes(struct pipes *pipes, struct err_info *err)
{
    if (pipe2(pipes->status, O_CLOEXEC) != 0 || pipe2(pipes->errors, O_CLOEXEC) != 0
        || pipe2(pipes->go, O_CLOEXEC) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "pipe");
    }
    return channel_pair(pipes->init, err);
}

static void close_pair(int pair[2])
{
    fd_close(&pair[0]);
    fd_close(&pair[1]);
}

/* From the running child to the result; on a failure it is dead and reaped. */
static enum err_code follow(
    const struct build *build,
    struct pipes *pipes,
    pid_t helper,
    struct built *ret_built,
    struct err_info *err)
{
    struct built built = { .helper = helper, .pidfd = -1, .socket = -1, .listener = -1 };
    enum err_code code = cgroup_set_attach(build->cgroups, helper, true, err);
    if (code == ERR_OK && write(pipes->go[1], "g", 1) == 1) {
        built.pid = await_pid(pipes->status[0]);
    }
    if (code == ERR_OK && built.pid > 0) {
        built.pidfd = (int)syscall(SYS_pidfd_open, built.pid, 0);
    }
    if (code == ERR_OK && built.pidfd < 0) {
        code = tell_failure(pipes->errors[0], err);
    }
    if (code != ERR_OK) {
        (void)kill(helper, SIGKILL);
        (void)waitpid(helper, NULL, 0);
        return code;
    }
    built.socket = fd_steal(&pipes->init[0]);
    *ret_built = built;
    return channel_send(built.socket, build->setup, NULL, err);
}

enum err_code bwrap_build(const struct build *build, struct built *ret_built, struct err_info *err)
{
    struct pipes pipes = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
    struct plan plan = { .build = build, .arguments = BUF_INIT(ARGUMENTS_BYTES_MAX) };
    TRY(check(build, err));
    enum err_code code = open_pipes(&pipes, err);
    if (code == ERR_OK) {
        plan_all(&plan, fd_steal(&pipes.status[1]));
        code = plan.failed || !buf_ok(&plan.arguments)
            ? ERR_SET(err, ERR_UNSUPPORTED, "something to bind is missing, or a link on its way")
            : ERR_OK;
    }
    pid_t helper = code == ERR_OK ? fork() : -1;
    if (helper == 0) {
        run_bwrap(&plan, pipes.init[1], pipes.errors[1], pipes.go[0]);
    }
    plan_deinit(&plan);
    fd_close(&pipes.init[1]);
    fd_close(&pipes.errors[1]);
    fd_close(&pipes.go[0]);
    if (code == ERR_OK && helper < 0) {
        code = ERR_SET_ERRNO(err, ERR_LIMIT, errno, "fork");
    }
    if (code == ERR_OK) {
        code = follow(build, &pipes, helper, ret_built, err);
    }
    close_pair(pipes.status);
    close_pair(pipes.errors);
    close_pair(pipes.go);
    close_pair(pipes.init);
    return code;
}
