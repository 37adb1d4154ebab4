#include "common/sys/loop.h"
#include "common/sys/thread.h"
#include "tests/component/common_rpc/fixture.h"

#include <stdio.h>

/* A loop on a thread of its own, as the agent has it. */
struct agent {
    struct loop *loop;
    struct thread thread;
    struct world *world;
    struct rpc_executor executor;
    struct rpc_client_stream *stream;
    atomic_int replies;
    atomic_int errors;
    atomic_int messages;
    atomic_int writable;
    atomic_int closed;
    atomic_int done; /* closed, after which no event came */
    enum err_code code;
    uint64_t last;
    uint64_t want;
};

static void run_loop(void *context)
{
    loop_run(((struct agent *)context)->loop);
}

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static void agent_start(struct agent *agent, struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    memset(agent, 0, sizeof(*agent));
    agent->world = world;
    assert_ok_err(err, loop_create(clock_system(), &agent->loop, &err));
    assert_ok_err(err, thread_start(&agent->thread, "agent", run_loop, agent, &err));
    agent->executor = (struct rpc_executor){ post, agent->loop };
}

static void agent_stop(struct agent *agent)
{
    loop_stop(agent->loop);
    thread_join(&agent->thread);
    loop_destroy(agent->loop);
}

static void note(struct agent *agent, atomic_int *counter)
{
    atomic_fetch_add(counter, 1);
    world_notify(agent->world);
}

static void on_reply(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    struct agent *agent = context;
    (void)err;
    if (code == ERR_OK && ((const register_response *)reply)->agent_id == 5) {
        note(agent, &agent->replies);
    } else {
        agent->code = code;
        note(agent, &agent->errors);
    }
}

static void register_async(struct agent *agent, const char *name)
{
    uint8_t key[32] = { 1 };
    char token[] = "a-token-that-is-long-enough";
    char text[64];
    (void)snprintf(text, sizeof(text), "%s", name);
    register_request request;
    agentgateway__v1__register_request__init(&request);
    request.enrollment_token = token;
    request.name = text;
    request.identity_pubkey = (ProtobufCBinaryData){ sizeof(key), key };
    request.encryption_pubkey = (ProtobufCBinaryData){ sizeof(key), key };
    rpc_channel_call_async(
        agent->world->channel,
        GATEWAY "Register",
        &request.base,
        &agentgateway__v1__register_response__descriptor,
        NULL,
        &agent->executor,
        on_reply,
        agent);
}

static void test_async_calls_answer_on_the_executor(void **state)
{
    (void)state;
    struct world world;
    struct agent agent;
    world_create(&world, 0);
    agent_start(&agent, &world);
    for (int i = 0; i < 100; i++) {
        register_async(&agent, "agent");
    }
    world_wait(&world, &agent.replies, 100);
    register_async(&agent, "missing");
    world_wait(&world, &agent.errors, 1);
    assert_int_equal(agent.code, ERR_NOT_FOUND);
    agent_stop(&agent);
    world_destroy(&world);
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    struct agent *agent = context;
    agent->last = ((const control_response *)message)->command->sequence;
    if (agent->want > 0 && agent->last == agent->want) {
        rpc_client_stream_half_close(agent->stream);
    } else if (agent->want > 0) {
        enum err_code code = world_say(agent->stream, "echo");
        assert_true(code == ERR_OK || code == ERR_CANCELED); /* its end is on its way */
    }
    note(agent, &agent->messages);
}

static void on_writable(void *context)
{
    struct agent *agent = context;
    note(agent, &agent->writable);
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    (void)err;
    struct agent *agent = context;
    agent->code = code;
    rpc_client_stream_release(STEAL(agent->stream));
    note(agent, &agent->closed);
}

static void open_stream(void *context)
{
    static const struct rpc_client_stream_ops ops = { on_message, on_writable, on_closed };
    struct agent *agent = context;
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(
        err,
        rpc_client_stream_open(
            agent->world->channel,
            GATEWAY "ControlStream",
            &agentgateway__v1__control_stream_response__descriptor,
            NULL,
            &agent->executor,
            &ops,
            agent,
            &agent->stream,
            &err));
    assert_ok(world_say(agent->stream, agent->want > 0 ? "echo" : "flood"));
}

