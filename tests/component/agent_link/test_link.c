/*
 * The link against a small gateway in this process that keeps the contract (or breaks it where a
 * test asks): enrollment, handshake, resume, uploads with lost answers, commands, goaway, refusals.
 */
#include "belay_descriptors.h"
#include "cmd/agent/link/challenge.h"
#include "cmd/agent/link/link.h"
#include "common/base/cleanup.h"
#include "common/rpc/server.h"
#include "common/sql/sql.h"
#include "tests/support/open_gate.h"
#include "tests/support/test.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    AGENT_ID = 42,
    SEQUENCES_MAX = 4096
};

#define TOKEN     "blt_0123456789abcdefghijABCDEFGHIJ-_0123456789a"
#define API_KEY   "bla_0123456789abcdefghijABCDEFGHIJ-_0123456789a"
#define NEW_KEY   "bla_NEW3456789abcdefghijABCDEFGHIJ-_0123456789a"
#define SESSION   "bls_0123456789abcdefghijABCDEFGHIJ-_0123456789a"
#define SERVER_ID "srv_test"

struct gateway {
    struct rpc_server *server;
    struct wire_schema *schema;
    struct key_sign *command_key;
    /* faults, set by tests before the link starts */
    atomic_int pending_rounds;  /* Register answers PENDING so often */
    atomic_int lost_registers;  /* registered, but the answer is lost */
    atomic_int wrong_tags;      /* Begin gives a challenge that is not for this agent */
    atomic_int lost_uploads;    /* stored, but the answer is lost */
    atomic_int poison_sequence; /* refused with INVALID */
    atomic_bool accepts_new_key;
    atomic_bool refuses_all;
    atomic_bool forgot_session; /* until the next handshake */
    atomic_int ends_with;       /* a woken control stream ends so instead of a goaway */
    atomic_ullong acked;
    /* what was seen */
    atomic_int registers;
    atomic_int handshakes;
    atomic_int heartbeats;
    atomic_int opened;
    atomic_int acks;
    atomic_int uploads;
    atomic_int stored;
    uint8_t identity[KEY_PUBLIC_BYTES];
    uint8_t encryption[KEY_PUBLIC_BYTES];
    uint8_t challenge[CHALLENGE_BYTES];
    _Atomic(struct rpc_stream *) control;
};

static struct gateway *gateway_of(struct rpc_call *call)
{
    return rpc_call_service(call);
}

static Google__Protobuf__Timestamp *timestamp_in(struct rpc_call *call, int64_t from_now_seconds)
{
    Google__Protobuf__Timestamp *time =
        wire_new(rpc_call_arena(call), &google__protobuf__timestamp__descriptor);
    time->seconds = clock_wall(clock_system()).value / US_PER_SECOND + from_now_seconds;
    return time;
}

static bool take(atomic_int *counter)
{
    if (atomic_load(counter) <= 0) {
        return false;
    }
    atomic_fetch_sub(counter, 1);
    return true;
}

static void seal(
    struct gateway *gateway, const char *key, struct rpc_call *call, ProtobufCBinaryData *out)
{
    AUTO_BUF struct buf box = BUF_INIT(1024);
    assert_ok(key_seal(gateway->encryption, str_of(key), &box));
    out->data = arena_dup(rpc_call_arena(call), box.data, box.len);
    out->len = box.len;
}

static enum err_code handle_register(
    struct rpc_call *call,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct gateway *gateway = gateway_of(call);
    const Agentgateway__V1__RegisterRequest *request = (const void *)message;
    Agentgateway__V1__RegisterResponse *reply =
        wire_new(rpc_call_arena(call), &agentgateway__v1__register_response__descriptor);
    atomic_fetch_add(&gateway->registers, 1);
    if (strcmp(request->enrollment_token, TOKEN) != 0) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the token is not valid");
    }
    memcpy(gateway->identity, request->identity_pubkey.data, KEY_PUBLIC_BYTES);
    memcpy(gateway->encryption, request->encryption_pubkey.data, KEY_PUBLIC_BYTES);
    if (take(&gateway->lost_registers)) {
        return ERR_SET(err, ERR_UNAVAILABLE, "the answer is lost");
    }
    reply->agent_id = AGENT_ID;
    reply->server_id = (char *)(uintptr_t)SERVER_ID;
    reply->enrollment_status = AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_PENDING;
    reply->poll_after_ms = 1;
    if (!take(&gateway->pending_rounds)) {
        reply->enrollment_status = AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_CONFIRMED;
        seal(gateway, API_KEY, call, &reply->sealed_api_key);
        reply->command_pubkey.data = (uint8_t *)(uintptr_t)key_sign_public(gateway->command_key);
        reply->command_pubkey.len = KEY_PUBLIC_BYTES;
    }
    *ret_reply = &reply->base;
    return ERR_OK;
}

