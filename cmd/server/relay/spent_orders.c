#include "cmd/server/relay/spent_orders.h"

#include <stdlib.h>
#include <string.h>

enum {
    MARGIN_US = 2000000 /* the clocks of two servers, and the time of a transaction */
};

void spent_orders_add(struct spent_orders *orders, const struct spent_order *order)
{
    if (orders->count < SPENT_ORDERS_MAX) {
        orders->entries[orders->count++] = *order;
        return;
    }
    orders->entries[orders->at] = *order;
    orders->at = (orders->at + 1) % SPENT_ORDERS_MAX;
}

static int compare(const void *a, const void *b)
{
    const struct spent_order *left = a;
    const struct spent_order *right = b;
    return strcmp(left->id, right->id);
}

size_t spent_orders_take(
    struct spent_orders *orders,
    int64_t workspace_id,
    struct mono_us now,
    struct spent_order ret_taken[SPENT_ORDERS_OF_A_TURN])
{
    size_t taken = 0;
    size_t kept = 0;
    for (size_t i = 0; i < orders->count; i++) {
        const struct spent_order *order = &orders->entries[i];
        if (order->until.value - MARGIN_US <= now.value) {
            continue;
        }
        if (order->workspace_id == workspace_id && taken < SPENT_ORDERS_OF_A_TURN) {
            ret_taken[taken++] = *order;
        } else {
            orders->entries[kept++] = *order;
        }
    }
    orders->count = kept;
    orders->at = 0;
    qsort(ret_taken, taken, sizeof(*ret_taken), compare);
    return taken;
}
