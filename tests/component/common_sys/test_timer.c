#include "common/sys/lock.h"
#include "common/sys/timer.h"
#include "tests/support/test.h"

enum {
    NOTES_MAX = 32
};

/* What has happened on the timer's thread, in order. */
struct notes {
    struct lock lock;
    struct lock_cond changed;
    void *items[NOTES_MAX];
    unsigned count;
    unsigned read;
};

static void notes_init(struct notes *notes)
{
    *notes = (struct notes){ .count = 0 };
    lock_init(&notes->lock, LOCK_RANK_LEAF);
    lock_cond_init(&notes->changed);
}

static void notes_deinit(struct notes *notes)
{
    lock_cond_deinit(&notes->changed);
    lock_deinit(&notes->lock);
}

static void notes_add(struct notes *notes, void *item)
{
    LOCK_GUARD(&notes->lock);
    assert_true(notes->count < NOTES_MAX);
    notes->items[notes->count++] = item;
    lock_cond_signal(&notes->changed);
}

static void *notes_wait(struct notes *notes)
{
    LOCK_GUARD(&notes->lock);
    while (notes->read == notes->count) {
        lock_cond_wait(&notes->changed, &notes->lock);
    }
    return notes->items[notes->read++];
}

struct shot {
    struct notes *fired;
    struct mono_us at;
};

static void fire(void *context)
{
    struct shot *shot = context;
    shot->at = clock_mono(clock_system());
    notes_add(shot->fired, shot);
}

static void test_fires_in_order_and_not_before(void **state)
{
    (void)state;

    enum {
        COUNT = 20
    };

    struct shot shots[COUNT];
    struct timer_wheel *wheel = NULL;
    struct notes fired;
    notes_init(&fired);
    assert_ok(timer_wheel_start(&wheel, NULL));
    struct mono_us start = clock_mono(clock_system());
    for (int i = 0; i < COUNT; i++) {
        int place = (i * 7) % COUNT;
        shots[place].fired = &fired;
        assert_true(timer_wheel_add(wheel, place * 2000, fire, &shots[place]) != 0);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_ptr_equal(notes_wait(&fired), &shots[i]);
        assert_true(shots[i].at.value >= start.value + i * 2000);
    }
    timer_wheel_stop(wheel);
    notes_deinit(&fired);
}

static void test_cancel(void **state)
{
    (void)state;
    struct timer_wheel *wheel = NULL;
    struct notes fired;
    notes_init(&fired);
    struct shot shot = { .fired = &fired };
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
    assert_ptr_equal(notes_wait(&fired), &shot);
    assert_false(timer_wheel_cancel(wheel, soon));
    assert_false(timer_wheel_cancel(wheel, 0));
    timer_wheel_stop(wheel); /* the other fifty never run and are freed */
    assert_int_equal(fired.count, fired.read);
    notes_deinit(&fired);
    timer_wheel_stop(NULL);
}

struct chain {
    struct timer_wheel *wheel;
    struct notes done;
    int left;
};

static void next_link(void *context)
{
    struct chain *chain = context;
    if (--chain->left > 0) {
        (void)timer_wheel_add(chain->wheel, 0, next_link, chain);
    } else {
        notes_add(&chain->done, chain);
    }
}

static void test_a_callback_may_add(void **state)
{
    (void)state;
    struct chain chain = { .left = 50 };
    notes_init(&chain.done);
    assert_ok(timer_wheel_start(&chain.wheel, NULL));
    (void)timer_wheel_add(chain.wheel, 0, next_link, &chain);
    assert_ptr_equal(notes_wait(&chain.done), &chain);
    timer_wheel_stop(chain.wheel);
    notes_deinit(&chain.done);
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
