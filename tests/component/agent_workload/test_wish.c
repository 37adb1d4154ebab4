#include "belay_descriptors.h"
#include "cmd/agent/workload/wish.h"
#include "common/wire/wire.h"
#include "tests/support/test.h"

struct world {
    struct arena *arena;
    struct sandbox_report report;
    struct wish_host host;
    Agentgateway__V1__SandboxCreate order;
    Agentgateway__V1__SandboxLimits limits;
    Openshell__Sandbox__V1__SandboxPolicy policy;
    struct sandbox_spec spec;
    char missing[WISH_MISSING_BYTES];
    struct err_info err;
};

/* A host that can do everything, and an order that asks for little. */
static int set_up(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    world->arena = arena_create((size_t)1024 * 1024);
    world->report = (struct sandbox_report){
        .native = true, .bwrap = true, .disk_cap = true, .memory = 2, .pids = 2, .cpu = 2
    };
    world->host = (struct wish_host){ .report = &world->report, .fallback = SANDBOX_DRIVER_NATIVE };
    agentgateway__v1__sandbox_create__init(&world->order);
    agentgateway__v1__sandbox_limits__init(&world->limits);
    openshell__sandbox__v1__sandbox_policy__init(&world->policy);
    world->limits.cpu_millis = 500;
    world->limits.memory_bytes = 1 << 26;
    world->limits.disk_bytes = 1 << 27;
    world->order.sandbox_id = CONST_CAST(char *, "sbx_1");
    world->order.name = CONST_CAST(char *, "one");
    world->order.limits = &world->limits;
    world->order.policy = &world->policy;
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    arena_destroy(world->arena);
    mem_free(world);
    return 0;
}

static enum err_code fill(struct world *world)
{
    return wish_fill(
        &world->order, &world->host, world->arena, &world->spec, world->missing, &world->err);
}

#define assert_refused(world, code, word)                   \
    do {                                                    \
        assert_code(code, fill(world));                     \
        assert_non_null(strstr((world)->err.text, (word))); \
    } while (0)

static void test_all_that_an_order_can_say(void **state)
{
    struct world *world = *state;
    char *command[] = { CONST_CAST(char *, "sleep"), CONST_CAST(char *, "9") };
    char *paths[] = { CONST_CAST(char *, "/usr"), CONST_CAST(char *, "/etc") };
    Agentgateway__V1__SandboxCreate__EnvironmentEntry variable;
    Agentgateway__V1__SandboxCreate__EnvironmentEntry *variables[] = { &variable };
    Openshell__Sandbox__V1__FilesystemPolicy files;
    Openshell__Sandbox__V1__LandlockPolicy landlock;
    agentgateway__v1__sandbox_create__environment_entry__init(&variable);
    openshell__sandbox__v1__filesystem_policy__init(&files);
    openshell__sandbox__v1__landlock_policy__init(&landlock);
    variable.key = CONST_CAST(char *, "A");
    variable.value = CONST_CAST(char *, "b=c");
    files.read_only = paths;
    files.n_read_only = 2;
    files.include_workdir = true;
    landlock.compatibility = CONST_CAST(char *, "hard_requirement");
    world->policy.filesystem = &files;
    world->policy.landlock = &landlock;
    world->order.command = command;
    world->order.n_command = 2;
    world->order.environment = variables;
    world->order.n_environment = 1;
    world->order.image = CONST_CAST(char *, "debian");
    world->order.driver = CONST_CAST(char *, "bwrap");
    world->limits.disk_bytes = 0;
    world->limits.processes = 7;
    world->host.is_lenient = true;
    assert_ok_err(world->err, fill(world));
    const struct sandbox_spec *spec = &world->spec;
    assert_string_equal(spec->id, "sbx_1");
    assert_string_equal(spec->hostname, "one");
    assert_string_equal(spec->image, "debian");
    assert_int_equal(spec->driver, SANDBOX_DRIVER_BWRAP);
    assert_string_equal(spec->argv[1], "9");
    assert_null(spec->argv[2]);
    assert_string_equal(spec->env[0], "A=b=c");
    assert_string_equal(spec->env[1], "BELAY_SANDBOX_ID=sbx_1");
    assert_string_equal(spec->env[2], "BELAY_SANDBOX_NAME=one");
    assert_null(spec->env[3]);
    assert_string_equal(spec->read_only[1], "/etc");
    assert_null(spec->read_only[2]);
    assert_string_equal(spec->read_write[0], "/sandbox");
    assert_null(spec->read_write[1]);
    assert_true(spec->want_landlock);
    assert_int_equal(spec->network, SANDBOX_NETWORK_NONE);
    assert_int_equal(spec->flags, 0);
}

