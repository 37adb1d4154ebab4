/*
 * abseil's mutexes do not look for deadlocks in a program that uses the library: this build names
 * the switch as common/rpc/runtime.c knows it, and it works. Once with the shared libraries, once
 * with the archives (component_common_rpc_abseil_archives).
 */
#include "common/rpc/runtime.h"
#include "tests/support/test.h"

/* absl::Mutex, one word that is zero in the beginning, and two of its methods. Weak as the switch
 * is, or the linker would bring abseil for their sake, and find the switch in passing. */
struct mutex {
    intptr_t word;
};

extern void mutex_lock(struct mutex *self) __asm__("_ZN4absl7debian35Mutex4LockEv")
    __attribute__((weak));
extern void mutex_unlock(struct mutex *self) __asm__("_ZN4absl7debian35Mutex6UnlockEv")
    __attribute__((weak));

static void take_both(struct mutex *first, struct mutex *second)
{
    mutex_lock(first);
    mutex_lock(second);
    mutex_unlock(second);
    mutex_unlock(first);
}

/* By one thread, so nothing comes of it; but two could wait for each other for ever. */
static void cross(void *context)
{
    struct mutex *mutexes = context;
    take_both(&mutexes[0], &mutexes[1]);
    take_both(&mutexes[1], &mutexes[0]);
}

static void cross_with_library(void *context)
{
    rpc_runtime_acquire();
    cross(context);
    rpc_runtime_release();
}

static void test_switch_is_there(void **state)
{
    (void)state;
    assert_true(rpc_ignore_deadlocks());
}

static void test_crossing_is_not_looked_for(void **state)
{
    (void)state;
    char said[4096];
    struct mutex mutexes[2] = { 0 };
    assert_int_equal(test_in_child(cross_with_library, mutexes, said, sizeof(said)), 0);
    assert_null(strstr(said, "deadlock"));
}

/* What the switch is for. Where this fails, abseil is built with NDEBUG, and it may go. */
static void test_crossing_aborts_without(void **state)
{
    (void)state;
    char said[4096];
    struct mutex mutexes[2] = { 0 };
    assert_true(test_aborts(cross, mutexes, said, sizeof(said)));
    assert_non_null(strstr(said, "Potential Mutex deadlock"));
}

int main(void)
{
    /* The last one first: in the others the switch is thrown. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crossing_aborts_without),
        cmocka_unit_test(test_crossing_is_not_looked_for),
        cmocka_unit_test(test_switch_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
