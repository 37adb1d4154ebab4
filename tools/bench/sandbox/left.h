/* What sandboxes have left behind on this machine, by what names their folder. */
#ifndef TOOLS_BENCH_SANDBOX_LEFT_H
#define TOOLS_BENCH_SANDBOX_LEFT_H

#include <stddef.h>

/* Processes, mounts, loop devices, control groups and sandboxes' folders; waits some seconds for
 * what the kernel lets go late. */
size_t left_of(const char *folder);
size_t left_descriptors(void); /* of this process */

#endif
