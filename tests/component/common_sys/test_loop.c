#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/loop.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

struct fixture {
    struct loop *loop;
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct loop_timer *other;
    int ends[2];
    char seen[64];
};

static int set_up(void **state)
{
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    assert_ok(loop_create(clock_system(), &fixture->loop, NULL));
    assert_int_equal(pipe2(fixture->ends, O_CLOEXEC | O_NONBLOCK), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    loop_timer_destroy(fixture->timer);
    loop_timer_destroy(fixture->other);
    loop_destroy(fixture->loop);
    fd_close(&fixture->ends[0]);
    fd_close(&fixture->ends[1]);
    mem_free(fixture);
    return 0;
}

static void note(struct fixture *fixture, char c)
{
    size_t used = strlen(fixture->seen);
    assert_true(used + 1 < sizeof(fixture->seen));
    fixture->seen[used] = c;
}

static void stop_at_end(void *context)
{
    struct fixture *fixture = context;
    note(fixture, '.');
    loop_stop(fixture->loop);
}

static void on_readable(void *context, uint32_t events)
{
    struct fixture *fixture = context;
    char c = 0;
    if ((events & EPOLLIN) != 0 && read(fixture->ends[0], &c, 1) == 1) {
        note(fixture, c);
    } else {
        note(fixture, 'h');
        loop_watch_remove(fixture->watch); /* its own */
        loop_watch_remove(fixture->watch);
        loop_stop(fixture->loop);
    }
}

static void test_watch_reads_until_the_other_side_closes(void **state)
{
    struct fixture *fixture = *state;
    assert_ok(loop_watch_add(
        fixture->loop, fixture->ends[0], EPOLLIN, on_readable, fixture, &fixture->watch, NULL));
    assert_int_equal(write(fixture->ends[1], "abc", 3), 3);
    fd_close(&fixture->ends[1]);
    loop_run(fixture->loop);
    assert_string_equal(fixture->seen, "abch");
    loop_watch_remove(NULL);
}

static void test_watch_may_be_silenced(void **state)
{
    struct fixture *fixture = *state;
    assert_ok(loop_watch_add(
        fixture->loop, fixture->ends[0], EPOLLIN, on_readable, fixture, &fixture->watch, NULL));
    assert_ok(loop_watch_set(fixture->watch, 0));
    assert_int_equal(write(fixture->ends[1], "abc", 3), 3);
    fixture->timer = loop_timer_create(fixture->loop, stop_at_end, fixture);
    loop_timer_arm_after(fixture->timer, 1000);
    loop_run(fixture->loop);
    assert_string_equal(fixture->seen, ".");
}

static void test_bad_descriptor_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    assert_code(
        ERR_LIMIT,
        loop_watch_add(fixture->loop, -1, EPOLLIN, on_readable, fixture, &fixture->watch, &err));
    assert_null(fixture->watch);
}

static void note_a(void *context)
{
    note(context, 'a');
}

static void note_b_and_disarm(void *context)
{
    struct fixture *fixture = context;
    note(fixture, 'b');
    loop_timer_disarm(fixture->timer); /* due in the same turn, must not fire */
}

static void test_timers_by_deadline_and_disarm_in_the_same_turn(void **state)
{
    struct fixture *fixture = *state;
    fixture->timer = loop_timer_create(fixture->loop, note_a, fixture);
    fixture->other = loop_timer_create(fixture->loop, note_b_and_disarm, fixture);
    struct loop_timer *end = loop_timer_create(fixture->loop, stop_at_end, fixture);
    struct mono_us now = loop_now(fixture->loop);
    loop_timer_arm(end, (struct mono_us){ now.value });
    loop_timer_arm(fixture->timer, (struct mono_us){ now.value - 5 });
    loop_timer_arm(fixture->other, (struct mono_us){ now.value - 10 });
    loop_run(fixture->loop);
    assert_string_equal(fixture->seen, "b.");
    loop_timer_destroy(end);
    loop_timer_destroy(NULL);
}

static void rearm_at_once(void *context)
{
    struct fixture *fixture = context;
    loop_timer_arm_after(fixture->timer, 0);
}

