#include "cmd/agent/host/proc.h"
#include "tests/support/test.h"

static void test_stat_has_total_and_cores(void **state)
{
    (void)state;
    struct proc_stat stat;
    assert_ok(proc_parse_stat(
        STR("cpu  100 5 50 800 30 2 3 4 0 0\n"
            "cpu0 60 5 20 400 10 1 1 2 0 0\n"
            "cpu1 40 0 30 400 20 1 2 2 0 0\n"
            "intr 12345 0 0\nctxt 99\nbtime 1\n"),
        &stat));
    assert_int_equal(stat.total.user, 105);
    assert_int_equal(stat.total.system, 55);
    assert_int_equal(stat.total.idle, 800);
    assert_int_equal(stat.total.iowait, 30);
    assert_int_equal(stat.total.steal, 4);
    assert_int_equal(stat.core_count, 2);
    assert_int_equal(stat.cores[1].user, 40);
}

static void test_stat_of_old_kernels_and_damage(void **state)
{
    (void)state;
    struct proc_stat stat;
    assert_ok(proc_parse_stat(STR("cpu 1 2 3 4"), &stat));
    assert_int_equal(stat.total.steal, 0);
    assert_code(ERR_CORRUPT, proc_parse_stat(STR(""), &stat));
    assert_code(ERR_CORRUPT, proc_parse_stat(STR("cpu a b c\n"), &stat));
    assert_code(ERR_CORRUPT, proc_parse_stat(STR("cpu0 1 2 3 4\n"), &stat));
}

static void test_load(void **state)
{
    (void)state;
    struct proc_load load;
    assert_ok(proc_parse_load(STR("0.52 1.05 12.00 3/421 98765\n"), &load));
    assert_true(load.load1 > 0.519 && load.load1 < 0.521);
    assert_true(load.load5 > 1.049 && load.load5 < 1.051);
    assert_true(load.load15 > 11.99 && load.load15 < 12.01);
    assert_int_equal(load.tasks, 421);
    assert_code(ERR_CORRUPT, proc_parse_load(STR("0.52 1.05\n"), &load));
    assert_code(ERR_CORRUPT, proc_parse_load(STR("-1 1 1 1/1 1\n"), &load));
}

static void test_memory(void **state)
{
    (void)state;
    struct proc_memory memory;
    assert_ok(proc_parse_memory(
        STR("MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n"
            "Buffers:          50 kB\nCached:          200 kB\nSwapTotal:       64 kB\nSwapFree:  60 kB\n"),
        &memory));
    assert_int_equal(memory.total, 1000 * 1024);
    assert_int_equal(memory.available, 400 * 1024);
    assert_int_equal(memory.swap_free, 60 * 1024);
    assert_ok(proc_parse_memory(
        STR("MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 200 kB\n"), &memory));
    assert_int_equal(memory.available, 350 * 1024);
    assert_ok(proc_parse_memory(STR("MemTotal: 10 kB\nMemAvailable: 99 kB\n"), &memory));
    assert_int_equal(memory.available, 10 * 1024);
    assert_code(ERR_CORRUPT, proc_parse_memory(STR("MemFree: 100 kB\n"), &memory));
}

static void test_uptime(void **state)
{
    (void)state;
    int64_t us = 0;
    assert_ok(proc_parse_uptime(STR("3600.50 7000.00\n"), &us));
    assert_int_equal(us, 3600500000);
    assert_code(ERR_CORRUPT, proc_parse_uptime(STR("soon\n"), &us));
}

static void test_disks(void **state)
{
    (void)state;
    struct proc_disk rows[4];
    struct str_view text = STR("   8       0 sda 10 0 100 5 20 0 200 7 0 40 12 0 0 0 0 0 0\n"
                               "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
                               "   7       1 loop1 5 0 10 0 0 0 0 0 0 1 0\n"
                               "   8       1 sda1 1 2\n");
    assert_int_equal(proc_parse_disks(text, rows, 4), 2);
    assert_string_equal(rows[0].name, "sda");
    assert_int_equal(rows[0].read_bytes, 51200);
    assert_int_equal(rows[0].written_bytes, 102400);
    assert_int_equal(rows[0].busy_ms, 40);
    assert_string_equal(rows[1].name, "loop1");
    assert_int_equal(proc_parse_disks(text, rows, 1), 1);
}

