#include "common/base/id.h"
#include "common/base/time.h"
#include "tests/support/test.h"

static int64_t parsed(const char *text)
{
    struct wall_us time = { -1 };
    assert_ok(time_parse(str_of(text), &time));
    return time.value;
}

static void test_format_uses_as_many_digits_as_needed(void **state)
{
    (void)state;
    char out[TIME_TEXT_BYTES];
    struct wall_us time = { INT64_C(1795319160) * US_PER_SECOND };
    assert_string_equal(time_format(time, out), "2026-11-22T03:46:00Z");
    time.value += 250000;
    assert_string_equal(time_format(time, out), "2026-11-22T03:46:00.250Z");
    time.value += 1;
    assert_string_equal(time_format(time, out), "2026-11-22T03:46:00.250001Z");
    assert_string_equal(time_format((struct wall_us){ -5 }, out), "1970-01-01T00:00:00Z");
    assert_string_equal(
        time_format((struct wall_us){ INT64_MAX }, out), "9999-12-31T23:59:59.999999Z");
}

static void test_parse_offsets_and_fractions(void **state)
{
    (void)state;
    int64_t noon = parsed("2024-02-29T12:00:00Z");
    assert_int_equal(parsed("2024-02-29T14:30:00+02:30"), noon);
    assert_int_equal(parsed("2024-02-29T07:00:00-05:00"), noon);
    assert_int_equal(parsed("2024-02-29t12:00:00z"), noon);
    assert_int_equal(parsed("2024-02-29T12:00:00.5Z"), noon + 500000);
    assert_int_equal(parsed("2024-02-29T12:00:00.123456789Z"), noon + 123456);
    assert_int_equal(parsed("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parsed("9999-12-31T23:59:59.999999Z"), WALL_US_MAX);
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2024-02-29",
        "2024-02-29T12:00:00",
        "2023-02-29T12:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-04-31T00:00:00Z",
        "2024-04-30T24:00:00Z",
        "2024-04-30T23:60:00Z",
        "2024-04-30T23:59:60Z",
        "2024-04-30T23:59:59.Z",
        "2024-04-30T23:59:59.1234567890Z",
        "2024-04-30T23:59:59+24:00",
        "2024-04-30T23:59:59Zx",
        "1970-01-01T00:00:00+00:01",
        "1969-12-31T23:59:59Z",
        "-024-04-30T23:59:59Z",
        " 2024-04-30T23:59:59Z",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct wall_us time = { 77 };
        assert_code(ERR_INVALID, time_parse(str_of(bad[i]), &time));
        assert_int_equal(time.value, 77);
    }
}

static void test_format_and_parse_agree(void **state)
{
    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct wall_us time = { (int64_t)id_random_below((uint64_t)WALL_US_MAX) };
        char out[TIME_TEXT_BYTES];
        assert_int_equal(parsed(time_format(time, out)), time.value);
    }
}

static void test_clocks(void **state)
{
    (void)state;
    const struct clock *system = clock_system();
    struct mono_us before = clock_mono(system);
    assert_true(clock_mono(system).value >= before.value);
    assert_true(clock_wall(system).value > parsed("2024-01-01T00:00:00Z"));
    struct test_clock still;
    test_clock_init(&still);
    before = clock_mono(&still.clock);
    assert_int_equal(clock_wall(&still.clock).value, parsed("2026-01-01T00:00:00Z"));
    test_clock_advance(&still, 5 * US_PER_SECOND);
    assert_int_equal(clock_mono(&still.clock).value, before.value + 5 * US_PER_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_uses_as_many_digits_as_needed),
        cmocka_unit_test(test_parse_offsets_and_fractions),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_format_and_parse_agree),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
