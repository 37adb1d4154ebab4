/*
 * The ground that new sandboxes are copies of (cmd/shim/builder/ground.h): made once, ahead, by a
 * helper process, and kept as a descriptor for as long as the host is as it was then. A sandbox
 * that finds none builds all of it itself, and loses a few milliseconds and nothing else.
 */
#ifndef CMD_AGENT_SANDBOX_GROUND_H
#define CMD_AGENT_SANDBOX_GROUND_H

#include "common/sys/loop.h"

struct ground;

/* dir: a folder for it, which is made. Makes the first one, and waits for that. NULL without
 * CAP_SYS_CHROOT, which it takes to enter one. */
enum err_code ground_create(
    struct loop *loop,
    const char *shim_path,
    const char *dir,
    struct ground **ret_ground,
    struct err_info *err) MUST_CHECK;
void ground_destroy(struct ground *ground); /* NULL is allowed */

/* Its descriptor, ground's own, or -1: there is none. When a file it has of the host is not that
 * any more, or the host's mounts have changed, it is given up and the next one begun. NULL is
 * allowed. */
int ground_get(struct ground *ground);

#endif
