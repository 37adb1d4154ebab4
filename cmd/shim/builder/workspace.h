/*
 * The writable folder of a sandbox, seen inside as /sandbox. With a cap it is an ext4 image on a
 * loop device that goes with the last mount of it; without one a folder of the host.
 */
#ifndef SHIM_BUILDER_WORKSPACE_H
#define SHIM_BUILDER_WORKSPACE_H

#include "common/base/err.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * Makes what is not there yet, in the sandbox's folder (dir, open): the image of disk_bytes, or the
 * folder when that is 0, owned by uid; an image becomes uid's when it is first mounted. One that
 * exists keeps its content and size.
 */
enum err_code workspace_prepare(int dir, uint64_t disk_bytes, uid_t uid, struct err_info *err)
    MUST_CHECK;

/* What workspace_prepare made, as a mount that is nowhere yet: its descriptor, or -1 with errno. */
int workspace_mount(int dir, uint64_t disk_bytes, uid_t uid);

/*
 * A loop device on the file, gone with its last user, read-only if asked: the open device, with its
 * path in ret_path. -1 and errno.
 */
int workspace_loop(int file, int read_only, char ret_path[32]);

uint64_t workspace_bytes(int dir); /* blocks in use on the host */

#endif
