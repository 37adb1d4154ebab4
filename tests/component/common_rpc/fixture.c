#include "tests/component/common_rpc/fixture.h"

#include "belay_descriptors.h"

#include <stdio.h>
#include <stdlib.h>

static struct world *world_of(struct rpc_stream *stream)
{
    return rpc_call_service(rpc_stream_call(stream));
}

struct mono_us world_soon(void)
{
    return (struct mono_us){ clock_mono(clock_system()).value + 10 * US_PER_SECOND };
}

void world_notify(struct world *world)
{
    LOCK_GUARD(&world->lock);
    lock_cond_broadcast(&world->changed);
}

static void note(struct world *world, atomic_int *counter)
{
    atomic_fetch_add(counter, 1);
    world_notify(world);
}

void world_wait(struct world *world, atomic_int *counter, int value)
{
    struct mono_us deadline = world_soon();
    lock_acquire(&world->lock);
    bool in_time = true;
    while (atomic_load(counter) < value && in_time) {
        in_time = lock_cond_wait_until(&world->changed, &world->lock, deadline);
    }
    lock_release(&world->lock);
    assert_true(atomic_load(counter) >= value);
}

void world_release(struct world *world)
{
    atomic_store(&world->released, true);
    world_notify(world);
}

/* ---- gate ---- */

static void release_principal(void *principal)
{
    atomic_fetch_sub(&((struct world *)principal)->principals, 1);
}

static enum err_code admit(
    void *context, struct rpc_call *call, bool may_block, struct err_info *err)
{
    struct world *world = context;
    unsigned count = 0;
    struct str_view order = rpc_call_metadata(call, "x-gate", &count);
    if (str_equal(order, STR("block")) && !may_block) {
        return ERR_BUSY;
    }
    note(world, &world->admitted);
    atomic_fetch_add(&world->admitted_on_worker, may_block ? 1 : 0);
    if (count > 1 || str_equal(order, STR("refuse"))) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "who are you?");
    }
    atomic_fetch_add(&world->principals, 1);
    atomic_fetch_add(&world->let_in, rpc_call_principal(call) == NULL ? 1 : 0);
    rpc_call_set_principal(call, world, release_principal);
    if (!str_equal(order, STR("stranger"))) {
        rpc_call_vouch(call);
    }
    return ERR_OK;
}

static void finished(
    void *context,
    const struct rpc_call *call,
    enum rpc_status status,
    const char *text,
    int64_t elapsed_us)
{
    struct world *world = context;
    if (text == NULL || elapsed_us < 0 || strncmp(rpc_call_id(call), "req_", 4) != 0) {
        abort();
    }
    atomic_fetch_add(&world->left, rpc_call_principal(call) != NULL ? 1 : 0);
    atomic_store(&world->last_status, (int)status);
    note(world, &world->finished);
}

/* ---- unary ---- */

static enum err_code do_register(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct world *world = rpc_call_service(call);
    const register_request *input = (const register_request *)request;
    if (strcmp(input->name, "missing") == 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "no such thing: %s", input->name);
    }
    if (rpc_call_worker(call) == NULL || rpc_call_principal(call) != world
        || rpc_call_peer(call) == NULL) {
        return ERR_SET(err, ERR_INTERNAL, "context is missing");
    }
    register_response *reply =
        wire_new(rpc_call_arena(call), &agentgateway__v1__register_response__descriptor);
    reply->agent_id = (int64_t)strlen(input->name);
    rpc_call_add_trailer(call, "x-note", STR("kept"));
    *ret_reply = &reply->base;
    note(world, &world->handled);
    return ERR_OK;
}

static enum err_code do_begin(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    (void)request;
    (void)err;
    struct world *world = rpc_call_service(call);
    Agentgateway__V1__BeginAuthHandshakeResponse *reply = wire_new(
        rpc_call_arena(call), &agentgateway__v1__begin_auth_handshake_response__descriptor);
    char *where =
        arena_strdup(rpc_call_arena(call), rpc_call_worker(call) == NULL ? "poller" : "worker");
    reply->challenge.data = (uint8_t *)where;
    reply->challenge.len = 6;
    *ret_reply = &reply->base;
    note(world, &world->handled);
    return ERR_OK;
}

