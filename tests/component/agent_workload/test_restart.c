/* What follows the end of a main process: the decision alone, and real sandboxes that end again and
 * again, also while no agent is there. */
#include "belay_descriptors.h"
#include "cmd/agent/workload/duties.h"
#include "cmd/agent/workload/note.h"
#include "cmd/agent/workload/restart.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PATIENCE_US (60 * US_PER_SECOND)
#define STATE(name) AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_##name
#define ON_FAILURE  AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_ON_FAILURE
#define ALWAYS      AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_ALWAYS
#define NEVER       AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_NEVER

/* ---- The decision ---- */

static struct sandbox_info ended(struct sandbox_exit *exit, int code)
{
    exit->reason = SANDBOX_END_MAIN;
    exit->has_status = true;
    exit->status = code << 8;
    return (struct sandbox_info){ .status = SANDBOX_STATUS_ENDED, .generation = 1, .exit = exit };
}

static bool follows(uint64_t policy, enum sandbox_end reason, int code, uint64_t generation)
{
    struct sandbox_exit exit = { .reason = SANDBOX_END_MAIN };
    struct sandbox_info info = ended(&exit, code);
    struct restart restart = { .policy = policy };
    exit.reason = reason;
    info.generation = generation;
    assert_int_equal(restart_state(&restart, generation), RESTART_RUNNING);
    assert_true(restart_decide(&restart, &info, (struct wall_us){ US_PER_HOUR }));
    return restart_state(&restart, generation) == RESTART_WAITING;
}

static void test_what_follows_which_end(void **state)
{
    (void)state;
    assert_false(follows(NEVER, SANDBOX_END_MAIN, 1, 1));
    assert_true(follows(ON_FAILURE, SANDBOX_END_MAIN, 1, 1));
    assert_false(follows(ON_FAILURE, SANDBOX_END_MAIN, 0, 1));
    assert_true(follows(ALWAYS, SANDBOX_END_MAIN, 0, 1));
    assert_true(follows(ON_FAILURE, SANDBOX_END_DIED, 0, 1));
    assert_false(follows(ALWAYS, SANDBOX_END_STOPPED, 1, 1));
    assert_false(follows(ALWAYS, SANDBOX_END_TIMEOUT, 1, 1));
    assert_false(follows(ALWAYS, SANDBOX_END_FAILED, 1, 1)); /* it cannot run at all */
    assert_true(follows(ALWAYS, SANDBOX_END_FAILED, 1, 2));  /* it has run before */
}

static void test_the_pause_grows_to_its_bound_and_a_healthy_run_ends_that(void **state)
{
    static const int64_t seconds[] = { 1, 2, 4, 8, 16, 32, 60, 60, 60 };
    (void)state;
    struct sandbox_exit exit = { .reason = SANDBOX_END_MAIN };
    struct sandbox_info info = ended(&exit, 3);
    struct restart restart = { .policy = ON_FAILURE };
    struct wall_us now = { US_PER_HOUR };
    for (size_t i = 0; i < ARRAY_LENGTH(seconds); i++) {
        info.generation = i + 1;
        assert_true(restart_decide(&restart, &info, now));
        assert_int_equal(restart_left_us(&restart, now), seconds[i] * US_PER_SECOND);
        struct restart before = restart;
        assert_false(restart_decide(&restart, &info, now)); /* told twice */
        assert_memory_equal(&before, &restart, sizeof(restart));
    }
    assert_int_equal(restart.count, ARRAY_LENGTH(seconds));
    assert_int_equal(restart.exit_code, 3);
    info.generation++;
    exit.last.run_us = (uint64_t)RESTART_HEALTHY_US;
    assert_true(restart_decide(&restart, &info, now));
    assert_int_equal(restart_left_us(&restart, now), US_PER_SECOND);
    /* However far the clock was moved, it is awaited no longer than the longest pause. */
    assert_int_equal(restart_left_us(&restart, (struct wall_us){ 0 }), RESTART_PAUSE_MOST_US);
    now.value += US_PER_HOUR;
    assert_int_equal(restart_left_us(&restart, now), 0);
}

/* ---- Real ones ---- */

enum {
    ROWS_MAX = 64
};

struct world {
    char *dir;
    struct loop *loop;
    struct wire_schema *schema;
    struct workload *workload;
    int state;
    char reason[64];
    char message[512];
    char instance[32];
    bool has_exit_code;
    unsigned restarts;       /* events */
    char pause_ms[24];       /* of the last of them */
    uint64_t rows[ROWS_MAX]; /* sequences of final rows of usage, in their order */
    size_t row_count;
};

static bool on_report(void *context, const Agentgateway__V1__SandboxReport *report)
{
    struct world *world = context;
    world->state = (int)report->state;
    world->has_exit_code =
        report->has_exit_code_case == AGENTGATEWAY__V1__SANDBOX_REPORT__HAS_EXIT_CODE_EXIT_CODE;
    (void)snprintf(world->reason, sizeof(world->reason), "%s", report->reason);
    (void)snprintf(world->message, sizeof(world->message), "%s", report->message);
    (void)snprintf(world->instance, sizeof(world->instance), "%s", report->instance_id);
    return true;
}

