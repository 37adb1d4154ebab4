#include "common/sys/thread.h"
#include "tests/component/common_rpc/fixture.h"

static void test_a_call_is_answered(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 0;
    assert_ok_err(err, world_register(&world, "edge-1", NULL, &id, &err));
    assert_int_equal(id, 6);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_OK);
    struct rpc_server_stats stats;
    rpc_server_get_stats(world.server, &stats);
    assert_int_equal(stats.calls_started, 1);
    assert_int_equal(stats.calls_unknown, 0);
    world_destroy(&world);
}

static void test_an_error_keeps_its_code_and_text(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 0;
    assert_code(ERR_NOT_FOUND, world_register(&world, "missing", NULL, &id, &err));
    assert_string_equal(err.text, "no such thing: missing");
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_NOT_FOUND);
    world_destroy(&world);
}

static void test_a_request_out_of_bounds_never_reaches_the_handler(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 0;
    assert_code(ERR_INVALID, world_register(&world, "", NULL, &id, &err));
    assert_non_null(strstr(err.text, "name"));
    assert_int_equal(atomic_load(&world.handled), 0);
    world_destroy(&world);
}

static void test_an_oversized_request_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    char *name = mem_alloc(WORLD_REQUEST_MAX + 1);
    memset(name, 'x', WORLD_REQUEST_MAX);
    int64_t id = 0;
    assert_code(ERR_LIMIT, world_register(&world, name, NULL, &id, &err));
    mem_free(name);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.handled), 0);
    world_destroy(&world);
}

static void test_the_gate_refuses(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 0;
    const struct rpc_header header = { "x-gate", "refuse" };
    const struct rpc_call_options options = { .headers = &header, .header_count = 1 };
    assert_code(ERR_UNAUTHENTICATED, world_register(&world, "edge", &options, &id, &err));
    assert_string_equal(err.text, "who are you?");
    assert_int_equal(atomic_load(&world.handled), 0);
    const struct rpc_header twice[] = { { "x-gate", "a" }, { "x-gate", "b" } };
    const struct rpc_call_options doubled = { .headers = twice, .header_count = 2 };
    assert_code(ERR_UNAUTHENTICATED, world_register(&world, "edge", &doubled, &id, &err));
    world_destroy(&world);
}

static void test_an_unknown_method_is_unimplemented(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(1024);
    register_request request;
    agentgateway__v1__register_request__init(&request);
    ProtobufCMessage *reply = NULL;
    assert_code(
        ERR_UNSUPPORTED,
        rpc_channel_call(
            world.channel,
            "/no.Such/Thing",
            &request.base,
            &agentgateway__v1__register_response__descriptor,
            NULL,
            arena,
            &reply,
            &err));
    struct rpc_server_stats stats;
    rpc_server_get_stats(world.server, &stats);
    assert_int_equal(stats.calls_unknown, 1);
    assert_int_equal(atomic_load(&world.finished), 0);
    world_destroy(&world);
}

static void begin(struct world *world, const struct rpc_call_options *options, char where[7])
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024);
    uint8_t key[32] = { 1 };
    Agentgateway__V1__BeginAuthHandshakeRequest request;
    agentgateway__v1__begin_auth_handshake_request__init(&request);
    request.api_key = arena_strdup(arena, "an-api-key-that-is-long-enough");
    request.identity_pubkey = (ProtobufCBinaryData){ sizeof(key), key };
    ProtobufCMessage *reply = NULL;
    assert_ok_err(
        err,
        rpc_channel_call(
            world->channel,
            GATEWAY "BeginAuthHandshake",
            &request.base,
            &agentgateway__v1__begin_auth_handshake_response__descriptor,
            options,
            arena,
            &reply,
            &err));
    memcpy(where, ((Agentgateway__V1__BeginAuthHandshakeResponse *)reply)->challenge.data, 6);
    where[6] = '\0';
}

