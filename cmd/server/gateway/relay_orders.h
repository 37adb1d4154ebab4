/*
 * The relays an agent is asked to open, each once on a control stream. A relay the agent does not
 * open is given up by the operator's side in seconds: nothing here needs to be kept. Rows outlive
 * their delivery, for the server that the agent's relay reaches.
 */
#ifndef SERVER_GATEWAY_RELAY_ORDERS_H
#define SERVER_GATEWAY_RELAY_ORDERS_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/store/sandbox/relay.h"
#include "common/base/id.h"
#include "common/rpc/call.h"

struct relay_orders {            /* zeroed: none was sent */
    char (*sent)[ID_TEXT_BYTES]; /* a ring; NULL until the first */
    unsigned at;
};

void relay_orders_deinit(struct relay_orders *orders);

struct relay_road { /* the control stream */
    struct rpc_stream *stream;
    const struct principal *principal;
    int64_t number; /* as the store knows the stream */
};

/*
 * Sends those of waiting (struct relay_record) that were not sent yet, on the stream's thread.
 * *ret_full: the stream's queue is full before the last of them; call again when it is writable.
 */
enum err_code relay_orders_send(
    struct relay_orders *orders,
    const struct relay_road *road,
    const struct store_list *waiting,
    bool *ret_full,
    struct err_info *err) MUST_CHECK;

#endif