static bool yes(void *context)
{
    (void)context;
    return true;
}

static void keep_pause(struct world *world, const Agentgateway__V1__AgentEvent *event)
{
    for (size_t i = 0; i < event->n_attributes; i++) {
        if (strcmp(event->attributes[i]->key, "pause_ms") == 0) {
            (void)snprintf(
                world->pause_ms, sizeof(world->pause_ms), "%s", event->attributes[i]->value);
        }
    }
}

static enum err_code on_emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    struct world *world = context;
    (void)err;
    for (size_t i = 0; i < batch->n_events; i++) {
        const Agentgateway__V1__AgentEvent *event = batch->events[i];
        if (strcmp(event->kind, "sandbox.restart") == 0) {
            world->restarts++;
            keep_pause(world, event);
        }
        if (event->usage != NULL && event->usage->is_final && world->row_count < ROWS_MAX) {
            world->rows[world->row_count++] = event->usage->sequence;
        }
    }
    return ERR_OK;
}

static const struct workload_ops ops = {
    .report = on_report, .is_online = yes, .emit = on_emit, .has_room = yes
};

static enum err_code open_workload(struct world *world, struct err_info *err)
{
    AUTO_FREE char *dir = mem_printf("%s/sandboxes", world->dir);
    const struct workload_options options = { .loop = world->loop,
                                              .clock = clock_system(),
                                              .schema = world->schema,
                                              .dir = dir,
                                              .shim_path = BELAY_SHIM_PATH,
                                              .boot_id = "boot-1",
                                              .offer = { .slots = 2 },
                                              .is_lenient = true,
                                              .ops = &ops,
                                              .context = world };
    return workload_open(&options, &world->workload, err);
}

static int set_up(void **state)
{
    struct err_info err = ERR_INFO_INIT;
    struct world *world = mem_alloc(sizeof(*world));
    world->dir = test_dir_create();
    assert_ok(wire_schema_load(belay_descriptors, belay_descriptors_size, &world->schema, NULL));
    assert_ok(loop_create(clock_system(), &world->loop, NULL));
    *state = world;
    enum err_code code = open_workload(world, &err);
    if (code != ERR_OK) {
        print_message("skipped: %s\n", err.text);
        assert_int_equal(code, ERR_UNSUPPORTED);
    }
    return 0;
}

static struct world *world_of(void **state)
{
    struct world *world = *state;
    if (world->workload == NULL) {
        skip();
    }
    return world;
}

static void turn_until(struct world *world, bool (*is_so)(const struct world *world))
{
    int64_t deadline = loop_now(world->loop).value + PATIENCE_US;
    while (!is_so(world) && loop_now(world->loop).value < deadline) {
        loop_step(world->loop, 20);
    }
    assert_true(is_so(world));
}

static bool is_gone(const struct world *world)
{
    size_t cursor = 0;
    struct sandbox_info info;
    return !sandbox_next(workload_sandboxes(world->workload), &cursor, &info)
        && !sandbox_is_going(workload_sandboxes(world->workload), "s");
}

static int tear_down(void **state)
{
    struct world *world = *state;
    struct err_info err = ERR_INFO_INIT;
    if (world->workload != NULL) {
        assert_ok_err(err, duties_delete(world->workload, "s", &err));
        turn_until(world, is_gone);
    }
    workload_close(world->workload);
    loop_destroy(world->loop);
    wire_schema_destroy(world->schema);
    test_dir_remove(world->dir);
    mem_free(world);
    return 0;
}

static void create(struct world *world, const char *script, Agentgateway__V1__SandboxRestart when)
{
    struct err_info err = ERR_INFO_INIT;
    Agentgateway__V1__SandboxCreate order = AGENTGATEWAY__V1__SANDBOX_CREATE__INIT;
    char *command[] = { CONST_CAST(char *, "sh"),
                        CONST_CAST(char *, "-c"),
                        CONST_CAST(char *, script) };
    order.sandbox_id = CONST_CAST(char *, "s");
    order.name = CONST_CAST(char *, "one");
    order.command = command;
    order.n_command = ARRAY_LENGTH(command);
    order.policy_version = 1;
    order.restart = when;
    assert_ok_err(err, duties_create(world->workload, &order, &err));
}

static bool is_waiting(const struct world *world)
{
    return world->state == (int)STATE(STARTING) && strcmp(world->reason, "Restarting") == 0;
}

static bool is_over(const struct world *world)
{
    return world->state == (int)STATE(EXITED);
}

static bool is_stopped(const struct world *world)
{
    return world->state == (int)STATE(STOPPED);
}

static bool is_ready(const struct world *world)
{
    return world->state == (int)STATE(READY);
}