static enum err_code do_complete(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    (void)request;
    (void)err;
    struct world *world = rpc_call_service(call);
    note(world, &world->entered);
    struct mono_us deadline = world_soon();
    lock_acquire(&world->lock);
    bool canceled = rpc_call_is_canceled(call);
    while (!atomic_load(&world->released) && !canceled
           && clock_mono(clock_system()).value < deadline.value) {
        struct mono_us tick = { clock_mono(clock_system()).value + 5 * US_PER_MS };
        (void)lock_cond_wait_until(&world->changed, &world->lock, tick);
        canceled = rpc_call_is_canceled(call);
    }
    lock_release(&world->lock);
    if (canceled) {
        note(world, &world->canceled);
    }
    *ret_reply = wire_new(rpc_call_arena(call), rpc_call_method(call)->output);
    note(world, &world->handled);
    return ERR_OK;
}

static enum err_code do_heartbeat(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    return do_complete(call, request, ret_reply, err);
}

/* ---- streams ---- */

struct session {
    struct world *world;
    atomic_int busy; /* events running now */
    uint64_t count;
    int left; /* of a measured flood */
    bool flooding;
};

static void enter(struct session *session)
{
    if (atomic_fetch_add(&session->busy, 1) != 0) {
        atomic_fetch_add(&session->world->overlap, 1);
    }
}

static void leave(struct session *session)
{
    atomic_fetch_sub(&session->busy, 1);
}

static enum err_code open_session(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    struct world *world = world_of(stream);
    unsigned count = 0;
    if (str_equal(rpc_call_metadata(rpc_stream_call(stream), "x-open", &count), STR("refuse"))) {
        return ERR_SET(err, ERR_PRECONDITION, "not now");
    }
    struct session *session = mem_alloc(sizeof(*session));
    session->world = world;
    *ret_state = session;
    note(world, &world->opened);
    return ERR_OK;
}

static enum err_code open_control(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    TRY(open_session(stream, ret_state, err));
    struct world *world = world_of(stream);
    rpc_stream_unref(atomic_exchange(&world->stream, rpc_stream_ref(stream)));
    return ERR_OK;
}

static void close_session(struct rpc_stream *stream, void *state)
{
    struct session *session = state;
    struct world *world = world_of(stream);
    enter(session);
    mem_free(session);
    note(world, &world->closed);
}

static enum err_code send_command_by(
    enum err_code (*send)(struct rpc_stream *stream, const ProtobufCMessage *message),
    struct rpc_stream *stream,
    uint64_t sequence,
    size_t bytes)
{
    struct arena *arena = rpc_call_arena(rpc_stream_call(stream));
    Agentgateway__V1__ControlCommand *command =
        wire_new(arena, &agentgateway__v1__control_command__descriptor);
    control_response *reply =
        wire_new(arena, &agentgateway__v1__control_stream_response__descriptor);
    command->sequence = sequence;
    command->payload.len = bytes;
    command->payload.data = arena_alloc(arena, bytes + 1);
    reply->message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_COMMAND;
    reply->command = command;
    return send(stream, &reply->base);
}

static enum err_code send_command(struct rpc_stream *stream, uint64_t sequence, size_t bytes)
{
    return send_command_by(rpc_stream_send, stream, sequence, bytes);
}

/* Sends 16 KiB messages until the queue is full, or `left` is used up. */
static void flood(struct rpc_stream *stream, struct session *session)
{
    while (session->left > 0) {
        enum err_code code = send_command(stream, session->count, 16 * 1024);
        if (code == ERR_LIMIT) {
            note(session->world, &session->world->limits);
            return;
        }
        if (code != ERR_OK) {
            return;
        }
        session->count++;
        session->left--;
    }
    rpc_stream_finish(stream, ERR_OK, NULL);
}

