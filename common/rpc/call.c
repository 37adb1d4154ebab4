#include "common/rpc/call.h"

#include "common/base/log.h"
#include "common/rpc/rpc_private.h"

#include <grpc/slice.h>
#include <grpc/support/alloc.h>

#include <stdio.h>

/* A peer sees at most this many bytes of an error; cut at a character's start. */
static char *dup_text(const char *text)
{
    size_t length = strnlen(text, RPC_TEXT_MAX + 1);
    if (length > RPC_TEXT_MAX) {
        length = RPC_TEXT_MAX;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) {
            length--;
        }
    }
    char *copy = mem_alloc(length + 1);
    memcpy(copy, text, length);
    return copy;
}

static struct str_view view_of(const grpc_slice *slice)
{
    return str_from((const char *)GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

void rpc_call_ref(struct rpc_call *call)
{
    atomic_fetch_add(&call->refs, 1);
}

static void count_down(struct rpc_server *server)
{
    if (atomic_fetch_sub(&server->live, 1) == 1) {
        LOCK_GUARD(&server->live_lock);
        lock_cond_broadcast(&server->live_changed);
    }
}

static void release_trailers(struct rpc_call *call)
{
    for (unsigned i = 0; i < call->trailer_count; i++) {
        mem_free(call->trailers[i].name);
        grpc_slice_unref(call->trailers[i].value);
    }
    mem_free(call->trailers);
}

/* What failed on this side is nobody's fault but ours. */
static void count_refusal(const struct rpc_call *call)
{
    struct rpc_peer_state *state = rpc_peer_state(call->peer);
    enum rpc_status status = call->status;
    if (status == RPC_OK) {
        atomic_store(&state->refusals, 0);
    } else if (status != RPC_UNAVAILABLE && status != RPC_INTERNAL) {
        (void)atomic_fetch_add(&state->refusals, 1);
    }
}

static void leave_peer(struct rpc_call *call)
{
    if (call->peer != NULL) {
        struct rpc_peer_state *state = rpc_peer_state(call->peer);
        atomic_fetch_sub(&state->stranger_calls, call->is_stranger ? 1 : 0);
        atomic_fetch_sub(&state->calls, 1);
    }
    rpc_peer_unref(call->peer);
}

static void conclude(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    if (call->peer != NULL) {
        count_refusal(call);
    }
    if (call->method != NULL && server->options.gate.finished != NULL) {
        int64_t elapsed = call->ended.value - call->started.value;
        server->options.gate.finished(
            server->options.gate.context,
            call,
            call->status,
            call->text == NULL ? "" : call->text,
            elapsed);
    }
    if (call->release_principal != NULL) {
        call->release_principal(call->principal);
    }
    leave_peer(call);
    release_trailers(call);
    grpc_byte_buffer_destroy(call->in);
    grpc_byte_buffer_destroy(call->out);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->core != NULL) {
        grpc_call_unref(call->core);
    }
    arena_destroy(call->arena);
    lock_deinit(&call->lock);
    mem_free(call->text);
    mem_free(call);
    count_down(server);
}

void rpc_call_unref(struct rpc_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) == 1) {
        conclude(call);
    }
}

bool rpc_call_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag)
{
    rpc_call_ref(call);
    rpc_handoff_give(&tag->handoff);
    if (grpc_call_start_batch(call->core, ops, count, tag, NULL) == GRPC_CALL_OK) {
        return true;
    }
    atomic_fetch_sub(&call->refs, 1); /* never the last: the caller holds one */
    return false;
}

void rpc_call_record(struct rpc_call *call, enum rpc_status status, const char *text)
{
    if (call->ended.value != 0) {
        return;
    }
    call->ended = rpc_now();
    call->status = status;
    if (text != NULL && text[0] != '\0' && status != RPC_OK) {
        call->text = dup_text(text);
    }
}

enum err_code rpc_call_admit(struct rpc_call *call, bool may_block, struct err_info *err)
{
    const struct rpc_gate *gate = &call->server->options.gate;
    TRY(gate->admit(gate->context, call, may_block, err));
    call->admitted = rpc_now();
    struct rpc_peer_state *state = rpc_peer_state(call->peer);
    if (call->is_vouched || call->is_stranger || call->peer->kind == RPC_PEER_UNIX) {
        return ERR_OK;
    }
    call->is_stranger = true;
    unsigned others = atomic_fetch_add(&state->stranger_calls, 1);
    return others < call->server->limits.stranger_calls
        ? ERR_OK
        : ERR_SET(err, ERR_LIMIT, "too many calls at once without a credential");
}

