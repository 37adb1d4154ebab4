#include "tests/component/agent_relay/fixture.h"

#include "belay_descriptors.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/crypto/command_signature.h"
#include "common/rpc/server.h"
#include "common/wire/wire.h"
#include "tests/support/open_gate.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERVER_ID   "srv_test"
#define PATH(name)  "/agentgateway.v1.AgentGatewayService/" name
#define FRAME(name) AGENTGATEWAY__V1__RELAY_FRAME__FRAME_##name
#define PATIENCE_US (60 * US_PER_SECOND)

enum {
    AGENT_ID = 42,
    PIECE_BYTES = 64 * 1024
};

typedef Agentgateway__V1__RelayFrame frame_type;

/* ---- The gateway, on threads of its own ---- */

struct half {
    struct fixture *fixture;
    struct side *side; /* NULL until named */
};

static enum err_code half_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    struct half *half = mem_alloc(sizeof(*half));
    (void)err;
    half->fixture = rpc_call_service(rpc_stream_call(stream));
    *ret_state = half;
    return ERR_OK;
}

static void join(struct half *half, struct rpc_stream *stream, const char *id)
{
    for (size_t i = 0; i < half->fixture->side_count; i++) {
        struct side *side = &half->fixture->sides[i];
        if (strcmp(side->id, id) == 0) {
            side->joins++;
            side->stream = side->stream == NULL ? rpc_stream_ref(stream) : side->stream;
            half->side = side;
            if (side->holds) {
                rpc_stream_pause(stream);
            }
            return;
        }
    }
    rpc_stream_finish(stream, ERR_NOT_FOUND, "no such relay");
}

static void keep(struct buf *buf, const ProtobufCBinaryData *data)
{
    buf_append(buf, data->data, data->len);
}

static void note(struct side *side, const frame_type *frame)
{
    switch (frame->frame_case) {
    case FRAME(DATA):
        side->received += frame->data.len;
        if (!side->keeps_nothing) {
            keep(&side->out, &frame->data);
        }
        break;
    case FRAME(ERRORS):
        keep(&side->err, &frame->errors);
        break;
    case FRAME(TAKEN):
        side->taken = frame->taken;
        break;
    case FRAME(END):
        side->has_end = true;
        break;
    case FRAME(EXIT):
        side->has_exit = true;
        side->exit_code = frame->exit->exit_code;
        break;
    case FRAME(FAILURE):
        side->failure = (int)frame->failure->code;
        (void)snprintf(side->text, sizeof(side->text), "%s", frame->failure->message);
        break;
    default:
        break;
    }
}

static void half_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct half *half = state;
    const frame_type *frame = (const frame_type *)message;
    LOCK_GUARD(&half->fixture->lock);
    if (frame->frame_case == FRAME(INIT)) {
        join(half, stream, frame->init->relay_id);
    } else if (half->side != NULL) {
        note(half->side, frame);
    }
}

/* Reading stops and goes on in events of the stream alone. */
static void half_woken(struct rpc_stream *stream, void *state)
{
    struct half *half = state;
    LOCK_GUARD(&half->fixture->lock);
    if (half->side != NULL && half->side->holds) {
        rpc_stream_pause(stream);
    } else {
        rpc_stream_resume(stream);
    }
}

static void half_half_closed(struct rpc_stream *stream, void *state)
{
    (void)state;
    rpc_stream_finish(stream, ERR_OK, NULL);
}

static void half_closed(struct rpc_stream *stream, void *state)
{
    struct half *half = state;
    (void)stream;
    {
        LOCK_GUARD(&half->fixture->lock);
        if (half->side != NULL) {
            half->side->is_closed = true;
        }
    }
    mem_free(half);
}

static const struct rpc_stream_ops relay_ops = { .open = half_open,
                                                 .message = half_message,
                                                 .half_closed = half_half_closed,
                                                 .woken = half_woken,
                                                 .closed = half_closed };

static enum err_code nothing(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    (void)call;
    (void)request;
    (void)ret_reply;
    return ERR_SET(err, ERR_UNSUPPORTED, "not here");
}

#define TYPES(in, out)                                                                      \
    .input = &agentgateway__v1__##in##__descriptor,                                         \
    .output = &agentgateway__v1__##out##__descriptor, .max_request_bytes = 4 * 1024 * 1024, \
    .policy = ""
/* A served service needs a row for each method. */
#define UNARY(name, in, out)                                 \
    {                                                        \
        .path = PATH(name), .unary = nothing, TYPES(in, out) \
    }
