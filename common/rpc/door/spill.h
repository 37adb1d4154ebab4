/*
 * Bytes of a connection that one side did not take yet. Bounded by what its reader reads at once,
 * since nothing more is read while bytes wait; no memory while empty. A zeroed struct is empty.
 */
#ifndef COMMON_RPC_DOOR_SPILL_H
#define COMMON_RPC_DOOR_SPILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spill {
    uint8_t *data;
    size_t at;
    size_t len;
};

static inline size_t spill_len(const struct spill *spill)
{
    return spill->len - spill->at;
}

static inline const uint8_t *spill_data(const struct spill *spill)
{
    return spill->data + spill->at;
}

void spill_clear(struct spill *spill);
bool spill_append(struct spill *spill, const uint8_t *data, size_t bytes); /* false: no memory */
void spill_advance(struct spill *spill, size_t bytes); /* the first bytes were taken */

#endif
