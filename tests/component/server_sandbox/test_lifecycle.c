/* Sandboxes from the order to the end, as the database sees it: hellos, reports and the clock. */
#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/store/command.h"
#include "cmd/server/store/event.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"
#include "tests/support/payload.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    LARGE_BYTES = 900 * 1024, /* of a spec */
    LARGE_COUNT = 60,
    MANY = 1100,
    HELLO_BYTES = 48 * 1024 * 1024, /* what a control stream's event has */
    TALKERS = 200,
    TALK_BYTES = 250 * 1024, /* together more than a call has */
    CALL_BYTES = 64 * 1024 * 1024,
    TASK_BYTES = 1024 * 1024, /* what a task of housekeeping has */
    MESSAGE_CHARS = 4096,     /* what the contract lets an agent say */
};

struct bench {
    struct place *place;
    struct service service;
    struct wire_schema *schema;
    struct key_sign *key;
    struct worker *worker;
    int64_t agent;
    bool has_more;
    const Agentgateway__V1__ControlHello *hello;
    Agentgateway__V1__SandboxState said; /* of all of a hello's sandboxes */
    const char *message;                 /* of each of them; NULL: none */
    unsigned counts;
};

static void bench_init(struct bench *bench, void **state)
{
    struct err_info err = ERR_INFO_INIT;
    void *worker = NULL;
    *bench = (struct bench){ .place = place_of(state),
                             .said = AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_READY };
    bench->schema = payload_schema();
    bench->key = key_sign_create();
    bench->service.clock = clock_system();
    bench->service.engine = sql_engine_of(bench->place->conn);
    bench->service.store.url = bench->place->url;
    bench->service.schema = bench->schema;
    bench->service.command_key = bench->key;
    bench->service.settings.heartbeat_us = US_PER_SECOND;
    bench->service.hub = hub_create();
    assert_ok_err(err, worker_open(&bench->service, &worker, &err));
    bench->worker = worker;
    bench->agent = place_add_agent(bench->place, WORKSPACE_DEFAULT, "edge", 1);
}

static void bench_deinit(struct bench *bench)
{
    worker_close(&bench->service, bench->worker);
    hub_destroy(bench->service.hub);
    key_sign_destroy(bench->key);
    wire_schema_destroy(bench->schema);
}

static char *id_of(size_t index, char out[32])
{
    (void)snprintf(out, 32, "sbx_%05zu", index);
    return out;
}

/* `count` sandboxes of the agent in a phase, with a spec of so many bytes; reported once unless
 * sequence is 0. */
static void add_sandboxes(
    struct bench *bench, size_t count, enum phase phase, int64_t sequence, size_t spec_bytes)
{
    struct err_info err = ERR_INFO_INIT;
    char *spec = mem_alloc(spec_bytes + 1);
    memset(spec, 's', spec_bytes);
    place_begin(bench->place, WORKSPACE_DEFAULT);
    for (size_t i = 0; i < count; i++) {
        char id[32];
        struct sandbox_record record = {
            .workspace_id = WORKSPACE_DEFAULT,
            .id = id_of(i, id),
            .name = id,
            .agent_id = bench->agent,
            .phase = (int64_t)phase,
            .labels = "{}",
            .annotations = "{}",
            .spec = str_from(spec, spec_bytes),
            .reason = "",
            .message = "",
            .exit_code = -1,
            .instance_id = "",
            .policy_version = 1,
            .created_by = "user:local/0",
            .created_at = PLACE_NOW.value,
            .changed_at = PLACE_NOW.value,
            .revision = 1,
        };
        assert_ok_err(err, store_sandbox_add(bench->place->conn, &record, &err));
        record.report_sequence = sequence;
        assert_ok_err(err, store_sandbox_update(bench->place->conn, &record, &err));
    }
    place_commit(bench->place);
    mem_free(spec);
}

/* The agent is heard of now, or has not been for long. */
static void set_seen(struct bench *bench, struct wall_us at)
{
    char *text = mem_printf("UPDATE agent SET last_seen_at = %" PRId64, at.value);
    place_script(bench->place, text);
    mem_free(text);
}

static int64_t ask_count(struct bench *bench, const struct sql_statement *statement)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(bench->place->conn, statement, SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    int64_t number = sql_int(rows, 0);
    sql_rows_close(rows);
    place_commit(bench->place);
    return number;
}

