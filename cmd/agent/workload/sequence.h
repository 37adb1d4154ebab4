/*
 * A number that rises, over restarts too: a block of numbers is written down before the first of it
 * is given away, so what a crash leaves unused is skipped and nothing comes twice.
 */
#ifndef CMD_AGENT_WORKLOAD_SEQUENCE_H
#define CMD_AGENT_WORKLOAD_SEQUENCE_H

#include "common/base/err.h"

#include <stdint.h>

struct sequence {
    char *path;
    uint64_t next;
    uint64_t end; /* of the block that was written down */
};

/* ERR_CORRUPT: the file holds no number; nothing is guessed. */
enum err_code sequence_open(struct sequence *sequence, const char *path, struct err_info *err)
    MUST_CHECK;
void sequence_deinit(struct sequence *sequence);
/* From 1. ERR: the disk does not take the next block, and no number is given. */
enum err_code sequence_next(struct sequence *sequence, uint64_t *ret_number, struct err_info *err)
    MUST_CHECK;

#endif
