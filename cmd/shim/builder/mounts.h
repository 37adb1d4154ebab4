/*
 * The new interface of mounts, and the few things the mount tree of a sandbox is made of. All
 * return 0, or -1 with errno. A destination is a path below `root`, a folder of our own fresh
 * tmpfs, without a leading slash; what is missing on the way is made.
 */
#ifndef SHIM_BUILDER_MOUNTS_H
#define SHIM_BUILDER_MOUNTS_H

#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MOUNTS_READ_ONLY 1U
#define MOUNTS_DEVICES   2U /* device nodes work; never with what a workload may write */
#define MOUNTS_NO_EXEC   4U

/* Opens a bind source as a path: no symbolic link anywhere on the way, whoever may be changing it.
 */
int mounts_open_source(const char *path);

/* A detached copy of what `source` names (a descriptor), with all below it; its descriptor. */
int mounts_clone(int source, unsigned flags);

/* Puts a detached tree at the destination, a folder or, if not, a file. */
int mounts_attach(int tree, int root, const char *destination, bool is_dir);

/* Puts a detached copy of what `source` names (a descriptor) at the destination, with all below it.
 */
int mounts_bind(int source, int root, const char *destination, unsigned flags);

/* The same by a path of the host that is ours to trust; one that is not there: 0, and nothing. */
int mounts_bind_host(const char *path, int root, const char *destination, unsigned flags);

/* A new file system: "tmpfs", "proc", "devpts", with mount(2)'s data. The working directory is the
 * destination afterwards. */
int mounts_new(
    const char *type, const char *data, int root, const char *destination, unsigned flags);

/* Makes what is mounted at this descriptor read-only; nothing below it is touched. */
int mounts_seal(int fd);

int mounts_make_dir(int root, const char *path, mode_t mode);
int mounts_write_file(int root, const char *path, struct str_view data);
int mounts_link(int root, const char *path, const char *target);

#endif