static void test_what_stands_in_for_what_is_not_said(void **state)
{
    struct world *world = *state;
    world->order.tty = true;
    assert_ok_err(world->err, fill(world));
    assert_int_equal(world->spec.driver, SANDBOX_DRIVER_NATIVE);
    assert_string_equal(world->spec.argv[0], "/bin/sh");
    assert_string_equal(world->spec.argv[1], "-l");
    assert_int_equal(world->spec.flags, SANDBOX_FLAG_TTY);
    assert_int_equal(world->spec.pids, WISH_PROCESSES);
    assert_int_equal(world->spec.cpu_milli, 500);
    assert_int_equal(world->spec.memory_bytes, 1 << 26);
    assert_int_equal(world->spec.disk_bytes, 1 << 27);
    assert_null(world->spec.read_only);
    assert_null(world->spec.image);
    assert_string_equal(world->missing, "");
}

static void test_a_limit_that_cannot_be_enforced(void **state)
{
    struct world *world = *state;
    world->report.memory = 0;
    assert_refused(world, ERR_UNSUPPORTED, "limits.memory_bytes");
    world->report.disk_cap = false;
    world->host.is_lenient = true;
    assert_ok_err(world->err, fill(world));
    assert_int_equal(world->spec.memory_bytes, 0);
    assert_int_equal(world->spec.disk_bytes, 0);
    assert_int_equal(world->spec.cpu_milli, 500);
    assert_string_equal(world->missing, "not enforced on this host: memory_bytes, disk_bytes");
}

/* No field of the order, but the agent's option. */
static void test_a_rate_of_the_disk(void **state)
{
    struct world *world = *state;
    world->host.io_rate = 1 << 22;
    assert_false(wish_driver_fits(&world->host, SANDBOX_DRIVER_NATIVE));
    assert_refused(world, ERR_UNSUPPORTED, "io (sandbox-io-rate): the native driver");
    world->host.is_lenient = true;
    assert_true(wish_driver_fits(&world->host, SANDBOX_DRIVER_NATIVE));
    assert_ok_err(world->err, fill(world));
    assert_int_equal(world->spec.io_bytes_per_second, 0);
    assert_string_equal(world->missing, "not enforced on this host: io (sandbox-io-rate)");
    world->host.is_lenient = false;
    world->report.io = 1;
    assert_true(wish_driver_fits(&world->host, SANDBOX_DRIVER_NATIVE));
    assert_ok_err(world->err, fill(world));
    assert_int_equal(world->spec.io_bytes_per_second, 1 << 22);
    assert_string_equal(world->missing, "");
}

static void test_drivers(void **state)
{
    struct world *world = *state;
    assert_true(wish_driver_fits(&world->host, SANDBOX_DRIVER_NATIVE));
    assert_false(wish_driver_fits(&world->host, SANDBOX_DRIVER_BWRAP)); /* no cap of the disk */
    world->host.is_lenient = true;
    assert_true(wish_driver_fits(&world->host, SANDBOX_DRIVER_BWRAP));
    world->order.driver = CONST_CAST(char *, "oci");
    assert_refused(world, ERR_UNSUPPORTED, "oci");
    world->order.driver = CONST_CAST(char *, "native");
    world->report.native = false;
    assert_ok(str_copy(STR("no root"), world->report.native_reason, 256));
    assert_refused(world, ERR_UNSUPPORTED, "no root");
}

static void test_orders_that_are_refused(void **state)
{
    struct world *world = *state;
    char *empty[] = { CONST_CAST(char *, "") };
    Openshell__Sandbox__V1__ProcessPolicy process;
    Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry rule;
    Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry *rules[] = { &rule };
    Agentgateway__V1__SandboxCreate__EnvironmentEntry variable;
    Agentgateway__V1__SandboxCreate__EnvironmentEntry *variables[] = { &variable };
    openshell__sandbox__v1__process_policy__init(&process);
    openshell__sandbox__v1__sandbox_policy__network_policies_entry__init(&rule);
    agentgateway__v1__sandbox_create__environment_entry__init(&variable);
    process.run_as_user = CONST_CAST(char *, "root");
    world->policy.process = &process;
    assert_refused(world, ERR_UNSUPPORTED, "policy.process");
    process.run_as_user = CONST_CAST(char *, "sandbox");
    assert_ok(fill(world));
    world->policy.network_policies = rules;
    world->policy.n_network_policies = 1;
    assert_refused(world, ERR_UNSUPPORTED, "policy.network_policies");
    world->host.has_egress = true;
    assert_ok(fill(world));
    assert_int_equal(world->spec.network, SANDBOX_NETWORK_PROXY);
    variable.key = CONST_CAST(char *, "A=B");
    world->order.environment = variables;
    world->order.n_environment = 1;
    assert_refused(world, ERR_INVALID, "environment");
    world->order.n_environment = 0;
    world->order.command = empty;
    world->order.n_command = 1;
    assert_refused(world, ERR_INVALID, "command");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_that_an_order_can_say),
        TEST(test_what_stands_in_for_what_is_not_said),
        TEST(test_a_limit_that_cannot_be_enforced),
        TEST(test_a_rate_of_the_disk),
        TEST(test_drivers),
        TEST(test_orders_that_are_refused),
    };
    return cmocka_run_group_tests_name("wish", tests, NULL, NULL);
}
