#include "common/sys/queue.h"
#include "common/sys/timer.h"
#include "tests/support/test.h"

#include <stdatomic.h>

struct shot {
    struct queue *fired;
    struct mono_us at;
};

static void fire(void *context)
{
    struct shot *shot = context;
    shot->at = clock_mono(clock_system());
    assert_true(queue_push(shot->fired, shot));
}

static void test_fires_in_order_and_not_before(void **state)
{
    (void)state;

    enum {
        COUNT = 20
    };

    struct shot shots[COUNT];
    struct timer_wheel *wheel = NULL;
    struct queue *fired = queue_create(COUNT);
    assert_ok(timer_wheel_start(&wheel, NULL));
    struct mono_us start = clock_mono(clock_system());
    for (int i = 0; i < COUNT; i++) {
        int place = (i * 7) % COUNT;
        shots[place].fired = fired;
        assert_true(timer_wheel_add(wheel, place * 2000, fire, &shots[place]) != 0);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_ptr_equal(queue_pop(fired, QUEUE_FOREVER), &shots[i]);
        assert_true(shots[i].at.value >= start.value + i * 2000);
    }
    timer_wheel_stop(wheel);
    queue_destroy(fired);
}

static void test_cancel(void **state)
{
    (void)state;
    struct timer_wheel *wheel = NULL;
    struct queue *fired = queue_create(200);
    struct shot shot = { .fired = fired };
    assert_ok(timer_wheel_start(&wheel, NULL));
    uint64_t ids[100];
    for (int i = 0; i < 100; i++) {
        ids[i] = timer_wheel_add(wheel, 3600 * US_PER_SECOND + (i * 37) % 100, fire, &shot);
    }
    for (int i = 0; i < 100; i += 2) {
        assert_true(timer_wheel_cancel(wheel, ids[i]));
        assert_false(timer_wheel_cancel(wheel, ids[i]));
    }
    uint64_t soon = timer_wheel_add(wheel, 0, fire, &shot);
    assert_ptr_equal(queue_pop(fired, QUEUE_FOREVER), &shot);
    assert_false(timer_wheel_cancel(wheel, soon));
    assert_false(timer_wheel_cancel(wheel, 0));
    timer_wheel_stop(wheel); /* the other fifty never run and are freed */
    assert_int_equal(queue_length(fired), 0);
    queue_destroy(fired);
    timer_wheel_stop(NULL);
}

struct chain {
    struct timer_wheel *wheel;
    struct queue *done;
    int left;
};

static void next_link(void *context)
{
    struct chain *chain = context;
    if (--chain->left > 0) {
        (void)timer_wheel_add(chain->wheel, 0, next_link, chain);
    } else {
        assert_true(queue_push(chain->done, chain));
    }
}

static void test_a_callback_may_add(void **state)
{
    (void)state;
    struct chain chain = { .done = queue_create(1), .left = 50 };
    assert_ok(timer_wheel_start(&chain.wheel, NULL));
    (void)timer_wheel_add(chain.wheel, 0, next_link, &chain);
    assert_ptr_equal(queue_pop(chain.done, QUEUE_FOREVER), &chain);
    timer_wheel_stop(chain.wheel);
    queue_destroy(chain.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fires_in_order_and_not_before),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_a_callback_may_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