static void test_inline_runs_on_the_poller_also_when_the_gate_must_block(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    char where[7];
    begin(&world, NULL, where);
    assert_string_equal(where, "poller");
    const struct rpc_header header = { "x-gate", "block" };
    const struct rpc_call_options options = { .headers = &header, .header_count = 1 };
    begin(&world, &options, where);
    assert_string_equal(where, "poller");
    assert_int_equal(atomic_load(&world.admitted_on_worker), 1);
    world_destroy(&world);
}

static void test_the_callers_deadline_ends_the_call(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_call_options options = { .deadline_us = 50 * US_PER_MS };
    do { /* on a busy machine it may be over before the handler has begun */
        assert_code(ERR_TIMEOUT, world_slow_call(&world, &options, &err));
        options.deadline_us *= 2;
    } while (atomic_load(&world.entered) == 0 && options.deadline_us < 20 * US_PER_SECOND);
    world_wait(&world, &world.canceled, 1);
    world_wait(&world, &world.finished, 1);
    /* The caller's reset may come in just before our own clock says so. */
    int status = atomic_load(&world.last_status);
    assert_true(status == RPC_DEADLINE_EXCEEDED || status == RPC_CANCELLED);
    world_destroy(&world);
}

static void test_the_rows_deadline_ends_the_call(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024);
    Google__Protobuf__Timestamp now;
    google__protobuf__timestamp__init(&now);
    now.seconds = 1767225600;
    Agentgateway__V1__UploadHeartbeatRequest request;
    agentgateway__v1__upload_heartbeat_request__init(&request);
    request.sent_at = &now;
    ProtobufCMessage *reply = NULL;
    assert_code(
        ERR_TIMEOUT,
        rpc_channel_call(
            world.channel,
            GATEWAY "UploadHeartbeat",
            &request.base,
            &agentgateway__v1__upload_heartbeat_response__descriptor,
            NULL,
            arena,
            &reply,
            &err));
    assert_string_equal(err.text, "the time for this method is over");
    world_wait(&world, &world.canceled, 1);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_DEADLINE_EXCEEDED);
    world_destroy(&world);
}

struct caller {
    struct world *world;
    struct thread thread;
    enum err_code code;
    struct err_info err;
    int calls;
};

static void call_slow(void *context)
{
    struct caller *caller = context;
    caller->code = world_slow_call(caller->world, NULL, &caller->err);
}

static void test_a_client_that_goes_away_cancels_the_handler(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct caller caller = { .world = &world };
    assert_ok_err(err, thread_start(&caller.thread, "caller", call_slow, &caller, &err));
    world_wait(&world, &world.entered, 1);
    rpc_channel_destroy(world.channel);
    thread_join(&caller.thread);
    world.channel = NULL;
    assert_int_equal(caller.code, ERR_CANCELED);
    world_wait(&world, &world.canceled, 1);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_CANCELLED);
    world_destroy(&world);
}

static void test_calls_beyond_the_queue_are_refused(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 2); /* and three workers */
    struct err_info err = ERR_INFO_INIT;
    struct caller callers[5] = { 0 };
    for (int i = 0; i < 5; i++) {
        callers[i].world = &world;
        assert_ok_err(
            err, thread_start(&callers[i].thread, "caller", call_slow, &callers[i], &err));
        if (i < 3) {
            world_wait(&world, &world.entered, i + 1);
        }
    }
    enum err_code code = ERR_OK;
    for (int i = 0; i < 100 && code != ERR_LIMIT; i++) { /* until the two are in the queue */
        const struct rpc_call_options options = { .deadline_us = 20 * US_PER_MS };
        code = world_slow_call(&world, &options, &err);
    }
    assert_int_equal(code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "busy"));
    world_release(&world);
    for (int i = 0; i < 5; i++) {
        thread_join(&callers[i].thread);
    }
    rpc_channel_destroy(STEAL(world.channel));
    rpc_server_drain(world.server, 0);
    world_destroy(&world);
}

