#include "common/base/cleanup.h"
#include "common/base/mem.h"
#include "tests/support/test.h"

static void test_verbs(void **state)
{
    (void)state;
    AUTO_FREE char *zeroed = mem_alloc(100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(zeroed[i], 0);
    }
    AUTO_FREE char *nothing = mem_alloc(0);
    AUTO_FREE char *array = mem_alloc_array(3, 4);
    AUTO_FREE char *copy = mem_dup("ab", 3);
    AUTO_FREE char *text = mem_strdup("text");
    AUTO_FREE char *printed = mem_printf("%s %d", "n", 5);
    assert_non_null(nothing);
    assert_memory_equal(array, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    assert_string_equal(copy, "ab");
    assert_string_equal(text, "text");
    assert_string_equal(printed, "n 5");
    text = mem_realloc(text, 1000);
    assert_string_equal(text, "text");
    mem_free(NULL);
}

static void test_failure_by_number(void **state)
{
    (void)state;
    mem_fail_after(1);
    AUTO_FREE void *first = mem_try_alloc(1);
    void *second = mem_try_alloc(1);
    void *third = mem_try_realloc(NULL, 1);
    mem_fail_after(-1);
    AUTO_FREE void *fourth = mem_try_alloc(1);
    assert_non_null(first);
    assert_null(second);
    assert_null(third);
    assert_non_null(fourth);
}

static void ask_too_much(void *context)
{
    mem_free(mem_alloc_array(*(size_t *)context, 16));
}

static void test_out_of_memory_logs_and_aborts(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* the sanitizer's allocator reports on its own before calloc returns */
#endif
    char text[512];
    size_t count = SIZE_MAX / 8;
    assert_true(test_aborts(ask_too_much, &count, text, sizeof(text)));
    assert_non_null(strstr(text, "out_of_memory"));
}

static void test_steal_leaves_null(void **state)
{
    (void)state;
    AUTO_FREE char *kept = mem_strdup("x");
    AUTO_FREE char *taken = STEAL(kept);
    assert_null(kept);
    assert_string_equal(taken, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_failure_by_number),
        cmocka_unit_test(test_out_of_memory_logs_and_aborts),
        cmocka_unit_test(test_steal_leaves_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
