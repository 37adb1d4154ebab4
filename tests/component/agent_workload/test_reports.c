/* What the server is told of real sandboxes: reports, the hello, and what the disk may do to both.
 */
#include "belay_descriptors.h"
#include "cmd/agent/proxy/policy.h"
#include "cmd/agent/workload/duties.h"
#include "cmd/agent/workload/note.h"
#include "cmd/agent/workload/report.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_US (60 * US_PER_SECOND)
#define STATE(name) AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_##name

enum {
    SLOTS = 8,
    HELLO_BYTES = 1024 * 1024
};

typedef Openshell__Sandbox__V1__SandboxPolicy policy_type;

struct world {
    char *dir;
    struct loop *loop;
    struct wire_schema *schema;
    struct workload *workload;
    bool is_offline;
    unsigned reports; /* taken by the server */
    int state;        /* of the last report, so below */
    char id[SANDBOX_ID_BYTES_MAX + 1];
    uint64_t sequence;
    uint64_t policy_version;
    uint64_t failed_version;
    char policy_error[512];
    bool is_disk_away; /* the spool keeps in memory what it is given */
    unsigned said;     /* lines of the main program */
    unsigned lost;     /* words about lost ones */
    unsigned damaged;  /* events about the file of numbers */
};

/* ---- Around the workload ---- */

static bool on_report(void *context, const Agentgateway__V1__SandboxReport *report)
{
    struct world *world = context;
    if (world->is_offline) {
        return false;
    }
    world->reports++;
    world->state = (int)report->state;
    assert_true(report->sequence > world->sequence);
    world->sequence = report->sequence;
    world->policy_version = report->policy_version;
    world->failed_version = report->policy_failed_version;
    assert_true(str_is_utf8(str_of(report->policy_error), NULL));
    assert_ok(str_copy(str_of(report->sandbox_id), world->id, sizeof(world->id)));
    assert_ok(
        str_copy(str_of(report->policy_error), world->policy_error, sizeof(world->policy_error)));
    return true;
}

static bool is_online(void *context)
{
    const struct world *world = context;
    return !world->is_offline;
}

static enum err_code on_emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    struct world *world = context;
    for (size_t i = 0; i < batch->n_events; i++) {
        const char *text = batch->events[i]->text;
        world->said += strcmp(text, "said") == 0 ? 1 : 0;
        world->damaged += strcmp(batch->events[i]->kind, "sandbox.numbers_lost") == 0 ? 1 : 0;
        world->lost += strstr(text, "are not here") != NULL ? 1 : 0;
    }
    return world->is_disk_away ? ERR_SET(err, ERR_UNAVAILABLE, "in memory") : ERR_OK;
}

static bool has_room(void *context)
{
    (void)context;
    return true;
}

static const struct workload_ops ops = {
    .report = on_report, .is_online = is_online, .emit = on_emit, .has_room = has_room
};

static enum err_code check(void *context, const policy_type *policy, struct err_info *err)
{
    struct rules *rules = NULL;
    (void)context;
    TRY(policy_compile(policy, &rules, err));
    rules_destroy(rules);
    return ERR_OK;
}

static enum err_code apply(
    void *context, const char *sandbox_id, const policy_type *policy, struct err_info *err)
{
    (void)sandbox_id;
    return check(context, policy, err);
}

static void take_listener(void *context, const char *sandbox_id, int take_fd)
{
    AUTO_FD int fd = take_fd;
    (void)context;
    (void)sandbox_id;
}

static void forget(void *context, const char *sandbox_id)
{
    (void)context;
    (void)sandbox_id;
}

static void count(void *context, const char *sandbox_id, struct egress_count *ret_count)
{
    (void)context;
    (void)sandbox_id;
    *ret_count = (struct egress_count){ 0, 0 };
}

static const struct egress egress = {
    .check = check, .apply = apply, .listen = take_listener, .forget = forget, .count = count
};

static enum err_code open_workload(struct world *world, uint64_t slots, struct err_info *err)
{
    AUTO_FREE char *dir = mem_printf("%s/sandboxes", world->dir);
    const struct workload_options options = { .loop = world->loop,
                                              .clock = clock_system(),
                                              .schema = world->schema,
                                              .dir = dir,
                                              .shim_path = BELAY_SHIM_PATH,
                                              .boot_id = "boot-1",
                                              .offer = { .slots = slots },
                                              .is_lenient = true,
                                              .ops = &ops,
                                              .context = world,
                                              .egress = &egress };
    return workload_open(&options, &world->workload, err);
}

