#include "cmd/server/relay/relay.h"

#include "cmd/server/auth/gate.h"
#include "cmd/server/core/outbox.h"
#include "cmd/server/domain/phase.h"
#include "cmd/server/relay/spent_orders.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/sandbox/relay.h"
#include "cmd/server/store/sandbox/sandbox.h"
#include "common/base/id.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "common/crypto/command_signature.h"
#include "common/sys/lock.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include <stdio.h>

enum {
    HASH_BYTES = 32,
    ARENA_BYTES = 16 * 1024,
    AGENT_BYTES = 1024 * 1024, /* a record with all that the agent says of itself */
    PACKED_BYTES = 1024 * 1024,
    ROOM_LEAST = 512 /* of a piece of a stream, so that small ones share a node */
};

struct node { /* one queued frame, its bytes and a NUL behind it */
    struct list link;
    struct relay_frame frame;
    size_t room; /* bytes there is space for */
};

/* What it holds is counted as memory, not as the bytes carried: a peer chooses how small they are.
 */
struct queue {
    struct list nodes;
    size_t held;
    bool is_full; /* its writer was told to pause */

    enum {
        LENT_NOTHING,
        LENT_NODE, /* the first: it stays as it is */
        LENT_SIZE
    } lent;
    struct relay_frame size; /* of the terminal: only the newest counts, and it goes first */
    bool has_size;
    bool is_size_newer; /* than the one that was lent */
};

struct relay {
    struct relays *relays;
    char id[ID_TEXT_BYTES];
    char sandbox_id[ID_TEXT_BYTES];
    int64_t workspace_id;
    int64_t agent_id;
    bool is_forward;
    uint8_t token_hash[HASH_BYTES];
    struct mono_us open_before;
    struct relay_end ends[2]; /* by side; wake is NULL: has not come */
    bool has_left[2];
    struct queue queues[2]; /* for the side */
};

struct relays {
    struct lock lock; /* of the registry and of every relay: what runs under it is short */
    struct map *by_id;
    struct spent_orders spent;
};

struct relays *relays_create(void)
{
    struct relays *relays = mem_alloc(sizeof(*relays));
    lock_init(&relays->lock, LOCK_RANK_REGISTRY);
    relays->by_id = map_create();
    return relays;
}

void relays_destroy(struct relays *relays)
{
    if (relays == NULL) {
        return;
    }
    map_destroy(relays->by_id, NULL);
    lock_deinit(&relays->lock);
    mem_free(relays);
}

static void empty_queue(struct queue *queue)
{
    while (!list_is_empty(&queue->nodes)) {
        struct node *node = LIST_ENTRY(queue->nodes.next, struct node, link);
        list_remove(&node->link);
        mem_free(node);
    }
}

static void free_relay(struct relay *relay)
{
    for (int side = 0; side < 2; side++) {
        empty_queue(&relay->queues[side]);
        if (relay->ends[side].wake != NULL) {
            relay->ends[side].release(relay->ends[side].context);
        }
    }
    mem_free(relay);
}

static void wake_stream(void *context)
{
    rpc_stream_wake(context);
}

static void release_stream(void *context)
{
    rpc_stream_unref(context);
}

static struct relay_end end_of(struct rpc_stream *stream)
{
    return (struct relay_end){ wake_stream, release_stream, rpc_stream_ref(stream) };
}

/* Lock held. */
static void wake(struct relay *relay, enum relay_side side)
{
    if (relay->ends[side].wake != NULL && !relay->has_left[side]) {
        relay->ends[side].wake(relay->ends[side].context);
    }
}

static struct relay_connection connection_of(const struct relay *relay, struct wall_us now)
{
    return (struct relay_connection){ .sandbox_id = relay->sandbox_id,
                                      .relay_id = relay->id,
                                      .token_hash = relay->token_hash,
                                      .until = { now.value + RELAY_RENEW_US } };
}

/* A forward is one of few, counted over all servers. */
static enum err_code count_connection(struct work *work, struct relay *relay, struct err_info *err)
{
    struct relay_connection_counts counts;
    const struct relay_connection own = connection_of(relay, work->now);
    TRY(store_relay_connections(work->conn, relay->workspace_id, &own, work->now, &counts, err));
    if (counts.with_token >= RELAY_PER_TOKEN) {
        return ERR_SET(err, ERR_LIMIT, "at most %d connections with one token", RELAY_PER_TOKEN);
    }
    if (counts.to_sandbox >= RELAY_PER_SANDBOX) {
        return ERR_SET(err, ERR_LIMIT, "at most %d connections to one sandbox", RELAY_PER_SANDBOX);
    }
    return store_relay_connection_put(work->conn, relay->workspace_id, &own, err);
}

