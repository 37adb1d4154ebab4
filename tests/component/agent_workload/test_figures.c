/* What sandboxes use now: spans of readings, when they go out, and when nobody looks any more. */
#include "cmd/agent/workload/figures.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#define RUN(number) ((uint64_t)(number) << 32)

struct world {
    struct test_clock clock;
    struct loop *loop;
    struct figures *figures;
    size_t running; /* how many are asked for a sample */
    unsigned measured;
    unsigned sent;
    size_t count; /* in the last message */
    Agentgateway__V1__SandboxReading last;
};

static size_t on_measure(void *context)
{
    struct world *world = context;
    world->measured++;
    return world->running;
}

static void on_send(void *context, const Agentgateway__V1__ControlSandboxReadings *readings)
{
    struct world *world = context;
    world->sent++;
    world->count = readings->n_readings;
    world->last = *readings->readings[0];
}

static int set_up(void **state)
{
    static const struct figures_ops ops = { .measure = on_measure, .send = on_send };
    struct world *world = mem_alloc(sizeof(*world));
    struct err_info err = ERR_INFO_INIT;
    test_clock_init(&world->clock);
    assert_ok_err(err, loop_create(&world->clock.clock, &world->loop, &err));
    world->figures = figures_create(world->loop, &ops, world);
    world->running = 1;
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    figures_destroy(world->figures);
    loop_destroy(world->loop);
    mem_free(world);
    return 0;
}

static void pass(struct world *world, int64_t us)
{
    test_clock_advance(&world->clock, us);
    while (loop_turn(world->loop)) {
    }
}

/* Seconds since the run began; a CPU and 3 bytes a second each way. */
static void take(struct world *world, uint64_t run, double seconds)
{
    const struct message_sample sample = { .sequence = RUN(run) + (uint64_t)(seconds * 10) + 1,
                                           .time_us = 5000000 + (uint64_t)(seconds * 1e6),
                                           .run_us = (uint64_t)(seconds * 1e6),
                                           .cpu_us = (uint64_t)(seconds * 1e6),
                                           .memory_bytes = 4096,
                                           .pids = 2,
                                           .disk_bytes = 8192 };
    const struct egress_count network = { (uint64_t)(seconds * 3), (uint64_t)(seconds * 3) };
    figures_take(world->figures, "s", &sample, &network);
}

static void check(const struct world *world, unsigned sent, uint64_t interval_us)
{
    assert_int_equal(world->sent, sent);
    assert_int_equal(world->last.interval_us, interval_us);
    assert_int_equal(world->last.cpu_us, interval_us);
}

static void test_it_goes_out_when_all_were_read(void **state)
{
    struct world *world = *state;
    take(world, 1, 10);
    pass(world, 0);
    assert_int_equal(world->measured, 0); /* nobody looks */
    figures_watch(world->figures, 20 * US_PER_SECOND, 2 * US_PER_SECOND);
    pass(world, 0);
    assert_int_equal(world->measured, 1);
    assert_int_equal(world->sent, 0);
    take(world, 1, 13);
    check(world, 1, 3000000);
    assert_string_equal(world->last.sandbox_id, "s");
    assert_int_equal(world->last.taken_us, 18000000);
    assert_int_equal(world->last.memory_bytes, 4096);
    assert_int_equal(world->last.disk_bytes, 8192);
    assert_int_equal(world->last.processes, 2);
    assert_int_equal(world->last.sent_bytes, 9);
    pass(world, 2 * US_PER_SECOND);
    assert_int_equal(world->measured, 2);
    take(world, 1, 15);
    check(world, 2, 2000000);
}

static void test_a_reading_just_after_another_reaches_further_back(void **state)
{
    struct world *world = *state;
    take(world, 1, 10);
    take(world, 1, 20);
    figures_watch(world->figures, 20 * US_PER_SECOND, 2 * US_PER_SECOND);
    pass(world, 0);
    take(world, 1, 20.1);
    check(world, 1, 10100000);
    pass(world, 2 * US_PER_SECOND);
    take(world, 1, 22);
    check(world, 2, 1900000);
}

static void test_runs_begin_with_nothing_and_old_ones_with_their_first_reading(void **state)
{
    struct world *world = *state;
    figures_watch(world->figures, 60 * US_PER_SECOND, 2 * US_PER_SECOND);
    pass(world, 0);
    take(world, 1, 3); /* young: since its start */
    check(world, 1, 3000000);
    pass(world, 2 * US_PER_SECOND);
    take(world, 2, 1); /* started again: its sums are smaller */
    check(world, 2, 1000000);
    figures_forget(world->figures, "s");
    pass(world, 2 * US_PER_SECOND);
    take(world, 2, 5000); /* as an agent that was started again meets it */
    assert_int_equal(world->sent, 2);
    pass(world, 2 * US_PER_SECOND);
    take(world, 2, 5002);
    check(world, 3, 2000000);
}

static void test_one_that_does_not_answer_holds_nobody_up(void **state)
{
    struct world *world = *state;
    world->running = 2;
    take(world, 1, 10);
    figures_watch(world->figures, 20 * US_PER_SECOND, 2 * US_PER_SECOND);
    pass(world, 0);
    take(world, 1, 12);
    assert_int_equal(world->sent, 0);
    pass(world, 2 * US_PER_SECOND);
    check(world, 1, 2000000);
    assert_int_equal(world->count, 1);
}

static void test_it_ends_with_its_time(void **state)
{
    struct world *world = *state;
    figures_watch(world->figures, INT64_MAX, 0); /* a minute, each second */
    for (int i = 0; i < 200; i++) {
        pass(world, US_PER_SECOND);
    }
    assert_in_range(world->measured, 58, 61);
    unsigned before = world->measured;
    figures_watch(world->figures, 0, 2 * US_PER_SECOND);
    pass(world, 10 * US_PER_SECOND);
    assert_int_equal(world->measured, before);
    figures_watch(world->figures, 3 * US_PER_SECOND, 2 * US_PER_SECOND);
    pass(world, 0);
    for (int i = 0; i < 20; i++) {
        pass(world, US_PER_SECOND);
    }
    assert_int_equal(world->measured, before + 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_it_goes_out_when_all_were_read),
        TEST(test_a_reading_just_after_another_reaches_further_back),
        TEST(test_runs_begin_with_nothing_and_old_ones_with_their_first_reading),
        TEST(test_one_that_does_not_answer_holds_nobody_up),
        TEST(test_it_ends_with_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
