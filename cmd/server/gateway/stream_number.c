#include "cmd/server/gateway/stream_number.h"

#include "common/base/id.h"

/* Counted ones are negative: 31 bits of count, then 32 by chance, since an agent's word is no proof
 * of uniqueness. The others are positive, as those that older servers gave. */
enum {
    COUNT_SHIFT = 32,
    COUNT_MAX = INT32_MAX
};

int64_t stream_number_make(uint32_t count)
{
    uint64_t chance = id_random_below((uint64_t)1 << COUNT_SHIFT);
    if (count == 0 || count > COUNT_MAX) {
        return 1 + (int64_t)id_random_below(INT64_MAX);
    }
    return INT64_MIN + (int64_t)((uint64_t)count << COUNT_SHIFT | chance);
}

bool stream_number_is_older(int64_t number, int64_t newest)
{
    const int64_t one = (int64_t)1 << COUNT_SHIFT;
    return number < 0 && newest < 0 && (number - INT64_MIN) / one < (newest - INT64_MIN) / one;
}
