/*
 * Starts the shim's program under one of its names, away from the agent: in a session of its own,
 * without the agent's environment, signals and descriptors but for those handed over, which it
 * finds from number 3 on.
 */
#ifndef CMD_AGENT_SANDBOX_SHIM_SPAWN_H
#define CMD_AGENT_SANDBOX_SHIM_SPAWN_H

#include "common/base/err.h"

#include <sys/types.h>

enum {
    SHIM_SPAWN_FDS_MAX = 2
};

struct shim_spawn {
    const char *path;
    const char *name;            /* argv[0] */
    const char *dir;             /* its one argument */
    int fds[SHIM_SPAWN_FDS_MAX]; /* borrowed */
    size_t count;
};

/* Returns when it has been executed; the caller waits for its end. */
enum err_code shim_spawn(const struct shim_spawn *spawn, pid_t *ret_pid, struct err_info *err)
    MUST_CHECK;
/* A shim: it forks at once and its first process ends, which is waited for. */
enum err_code shim_spawn_away(const struct shim_spawn *spawn, struct err_info *err) MUST_CHECK;

#endif
