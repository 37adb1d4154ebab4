#include "common/sys/thread.h"
#include "tests/component/common_rpc/fixture.h"

static void test_bidi_echo_until_half_close(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "echo");
    for (uint64_t i = 1; i <= 20; i++) {
        uint64_t sequence = 0;
        assert_ok_err(err, world_read(stream, &sequence, &err));
        assert_int_equal(sequence, i);
        assert_ok(world_say(stream, i < 20 ? "echo" : "nothing"));
    }
    rpc_client_stream_half_close(stream);
    assert_code(ERR_CANCELED, world_say(stream, "late"));
    assert_code(ERR_NOT_FOUND, world_read_end(stream, NULL, &err));
    rpc_client_stream_release(stream);
    world_wait(&world, &world.closed, 1);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.half_closed), 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_OK);
    world_destroy(&world);
}

static void upload(struct world *world, bool blocking, int count)
{
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = NULL;
    assert_ok_err(
        err,
        rpc_client_stream_open(
            world->channel,
            blocking ? GATEWAY "UploadEvents" : GATEWAY "UploadTelemetry",
            &agentgateway__v1__upload_telemetry_response__descriptor,
            NULL,
            NULL,
            NULL,
            NULL,
            &stream,
            &err));
    uint8_t payload[512] = { 7 };
    Google__Protobuf__Timestamp now;
    google__protobuf__timestamp__init(&now);
    now.seconds = 1767225600;
    Agentgateway__V1__UploadTelemetryRequest request;
    agentgateway__v1__upload_telemetry_request__init(&request);
    request.captured_at = &now;
    request.payload = (ProtobufCBinaryData){ sizeof(payload), payload };
    for (int i = 0; i < count; i++) {
        request.sequence = (uint64_t)i + 1;
        assert_ok(rpc_client_stream_send(stream, &request.base));
    }
    rpc_client_stream_half_close(stream);
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024);
    ProtobufCMessage *reply = NULL;
    assert_ok_err(err, rpc_client_stream_read(stream, world_soon(), arena, &reply, &err));
    assert_int_equal(((Agentgateway__V1__UploadTelemetryResponse *)reply)->accepted_count, count);
    assert_code(ERR_NOT_FOUND, rpc_client_stream_read(stream, world_soon(), arena, &reply, &err));
    rpc_client_stream_release(stream);
}

static void test_uploads_on_pollers_and_on_workers(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    upload(&world, false, 1000);
    upload(&world, true, 1000);
    upload(&world, true, 0);
    assert_int_equal(atomic_load(&world.messages), 2000);
    assert_int_equal(atomic_load(&world.half_closed), 3);
    world_destroy(&world);
}

static void test_a_slow_reader_hits_the_limit(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "limit");
    world_wait(&world, &world.limits, 1);
    int count = 0;
    assert_code(ERR_LIMIT, world_read_end(stream, &count, &err));
    assert_string_equal(err.text, "too slow");
    assert_true(count >= WORLD_QUEUE_CAP / (16 * 1024 + 64) - 1);
    rpc_client_stream_release(stream);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_RESOURCE_EXHAUSTED);
    world_destroy(&world);
}

static void test_a_message_over_the_cap_fills_the_queue(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "large-then-limit");
    world_wait(&world, &world.limits, 1);
    int count = 0;
    assert_code(ERR_LIMIT, world_read_end(stream, &count, &err));
    assert_int_equal(count, 1); /* nothing was taken behind it */
    rpc_client_stream_release(stream);
    world_destroy(&world);
}

static void test_writable_comes_when_the_queue_is_empty(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "flood");
    int count = 0;
    assert_code(ERR_NOT_FOUND, world_read_end(stream, &count, &err));
    assert_int_equal(count, 400);
    assert_true(atomic_load(&world.writable) > 0);
    rpc_client_stream_release(stream);
    world_destroy(&world);
}

static void test_finish_flushes_what_is_queued(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "burst-finish");
    int count = 0;
    assert_code(ERR_CONFLICT, world_read_end(stream, &count, &err));
    assert_int_equal(count, 50);
    assert_string_equal(err.text, "newer session");
    rpc_client_stream_release(stream);
    world_wait(&world, &world.closed, 1);
    world_destroy(&world);
}

static void end_with_last(const char *order, int messages)
{
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, order);
    int count = 0;
    assert_code(ERR_NOT_FOUND, world_read_end(stream, &count, &err));
    assert_int_equal(count, messages);
    assert_true(rpc_client_stream_ended_ok(stream));
    rpc_client_stream_release(stream);
    world_wait(&world, &world.closed, 1);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_OK);
    world_destroy(&world);
}

static void test_a_last_message_ends_the_stream(void **state)
{
    (void)state;
    end_with_last("last", 1);
    end_with_last("burst-last", 50);
}