struct opening {
    struct relay *relay;
    const struct relay_wish *wish;
    const struct principal *principal;
    const struct rpc_call *call;
    struct spent_order spent[SPENT_ORDERS_OF_A_TURN];
    size_t spent_count;
};

/* Into the registry; what is over makes room. */
static void enter(struct opening *opening)
{
    struct relay *relay = opening->relay;
    const struct service *service = rpc_call_service(opening->call);
    LOCK_GUARD(&relay->relays->lock);
    (void)map_put(relay->relays->by_id, str_of(relay->id), relay);
    opening->spent_count = spent_orders_take(
        &relay->relays->spent, relay->workspace_id, clock_mono(service->clock), opening->spent);
}

static enum err_code remove_spent(
    struct work *work, const struct opening *opening, struct err_info *err)
{
    for (size_t i = 0; i < opening->spent_count; i++) {
        const struct spent_order *spent = &opening->spent[i];
        const struct relay_filter filter = { .agent_id = spent->agent_id, .id = str_of(spent->id) };
        TRY(store_relay_remove(work->conn, spent->workspace_id, &filter, err));
    }
    return ERR_OK;
}

/* Signs as a command is signed: the relay's id, sequence and issue 0, and as payload the order with
 * nothing in it but the sandbox and the target. */
static enum err_code sign(
    struct work *work,
    const struct opening *opening,
    const struct sandbox_record *record,
    struct err_info *err)
{
    Agentgateway__V1__ControlRelayOpen *order = opening->wish->target;
    uint8_t *signature = arena_alloc(work->arena, KEY_SIGNATURE_BYTES);
    AUTO_BUF struct buf payload = BUF_INIT(PACKED_BYTES);
    order->relay_id = CONST_CAST(char *, "");
    order->sandbox_id = CONST_CAST(char *, record->id);
    order->actor = CONST_CAST(char *, "");
    order->expires_at = NULL;
    order->signature.len = 0;
    wire_pack(&order->base, &payload);
    if (signature == NULL || !buf_ok(&payload)) {
        return ERR_SET(err, ERR_LIMIT, "the request is too large");
    }
    const struct wall_us expires_at = { work->now.value + RELAY_OPEN_US };
    const struct command_signature_fields fields = {
        .server_id = str_of(work->service->server_id),
        .agent_id = record->agent_id,
        .command_id = str_of(opening->relay->id),
        .actor = str_of(opening->principal->subject),
        .expires_at = expires_at,
        .payload = buf_view(&payload),
    };
    TRY(outbox_sign(work->service, &fields, signature, err));
    order->relay_id = opening->relay->id;
    order->actor = CONST_CAST(char *, opening->principal->subject);
    order->expires_at = wire_timestamp_new(work->arena, expires_at);
    order->signature = (ProtobufCBinaryData){ KEY_SIGNATURE_BYTES, signature };
    return order->expires_at == NULL ? ERR_SET(err, ERR_LIMIT, "the request is too large") : ERR_OK;
}

static enum err_code audit(
    struct work *work,
    const struct opening *opening,
    const struct sandbox_record *record,
    struct err_info *err)
{
    char target[80];
    (void)snprintf(target, sizeof(target), "sandbox/%s", record->id);
    const struct audit_entry entry = {
        .workspace_id = record->workspace_id,
        .actor = opening->principal->subject,
        .action = rpc_call_method(opening->call)->path + 1,
        .target = target,
        .decision = "allowed",
        .reason = opening->relay->id,
        .request_id = rpc_call_id(opening->call),
        .source = opening->principal->source,
    };
    return work_audit(work, &entry, err);
}

