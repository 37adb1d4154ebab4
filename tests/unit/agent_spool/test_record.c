#include "cmd/agent/spool/record.h"
#include "tests/support/test.h"

static void test_every_part_counts(void **state)
{
    (void)state;
    uint8_t sum[RECORD_CHECKSUM_BYTES];
    struct wall_us at = { 5 };
    struct str_view checksum = str_from((const char *)sum, sizeof(sum));
    record_checksum(at, 1, 0, STR("payload"), sum);
    assert_true(record_is_intact(at, 1, 0, STR("payload"), checksum));
    assert_false(record_is_intact((struct wall_us){ 6 }, 1, 0, STR("payload"), checksum));
    assert_false(record_is_intact(at, 2, 0, STR("payload"), checksum));
    assert_false(record_is_intact(at, 1, 1, STR("payload"), checksum));
    assert_false(record_is_intact(at, 1, 0, STR("paylord"), checksum));
    assert_false(record_is_intact(at, 1, 0, STR("payload"), STR("")));
    assert_false(record_is_intact(at, 1, 0, STR("payload"), STR_NONE));
    checksum.len--;
    assert_false(record_is_intact(at, 1, 0, STR("payload"), checksum));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_part_counts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
