/*
 * common/rpc/call.h over the simulated network: the rules of unary.c and stream.c (order of events,
 * what comes after a finish, whose memory a message is), without threads. Each event of a stream is
 * an event of the world, so that streams and calls interleave in every way chance finds.
 */
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/wire/wire.h"
#include "tests/support/sim/sim_rpc_private.h"

#include <stdio.h>
#include <unistd.h>

enum {
    EVENT_OPEN = 1,
    EVENT_WOKEN = 2,
    EVENT_TIMER = 4,
    EVENT_WRITABLE = 8,
    EVENT_MESSAGE = 16,
    EVENT_HALF_CLOSED = 32,
    EVENT_CLOSED = 64,
    ARENA_BYTES = 64 * 1024 * 1024,
    QUEUE_BYTES = 1024 * 1024
};

#define TURN_US (2 * US_PER_MS)

const char rpc_builtin_policy = 0;

struct rpc_call {
    struct list link; /* in net->calls */
    struct sim_net *net;
    struct sim_wire *wire; /* NULL: nobody is to be answered */
    const struct rpc_method *method;
    struct rpc_peer *peer;
    struct rpc_stream *stream; /* NULL: unary */
    char *authorization;
    char id[ID_TEXT_BYTES];
    struct arena *arena;
    struct arena *event_arena;
    struct mono_us started;
    struct mono_us deadline;
    bool canceled;
    void *principal;
    void (*release_principal)(void *principal);
    struct sim_packet *request; /* unary */
    uint64_t task;
    enum rpc_status status;
    char *text;
};

struct rpc_stream {
    struct rpc_call *call; /* NULL: has ended */
    struct sim_net *net;
    unsigned refs;
    void *state;
    unsigned pending;
    struct list in; /* sim_packet */
    bool opened;
    bool in_ended; /* half closed, or the one request of a server stream was read */
    bool paused;
    bool finishing;
    bool dead;
    bool running;
    uint64_t task;
    uint64_t timer;
    size_t queued_bytes;
};

const struct rpc_method *sim_server_find(const struct sim_net *net, const char *path)
{
    for (size_t t = 0; t < net->server.table_count; t++) {
        const struct rpc_table *table = &net->server.tables[t];
        for (size_t i = 0; i < table->count; i++) {
            if (strcmp(table->rows[i].path, path) == 0) {
                return &table->rows[i];
            }
        }
    }
    return NULL;
}

const char *sim_net_handling(const struct sim_net *net)
{
    return net->handling == NULL ? "" : net->handling;
}

size_t sim_net_calls(const struct sim_net *net)
{
    size_t count = 0;
    LIST_FOR_EACH(node, &net->calls)
    {
        count++;
    }
    return count;
}

/* ---- calls ---- */

static struct rpc_peer *make_peer(unsigned host)
{
    struct rpc_peer values = { .kind = RPC_PEER_TLS, .listener = "tls", .port = 40000 };
    values.uid = (uid_t)-1;
    if (host == SIM_OPERATOR) {
        values = (struct rpc_peer){ .kind = RPC_PEER_UNIX,
                                    .listener = "operator",
                                    .address = "unix",
                                    .is_loopback = true,
                                    .is_reached_locally = true,
                                    .uid = geteuid() };
    } else {
        (void)snprintf(values.address, sizeof(values.address), "192.0.2.%u", host);
    }
    return rpc_peer_create(&values);
}

static struct rpc_call *call_create(struct sim_wire *wire, const struct rpc_method *method)
{
    struct rpc_call *call = mem_alloc(sizeof(*call));
    int64_t now = sim_now(wire->net->sim).value;
    int64_t cap = method->deadline_cap_us;
    int64_t left = wire->deadline_us;
    left = cap > 0 && (left == 0 || left > cap) ? cap : left;
    call->net = wire->net;
    call->method = method;
    call->peer = make_peer(wire->host);
    call->authorization = wire->authorization == NULL ? NULL : mem_strdup(wire->authorization);
    call->started.value = now;
    call->deadline.value = left == 0 ? INT64_MAX : now + left;
    (void)id_create("req", (struct wall_us){ now }, call->id);
    list_append(&call->net->calls, &call->link);
    return call;
}

