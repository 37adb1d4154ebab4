#include "common/base/cleanup.h"
#include "common/metrics/metrics.h"
#include "common/sys/file.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    THREADS = 4,
    ROUNDS = 5000
};

static int check_with_promtool(const char *path)
{
    static char program[] = "promtool";
    static char check[] = "check";
    static char what[] = "metrics";
    char *argv[] = { program, check, what, NULL };
    pid_t child = 0;
    int status = 0;
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, path, O_RDONLY, 0), 0);
    assert_int_equal(posix_spawnp(&child, program, &actions, NULL, argv, environ), 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void fill(struct metrics *metrics)
{
    metric_add(
        metric_get(
            metrics,
            METRIC_COUNTER,
            "belay_rpc_calls_total",
            "Calls",
            "method=\"/a.B/C\",status=\"OK\""),
        3);
    metric_add(
        metric_get(
            metrics, METRIC_COUNTER, "belay_rpc_calls_total", "Calls", "method=\"q\\\"\\\\\\n\""),
        1);
    metric_set(metric_get(metrics, METRIC_GAUGE, "belay_agents_online", "Agents", NULL), 12);
    for (int i = 0; i < 100; i++) {
        metric_observe_us(
            metric_get(
                metrics, METRIC_HISTOGRAM, "belay_rpc_duration_seconds", "Time", "method=\"a\""),
            (int64_t)i * 700);
        metric_observe_us(
            metric_get(metrics, METRIC_HISTOGRAM, "belay_sql_duration_seconds", "Time", NULL), i);
    }
}

static void test_promtool_accepts_the_page(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/page", dir);
    struct metrics *metrics = metrics_create();
    fill(metrics);
    AUTO_BUF struct buf text = BUF_INIT(1 << 20);
    metrics_write(metrics, &text);
    assert_true(buf_ok(&text));
    assert_ok(file_write_atomic(path, text.data, text.len, 0600, NULL));
    assert_int_equal(check_with_promtool(path), 0);
    assert_ok(file_write_atomic(path, "x{ 1\n", 5, 0600, NULL));
    assert_int_not_equal(check_with_promtool(path), 0);
    metrics_destroy(metrics);
    test_dir_remove(dir);
}

static void count(void *context)
{
    struct metrics *metrics = context;
    for (int i = 0; i < ROUNDS; i++) {
        char labels[32];
        (void)snprintf(labels, sizeof(labels), "n=\"%d\"", i % 32);
        metric_add(metric_get(metrics, METRIC_COUNTER, "c_total", "C", labels), 1);
        metric_observe_us(metric_get(metrics, METRIC_HISTOGRAM, "h_seconds", "H", NULL), i);
        if (i % 1000 == 0) {
            AUTO_BUF struct buf text = BUF_INIT(1 << 20);
            metrics_write(metrics, &text);
            assert_true(buf_ok(&text));
        }
    }
}

static void test_threads_count_and_write_at_once(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create();
    struct thread threads[THREADS] = { 0 };
    struct err_info err = ERR_INFO_INIT;
    for (int i = 0; i < THREADS; i++) {
        assert_ok_err(err, thread_start(&threads[i], "count", count, metrics, &err));
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(&threads[i]);
    }
    int64_t sum = 0;
    for (int i = 0; i < 32; i++) {
        char labels[32];
        (void)snprintf(labels, sizeof(labels), "n=\"%d\"", i);
        sum += metric_value(metric_get(metrics, METRIC_COUNTER, "c_total", "C", labels));
    }
    assert_int_equal(sum, THREADS * ROUNDS);
    assert_int_equal(
        metric_value(metric_get(metrics, METRIC_HISTOGRAM, "h_seconds", "H", NULL)),
        THREADS * ROUNDS);
    metrics_destroy(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promtool_accepts_the_page),
        cmocka_unit_test(test_threads_count_and_write_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
