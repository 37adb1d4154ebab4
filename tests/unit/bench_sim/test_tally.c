#include "common/base/cleanup.h"
#include "tests/support/test.h"
#include "tools/bench/sim/tally.h"

static void test_quantiles(void **state)
{
    (void)state;
    AUTO_FREE struct tally *tally = mem_alloc(sizeof(*tally));
    const struct tally_times *times = &tally->times[TALLY_UPLOAD];
    assert_int_equal(0, tally_quantile_us(times, 0.5));
    for (int64_t us = 1; us <= 100000; us++) {
        tally_time(tally, TALLY_UPLOAD, us);
    }
    assert_in_range(tally_quantile_us(times, 0.5), 50000, 53200);
    assert_in_range(tally_quantile_us(times, 0.99), 99000, 100000);
    assert_int_equal(100000, tally_quantile_us(times, 1.0));
    assert_int_equal(100000, times->most_us);
}

/* Small times are exact, absurd ones land in the last bucket. */
static void test_bounds(void **state)
{
    (void)state;
    static const int64_t rows[] = { 0, 1, 15, 16, 17, 31 };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_FREE struct tally *tally = mem_alloc(sizeof(*tally));
        tally_time(tally, TALLY_BEGIN, rows[i]);
        assert_int_equal(rows[i], tally_quantile_us(&tally->times[TALLY_BEGIN], 0.5));
    }
    AUTO_FREE struct tally *tally = mem_alloc(sizeof(*tally));
    tally_time(tally, TALLY_BEGIN, -5);
    tally_time(tally, TALLY_BEGIN, INT64_MAX);
    assert_int_equal(2, tally->times[TALLY_BEGIN].count);
    assert_int_equal(0, tally_quantile_us(&tally->times[TALLY_BEGIN], 0.5));
}

static void test_merge(void **state)
{
    (void)state;
    AUTO_FREE struct tally *sum = mem_alloc(sizeof(*sum));
    AUTO_FREE struct tally *one = mem_alloc(sizeof(*one));
    one->counts[TALLY_ONLINE] = 3;
    one->errors[TALLY_REGISTER][ERR_EXISTS] = 2;
    tally_time(one, TALLY_TOKEN, 1000);
    tally_merge(sum, one);
    tally_merge(sum, one);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    tally_json(sum, &text);
    assert_true(buf_ok(&text));
    assert_non_null(strstr(buf_text(&text), "\"online\":6"));
    assert_non_null(strstr(buf_text(&text), "\"register.exists\":4"));
    assert_non_null(strstr(buf_text(&text), "\"token\":{\"count\":2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
