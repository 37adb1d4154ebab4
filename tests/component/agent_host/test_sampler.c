/* The sampler over a folder of our own, where every counter is known, and over this machine. */
#include "cmd/agent/host/facts.h"
#include "cmd/agent/host/sampler.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <sys/stat.h>

static void put(const char *root, const char *path, const char *text)
{
    AUTO_FREE char *full = mem_printf("%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, file_write_atomic(full, text, strlen(text), 0600, &err));
}

static const struct host_sample *find(
    const struct host_samples *samples, const char *metric, const char *instance)
{
    for (unsigned i = 0; i < samples->count; i++) {
        if (strcmp(samples->rows[i].metric, metric) == 0
            && strcmp(samples->rows[i].instance, instance) == 0) {
            return &samples->rows[i];
        }
    }
    return NULL;
}

static void expect(
    const struct host_samples *samples, const char *metric, const char *instance, double value)
{
    const struct host_sample *row = find(samples, metric, instance);
    if (row == NULL) {
        fail_msg("no %s %s", metric, instance);
        return;
    }
    if (row->value < value - 1e-6 || row->value > value + 1e-6) {
        fail_msg("%s %s: %f, expected %f", metric, instance, row->value, value);
    }
}

static void put_first_round(const char *root)
{
    put(root, "/proc/stat", "cpu 100 0 0 900 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0\n");
    put(root, "/proc/loadavg", "0.50 0.25 0.10 1/77 1\n");
    put(root, "/proc/uptime", "12.5 1.0\n");
    put(root, "/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
    put(root, "/proc/diskstats", "8 0 sda 1 0 100 0 1 0 200 0 0 0 0\n");
    put(root, "/proc/self/net/dev", "eth0: 1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n");
    put(root, "/proc/self/cgroup", "0::/box\n");
    put(root, "/sys/fs/cgroup/box/cpu.stat", "usage_usec 1000000\n");
    put(root, "/sys/fs/cgroup/box/memory.current", "4096\n");
    put(root, "/sys/class/thermal/thermal_zone0/type", "cpu\n");
    put(root, "/sys/class/thermal/thermal_zone0/temp", "45500\n");
    put(root, "/sys/class/hwmon/hwmon1/name", "nvme\n");
    put(root, "/sys/class/hwmon/hwmon1/temp1_label", "Composite\n");
    put(root, "/sys/class/hwmon/hwmon1/temp1_input", "-2000\n");
}

static void test_rates_come_from_two_rounds(void **state)
{
    (void)state;
    char *root = test_dir_create();
    struct test_clock clock;
    test_clock_init(&clock);
    struct host_sampler_options options = { .root = root, .clock = &clock.clock, .per_core = true };
    struct host_sampler *sampler = host_sampler_create(&options);
    struct host_samples samples;
    put_first_round(root);
    host_sampler_take(sampler, &samples);
    assert_null(find(&samples, "host.cpu.busy", ""));
    assert_null(find(&samples, "host.network.receive", "eth0"));
    expect(&samples, "host.load.5m", "", 0.25);
    expect(&samples, "host.memory.used", "", 600 * 1024);
    expect(&samples, "host.uptime", "", 12.5);
    expect(&samples, "host.temperature", "cpu:0", 45.5);
    expect(&samples, "host.temperature", "nvme:1/Composite", -2.0);
    expect(&samples, "host.cgroup.memory", "", 4096);

    test_clock_advance(&clock, 2 * US_PER_SECOND);
    put(root, "/proc/stat", "cpu 150 0 10 1020 20 0 0 0\ncpu0 200 0 0 900 0 0 0 0\n");
    put(root, "/proc/diskstats", "8 0 sda 1 0 104 0 1 0 300 0 0 500 0\n");
    put(root, "/proc/self/net/dev", "eth0: 3000 1 0 0 0 0 0 0 400 1 0 0 0 0 0 0\n");
    put(root, "/sys/fs/cgroup/box/cpu.stat", "usage_usec 2000000\n");
    host_sampler_take(sampler, &samples);
    expect(&samples, "host.cpu.busy", "", 0.3);
    expect(&samples, "host.cpu.iowait", "", 0.1);
    expect(&samples, "host.cpu.core.busy", "0", 1.0);
    expect(&samples, "host.block.read", "sda", 1024);
    expect(&samples, "host.block.write", "sda", 25600);
    expect(&samples, "host.block.busy", "sda", 0.25);
    expect(&samples, "host.network.receive", "eth0", 1000);
    expect(&samples, "host.network.transmit", "eth0", 0); /* the counter restarted */
    expect(&samples, "host.cgroup.cpu", "", 0.5);
    host_sampler_destroy(sampler);
    test_dir_remove(root);
}

static void test_an_empty_machine_gives_no_samples(void **state)
{
    (void)state;
    char *root = test_dir_create();
    struct host_sampler_options options = { .root = root, .clock = clock_system() };
    struct host_sampler *sampler = host_sampler_create(&options);
    struct host_samples samples;
    host_sampler_take(sampler, &samples);
    assert_int_equal(samples.count, 0);
    host_sampler_destroy(sampler);
    test_dir_remove(root);
}

static void test_this_machine(void **state)
{
    (void)state;
    struct host_facts facts;
    host_facts_read("", &facts);
    assert_true(facts.arch[0] != '\0' && facts.kernel[0] != '\0' && facts.os[0] != '\0');
    assert_true(facts.cpu_count >= 1 && facts.memory_bytes > 1024 * 1024);
    struct host_sampler_options options = { .root = "", .clock = clock_system() };
    struct host_sampler *sampler = host_sampler_create(&options);
    struct host_samples samples;
    host_sampler_take(sampler, &samples);
    assert_non_null(find(&samples, "host.load.1m", ""));
    assert_non_null(find(&samples, "host.memory.used", ""));
    assert_non_null(find(&samples, "host.processes", ""));
    host_sampler_destroy(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_come_from_two_rounds),
        cmocka_unit_test(test_an_empty_machine_gives_no_samples),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
