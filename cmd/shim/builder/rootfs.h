/*
 * What a sandbox sees as its root: the host's programs read-only, or an image, and around them a
 * /proc, /dev, /tmp, /etc and /sandbox of its own. Runs in the child that becomes init, as root of
 * the host in a mount namespace of its own. All return 0, or -1 with errno.
 */
#ifndef SHIM_BUILDER_ROOTFS_H
#define SHIM_BUILDER_ROOTFS_H

#include "cmd/shim/builder/builder.h"

/* The files of /etc that programs of the host need and that hold nothing secret. */
extern const char *const rootfs_etc[];
/* Folders of the host's programs. */
extern const char *const rootfs_programs[];

const char *rootfs_passwd(void);
const char *rootfs_group(void);

int rootfs_programs_mount(const struct build *build, int root);
int rootfs_writable_mount(const struct build *build, int root);
int rootfs_binds_mount(const struct build *build, int root);
int rootfs_dev_mount(const struct build *build, int root);
/* ret_sysctl: /proc/sys/user of this /proc as it was before it was made read-only. */
int rootfs_proc_mount(const struct build *build, int root, int *ret_sysctl);

#endif
