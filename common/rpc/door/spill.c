#include "common/rpc/door/spill.h"

#include "common/base/mem.h"

#include <string.h>

void spill_clear(struct spill *spill)
{
    mem_free(spill->data);
    *spill = (struct spill){ 0 };
}

bool spill_append(struct spill *spill, const uint8_t *data, size_t bytes)
{
    uint8_t *grown = mem_try_realloc(spill->data, spill->len + bytes);
    if (grown == NULL) {
        return false;
    }
    memcpy(grown + spill->len, data, bytes);
    spill->data = grown;
    spill->len += bytes;
    return true;
}

void spill_advance(struct spill *spill, size_t bytes)
{
    spill->at += bytes;
    if (spill->at == spill->len) {
        spill_clear(spill);
    }
}
