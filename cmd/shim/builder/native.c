/*
 * The native builder. Two processes: the shim, root of the host, and its child, which takes itself
 * apart step by step until it is init. The order is what makes it hold: every namespace but the
 * user namespace is made by the host's root and so belongs to the host; only then does the child
 * enter a user namespace, in which it has no right over any of them.
 */
#include "cmd/shim/builder/builder.h"
#include "cmd/shim/builder/filter.h"
#include "cmd/shim/builder/ground.h"
#include "cmd/shim/builder/listener.h"
#include "cmd/shim/builder/mounts.h"
#include "cmd/shim/builder/network.h"
#include "cmd/shim/builder/rootfs.h"
#include "cmd/shim/builder/talk.h"
#include "cmd/shim/builder/workspace.h"
#include "common/base/cleanup.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/process.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    INIT_SOCKET = 3, /* the number under which init finds its socket */
    FD_FLOOR = 10,   /* what is needed to the end is moved above */
    OOM_SCORE = 500
};

struct child {
    struct build build;
    const struct filter *filter;
    int sync;   /* to the shim */
    int init;   /* the socket init will have */
    int root;   /* the new root, as a path */
    int sysctl; /* /proc/sys/user while it could be written */
    int program;
    bool is_in_core; /* cloned into the group of the unified hierarchy */
};

/* ---- The steps of the child, in their order ---- */

/* First: from here on the host's hierarchies are not to be seen, and all is on the sandbox's bill.
 */
static int join_cgroups(struct child *child)
{
    return cgroup_set_join(child->build.cgroups, !child->is_in_core, NULL) == ERR_OK ? 0 : -1;
}

static int enter_network(struct child *child)
{
    if (child->build.spec->network == SANDBOX_NETWORK_HOST) {
        return 0;
    }
    return child->build.network >= 0 ? setns(child->build.network, CLONE_NEWNET)
                                     : network_raise_loopback();
}

/* What is already there: a copy of it, in place of one of the host's mounts. */
static int enter_ground(struct child *child)
{
    if (setns(child->build.ground, CLONE_NEWNS) != 0 || unshare(CLONE_NEWNS) != 0) {
        return -1;
    }
    child->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return child->root < 0 ? -1 : 0;
}

static int make_ground(struct child *child)
{
    if (child->build.ground >= 0) {
        return enter_ground(child);
    }
    child->root = ground_make(&child->build);
    return child->root < 0 ? -1 : 0;
}

static int mount_own(struct child *child)
{
    return rootfs_own_mount(&child->build, child->root);
}

/* The shim has mounted it meanwhile: the longest part, for one with a disk of its own. */
static int attach_workspace(struct child *child)
{
    AUTO_FD int tree = -1;
    if (talk_await(child->sync, TALK_WORKSPACE, &tree) != 0) {
        return -1;
    }
    return mounts_attach(tree, child->root, "sandbox", true);
}

static int mount_binds(struct child *child)
{
    return rootfs_binds_mount(&child->build, child->root);
}

static int mount_proc(struct child *child)
{
    return rootfs_proc_mount(&child->build, child->root, &child->sysctl);
}

static int enter_root(struct child *child)
{
    return child->build.ground >= 0 ? chdir("/") : ground_enter(child->root);
}

/* Nothing else runs in this network, and here it is made by root of the host. */
static int make_listener(struct child *child)
{
    if (child->build.spec->network != SANDBOX_NETWORK_PROXY) {
        return 0;
    }
    AUTO_FD int fd = listener_make(SANDBOX_PROXY_PORT);
    return fd < 0 ? -1 : talk_say(child->sync, &(struct talk_word){ .kind = TALK_LISTENER }, fd);
}

static int set_name(struct child *child)
{
    return sethostname(child->build.spec->hostname.ptr, child->build.spec->hostname.len);
}

static int raise_oom_score(struct child *child)
{
    char text[16];
    (void)child;
    /* The host's /proc is gone from here; the sandbox's shows us as process 1. */
    AUTO_FD int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    (void)snprintf(text, sizeof(text), "%d", OOM_SCORE);
    return fd >= 0 && write(fd, text, strlen(text)) > 0 ? 0 : -1;
}

/* Once we are in our groups: else the namespace's root would be the agent's group. */
static int hide_cgroups(struct child *child)
{
    (void)child;
    return unshare(CLONE_NEWCGROUP);
}

static int enter_userns(struct child *child)
{
    const struct talk_word here = { .kind = TALK_USERNS };
    if (unshare(CLONE_NEWUSER) != 0 || talk_say(child->sync, &here, -1) != 0) {
        return -1;
    }
    return talk_await(child->sync, TALK_MAPPED, NULL);
}