static void call_attach(struct rpc_call *call, struct sim_wire *wire)
{
    call->wire = wire;
    wire->server = call;
    sim_wire_ref(wire);
}

static void call_detach(struct rpc_call *call)
{
    struct sim_wire *wire = STEAL(call->wire);
    if (wire != NULL) {
        wire->server = NULL;
        sim_wire_unref(wire);
    }
}

static void call_record(struct rpc_call *call, enum rpc_status status, const char *text)
{
    call->status = status;
    mem_free(call->text);
    call->text = text == NULL ? NULL : mem_strdup(text);
}

/* The gate hears of every call once. */
static void call_conclude(struct rpc_call *call)
{
    const struct rpc_gate *gate = &call->net->server.gate;
    int64_t elapsed = sim_now(call->net->sim).value - call->started.value;
    gate->finished(
        gate->context, call, call->status, call->text == NULL ? "" : call->text, elapsed);
    if (call->release_principal != NULL) {
        call->release_principal(call->principal);
    }
    call_detach(call);
    list_remove(&call->link);
    rpc_peer_unref(call->peer);
    if (call->request != NULL) {
        sim_packet_destroy(call->request);
    }
    arena_destroy(call->arena);
    mem_free(call->authorization);
    mem_free(call->text);
    mem_free(call);
}

static void call_answer(struct rpc_call *call, enum err_code code, const ProtobufCMessage *reply)
{
    if (call->wire != NULL) {
        struct sim_packet *packet = sim_packet_create(SIM_STATUS, reply);
        packet->code = rpc_err_of(rpc_status_of(code));
        packet->text = call->text == NULL ? NULL : mem_strdup(call->text);
        sim_wire_send(call->wire, SIM_DOWN, packet);
    }
}

/* ---- unary ---- */

static enum err_code run_handler(
    struct rpc_call *call, ProtobufCMessage **ret_reply, struct err_info *err)
{
    const struct rpc_gate *gate = &call->net->server.gate;
    const struct sim_packet *request = call->request;
    ProtobufCMessage *message = NULL;
    TRY(gate->admit(gate->context, call, true, err));
    TRY(wire_unpack(
        call->net->schema,
        call->method->input,
        request->data,
        request->bytes,
        rpc_call_arena(call),
        &message,
        err));
    return call->method->unary(call, message, ret_reply, err);
}

/* A bound of the network's holds for each event by itself; what is in force without one goes on. */
static void bound_allocations(const struct sim_net *net, bool begins)
{
    if (net->allocations >= 0) {
        mem_fail_after(begins ? net->allocations : -1);
    }
}

static enum err_code run_limited(
    struct rpc_call *call, ProtobufCMessage **ret_reply, struct err_info *err)
{
    call->net->handling = call->method->path;
    bound_allocations(call->net, true);
    enum err_code code = run_handler(call, ret_reply, err);
    bound_allocations(call->net, false);
    call->net->handling = NULL;
    return code;
}

static void run_unary(void *context)
{
    struct rpc_call *call = context;
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *reply = NULL;
    enum err_code code = rpc_call_is_canceled(call)
        ? ERR_SET(&err, ERR_TIMEOUT, "the call waited past its deadline")
        : run_limited(call, &reply, &err);
    sim_note(call->net->sim, "%s %s", call->method->path, err_name(code));
    call_record(call, rpc_status_of(code), code == ERR_OK ? NULL : err.text);
    call_answer(call, code, reply);
    call_conclude(call);
}

static void begin_unary(
    struct sim_wire *wire, const struct rpc_method *method, const struct sim_packet *packet)
{
    struct sim *sim = wire->net->sim;
    bool twice = sim_chance(sim, wire->net->faults.duplicate);
    for (int i = 0; i < (twice ? 2 : 1); i++) {
        struct rpc_call *call = call_create(wire, method);
        call->request = sim_packet_create(SIM_OPEN, NULL);
        call->request->data = mem_dup(packet->data, packet->bytes);
        call->request->bytes = packet->bytes;
        if (i == 0) {
            call_attach(call, wire);
        }
        int64_t most = i == 0 ? TURN_US : 20 * US_PER_SECOND;
        call->task = sim_after(sim, sim_between(sim, 0, most), run_unary, call);
    }
}