static enum err_code handle_begin(
    struct rpc_call *call,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct gateway *gateway = gateway_of(call);
    const Agentgateway__V1__BeginAuthHandshakeRequest *request = (const void *)message;
    Agentgateway__V1__BeginAuthHandshakeResponse *reply = wire_new(
        rpc_call_arena(call), &agentgateway__v1__begin_auth_handshake_response__descriptor);
    bool new_key = strcmp(request->api_key, NEW_KEY) == 0 && atomic_load(&gateway->accepts_new_key);
    if (atomic_load(&gateway->refuses_all)
        || (strcmp(request->api_key, API_KEY) != 0 && !new_key)) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the key is not valid");
    }
    challenge_tag(
        SERVER_ID, take(&gateway->wrong_tags) ? AGENT_ID + 1 : AGENT_ID, gateway->challenge);
    memset(gateway->challenge + CHALLENGE_TAG_BYTES, atomic_load(&gateway->handshakes) + 1, 32);
    reply->challenge.data = gateway->challenge;
    reply->challenge.len = CHALLENGE_BYTES;
    reply->expires_at = timestamp_in(call, 30);
    *ret_reply = &reply->base;
    return ERR_OK;
}

static enum err_code handle_complete(
    struct rpc_call *call,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct gateway *gateway = gateway_of(call);
    const Agentgateway__V1__CompleteAuthHandshakeRequest *request = (const void *)message;
    Agentgateway__V1__CompleteAuthHandshakeResponse *reply = wire_new(
        rpc_call_arena(call), &agentgateway__v1__complete_auth_handshake_response__descriptor);
    struct str_view challenge = str_from((const char *)gateway->challenge, CHALLENGE_BYTES);
    if (!key_verify(gateway->identity, challenge, request->signature.data)) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the signature is wrong");
    }
    atomic_fetch_add(&gateway->handshakes, 1);
    atomic_store(&gateway->forgot_session, false);
    reply->session_token = (char *)(uintptr_t)SESSION;
    reply->expires_at = timestamp_in(call, 86400);
    reply->heartbeat_interval_ms = 1000;
    reply->telemetry_acked_sequence = atomic_load(&gateway->acked);
    *ret_reply = &reply->base;
    return ERR_OK;
}

static bool has_session(struct rpc_call *call)
{
    unsigned count = 0;
    return str_equal(rpc_call_metadata(call, "authorization", &count), STR("Bearer " SESSION))
        && count == 1 && !atomic_load(&gateway_of(call)->forgot_session);
}

static enum err_code handle_heartbeat(
    struct rpc_call *call,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    Agentgateway__V1__UploadHeartbeatResponse *reply =
        wire_new(rpc_call_arena(call), &agentgateway__v1__upload_heartbeat_response__descriptor);
    (void)message;
    if (!has_session(call)) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "no session");
    }
    atomic_fetch_add(&gateway_of(call)->heartbeats, 1);
    reply->received_at = timestamp_in(call, 0);
    *ret_reply = &reply->base;
    return ERR_OK;
}

static enum err_code stream_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    struct gateway *gateway = gateway_of(rpc_stream_call(stream));
    if (!has_session(rpc_stream_call(stream))) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "no session");
    }
    *ret_state = gateway;
    return ERR_OK;
}

/* Exactly once, as the server does it: what is not above the mark changes nothing. */
static void upload_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct gateway *gateway = state;
    const Agentgateway__V1__UploadTelemetryRequest *request = (const void *)message;
    if ((int)request->sequence == atomic_load(&gateway->poison_sequence)) {
        rpc_stream_finish(stream, ERR_INVALID, "payload: not readable");
        return;
    }
    if (request->sequence > atomic_load(&gateway->acked)) {
        atomic_store(&gateway->acked, request->sequence);
        atomic_fetch_add(&gateway->stored, 1);
    }
}