/* Even without the filter, the sandbox can make no further namespaces: its own limits say so. */
static int forbid_namespaces(struct child *child)
{
    static const char *const names[] = { "max_user_namespaces",
                                         "max_mnt_namespaces",
                                         "max_net_namespaces" };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FD int fd = openat(child->sysctl, names[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            return -1;
        }
    }
    fd_close(&child->sysctl);
    return 0;
}

static int drop_bounding(void)
{
    for (int capability = 0; capability <= 63; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            return errno == EINVAL && capability > 0 ? 0 : -1; /* past the last one */
        }
    }
    return 0;
}

/* Explicitly: the change of user clears nothing, since the old user was not root in there. */
static int drop_rights(struct child *child)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { { .effective = 0 } };
    uid_t uid = (uid_t)child->build.spec->uid;
    if (drop_bounding() != 0 || setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0
        || setresuid(uid, uid, uid) != 0) {
        return -1;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0
        || syscall(SYS_capset, &header, none) != 0) {
        return -1;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int filter_calls(struct child *child)
{
    if ((child->build.spec->flags & SANDBOX_FLAG_UNFILTERED) != 0) {
        return 0;
    }
    int number = filter_load(child->filter);
    errno = number;
    return number == 0 ? 0 : -1;
}

static int become_init(struct child *child)
{
    char name[] = "belay-init";
    char *arguments[] = { name, NULL };
    char *environment[] = { NULL };
    if (dup3(child->init, INIT_SOCKET, 0) < 0
        || syscall(SYS_close_range, INIT_SOCKET + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
        return -1;
    }
    return execveat(child->program, "", arguments, environment, AT_EMPTY_PATH);
}

static const struct {
    const char *what;
    int (*run)(struct child *child);
} steps[] = {
    { "joining the control groups", join_cgroups },
    { "entering the network", enter_network },
    { "mounting the programs, /etc and /dev", make_ground },
    { "mounting /tmp and what else is its own", mount_own },
    { "mounting /proc", mount_proc },
    { "mounting the workspace", attach_workspace },
    { "mounting what the sandbox asked for", mount_binds },
    { "entering the new root", enter_root },
    { "listening for the egress proxy", make_listener },
    { "setting the host name", set_name },
    { "setting the score for out of memory", raise_oom_score },
    { "hiding the control groups", hide_cgroups },
    { "entering the user namespace", enter_userns },
    { "forbidding further namespaces", forbid_namespaces },
    { "dropping rights", drop_rights },
    { "loading the system call filter", filter_calls },
    { "starting init", become_init },
};

static void run_child(struct child *child)
{
    for (size_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        if (steps[i].run(child) != 0) {
            const struct talk_word failed = { TALK_FAILED, (int32_t)i, errno };
            (void)talk_say(child->sync, &failed, -1);
            _exit(1);
        }
    }
}

/* ---- The shim's side ---- */

static enum err_code write_map(pid_t pid, const char *name, uint64_t base, struct err_info *err)
{
    char path[64];
    char text[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    (void)snprintf(text, sizeof(text), "0 %" PRIu64 " %d\n", base, SANDBOX_UID_COUNT);
    AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "%s", path);
    }
    return ERR_OK;
}

static enum err_code map_ids(int sync, pid_t pid, uint64_t uid_base, struct err_info *err)
{
    const struct talk_word mapped = { .kind = TALK_MAPPED };
    TRY(write_map(pid, "gid_map", uid_base, err));
    TRY(write_map(pid, "uid_map", uid_base, err));
    return talk_say(sync, &mapped, -1) == 0
        ? ERR_OK
        : ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "the builder's child");
}

/* The end of the conversation: the socket closes when init starts, or a failure comes. */
static enum err_code await_child(
    int sync, const struct build *build, struct built *built, struct err_info *err)
{
    struct talk_word word;
    AUTO_FD int passed = -1;
    while (talk_hear(sync, &word, &passed) == 0) {
        if (word.kind == TALK_LISTENER && passed >= 0 && built->listener < 0) {
            built->listener = fd_steal(&passed);
        } else if (word.kind == TALK_USERNS && passed < 0) {
            TRY(map_ids(sync, built->pid, build->spec->uid_base, err));
        } else if (
            word.kind == TALK_FAILED && word.step >= 0 && (size_t)word.step < ARRAY_LENGTH(steps)) {
            return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, word.number, "%s", steps[word.step].what);
        } else {
            return ERR_SET(err, ERR_INTERNAL, "the builder's child is not to be understood");
        }
    }
    return errno == EPIPE ? ERR_OK : ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "the builder's child");
}