/* ---- streams ---- */

static void run_stream(void *context);

static unsigned next_event(const struct rpc_stream *stream)
{
    if ((stream->pending & EVENT_OPEN) != 0) {
        return EVENT_OPEN;
    }
    if (stream->finishing || stream->dead) {
        return EVENT_CLOSED;
    }
    unsigned soon = stream->pending & (EVENT_WOKEN | EVENT_TIMER | EVENT_WRITABLE);
    if (soon != 0) {
        return soon & -soon;
    }
    if (!list_is_empty(&stream->in)) {
        return stream->paused ? 0 : EVENT_MESSAGE;
    }
    return stream->pending & EVENT_HALF_CLOSED;
}

static void schedule(struct rpc_stream *stream)
{
    if (stream->call != NULL && stream->task == 0 && !stream->running && next_event(stream) != 0) {
        struct sim *sim = stream->net->sim;
        stream->task = sim_after(sim, sim_between(sim, 0, TURN_US), run_stream, stream);
    }
}

static void finish(struct rpc_stream *stream, enum rpc_status status, const char *text)
{
    if (stream->call == NULL || stream->finishing || stream->dead) {
        return;
    }
    stream->finishing = true;
    call_record(stream->call, status, text);
    call_answer(stream->call, rpc_err_of(status), NULL);
    schedule(stream);
}

static void release(struct rpc_stream *stream)
{
    struct rpc_call *call = STEAL(stream->call);
    sim_cancel(stream->net->sim, stream->timer);
    sim_cancel(stream->net->sim, stream->task);
    for (struct list *node = list_pop(&stream->in); node != NULL; node = list_pop(&stream->in)) {
        sim_packet_destroy(LIST_ENTRY(node, struct sim_packet, link));
    }
    sim_note(stream->net->sim, "%s ended %s", call->method->path, rpc_status_name(call->status));
    call->stream = NULL;
    call_conclude(call);
    rpc_stream_unref(stream);
}

static void deliver_open(struct rpc_stream *stream)
{
    const struct rpc_gate *gate = &stream->net->server.gate;
    struct rpc_call *call = stream->call;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = rpc_call_is_canceled(call)
        ? ERR_SET(&err, ERR_CANCELED, "the call has ended")
        : gate->admit(gate->context, call, true, &err);
    if (code == ERR_OK) {
        code = call->method->stream->open(stream, &stream->state, &err);
    }
    stream->opened = code == ERR_OK;
    sim_note(stream->net->sim, "%s open %s", call->method->path, err_name(code));
    if (code != ERR_OK) {
        finish(stream, rpc_status_of(code), err.text);
    }
}

static void deliver_message(struct rpc_stream *stream, struct arena *arena)
{
    const struct rpc_method *method = stream->call->method;
    struct sim_packet *packet = LIST_ENTRY(list_pop(&stream->in), struct sim_packet, link);
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    enum err_code code = wire_unpack(
        stream->net->schema, method->input, packet->data, packet->bytes, arena, &message, &err);
    sim_packet_destroy(packet);
    if (code == ERR_OK) {
        method->stream->message(stream, stream->state, message);
    } else {
        finish(stream, rpc_status_of(code), err.text);
    }
}

static void notify(struct rpc_stream *stream, void (*event)(struct rpc_stream *stream, void *state))
{
    if (event != NULL) {
        event(stream, stream->state);
    }
}

