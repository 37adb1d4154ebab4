/*
 * The ground of a sandbox: its root as far as it is the same for every one with the host's tools,
 * in a mount namespace of its own. Each sandbox can build it for itself; made ahead once, it is
 * copied by one call in place of some hundred.
 *
 * Nothing runs in a ground, and nothing in it can be written: its file systems are read-only as a
 * whole, beneath mounts that are. What one sandbox has alone is mounted onto its copy.
 */
#ifndef SHIM_BUILDER_GROUND_H
#define SHIM_BUILDER_GROUND_H

#include "cmd/shim/builder/builder.h"

/* Folders to mount on, in build->dir_fd. */
enum err_code ground_make_points(const struct build *build, struct err_info *err) MUST_CHECK;

/* In a mount namespace of the caller's own: mounts it below build->dir, with the programs of
 * build->spec. Its root as a path, or -1 with errno. */
int ground_make(const struct build *build);

/* That becomes the root, and the host's is gone. */
int ground_enter(int root);

/* The program "belay-ground": makes one with the host's tools on folders in `dir`, hands it to the
 * agent as a descriptor and ends. It lives as long as somebody holds that. */
int ground_main(const char *dir, int agent);

#endif
