#include "cmd/server/gateway/relay_orders.h"

#include "cmd/server/core/work.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>

enum {
    REMEMBERED = RELAY_WAITING_MAX, /* as many as one look can find */
    ARENA_BYTES = 4 * 1024 * 1024,  /* one order: read, and unpacked */
};

void relay_orders_deinit(struct relay_orders *orders)
{
    mem_free(orders->sent);
    *orders = (struct relay_orders){ 0 };
}

static bool was_sent(const struct relay_orders *orders, const char *id)
{
    for (size_t i = 0; orders->sent != NULL && i < REMEMBERED; i++) {
        if (str_equal(str_of(orders->sent[i]), str_of(id))) {
            return true;
        }
    }
    return false;
}

static void remember(struct relay_orders *orders, const char *id)
{
    if (orders->sent == NULL) {
        orders->sent = mem_alloc_array(REMEMBERED, ID_TEXT_BYTES);
    }
    char *slot = orders->sent[orders->at++ % REMEMBERED];
    (void)snprintf(slot, ID_TEXT_BYTES, "%s", id);
}

struct search {
    const struct relay_road *road;
    struct relay_record *record;
};

static enum err_code find(struct work *work, void *context, struct err_info *err)
{
    const struct search *search = context;
    const struct principal *principal = search->road->principal;
    const struct relay_filter filter = { .agent_id = principal->agent_id,
                                         .now = work->now,
                                         .id = str_of(search->record->id) };
    return store_relay_get(
        work->conn, principal->workspace_id, &filter, work->arena, search->record, err);
}

/* What is wrong with an order is wrong with it alone: nothing is sent. */
static enum err_code send_packed(
    const struct relay_road *road,
    const struct relay_record *record,
    struct arena *arena,
    bool *ret_full,
    struct err_info *err)
{
    const struct service *service = rpc_call_service(rpc_stream_call(road->stream));
    ProtobufCMessage *order = NULL;
    Agentgateway__V1__ControlStreamResponse *response =
        wire_new(arena, &agentgateway__v1__control_stream_response__descriptor);
    enum err_code code = wire_unpack_lenient(
        service->schema,
        &agentgateway__v1__control_relay_open__descriptor,
        record->packed.ptr,
        record->packed.len,
        arena,
        &order,
        NULL);
    if (response == NULL || code == ERR_NOMEM) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    if (code != ERR_OK) {
        return ERR_OK;
    }
    response->message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_RELAY_OPEN;
    response->relay_open = (Agentgateway__V1__ControlRelayOpen *)order;
    *ret_full = rpc_stream_send(road->stream, &response->base) != ERR_OK;
    return ERR_OK;
}

/* Large orders are fetched one by one, into memory of their own: so many of them neither fill the
 * turn's nor hold up its commands. */
static enum err_code send_one(
    const struct relay_road *road,
    const struct relay_record *waiting,
    bool *ret_full,
    struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    struct relay_record record = *waiting;
    struct search search = { road, &record };
    if (record.packed.len == 0) {
        enum err_code code = work_read(
            rpc_call_worker(rpc_stream_call(road->stream)),
            arena,
            road->principal->workspace_id,
            find,
            &search,
            err);
        if (code != ERR_OK) {
            return code == ERR_NOT_FOUND ? ERR_OK : code; /* its time is over */
        }
    }
    return send_packed(road, &record, arena, ret_full, err);
}

struct marks {
    const struct relay_road *road;
    const struct store_list *relays;
};

static enum err_code mark(struct work *work, void *context, struct err_info *err)
{
    const struct marks *marks = context;
    const struct principal *principal = marks->road->principal;
    const struct relay_record *relays = marks->relays->records;
    struct relay_filter sent = { .agent_id = principal->agent_id, .stream = marks->road->number };
    for (size_t i = 0; i < marks->relays->count; i++) {
        sent.id = str_of(relays[i].id);
        TRY(store_relay_sent(work->conn, principal->workspace_id, &sent, err));
    }
    return ERR_OK;
}

/* Noting each would cost every exec a write: it is done when there are so many that others wait
 * behind them. */
static enum err_code mark_if_many(
    const struct relay_road *road, const struct store_list *relays, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    struct marks marks = { road, relays };
    return relays->count < RELAY_WAITING_MAX ? ERR_OK
                                             : work_run(
                                                 rpc_call_worker(rpc_stream_call(road->stream)),
                                                 arena,
                                                 road->principal->workspace_id,
                                                 mark,
                                                 &marks,
                                                 err);
}

enum err_code relay_orders_send(
    struct relay_orders *orders,
    const struct relay_road *road,
    const struct store_list *waiting,
    bool *ret_full,
    struct err_info *err)
{
    const struct relay_record *relays = waiting->records;
    *ret_full = false;
    for (size_t i = 0; i < waiting->count; i++) {
        if (was_sent(orders, relays[i].id)) {
            continue;
        }
        TRY(send_one(road, &relays[i], ret_full, err));
        if (*ret_full) {
            return ERR_OK;
        }
        remember(orders, relays[i].id);
    }
    return mark_if_many(road, waiting, err);
}