static void test_a_callers_last_message_half_closes(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    int count = 0;
    struct rpc_client_stream *stream = world_open_control(&world, NULL);
    for (unsigned i = 0; i < 9; i++) {
        assert_ok(world_say(stream, "echo"));
    }
    assert_ok(world_say_last(stream, "echo"));
    assert_code(ERR_CANCELED, world_say_last(stream, "late"));
    assert_code(ERR_NOT_FOUND, world_read_end(stream, &count, &err));
    assert_int_equal(count, 10);
    assert_int_equal(atomic_load(&world.half_closed), 1);
    rpc_client_stream_release(stream);
    world_destroy(&world);
}

/* What is opened after it on the same connection is there before it. */
static void test_a_stream_that_speaks_first_waits_for_that(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    const struct rpc_call_options options = { .speaks_first = true };
    struct rpc_client_stream *unsaid = world_open_control(&world, &options);
    struct rpc_client_stream *stream = world_open_control(&world, &options);
    struct rpc_client_stream *other = world_control(&world, "echo");
    assert_ok_err(err, world_read(other, NULL, &err));
    assert_int_equal(atomic_load(&world.opened), 1);
    assert_ok(world_say_last(stream, "echo"));
    assert_ok_err(err, world_read(stream, NULL, &err));
    assert_code(ERR_NOT_FOUND, world_read_end(stream, NULL, &err));
    assert_int_equal(atomic_load(&world.opened), 2);
    rpc_client_stream_release(stream);
    rpc_client_stream_release(other);
    rpc_client_stream_release(unsaid);
    stream = world_open_control(&world, &options);
    rpc_client_stream_half_close(stream); /* says nothing, but that */
    assert_code(ERR_NOT_FOUND, world_read_end(stream, NULL, &err));
    assert_int_equal(atomic_load(&world.opened), 3);
    rpc_client_stream_release(stream);
    world_destroy(&world);
}

static void test_pause_holds_messages_back_and_the_timer_resumes(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "pause");
    assert_ok(world_say(stream, "echo"));
    uint64_t sequence = 0;
    assert_ok_err(err, world_read(stream, &sequence, &err));
    assert_int_equal(sequence, 2000); /* the timer's, before the echo */
    assert_ok_err(err, world_read(stream, &sequence, &err));
    assert_int_equal(sequence, 1);
    assert_ok(world_say(stream, "timer-off"));
    assert_ok(world_say(stream, "echo"));
    assert_ok_err(err, world_read(stream, &sequence, &err));
    assert_int_equal(sequence, 2);
    assert_int_equal(atomic_load(&world.timers), 1);
    rpc_client_stream_release(stream);
    world_destroy(&world);
}

struct waker {
    struct rpc_stream *stream;
    struct thread thread;
};

static void wake_much(void *context)
{
    struct waker *waker = context;
    for (int i = 0; i < 1000; i++) {
        rpc_stream_wake(waker->stream);
    }
}

static void test_wakes_from_other_threads_coalesce(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "nothing");
    world_wait(&world, &world.messages, 1);
    struct waker wakers[3];
    for (int i = 0; i < 3; i++) {
        wakers[i] = (struct waker){ .stream = rpc_stream_ref(atomic_load(&world.stream)) };
        assert_ok_err(err, thread_start(&wakers[i].thread, "waker", wake_much, &wakers[i], &err));
    }
    for (int i = 0; i < 3; i++) {
        thread_join(&wakers[i].thread);
        rpc_stream_unref(wakers[i].stream);
    }
    uint64_t sequence = 0;
    assert_ok_err(err, world_read(stream, &sequence, &err));
    assert_int_equal(sequence, 1000);
    assert_true(atomic_load(&world.woken) >= 1);
    assert_true(atomic_load(&world.woken) <= 3000);
    rpc_client_stream_release(stream);
    world_destroy(&world);
}

static void test_finish_from_another_thread_and_calls_after_the_end(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "nothing");
    world_wait(&world, &world.messages, 1);
    struct rpc_stream *held = rpc_stream_ref(atomic_load(&world.stream));
    rpc_stream_finish(held, ERR_UNAVAILABLE, "the server restarts");
    rpc_stream_finish(held, ERR_INTERNAL, "too late");
    assert_code(ERR_UNAVAILABLE, world_read_end(stream, NULL, &err));
    assert_non_null(strstr(err.text, "the server restarts"));
    world_wait(&world, &world.closed, 1);
    world_wait(&world, &world.finished, 1);
    rpc_stream_wake(held);
    rpc_stream_finish(held, ERR_OK, NULL);
    rpc_stream_unref(held);
    rpc_client_stream_release(stream);
    assert_int_equal(atomic_load(&world.last_status), RPC_UNAVAILABLE);
    world_destroy(&world);
}

static void test_a_client_that_disconnects_closes_the_stream(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct rpc_client_stream *stream = world_control(&world, "nothing");
    world_wait(&world, &world.messages, 1);
    rpc_client_stream_release(stream);
    world_wait(&world, &world.closed, 1);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.half_closed), 0);
    assert_int_equal(atomic_load(&world.last_status), RPC_CANCELLED);
    world_destroy(&world);
}

