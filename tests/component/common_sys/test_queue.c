#include "common/sys/queue.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <stdatomic.h>

static void test_bounded_and_in_order(void **state)
{
    (void)state;
    int items[4] = { 0, 1, 2, 3 };
    struct queue *queue = queue_create(3);
    assert_null(queue_try_pop(queue));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            assert_true(queue_push(queue, &items[i]));
        }
        assert_false(queue_push(queue, &items[3]));
        assert_int_equal(queue_length(queue), 3);
        for (int i = 0; i < 3; i++) {
            assert_ptr_equal(queue_pop(queue, QUEUE_FOREVER), &items[i]);
        }
    }
    queue_destroy(queue);
    queue_destroy(NULL);
}

static void test_pop_ends_at_its_deadline(void **state)
{
    (void)state;
    struct queue *queue = queue_create(1);
    struct mono_us deadline = { clock_mono(clock_system()).value + 2000 };
    assert_null(queue_pop(queue, deadline));
    assert_true(clock_mono(clock_system()).value >= deadline.value);
    assert_null(queue_pop(queue, (struct mono_us){ 0 }));
    queue_destroy(queue);
}

static void test_close_drains_and_refuses(void **state)
{
    (void)state;
    int item = 0;
    struct queue *queue = queue_create(2);
    assert_true(queue_push(queue, &item));
    queue_close(queue);
    assert_false(queue_push(queue, &item));
    assert_ptr_equal(queue_pop(queue, QUEUE_FOREVER), &item);
    assert_null(queue_pop(queue, QUEUE_FOREVER));
    queue_destroy(queue);
}

enum {
    PRODUCERS = 3,
    CONSUMERS = 3,
    EACH = 5000
};

struct flow {
    struct queue *queue;
    atomic_long sum;
    atomic_int taken;
};

static void consume(void *context)
{
    struct flow *flow = context;
    for (int *item = queue_pop(flow->queue, QUEUE_FOREVER); item != NULL;
         item = queue_pop(flow->queue, QUEUE_FOREVER)) {
        atomic_fetch_add(&flow->sum, *item);
        atomic_fetch_add(&flow->taken, 1);
    }
}

static void produce(void *context)
{
    static int items[EACH];
    struct flow *flow = context;
    for (int i = 0; i < EACH;) {
        i += queue_push(flow->queue, &items[i]) ? 1 : 0; /* full: try again */
    }
}

static void test_many_threads_lose_nothing(void **state)
{
    (void)state;
    struct flow flow = { .queue = queue_create(7) };
    struct thread producers[PRODUCERS] = { 0 };
    struct thread consumers[CONSUMERS] = { 0 };
    for (size_t i = 0; i < CONSUMERS; i++) {
        assert_ok(thread_start(&consumers[i], "consume", consume, &flow, NULL));
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        assert_ok(thread_start(&producers[i], "produce", produce, &flow, NULL));
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        thread_join(&producers[i]);
    }
    queue_close(flow.queue);
    for (size_t i = 0; i < CONSUMERS; i++) {
        thread_join(&consumers[i]);
    }
    assert_int_equal(flow.taken, PRODUCERS * EACH);
    assert_int_equal(queue_length(flow.queue), 0);
    queue_destroy(flow.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounded_and_in_order),
        cmocka_unit_test(test_pop_ends_at_its_deadline),
        cmocka_unit_test(test_close_drains_and_refuses),
        cmocka_unit_test(test_many_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