static enum err_code bound_workspace(const struct build *build, int tree, struct err_info *err)
{
    struct stat info;
    if (build->spec->disk_bytes == 0) {
        return ERR_OK; /* a folder of the disk that the group has its rule for */
    }
    if (fstat(tree, &info) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "the workspace's device");
    }
    return cgroup_set_add_disk(build->cgroups, info.st_dev, build->spec->io_bytes_per_second, err);
}

/* While the child makes the rest. */
static enum err_code hand_workspace(int sync, const struct build *build, struct err_info *err)
{
    const struct message_spec *spec = build->spec;
    const struct talk_word word = { .kind = TALK_WORKSPACE };
    AUTO_FD int tree =
        workspace_mount(build->dir_fd, spec->disk_bytes, (uid_t)(spec->uid_base + spec->uid));
    if (tree < 0) {
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "mounting the workspace");
    }
    TRY(bound_workspace(build, tree, err));
    /* A child that has failed has said why. */
    return talk_say(sync, &word, tree) == 0 || errno == EPIPE || errno == ECONNRESET
        ? ERR_OK
        : ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "the builder's child");
}

static enum err_code attend(
    int sync, const struct build *build, struct built *built, struct err_info *err)
{
    TRY(hand_workspace(sync, build, err));
    return await_child(sync, build, built, err);
}

/* The kernel writes through ret_pidfd. NOLINTNEXTLINE(readability-non-const-parameter) */
static pid_t clone_child(const struct build *build, int *ret_pidfd, int *ret_in_core)
{
    AUTO_FD int core = cgroup_set_open_core(build->cgroups);
    struct clone_args arguments = {
        .flags = (uint64_t)(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD),
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD
    };
    if (build->spec->network != SANDBOX_NETWORK_HOST && build->network < 0) {
        arguments.flags |= (uint64_t)CLONE_NEWNET;
    }
    if (build->ground < 0) {
        arguments.flags |= (uint64_t)CLONE_NEWNS;
    }
    if (core >= 0) {
        arguments.flags |= (uint64_t)CLONE_INTO_CGROUP;
        arguments.cgroup = (unsigned)core;
    }
    *ret_in_core = core >= 0;
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

/* Above the numbers that init will use; the original is closed. */
static int move_up(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);
    (void)close(fd);
    return moved;
}

static void start_child(
    const struct build *build, const struct filter *filter, bool is_in_core, int sync, int init)
{
    struct child child = { .build = *build,
                           .filter = filter,
                           .sync = move_up(sync),
                           .init = move_up(init),
                           .root = -1,
                           .sysctl = -1,
                           .program = move_up(build->program_fd),
                           .is_in_core = is_in_core };
    (void)umask(022); /* folders made on the way are for the sandbox to read */
    run_child(&child);
    _exit(1);
}

/* A ground is read-only, so a bind may have no place there, and has the host's programs. */
static int fitting_ground(const struct build *build)
{
    const struct message_spec *spec = build->spec;
    return spec->image.len == 0 && spec->binds.len == 0 ? build->ground : -1;
}

enum err_code native_build(
    const struct build *wanted, struct built *ret_built, struct err_info *err)
{
    struct build own = *wanted;
    const struct build *build = &own;
    own.ground = fitting_ground(wanted);
    struct filter filter;
    int pair[2] = { -1, -1 };
    int in_core = 0;
    struct built built = { .pidfd = -1, .socket = -1, .listener = -1 };
    TRY(ground_make_points(build, err));
    filter_build(&filter, (build->spec->flags & SANDBOX_FLAG_DEBUG) != 0);
    TRY(channel_pair(pair, err));
    AUTO_FD int ours = pair[0];
    AUTO_FD int inits = pair[1];
    TRY(channel_send(ours, build->setup, NULL, err));
    int talk[2] = { -1, -1 };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "socketpair");
    }
    AUTO_FD int sync = talk[0];
    AUTO_FD int childs = talk[1];
    built.pid = clone_child(build, &built.pidfd, &in_core);
    if (built.pid == 0) {
        (void)close(talk[0]);
        (void)close(pair[0]);
        start_child(build, &filter, in_core != 0, talk[1], pair[1]);
    }
    if (built.pid < 0) {
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "clone3 with new namespaces");
    }
    fd_close(&childs);
    fd_close(&inits);
    enum err_code code = attend(sync, build, &built, err);
    if (code != ERR_OK) {
        fd_close(&built.listener);
        process_kill(built.pidfd, SIGKILL);
        (void)waitpid(built.pid, NULL, 0);
        fd_close(&built.pidfd);
        return code;
    }
    built.socket = fd_steal(&ours);
    *ret_built = built;
    return ERR_OK;
}