#define STREAM(name, how, in, out)                                              \
    {                                                                           \
        .path = PATH(name), .kind = (how), .stream = &relay_ops, TYPES(in, out) \
    }

static const struct rpc_method methods[] = {
    UNARY("Register", register_request, register_response),
    UNARY("BeginAuthHandshake", begin_auth_handshake_request, begin_auth_handshake_response),
    UNARY(
        "CompleteAuthHandshake", complete_auth_handshake_request, complete_auth_handshake_response),
    UNARY("UploadHeartbeat", upload_heartbeat_request, upload_heartbeat_response),
    STREAM(
        "UploadTelemetry", RPC_CLIENT_STREAM, upload_telemetry_request, upload_telemetry_response),
    STREAM("UploadEvents", RPC_CLIENT_STREAM, upload_events_request, upload_events_response),
    STREAM("ControlStream", RPC_BIDI, control_stream_request, control_stream_response),
    STREAM("RelayStream", RPC_BIDI, relay_frame, relay_frame),
};

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static void open_gateway(struct fixture *fixture)
{
    static const struct rpc_table table = { methods, ARRAY_LENGTH(methods) };
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *target = mem_printf("unix:%s/gateway.sock", fixture->dir);
    struct rpc_server_options options = { .schema = fixture->schema,
                                          .tables = &table,
                                          .table_count = 1,
                                          .gate = OPEN_GATE,
                                          .service = fixture,
                                          .pollers = 1,
                                          .workers = 1 };
    struct rpc_listen_options listen = { .name = "agents", .address = target };
    struct rpc_channel_options dial = { .target = target };
    assert_ok_err(err, rpc_server_create(&options, &fixture->server, &err));
    assert_ok_err(err, rpc_server_listen(fixture->server, &listen, NULL, &err));
    assert_ok_err(err, rpc_server_start(fixture->server, &err));
    assert_ok_err(err, rpc_client_create(fixture->schema, &fixture->client, &err));
    assert_ok_err(err, rpc_channel_create(fixture->client, &dial, &fixture->channel, &err));
}

/* ---- The agent ---- */

static void on_ready(void *context, const char *id)
{
    struct fixture *fixture = context;
    (void)id;
    fixture->ready_count++;
}

static void on_ended(void *context, const struct sandbox_info *info)
{
    struct fixture *fixture = context;
    execs_ended(fixture->execs, info->id);
}

static void on_removed(void *context, const char *id)
{
    struct fixture *fixture = context;
    (void)id;
    fixture->removed_count++;
}

static void on_started(void *context, const char *id, uint64_t exec, int number)
{
    struct fixture *fixture = context;
    execs_started(fixture->execs, id, exec, number);
}

static void on_output(
    void *context, const char *id, uint64_t exec, const struct message_output *output)
{
    struct fixture *fixture = context;
    execs_output(fixture->execs, id, exec, output);
}

static void on_input_taken(void *context, const char *id, uint64_t exec, uint64_t offset)
{
    struct fixture *fixture = context;
    (void)id;
    execs_input_taken(fixture->execs, exec, offset);
}

static void on_exited(
    void *context, const char *id, uint64_t exec, const struct message_exited *exited)
{
    struct fixture *fixture = context;
    execs_exited(fixture->execs, id, exec, exited);
}

static void on_connected(
    void *context, const char *id, uint64_t connection, int take_fd, int number)
{
    struct fixture *fixture = context;
    (void)id;
    execs_connected(fixture->execs, connection, take_fd, number);
}

static const struct sandbox_ops sandbox_ops = { .ready = on_ready,
                                                .ended = on_ended,
                                                .removed = on_removed,
                                                .started = on_started,
                                                .output = on_output,
                                                .input_taken = on_input_taken,
                                                .exited = on_exited,
                                                .connected = on_connected };

static void open_sandboxes(struct fixture *fixture)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *dir = mem_printf("%s/sandboxes", fixture->dir);
    struct sandboxes_options options = { .loop = fixture->loop,
                                         .clock = clock_system(),
                                         .dir = dir,
                                         .shim_path = BELAY_SHIM_PATH,
                                         .ops = &sandbox_ops,
                                         .context = fixture };
    fixture->execs = execs_create();
    assert_ok_err(err, sandboxes_open(&options, &fixture->sandboxes, &err));
    execs_set_sandboxes(fixture->execs, fixture->sandboxes);
}