static enum err_code store_order(struct work *work, void *context, struct err_info *err)
{
    const struct opening *opening = context;
    struct relay *relay = opening->relay;
    struct sandbox_record record;
    enum phase phase = PHASE_GONE;
    int64_t workspace_id = opening->wish->workspace_id;
    AUTO_BUF struct buf packed = BUF_INIT(PACKED_BYTES);
    TRY(store_sandbox_get(
        work->conn, workspace_id, str_of(opening->wish->sandbox_id), work->arena, &record, err));
    TRY(phase_after_order((enum phase)record.phase, PHASE_ORDER_EXEC, &phase, err));
    relay->agent_id = record.agent_id;
    if (relay->is_forward) {
        TRY(count_connection(work, relay, err));
    }
    TRY(sign(work, opening, &record, err));
    wire_pack(&opening->wish->target->base, &packed);
    if (!buf_ok(&packed)) {
        return ERR_SET(err, ERR_LIMIT, "the request is too large");
    }
    const struct relay_record row = {
        .id = relay->id,
        .packed = buf_view(&packed),
        .expires_at = work->now.value + RELAY_OPEN_US,
        .owner = work->service->replica_address,
    };
    TRY(remove_spent(work, opening, err));
    TRY(store_relay_add(work->conn, workspace_id, record.agent_id, &row, err));
    work_wake(work, HUB_OUTBOX, record.agent_id);
    return audit(work, opening, &record, err);
}

static struct relay *new_relay(struct relays *relays)
{
    struct relay *relay = mem_alloc(sizeof(*relay));
    relay->relays = relays;
    list_init(&relay->queues[RELAY_OPERATOR].nodes);
    list_init(&relay->queues[RELAY_AGENT].nodes);
    return relay;
}

static struct relay *new_wished(
    struct relays *relays, struct rpc_stream *stream, const struct relay_wish *wish)
{
    struct service *service = rpc_call_service(rpc_stream_call(stream));
    struct relay *relay = new_relay(relays);
    (void)id_create("rly", clock_wall(service->clock), relay->id);
    relay->is_forward = wish->token_hash != NULL;
    if (relay->is_forward) {
        memcpy(relay->token_hash, wish->token_hash, HASH_BYTES);
    }
    relay->open_before = (struct mono_us){ clock_mono(service->clock).value + RELAY_OPEN_US };
    relay->ends[RELAY_OPERATOR] = end_of(stream);
    return relay;
}

struct relay *relay_create_linked(
    struct relays *relays, struct rpc_stream *agent, const struct relay_end *operator_end)
{
    struct relay *relay = new_relay(relays);
    relay->ends[RELAY_OPERATOR] = *operator_end;
    relay->ends[RELAY_AGENT] = end_of(agent);
    return relay;
}

enum err_code relay_open(
    struct relays *relays,
    struct rpc_stream *stream,
    const struct relay_wish *wish,
    struct arena *arena,
    struct relay **ret_relay,
    struct err_info *err)
{
    struct rpc_call *call = rpc_stream_call(stream);
    struct relay *relay = new_wished(relays, stream, wish);
    struct opening opening = {
        .relay = relay, .wish = wish, .principal = principal_of(call), .call = call
    };
    enum err_code code =
        str_copy(str_of(wish->sandbox_id), relay->sandbox_id, sizeof(relay->sandbox_id));
    if (code != ERR_OK) {
        free_relay(relay);
        return ERR_SET(err, ERR_NOT_FOUND, "sandbox not found");
    }
    relay->workspace_id = wish->workspace_id;
    enter(&opening);
    /* In the registry before the row is seen: the agent may be quicker than the commit's answer. */
    code = work_run(rpc_call_worker(call), arena, wish->workspace_id, store_order, &opening, err);
    if (code != ERR_OK) {
        relay_leave(
            relay, RELAY_OPERATOR); /* a lost commit may have brought the agent: it leaves too */
        return code;
    }
    *ret_relay = relay;
    return ERR_OK;
}

/* Its session's end is none of the agent's right: it may have renewed it. */
static enum err_code check_agent(struct work *work, void *context, struct err_info *err)
{
    const struct relay *relay = context;
    struct agent_record agent;
    enum err_code code =
        store_agent_get(work->conn, relay->workspace_id, relay->agent_id, work->arena, &agent, err);
    bool is_out = code == ERR_NOT_FOUND || (code == ERR_OK && agent.state != AGENT_CONFIRMED);
    return is_out ? ERR_SET(err, ERR_DENIED, "the sandbox's agent was evicted or revoked") : code;
}

static enum err_code renew(struct work *work, void *context, struct err_info *err)
{
    const struct relay *relay = context;
    const struct relay_connection own = connection_of(relay, work->now);
    const struct sandbox_forward_filter filter = { relay->token_hash, work->now };
    struct sandbox_forward_record token;
    enum err_code code = store_sandbox_forward_find(
        work->conn, relay->workspace_id, &filter, work->arena, &token, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_DENIED, "the forward's token was revoked, or its time is over");
    }
    TRY(code);
    return store_relay_connection_put(work->conn, relay->workspace_id, &own, err);
}

