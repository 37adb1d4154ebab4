/*
 * Orders of relays that are over. Their rows go with the next transaction that opens a relay of the
 * same workspace, which costs no commit of its own; what is not taken in time expires as every
 * order does. Without the rows whoever looks for orders that wait would read them again each time.
 * Not thread-safe: under the lock of whoever has it.
 */
#ifndef SERVER_RELAY_SPENT_ORDERS_H
#define SERVER_RELAY_SPENT_ORDERS_H

#include "common/base/id.h"
#include "common/base/time.h"

#include <stddef.h>

enum {
    SPENT_ORDERS_MAX = 256,     /* the oldest is forgotten for the newest */
    SPENT_ORDERS_OF_A_TURN = 16 /* at most so many are taken at once */
};

struct spent_order {
    char id[ID_TEXT_BYTES];
    int64_t workspace_id;
    int64_t agent_id;
    struct mono_us until; /* it expires by itself then */
};

struct spent_orders {
    struct spent_order entries[SPENT_ORDERS_MAX];
    size_t count;
    size_t at; /* the next to be overwritten */
};

void spent_orders_add(struct spent_orders *orders, const struct spent_order *order);

/* Takes what is of the workspace and does not expire about now anyway: whoever expires rows is not
 * met. By id, as everybody who changes rows of several does. Returns how many. */
size_t spent_orders_take(
    struct spent_orders *orders,
    int64_t workspace_id,
    struct mono_us now,
    struct spent_order ret_taken[SPENT_ORDERS_OF_A_TURN]);

#endif
