#include "common/sandbox/process.h"
#include "tests/support/test.h"

static void test_a_boot_has_a_number(void **unused)
{
    (void)unused;
    assert_true(
        process_boot_number("01234567-89ab-cdef-1111-222222222222")
        == UINT64_C(0x0123456789abcdef));
    assert_true(process_boot_number("00000000-0000-0000-1111-222222222222") == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_boot_has_a_number) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