static enum err_code forget(struct work *work, void *context, struct err_info *err)
{
    const struct relay *relay = context;
    const struct relay_connection own = connection_of(relay, work->now);
    return store_relay_connection_remove(work->conn, relay->workspace_id, &own, err);
}

static enum err_code count_forward(
    struct relay *relay, struct worker *worker, work_fn fn, struct err_info *err)
{
    if (!relay->is_forward) {
        return ERR_OK;
    }
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    enum err_code code = work_run(worker, arena, relay->workspace_id, fn, relay, err);
    if (code != ERR_OK && code != ERR_DENIED) {
        log_debug("connection_not_counted", LOG_STR("relay", relay->id), LOG_ERR(err));
        return ERR_OK;
    }
    return code;
}

enum err_code relay_renew(struct relay *relay, struct worker *worker, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(AGENT_BYTES);
    enum err_code code = work_lookup(worker, arena, relay->workspace_id, check_agent, relay, err);
    if (code != ERR_OK && code != ERR_DENIED) {
        log_debug("agent_not_looked_up", LOG_STR("relay", relay->id), LOG_ERR(err));
    }
    return code == ERR_DENIED ? code : count_forward(relay, worker, renew, err);
}

void relay_forget(struct relay *relay, struct worker *worker)
{
    struct err_info err = ERR_INFO_INIT;
    (void)count_forward(relay, worker, forget, &err);
}

enum err_code relay_join(
    struct relays *relays,
    struct str_view id,
    int64_t agent_id,
    struct rpc_stream *stream,
    struct relay **ret_relay,
    struct err_info *err)
{
    const struct service *service = rpc_call_service(rpc_stream_call(stream));
    LOCK_GUARD(&relays->lock);
    struct relay *relay = map_find(relays->by_id, id);
    bool is_late = relay != NULL && clock_mono(service->clock).value > relay->open_before.value;
    if (relay == NULL || relay->agent_id != agent_id || is_late
        || relay->has_left[RELAY_OPERATOR]) {
        return ERR_SET(err, ERR_NOT_FOUND, "no such relay, or its time is over");
    }
    if (relay->ends[RELAY_AGENT].wake != NULL) {
        return ERR_SET(err, ERR_CONFLICT, "the relay is open already");
    }
    relay->ends[RELAY_AGENT] = end_of(stream);
    wake(relay, RELAY_OPERATOR);
    wake(relay, RELAY_AGENT);
    *ret_relay = relay;
    return ERR_OK;
}

static enum relay_side other(enum relay_side side)
{
    return side == RELAY_OPERATOR ? RELAY_AGENT : RELAY_OPERATOR;
}

static bool is_stream(const struct relay_frame *frame)
{
    return frame->kind == RELAY_DATA || frame->kind == RELAY_ERRORS;
}

static size_t held_by(const struct node *node)
{
    return sizeof(*node) + node->room + 1;
}

static char *bytes_of(struct node *node)
{
    return (char *)(node + 1);
}

static void append_bytes(struct node *node, struct str_view bytes)
{
    if (bytes.len > 0) {
        memcpy(bytes_of(node) + node->frame.bytes.len, bytes.ptr, bytes.len);
    }
    node->frame.bytes.len += bytes.len;
    bytes_of(node)[node->frame.bytes.len] = '\0';
}

static struct node *new_node(const struct relay_frame *frame)
{
    size_t room = frame->bytes.len;
    if (is_stream(frame) && room < ROOM_LEAST) {
        room = ROOM_LEAST;
    }
    struct node *node = mem_alloc(sizeof(*node) + room + 1);
    node->frame = *frame;
    node->frame.bytes = str_from(bytes_of(node), 0);
    node->room = room;
    append_bytes(node, frame->bytes);
    return node;
}

