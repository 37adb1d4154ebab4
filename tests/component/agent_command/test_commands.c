/* Commands from arrival to answer over a real spool and state folder. */
#include "belay_descriptors.h"
#include "cmd/agent/command/commands.h"
#include "common/base/cleanup.h"
#include "common/crypto/command_signature.h"
#include "common/sql/sql.h"
#include "tests/support/test.h"

#include <stdio.h>

#define ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

struct world {
    char *dir;
    struct wire_schema *schema;
    struct state *state;
    struct spool *spool;
    struct key_sign *key;
    struct commands *commands;
    struct command_run
        *held[64]; /* device commands do not finish by themselves when asked to hold */
    unsigned held_count;
    bool holds;
    bool is_offline;
    unsigned acted;
    unsigned refused;
    unsigned ack_count;
    unsigned last_code;
    char last_id[64];
    char last_error[256];
    bool last_is_text;
};

static void act(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct world *world = context;
    (void)command;
    world->acted++;
    if (world->holds) {
        world->held[world->held_count++] = run;
        return;
    }
    command_finish(run, ACK(OK), "", STR("result"));
}

static enum err_code send_ack(
    void *context, struct str_view command_id, const struct command_outcome *outcome)
{
    struct world *world = context;
    if (world->is_offline) {
        return ERR_UNAVAILABLE;
    }
    world->ack_count++;
    world->last_code = outcome->code;
    (void)snprintf(world->last_id, sizeof(world->last_id), "%.*s", STR_ARG(command_id));
    world->last_is_text = str_is_utf8(str_of(outcome->error), NULL);
    (void)snprintf(world->last_error, sizeof(world->last_error), "%.255s", outcome->error);
    return ERR_OK;
}

static void on_refused(void *context, const char *id, const char *actor, const char *reason)
{
    struct world *world = context;
    (void)id;
    (void)actor;
    (void)reason;
    world->refused++;
}

static const struct command_ops ops = { .telemetry_now = act,
                                        .set_config = act,
                                        .rotate_key = act,
                                        .drain = act,
                                        .device_command = act,
                                        .sandbox_stop = act,
                                        .lend = act,
                                        .reclaim = act,
                                        .send_ack = send_ack,
                                        .refused = on_refused };

static void open_commands(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    struct commands_options options = { .spool = world->spool,
                                        .state = world->state,
                                        .schema = world->schema,
                                        .ops = &ops,
                                        .context = world };
    assert_ok_err(err, commands_create(&options, &world->commands, &err));
}

/* As after a crash: what was under way is gone, what is on disk is not. */
static void restart(struct world *world)
{
    commands_destroy(world->commands);
    world->held_count = 0;
    open_commands(world);
}