/* A statement lives as long as its connection. */
static int64_t count(struct bench *bench, const char *condition)
{
    struct arena *arena = bench->place->arena;
    const char *text = arena_printf(arena, "SELECT COUNT(*) FROM %s", condition);
    const char *name = arena_printf(arena, "count_of_test_%u", bench->counts++);
    const struct sql_statement statement = { name, text, text };
    const struct sql_statement *kept = arena_dup(arena, &statement, sizeof(statement));
    assert_non_null(kept);
    return ask_count(bench, kept);
}

static enum err_code sweep(struct work *work, void *context, struct err_info *err)
{
    struct bench *bench = context;
    return lifecycle_sweep(work, &bench->has_more, err);
}

/* As housekeeping does, until nothing is left. */
static void sweep_all(struct bench *bench)
{
    do {
        struct err_info err = ERR_INFO_INIT;
        AUTO_ARENA struct arena *arena = arena_create(TASK_BYTES);
        assert_ok_err(err, work_run(bench->worker, arena, SQL_ALL_WORKSPACES, sweep, bench, &err));
    } while (bench->has_more);
}

static enum err_code hello(struct work *work, void *context, struct err_info *err)
{
    struct bench *bench = context;
    const struct lifecycle self = { .work = work,
                                    .workspace_id = WORKSPACE_DEFAULT,
                                    .workspace = "default",
                                    .actor = "agent:edge" };
    return lifecycle_take_hello(&self, bench->agent, bench->hello, err);
}

/* A new control stream whose agent has sandboxes 0 to count - 1. */
static void greet(struct bench *bench, size_t count)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(HELLO_BYTES);
    Agentgateway__V1__ControlHello message = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;

    struct {
        Agentgateway__V1__SandboxReport report;
        char id[32];
    } *said = mem_alloc_array(count + 1, sizeof(*said));

    message.sandboxes = mem_alloc_array(count + 1, sizeof(void *));
    message.n_sandboxes = count;
    for (size_t i = 0; i < count; i++) {
        agentgateway__v1__sandbox_report__init(&said[i].report);
        said[i].report.sandbox_id = id_of(i, said[i].id);
        said[i].report.sequence = 5;
        said[i].report.state = bench->said;
        said[i].report.message =
            bench->message == NULL ? said[i].report.message : mem_strdup(bench->message);
        message.sandboxes[count - 1 - i] = &said[i].report; /* in no order of ours */
    }
    bench->hello = &message;
    assert_ok_err(err, work_run(bench->worker, arena, WORKSPACE_DEFAULT, hello, bench, &err));
    for (size_t i = 0; bench->message != NULL && i < count; i++) {
        mem_free(said[i].report.message);
    }
    mem_free(message.sandboxes);
    mem_free(said);
}

/* However large the specs of sandboxes are, their agents' absence is seen. */
static void test_an_absence_is_seen_whatever_the_specs(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, 3, PHASE_READY, 1, LARGE_BYTES);
    sweep_all(&bench);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 5 AND reason = 'AgentAway'"), 3);
    bench_deinit(&bench);
}

static void test_an_absence_is_seen_of_any_number(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, MANY, PHASE_READY, 1, 1);
    sweep_all(&bench);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 5"), MANY);
    assert_int_equal(count(&bench, "event WHERE kind = 'sandbox.phase'"), MANY);
    bench_deinit(&bench);
}

static void test_an_agent_that_is_heard_of_keeps_its_sandboxes(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, 2, PHASE_READY, 1, 1);
    set_seen(&bench, clock_wall(clock_system()));
    sweep_all(&bench);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 2"), 2);
    bench_deinit(&bench);
}

/* An order that was never taken fails, also while its agent is there. */
static void test_what_was_never_taken_fails(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, 2, PHASE_PROVISIONING, 0, 1);
    set_seen(&bench, clock_wall(clock_system()));
    sweep_all(&bench);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 3 AND reason = 'NotTaken'"), 2);
    bench_deinit(&bench);
}

/* Nor does it wait for its agent as UNKNOWN, and one that was made just now is on its way. */
static void test_what_is_on_its_way_is_left_alone(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, 2, PHASE_PROVISIONING, 0, 1);
    char *now =
        mem_printf("UPDATE sandbox SET created_at = %" PRId64, clock_wall(clock_system()).value);
    place_script(bench.place, now);
    mem_free(now);
    sweep_all(&bench);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 1"), 2);
    bench_deinit(&bench);
}

/* A hello is taken whatever the specs of its agent's sandboxes. */
static void test_a_hello_of_large_sandboxes(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, LARGE_COUNT, PHASE_PROVISIONING, 0, LARGE_BYTES);
    greet(&bench, LARGE_COUNT);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 2"), LARGE_COUNT);
    bench_deinit(&bench);
}