static void deliver(struct rpc_stream *stream, unsigned event)
{
    const struct rpc_stream_ops *ops = stream->call->method->stream;
    if (event == EVENT_OPEN) {
        deliver_open(stream);
        return;
    }
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    stream->call->event_arena = arena;
    if (event == EVENT_MESSAGE) {
        deliver_message(stream, arena);
    } else if (event == EVENT_CLOSED) {
        notify(stream, stream->opened ? ops->closed : NULL);
    } else {
        notify(
            stream,
            event == EVENT_WOKEN          ? ops->woken
                : event == EVENT_TIMER    ? ops->timer
                : event == EVENT_WRITABLE ? ops->writable
                                          : ops->half_closed);
    }
    stream->call->event_arena = NULL;
}

static void run_stream(void *context)
{
    struct rpc_stream *stream = context;
    unsigned event = next_event(stream);
    stream->task = 0;
    stream->pending &= ~event;
    stream->running = true;
    bound_allocations(stream->net, true);
    if (event != 0) {
        deliver(stream, event);
    }
    bound_allocations(stream->net, false);
    stream->running = false;
    if (event == EVENT_CLOSED) {
        release(stream);
    } else {
        schedule(stream);
    }
}

static void begin_stream(struct sim_wire *wire, const struct rpc_method *method)
{
    struct rpc_stream *stream = mem_alloc(sizeof(*stream));
    stream->net = wire->net;
    stream->refs = 1;
    list_init(&stream->in);
    stream->call = call_create(wire, method);
    stream->call->stream = stream;
    call_attach(stream->call, wire);
    stream->pending = EVENT_OPEN;
    schedule(stream);
}

/* ---- from the wire ---- */

static void receive_open(struct sim_wire *wire, const struct sim_packet *packet)
{
    const struct rpc_method *method = sim_server_find(wire->net, wire->path);
    if (method == NULL) {
        struct sim_packet *answer = sim_packet_create(SIM_STATUS, NULL);
        answer->code = ERR_UNSUPPORTED;
        answer->text = mem_strdup("no such method");
        sim_wire_send(wire, SIM_DOWN, answer);
    } else if (method->kind == RPC_UNARY) {
        begin_unary(wire, method, packet);
    } else {
        begin_stream(wire, method);
    }
}

void sim_server_receive(struct sim_wire *wire, struct sim_packet *take_packet)
{
    struct rpc_stream *stream = wire->server == NULL ? NULL : wire->server->stream;
    bool takes = stream != NULL && !stream->finishing && !stream->dead;
    if (take_packet->type == SIM_OPEN) {
        receive_open(wire, take_packet);
    } else if (take_packet->type == SIM_CANCEL) {
        sim_server_lose(wire);
    } else if (takes && take_packet->type == SIM_HALF_CLOSE) {
        stream->pending |= EVENT_HALF_CLOSED;
        schedule(stream);
    } else if (takes && take_packet->type == SIM_MESSAGE) {
        list_append(&stream->in, &take_packet->link);
        schedule(stream);
        return;
    }
    sim_packet_destroy(take_packet);
}

void sim_server_lose(struct sim_wire *wire)
{
    struct rpc_call *call = wire->server;
    if (call == NULL) {
        return;
    }
    call->canceled = true;
    if (call->stream != NULL && !call->stream->finishing) {
        call->stream->dead = true;
        call_record(call, RPC_CANCELLED, "the caller went away");
        schedule(call->stream);
    }
}

static void end_call(struct rpc_call *call)
{
    struct rpc_stream *stream = call->stream;
    if (stream == NULL) {
        sim_cancel(call->net->sim, call->task);
        call_record(call, RPC_CANCELLED, "the server has ended");
        call_conclude(call);
        return;
    }
    sim_cancel(call->net->sim, stream->task);
    stream->task = 0;
    stream->dead = true;
    stream->pending = 0;
    deliver(stream, EVENT_CLOSED);
    release(stream);
}

void sim_server_end(struct sim_net *net)
{
    while (!list_is_empty(&net->calls)) {
        end_call(LIST_ENTRY(net->calls.next, struct rpc_call, link));
    }
}

void sim_server_sent(struct sim_wire *wire, size_t bytes)
{
    struct rpc_stream *stream = wire->server == NULL ? NULL : wire->server->stream;
    if (stream == NULL || bytes == 0) {
        return;
    }
    stream->queued_bytes -= bytes;
    if (stream->queued_bytes == 0) {
        stream->pending |= EVENT_WRITABLE;
        schedule(stream);
    }
}