static void test_a_stream_on_the_executor(void **state)
{
    (void)state;
    struct world world;
    struct agent agent;
    world_create(&world, 0);
    agent_start(&agent, &world);
    agent.want = 200;
    assert_true(loop_post(agent.loop, open_stream, &agent));
    world_wait(&world, &agent.closed, 1);
    assert_int_equal(agent.code, ERR_OK);
    assert_int_equal(agent.last, 200);
    assert_int_equal(atomic_load(&agent.messages), 200);
    assert_true(atomic_load(&agent.writable) >= 1);
    agent_stop(&agent);
    world_destroy(&world);
}

static void release_stream(void *context)
{
    struct agent *agent = context;
    rpc_client_stream_release(STEAL(agent->stream));
    atomic_store(&agent->messages, -1000000);
    note(agent, &agent->done);
}

static void test_released_early_no_event_follows(void **state)
{
    (void)state;
    struct world world;
    struct agent agent;
    world_create(&world, 0);
    agent_start(&agent, &world);
    assert_true(loop_post(agent.loop, open_stream, &agent));
    world_wait(&world, &agent.messages, 3);
    assert_true(loop_post(agent.loop, release_stream, &agent));
    world_wait(&world, &agent.done, 1);
    world_wait(&world, &world.closed, 1);
    agent_stop(&agent);
    assert_int_equal(atomic_load(&agent.messages), -1000000);
    assert_int_equal(atomic_load(&agent.closed), 0);
    world_destroy(&world);
}

static void test_destroying_the_channel_closes_its_streams(void **state)
{
    (void)state;
    struct world world;
    struct agent agent;
    world_create(&world, 0);
    agent_start(&agent, &world);
    agent.want = 1000000;
    assert_true(loop_post(agent.loop, open_stream, &agent));
    world_wait(&world, &agent.messages, 3);
    rpc_channel_destroy(STEAL(world.channel));
    world_wait(&world, &agent.closed, 1);
    assert_int_equal(agent.code, ERR_CANCELED);
    agent_stop(&agent);
    world_destroy(&world);
}

static void test_the_sending_queue_is_bounded(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = world_control(&world, "pause");
    uint8_t *payload = mem_alloc(60000);
    char id[] = "cmd_1";
    Agentgateway__V1__ControlAck ack;
    agentgateway__v1__control_ack__init(&ack);
    ack.command_id = id;
    ack.payload = (ProtobufCBinaryData){ 60000, payload };
    control_request request;
    agentgateway__v1__control_stream_request__init(&request);
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_ACK;
    request.ack = &ack;
    enum err_code code = ERR_OK;
    for (int i = 0; i < 1000000 && code == ERR_OK; i++) {
        code = rpc_client_stream_send(stream, &request.base);
    }
    assert_int_equal(code, ERR_LIMIT);
    assert_ok_err(err, world_read(stream, NULL, &err));
    rpc_client_stream_release(stream);
    mem_free(payload);
    world_destroy(&world);
}

static void test_an_unreachable_server_is_named(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct err_info err = ERR_INFO_INIT;
    static const char *const targets[] = { "127.0.0.1:1", "unix:/nowhere/at/all" };
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        rpc_channel_destroy(STEAL(world.channel));
        const struct rpc_channel_options options = { .target = targets[i] };
        assert_ok_err(err, rpc_channel_create(world.client, &options, &world.channel, &err));
        int64_t id = 0;
        assert_code(ERR_UNAVAILABLE, world_register(&world, "agent", NULL, &id, &err));
        assert_true(err.retryable);
        assert_non_null(strstr(err.text, targets[i]));
        assert_non_null(strstr(err.text, "cannot reach the server"));
    }
    const struct rpc_header bad = { "Not Legal", "x" };
    const struct rpc_call_options options = { .headers = &bad, .header_count = 1 };
    int64_t id = 0;
    assert_code(ERR_INVALID, world_register(&world, "agent", &options, &id, &err));
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_async_calls_answer_on_the_executor),
        cmocka_unit_test(test_a_stream_on_the_executor),
        cmocka_unit_test(test_released_early_no_event_follows),
        cmocka_unit_test(test_destroying_the_channel_closes_its_streams),
        cmocka_unit_test(test_the_sending_queue_is_bounded),
        cmocka_unit_test(test_an_unreachable_server_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