static void upload_half_closed(struct rpc_stream *stream, void *state)
{
    struct gateway *gateway = state;
    Agentgateway__V1__UploadTelemetryResponse reply =
        AGENTGATEWAY__V1__UPLOAD_TELEMETRY_RESPONSE__INIT;
    atomic_fetch_add(&gateway->uploads, 1);
    if (take(&gateway->lost_uploads)) {
        rpc_stream_finish(stream, ERR_UNAVAILABLE, "the answer is lost");
        return;
    }
    reply.acked_sequence = atomic_load(&gateway->acked);
    (void)!rpc_stream_send(stream, &reply.base);
    rpc_stream_finish(stream, ERR_OK, NULL);
}

static void events_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)stream;
    (void)state;
    (void)message;
}

static void stream_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    (void)state;
}

static void control_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct gateway *gateway = state;
    const Agentgateway__V1__ControlStreamRequest *request = (const void *)message;
    Agentgateway__V1__ControlStreamResponse response =
        AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__INIT;
    Agentgateway__V1__ControlAccepted accepted = AGENTGATEWAY__V1__CONTROL_ACCEPTED__INIT;
    if (request->message_case == AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_ACK) {
        atomic_fetch_add(&gateway->acks, 1);
        return;
    }
    accepted.server_time = timestamp_in(rpc_stream_call(stream), 0);
    response.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_ACCEPTED;
    response.accepted = &accepted;
    (void)!rpc_stream_send(stream, &response.base);
    rpc_stream_unref(atomic_exchange(&gateway->control, rpc_stream_ref(stream)));
    atomic_fetch_add(&gateway->opened, 1);
}

/* Wakes stand for what an operator does: a goaway, or worse. */
static void control_woken(struct rpc_stream *stream, void *state)
{
    struct gateway *gateway = state;
    if (atomic_load(&gateway->ends_with) != ERR_OK) {
        rpc_stream_finish(stream, (enum err_code)atomic_load(&gateway->ends_with), "as asked");
        return;
    }
    Agentgateway__V1__ControlStreamResponse response =
        AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__INIT;
    Agentgateway__V1__Goaway goaway = AGENTGATEWAY__V1__GOAWAY__INIT;
    goaway.reason = (char *)(uintptr_t) "test";
    response.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_GOAWAY;
    response.goaway = &goaway;
    (void)!rpc_stream_send(stream, &response.base);
}

static void control_half_closed(struct rpc_stream *stream, void *state)
{
    (void)state;
    rpc_stream_finish(stream, ERR_OK, NULL);
}

static const struct rpc_stream_ops upload_ops = { .open = stream_open,
                                                  .message = upload_message,
                                                  .half_closed = upload_half_closed,
                                                  .closed = stream_closed };
static const struct rpc_stream_ops events_ops = { .open = stream_open,
                                                  .message = events_message,
                                                  .half_closed = upload_half_closed,
                                                  .closed = stream_closed };
static const struct rpc_stream_ops control_ops = { .open = stream_open,
                                                   .message = control_message,
                                                   .half_closed = control_half_closed,
                                                   .woken = control_woken,
                                                   .closed = stream_closed };

/* Gives back what it gets. */
static void relay_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)state;
    (void)!rpc_stream_send(stream, message);
}

static const struct rpc_stream_ops relay_ops = { .open = stream_open,
                                                 .message = relay_message,
                                                 .half_closed = control_half_closed,
                                                 .closed = stream_closed };

#define PATH(name) "/agentgateway.v1.AgentGatewayService/" name
#define TYPES(in, out)                                                                      \
    .input = &agentgateway__v1__##in##__descriptor,                                         \
    .output = &agentgateway__v1__##out##__descriptor, .max_request_bytes = 2 * 1024 * 1024, \
    .policy = ""