/* Its workspace is what it was, its count is told, and each run is charged once. */
static void test_a_failure_is_followed_by_a_start_until_it_ends_well(void **state)
{
    struct world *world = world_of(state);
    create(world, "echo x >>n; [ $(wc -l <n) -lt 3 ] && exit 7; exit 0", ON_FAILURE);
    turn_until(world, is_waiting);
    assert_string_equal(world->message, "restart 1 follows; its last run ended with exit code 7");
    assert_false(world->has_exit_code); /* which would say that it is over */
    turn_until(world, is_over);
    assert_int_equal(world->restarts, 2);
    assert_true(world->has_exit_code);
    assert_string_equal(world->instance, "run-3");
    assert_int_equal(world->row_count, 3);
    for (size_t i = 0; i < world->row_count; i++) {
        assert_int_equal(world->rows[i] >> 32, i + 1); /* the run's own numbers */
    }
}

/* The agent goes in the pause, and the next one starts it, tells the end no second time and counts
 * on. */
static void test_a_pause_outlives_the_agent(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    create(world, "echo x >>n; [ $(wc -l <n) -lt 2 ] && exit 7; exec sleep 1000", ALWAYS);
    turn_until(world, is_waiting);
    workload_close(STEAL(world->workload));
    world->state = 0;
    assert_ok_err(err, open_workload(world, &err));
    turn_until(world, is_ready);
    assert_string_equal(world->message, "restarts: 1; its last run ended with exit code 7");
    assert_string_equal(world->instance, "run-2");
    assert_int_equal(world->restarts, 1);
}

static void test_a_stop_in_the_pause_holds_and_a_start_ends_it(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    create(world, "echo x >>n; [ $(wc -l <n) -lt 2 ] && exit 7; exec sleep 1000", ALWAYS);
    turn_until(world, is_waiting);
    assert_ok_err(err, duties_stop(world->workload, "s", &err));
    assert_true(is_stopped(world));
    assert_ok_err(err, duties_restart(world->workload, "s", &err)); /* the pause is over now */
    assert_true(is_stopped(world));
    assert_ok_err(err, duties_start(world->workload, "s", &err));
    turn_until(world, is_ready);
    assert_ok_err(err, duties_stop(world->workload, "s", &err)); /* what was ordered is no end */
    turn_until(world, is_stopped);
    assert_int_equal(world->restarts, 1);
}

static bool has_failed_twice(const struct world *world)
{
    return world->restarts == 2;
}

static bool has_failed_again(const struct world *world)
{
    return world->restarts == 3;
}

static void test_an_ordered_start_begins_with_the_shortest_pause(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    create(world, "exit 7", ON_FAILURE);
    turn_until(world, has_failed_twice);
    assert_string_equal(world->pause_ms, "2000");
    assert_ok_err(err, duties_stop(world->workload, "s", &err));
    assert_ok_err(err, duties_start(world->workload, "s", &err));
    turn_until(world, has_failed_again);
    assert_string_equal(world->pause_ms, "1000");
}

static void test_a_sandbox_in_its_pause_is_deleted(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    create(world, "exit 7", ALWAYS);
    turn_until(world, is_waiting);
    assert_ok_err(err, duties_delete(world->workload, "s", &err));
    turn_until(world, is_gone);
    assert_code(ERR_NOT_FOUND, duties_restart(world->workload, "s", &err));
    assert_int_equal(world->state, STATE(DELETED));
}

static void allow_file_bytes(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The agent's disk takes nothing as the main program ends. That is no reason to say that the
 * sandbox is over, and to start it all the same later. */
static void test_an_end_that_could_not_be_noted_is_followed_by_a_start(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *go = mem_printf("%s/sandboxes/run/s/" SANDBOX_FILE_WORKSPACE "/go", world->dir);
    create(
        world,
        "echo x >>n; [ $(wc -l <n) -gt 1 ] && exec sleep 1000;"
        "until [ -e go ]; do sleep 0.05; done; exit 7",
        ON_FAILURE);
    turn_until(world, is_ready);
    (void)signal(SIGXFSZ, SIG_IGN);
    allow_file_bytes(0);
    AUTO_FD int fd = open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    turn_until(world, is_waiting);
    assert_false(world->has_exit_code);
    assert_int_equal(world->restarts, 0); /* nothing is told that is not decided for good */
    assert_code(ERR_UNAVAILABLE, duties_restart(world->workload, "s", &err));
    assert_true(is_waiting(world));
    workload_close(STEAL(world->workload)); /* with the spare shim, which has this bound too */
    allow_file_bytes(RLIM_INFINITY);
    assert_ok_err(err, open_workload(world, &err));
    turn_until(world, is_ready);
    assert_string_equal(world->message, "restarts: 1; its last run ended with exit code 7");
    assert_string_equal(world->instance, "run-2");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_follows_which_end),
        cmocka_unit_test(test_the_pause_grows_to_its_bound_and_a_healthy_run_ends_that),
        TEST(test_a_failure_is_followed_by_a_start_until_it_ends_well),
        TEST(test_a_pause_outlives_the_agent),
        TEST(test_a_stop_in_the_pause_holds_and_a_start_ends_it),
        TEST(test_an_ordered_start_begins_with_the_shortest_pause),
        TEST(test_a_sandbox_in_its_pause_is_deleted),
        TEST(test_an_end_that_could_not_be_noted_is_followed_by_a_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
