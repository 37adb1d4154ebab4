#include "common/base/cleanup.h"
#include "tests/support/test.h"
#include "tools/bench/sim/scenario.h"

static void test_steps(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        struct scenario_step step;
    } rows[] = {
        { "30s=drop:50%", { 30 * US_PER_SECOND, SCENARIO_DROP, 500 } },
        { "0s=storm:100%", { 0, SCENARIO_STORM, 1000 } },
        { "250ms=slow:0%", { 250 * US_PER_MS, SCENARIO_SLOW, 0 } },
        { "1m=command:0.5%", { US_PER_MINUTE, SCENARIO_COMMAND, 5 } },
        { "5s=telemetry:1s", { 5 * US_PER_SECOND, SCENARIO_TELEMETRY, US_PER_SECOND } },
        { "5s=heartbeat:2s", { 5 * US_PER_SECOND, SCENARIO_HEARTBEAT, 2 * US_PER_SECOND } },
        { "1s=jitter:20%", { US_PER_SECOND, SCENARIO_JITTER, 200 } },
        { "1s=duplicate:99.9%", { US_PER_SECOND, SCENARIO_DUPLICATE, 999 } },
        { "1s=lose-acks:1%", { US_PER_SECOND, SCENARIO_LOSE_ACKS, 10 } },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct scenario_step step = { .at_us = -1 };
        struct err_info err = ERR_INFO_INIT;
        assert_ok(scenario_parse(str_of(rows[i].text), &step, &err));
        assert_int_equal(rows[i].step.at_us, step.at_us);
        assert_int_equal(rows[i].step.action, step.action);
        assert_int_equal(rows[i].step.value, step.value);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "30s",
        "30s=drop",
        "drop:50%",
        "30=drop:50%",
        "30s=dr:5%",
        "30s=drop:50",
        "30s=drop:101%",
        "30s=drop:-1%",
        "30s=drop:100.1%",
        "30s=drop:",
        "30s=drop:1.25%",
        "30s=drop:1s",
        "1s=telemetry:5%",
        "1s=telemetry:5",
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct scenario_step step = { .at_us = 77 };
        struct err_info err = ERR_INFO_INIT;
        assert_code(ERR_INVALID, scenario_parse(str_of(rows[i]), &step, &err));
        assert_int_equal(77, step.at_us);
        assert_non_null(strstr(err.text, "step"));
    }
}

static void test_jitter_stays_within_its_share(void **state)
{
    (void)state;
    assert_int_equal(10000, scenario_vary(10000, 0, UINT64_MAX));
    assert_int_equal(8000, scenario_vary(10000, 200, 0));
    assert_int_equal(12000, scenario_vary(10000, 200, 4000));
    assert_int_equal(8000, scenario_vary(10000, 200, 4001));
    assert_int_equal(0, scenario_vary(10000, SCENARIO_WHOLE, 0));
    assert_int_equal(0, scenario_vary(0, SCENARIO_WHOLE, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_jitter_stays_within_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
