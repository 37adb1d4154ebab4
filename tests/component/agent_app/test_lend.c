/* The orders lend and reclaim, signed, as the server gives them, on an agent that offers room. This
 * program is also what that agent runs as its guests. */
#include "belay_descriptors.h"
#include "cmd/agent/app.h"
#include "cmd/agent/config.h"
#include "common/base/cleanup.h"
#include "common/crypto/command_signature.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <unistd.h>

#define ACK(name)   AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name
#define COMMAND(id) AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_##id
#define GIB         (UINT64_C(1) << 30)
#define PATIENCE_US (60 * US_PER_SECOND)
#define TOKEN       "blt_0123456789abcdefghijABCDEFGHIJ-_0123456789a"
#define JOIN        "belay://127.0.0.1:8443/?token=" TOKEN

enum {
    ARENA_BYTES = 1 << 20,
    BOX_BYTES = 4096
};

struct world {
    struct app app; /* first: what the orders have as context */
    char *dir;
    struct config *config;
    struct key_sign *key;
    uint64_t sequence;
    unsigned answers;
    unsigned code;
    char error[512];
};

/* ---- The agent ---- */

static enum err_code send_ack(
    void *context, struct str_view command_id, const struct command_outcome *outcome)
{
    struct world *world = context;
    (void)command_id;
    world->answers++;
    world->code = outcome->code;
    (void)snprintf(world->error, sizeof(world->error), "%.511s", outcome->error);
    return ERR_OK;
}

static bool report(void *context, const Agentgateway__V1__SandboxReport *message)
{
    (void)context;
    (void)message;
    return true;
}

static bool is_online(void *context)
{
    (void)context;
    return false;
}

static enum err_code emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    (void)context;
    (void)batch;
    (void)err;
    return ERR_OK;
}

static bool has_room(void *context)
{
    (void)context;
    return true;
}

static const struct workload_ops workload_ops = {
    .report = report, .is_online = is_online, .emit = emit, .has_room = has_room
};

static void open_workload(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *dir = mem_printf("%s/sandboxes", world->dir);
    const struct workload_options options = {
        .loop = world->app.loop,
        .clock = clock_system(),
        .schema = world->app.schema,
        .dir = dir,
        .shim_path = BELAY_SHIM_PATH,
        .boot_id = "boot",
        .offer = { .cpus = 4, .memory_bytes = 4 * GIB, .disk_bytes = 4 * GIB, .slots = 4 },
        .is_lenient = true,
        .ops = &workload_ops,
        .context = world,
    };
    assert_ok_err(err, workload_open(&options, &world->app.workload, &err));
}

static struct command_ops command_ops;

static void open_commands(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    const struct commands_options options = { .spool = world->app.spool,
                                              .state = world->app.state,
                                              .schema = world->app.schema,
                                              .ops = &command_ops,
                                              .context = world };
    command_ops = app_command_ops;
    command_ops.send_ack = send_ack;
    assert_ok_err(err, commands_create(&options, &world->app.commands, &err));
}

/* option: of the agent, or NULL. */
static struct world *create(const char *option, bool has_workload)
{
    struct world *world = mem_alloc(sizeof(*world));
    struct app *app = &world->app;
    struct err_info err = ERR_INFO_INIT;
    world->dir = test_dir_create();
    AUTO_FREE char *state = mem_printf("--state-dir=%s", world->dir);
    AUTO_FREE char *path = mem_printf("%s/spool.db", world->dir);
    char *argv[] = {
        CONST_CAST(char *, "x"), CONST_CAST(char *, "run"), state, CONST_CAST(char *, option)
    };
    const struct spool_options spool = {
        .path = path, .clock = clock_system(), .max_bytes = 64 << 20, .max_age_us = US_PER_DAY
    };
    assert_ok_err(err, agent_config_load(option == NULL ? 3 : 4, argv, &world->config, &err));
    app->config = world->config;
    app->clock = clock_system();
    assert_ok(wire_schema_load(belay_descriptors, belay_descriptors_size, &app->schema, NULL));
    assert_ok(loop_create(app->clock, &app->loop, NULL));
    assert_ok_err(err, state_open(world->dir, &app->state, &err));
    assert_ok(state_load_keys(app->state, NULL));
    assert_ok_err(err, spool_open(&spool, &app->spool, &err));
    world->key = key_sign_create();
    if (has_workload) {
        open_workload(world);
    }
    assert_ok_err(err, app_open_guests(app, &err));
    open_commands(world);
    return world;
}

