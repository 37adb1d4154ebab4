/*
 * A number that rises, over restarts too: a block of numbers is written down before the first of it
 * is given away, so what a crash leaves unused is skipped and nothing comes twice.
 *
 * What it promises is that no number comes a second time and none is below one that was given: the
 * server takes a report that is not above the last one for old news, for ever. Where the file is
 * damaged the numbers go on from the wall clock in microseconds, which is above all that can have
 * been given since 1970, one a microsecond.
 */
#ifndef CMD_AGENT_WORKLOAD_SEQUENCE_H
#define CMD_AGENT_WORKLOAD_SEQUENCE_H

#include "common/base/err.h"
#include "common/base/time.h"

#include <stdint.h>

struct sequence {
    char *path;
    uint64_t next;
    uint64_t end;  /* of the block that was written down */
    uint64_t last; /* given since the opening; 0: none */
};

/* ERR_CORRUPT: the file holds no number; nothing is guessed. */
enum err_code sequence_open(struct sequence *sequence, const char *path, struct err_info *err)
    MUST_CHECK;
/* Instead of that, where the file is damaged or was lost. */
void sequence_open_anew(struct sequence *sequence, const char *path, struct wall_us now);
void sequence_deinit(struct sequence *sequence);
/* From 1. ERR: the disk does not take the next block, and no number is given. */
enum err_code sequence_next(struct sequence *sequence, uint64_t *ret_number, struct err_info *err)
    MUST_CHECK;

#endif