static const struct rpc_method methods[] = {
    { .path = PATH("Register"),
      .unary = handle_register,
      TYPES(register_request, register_response) },
    { .path = PATH("BeginAuthHandshake"),
      .unary = handle_begin,
      TYPES(begin_auth_handshake_request, begin_auth_handshake_response) },
    { .path = PATH("CompleteAuthHandshake"),
      .unary = handle_complete,
      TYPES(complete_auth_handshake_request, complete_auth_handshake_response) },
    { .path = PATH("UploadHeartbeat"),
      .unary = handle_heartbeat,
      TYPES(upload_heartbeat_request, upload_heartbeat_response) },
    { .path = PATH("UploadTelemetry"),
      .kind = RPC_CLIENT_STREAM,
      .stream = &upload_ops,
      TYPES(upload_telemetry_request, upload_telemetry_response) },
    { .path = PATH("UploadEvents"),
      .kind = RPC_CLIENT_STREAM,
      .stream = &events_ops,
      TYPES(upload_events_request, upload_events_response) },
    { .path = PATH("ControlStream"),
      .kind = RPC_BIDI,
      .stream = &control_ops,
      TYPES(control_stream_request, control_stream_response) },
    { .path = PATH("RelayStream"),
      .kind = RPC_BIDI,
      .stream = &relay_ops,
      TYPES(relay_frame, relay_frame) },
};

struct world {
    struct gateway gateway;
    char *dir;
    char *target;
    struct loop *loop;
    struct state *state;
    struct spool *spool;
    struct link *link;
    struct host_facts facts;
    struct loop_timer *check;
    bool (*until)(struct world *world);
    int checks;
    bool reached;
    bool was_pending;
    int problems;
    bool is_mended; /* the spool, which refused */
    enum err_code last_problem;
    int onlines;
    bool is_stopped;
    struct rpc_client_stream *relay;
    int said;
    int echoes; /* that the relay brought */
    bool is_relay_closed;
};

static void on_pending(void *context, const char *fingerprint)
{
    struct world *world = context;
    world->was_pending = strlen(fingerprint) == 39;
}

static void on_online(void *context)
{
    struct world *world = context;
    struct command_outcome outcome = { .succeeded = true, .code = 1 };
    world->onlines++;
    /* The server may have ended the stream meanwhile: then there is another online. */
    enum err_code code = link_send_ack(world->link, STR("cmd_1"), &outcome, NULL);
    assert_true(code == ERR_OK || code == ERR_UNAVAILABLE);
}

static void on_problem(void *context, enum err_code code, const char *text)
{
    struct world *world = context;
    (void)text;
    world->problems++;
    world->last_problem = code;
}

static void on_command(void *context, const Agentgateway__V1__ControlCommand *command)
{
    (void)context;
    (void)command;
}

static void on_stopped(void *context)
{
    struct world *world = context;
    world->is_stopped = true;
}

static bool has_relays(void *context)
{
    const struct world *world = context;
    return world->relay != NULL && !world->is_relay_closed;
}

static const struct link_ops ops = { .has_relays = has_relays,
                                     .pending = on_pending,
                                     .online = on_online,
                                     .problem = on_problem,
                                     .command = on_command,
                                     .stopped = on_stopped };

static void on_check(void *context)
{
    struct world *world = context;
    world->reached = world->until(world);
    if (world->reached || ++world->checks > 3000) { /* thirty seconds */
        loop_stop(world->loop);
        return;
    }
    loop_timer_arm_after(world->check, 10 * US_PER_MS);
}

static void open_loop(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, loop_create(clock_system(), &world->loop, &err));
    world->check = loop_timer_create(world->loop, on_check, world);
}

static void open_link(struct world *world, bool enrolls)
{
    struct err_info err = ERR_INFO_INIT;
    struct link_join join = { .token = STR(TOKEN), .target = world->target, .name = "test agent" };
    struct link_options options = { .loop = world->loop,
                                    .clock = clock_system(),
                                    .schema = world->gateway.schema,
                                    .state = world->state,
                                    .spool = world->spool,
                                    .facts = &world->facts,
                                    .agent_version = "test",
                                    .ops = &ops,
                                    .context = world,
                                    .join = enrolls ? &join : NULL,
                                    .upload_bytes = 4096 };
    assert_ok_err(err, link_create(&options, &world->link, &err));
    link_start(world->link);
}

/* Runs the loop until the condition holds; fails the test if it never does. */
static void run_until(struct world *world, bool (*until)(struct world *world))
{
    world->until = until;
    world->checks = 0;
    loop_timer_arm_after(world->check, 0);
    loop_run(world->loop);
    if (!world->reached) {
        struct link_view view;
        link_get_view(world->link, &view);
        fail_msg("never reached; link %s, last error: %s", view.state, view.last_error);
    }
}

