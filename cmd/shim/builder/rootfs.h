/*
 * What a sandbox sees as its root: the host's programs read-only, or an image, and around them a
 * /proc, /dev, /tmp, /etc and /sandbox of its own. Runs in the child that becomes init (or, what is
 * the same for many, ahead of it: ground.h), as root of the host in a mount namespace of its own.
 * All return 0, or -1 with errno.
 */
#ifndef SHIM_BUILDER_ROOTFS_H
#define SHIM_BUILDER_ROOTFS_H

#include "cmd/shim/builder/builder.h"

const char *rootfs_passwd(void);
const char *rootfs_group(void);

/*
 * What is the same for every sandbox with these programs, and that none of them can write to: the
 * programs, /etc, the nodes of /dev, and empty folders for the rest.
 */
int rootfs_ground_mount(const struct build *build, int root);
/* What is one sandbox's alone: /tmp, /dev/pts, /dev/shm and /etc/hosts; onto the ground. */
int rootfs_own_mount(const struct build *build, int root);
int rootfs_binds_mount(const struct build *build, int root);
/* ret_sysctl: /proc/sys/user of this /proc as it was before it was made read-only. */
int rootfs_proc_mount(const struct build *build, int root, int *ret_sysctl);

#endif