static void reopen(struct world *world, uint64_t slots)
{
    struct err_info err = ERR_INFO_INIT;
    workload_close(STEAL(world->workload));
    assert_ok_err(err, open_workload(world, slots, &err));
}

static int set_up(void **state)
{
    struct err_info err = ERR_INFO_INIT;
    struct world *world = mem_alloc(sizeof(*world));
    world->dir = test_dir_create();
    assert_ok(wire_schema_load(belay_descriptors, belay_descriptors_size, &world->schema, NULL));
    assert_ok(loop_create(clock_system(), &world->loop, NULL));
    *state = world;
    enum err_code code = open_workload(world, SLOTS, &err);
    if (code != ERR_OK) {
        print_message("skipped: %s\n", err.text);
        assert_int_equal(code, ERR_UNSUPPORTED);
    }
    return 0;
}

static struct world *world_of(void **state)
{
    struct world *world = *state;
    if (world->workload == NULL) {
        skip();
    }
    return world;
}

static size_t count_sandboxes(const struct world *world, char last[SANDBOX_ID_BYTES_MAX + 1])
{
    struct sandbox_info info;
    size_t cursor = 0;
    size_t found = 0;
    while (sandbox_next(workload_sandboxes(world->workload), &cursor, &info)) {
        assert_ok(str_copy(str_of(info.id), last, SANDBOX_ID_BYTES_MAX + 1));
        found++;
    }
    return found;
}

static void turn_until_gone(struct world *world, const char *id)
{
    const struct sandboxes *all = workload_sandboxes(world->workload);
    int64_t deadline = loop_now(world->loop).value + PATIENCE_US;
    while (sandbox_is_going(all, id) && loop_now(world->loop).value < deadline) {
        loop_step(world->loop, 20);
    }
    assert_false(sandbox_is_going(all, id));
}

static void remove_sandbox(struct world *world, const char *id)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, duties_delete(world->workload, id, &err));
    turn_until_gone(world, id);
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char id[SANDBOX_ID_BYTES_MAX + 1];
    while (world->workload != NULL && count_sandboxes(world, id) > 0) {
        remove_sandbox(world, id);
    }
    workload_close(world->workload);
    loop_destroy(world->loop);
    wire_schema_destroy(world->schema);
    test_dir_remove(world->dir);
    mem_free(world);
    return 0;
}

static enum err_code order(struct world *world, const char *id, struct err_info *err)
{
    Agentgateway__V1__SandboxCreate create = AGENTGATEWAY__V1__SANDBOX_CREATE__INIT;
    char *command[] = { CONST_CAST(char *, "sh"),
                        CONST_CAST(char *, "-c"),
                        CONST_CAST(char *, "echo said; exec sleep 1000") };
    create.sandbox_id = CONST_CAST(char *, id);
    create.name = CONST_CAST(char *, "one");
    create.command = command;
    create.n_command = ARRAY_LENGTH(command);
    create.policy_version = 1;
    return duties_create(world->workload, &create, err);
}

static enum sandbox_status status_of(const struct world *world, const char *id)
{
    struct sandbox_info info;
    assert_true(sandbox_find(workload_sandboxes(world->workload), id, &info));
    return info.status;
}

static void wait_status(struct world *world, const char *id, enum sandbox_status status)
{
    int64_t deadline = loop_now(world->loop).value + PATIENCE_US;
    while (status_of(world, id) != status && loop_now(world->loop).value < deadline) {
        loop_step(world->loop, 20);
    }
    assert_int_equal(status_of(world, id), status);
}

static void create(struct world *world, const char *id)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, order(world, id, &err));
    wait_status(world, id, SANDBOX_STATUS_READY);
}

static char *path_of(const struct world *world, const char *id, const char *name)
{
    return mem_printf("%s/sandboxes/" SANDBOXES_RUNS "/%s/%s", world->dir, id, name);
}

/* A hello with so many sandboxes; ret_first: the report of the first. */
static void assert_hello(
    struct world *world, size_t sandboxes, Agentgateway__V1__SandboxReport *ret_first)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(HELLO_BYTES);
    Agentgateway__V1__ControlHello hello = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;
    assert_ok_err(err, workload_fill_hello(world->workload, arena, &hello, &err));
    assert_int_equal(hello.n_sandboxes, sandboxes);
    for (size_t i = 0; i < sandboxes; i++) {
        assert_true(str_is_utf8(str_of(hello.sandboxes[i]->policy_error), NULL));
        assert_true(str_is_utf8(str_of(hello.sandboxes[i]->message), NULL));
    }
    *ret_first = *hello.sandboxes[0]; /* its numbers; its texts go with the arena */
}

