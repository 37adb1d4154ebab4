#include "common/sys/lock.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

struct pair {
    struct lock outer;
    struct lock inner;
};

static void init_pair(struct pair *pair)
{
    lock_init(&pair->outer, LOCK_RANK_REGISTRY);
    lock_init(&pair->inner, LOCK_RANK_QUEUE);
}

static void deinit_pair(struct pair *pair)
{
    lock_deinit(&pair->outer);
    lock_deinit(&pair->inner);
}

static void take_in_order(struct pair *pair)
{
    LOCK_GUARD(&pair->outer);
    LOCK_GUARD(&pair->inner);
    lock_assert_held(&pair->outer);
    lock_assert_held(&pair->inner);
}

static void test_guards_release_in_order(void **state)
{
    (void)state;
    struct pair pair;
    init_pair(&pair);
    take_in_order(&pair);
    take_in_order(&pair);
    deinit_pair(&pair);
}

static void take_inverted(void *context)
{
    struct pair *pair = context;
    lock_acquire(&pair->inner);
    lock_acquire(&pair->outer);
}

static void take_twice(void *context)
{
    struct pair *pair = context;
    lock_acquire(&pair->inner);
    lock_acquire(&pair->inner);
}

static void release_unheld(void *context)
{
    lock_release(&((struct pair *)context)->inner);
}

static void assert_unheld(void *context)
{
    lock_assert_held(&((struct pair *)context)->inner);
}

static void wait_unheld(void *context)
{
    struct lock_cond cond;
    lock_cond_init(&cond);
    lock_cond_wait(&cond, &((struct pair *)context)->inner);
}

static void test_misuse_aborts(void **state)
{
    (void)state;
    struct pair pair;
    char text[1024];
    init_pair(&pair);
    assert_true(test_aborts(take_inverted, &pair, text, sizeof(text)));
    assert_non_null(strstr(text, "\"event\":\"lock_order\""));
    assert_true(test_aborts(take_twice, &pair, text, sizeof(text)));
    assert_true(test_aborts(release_unheld, &pair, text, sizeof(text)));
    assert_true(test_aborts(assert_unheld, &pair, text, sizeof(text)));
    assert_true(test_aborts(wait_unheld, &pair, text, sizeof(text)));
    deinit_pair(&pair);
}

static void test_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    struct lock lock;
    struct lock_cond cond;
    lock_init(&lock, LOCK_RANK_LEAF);
    lock_cond_init(&cond);
    struct mono_us start = clock_mono(clock_system());
    lock_acquire(&lock);
    bool in_time = true;
    while (in_time) {
        in_time = lock_cond_wait_until(&cond, &lock, (struct mono_us){ start.value + 2000 });
    }
    lock_assert_held(&lock);
    lock_release(&lock);
    assert_true(clock_mono(clock_system()).value >= start.value + 2000);
    lock_cond_deinit(&cond);
    lock_deinit(&lock);
}

struct meeting {
    struct lock lock;
    struct lock_cond changed;
    int count;
};

static void arrive(void *context)
{
    struct meeting *meeting = context;
    for (int i = 0; i < 1000; i++) {
        LOCK_GUARD(&meeting->lock);
        meeting->count++;
        lock_cond_broadcast(&meeting->changed);
    }
}

static void test_threads_meet(void **state)
{
    (void)state;
    struct meeting meeting = { .count = 0 };
    struct thread threads[4] = { 0 };
    lock_init(&meeting.lock, LOCK_RANK_APP);
    lock_cond_init(&meeting.changed);
    for (size_t i = 0; i < 4; i++) {
        assert_ok(thread_start(&threads[i], "arrive", arrive, &meeting, NULL));
    }
    lock_acquire(&meeting.lock);
    while (meeting.count < 4000) {
        lock_cond_wait(&meeting.changed, &meeting.lock);
    }
    lock_release(&meeting.lock);
    for (size_t i = 0; i < 4; i++) {
        thread_join(&threads[i]);
    }
    lock_cond_deinit(&meeting.changed);
    lock_deinit(&meeting.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guards_release_in_order),
        cmocka_unit_test(test_misuse_aborts),
        cmocka_unit_test(test_wait_ends_at_its_deadline),
        cmocka_unit_test(test_threads_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