static void test_interfaces(void **state)
{
    (void)state;
    struct proc_interface rows[4];
    unsigned count = proc_parse_interfaces(
        STR("Inter-|   Receive                |  Transmit\n face |bytes packets errs drop\n"
            "    lo: 3367 31 0 0 0 0 0 0 3367 31 0 0 0 0 0 0\n"
            "  eth0:69214407 1502 1 2 0 0 0 0 57336 714 3 4 0 0 0 0\n"),
        rows,
        4);
    assert_int_equal(count, 2);
    assert_string_equal(rows[1].name, "eth0");
    assert_int_equal(rows[1].received_bytes, 69214407);
    assert_int_equal(rows[1].received_errors, 3);
    assert_int_equal(rows[1].sent_bytes, 57336);
    assert_int_equal(rows[1].sent_errors, 7);
}

static void test_mounts_are_local_and_once(void **state)
{
    (void)state;
    struct proc_mount rows[8];
    unsigned count = proc_parse_mounts(
        STR("proc /proc proc rw 0 0\n/dev/vda1 / ext4 rw 0 0\n/dev/vda1 /var/lib bind rw 0 0\n"
            "server:/home /home nfs4 rw 0 0\n/dev/sdb1 /mnt/a\\040disk ext4 rw 0 0\n"
            "/dev/loop0 /snap/x squashfs ro 0 0\noverlay /merged overlay rw 0 0\n"
            "tank/data /data zfs rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/bad relative ext4 rw 0 0\n"),
        rows,
        8);
    assert_int_equal(count, 3);
    assert_string_equal(rows[0].point, "/");
    assert_string_equal(rows[1].point, "/mnt/a disk");
    assert_string_equal(rows[2].source, "tank/data");
}

static void test_cgroup_versions(void **state)
{
    (void)state;
    struct proc_cgroup group;
    proc_parse_cgroup(STR("0::/system.slice/belay-agent.service\n"), &group);
    assert_string_equal(group.unified, "/system.slice/belay-agent.service");
    assert_string_equal(group.memory, "");
    proc_parse_cgroup(
        STR("9:name=systemd:/\n4:memory:/box\n2:cpu,cpuacct:/jobs\n0::/../outside\n"), &group);
    assert_string_equal(group.unified, "");
    assert_string_equal(group.memory, "/box");
    assert_string_equal(group.cpu, "/jobs");
}

static void test_numbers_and_release(void **state)
{
    (void)state;
    uint64_t value = 0;
    int64_t number = 0;
    assert_ok(proc_find_number(STR("usage_usec 123\nuser_usec 100\n"), STR("usage_usec"), &value));
    assert_int_equal(value, 123);
    assert_code(ERR_NOT_FOUND, proc_find_number(STR("usage 1\n"), STR("usage_usec"), &value));
    assert_code(ERR_CORRUPT, proc_find_number(STR("usage_usec x"), STR("usage_usec"), &value));
    assert_ok(proc_parse_number(STR("-4500\n"), &number));
    assert_int_equal(number, -4500);
    assert_code(ERR_CORRUPT, proc_parse_number(STR("max\n"), &number));
    struct str_view release = STR("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nX\n");
    assert_true(
        str_equal(proc_find_release(release, STR("PRETTY_NAME")), STR("Debian GNU/Linux 12")));
    assert_true(str_equal(proc_find_release(release, STR("ID")), STR("debian")));
    assert_null(proc_find_release(release, STR("VERSION")).ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat_has_total_and_cores),
        cmocka_unit_test(test_stat_of_old_kernels_and_damage),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_uptime),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_interfaces),
        cmocka_unit_test(test_mounts_are_local_and_once),
        cmocka_unit_test(test_cgroup_versions),
        cmocka_unit_test(test_numbers_and_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