static enum err_code give_policy(
    struct world *world, const char *id, const char *rule, const char *host, uint32_t version)
{
    struct err_info err = ERR_INFO_INIT;
    policy_type policy = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;
    Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry entry =
        OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__NETWORK_POLICIES_ENTRY__INIT;
    Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry *entries[] = { &entry };
    Openshell__Sandbox__V1__NetworkPolicyRule value =
        OPENSHELL__SANDBOX__V1__NETWORK_POLICY_RULE__INIT;
    Openshell__Sandbox__V1__NetworkEndpoint endpoint =
        OPENSHELL__SANDBOX__V1__NETWORK_ENDPOINT__INIT;
    Openshell__Sandbox__V1__NetworkEndpoint *endpoints[] = { &endpoint };
    Agentgateway__V1__SandboxPolicyUpdate update = AGENTGATEWAY__V1__SANDBOX_POLICY_UPDATE__INIT;
    endpoint.host = CONST_CAST(char *, host);
    endpoint.port = 443;
    value.endpoints = endpoints;
    value.n_endpoints = 1;
    entry.key = CONST_CAST(char *, rule);
    entry.value = &value;
    policy.network_policies = entries;
    policy.n_network_policies = 1;
    update.sandbox_id = CONST_CAST(char *, id);
    update.policy = &policy;
    update.policy_version = version;
    enum err_code code = duties_policy(world->workload, &update, &err);
    assert_true(str_is_utf8(str_of(err.text), NULL));
    return code;
}

/* ---- The tests ---- */

static void test_a_rule_of_any_name_that_fails_cuts_nobody_off(void **state)
{
    struct world *world = world_of(state);
    Agentgateway__V1__SandboxReport report;
    AUTO_BUF struct buf name = BUF_INIT(1024);
    create(world, "s");
    buf_append_str(&name, STR("a\x7f\"\\\n"));
    for (int i = 0; i < 100; i++) {
        buf_append_str(&name, STR("\xE8\xA6\x8F"));
    }
    for (uint32_t i = 0; i < 3; i++) { /* cut at each place of a character */
        buf_append_char(&name, 'x');
        assert_code(ERR_INVALID, give_policy(world, "s", buf_text(&name) + i, "a b", 2 + i));
        assert_int_equal(world->failed_version, 2 + i);
        assert_non_null(strstr(world->policy_error, "host: "));
        assert_hello(world, 1, &report);
        assert_int_equal(report.policy_failed_version, 2 + i);
    }
    reopen(world, SLOTS);
    assert_hello(world, 1, &report);
    assert_int_equal(report.policy_failed_version, 4);
    assert_ok(give_policy(world, "s", buf_text(&name), "a.test", 5));
    assert_int_equal(world->policy_version, 5);
}

static void test_a_damaged_note_is_begun_anew(void **state)
{
    struct world *world = world_of(state);
    Agentgateway__V1__SandboxReport report;
    struct err_info err = ERR_INFO_INIT;
    static const char *const texts[] = { "", "{", "{\"policy_error\": \"\\ufffd\"}", "\xff" };
    AUTO_FREE char *path = path_of(world, "s", "own.note.json");
    create(world, "s");
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        assert_ok(file_write_atomic(path, texts[i], strlen(texts[i]), 0600, NULL));
        unsigned before = world->reports;
        assert_hello(world, 1, &report);
        assert_int_equal(report.state, STATE(READY));
        workload_report(world->workload, "s");
        assert_int_equal(world->reports, before + 1);
        assert_ok(give_policy(world, "s", "r", "a.test", 7));
        assert_int_equal(world->policy_version, 7);
        assert_hello(world, 1, &report);
        assert_int_equal(report.policy_version, 7);
    }
    assert_ok(file_write_atomic(path, "{", 1, 0600, NULL));
    assert_ok_err(err, duties_stop(world->workload, "s", &err));
    wait_status(world, "s", SANDBOX_STATUS_ENDED);
    assert_int_equal(world->state, STATE(STOPPED));
}