/* A loop that was stopped does not run again: the link comes back on a new one. */
static void restart(struct world *world, bool enrolls)
{
    link_destroy(world->link);
    loop_timer_destroy(world->check);
    loop_destroy(world->loop);
    open_loop(world);
    open_link(world, enrolls);
}

static void open_gateway(struct world *world)
{
    struct gateway *gateway = &world->gateway;
    struct err_info err = ERR_INFO_INIT;
    static const struct rpc_table table = { methods, ARRAY_LENGTH(methods) };
    assert_ok_err(
        err, wire_schema_load(belay_descriptors, belay_descriptors_size, &gateway->schema, &err));
    gateway->command_key = key_sign_create();
    struct rpc_server_options options = { .schema = gateway->schema,
                                          .tables = &table,
                                          .table_count = 1,
                                          .gate = OPEN_GATE,
                                          .service = gateway,
                                          .pollers = 1,
                                          .workers = 1 };
    struct rpc_listen_options listen = { .name = "agents", .address = world->target };
    assert_ok_err(err, rpc_server_create(&options, &gateway->server, &err));
    assert_ok_err(err, rpc_server_listen(gateway->server, &listen, NULL, &err));
    assert_ok_err(err, rpc_server_start(gateway->server, &err));
}

static int set_up(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    struct err_info err = ERR_INFO_INIT;
    world->dir = test_dir_create();
    world->target = mem_printf("unix:%s/gateway.sock", world->dir);
    AUTO_FREE char *state_dir = mem_printf("%s/state", world->dir);
    AUTO_FREE char *spool_path = mem_printf("%s/spool.db", world->dir);
    struct spool_options spool = { .path = spool_path,
                                   .clock = clock_system(),
                                   .max_bytes = 64 * 1024 * 1024,
                                   .max_age_us = US_PER_DAY };
    open_gateway(world);
    open_loop(world);
    assert_ok_err(err, state_open(state_dir, &world->state, &err));
    assert_ok_err(err, state_load_keys(world->state, &err));
    assert_ok_err(err, spool_open(&spool, &world->spool, &err));
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    link_destroy(world->link);
    loop_timer_destroy(world->check);
    loop_destroy(world->loop);
    rpc_stream_unref(atomic_exchange(&world->gateway.control, NULL));
    rpc_server_destroy(world->gateway.server);
    spool_close(world->spool);
    state_close(world->state);
    key_sign_destroy(world->gateway.command_key);
    wire_schema_destroy(world->gateway.schema);
    test_dir_remove(world->dir);
    mem_free(world->target);
    mem_free(world);
    return 0;
}

static void append(struct world *world, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct spool_input input = { .stream = SPOOL_TELEMETRY,
                                     .captured_at = clock_wall(clock_system()),
                                     .payload = STR("0123456789012345678901234567890123456789") };
        assert_ok(spool_append(world->spool, &input, 1, NULL));
    }
}

static uint64_t waiting(struct world *world)
{
    struct spool_stats stats;
    spool_get_stats(world->spool, &stats);
    return stats.streams[SPOOL_TELEMETRY].records;
}

static bool is_online_and_empty(struct world *world)
{
    return world->onlines > 0 && waiting(world) == 0 && atomic_load(&world->gateway.heartbeats) > 0
        && atomic_load(&world->gateway.acks) > 0;
}

static void test_from_a_token_to_an_empty_spool(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.pending_rounds, 1);
    append(world, 300);
    open_link(world, true);
    run_until(world, is_online_and_empty);
    assert_true(world->was_pending);
    assert_int_equal(atomic_load(&world->gateway.stored), 300);
    assert_true(atomic_load(&world->gateway.uploads) > 1);
    assert_int_equal(world->problems, 0);
    struct state_enrollment enrollment;
    assert_ok(state_load_enrollment(world->state, &enrollment, NULL));
    assert_int_equal(enrollment.agent_id, AGENT_ID);
    assert_string_equal(enrollment.server_id, SERVER_ID);
    restart(world, false); /* and with what is on disk */
    world->onlines = 0;
    run_until(world, is_online_and_empty);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 2);
}

static void test_a_lost_register_reply_is_harmless(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.lost_registers, 1);
    open_link(world, true);
    run_until(world, is_online_and_empty);
    assert_int_equal(atomic_load(&world->gateway.registers), 2);
}