/* Lock held. Takes what needs no node of its own: a size, and what the last node has room for. */
static bool take_small(struct queue *queue, const struct relay_frame *frame)
{
    if (frame->kind == RELAY_RESIZE) {
        queue->size = *frame;
        queue->has_size = true;
        queue->is_size_newer = true;
        return true;
    }
    if (!is_stream(frame) || list_is_empty(&queue->nodes)) {
        return false;
    }
    struct node *last = LIST_ENTRY(queue->nodes.prev, struct node, link);
    bool is_lent = queue->lent == LENT_NODE && queue->nodes.next == &last->link;
    if (is_lent || last->frame.kind != frame->kind
        || frame->bytes.len > last->room - last->frame.bytes.len) {
        return false;
    }
    append_bytes(last, frame->bytes);
    return true;
}

bool relay_put(struct relay *relay, enum relay_side side, const struct relay_frame *frame)
{
    struct queue *queue = &relay->queues[other(side)];
    bool is_small = frame->bytes.len < ROOM_LEAST;
    struct node *node = is_small ? NULL : new_node(frame);
    LOCK_GUARD(&relay->relays->lock);
    if (is_stream(frame) && frame->bytes.len == 0) {
        return !queue->is_full;
    }
    if (!is_small || !take_small(queue, frame)) {
        node = is_small ? new_node(frame) : node;
        list_append(&queue->nodes, &node->link);
        queue->held += held_by(node);
    }
    /* Full until it was told to have room: its writer, who pauses, is woken by that alone. */
    queue->is_full = queue->is_full || queue->held >= RELAY_QUEUE_BYTES;
    wake(relay, other(side));
    return !queue->is_full;
}

bool relay_may_read(struct relay *relay, enum relay_side side)
{
    LOCK_GUARD(&relay->relays->lock);
    return !relay->queues[other(side)].is_full;
}

bool relay_peek(struct relay *relay, enum relay_side side, struct relay_frame *ret_frame)
{
    LOCK_GUARD(&relay->relays->lock);
    struct queue *queue = &relay->queues[side];
    queue->lent = LENT_NOTHING;
    if (queue->has_size) {
        queue->lent = LENT_SIZE;
        queue->is_size_newer = false;
        *ret_frame = queue->size;
    } else if (!list_is_empty(&queue->nodes)) {
        queue->lent = LENT_NODE;
        *ret_frame = LIST_ENTRY(queue->nodes.next, struct node, link)->frame;
    }
    return queue->lent != LENT_NOTHING;
}

void relay_drop(struct relay *relay, enum relay_side side)
{
    struct node *node = NULL;
    {
        LOCK_GUARD(&relay->relays->lock);
        struct queue *queue = &relay->queues[side];
        if (queue->lent == LENT_SIZE) {
            queue->has_size = queue->is_size_newer;
        } else if (queue->lent == LENT_NODE) {
            node = LIST_ENTRY(queue->nodes.next, struct node, link);
            list_remove(&node->link);
            queue->held -= held_by(node);
        }
        queue->lent = LENT_NOTHING;
        bool has_room = queue->is_full && queue->held < RELAY_QUEUE_BYTES / 2;
        if (has_room) {
            queue->is_full = false;
            wake(relay, other(side));
        }
    }

    mem_free(node);
}

bool relay_is_joined(struct relay *relay)
{
    LOCK_GUARD(&relay->relays->lock);
    return relay->ends[RELAY_AGENT].wake != NULL;
}

bool relay_is_left(struct relay *relay, enum relay_side side)
{
    LOCK_GUARD(&relay->relays->lock);
    return relay->has_left[side];
}

/* Lock held. One that is linked has no order here, one that was refused has none at all. */
static void note_spent(struct relay *relay)
{
    struct spent_order spent = { .workspace_id = relay->workspace_id,
                                 .agent_id = relay->agent_id,
                                 .until = relay->open_before };
    if (relay->agent_id != 0) {
        memcpy(spent.id, relay->id, sizeof(spent.id));
        spent_orders_add(&relay->relays->spent, &spent);
    }
}

void relay_leave(struct relay *relay, enum relay_side side)
{
    struct relays *relays = relay->relays;
    bool is_over = false;
    {
        LOCK_GUARD(&relays->lock);
        relay->has_left[side] = true;
        /* An agent that never came has nothing to leave. */
        is_over = relay->has_left[RELAY_OPERATOR]
            && (relay->has_left[RELAY_AGENT] || relay->ends[RELAY_AGENT].wake == NULL);
        if (is_over) {
            (void)map_remove(relays->by_id, str_of(relay->id));
            note_spent(relay);
        } else {
            wake(relay, other(side));
        }
    }
    if (is_over) {
        free_relay(relay);
    }
}