static int set_up(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    struct err_info err = ERR_INFO_INIT;
    world->dir = test_dir_create();
    AUTO_FREE char *state_dir = mem_printf("%s/state", world->dir);
    AUTO_FREE char *spool_path = mem_printf("%s/spool.db", world->dir);
    struct spool_options spool = { .path = spool_path,
                                   .clock = clock_system(),
                                   .max_bytes = 64 * 1024 * 1024,
                                   .max_age_us = US_PER_DAY };
    assert_ok(wire_schema_load(belay_descriptors, belay_descriptors_size, &world->schema, NULL));
    assert_ok_err(err, state_open(state_dir, &world->state, &err));
    assert_ok_err(err, spool_open(&spool, &world->spool, &err));
    world->key = key_sign_create();
    open_commands(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    commands_destroy(world->commands);
    spool_close(world->spool);
    state_close(world->state);
    key_sign_destroy(world->key);
    wire_schema_destroy(world->schema);
    test_dir_remove(world->dir);
    mem_free(world);
    return 0;
}

/* Gives a signed command with a packed payload; lives from 1000 to 2000 seconds, and it is 1500. */
static void give_packed(
    struct world *world, uint64_t sequence, const char *id, struct str_view payload, bool forged)
{
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    uint8_t signature[KEY_SIGNATURE_BYTES];
    Google__Protobuf__Timestamp issued = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Timestamp expires = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Agentgateway__V1__ControlCommand command = AGENTGATEWAY__V1__CONTROL_COMMAND__INIT;
    struct verify_context who = { .server_id = "srv",
                                  .agent_id = 1,
                                  .command_pubkey = key_sign_public(world->key),
                                  .now = { 1500 * US_PER_SECOND } };
    struct command_signature_fields fields = { .server_id = STR("srv"),
                                               .agent_id = 1,
                                               .sequence = sequence,
                                               .command_id = str_of(id),
                                               .actor = STR("alice"),
                                               .issued_at = { 1000 * US_PER_SECOND },
                                               .expires_at = { 2000 * US_PER_SECOND },
                                               .payload = payload };
    command_signature_message(&fields, &message);
    key_sign_message(world->key, buf_view(&message), signature);
    signature[5] ^= forged ? 1 : 0;
    issued.seconds = 1000;
    expires.seconds = 2000;
    command.command_id = (char *)(uintptr_t)id;
    command.actor = (char *)(uintptr_t) "alice";
    command.sequence = sequence;
    command.issued_at = &issued;
    command.expires_at = &expires;
    command.payload.data = (uint8_t *)(uintptr_t)payload.ptr;
    command.payload.len = payload.len;
    command.signature.data = signature;
    command.signature.len = sizeof(signature);
    commands_handle(world->commands, &who, &command);
}

static void give(struct world *world, uint64_t sequence, const char *id)
{
    static const char identify[] = "\x1a\x0a\x12\x08identify"; /* device_command { action } */
    give_packed(world, sequence, id, str_from(identify, sizeof(identify) - 1), false);
}

static void test_a_command_acts_and_is_answered(void **state)
{
    struct world *world = *state;
    give(world, 1, "cmd_1");
    assert_int_equal(world->acted, 1);
    assert_int_equal(world->ack_count, 1);
    assert_int_equal(world->last_code, ACK(OK));
    assert_int_equal(commands_last_sequence(world->commands), 1);
    assert_int_equal(commands_running(world->commands), 0);
}

static void test_repetitions_are_answered_but_do_not_act(void **state)
{
    struct world *world = *state;
    give(world, 1, "cmd_1");
    give(world, 1, "cmd_1");
    restart(world);
    give(world, 1, "cmd_1");
    assert_int_equal(world->acted, 1);
    assert_int_equal(world->ack_count, 3);
    assert_int_equal(world->last_code, ACK(OK));
    assert_int_equal(world->refused, 0);
}

static void test_replays_and_forgeries_are_refused(void **state)
{
    struct world *world = *state;
    give(world, 5, "cmd_5");
    give(world, 4, "cmd_4");
    assert_int_equal(world->last_code, ACK(FORBIDDEN));
    give_packed(world, 6, "cmd_6", STR("\x22"), true);
    assert_int_equal(world->last_code, ACK(FORBIDDEN));
    assert_int_equal(world->acted, 1);
    assert_int_equal(world->refused, 2);
    assert_int_equal(commands_last_sequence(world->commands), 5);
}

/* The spool was damaged and begun anew: the sequence has a file of its own. */
static void test_a_lost_spool_does_not_open_the_door_to_replays(void **state)
{
    struct world *world = *state;
    struct err_info err = ERR_INFO_INIT;
    give(world, 5, "cmd_5");
    AUTO_FREE char *path = mem_printf("%s/other.db", world->dir);
    struct spool_options options = {
        .path = path, .clock = clock_system(), .max_bytes = 1 << 24, .max_age_us = US_PER_DAY
    };
    spool_close(world->spool);
    assert_ok_err(err, spool_open(&options, &world->spool, &err));
    restart(world);
    give(world, 5, "cmd_5");
    assert_int_equal(world->acted, 1);
    assert_int_equal(world->last_code, ACK(FORBIDDEN));
}

static void test_answers_wait_for_the_stream(void **state)
{
    struct world *world = *state;
    world->is_offline = true;
    give(world, 1, "cmd_1");
    give(world, 2, "cmd_2");
    assert_int_equal(world->acted, 2);
    assert_int_equal(world->ack_count, 0);
    restart(world);
    world->is_offline = false;
    commands_redeliver(world->commands);
    assert_int_equal(world->ack_count, 2);
    assert_string_equal(world->last_id, "cmd_2");
    commands_redeliver(world->commands);
    assert_int_equal(world->ack_count, 2);
}

static void test_what_a_crash_interrupts_never_runs_again(void **state)
{
    struct world *world = *state;
    world->holds = true;
    give(world, 1, "cmd_1");
    assert_int_equal(commands_running(world->commands), 1);
    restart(world);
    commands_redeliver(world->commands);
    assert_string_equal(world->last_id, "cmd_1");
    assert_int_equal(world->last_code, ACK(INTERNAL));
    assert_non_null(strstr(world->last_error, "interrupted"));
    give(world, 1, "cmd_1");
    assert_int_equal(world->acted, 1);
}

/* sandbox_stop of "s" */
#define STOP_ORDER STR("\x3a\x03\x0a\x01s")

static void test_an_order_about_a_sandbox_that_a_crash_interrupts_runs_again(void **state)
{
    struct world *world = *state;
    world->holds = true;
    give_packed(world, 1, "cmd_1", STOP_ORDER, false);
    give_packed(world, 1, "cmd_1", STOP_ORDER, false); /* it acts: once */
    assert_int_equal(world->acted, 1);
    restart(world);
    commands_redeliver(world->commands);
    assert_int_equal(world->ack_count, 0);
    world->holds = false;
    give_packed(world, 1, "cmd_1", STOP_ORDER, true); /* forged: no */
    assert_int_equal(world->acted, 1);
    give_packed(world, 1, "cmd_1", STOP_ORDER, false);
    assert_int_equal(world->acted, 2);
    assert_int_equal(world->last_code, ACK(OK));
    give_packed(world, 1, "cmd_1", STOP_ORDER, false); /* answered from the log from now on */
    assert_int_equal(world->acted, 2);
    give_packed(world, 1, "cmd_9", STOP_ORDER, false); /* an old number under another name */
    assert_int_equal(world->acted, 2);
    assert_int_equal(world->last_code, ACK(FORBIDDEN));
}

static void assert_runs_again(
    struct world *world, uint64_t sequence, const char *id, struct str_view payload)
{
    unsigned acted = world->acted;
    unsigned answered = world->ack_count;
    world->holds = true;
    give_packed(world, sequence, id, payload, false);
    assert_int_equal(world->acted, acted + 1);
    restart(world);
    commands_redeliver(world->commands);
    assert_int_equal(world->ack_count, answered);
    world->holds = false;
    give_packed(world, sequence, id, payload, false);
    assert_int_equal(world->acted, acted + 2);
    assert_int_equal(world->last_code, ACK(OK));
}

static void test_an_order_about_a_loan_that_a_crash_interrupts_runs_again(void **state)
{
    uint8_t box[48] = { 1 };
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    Agentgateway__V1__AgentCommand what = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__AgentLend lend = AGENTGATEWAY__V1__AGENT_LEND__INIT;
    Agentgateway__V1__AgentReclaim reclaim = AGENTGATEWAY__V1__AGENT_RECLAIM__INIT;
    Agentgateway__V1__LoanRoom room = AGENTGATEWAY__V1__LOAN_ROOM__INIT;
    lend.loan_id = CONST_CAST(char *, "ln_1");
    lend.workspace = CONST_CAST(char *, "acme");
    lend.name = CONST_CAST(char *, "mill");
    lend.sealed_join.data = box;
    lend.sealed_join.len = sizeof(box);
    lend.room = &room;
    room.sandboxes = 1;
    room.cpu_millis = 10;
    room.memory_bytes = 4194304;
    room.disk_bytes = 1048576;
    what.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_LEND;
    what.lend = &lend;
    wire_pack(&what.base, &payload);
    assert_runs_again(*state, 1, "cmd_1", buf_view(&payload));
    buf_clear(&payload);
    reclaim.loan_id = CONST_CAST(char *, "ln_1");
    what.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_RECLAIM;
    what.reclaim = &reclaim;
    wire_pack(&what.base, &payload);
    assert_runs_again(*state, 2, "cmd_2", buf_view(&payload));
}

static void test_full_lanes_answer_busy_at_once(void **state)
{
    struct world *world = *state;
    char id[16];
    world->holds = true;
    for (unsigned i = 1; i <= COMMANDS_POOL_LANE; i++) {
        (void)snprintf(id, sizeof(id), "cmd_%u", i);
        give(world, i, id);
    }
    assert_int_equal(commands_running(world->commands), COMMANDS_POOL_LANE);
    give(world, 100, "cmd_100");
    assert_int_equal(world->last_code, ACK(BUSY));
    give_packed(world, 101, "cmd_101", STR("\x62\x00"), false); /* drain: the other lane */
    assert_int_equal(commands_running(world->commands), COMMANDS_POOL_LANE + 1);
    give_packed(world, 102, "cmd_102", STR("\x62\x00"), false);
    assert_int_equal(world->last_code, ACK(BUSY));
    command_finish(world->held[3], ACK(OK), "", STR_NONE);
    world->holds = false;
    give(world, 103, "cmd_103");
    assert_int_equal(world->last_code, ACK(OK));
    assert_int_equal(commands_running(world->commands), COMMANDS_POOL_LANE);
}

static void test_unknown_and_malformed_commands(void **state)
{
    struct world *world = *state;
    give_packed(world, 1, "cmd_1", STR("\xaa\x06\x00"), false); /* field 101: of a newer server */
    assert_int_equal(world->last_code, ACK(UNIMPLEMENTED));
    give_packed(world, 2, "cmd_2", STR("\x1a\x7f"), false); /* cut off */
    assert_int_equal(world->last_code, ACK(BAD_REQUEST));
    give_packed(world, 3, "cmd_3", STR("\x1a\x00"), false); /* device_command without an action */
    assert_int_equal(world->last_code, ACK(BAD_REQUEST));
    assert_non_null(strstr(world->last_error, "action"));
    give_packed(world, 4, "cmd_4", STR(""), false);
    assert_int_equal(world->last_code, ACK(BAD_REQUEST));
    assert_int_equal(world->acted, 0);
}

/* Runs a script on the spool's file behind its back. */
static void tamper(struct world *world, const char *script)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *url = mem_printf("sqlite:%s/spool.db", world->dir);
    struct sql_conn *conn = NULL;
    struct sql_options options = { .url = url };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    assert_ok_err(err, sql_exec_script(conn, script, &err));
    sql_close(conn);
}