/* None is left out: reports are taken, what is missing ends, orders are repeated. */
static void test_a_hello_of_many_sandboxes(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, MANY, PHASE_DELETING, 1, 1);
    greet(&bench, MANY - 10);
    assert_int_equal(count(&bench, "sandbox"), MANY - 10);
    assert_int_equal(count(&bench, "command WHERE kind = 'sandbox_delete'"), MANY - 10);
    greet(&bench, MANY - 10); /* the orders are under way */
    assert_int_equal(count(&bench, "command"), MANY - 10);
    bench_deinit(&bench);
}

/* Four bytes each. */
static char *emoji(size_t count)
{
    char *text = mem_alloc(4 * count + 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + 4 * i, "\xf0\x9f\x98\x80", 4);
    }
    text[4 * count] = '\0';
    return text;
}

/* Whatever the messages of one workspace are, kept by older servers too, no absence is unseen. */
static void test_an_absence_is_seen_whatever_the_messages(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, MANY, PHASE_READY, 1, 1);
    char *message = emoji(MESSAGE_CHARS);
    char *update = mem_printf("UPDATE sandbox SET message = '%s'", message);
    place_script(bench.place, update);
    sweep_all(&bench);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 5"), MANY);
    mem_free(update);
    mem_free(message);
    bench_deinit(&bench);
}

/* A message is kept in so many bytes, not characters, and is told whole of what is kept. */
static void test_a_message_is_kept_cut(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    struct sandbox_record record;
    bench_init(&bench, state);
    char *message = emoji(MESSAGE_CHARS);
    bench.message = message;
    bench.said = AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_FAILED;
    add_sandboxes(&bench, 1, PHASE_READY, 1, 1);
    greet(&bench, 1);
    place_begin(bench.place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err,
        store_sandbox_life(
            bench.place->conn,
            WORKSPACE_DEFAULT,
            STR("sbx_00000"),
            bench.place->arena,
            &record,
            &err));
    place_commit(bench.place);
    assert_int_equal(strlen(record.message), LIFECYCLE_MESSAGE_BYTES);
    assert_memory_equal(record.message, message, LIFECYCLE_MESSAGE_BYTES);
    assert_int_equal(count(&bench, "event WHERE length(text) = 1024 + length('error: ')"), 1);
    mem_free(message);
    bench_deinit(&bench);
}

/* An order outlasts its agent's absence, also when it expired meanwhile: it is given again. */
static void test_a_stop_outlasts_an_absence(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, 2, PHASE_STOPPING, 5, 1);
    sweep_all(&bench);
    greet(&bench, 2);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 6"), 2);
    assert_int_equal(count(&bench, "command WHERE kind = 'sandbox_stop'"), 2);
    bench_deinit(&bench);
}

static void test_a_start_outlasts_an_absence(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    bench.said = AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_STOPPED;
    add_sandboxes(&bench, 2, PHASE_STARTING, 5, 1);
    sweep_all(&bench);
    greet(&bench, 2);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 8"), 2);
    assert_int_equal(count(&bench, "command WHERE kind = 'sandbox_start'"), 2);
    bench_deinit(&bench);
}

/* What the workspace does not know goes; what another agent has in it is no business of a hello. */
static void test_strangers_go(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_sandboxes(&bench, 2, PHASE_READY, 1, 1);
    int64_t edge = bench.agent;
    bench.agent = place_add_agent(bench.place, WORKSPACE_DEFAULT, "other", 2);
    greet(&bench, 40);
    char *others = mem_printf("command WHERE agent_id = %" PRId64, bench.agent);
    assert_int_equal(count(&bench, others), 16); /* few at a time */
    greet(&bench, 40);
    assert_int_equal(count(&bench, others), 16); /* the same are under way */
    mem_free(others);
    char *kept = mem_printf("sandbox WHERE phase = 2 AND agent_id = %" PRId64, edge);
    assert_int_equal(count(&bench, kept), 2);
    mem_free(kept);
    bench_deinit(&bench);
}