void rpc_call_fill_status(struct rpc_call *call, struct rpc_status_op *storage, grpc_op *op)
{
    storage->count = atomic_load(&call->trailer_count);
    for (unsigned i = 0; i < storage->count; i++) {
        storage->trailers[i] = (grpc_metadata){
            .key = grpc_slice_from_copied_string(call->trailers[i].name),
            .value = grpc_slice_ref(call->trailers[i].value),
        };
    }
    storage->text = grpc_slice_from_copied_string(call->text == NULL ? "" : call->text);
    *op = (grpc_op){ .op = GRPC_OP_SEND_STATUS_FROM_SERVER };
    op->data.send_status_from_server.trailing_metadata_count = storage->count;
    op->data.send_status_from_server.trailing_metadata = storage->trailers;
    op->data.send_status_from_server.status = (grpc_status_code)call->status;
    op->data.send_status_from_server.status_details = &storage->text;
}

void rpc_status_op_deinit(struct rpc_status_op *storage)
{
    for (unsigned i = 0; i < storage->count; i++) {
        grpc_slice_unref(storage->trailers[i].key);
        grpc_slice_unref(storage->trailers[i].value);
    }
    grpc_slice_unref(storage->text);
}

static void on_close(void *owner, struct rpc_thread *thread, bool ok)
{
    (void)ok;
    struct rpc_call *call = owner;
    if (call->close_canceled != 0) {
        atomic_store(&call->canceled, true);
    }
    if (call->stream != NULL) {
        rpc_stream_peer_closed(call->stream, thread);
    } else if (call->close_canceled != 0) {
        rpc_unary_closed(call);
    }
    rpc_call_unref(call);
}

static struct rpc_peer *find_peer(struct rpc_call *call)
{
    char *name = grpc_call_get_peer(call->core);
    uint64_t number = 0;
    struct rpc_peer *peer = NULL;
    struct str_view text = str_of(name);
    if (str_has_prefix(text, STR("fd:"))
        && str_parse_uint64(str_from(text.ptr + 3, text.len - 3), INT32_MAX, &number) == ERR_OK) {
        peer = door_find_peer(call->server->door, (int)number);
    }
    gpr_free(name);
    return peer;
}

static void set_times(struct rpc_call *call)
{
    call->started = rpc_now();
    call->deadline = rpc_time_from(call->details.deadline);
    int64_t cap = call->method == NULL ? 0 : call->method->deadline_cap_us;
    if (cap > 0 && call->deadline.value - call->started.value > cap) {
        call->deadline.value = call->started.value + cap;
    }
}

void rpc_call_watch_close(struct rpc_call *call)
{
    call->watches_close = true;
    grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
    op.data.recv_close_on_server.cancelled = &call->close_canceled;
    if (!rpc_call_batch(call, &op, 1, &call->t_close)) {
        log_error("rpc_close_refused", LOG_STR("call", call->id));
    }
}

static size_t metadata_bytes(const struct rpc_call *call)
{
    size_t total = 0;
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *one = &call->metadata.metadata[i];
        total += GRPC_SLICE_LENGTH(one->key) + GRPC_SLICE_LENGTH(one->value) + RPC_METADATA_EACH;
    }
    return total;
}

static void dispatch(struct rpc_call *call, struct rpc_thread *thread)
{
    struct rpc_server *server = call->server;
    atomic_fetch_add(&server->calls_started, 1);
    call->method = map_find(server->rows, view_of(&call->details.method));
    set_times(call);
    (void)id_source_next(&thread->ids, "req", clock_wall(clock_system()), call->id);
    call->peer = find_peer(call);
    if (call->peer != NULL) {
        atomic_fetch_add(&rpc_peer_state(call->peer)->calls, 1);
    }
    bool fits = metadata_bytes(call) <= RPC_METADATA_MAX;
    if (fits && call->method != NULL && call->peer != NULL && call->method->kind != RPC_UNARY) {
        rpc_stream_begin(call);
        return;
    }
    if (call->peer == NULL) { /* the connection is gone already: nobody to answer */
        call->method = NULL;
        rpc_unary_refuse(call, RPC_UNAVAILABLE, "the connection has ended");
    } else if (call->method == NULL) {
        atomic_fetch_add(&server->calls_unknown, 1);
        rpc_unary_refuse(call, RPC_UNIMPLEMENTED, "no such method");
    } else if (!fits) {
        rpc_unary_refuse(call, RPC_RESOURCE_EXHAUSTED, "the metadata is larger than 8192 bytes");
    } else {
        rpc_unary_begin(call, thread);
    }
    rpc_call_unref(call);
}