/* The server stored them, the agent was not told: they go again and change nothing. */
static void test_lost_upload_answers_duplicate_nothing(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.lost_uploads, 1);
    append(world, 150);
    open_link(world, true);
    run_until(world, is_online_and_empty);
    assert_int_equal(atomic_load(&world->gateway.stored), 150);
    struct spool_stats stats;
    spool_get_stats(world->spool, &stats);
    assert_int_equal(stats.streams[SPOOL_TELEMETRY].acked_sequence, 150);
}

static void test_a_poisonous_record_does_not_hold_up_the_others(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.poison_sequence, 20);
    append(world, 60);
    open_link(world, true);
    run_until(world, is_online_and_empty);
    assert_int_equal(atomic_load(&world->gateway.stored), 59);
    struct spool_stats stats;
    spool_get_stats(world->spool, &stats);
    assert_int_equal(stats.streams[SPOOL_TELEMETRY].quarantined, 1);
}

/* The agent lost its spool, the server has 500 from it: the new records follow them. */
static void test_a_fresh_spool_resumes_behind_the_servers_mark(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.acked, 500);
    append(world, 10);
    open_link(world, true);
    run_until(world, is_online_and_empty);
    assert_int_equal(atomic_load(&world->gateway.stored), 10);
    assert_int_equal(atomic_load(&world->gateway.acked), 510);
}

static bool has_problem(struct world *world)
{
    return world->problems > 0;
}

static void change_spool(const struct world *world, const char *script)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    AUTO_FREE char *url = mem_printf("sqlite:%s/spool.db", world->dir);
    assert_ok_err(err, sql_connect(&(struct sql_options){ .url = url }, &conn, &err));
    assert_ok_err(err, sql_exec_script(conn, script, &err));
    sql_close(conn);
}

/* Mends the disk once the link is online without it. */
static bool is_mended_and_empty(struct world *world)
{
    bool is_held = has_problem(world) && world->onlines > 0
        && atomic_load(&world->gateway.heartbeats) > 0 && !world->is_mended;
    if (is_held) {
        assert_int_equal(waiting(world), 10);
        change_spool(world, "DROP TRIGGER refuse");
        world->is_mended = true;
        link_poke(world->link);
    }
    return world->is_mended && is_online_and_empty(world);
}

/* The disk refused the new numbers, the session went on, and the server took the old ones for
 * repetitions: acknowledged, trimmed, lost. */
static void test_a_mark_that_the_spool_cannot_take_holds_the_records_back(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.acked, 500);
    append(world, 10);
    change_spool(
        world,
        "CREATE TRIGGER refuse BEFORE UPDATE OF sequence ON record "
        "BEGIN SELECT RAISE(ABORT, 'the disk refuses'); END");
    open_link(world, true);
    run_until(world, is_mended_and_empty);
    assert_int_equal(atomic_load(&world->gateway.stored), 10);
    assert_int_equal(atomic_load(&world->gateway.acked), 510);
}

static void test_a_challenge_for_another_agent_is_not_signed(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.wrong_tags, 1);
    open_link(world, true);
    run_until(world, has_problem);
    assert_int_equal(world->last_problem, ERR_DENIED);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 0);
}

static void test_a_refused_key_is_told(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.refuses_all, true);
    open_link(world, true);
    run_until(world, has_problem);
    assert_int_equal(world->last_problem, ERR_UNAUTHENTICATED);
    struct link_view view;
    link_get_view(world->link, &view);
    assert_string_equal(view.state, "disconnected");
    assert_non_null(strstr(view.last_error, "the key is not valid"));
}

static void test_a_rotated_key_is_taken_and_a_useless_one_is_not(void **state)
{
    struct world *world = *state;
    AUTO_SECRET struct secret *key = secret_create(NEW_KEY, sizeof(NEW_KEY) - 1);
    AUTO_SECRET struct secret *now = NULL;
    AUTO_SECRET struct secret *left = NULL;
    open_link(world, true);
    run_until(world, is_online_and_empty);
    assert_ok(state_save_api_key(world->state, true, key, NULL));
    restart(world, false); /* the server does not know it yet: the old one still works */
    world->onlines = 0;
    run_until(world, is_online_and_empty);
    assert_int_equal(world->problems, 1);
    atomic_store(&world->gateway.accepts_new_key, true);
    restart(world, false);
    world->onlines = 0;
    run_until(world, is_online_and_empty);
    assert_ok(state_load_api_key(world->state, false, &now, NULL));
    assert_true(secret_equal(secret_peek(now), STR(NEW_KEY)));
    assert_code(ERR_NOT_FOUND, state_load_api_key(world->state, true, &left, NULL));
}

