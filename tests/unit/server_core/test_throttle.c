/* The token buckets of the bootstrap calls, on a clock that stands still. */
#include "cmd/server/core/throttle.h"
#include "common/base/cleanup.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <stdatomic.h>
#include <stdio.h>

static void test_a_burst_then_the_rate(void **state)
{
    (void)state;
    struct test_clock clock;
    struct err_info err = ERR_INFO_INIT;
    test_clock_init(&clock);
    struct throttle *throttle = throttle_create(&clock.clock, 5, 2);
    for (int i = 0; i < 5; i++) {
        assert_ok_err(err, throttle_check(throttle, STR("a"), &err));
        assert_ok_err(err, throttle_check(throttle, STR("a"), &err)); /* takes nothing */
        assert_ok_err(err, throttle_take(throttle, STR("a"), &err));
    }
    assert_code(ERR_LIMIT, throttle_check(throttle, STR("a"), &err));
    assert_code(ERR_LIMIT, throttle_take(throttle, STR("a"), &err));
    assert_non_null(strstr(err.text, "try again in"));
    assert_ok(throttle_take(throttle, STR("b"), &err)); /* another key has its own */
    test_clock_advance(&clock, 499999);
    assert_code(ERR_LIMIT, throttle_take(throttle, STR("a"), &err));
    test_clock_advance(&clock, 1);
    assert_ok(throttle_take(throttle, STR("a"), &err));
    assert_code(ERR_LIMIT, throttle_take(throttle, STR("a"), &err));
    test_clock_advance(&clock, 60 * US_PER_SECOND); /* full again, and no fuller than full */
    for (int i = 0; i < 5; i++) {
        assert_ok_err(err, throttle_take(throttle, STR("a"), &err));
    }
    assert_code(ERR_LIMIT, throttle_take(throttle, STR("a"), &err));
    throttle_destroy(throttle);
    throttle_destroy(NULL);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    struct test_clock clock;
    struct err_info err = ERR_INFO_INIT;
    test_clock_init(&clock);
    struct throttle *throttle = throttle_create(&clock.clock, 2, 1);
    char key[16];
    for (int i = 0; i < 65536; i++) {
        (void)snprintf(key, sizeof(key), "%d", i);
        assert_ok_err(err, throttle_take(throttle, str_of(key), &err));
    }
    assert_code(ERR_LIMIT, throttle_take(throttle, STR("one more"), &err));
    assert_ok(throttle_take(throttle, STR("7"), &err)); /* a known one still counts for itself */
    test_clock_advance(&clock, US_PER_SECOND);
    assert_ok(throttle_take(throttle, STR("one more"), &err)); /* full buckets were forgotten */
    throttle_destroy(throttle);
}

struct crowd {
    struct throttle *throttle;
    atomic_int taken; /* of the shared bucket */
    atomic_int own;
};

static void take_many(void *context)
{
    struct crowd *crowd = context;
    struct err_info err = ERR_INFO_INIT;
    char key[16];
    for (int i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "%d", i);
        atomic_fetch_add(
            &crowd->own, throttle_take(crowd->throttle, str_of(key), &err) == ERR_OK ? 1 : 0);
        if (throttle_take(crowd->throttle, STR("shared"), &err) == ERR_OK) {
            atomic_fetch_add(&crowd->taken, 1);
        }
    }
}

static void test_threads_share_one_bucket(void **state)
{
    (void)state;
    struct test_clock clock;
    struct err_info err = ERR_INFO_INIT;
    struct thread threads[4] = { { .running = false } };
    test_clock_init(&clock);
    struct crowd crowd = { .throttle = throttle_create(&clock.clock, 100, 1) };
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_ok_err(err, thread_start(&threads[i], "crowd", take_many, &crowd, &err));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        thread_join(&threads[i]);
    }
    assert_int_equal(atomic_load(&crowd.taken), 100);
    assert_int_equal(atomic_load(&crowd.own), 4 * 500);
    throttle_destroy(crowd.throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_then_the_rate),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_threads_share_one_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
