/* One record's checksum: what makes a flipped bit visible. Pure; any thread. */
#ifndef CMD_AGENT_SPOOL_RECORD_H
#define CMD_AGENT_SPOOL_RECORD_H

#include "common/base/time.h"

enum {
    RECORD_CHECKSUM_BYTES = 16
};

/* First half of BLAKE2b-256 over everything of a record but its place in the queue. */
void record_checksum(
    struct wall_us captured_at,
    unsigned format,
    unsigned compression,
    struct str_view payload,
    uint8_t out[RECORD_CHECKSUM_BYTES]);

bool record_is_intact(
    struct wall_us captured_at,
    unsigned format,
    unsigned compression,
    struct str_view payload,
    struct str_view checksum);

#endif