static void call_many(void *context)
{
    struct caller *caller = context;
    for (int i = 0; i < 200 && caller->code == ERR_OK; i++) {
        int64_t id = 0;
        caller->code = world_register(caller->world, "many", NULL, &id, &caller->err);
        caller->calls += id == 4 ? 1 : 0;
    }
}

static void test_many_concurrent_calls(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct caller callers[8] = { 0 };
    for (int i = 0; i < 8; i++) {
        callers[i].world = &world;
        assert_ok_err(
            err, thread_start(&callers[i].thread, "caller", call_many, &callers[i], &err));
    }
    for (int i = 0; i < 8; i++) {
        thread_join(&callers[i].thread);
        assert_ok_err(callers[i].err, callers[i].code);
        assert_int_equal(callers[i].calls, 200);
    }
    world_wait(&world, &world.finished, 1600);
    world_destroy(&world);
}

static void test_a_drain_lets_calls_finish(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct caller caller = { .world = &world };
    assert_ok_err(err, thread_start(&caller.thread, "caller", call_slow, &caller, &err));
    world_wait(&world, &world.entered, 1);
    world_release(&world);
    rpc_server_drain(world.server, 5 * US_PER_SECOND);
    thread_join(&caller.thread);
    assert_ok_err(caller.err, caller.code);
    int64_t id = 0;
    assert_code(ERR_UNAVAILABLE, world_register(&world, "late", NULL, &id, &err));
    assert_non_null(strstr(err.text, world.target));
    world_destroy(&world);
}

/* The library would close the connection, and end every other call on it. */
static void test_large_metadata_ends_its_call_only(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct rpc_client_stream *other = world_control(&world, "echo");
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, world_read(other, NULL, &err));
    for (size_t bytes = 8500; bytes < 16000; bytes += 1500) {
        char *value = mem_alloc(bytes + 1);
        memset(value, 'x', bytes);
        const struct rpc_header header = { "x-long", value };
        const struct rpc_call_options options = { .headers = &header, .header_count = 1 };
        int64_t id = 0;
        assert_code(ERR_LIMIT, world_register(&world, "large", &options, &id, &err));
        struct rpc_client_stream *stream = NULL;
        assert_ok(rpc_client_stream_open(
            world.channel,
            GATEWAY "ControlStream",
            &agentgateway__v1__control_stream_response__descriptor,
            &options,
            NULL,
            NULL,
            NULL,
            &stream,
            &err));
        assert_code(ERR_LIMIT, world_read_end(stream, NULL, &err));
        rpc_client_stream_release(stream);
        mem_free(value);
    }
    assert_int_equal(atomic_load(&world.opened), 1);
    assert_ok(world_say(other, "echo"));
    assert_ok_err(err, world_read(other, NULL, &err));
    rpc_client_stream_release(other);
    world_wait(&world, &world.finished, 11);
    assert_int_equal(atomic_load(&world.admitted), 1);
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_is_answered),
        cmocka_unit_test(test_an_error_keeps_its_code_and_text),
        cmocka_unit_test(test_a_request_out_of_bounds_never_reaches_the_handler),
        cmocka_unit_test(test_an_oversized_request_is_refused),
        cmocka_unit_test(test_the_gate_refuses),
        cmocka_unit_test(test_an_unknown_method_is_unimplemented),
        cmocka_unit_test(test_inline_runs_on_the_poller_also_when_the_gate_must_block),
        cmocka_unit_test(test_the_callers_deadline_ends_the_call),
        cmocka_unit_test(test_the_rows_deadline_ends_the_call),
        cmocka_unit_test(test_a_client_that_goes_away_cancels_the_handler),
        cmocka_unit_test(test_calls_beyond_the_queue_are_refused),
        cmocka_unit_test(test_large_metadata_ends_its_call_only),
        cmocka_unit_test(test_many_concurrent_calls),
        cmocka_unit_test(test_a_drain_lets_calls_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