static void obey(struct rpc_stream *stream, struct session *session, const char *order)
{
    if (strcmp(order, "echo") == 0) {
        assert_ok(send_command(stream, ++session->count, 1));
    } else if (strcmp(order, "flood") == 0) { /* writable goes on */
        session->left = 400;
        session->flooding = true;
        flood(stream, session);
    } else if (strcmp(order, "limit") == 0) { /* gives up on a slow reader */
        session->left = 10000;
        flood(stream, session);
        rpc_stream_finish(stream, ERR_LIMIT, "too slow");
        rpc_stream_finish(stream, ERR_INTERNAL, "the second finish");
    } else if (strcmp(order, "large-then-limit") == 0) { /* the first alone is over the cap */
        assert_ok(send_command(stream, 0, 2 * (size_t)WORLD_QUEUE_CAP));
        session->left = 200;
        flood(stream, session);
        rpc_stream_finish(stream, ERR_LIMIT, "too slow");
    } else if (strcmp(order, "pause") == 0) {
        rpc_stream_pause(stream);
        rpc_stream_set_timer(stream, 30 * US_PER_MS);
    } else if (strcmp(order, "timer-off") == 0) {
        rpc_stream_set_timer(stream, 10 * US_PER_MS);
        rpc_stream_set_timer(stream, -1);
    } else if (strcmp(order, "burst-finish") == 0) {
        for (unsigned i = 0; i < 50; i++) {
            assert_ok(send_command(stream, ++session->count, 100));
        }
        rpc_stream_finish(stream, ERR_CONFLICT, "newer session");
        assert_code(ERR_CANCELED, send_command(stream, 1, 1));
    } else if (strcmp(order, "last") == 0 || strcmp(order, "burst-last") == 0) {
        for (unsigned i = order[0] == 'l' ? 49 : 0; i < 49; i++) {
            assert_ok(send_command(stream, ++session->count, 100));
        }
        assert_ok(send_command_by(rpc_stream_send_last, stream, ++session->count, 100));
        assert_code(ERR_CANCELED, send_command_by(rpc_stream_send_last, stream, 1, 1));
        rpc_stream_finish(stream, ERR_INTERNAL, "the second finish");
    }
}

static void control_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct session *session = state;
    const control_request *request = (const control_request *)message;
    enter(session);
    note(session->world, &session->world->messages);
    if (request->message_case == AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO) {
        obey(stream, session, request->hello->agent_version);
    }
    leave(session);
}

static void control_half_closed(struct rpc_stream *stream, void *state)
{
    struct session *session = state;
    enter(session);
    note(session->world, &session->world->half_closed);
    rpc_stream_finish(stream, ERR_OK, NULL);
    leave(session);
}

static void control_writable(struct rpc_stream *stream, void *state)
{
    struct session *session = state;
    enter(session);
    note(session->world, &session->world->writable);
    if (session->flooding) {
        flood(stream, session);
    }
    leave(session);
}

static void control_woken(struct rpc_stream *stream, void *state)
{
    struct session *session = state;
    enter(session);
    note(session->world, &session->world->woken);
    (void)send_command(stream, 1000, 1);
    leave(session);
}

static void control_timer(struct rpc_stream *stream, void *state)
{
    struct session *session = state;
    enter(session);
    note(session->world, &session->world->timers);
    (void)send_command(stream, 2000, 1);
    rpc_stream_resume(stream);
    leave(session);
}

static void upload_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)stream;
    (void)message;
    struct session *session = state;
    enter(session);
    session->count++;
    note(session->world, &session->world->messages);
    leave(session);
}

static void upload_half_closed(struct rpc_stream *stream, void *state)
{
    struct session *session = state;
    enter(session);
    note(session->world, &session->world->half_closed);
    if (rpc_call_method(rpc_stream_call(stream))->is_blocking) {
        Agentgateway__V1__UploadEventsResponse reply;
        agentgateway__v1__upload_events_response__init(&reply);
        reply.accepted_count = (int64_t)session->count;
        assert_ok(rpc_stream_send(stream, &reply.base));
    } else {
        Agentgateway__V1__UploadTelemetryResponse reply;
        agentgateway__v1__upload_telemetry_response__init(&reply);
        reply.accepted_count = (int64_t)session->count;
        assert_ok(rpc_stream_send(stream, &reply.base));
    }
    rpc_stream_finish(stream, ERR_OK, NULL);
    leave(session);
}

/* ---- rows ---- */

static const char any_policy = 1;

#define UNARY_ROW(name, in, out, fn)                                      \
    .path = GATEWAY name, .input = &agentgateway__v1__##in##__descriptor, \
    .output = &agentgateway__v1__##out##__descriptor, .kind = RPC_UNARY,  \
    .max_request_bytes = WORLD_REQUEST_MAX, .unary = (fn), .policy = &any_policy