static bool tried_twice(struct world *world)
{
    return world->problems >= 2;
}

static bool came_back(struct world *world)
{
    /* taken meanwhile: its thread lets go of the one before when a new stream begins */
    struct rpc_stream *control = atomic_exchange(&world->gateway.control, NULL);
    struct rpc_stream *none = NULL;
    if (control != NULL && atomic_load(&world->gateway.opened) == 1) {
        rpc_stream_wake(control);
    }
    if (control != NULL
        && !atomic_compare_exchange_strong(&world->gateway.control, &none, control)) {
        rpc_stream_unref(control);
    }
    return atomic_load(&world->gateway.opened) >= 2 && world->onlines >= 2;
}

static void test_after_a_goaway_it_comes_back_with_its_token(void **state)
{
    struct world *world = *state;
    open_link(world, true);
    run_until(world, came_back);
    assert_int_equal(world->problems, 0);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 1);
}

static bool came_back_and_is_empty(struct world *world)
{
    if (!came_back(world)) {
        return false;
    }
    if (atomic_load(&world->gateway.stored) == 0 && waiting(world) == 0) {
        append(world, 3);
        link_poke(world->link);
    }
    return is_online_and_empty(world);
}

/* Records that come later go up by the same session. */
static void test_a_connection_that_breaks_costs_no_handshake(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.ends_with, ERR_UNAVAILABLE);
    open_link(world, true);
    run_until(world, came_back_and_is_empty);
    assert_int_equal(atomic_load(&world->gateway.stored), 3);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 1);
}

/* Once online, the server forgets its session. */
static bool is_forgotten_and_came_back(struct world *world)
{
    if (world->onlines == 1 && atomic_load(&world->gateway.handshakes) == 1) {
        atomic_store(&world->gateway.forgot_session, true);
    }
    return came_back(world);
}

/* The server does not know the session when the agent is back: it proves itself anew at once. */
static void test_a_forgotten_session_is_followed_by_a_handshake(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.ends_with, ERR_UNAVAILABLE);
    open_link(world, true);
    run_until(world, is_forgotten_and_came_back);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 2);
}

/* The stream's end, the token's refusal, the key's. */
static bool is_revoked_and_told(struct world *world)
{
    if (world->onlines == 1) {
        atomic_store(&world->gateway.refuses_all, true);
        (void)is_forgotten_and_came_back(world);
    }
    return world->problems >= 3;
}

static void test_a_revoked_agent_is_refused_at_once(void **state)
{
    struct world *world = *state;
    atomic_store(&world->gateway.ends_with, ERR_UNAVAILABLE);
    open_link(world, true);
    run_until(world, is_revoked_and_told);
    assert_int_equal(world->last_problem, ERR_UNAUTHENTICATED);
    assert_int_equal(atomic_load(&world->gateway.opened), 1);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 1);
    struct link_view view;
    link_get_view(world->link, &view);
    assert_non_null(strstr(view.last_error, "the key is not valid"));
    assert_string_equal(view.state, "disconnected");
}

static bool is_renewed(struct world *world)
{
    AUTO_SECRET struct secret *key = secret_create(NEW_KEY, sizeof(NEW_KEY) - 1);
    if (world->onlines == 1 && !atomic_load(&world->gateway.accepts_new_key)) {
        atomic_store(&world->gateway.accepts_new_key, true);
        assert_ok(state_save_api_key(world->state, true, key, NULL));
        link_renew(world->link);
    }
    return world->onlines >= 2;
}

/* A new key is proved with a new handshake, however good the token is. */
static void test_a_renewal_is_a_handshake(void **state)
{
    struct world *world = *state;
    AUTO_SECRET struct secret *now = NULL;
    open_link(world, true);
    run_until(world, is_renewed);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 2);
    assert_ok(state_load_api_key(world->state, false, &now, NULL));
    assert_true(secret_equal(secret_peek(now), STR(NEW_KEY)));
}

static void on_echo(void *context, const ProtobufCMessage *message)
{
    struct world *world = context;
    const Agentgateway__V1__RelayFrame *frame = (const void *)message;
    world->echoes += frame->data.len == 2 && memcmp(frame->data.data, "hi", 2) == 0 ? 1 : 0;
}