static void test_a_stopped_sandbox_with_a_damaged_note_starts_again(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *path = path_of(world, "s", "own.note.json");
    create(world, "s");
    assert_ok_err(err, duties_stop(world->workload, "s", &err));
    wait_status(world, "s", SANDBOX_STATUS_ENDED);
    assert_ok(file_write_atomic(path, "{", 1, 0600, NULL));
    workload_report(world->workload, "s");
    assert_int_equal(world->state, STATE(STOPPED));
    assert_ok_err(err, duties_start(world->workload, "s", &err));
    wait_status(world, "s", SANDBOX_STATUS_READY);
}

/* Numbers rise, whatever became of their file: on_report looks. */
static void test_a_damaged_file_of_numbers_stops_nothing(void **state)
{
    struct world *world = world_of(state);
    static const char *const texts[] = {
        "", "x", "12 13", "-1", "18446744073709551616", "0123456789012345678901234567890123456789"
    };
    AUTO_FREE char *numbers = mem_printf("%s/sandboxes/reports", world->dir);
    create(world, "s");
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        assert_ok(file_write_atomic(numbers, texts[i], strlen(texts[i]), 0600, NULL));
        reopen(world, SLOTS);
        assert_int_equal(world->damaged, i + 1);
        unsigned before = world->reports;
        workload_report(world->workload, "s");
        assert_int_equal(world->reports, before + 1);
        reopen(world, SLOTS);
        workload_report(world->workload, "s");
        assert_int_equal(world->damaged, i + 1);
    }
    assert_int_equal(unlink(numbers), 0);
    reopen(world, SLOTS);
    workload_report(world->workload, "s");
}

/* A file that cannot be read is no reason either; what cannot be written down is not given. */
static void test_a_file_of_numbers_that_cannot_be_read_stops_nothing(void **state)
{
    struct world *world = world_of(state);
    Agentgateway__V1__SandboxReport report;
    AUTO_FREE char *numbers = mem_printf("%s/sandboxes/reports", world->dir);
    create(world, "s");
    assert_int_equal(unlink(numbers), 0);
    assert_int_equal(mkdir(numbers, 0700), 0);
    reopen(world, SLOTS);
    assert_int_equal(world->damaged, 1);
    assert_hello(world, 1, &report);
    assert_int_equal(report.sequence, 0);
    assert_int_equal(rmdir(numbers), 0);
    workload_report(world->workload, "s");
}

/* What keeps a report from being made is over some day; until then a hello says what is known. */
static void test_a_report_that_cannot_be_made_is_made_later(void **state)
{
    struct world *world = world_of(state);
    Agentgateway__V1__SandboxReport report;
    AUTO_FREE char *path = path_of(world, "s", "own.note.json");
    AUTO_FREE char *aside = path_of(world, "s", "aside");
    create(world, "s");
    assert_ok(give_policy(world, "s", "r", "a.test", 3));
    unsigned before = world->reports;
    uint64_t last = world->sequence;
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* it is there, and cannot be read */
    workload_report(world->workload, "s");
    assert_int_equal(world->reports, before);
    assert_hello(world, 1, &report);
    assert_int_equal(report.state, STATE(READY));
    assert_int_equal(report.sequence, last); /* no news: the server keeps what it knows */
    workload_catch_up(world->workload);
    assert_int_equal(world->reports, before);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(aside, path), 0);
    workload_catch_up(world->workload);
    assert_int_equal(world->reports, before + 1);
    assert_int_equal(world->policy_version, 3);
    workload_catch_up(world->workload);
    assert_int_equal(world->reports, before + 1);
}

static void test_a_disk_that_takes_no_number_keeps_nobody_offline(void **state)
{
    struct world *world = world_of(state);
    Agentgateway__V1__SandboxReport report;
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *numbers = mem_printf("%s/sandboxes/reports", world->dir);
    assert_int_equal(mkdir(numbers, 0700), 0); /* no file can take its place */
    assert_ok_err(err, order(world, "s", &err));
    wait_status(world, "s", SANDBOX_STATUS_READY);
    assert_int_equal(world->reports, 0);
    assert_hello(world, 1, &report);
    assert_int_equal(report.state, STATE(READY));
    assert_int_equal(report.sequence, 0);
    remove_sandbox(world, "s");
    assert_int_equal(world->reports, 0);
    assert_int_equal(rmdir(numbers), 0);
    workload_catch_up(world->workload);
    assert_int_equal(world->reports, 1);
    assert_string_equal(world->id, "s");
    assert_int_equal(world->state, STATE(DELETED));
}