const struct rpc_table *world_table(void)
{
    static const struct rpc_stream_ops control = {
        .open = open_control,
        .message = control_message,
        .half_closed = control_half_closed,
        .writable = control_writable,
        .woken = control_woken,
        .timer = control_timer,
        .closed = close_session,
    };
    static const struct rpc_stream_ops upload = {
        .open = open_session,
        .message = upload_message,
        .half_closed = upload_half_closed,
        .closed = close_session,
    };
    static const struct rpc_method rows[] = {
        { UNARY_ROW("Register", register_request, register_response, do_register) },
        { UNARY_ROW(
              "BeginAuthHandshake",
              begin_auth_handshake_request,
              begin_auth_handshake_response,
              do_begin),
          .is_inline = true },
        { UNARY_ROW(
            "CompleteAuthHandshake",
            complete_auth_handshake_request,
            complete_auth_handshake_response,
            do_complete) },
        { UNARY_ROW(
              "UploadHeartbeat", upload_heartbeat_request, upload_heartbeat_response, do_heartbeat),
          .deadline_cap_us = 100 * US_PER_MS },
        {
            .path = GATEWAY "UploadTelemetry",
            .input = &agentgateway__v1__upload_telemetry_request__descriptor,
            .output = &agentgateway__v1__upload_telemetry_response__descriptor,
            .kind = RPC_CLIENT_STREAM,
            .max_request_bytes = WORLD_REQUEST_MAX,
            .stream = &upload,
            .policy = &any_policy,
        },
        {
            .path = GATEWAY "UploadEvents",
            .input = &agentgateway__v1__upload_events_request__descriptor,
            .output = &agentgateway__v1__upload_events_response__descriptor,
            .kind = RPC_CLIENT_STREAM,
            .max_request_bytes = WORLD_REQUEST_MAX,
            .deadline_cap_us = 3 * US_PER_SECOND,
            .is_blocking = true,
            .stream = &upload,
            .policy = &any_policy,
        },
        {
            .path = GATEWAY "ControlStream",
            .input = &agentgateway__v1__control_stream_request__descriptor,
            .output = &agentgateway__v1__control_stream_response__descriptor,
            .kind = RPC_BIDI,
            .max_request_bytes = WORLD_REQUEST_MAX,
            .stream = &control,
            .policy = &any_policy,
        },
        {
            /* A served service has a row for each method; nobody calls this one. It takes the most,
             * so that the library lets pass what another row must refuse. */
            .path = GATEWAY "RelayStream",
            .input = &agentgateway__v1__relay_frame__descriptor,
            .output = &agentgateway__v1__relay_frame__descriptor,
            .kind = RPC_BIDI,
            .max_request_bytes = 2 * WORLD_REQUEST_MAX,
            .stream = &control,
            .policy = &any_policy,
        },
    };
    static const struct rpc_table table = { rows, ARRAY_LENGTH(rows) };
    return &table;
}

/* ---- life ---- */

static enum err_code worker_open(void *service, void **ret_worker, struct err_info *err)
{
    (void)err;
    struct world *world = service;
    atomic_fetch_add(&world->workers_open, 1);
    *ret_worker = world;
    return ERR_OK;
}

static void worker_close(void *service, void *worker)
{
    (void)worker;
    atomic_fetch_sub(&((struct world *)service)->workers_open, 1);
}

void world_create(struct world *world, unsigned calls_in_flight)
{
    const struct rpc_limits limits = { .calls_in_flight = calls_in_flight };
    world_create_limited(world, &limits);
}

void world_create_limited(struct world *world, const struct rpc_limits *limits)
{
    memset(world, 0, sizeof(*world));
    struct err_info err = ERR_INFO_INIT;
    lock_init(&world->lock, LOCK_RANK_LEAF);
    lock_cond_init(&world->changed);
    world->dir = test_dir_create();
    world->target = mem_printf("unix:%s/s", world->dir);
    assert_ok_err(
        err, wire_schema_load(belay_descriptors, belay_descriptors_size, &world->schema, &err));
    struct rpc_server_options options = {
        .schema = world->schema,
        .tables = world_table(),
        .table_count = 1,
        .gate = { admit, finished, world },
        .service = world,
        .pollers = 2,
        .workers = 3,
        .worker_open = worker_open,
        .worker_close = worker_close,
        .limits = *limits,
    };
    options.limits.queued_bytes_per_stream = WORLD_QUEUE_CAP;
    assert_ok_err(err, rpc_server_create(&options, &world->server, &err));
    const struct rpc_listen_options listen = { .name = "local", .address = world->target };
    assert_ok_err(err, rpc_server_listen(world->server, &listen, NULL, &err));
    assert_ok_err(err, rpc_server_start(world->server, &err));
    assert_ok_err(err, rpc_client_create(world->schema, &world->client, &err));
    const struct rpc_channel_options channel = { .target = world->target };
    assert_ok_err(err, rpc_channel_create(world->client, &channel, &world->channel, &err));
}