/* The agent has room for so many sandboxes, and says it at some length. */
static void offer(struct bench *bench, int64_t agent, uint32_t sandboxes, size_t hello_bytes)
{
    struct err_info err = ERR_INFO_INIT;
    static const char *drivers[] = { "native" };
    Agentgateway__V1__ControlHello message = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;
    Agentgateway__V1__Capacity capacity = AGENTGATEWAY__V1__CAPACITY__INIT;
    AUTO_BUF struct buf packed = BUF_INIT(2 * TASK_BYTES);
    capacity.cpus = 64;
    capacity.memory_bytes = UINT64_C(1) << 40;
    capacity.disk_bytes = UINT64_C(1) << 40;
    capacity.sandboxes = sandboxes;
    capacity.n_sandbox_drivers = 1;
    capacity.sandbox_drivers = (char **)(uintptr_t)drivers;
    message.capacity = &capacity;
    message.boot_id = mem_alloc(hello_bytes + 1);
    memset(message.boot_id, 'b', hello_bytes);
    wire_pack(&message.base, &packed);
    mem_free(message.boot_id);
    const struct agent_hello said = { .packed = buf_view(&packed), .version = STR("1") };
    place_begin(bench->place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err,
        store_agent_hello(
            bench->place->conn, WORKSPACE_DEFAULT, agent, &said, clock_wall(clock_system()), &err));
    place_commit(bench->place);
}

static enum err_code create(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    Openshell__V1__SandboxSpec spec = OPENSHELL__V1__SANDBOX_SPEC__INIT;
    static const char *command[] = { "true" };
    spec.n_command = 1;
    spec.command = (char **)(uintptr_t)command;
    const struct lifecycle self = { .work = work,
                                    .workspace_id = WORKSPACE_DEFAULT,
                                    .workspace = "default",
                                    .actor = "user:local/0" };
    const struct lifecycle_wish wish = {
        .name = "",
        .labels = "{}",
        .annotations = "{}",
        .agent = "",
        .selector = "",
        .restart = "",
        .spec = &spec,
    };
    struct sandbox_record record;
    return lifecycle_create(&self, &wish, &record, err);
}

static enum err_code create_one(struct bench *bench, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(CALL_BYTES);
    return work_run(bench->worker, arena, WORKSPACE_DEFAULT, create, NULL, err);
}

/* However much agents say in their hellos, sandboxes find a place. */
static void test_a_place_among_talkative_agents(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    for (uint8_t i = 2; i < 2 + TALKERS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "talker-%u", i);
        int64_t agent = place_add_agent(bench.place, WORKSPACE_DEFAULT, name, i);
        offer(&bench, agent, i == TALKERS ? 1 : 0, TALK_BYTES);
    }
    assert_ok_err(err, create_one(&bench, &err));
    assert_int_equal(
        count(&bench, "sandbox s JOIN agent a ON a.id = s.agent_id WHERE a.name = 'talker-200'"),
        1);
    assert_code(ERR_PRECONDITION, create_one(&bench, &err));
    bench_deinit(&bench);
}

static enum err_code start_last(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    struct sandbox_record record;
    const struct lifecycle self = { .work = work,
                                    .workspace_id = WORKSPACE_DEFAULT,
                                    .workspace = "default",
                                    .actor = "user:local/0" };
    TRY(store_sandbox_get(
        work->conn, WORKSPACE_DEFAULT, STR("sbx_00001"), work->arena, &record, err));
    return lifecycle_order(&self, &record, PHASE_ORDER_START, err);
}

static enum err_code start(struct bench *bench, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(CALL_BYTES);
    return work_run(bench->worker, arena, WORKSPACE_DEFAULT, start_last, NULL, err);
}

/* What is stopped has no room kept for it: a start asks again, and says what there is too little
 * of. */
static void test_a_start_takes_no_room_that_is_not_there(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    offer(&bench, bench.agent, 2, 1);
    add_sandboxes(&bench, 2, PHASE_READY, 1, 1);
    place_script(bench.place, "UPDATE sandbox SET cpu_millis = 40000");
    place_script(bench.place, "UPDATE sandbox SET phase = 7 WHERE id = 'sbx_00001'");
    assert_code(ERR_PRECONDITION, start(&bench, &err));
    assert_non_null(strstr(err.text, "cpu (40000m asked, at most 24000m free)"));
    assert_int_equal(count(&bench, "sandbox WHERE phase = 7"), 1);
    assert_int_equal(count(&bench, "command"), 0);
    place_script(bench.place, "UPDATE sandbox SET cpu_millis = 24000 WHERE id = 'sbx_00001'");
    assert_ok_err(err, start(&bench, &err));
    assert_int_equal(count(&bench, "sandbox WHERE phase = 8"), 1);
    bench_deinit(&bench);
}

struct creation {
    struct bench *bench;
    enum err_code code;
};

