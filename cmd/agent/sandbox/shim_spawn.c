#include "cmd/agent/sandbox/shim_spawn.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum {
    FIRST_FD = 3
};

static int spawn_with(const struct shim_spawn *spawn, const int *passed, pid_t *ret_pid)
{
    char *arguments[] = { CONST_CAST(char *, spawn->name), CONST_CAST(char *, spawn->dir), NULL };
    char *environment[] = { NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    for (size_t i = 0; i < spawn->count; i++) {
        (void)posix_spawn_file_actions_adddup2(&actions, passed[i], FIRST_FD + (int)i);
    }
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int number = posix_spawn(ret_pid, spawn->path, &actions, &attributes, arguments, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return number;
}

enum err_code shim_spawn(const struct shim_spawn *spawn, pid_t *ret_pid, struct err_info *err)
{
    int passed[SHIM_SPAWN_FDS_MAX];
    /* Not the numbers they will have there: a dup2 onto itself would leave it CLOEXEC, and one onto
     * the next would lose that. */
    for (size_t i = 0; i < spawn->count; i++) {
        passed[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + SHIM_SPAWN_FDS_MAX);
    }
    int number = spawn_with(spawn, passed, ret_pid);
    for (size_t i = 0; i < spawn->count; i++) {
        fd_close(&passed[i]);
    }
    return number == 0 ? ERR_OK : ERR_SET_ERRNO(err, ERR_UNAVAILABLE, number, "%s", spawn->path);
}

enum err_code shim_spawn_away(const struct shim_spawn *spawn, struct err_info *err)
{
    pid_t pid = 0;
    int status = 0;
    TRY(shim_spawn(spawn, &pid, err));
    while (waitpid(pid, &status, 0) != pid) {
        if (errno != EINTR) {
            return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", spawn->path);
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
        ? ERR_OK
        : ERR_SET(err, ERR_UNAVAILABLE, "%s did not start", spawn->path);
}