static void test_while_offline_nothing_is_spent(void **state)
{
    struct world *world = world_of(state);
    create(world, "s");
    world->is_offline = true;
    uint64_t before = world->sequence;
    workload_report(world->workload, "s");
    for (int i = 0; i < 100; i++) {
        workload_catch_up(world->workload);
    }
    world->is_offline = false;
    workload_catch_up(world->workload);
    assert_int_equal(world->sequence, before + 2);
}

static void test_fewer_slots_hide_no_sandbox(void **state)
{
    struct world *world = world_of(state);
    Agentgateway__V1__SandboxReport report;
    struct err_info err = ERR_INFO_INIT;
    create(world, "a");
    create(world, "b");
    create(world, "c");
    reopen(world, 1);
    assert_hello(world, 3, &report);
    remove_sandbox(world, "a");
    assert_hello(world, 2, &report);
    assert_code(ERR_LIMIT, order(world, "d", &err)); /* "b" and "c" are more than there may be */
    remove_sandbox(world, "b");
    remove_sandbox(world, "c");
    create(world, "d");
    assert_code(ERR_LIMIT, order(world, "e", &err));
    assert_hello(world, 1, &report);
}

static void test_lines_that_wait_for_the_disk_are_not_told_as_lost(void **state)
{
    struct world *world = world_of(state);
    struct err_info err = ERR_INFO_INIT;
    world->is_disk_away = true;
    create(world, "s");
    int64_t deadline = loop_now(world->loop).value + PATIENCE_US;
    while (world->said == 0 && loop_now(world->loop).value < deadline) {
        loop_step(world->loop, 20);
    }
    assert_ok_err(err, duties_stop(world->workload, "s", &err));
    wait_status(world, "s", SANDBOX_STATUS_ENDED);
    assert_int_equal(world->said, 1);
    assert_int_equal(world->lost, 0);
}

static void count_dropped(void *context, const char *sandbox_id)
{
    size_t *dropped = context;
    assert_int_equal(strncmp(sandbox_id, "sbx_", 4), 0);
    (*dropped)++;
}

/* However many sandboxes failed with much to say, a hello holds all of them and fits. */
static void test_a_hello_of_many_words_fits(void **state)
{
    enum {
        MANY = 4096,
        MOST = 768 * 1024,
        ID = 37
    };

    (void)state;
    size_t dropped = 0;
    char text[512];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct report *reports = mem_alloc_array(MANY, sizeof(*reports));
    Agentgateway__V1__ControlHello hello = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;
    hello.sandboxes = mem_alloc_array(MANY, sizeof(void *));
    hello.n_sandboxes = MANY;
    for (size_t i = 0; i < MANY; i++) {
        agentgateway__v1__sandbox_report__init(&reports[i].message);
        reports[i].message.sandbox_id = mem_printf("sbx_%0*zu", ID, i);
        reports[i].message.sequence = UINT64_MAX;
        reports[i].message.message = text;
        reports[i].message.policy_error = text;
        hello.sandboxes[i] = &reports[i].message;
    }
    report_drop_texts(hello.sandboxes, MANY, MOST, count_dropped, &dropped);
    assert_true(protobuf_c_message_get_packed_size(&hello.base) <= MOST);
    assert_string_equal(reports[0].message.message, text); /* what fits is told */
    assert_string_equal(reports[MANY - 1].message.message, "");
    assert_true(dropped > 0 && dropped < MANY);
    dropped = 0;
    report_drop_texts(hello.sandboxes, 1, MOST, count_dropped, &dropped);
    assert_int_equal(dropped, 0);
    for (size_t i = 0; i < MANY; i++) {
        mem_free(reports[i].message.sandbox_id);
    }
    mem_free(hello.sandboxes);
    mem_free(reports);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_rule_of_any_name_that_fails_cuts_nobody_off),
        TEST(test_a_damaged_note_is_begun_anew),
        TEST(test_a_stopped_sandbox_with_a_damaged_note_starts_again),
        TEST(test_a_damaged_file_of_numbers_stops_nothing),
        TEST(test_a_file_of_numbers_that_cannot_be_read_stops_nothing),
        TEST(test_a_report_that_cannot_be_made_is_made_later),
        TEST(test_a_disk_that_takes_no_number_keeps_nobody_offline),
        TEST(test_while_offline_nothing_is_spent),
        TEST(test_fewer_slots_hide_no_sandbox),
        cmocka_unit_test(test_a_hello_of_many_words_fits),
        TEST(test_lines_that_wait_for_the_disk_are_not_told_as_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