static void destroy(struct world *world)
{
    struct app *app = &world->app;
    app_close_guests(app);
    workload_close(app->workload);
    commands_destroy(app->commands);
    spool_close(app->spool);
    state_close(app->state);
    loop_destroy(app->loop);
    wire_schema_destroy(app->schema);
    config_destroy(world->config);
    key_sign_destroy(world->key);
    test_dir_remove(world->dir);
    mem_free(world);
}

/* ---- Orders ---- */

static void give(struct world *world, const Agentgateway__V1__AgentCommand *what)
{
    AUTO_BUF struct buf payload = BUF_INIT(65536);
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    AUTO_FREE char *id = mem_printf("cmd_%d", (int)++world->sequence);
    uint8_t signature[KEY_SIGNATURE_BYTES];
    Google__Protobuf__Timestamp issued = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Timestamp expires = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Agentgateway__V1__ControlCommand command = AGENTGATEWAY__V1__CONTROL_COMMAND__INIT;
    const struct verify_context who = { .server_id = "srv",
                                        .agent_id = 1,
                                        .command_pubkey = key_sign_public(world->key),
                                        .now = { 1500 * US_PER_SECOND } };
    wire_pack(&what->base, &payload);
    const struct command_signature_fields fields = { .server_id = STR("srv"),
                                                     .agent_id = 1,
                                                     .sequence = world->sequence,
                                                     .command_id = str_of(id),
                                                     .actor = STR("root"),
                                                     .issued_at = { 1000 * US_PER_SECOND },
                                                     .expires_at = { 2000 * US_PER_SECOND },
                                                     .payload = buf_view(&payload) };
    command_signature_message(&fields, &message);
    key_sign_message(world->key, buf_view(&message), signature);
    issued.seconds = 1000;
    expires.seconds = 2000;
    command.command_id = id;
    command.actor = CONST_CAST(char *, "root");
    command.sequence = world->sequence;
    command.issued_at = &issued;
    command.expires_at = &expires;
    command.payload.data = (uint8_t *)payload.data;
    command.payload.len = payload.len;
    command.signature.data = signature;
    command.signature.len = sizeof(signature);
    commands_handle(world->app.commands, &who, &command);
}

struct wish {
    const char *loan;
    uint64_t memory_bytes;
    uint32_t sandboxes;
    const char *join;    /* NULL: a good one */
    bool is_for_another; /* sealed to another key */
};

static void lend(struct world *world, const struct wish *wish)
{
    Agentgateway__V1__AgentCommand what = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__AgentLend order = AGENTGATEWAY__V1__AGENT_LEND__INIT;
    Agentgateway__V1__LoanRoom room = AGENTGATEWAY__V1__LOAN_ROOM__INIT;
    AUTO_BUF struct buf box = BUF_INIT(BOX_BYTES);
    struct key_box *another = key_box_create();
    const struct key_box *key = wish->is_for_another ? another : state_encryption(world->app.state);
    const char *join = wish->join == NULL ? JOIN : wish->join;
    assert_ok(key_seal(key_box_public(key), str_of(join), &box));
    key_box_destroy(another);
    order.loan_id = CONST_CAST(char *, wish->loan);
    order.workspace = CONST_CAST(char *, "acme");
    order.name = CONST_CAST(char *, "mill");
    order.sealed_join.data = (uint8_t *)box.data;
    order.sealed_join.len = box.len;
    order.room = &room;
    room.sandboxes = wish->sandboxes;
    room.cpu_millis = 1500;
    room.memory_bytes = wish->memory_bytes;
    room.disk_bytes = GIB;
    what.command_case = COMMAND(LEND);
    what.lend = &order;
    give(world, &what);
}