/* A timer that arms itself for now must not keep the loop from its descriptors. */
static void test_timer_rearmed_for_now_lets_others_run(void **state)
{
    struct fixture *fixture = *state;
    fixture->timer = loop_timer_create(fixture->loop, rearm_at_once, fixture);
    loop_timer_arm_after(fixture->timer, 0);
    assert_ok(loop_watch_add(
        fixture->loop, fixture->ends[0], EPOLLIN, on_readable, fixture, &fixture->watch, NULL));
    fd_close(&fixture->ends[1]);
    loop_run(fixture->loop);
    assert_string_equal(fixture->seen, "h");
}

static void post_some(void *context)
{
    struct fixture *fixture = context;
    for (int i = 0; i < 10; i++) {
        assert_true(loop_post(fixture->loop, note_a, fixture));
    }
    assert_true(loop_post(fixture->loop, stop_at_end, fixture));
}

static void test_posts_of_another_thread_run_in_order_then_fail(void **state)
{
    struct fixture *fixture = *state;
    struct thread thread = { 0 };
    assert_ok(thread_start(&thread, "poster", post_some, fixture, NULL));
    loop_run(fixture->loop);
    thread_join(&thread);
    assert_string_equal(fixture->seen, "aaaaaaaaaa.");
    assert_false(loop_post(fixture->loop, note_a, fixture));
}

static void test_tasks_that_never_ran_are_freed(void **state)
{
    struct fixture *fixture = *state;
    assert_true(loop_post(fixture->loop, note_a, fixture));
    assert_ok(loop_watch_add(
        fixture->loop, fixture->ends[0], EPOLLIN, on_readable, fixture, &fixture->watch, NULL));
    assert_string_equal(fixture->seen, "");
}

static void on_signal(void *context, int signal)
{
    struct fixture *fixture = context;
    note(fixture, signal == SIGHUP ? 'H' : 'T');
    if (signal == SIGTERM) {
        loop_stop(fixture->loop);
    }
}

static void test_signals_become_events(void **state)
{
    struct fixture *fixture = *state;
    sigset_t set;
    sigset_t before;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &set, &before);
    assert_ok(loop_signals(fixture->loop, on_signal, fixture, NULL));
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    loop_run(fixture->loop);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(fixture->seen, "HT");
}

static void note_task(void *context)
{
    note(context, 't');
}

static void note_timer(void *context)
{
    note(context, 'T');
}

static void test_a_turn_runs_what_is_due_and_waits_for_nothing(void **state)
{
    (void)state;
    struct test_clock clock;
    struct fixture own = { .ends = { -1, -1 } };
    test_clock_init(&clock);
    assert_ok(loop_create(&clock.clock, &own.loop, NULL));
    own.timer = loop_timer_create(own.loop, note_timer, &own);
    assert_int_equal(loop_deadline(own.loop).value, INT64_MAX);
    assert_false(loop_turn(own.loop));
    loop_timer_arm_after(own.timer, 5 * US_PER_SECOND);
    assert_int_equal(loop_deadline(own.loop).value, clock.mono + 5 * US_PER_SECOND);
    assert_true(loop_post(own.loop, note_task, &own));
    assert_true(loop_turn(own.loop));
    assert_string_equal(own.seen, "t");
    test_clock_advance(&clock, 5 * US_PER_SECOND);
    assert_true(loop_turn(own.loop));
    assert_false(loop_turn(own.loop));
    assert_string_equal(own.seen, "tT");
    loop_timer_destroy(own.timer);
    loop_destroy(own.loop);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_watch_reads_until_the_other_side_closes),
        LOOP_TEST(test_watch_may_be_silenced),
        LOOP_TEST(test_bad_descriptor_is_an_error),
        LOOP_TEST(test_timers_by_deadline_and_disarm_in_the_same_turn),
        LOOP_TEST(test_timer_rearmed_for_now_lets_others_run),
        LOOP_TEST(test_posts_of_another_thread_run_in_order_then_fail),
        LOOP_TEST(test_tasks_that_never_ran_are_freed),
        LOOP_TEST(test_signals_become_events),
        cmocka_unit_test(test_a_turn_runs_what_is_due_and_waits_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
