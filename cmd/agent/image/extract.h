/*
 * Puts the files of a tar archive into a folder of ours, so that nothing in it can reach beyond:
 * names are resolved below the folder without a link on the way, what exists is never written into,
 * devices are left out, setuid bits and extended attributes are dropped.
 *
 * An image is read-only, shared by all sandboxes, and belongs to the agent on the disk; what shows
 * of it inside has no known owner. So the bits that are kept for everybody are those that the
 * sandbox's user (SANDBOX_UID) would have had by the archive's owner and group.
 */
#ifndef CMD_AGENT_IMAGE_EXTRACT_H
#define CMD_AGENT_IMAGE_EXTRACT_H

#include "cmd/agent/image/source.h"

enum {
    EXTRACT_ENTRIES_MAX = 1000000,
    EXTRACT_DEPTH_MAX = 128 /* folders in each other */
};

struct extract_sum {
    uint64_t entries;
    uint64_t bytes;   /* of files */
    uint64_t skipped; /* devices and the like */
};

/*
 * root_fd: the folder, empty. entries_max: of entries, and of folders that lie around them and have
 * no entry. ERR_CORRUPT, ERR_DENIED (what the archive tried), ERR_LIMIT, ERR_UNSUPPORTED. What was
 * made until then is left for the caller to erase.
 */
enum err_code extract_tar(
    struct source *source,
    int root_fd,
    uint64_t entries_max,
    struct extract_sum *ret_sum,
    struct err_info *err) MUST_CHECK;

#endif
