/*
 * Landlock, the second layer behind the mount tree: what init and all below it may read and write,
 * whatever the mounts say. Constants are our own, since the system's headers may be older than its
 * kernel.
 */
#ifndef SHIM_FENCE_H
#define SHIM_FENCE_H

#include "common/sandbox/message.h"

/* Version of the interface that this kernel has; 0: none. */
unsigned fence_abi(void);

/*
 * Restricts this process and its children: read and execute below the paths of read_only, all below
 * those of read_write; a path that is not there is left out. no_new_privs must be set. Returns 0 or
 * an errno.
 */
int fence_raise(const struct message_list *read_only, const struct message_list *read_write);

#endif
