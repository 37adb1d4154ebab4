#include "cmd/agent/guest/arguments.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

static const struct loan loan = { .id = "ln_1",
                                  .workspace = "acme",
                                  .name = "--config=/etc/passwd",
                                  .room = { 8, 4000, 5368709120, 1048576 },
                                  .phase = LOAN_RUNNING };

static void assert_list(const struct arguments *arguments, const char *const *wanted)
{
    size_t count = 0;
    for (; wanted[count] != NULL; count++) {
        assert_true(count < arguments->count);
        assert_string_equal(arguments->list[count], wanted[count]);
    }
    assert_int_equal(arguments->count, count);
    assert_null(arguments->list[count]);
}

static void test_a_guest_has_its_own_of_everything(void **unused)
{
    (void)unused;
    const struct guest_setup setup = { .images = "/img" };
    static const char *const wanted[] = { "belay-agent",
                                          "--mode",
                                          "agent",
                                          "--",
                                          "run",
                                          "--state-dir=/s/guests/7",
                                          "--sandbox-dir=/s/guests/7/sandboxes",
                                          "--sandbox-images=/img",
                                          "--lent",
                                          "--name=--config=/etc/passwd",
                                          "--status-socket=/s/guests/7/agent.sock",
                                          "--sandboxes=on",
                                          "--sandbox-slots=8",
                                          "--sandbox-cpu=4000",
                                          "--sandbox-memory=5368709120",
                                          "--sandbox-disk=1048576",
                                          "--join=/s/guests/7.join",
                                          NULL };
    struct arguments arguments;
    arguments_run(&setup, "/s/guests", 7, &loan, true, &arguments);
    assert_list(&arguments, wanted);
    arguments_deinit(&arguments);
}

static void test_what_it_has_of_the_lender(void **unused)
{
    (void)unused;
    const struct guest_setup setup = { .images = "/img",
                                       .cgroup = "/cg",
                                       .limits = "require",
                                       .io_rate = 4194304,
                                       .resolvers = "1.1.1.1",
                                       .log_level = "warn",
                                       .config_file = "/c.yaml" };
    static const char *const run[] = { "belay-agent",
                                       "--mode",
                                       "agent",
                                       "--",
                                       "run",
                                       "--state-dir=/s/guests/32",
                                       "--sandbox-dir=/s/guests/32/sandboxes",
                                       "--sandbox-images=/img",
                                       "--sandbox-cgroup=/cg",
                                       "--log-level=warn",
                                       "--config=/c.yaml",
                                       "--lent",
                                       "--name=--config=/etc/passwd",
                                       "--status-socket=/s/guests/32/agent.sock",
                                       "--sandboxes=on",
                                       "--sandbox-slots=8",
                                       "--sandbox-cpu=4000",
                                       "--sandbox-memory=5368709120",
                                       "--sandbox-disk=1048576",
                                       "--sandbox-limits=require",
                                       "--sandbox-io-rate=4194304",
                                       "--sandbox-resolvers=1.1.1.1",
                                       NULL };
    static const char *const reset[] = { "belay-agent",
                                         "--mode",
                                         "agent",
                                         "--",
                                         "reset",
                                         "--state-dir=/s/guests/32",
                                         "--sandbox-dir=/s/guests/32/sandboxes",
                                         "--sandbox-images=/img",
                                         "--sandbox-cgroup=/cg",
                                         "--log-level=warn",
                                         "--config=/c.yaml",
                                         "--yes",
                                         NULL };
    struct arguments arguments;
    arguments_run(&setup, "/s/guests", 32, &loan, false, &arguments);
    assert_list(&arguments, run);
    arguments_deinit(&arguments);
    arguments_reset(&setup, "/s/guests", 32, &arguments);
    assert_list(&arguments, reset);
    arguments_deinit(&arguments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_guest_has_its_own_of_everything),
        cmocka_unit_test(test_what_it_has_of_the_lender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