/* ---- call.h ---- */

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
        call->arena = arena_create(ARENA_BYTES);
    }
    return call->arena;
}

struct mono_us rpc_call_deadline(const struct rpc_call *call)
{
    return call->deadline;
}

bool rpc_call_is_canceled(const struct rpc_call *call)
{
    return call->canceled || sim_now(call->net->sim).value >= call->deadline.value;
}

struct str_view rpc_call_metadata(
    const struct rpc_call *call, const char *name, unsigned *ret_count)
{
    bool found = call->authorization != NULL && strcmp(name, "authorization") == 0;
    if (ret_count != NULL) {
        *ret_count = found ? 1 : 0;
    }
    return found ? str_of(call->authorization) : STR_NONE;
}

/* Strangers' limits are the door's, and there is none here. */
void rpc_call_vouch(struct rpc_call *call)
{
    (void)call;
}

void rpc_call_set_principal(
    struct rpc_call *call, void *principal, void (*release_principal)(void *principal))
{
    call->principal = principal;
    call->release_principal = release_principal;
}

void *rpc_call_principal(const struct rpc_call *call)
{
    return call->principal;
}

void *rpc_call_service(const struct rpc_call *call)
{
    return call->net->server.service;
}

void *rpc_call_worker(const struct rpc_call *call)
{
    return call->net->server.worker;
}

struct rpc_call *rpc_stream_call(struct rpc_stream *stream)
{
    return stream->call;
}

struct rpc_stream *rpc_stream_ref(struct rpc_stream *stream)
{
    stream->refs++;
    return stream;
}

void rpc_stream_unref(struct rpc_stream *stream)
{
    if (stream != NULL && --stream->refs == 0) {
        mem_free(stream);
    }
}

enum err_code rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message)
{
    if (stream->finishing || stream->dead) {
        return ERR_CANCELED;
    }
    struct sim_packet *packet = sim_packet_create(SIM_MESSAGE, message);
    if (stream->queued_bytes > 0 && stream->queued_bytes + packet->bytes > QUEUE_BYTES) {
        sim_packet_destroy(packet);
        return ERR_LIMIT;
    }
    stream->queued_bytes += packet->bytes;
    sim_wire_send(stream->call->wire, SIM_DOWN, packet);
    return ERR_OK;
}

size_t rpc_stream_queued_bytes(const struct rpc_stream *stream)
{
    return stream->queued_bytes;
}

/* There are no workers to leave: events of every stream come by turns on the one thread. */
void rpc_stream_leave_workers(struct rpc_stream *stream)
{
    (void)stream;
}

void rpc_stream_pause(struct rpc_stream *stream)
{
    stream->paused = true;
}

void rpc_stream_resume(struct rpc_stream *stream)
{
    stream->paused = false;
    schedule(stream);
}

static void on_timer(void *context)
{
    struct rpc_stream *stream = context;
    stream->timer = 0;
    stream->pending |= EVENT_TIMER;
    schedule(stream);
}

void rpc_stream_set_timer(struct rpc_stream *stream, int64_t delay_us)
{
    sim_cancel(stream->net->sim, stream->timer);
    stream->timer = 0;
    stream->pending &= ~(unsigned)EVENT_TIMER;
    if (delay_us >= 0 && stream->call != NULL && !stream->finishing && !stream->dead) {
        stream->timer = sim_after(stream->net->sim, delay_us, on_timer, stream);
    }
}

void rpc_stream_wake(struct rpc_stream *stream)
{
    if (stream->call != NULL && !stream->finishing && !stream->dead) {
        stream->pending |= EVENT_WOKEN;
        schedule(stream);
    }
}

void rpc_stream_finish(struct rpc_stream *stream, enum err_code code, const char *text)
{
    finish(stream, rpc_status_of(code), text == NULL && code != ERR_OK ? err_name(code) : text);
}
