#include "common/base/cleanup.h"
#include "common/metrics/metrics.h"
#include "tests/support/test.h"

#include <stdio.h>

static void free_metrics(struct metrics **metrics)
{
    metrics_destroy(*metrics);
}

#define AUTO_METRICS AUTO(free_metrics)

static int64_t read_seven(void *context)
{
    (void)context;
    return 7;
}

static void test_page_is_written_in_order_of_registration(void **state)
{
    (void)state;
    AUTO_METRICS struct metrics *metrics = metrics_create();
    struct metric *calls = metric_get(
        metrics, METRIC_COUNTER, "belay_calls_total", "Calls\nby \\method", "method=\"a\"");
    struct metric *agents = metric_get(metrics, METRIC_GAUGE, "belay_agents", "Agents", NULL);
    struct metric *others =
        metric_get(metrics, METRIC_COUNTER, "belay_calls_total", "", "method=\"b\"");
    struct metric *source = metric_get(metrics, METRIC_GAUGE, "belay_source", "Asked for", NULL);
    metric_add(calls, 2);
    metric_add(others, 1);
    metric_set(agents, -3);
    metric_add(agents, 1);
    metric_set_source(source, read_seven, NULL);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    metrics_write(metrics, &text);
    assert_string_equal(
        buf_text(&text),
        "# HELP belay_calls_total Calls\\nby \\\\method\n"
        "# TYPE belay_calls_total counter\n"
        "belay_calls_total{method=\"a\"} 2\n"
        "belay_calls_total{method=\"b\"} 1\n"
        "# HELP belay_agents Agents\n"
        "# TYPE belay_agents gauge\n"
        "belay_agents -2\n"
        "# HELP belay_source Asked for\n"
        "# TYPE belay_source gauge\n"
        "belay_source 7\n");
    assert_int_equal(metric_value(calls), 2);
    assert_int_equal(metric_value(source), 7);
    metric_set_source(source, NULL, NULL);
    assert_int_equal(metric_value(source), 0);
}

static void test_same_labels_give_the_same_series(void **state)
{
    (void)state;
    AUTO_METRICS struct metrics *metrics = metrics_create();
    struct metric *one = metric_get(metrics, METRIC_GAUGE, "x", "X", "a=\"1\"");
    assert_ptr_equal(one, metric_get(metrics, METRIC_GAUGE, "x", "X", "a=\"1\""));
    assert_ptr_not_equal(one, metric_get(metrics, METRIC_GAUGE, "x", "X", "a=\"2\""));
    assert_ptr_equal(
        metric_get(metrics, METRIC_GAUGE, "x", "X", NULL),
        metric_get(metrics, METRIC_GAUGE, "x", "X", ""));
}

static void test_labels_that_would_break_the_page_are_left_out(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "a",         "a=",       "a=1",        "a=\"1",    "a=\"1\"b=\"2\"",
        "a=\"1\",",  ",a=\"1\"", "=\"1\"",     "1a=\"1\"", "a=\"1\n\"",
        "a=\"\\x\"", "a=\"\\",   "a=\"\xff\"", "le=\"1\"", "a=\"1\"} 5\nx{b=\"2\""
    };
    AUTO_METRICS struct metrics *metrics = metrics_create();
    struct metric *plain = metric_get(metrics, METRIC_GAUGE, "x", "X", NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_ptr_equal(metric_get(metrics, METRIC_GAUGE, "x", "X", bad[i]), plain);
    }
    struct metric *good =
        metric_get(metrics, METRIC_GAUGE, "x", "X", "a=\"\\\\ \\\" \\n\",b_2=\"\xc3\xa9,=}\"");
    assert_ptr_not_equal(good, plain);
}

static void test_histogram_counts_into_buckets(void **state)
{
    (void)state;
    AUTO_METRICS struct metrics *metrics = metrics_create();
    struct metric *time = metric_get(metrics, METRIC_HISTOGRAM, "t_seconds", "Time", "m=\"x\"");
    metric_observe_us(time, -5);
    metric_observe_us(time, 100);
    metric_observe_us(time, 101);
    metric_observe_us(time, 60 * US_PER_SECOND);
    metric_observe_us(time, 60 * US_PER_SECOND + 1);
    assert_int_equal(metric_value(time), 5);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    metrics_write(metrics, &text);
    const char *page = buf_text(&text);
    assert_non_null(strstr(page, "# TYPE t_seconds histogram\n"));
    assert_non_null(strstr(page, "t_seconds_bucket{m=\"x\",le=\"0.0001\"} 2\n"));
    assert_non_null(strstr(page, "t_seconds_bucket{m=\"x\",le=\"0.00025\"} 3\n"));
    assert_non_null(strstr(page, "t_seconds_bucket{m=\"x\",le=\"30\"} 3\n"));
    assert_non_null(strstr(page, "t_seconds_bucket{m=\"x\",le=\"60\"} 4\n"));
    assert_non_null(strstr(page, "t_seconds_bucket{m=\"x\",le=\"+Inf\"} 5\n"));
    assert_non_null(strstr(page, "t_seconds_sum{m=\"x\"} 120.000202\n"));
    assert_non_null(strstr(page, "t_seconds_count{m=\"x\"} 5\n"));
    struct metric *plain = metric_get(metrics, METRIC_HISTOGRAM, "u_seconds", "Time", NULL);
    metric_observe_us(plain, 1);
    buf_clear(&text);
    metrics_write(metrics, &text);
    assert_non_null(strstr(buf_text(&text), "u_seconds_bucket{le=\"1\"} 1\nu_seconds_bucket{le="));
    assert_non_null(strstr(buf_text(&text), "u_seconds_sum 0.000001\nu_seconds_count 1\n"));
}

static void test_series_of_a_name_are_bounded(void **state)
{
    (void)state;
    AUTO_METRICS struct metrics *metrics = metrics_create();
    char labels[32];
    struct metric *first = NULL;
    for (int i = 0; i < 4096; i++) {
        (void)snprintf(labels, sizeof(labels), "n=\"%d\"", i);
        struct metric *metric = metric_get(metrics, METRIC_GAUGE, "x", "X", labels);
        first = i == 0 ? metric : first;
    }
    struct metric *overflow = metric_get(metrics, METRIC_GAUGE, "x", "X", "n=\"4096\"");
    assert_ptr_equal(overflow, metric_get(metrics, METRIC_GAUGE, "x", "X", "n=\"4097\""));
    assert_ptr_equal(overflow, metric_get(metrics, METRIC_GAUGE, "x", "X", NULL));
    assert_ptr_equal(first, metric_get(metrics, METRIC_GAUGE, "x", "X", "n=\"0\""));
    assert_ptr_not_equal(overflow, metric_get(metrics, METRIC_GAUGE, "y", "Y", "n=\"4096\""));
}

static void test_empty_registry_writes_nothing(void **state)
{
    (void)state;
    AUTO_METRICS struct metrics *metrics = metrics_create();
    AUTO_BUF struct buf text = BUF_INIT(16);
    metrics_write(metrics, &text);
    assert_int_equal(text.len, 0);
    metrics_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_is_written_in_order_of_registration),
        cmocka_unit_test(test_same_labels_give_the_same_series),
        cmocka_unit_test(test_labels_that_would_break_the_page_are_left_out),
        cmocka_unit_test(test_histogram_counts_into_buckets),
        cmocka_unit_test(test_series_of_a_name_are_bounded),
        cmocka_unit_test(test_empty_registry_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
