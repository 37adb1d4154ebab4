/*
 * The egress proxy's listener, on the sandbox's own loopback: made before anything of the sandbox's
 * runs there, or from outside. Nothing on its side ever has it, so that nobody there can accept
 * from it, close it or change how it behaves for the agent that it is lent to.
 */
#ifndef SHIM_BUILDER_LISTENER_H
#define SHIM_BUILDER_LISTENER_H

#include "common/base/err.h"

#include <sys/types.h>

/* In the caller's own network, on 127.0.0.1; -1 with errno. */
int listener_make(unsigned port);

/* In the network of this process, on 127.0.0.1. Waits for a helper; the caller has one thread. */
enum err_code listener_open(pid_t pid, unsigned port, int *ret_fd, struct err_info *err) MUST_CHECK;

#endif