static void test_a_disconnect_with_a_full_queue(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct rpc_client_stream *stream = world_control(&world, "limit");
    world_wait(&world, &world.limits, 1);
    rpc_client_stream_release(stream);
    world_wait(&world, &world.closed, 1);
    world_destroy(&world);
}

static void test_refused_by_the_gate_or_by_open(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;

    static const struct {
        struct rpc_header header;
        enum err_code code;
    } cases[] = {
        { { "x-gate", "refuse" }, ERR_UNAUTHENTICATED },
        { { "x-open", "refuse" }, ERR_PRECONDITION },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct rpc_call_options options = { .headers = &cases[i].header, .header_count = 1 };
        struct rpc_client_stream *stream = NULL;
        assert_ok_err(
            err,
            rpc_client_stream_open(
                world.channel,
                GATEWAY "ControlStream",
                &agentgateway__v1__control_stream_response__descriptor,
                &options,
                NULL,
                NULL,
                NULL,
                &stream,
                &err));
        assert_code(cases[i].code, world_read_end(stream, NULL, &err));
        rpc_client_stream_release(stream);
    }
    world_wait(&world, &world.finished, 2);
    assert_int_equal(atomic_load(&world.opened), 0);
    world_destroy(&world);
}

static void test_a_message_out_of_bounds_ends_the_stream(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "\x01");
    assert_code(ERR_INVALID, world_read_end(stream, NULL, &err));
    assert_int_equal(atomic_load(&world.messages), 0);
    rpc_client_stream_release(stream);
    world_wait(&world, &world.closed, 1);
    world_destroy(&world);
}

static void test_the_rows_deadline_ends_a_stream(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = NULL;
    assert_ok_err(
        err,
        rpc_client_stream_open(
            world.channel,
            GATEWAY "UploadEvents",
            &agentgateway__v1__upload_events_response__descriptor,
            NULL,
            NULL,
            NULL,
            NULL,
            &stream,
            &err));
    assert_code(ERR_TIMEOUT, world_read_end(stream, NULL, &err));
    rpc_client_stream_release(stream);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_DEADLINE_EXCEEDED);
    world_destroy(&world);
}

static void test_a_drain_ends_live_streams(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *streams[20];
    for (int i = 0; i < 20; i++) {
        streams[i] = world_control(&world, "nothing");
    }
    world_wait(&world, &world.messages, 20);
    rpc_server_drain(world.server, 50 * US_PER_MS);
    assert_int_equal(atomic_load(&world.closed), 20);
    assert_int_equal(atomic_load(&world.finished), 20);
    for (int i = 0; i < 20; i++) {
        assert_true(world_read_end(streams[i], NULL, &err) != ERR_NOT_FOUND);
        rpc_client_stream_release(streams[i]);
    }
    world_destroy(&world);
}

/* Below the rate of resets at which the frame guard ends a connection. */
static void test_many_streams_that_come_and_go(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    for (int round = 0; round < 3; round++) {
        struct rpc_client_stream *streams[50];
        for (int i = 0; i < 50; i++) {
            streams[i] = world_control(&world, i % 2 == 0 ? "echo" : "burst-finish");
        }
        for (int i = 0; i < 50; i++) {
            if (i % 3 == 0) {
                struct err_info err = ERR_INFO_INIT;
                assert_ok_err(err, world_read(streams[i], NULL, &err));
            }
            rpc_client_stream_release(streams[i]);
        }
    }
    rpc_channel_destroy(STEAL(world.channel));
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bidi_echo_until_half_close),
        cmocka_unit_test(test_uploads_on_pollers_and_on_workers),
        cmocka_unit_test(test_a_slow_reader_hits_the_limit),
        cmocka_unit_test(test_a_message_over_the_cap_fills_the_queue),
        cmocka_unit_test(test_writable_comes_when_the_queue_is_empty),
        cmocka_unit_test(test_finish_flushes_what_is_queued),
        cmocka_unit_test(test_a_last_message_ends_the_stream),
        cmocka_unit_test(test_a_callers_last_message_half_closes),
        cmocka_unit_test(test_a_stream_that_speaks_first_waits_for_that),
        cmocka_unit_test(test_pause_holds_messages_back_and_the_timer_resumes),
        cmocka_unit_test(test_wakes_from_other_threads_coalesce),
        cmocka_unit_test(test_finish_from_another_thread_and_calls_after_the_end),
        cmocka_unit_test(test_a_client_that_disconnects_closes_the_stream),
        cmocka_unit_test(test_a_disconnect_with_a_full_queue),
        cmocka_unit_test(test_refused_by_the_gate_or_by_open),
        cmocka_unit_test(test_a_message_out_of_bounds_ends_the_stream),
        cmocka_unit_test(test_the_rows_deadline_ends_a_stream),
        cmocka_unit_test(test_a_drain_ends_live_streams),
        cmocka_unit_test(test_many_streams_that_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