void world_destroy(struct world *world)
{
    rpc_channel_destroy(world->channel);
    rpc_client_destroy(world->client);
    rpc_server_destroy(world->server);
    rpc_stream_unref(atomic_exchange(&world->stream, NULL));
    wire_schema_destroy(world->schema);
    assert_int_equal(atomic_load(&world->let_in), atomic_load(&world->left));
    assert_int_equal(atomic_load(&world->principals), 0);
    assert_int_equal(atomic_load(&world->opened), atomic_load(&world->closed));
    assert_int_equal(atomic_load(&world->overlap), 0);
    assert_int_equal(atomic_load(&world->workers_open), 0);
    test_dir_remove(world->dir);
    mem_free(world->target);
    lock_cond_deinit(&world->changed);
    lock_deinit(&world->lock);
}

/* ---- calls ---- */

enum err_code world_register(
    struct world *world,
    const char *name,
    const struct rpc_call_options *options,
    int64_t *ret_id,
    struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(1024 * 1024);
    uint8_t key[32] = { 1 };
    register_request request;
    agentgateway__v1__register_request__init(&request);
    request.enrollment_token = arena_strdup(arena, "a-token-that-is-long-enough");
    request.name = arena_strdup(arena, name);
    request.identity_pubkey = (ProtobufCBinaryData){ sizeof(key), key };
    request.encryption_pubkey = (ProtobufCBinaryData){ sizeof(key), key };
    ProtobufCMessage *reply = NULL;
    TRY(rpc_channel_call(
        world->channel,
        GATEWAY "Register",
        &request.base,
        &agentgateway__v1__register_response__descriptor,
        options,
        arena,
        &reply,
        err));
    *ret_id = ((register_response *)reply)->agent_id;
    return ERR_OK;
}

enum err_code world_slow_call(
    struct world *world, const struct rpc_call_options *options, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(1024 * 1024);
    uint8_t bytes[64] = { 1 };
    Agentgateway__V1__CompleteAuthHandshakeRequest request;
    agentgateway__v1__complete_auth_handshake_request__init(&request);
    request.challenge = (ProtobufCBinaryData){ 64, bytes };
    request.signature = (ProtobufCBinaryData){ 64, bytes };
    ProtobufCMessage *reply = NULL;
    return rpc_channel_call(
        world->channel,
        GATEWAY "CompleteAuthHandshake",
        &request.base,
        &agentgateway__v1__complete_auth_handshake_response__descriptor,
        options,
        arena,
        &reply,
        err);
}

static enum err_code say_by(
    enum err_code (*send)(struct rpc_client_stream *stream, const ProtobufCMessage *message),
    struct rpc_client_stream *stream,
    const char *order)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "%s", order);
    Agentgateway__V1__ControlHello hello;
    agentgateway__v1__control_hello__init(&hello);
    hello.agent_version = text;
    control_request request;
    agentgateway__v1__control_stream_request__init(&request);
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO;
    request.hello = &hello;
    return send(stream, &request.base);
}

enum err_code world_say(struct rpc_client_stream *stream, const char *order)
{
    return say_by(rpc_client_stream_send, stream, order);
}

enum err_code world_say_last(struct rpc_client_stream *stream, const char *order)
{
    return say_by(rpc_client_stream_send_last, stream, order);
}

struct rpc_client_stream *world_open_control(
    struct world *world, const struct rpc_call_options *options)
{
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = NULL;
    assert_ok_err(
        err,
        rpc_client_stream_open(
            world->channel,
            GATEWAY "ControlStream",
            &agentgateway__v1__control_stream_response__descriptor,
            options,
            NULL,
            NULL,
            NULL,
            &stream,
            &err));
    return stream;
}

struct rpc_client_stream *world_control(struct world *world, const char *order)
{
    struct rpc_client_stream *stream = world_open_control(world, NULL);
    assert_ok(world_say(stream, order));
    return stream;
}

enum err_code world_read(
    struct rpc_client_stream *stream, uint64_t *ret_epoch, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(1024 * 1024);
    ProtobufCMessage *message = NULL;
    TRY(rpc_client_stream_read(stream, world_soon(), arena, &message, err));
    const control_response *reply = (const control_response *)message;
    if (ret_epoch != NULL
        && reply->message_case == AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_COMMAND) {
        *ret_epoch = reply->command->sequence;
    }
    return ERR_OK;
}

enum err_code world_read_end(struct rpc_client_stream *stream, int *ret_count, struct err_info *err)
{
    int count = 0;
    enum err_code code = ERR_OK;
    while ((code = world_read(stream, NULL, err)) == ERR_OK) {
        count++;
    }
    if (ret_count != NULL) {
        *ret_count = count;
    }
    return code;
}