static void reclaim(struct world *world, const char *loan)
{
    Agentgateway__V1__AgentCommand what = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__AgentReclaim order = AGENTGATEWAY__V1__AGENT_RECLAIM__INIT;
    order.loan_id = CONST_CAST(char *, loan);
    what.command_case = COMMAND(RECLAIM);
    what.reclaim = &order;
    give(world, &what);
}

static void assert_capacity(const struct world *world, double cpus, uint32_t sandboxes)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    Agentgateway__V1__Capacity capacity = AGENTGATEWAY__V1__CAPACITY__INIT;
    assert_ok(workload_fill_capacity(world->app.workload, arena, &capacity, NULL));
    assert_true(capacity.cpus == cpus);
    assert_int_equal(capacity.sandboxes, sandboxes);
}

static void wait_for_answers(struct world *world, unsigned count)
{
    int64_t end = clock_mono(clock_system()).value + PATIENCE_US;
    while (world->answers < count) {
        assert_true(clock_mono(clock_system()).value < end);
        loop_step(world->app.loop, 20);
    }
}

static void test_room_is_lent_and_taken_back(void **unused)
{
    (void)unused;
    struct world *world = create(NULL, true);
    AUTO_FREE char *record = mem_printf("%s/guests/1.loan", world->dir);
    AUTO_FREE char *join = mem_printf("%s/guests/1.join", world->dir);
    AUTO_BUF struct buf text = BUF_INIT(BOX_BYTES);
    const struct wish wish = { .loan = "ln_1", .memory_bytes = GIB, .sandboxes = 2 };
    assert_capacity(world, 4, 4);
    lend(world, &wish);
    assert_int_equal(world->code, ACK(OK));
    assert_true(file_exists(record));
    assert_ok(file_read_private(join, BOX_BYTES - 1, &text, NULL));
    assert_string_equal(buf_text(&text), JOIN);
    assert_capacity(world, 2.5, 2);
    lend(world, &wish); /* by another command: it is there */
    assert_int_equal(world->code, ACK(OK));
    assert_capacity(world, 2.5, 2);
    reclaim(world, "ln_1");
    assert_int_equal(world->answers, 2);
    wait_for_answers(world, 3);
    assert_int_equal(world->code, ACK(OK));
    assert_false(file_exists(record));
    assert_capacity(world, 4, 4);
    reclaim(world, "ln_1");
    assert_int_equal(world->answers, 4);
    assert_int_equal(world->code, ACK(OK));
    destroy(world);
}

static void test_more_than_there_is(void **unused)
{
    (void)unused;
    struct world *world = create(NULL, true);
    lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = 5 * GIB, .sandboxes = 1 });
    assert_int_equal(world->code, ACK(BUSY));
    assert_string_equal(
        world->error, "memory: 5368709120 bytes asked for, and this agent has 4294967296 left");
    lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = 3 * GIB, .sandboxes = 1 });
    assert_int_equal(world->code, ACK(OK));
    lend(world, &(struct wish){ .loan = "ln_2", .memory_bytes = 2 * GIB, .sandboxes = 1 });
    assert_int_equal(world->code, ACK(BUSY));
    assert_non_null(strstr(world->error, "1073741824 left"));
    destroy(world);
}

