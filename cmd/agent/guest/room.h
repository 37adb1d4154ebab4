/* Room for sandboxes, as amounts that are added up and compared. Pure. */
#ifndef CMD_AGENT_GUEST_ROOM_H
#define CMD_AGENT_GUEST_ROOM_H

#include "common/base/err.h"

#include <stdint.h>

struct room {
    uint64_t sandboxes;  /* at the same time, running or stopped */
    uint64_t cpu_millis; /* thousandths of a processor */
    uint64_t memory_bytes;
    uint64_t disk_bytes;
};

/* At most what 64 bits hold. */
void room_add(struct room *sum, const struct room *part);

/* At least nothing: an offer may have become smaller than what was given of it. */
void room_subtract(struct room *rest, const struct room *part);

/* ERR_LIMIT: something of it is not there; the text names the first, and how much is left. */
enum err_code room_check(const struct room *left, const struct room *wanted, struct err_info *err)
    MUST_CHECK;

#endif