static enum err_code open_stream(
    void *context,
    const struct rpc_client_stream_ops *ops,
    void *stream_context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    struct fixture *fixture = context;
    if (fixture->is_cut) {
        return ERR_SET(err, ERR_UNAVAILABLE, "no session");
    }
    return rpc_client_stream_open(
        fixture->channel,
        PATH("RelayStream"),
        &agentgateway__v1__relay_frame__descriptor,
        NULL,
        &fixture->executor,
        ops,
        stream_context,
        ret_stream,
        err);
}

static void on_idle(void *context)
{
    struct fixture *fixture = context;
    fixture->idle_count++;
}

static const char *why_not(const struct fixture *fixture)
{
    const struct sandbox_report *report = sandboxes_report(fixture->sandboxes);
    if (fixture->driver == SANDBOX_DRIVER_NATIVE) {
        return report->native ? NULL : report->native_reason;
    }
    return report->bwrap ? NULL : report->bwrap_reason;
}

struct fixture *fixture_create(void)
{
    struct err_info err = ERR_INFO_INIT;
    const char *driver = getenv("BELAY_TEST_DRIVER");
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->dir = test_dir_create();
    fixture->driver = driver != NULL && strcmp(driver, "bwrap") == 0 ? SANDBOX_DRIVER_BWRAP
                                                                     : SANDBOX_DRIVER_NATIVE;
    lock_init(&fixture->lock, LOCK_RANK_REGISTRY);
    fixture->key = key_sign_create();
    assert_ok_err(
        err, wire_schema_load(belay_descriptors, belay_descriptors_size, &fixture->schema, &err));
    assert_ok_err(err, loop_create(clock_system(), &fixture->loop, &err));
    fixture->executor = (struct rpc_executor){ post, fixture->loop };
    open_gateway(fixture);
    open_sandboxes(fixture);
    const struct bridges_options options = { .loop = fixture->loop,
                                             .sandboxes = fixture->sandboxes,
                                             .execs = fixture->execs,
                                             .open_stream = open_stream,
                                             .idle = on_idle,
                                             .context = fixture };
    fixture->bridges = bridges_create(&options);
    if (why_not(fixture) != NULL) {
        print_message("skipped: %s\n", why_not(fixture));
        fixture_destroy(fixture);
        skip();
    }
    return fixture;
}

static void remove_sandboxes(struct fixture *fixture)
{
    char ids[16][SANDBOX_ID_BYTES_MAX + 1];
    struct sandbox_info info;
    size_t cursor = 0;
    size_t count = 0;
    while (count < ARRAY_LENGTH(ids) && sandbox_next(fixture->sandboxes, &cursor, &info)) {
        assert_ok(str_copy(str_of(info.id), ids[count++], sizeof(ids[0])));
    }
    unsigned expected = fixture->removed_count + (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        assert_ok(sandbox_remove(fixture->sandboxes, ids[i], NULL));
    }
    int64_t deadline = loop_now(fixture->loop).value + PATIENCE_US;
    while (fixture->removed_count < expected && loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 50);
    }
    assert_int_equal(fixture->removed_count, expected);
}

void fixture_destroy(struct fixture *fixture)
{
    bridges_destroy(fixture->bridges);
    remove_sandboxes(fixture);
    sandboxes_close(fixture->sandboxes);
    execs_destroy(fixture->execs);
    rpc_channel_destroy(fixture->channel);
    rpc_server_destroy(fixture->server);
    loop_destroy(fixture->loop);
    rpc_client_destroy(fixture->client);
    for (size_t i = 0; i < fixture->side_count; i++) {
        struct side *side = &fixture->sides[i];
        if (side->stream != NULL) {
            rpc_stream_unref(side->stream);
        }
        buf_deinit(&side->out);
        buf_deinit(&side->err);
    }
    wire_schema_destroy(fixture->schema);
    key_sign_destroy(fixture->key);
    lock_deinit(&fixture->lock);
    test_dir_remove(fixture->dir);
    mem_free(fixture);
}

void fixture_turn(struct fixture *fixture, int64_t us)
{
    int64_t deadline = loop_now(fixture->loop).value + us;
    while (loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 10);
    }
}

void fixture_start(struct fixture *fixture, const char *id)
{
    struct err_info err = ERR_INFO_INIT;
    const struct sandbox_spec spec = { .id = id, .driver = fixture->driver };
    unsigned before = fixture->ready_count;
    assert_ok_err(err, sandbox_create(fixture->sandboxes, &spec, &err));
    int64_t deadline = loop_now(fixture->loop).value + PATIENCE_US;
    while (fixture->ready_count == before && loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 50);
    }
    assert_int_equal(fixture->ready_count, before + 1);
}

