#include "cmd/agent/guest/child.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    struct loop *loop;
    child_ended_fn ended;
    void *context;
    int64_t grace_us;
    pid_t pid;  /* 0: none runs */
    int pid_fd; /* -1: none runs */
    struct loop_watch *watch;
    struct loop_timer *kill_timer;
};

static int reap(struct child *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
    }
    loop_watch_remove(child->watch);
    child->watch = NULL;
    loop_timer_disarm(child->kill_timer);
    fd_close(&child->pid_fd);
    child->pid = 0;
    return status;
}

static void on_exit_ready(void *context, uint32_t events)
{
    struct child *child = context;
    (void)events;
    int status = reap(child);
    child->ended(child->context, status);
}

static void on_grace_over(void *context)
{
    const struct child *child = context;
    log_warn("child_killed", LOG_INT("pid", child->pid));
    (void)kill(child->pid, SIGKILL);
}

struct child *child_create(struct loop *loop, int64_t grace_us, child_ended_fn ended, void *context)
{
    struct child *child = mem_alloc(sizeof(*child));
    *child = (struct child){
        .loop = loop, .ended = ended, .context = context, .grace_us = grace_us, .pid_fd = -1
    };
    child->kill_timer = loop_timer_create(loop, on_grace_over, child);
    return child;
}

void child_destroy(struct child *child)
{
    if (child == NULL) {
        return;
    }
    if (child->pid != 0) {
        (void)kill(child->pid, SIGKILL);
        (void)reap(child);
    }
    loop_timer_destroy(child->kill_timer);
    mem_free(child);
}

static int spawn(pid_t *ret_pid, const char *program, char *const *arguments, int input)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    int failed = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setpgroup(&attributes, 0); /* ^C is for us; we tell it */
    (void)posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (failed == 0) {
        /* What 'reset' tells a person; the log goes the other way, into ours. */
        failed =
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (failed == 0) {
        failed = posix_spawn(ret_pid, program, &actions, &attributes, arguments, environ);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

enum err_code child_start(
    struct child *child,
    const char *program,
    char *const *arguments,
    int input,
    struct err_info *err)
{
    int failed = spawn(&child->pid, program, arguments, input);
    if (failed != 0) {
        child->pid = 0;
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, failed, "%s", program);
    }
    enum err_code code = ERR_OK;
    child->pid_fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->pid_fd < 0) {
        code = ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "pidfd_open");
    } else {
        code = loop_watch_add(
            child->loop, child->pid_fd, EPOLLIN, on_exit_ready, child, &child->watch, err);
    }
    if (code != ERR_OK) {
        (void)kill(child->pid, SIGKILL); /* nobody would hear of its end */
        (void)reap(child);
    }
    return code;
}

bool child_is_running(const struct child *child)
{
    return child->pid != 0;
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_stop(struct child *child)
{
    if (child->pid != 0) {
        (void)kill(child->pid, SIGTERM);
        loop_timer_arm_after(child->kill_timer, child->grace_us);
    }
}

void child_wait(struct child *child, struct mono_us deadline)
{
    if (child->pid == 0) {
        return;
    }
    struct pollfd watched = { .fd = child->pid_fd, .events = POLLIN };
    int64_t left_us = deadline.value - clock_mono(clock_system()).value;
    int ready = poll(&watched, 1, left_us <= 0 ? 0 : (int)(left_us / US_PER_MS));
    if (ready <= 0) {
        on_grace_over(child);
    }
    (void)reap(child);
}
