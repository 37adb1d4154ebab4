#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <signal.h>

struct seen {
    char name[16];
    sigset_t blocked;
    size_t stack_bytes;
};

static void look(void *context)
{
    struct seen *seen = context;
    (void)pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
    (void)pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
    pthread_attr_t attributes;
    (void)pthread_getattr_np(pthread_self(), &attributes);
    (void)pthread_attr_getstacksize(&attributes, &seen->stack_bytes);
    (void)pthread_attr_destroy(&attributes);
}

static void test_name_signals_and_stack(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct thread thread = { 0 };
    sigset_t before;
    sigset_t after;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_ok(thread_start(&thread, "a name that is too long", look, &seen, NULL));
    assert_true(thread.running);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    thread_join(&thread);
    assert_false(thread.running);
    thread_join(&thread);
    assert_string_equal(seen.name, "a name that is ");
    assert_true(
        sigismember(&seen.blocked, SIGTERM) == 1 && sigismember(&seen.blocked, SIGHUP) == 1);
    assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
    assert_true(seen.stack_bytes >= THREAD_STACK_BYTES);
}

static void test_join_of_a_thread_that_never_started(void **state)
{
    (void)state;
    struct thread thread = { 0 };
    thread_join(&thread);
    assert_true(thread_cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name_signals_and_stack),
        cmocka_unit_test(test_join_of_a_thread_that_never_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