/* ---- Orders ---- */

struct side *fixture_order(struct fixture *fixture, const char *sandbox_id, order_type *order)
{
    LOCK_GUARD(&fixture->lock);
    assert_true(fixture->side_count < SIDES_MAX);
    struct side *side = &fixture->sides[fixture->side_count++];
    (void)id_create("rly", clock_wall(clock_system()), side->id);
    side->fixture = fixture;
    side->out = (struct buf)BUF_INIT(SIDE_BYTES_MAX);
    side->err = (struct buf)BUF_INIT(SIDE_BYTES_MAX);
    order->relay_id = side->id;
    order->sandbox_id = CONST_CAST(char *, sandbox_id);
    order->actor = CONST_CAST(char *, "user:test");
    return side;
}

/* As the server signs: see docs/agent-protocol.md. */
void fixture_sign(struct fixture *fixture, order_type *order, int64_t expires_in_us)
{
    static Google__Protobuf__Timestamp expires;
    static uint8_t signature[KEY_SIGNATURE_BYTES];
    AUTO_BUF struct buf payload = BUF_INIT(1024 * 1024);
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    int64_t expires_at = clock_wall(clock_system()).value + expires_in_us;
    order_type bare = *order;
    bare.relay_id = CONST_CAST(char *, "");
    bare.actor = CONST_CAST(char *, "");
    bare.expires_at = NULL;
    bare.signature.len = 0;
    wire_pack(&bare.base, &payload);
    const struct command_signature_fields fields = { .server_id = STR(SERVER_ID),
                                                     .agent_id = AGENT_ID,
                                                     .command_id = str_of(order->relay_id),
                                                     .actor = str_of(order->actor),
                                                     .expires_at = { expires_at },
                                                     .payload = buf_view(&payload) };
    command_signature_message(&fields, &message);
    key_sign_message(fixture->key, buf_view(&message), signature);
    google__protobuf__timestamp__init(&expires);
    expires.seconds = expires_at / US_PER_SECOND;
    expires.nanos = (int32_t)(expires_at % US_PER_SECOND) * 1000;
    order->expires_at = &expires;
    order->signature = (ProtobufCBinaryData){ sizeof(signature), signature };
}

void fixture_hand_over(struct fixture *fixture, const order_type *order)
{
    const struct verify_context who = { .server_id = SERVER_ID,
                                        .agent_id = AGENT_ID,
                                        .command_pubkey = key_sign_public(fixture->key),
                                        .now = clock_wall(clock_system()) };
    bridges_open(fixture->bridges, &who, order);
}

static struct side *give(struct fixture *fixture, const char *sandbox_id, order_type *order)
{
    struct side *side = fixture_order(fixture, sandbox_id, order);
    fixture_sign(fixture, order, 10 * US_PER_SECOND);
    fixture_hand_over(fixture, order);
    return side;
}

struct side *fixture_exec(
    struct fixture *fixture,
    const char *sandbox_id,
    const char *const *argv,
    const Agentgateway__V1__RelayExec *like)
{
    order_type order = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    Agentgateway__V1__RelayExec exec = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    exec = like == NULL ? exec : *like;
    for (exec.n_command = 0; argv[exec.n_command] != NULL; exec.n_command++) {
    }
    exec.command = CONST_CAST(char **, argv);
    order.target_case = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_EXEC;
    order.exec = &exec;
    return give(fixture, sandbox_id, &order);
}

struct side *fixture_shell(struct fixture *fixture, const char *sandbox_id, const char *script)
{
    const char *const argv[] = { "sh", "-c", script, NULL };
    return fixture_exec(fixture, sandbox_id, argv, NULL);
}

struct side *fixture_connect(
    struct fixture *fixture, const char *sandbox_id, const char *host, unsigned port)
{
    order_type order = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    Agentgateway__V1__RelayTcp tcp = AGENTGATEWAY__V1__RELAY_TCP__INIT;
    tcp.host = CONST_CAST(char *, host);
    tcp.port = port;
    order.target_case = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_TCP;
    order.tcp = &tcp;
    return give(fixture, sandbox_id, &order);
}

/* ---- The server's frames ---- */

static bool has_joined(const struct side *side)
{
    return side->stream != NULL;
}

