#include "common/base/cleanup.h"
#include "common/sandbox/cgroup.h"
#include "tests/support/test.h"

static void test_a_mixed_host_is_read_per_controller(void **unused)
{
    (void)unused;
    struct cgroup_set host;
    cgroup_host_parse(
        STR("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
            "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
            "36 31 0:33 /outer /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
            "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"),
        STR("4:memory:/some/group\n1:cpu,cpuacct:/outer/inner\n0::/\n"),
        &host);
    assert_int_equal(host.places[CGROUP_CORE].version, 2);
    assert_string_equal(host.places[CGROUP_CORE].dir, "/sys/fs/cgroup/unified");
    assert_int_equal(host.places[CGROUP_MEMORY].version, 1);
    assert_string_equal(host.places[CGROUP_MEMORY].dir, "/sys/fs/cgroup/memory/some/group");
    assert_string_equal(host.places[CGROUP_CPU].dir, "/sys/fs/cgroup/cpu,cpuacct/inner");
    assert_int_equal(host.places[CGROUP_PIDS].version, 0);
    cgroup_set_deinit(&host);
}

static void test_groups_are_made_beside_the_leaf_of_an_agent(void **unused)
{
    (void)unused;

    static const struct {
        const char *own;
        const char *dir;
    } rows[] = {
        { "0::/system.slice/x.service/belay-agent-leaf\n",
          "/sys/fs/cgroup/system.slice/x.service" },
        { "0::/belay-agent-leaf\n", "/sys/fs/cgroup" },
        { "0::/system.slice/x.service\n", "/sys/fs/cgroup/system.slice/x.service" },
        { "0::/x/belay-agent-leaf/y\n", "/sys/fs/cgroup/x/belay-agent-leaf/y" },
        { "0::/x/not-belay-agent-leaf\n", "/sys/fs/cgroup/x/not-belay-agent-leaf" },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct cgroup_set host;
        cgroup_host_parse(
            STR("31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"),
            str_of(rows[i].own),
            &host);
        assert_int_equal(host.places[CGROUP_CORE].version, 2);
        assert_string_equal(host.places[CGROUP_CORE].dir, rows[i].dir);
        cgroup_set_deinit(&host);
    }
}

static void test_a_set_goes_through_a_list_and_back(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf list = BUF_INIT(4096);
    struct cgroup_set set;
    message_list_add(&list, STR("core=2:/sys/fs/cgroup/x"));
    message_list_add(&list, STR("memory=1:/m:y"));
    struct message_list given = message_list_of(&list);
    assert_ok(cgroup_set_parse(&given, &set, NULL));
    assert_string_equal(set.places[CGROUP_MEMORY].dir, "/m:y");
    AUTO_BUF struct buf again = BUF_INIT(4096);
    cgroup_set_format(&set, &again);
    assert_true(str_equal(buf_view(&again), buf_view(&list)));
    cgroup_set_deinit(&set);
    static const char *const wrong[] = {
        "core=3:/x", "core=1:x", "what=1:/x", "core", "core=0:/x"
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        buf_clear(&list);
        message_list_add(&list, str_of(wrong[i]));
        given = message_list_of(&list);
        assert_code(ERR_CORRUPT, cgroup_set_parse(&given, &set, NULL));
    }
}

static void test_a_limit_without_its_controller_is_refused(void **unused)
{
    (void)unused;
    struct cgroup_set host = { .places = { { .version = 0 } } };
    struct cgroup_set set;
    struct err_info err = ERR_INFO_INIT;
    struct cgroup_limits limits = { .pids = 10 };
    assert_code(ERR_UNSUPPORTED, cgroup_set_create(&host, "x", &limits, &set, &err));
    assert_non_null(strstr(err.text, "pids"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_mixed_host_is_read_per_controller),
        cmocka_unit_test(test_groups_are_made_beside_the_leaf_of_an_agent),
        cmocka_unit_test(test_a_set_goes_through_a_list_and_back),
        cmocka_unit_test(test_a_limit_without_its_controller_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