static void create_on_a_thread(void *context)
{
    struct creation *creation = context;
    struct err_info err = ERR_INFO_INIT;
    creation->code = create_one(creation->bench, &err);
}

static void sweep_on_a_thread(void *context)
{
    sweep_all(context);
}

#define WAITS                                                                       \
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND " \
    "wait_event_type = 'Lock'"
static const struct sql_statement WAITS_OF_TEST = { "waits_of_test", WAITS, WAITS };

/* PostgreSQL: whoever waits for a sandbox's row does not keep others from writing events, or both
 * might wait for each other. */
static void test_a_sweep_that_waits_holds_no_events(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    struct thread thread;
    bench_init(&bench, state);
    add_sandboxes(&bench, 2, PHASE_READY, 1, 1);
    struct sql_conn *reporter = place_connect(bench.place);
    struct sandbox_record last;
    assert_ok_err(err, sql_begin(reporter, WORKSPACE_DEFAULT, &err));
    assert_ok_err(
        err,
        store_sandbox_life(
            reporter, WORKSPACE_DEFAULT, STR("sbx_00001"), bench.place->arena, &last, &err));
    assert_ok_err(err, store_sandbox_update(reporter, &last, &err));
    assert_ok_err(err, thread_start(&thread, "sweep", sweep_on_a_thread, &bench, &err));
    while (ask_count(&bench, &WAITS_OF_TEST) == 0) { /* it has a row and waits for the next */
    }
    assert_ok_err(err, sql_exec_script(reporter, "SET LOCAL lock_timeout = '500ms'", &err));
    assert_ok_err(err, store_event_lock(reporter, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, sql_commit(reporter, &err));
    thread_join(&thread);
    sql_close(reporter);
    assert_int_equal(count(&bench, "sandbox WHERE phase = 5"), 2);
    bench_deinit(&bench);
}

/* PostgreSQL: of two that are placed at the same time on the last room one is refused. */
static void test_two_at_once_take_no_room_twice(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    struct thread thread;
    bench_init(&bench, state);
    struct creation creation = { &bench, ERR_INTERNAL };
    offer(&bench, bench.agent, 1, 1);
    struct sql_conn *other = place_connect(bench.place);
    struct agent_marks marks;
    assert_ok_err(err, sql_begin(other, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, store_agent_marks(other, WORKSPACE_DEFAULT, bench.agent, &marks, &err));
    const struct sandbox_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = "sbx_first",
        .name = "first",
        .agent_id = bench.agent,
        .phase = PHASE_PROVISIONING,
        .labels = "{}",
        .annotations = "{}",
        .spec = STR("s"),
        .reason = "",
        .message = "",
        .policy_version = 1,
        .created_by = "user:local/0",
        .created_at = PLACE_NOW.value,
    };
    assert_ok_err(err, store_sandbox_add(other, &record, &err));
    assert_ok_err(err, thread_start(&thread, "create", create_on_a_thread, &creation, &err));
    while (ask_count(&bench, &WAITS_OF_TEST) == 0) { /* it has chosen, and waits for the agent */
    }
    assert_ok_err(err, sql_commit(other, &err));
    thread_join(&thread);
    sql_close(other);
    assert_int_equal(creation.code, ERR_PRECONDITION);
    assert_int_equal(count(&bench, "sandbox"), 1);
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_an_absence_is_seen_whatever_the_specs),
        PLACE_BOTH(test_an_absence_is_seen_of_any_number),
        PLACE_BOTH(test_an_absence_is_seen_whatever_the_messages),
        PLACE_BOTH(test_a_message_is_kept_cut),
        PLACE_BOTH(test_an_agent_that_is_heard_of_keeps_its_sandboxes),
        PLACE_BOTH(test_what_was_never_taken_fails),
        PLACE_BOTH(test_what_is_on_its_way_is_left_alone),
        PLACE_BOTH(test_a_hello_of_large_sandboxes),
        PLACE_BOTH(test_a_hello_of_many_sandboxes),
        PLACE_BOTH(test_a_stop_outlasts_an_absence),
        PLACE_BOTH(test_a_start_outlasts_an_absence),
        PLACE_BOTH(test_strangers_go),
        PLACE_BOTH(test_a_place_among_talkative_agents),
        PLACE_BOTH(test_a_start_takes_no_room_that_is_not_there),
        cmocka_unit_test_setup_teardown(
            test_two_at_once_take_no_room_twice, place_setup_postgres, place_teardown),
        cmocka_unit_test_setup_teardown(
            test_a_sweep_that_waits_holds_no_events, place_setup_postgres, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