static bool has_room(const struct side *side)
{
    return side->sent - side->taken + PIECE_BYTES <= RELAY_INPUT_WINDOW_BYTES || side->is_closed;
}

void fixture_frame(struct side *side, const frame_type *frame)
{
    fixture_wait(side, has_joined);
    enum err_code code = rpc_stream_send(side->stream, &frame->base);
    for (int i = 0; i < 1000 && code == ERR_LIMIT; i++) { /* much is on its way */
        fixture_turn(side->fixture, 5 * US_PER_MS);
        code = rpc_stream_send(side->stream, &frame->base);
    }
    assert_true(code == ERR_OK || code == ERR_CANCELED);
}

void fixture_say(struct side *side, struct str_view data)
{
    fixture_wait(side, has_joined);
    while (data.len > 0) {
        frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
        size_t bytes = data.len < PIECE_BYTES ? data.len : PIECE_BYTES;
        fixture_wait(side, has_room);
        frame.frame_case = FRAME(DATA);
        frame.data = (ProtobufCBinaryData){ bytes, CONST_CAST(uint8_t *, data.ptr) };
        side->sent += bytes;
        fixture_frame(side, &frame);
        data = str_from(data.ptr + bytes, data.len - bytes);
    }
}

void fixture_end(struct side *side)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayEnd end = AGENTGATEWAY__V1__RELAY_END__INIT;
    frame.frame_case = FRAME(END);
    frame.end = &end;
    fixture_frame(side, &frame);
}

void fixture_cancel(struct side *side)
{
    fixture_wait(side, has_joined);
    rpc_stream_finish(side->stream, ERR_CANCELED, "the operator has gone");
}

void fixture_hold(struct side *side, bool holds)
{
    LOCK_GUARD(&side->fixture->lock);
    side->holds = holds;
    if (side->stream != NULL) {
        rpc_stream_wake(side->stream);
    }
}

/* ---- Waiting ---- */

static bool is_so_now(struct side *side, bool (*is_so)(const struct side *side))
{
    LOCK_GUARD(&side->fixture->lock);
    return is_so(side);
}

void fixture_wait(struct side *side, bool (*is_so)(const struct side *side))
{
    struct loop *loop = side->fixture->loop;
    int64_t deadline = loop_now(loop).value + PATIENCE_US;
    while (!is_so_now(side, is_so)) {
        if (loop_now(loop).value > deadline) {
            fail_msg(
                "not in time; out %llu bytes, err \"%s\", failure %d \"%s\"",
                (unsigned long long)side->received,
                buf_text(&side->err),
                side->failure,
                side->text);
        }
        loop_step(loop, 5);
    }
}

bool side_has_exit(const struct side *side)
{
    return side->has_exit;
}

bool side_has_failed(const struct side *side)
{
    return side->failure != 0;
}

bool side_has_end(const struct side *side)
{
    return side->has_end;
}

bool side_is_closed(const struct side *side)
{
    return side->is_closed;
}

bool side_has_output(const struct side *side)
{
    return side->received > 0;
}

void fixture_wait_text(struct side *side, const char *text)
{
    struct loop *loop = side->fixture->loop;
    int64_t deadline = loop_now(loop).value + PATIENCE_US;
    for (bool is_there = false; !is_there;) {
        loop_step(loop, 5);
        LOCK_GUARD(&side->fixture->lock);
        is_there = strstr(buf_text(&side->out), text) != NULL;
        if (!is_there && loop_now(loop).value > deadline) {
            fail_msg("no \"%s\" in \"%s\"", text, buf_text(&side->out));
        }
    }
}

void fixture_wait_idle(struct fixture *fixture)
{
    int64_t deadline = loop_now(fixture->loop).value + PATIENCE_US;
    while (bridges_count(fixture->bridges) > 0 && loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 5);
    }
    assert_int_equal(bridges_count(fixture->bridges), 0);
}

int fixture_run(
    struct fixture *fixture,
    const char *sandbox_id,
    const char *script,
    char *ret_out,
    size_t bytes)
{
    struct side *side = fixture_shell(fixture, sandbox_id, script);
    fixture_end(side);
    fixture_wait(side, side_has_exit);
    fixture_wait(side, side_is_closed);
    if (bytes > 0) {
        int used = snprintf(ret_out, bytes, "%s", buf_text(&side->out));
        assert_true(used >= 0 && (size_t)used < bytes);
    }
    return side->exit_code;
}