static void on_relay_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct world *world = context;
    (void)code;
    (void)err;
    world->is_relay_closed = true;
}

static void say_hi(struct world *world)
{
    Agentgateway__V1__RelayFrame frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    uint8_t bytes[] = { 'h', 'i' };
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA;
    frame.data = (ProtobufCBinaryData){ sizeof(bytes), bytes };
    assert_ok(rpc_client_stream_send(world->relay, &frame.base));
    world->said++;
}

/* Online with a relay; renewed, when it has brought what was sent; revoked, when it has done so
 * once more. */
static bool is_renewed_then_revoked(struct world *world)
{
    static const struct rpc_client_stream_ops here = { .message = on_echo,
                                                       .closed = on_relay_closed };
    if (world->relay == NULL && world->onlines == 1) {
        assert_ok(link_open_relay(world->link, &here, world, &world->relay, NULL));
        say_hi(world);
    } else if (world->said == 1 && world->echoes == 1) {
        world->said = 2;
        link_renew(world->link);
    } else if (world->said == 2 && world->onlines == 2) {
        assert_false(world->is_relay_closed);
        say_hi(world);
    } else if (world->said == 3 && world->echoes == 2) {
        world->said = 4;
        atomic_store(&world->gateway.refuses_all, true);
        link_renew(world->link);
    }
    return world->is_relay_closed;
}

/* A session's renewal is no reason to end what operators do here; the end of an agent's right is.
 */
static void test_relays_outlive_a_renewal_and_no_revocation(void **state)
{
    struct world *world = *state;
    open_link(world, true);
    run_until(world, is_renewed_then_revoked);
    assert_int_equal(world->said, 4);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 2);
    rpc_client_stream_release(world->relay);
}

/* The token is in no file: a process that starts has none. */
static void test_a_restart_is_a_handshake(void **state)
{
    struct world *world = *state;
    open_link(world, true);
    run_until(world, is_online_and_empty);
    restart(world, false);
    world->onlines = 0;
    run_until(world, is_online_and_empty);
    assert_int_equal(atomic_load(&world->gateway.handshakes), 2);
}

static bool has_stopped(struct world *world)
{
    if (world->onlines > 0 && !world->is_stopped) {
        link_stop(world->link);
    }
    return world->is_stopped;
}

static void test_stop_ends_gently(void **state)
{
    struct world *world = *state;
    open_link(world, true);
    run_until(world, has_stopped);
    assert_int_equal(world->problems, 0);
    struct link_view view;
    link_get_view(world->link, &view);
    assert_string_equal(view.state, "disconnected");
}

static void test_a_server_that_is_away(void **state)
{
    struct world *world = *state;
    mem_free(world->target);
    world->target = mem_printf("unix:%s/nobody.sock", world->dir);
    append(world, 3);
    open_link(world, true);
    run_until(world, tried_twice);
    assert_int_equal(world->last_problem, ERR_UNAVAILABLE);
    assert_int_equal(waiting(world), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_from_a_token_to_an_empty_spool),
        TEST(test_a_lost_register_reply_is_harmless),
        TEST(test_lost_upload_answers_duplicate_nothing),
        TEST(test_a_poisonous_record_does_not_hold_up_the_others),
        TEST(test_a_fresh_spool_resumes_behind_the_servers_mark),
        TEST(test_a_mark_that_the_spool_cannot_take_holds_the_records_back),
        TEST(test_a_challenge_for_another_agent_is_not_signed),
        TEST(test_a_refused_key_is_told),
        TEST(test_a_rotated_key_is_taken_and_a_useless_one_is_not),
        TEST(test_after_a_goaway_it_comes_back_with_its_token),
        TEST(test_a_connection_that_breaks_costs_no_handshake),
        TEST(test_a_forgotten_session_is_followed_by_a_handshake),
        TEST(test_a_revoked_agent_is_refused_at_once),
        TEST(test_a_renewal_is_a_handshake),
        TEST(test_relays_outlive_a_renewal_and_no_revocation),
        TEST(test_a_restart_is_a_handshake),
        TEST(test_stop_ends_gently),
        TEST(test_a_server_that_is_away),
    };
    int failed = crypto_start(NULL) == ERR_OK ? 0 : 1;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
