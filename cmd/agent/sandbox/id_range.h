/*
 * The host's user ids that one agent gives its sandboxes, SANDBOX_UID_COUNT to each. While it runs
 * no other agent of the machine has them, be it one of another workspace or a sandbox that was
 * started by hand: it holds a lock on as many bytes of one file, ID_RANGE_FILE, as there are ids.
 * The kernel finds what overlaps, and frees the range with the process, however that ends. What
 * runs on without its agent says itself which ids it uses (common/sandbox/id_use.h); agents that
 * choose pass those over, and the agent they are of comes back to them by its note.
 */
#ifndef CMD_AGENT_SANDBOX_ID_RANGE_H
#define CMD_AGENT_SANDBOX_ID_RANGE_H

#include "common/base/err.h"

#include <stdint.h>

#define ID_RANGE_FILE "/run/belay-sandbox-ids"

struct id_range {
    uint64_t base;
    uint64_t count;
    int fd; /* of the lock; -1: there is none */
};

/*
 * Takes `count` ids from `wanted` on. Where that is 0, those of the last time, which are noted in
 * dir/uid-base, or, if another has them by now, the first that are free from SANDBOX_UID_BASE on in
 * steps of SANDBOX_UID_COUNT. Who may give no sandbox other ids than its own, having no root, takes
 * none, and is told the base that it asked for. ERR_INVALID: they would end above 4294967294.
 * ERR_BUSY: another has some of those wanted. ERR_LIMIT: there is no room for so many.
 */
enum err_code id_range_claim(
    const char *dir,
    uint64_t wanted,
    uint64_t count,
    struct id_range *ret_range,
    struct err_info *err) MUST_CHECK;

void id_range_release(struct id_range *range); /* nothing where there is no lock */

#endif