static void on_new(void *owner, struct rpc_thread *thread, bool ok)
{
    struct rpc_call *call = owner;
    if (!ok) { /* the server shuts down; there is no call */
        call->core = NULL;
        rpc_call_unref(call);
        return;
    }
    rpc_call_arm(call->server, thread);
    dispatch(call, thread);
}

void rpc_call_arm(struct rpc_server *server, struct rpc_thread *thread)
{
    if (atomic_load(&server->stopping)) {
        return;
    }
    struct rpc_call *call = mem_alloc(sizeof(*call));
    atomic_fetch_add(&server->live, 1);
    call->server = server;
    call->cq = thread->cq;
    atomic_init(&call->refs, 1);
    call->t_new = (struct rpc_tag){ .done = on_new, .owner = call };
    call->t_close = (struct rpc_tag){ .done = on_close, .owner = call };
    lock_init(&call->lock, LOCK_RANK_STREAM);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    rpc_handoff_give(&call->t_new.handoff);
    grpc_call_error failed = grpc_server_request_call(
        server->core,
        &call->core,
        &call->details,
        &call->metadata,
        thread->cq,
        thread->cq,
        &call->t_new);
    if (failed != GRPC_CALL_OK) {
        log_error("rpc_arm_failed", LOG_INT("code", failed));
        call->core = NULL;
        rpc_call_unref(call);
    }
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
    return call->method;
}

const char *rpc_call_id(const struct rpc_call *call)
{
    return call->id;
}

const struct rpc_peer *rpc_call_peer(const struct rpc_call *call)
{
    return call->peer;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    if (call->event_arena != NULL) {
        return call->event_arena;
    }
    if (call->arena == NULL) {
        call->arena = arena_create(RPC_ARENA_BYTES);
    }
    return call->arena;
}

struct mono_us rpc_call_deadline(const struct rpc_call *call)
{
    return call->deadline;
}

bool rpc_call_is_canceled(const struct rpc_call *call)
{
    return atomic_load(&call->canceled) || rpc_now().value >= call->deadline.value;
}

struct str_view rpc_call_metadata(
    const struct rpc_call *call, const char *name, unsigned *ret_count)
{
    struct str_view value = STR_NONE;
    unsigned count = 0;
    for (size_t i = 0; i < call->metadata.count; i++) {
        if (str_equal(view_of(&call->metadata.metadata[i].key), str_of(name))) {
            value = count == 0 ? view_of(&call->metadata.metadata[i].value) : value;
            count++;
        }
    }
    if (ret_count != NULL) {
        *ret_count = count;
    }
    return value;
}

void rpc_call_add_trailer(struct rpc_call *call, const char *name, struct str_view value)
{
    unsigned count = atomic_load(&call->trailer_count);
    if (count == RPC_TRAILERS_MAX) {
        return;
    }
    if (call->trailers == NULL) {
        call->trailers = mem_alloc_array(RPC_TRAILERS_MAX, sizeof(*call->trailers));
    }
    call->trailers[count] = (struct rpc_trailer){
        .name = mem_strdup(name),
        .value = grpc_slice_from_copied_buffer(value.ptr, value.len),
    };
    atomic_store(&call->trailer_count, count + 1); /* published whole */
}

void rpc_call_vouch(struct rpc_call *call)
{
    call->is_vouched = true;
    atomic_store(&rpc_peer_state(call->peer)->is_known, true);
}

void rpc_call_set_principal(
    struct rpc_call *call, void *principal, void (*release)(void *principal))
{
    if (call->release_principal != NULL) {
        call->release_principal(call->principal);
    }
    call->principal = principal;
    call->release_principal = release;
}

void *rpc_call_principal(const struct rpc_call *call)
{
    return call->principal;
}

void *rpc_call_service(const struct rpc_call *call)
{
    return call->server->options.service;
}

void *rpc_call_worker(const struct rpc_call *call)
{
    return call->thread == NULL ? NULL : call->thread->worker;
}
