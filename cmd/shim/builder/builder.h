/*
 * Builders: they turn a spec into a running init. What they make is the same for the shim: a
 * process to watch and a socket to speak with.
 */
#ifndef SHIM_BUILDER_BUILDER_H
#define SHIM_BUILDER_BUILDER_H

#include "common/sandbox/cgroup.h"
#include "common/sandbox/message.h"

struct build {
    const struct message_spec *spec;
    const struct cgroup_set *cgroups;
    const char *dir; /* of the sandbox, absolute */
    int dir_fd;
    int program_fd; /* this program, for init */
    int ground;     /* a mount namespace from ground.h, or -1 */
    int network;    /* a network namespace from network.h, or -1 */
    /* What init hears first. It is sent before init can read it where that may not block (native,
     * whose sockets have room for any): init then waits for nobody. */
    const struct message *setup;
};

struct built {
    pid_t pid; /* init, in our numbers */
    int pidfd;
    int socket;   /* to init */
    int listener; /* of the egress proxy, if the builder made it; else -1 */
    pid_t helper; /* bwrap's own process, our child, or 0 */
};

/* What went wrong is in err; nothing is left behind. */
enum err_code native_build(
    const struct build *wanted, struct built *ret_built, struct err_info *err) MUST_CHECK;
enum err_code bwrap_build(const struct build *build, struct built *ret_built, struct err_info *err)
    MUST_CHECK;

#endif