/* Whether it was done cannot be told: a refusal would stay with the server for good. */
static void test_a_log_that_cannot_be_read_refuses_nothing(void **state)
{
    struct world *world = *state;
    world->is_offline = true;
    give(world, 1, "cmd_1");
    give(world, 2, "cmd_2");
    world->is_offline = false;
    tamper(world, "ALTER TABLE command RENAME TO away");
    give(world, 1, "cmd_1");
    assert_int_equal(world->ack_count, 0);
    assert_int_equal(world->refused, 0);
    give(world, 3, "cmd_3"); /* a new one is not kept waiting */
    assert_int_equal(world->ack_count, 1);
    assert_int_equal(world->last_code, ACK(INTERNAL));
    tamper(world, "ALTER TABLE away RENAME TO command");
    give(world, 1, "cmd_1");
    assert_int_equal(world->ack_count, 2);
    assert_int_equal(world->last_code, ACK(OK));
    assert_int_equal(world->acted, 2);
}

/* The server hangs up on a text that is not UTF-8, and would send the command again for ever. */
static void test_an_answer_is_text_wherever_it_was_cut(void **state)
{
    struct world *world = *state;
    char text[2 * COMMAND_ERROR_BYTES] = "";
    for (size_t i = 0; i + 3 < sizeof(text); i += 3) {
        memcpy(text + i, "\xE8\xA6\x8F", 4);
    }
    world->holds = true;
    for (unsigned i = 0; i < 3; i++) {
        const char *ids[] = { "cmd_1", "cmd_2", "cmd_3" };
        give(world, i + 1, ids[i]);
        command_finish(world->held[i], ACK(BAD_REQUEST), text + i, STR_NONE);
        assert_int_equal(world->last_code, ACK(BAD_REQUEST));
        assert_true(world->last_is_text);
    }
    restart(world); /* each is in the log with its answer */
    give(world, 1, "cmd_1");
    assert_int_equal(world->last_code, ACK(BAD_REQUEST));
    assert_int_equal(world->acted, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_command_acts_and_is_answered),
        TEST(test_repetitions_are_answered_but_do_not_act),
        TEST(test_replays_and_forgeries_are_refused),
        TEST(test_a_lost_spool_does_not_open_the_door_to_replays),
        TEST(test_answers_wait_for_the_stream),
        TEST(test_what_a_crash_interrupts_never_runs_again),
        TEST(test_an_order_about_a_sandbox_that_a_crash_interrupts_runs_again),
        TEST(test_an_order_about_a_loan_that_a_crash_interrupts_runs_again),
        TEST(test_full_lanes_answer_busy_at_once),
        TEST(test_unknown_and_malformed_commands),
        TEST(test_a_log_that_cannot_be_read_refuses_nothing),
        TEST(test_an_answer_is_text_wherever_it_was_cut),
    };
    int failed = crypto_start(NULL) == ERR_OK ? 0 : 1;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