/* What the agent's own sandboxes have is not lent a second time. */
static void test_its_own_sandboxes_count(void **unused)
{
    (void)unused;
    struct world *world = create(NULL, true);
    struct err_info err = ERR_INFO_INIT;
    const struct sandbox_spec spec = { .id = "own", .memory_bytes = geteuid() == 0 ? GIB : 0 };
    assert_ok_err(err, sandbox_create(workload_sandboxes(world->app.workload), &spec, &err));
    lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = GIB, .sandboxes = 4 });
    assert_int_equal(world->code, ACK(BUSY));
    assert_non_null(strstr(world->error, "sandboxes: 4 asked for, and this agent has 3 left"));
    if (geteuid() == 0) {
        lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = 4 * GIB, .sandboxes = 3 });
        assert_int_equal(world->code, ACK(BUSY));
        assert_non_null(strstr(world->error, "3221225472 left"));
    }
    lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = 3 * GIB, .sandboxes = 3 });
    assert_int_equal(world->code, ACK(OK));
    assert_ok(sandbox_remove(workload_sandboxes(world->app.workload), "own", NULL));
    while (sandboxes_count(workload_sandboxes(world->app.workload)) > 0) {
        loop_step(world->app.loop, 20);
    }
    destroy(world);
}

static void test_join_strings_that_are_none(void **unused)
{
    (void)unused;
    struct world *world = create(NULL, true);
    AUTO_FREE char *folder = mem_printf("%s/guests", world->dir);
    struct wish wish = {
        .loan = "ln_1", .memory_bytes = GIB, .sandboxes = 1, .is_for_another = true
    };
    lend(world, &wish);
    assert_int_equal(world->code, ACK(BAD_REQUEST));
    wish.is_for_another = false;
    wish.join = "http://127.0.0.1/?token=" TOKEN;
    lend(world, &wish);
    assert_int_equal(world->code, ACK(BAD_REQUEST));
    assert_null(strstr(world->error, TOKEN));
    wish.join = NULL;
    wish.sandboxes = 0; /* against the contract */
    lend(world, &wish);
    assert_int_equal(world->code, ACK(BAD_REQUEST));
    assert_false(file_exists(folder));
    destroy(world);
}

static void test_who_has_nothing_lends_nothing(void **unused)
{
    (void)unused;
    struct world *world = create(NULL, false);
    lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = GIB, .sandboxes = 1 });
    assert_int_equal(world->code, ACK(AGENT_INCAPABLE));
    reclaim(world, "ln_1");
    assert_int_equal(world->code, ACK(OK));
    destroy(world);
}

/* Of the machine it is on, which is another's, it tells nothing, and changes nothing there. */
static void test_what_a_guest_does_not(void **unused)
{
    (void)unused;
    struct world *world = create("--lent", false);
    Agentgateway__V1__AgentCommand what = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__TelemetryNow now = AGENTGATEWAY__V1__TELEMETRY_NOW__INIT;
    Agentgateway__V1__DeviceCommand device = AGENTGATEWAY__V1__DEVICE_COMMAND__INIT;
    lend(world, &(struct wish){ .loan = "ln_1", .memory_bytes = GIB, .sandboxes = 1 });
    assert_int_equal(world->code, ACK(FORBIDDEN));
    reclaim(world, "ln_1");
    assert_int_equal(world->code, ACK(OK));
    what.command_case = COMMAND(TELEMETRY_NOW);
    what.telemetry_now = &now;
    give(world, &what);
    assert_int_equal(world->code, ACK(FORBIDDEN));
    what.command_case = COMMAND(DEVICE_COMMAND);
    what.device_command = &device;
    device.action = CONST_CAST(char *, "identify");
    give(world, &what);
    assert_int_equal(world->code, ACK(FORBIDDEN));
    assert_int_equal(world->answers, 4);
    destroy(world);
}

/* A guest: until the lender's pipe is closed, or SIGTERM. What clears up after it: done. */
static int be_guest(const char *verb)
{
    char byte = 0;
    while (strcmp(verb, "run") == 0 && read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_is_lent_and_taken_back),
        cmocka_unit_test(test_more_than_there_is),
        cmocka_unit_test(test_its_own_sandboxes_count),
        cmocka_unit_test(test_join_strings_that_are_none),
        cmocka_unit_test(test_who_has_nothing_lends_nothing),
        cmocka_unit_test(test_what_a_guest_does_not),
    };
    if (argc > 4 && strcmp(argv[1], "--mode") == 0) {
        return be_guest(argv[4]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
