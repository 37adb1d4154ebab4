/* What outlives the process: rows of usage, notes, numbers of reports. */
#include "belay_descriptors.h"
#include "cmd/agent/workload/note.h"
#include "cmd/agent/workload/sequence.h"
#include "cmd/agent/workload/usage.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <stdio.h>

#define RUN(number) ((uint64_t)(number) << 32)

struct world {
    char *dir;
    struct usage *usage;
    unsigned count;
    Agentgateway__V1__SandboxUsage row; /* the last */
    uint64_t cpu_us;                    /* of distinct rows */
    uint64_t last_sequence;
    char boot[64];
};

static enum err_code on_emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    struct world *world = context;
    (void)err;
    assert_int_equal(batch->n_events, 1);
    assert_string_equal(batch->events[0]->kind, "sandbox.usage");
    world->row = *batch->events[0]->usage;
    assert_ok(str_copy(str_of(world->row.boot_id), world->boot, sizeof(world->boot)));
    world->count++;
    if (world->row.sequence > world->last_sequence) { /* as the server's key has it */
        world->last_sequence = world->row.sequence;
        world->cpu_us += world->row.cpu_us;
    }
    return ERR_OK;
}

static const struct usage_ops ops = { .emit = on_emit };

static int set_up(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    world->dir = test_dir_create();
    world->usage = usage_create("boot-1", &ops, world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    usage_destroy(world->usage);
    test_dir_remove(world->dir);
    mem_free(world);
    return 0;
}

static struct message_sample sample_at(uint64_t run, uint64_t seconds)
{
    return (struct message_sample){ .sequence = RUN(run) + seconds,
                                    .time_us = 1000000000 + seconds * 1000000,
                                    .run_us = seconds * 1000000,
                                    .cpu_us = seconds * 1000,
                                    .memory_byte_ms = seconds * 1000 * 4096,
                                    .memory_peak_bytes = 4096 };
}

static void test_rows_add_up_over_everything(void **state)
{
    struct world *world = *state;
    struct sandbox_exit exit = { .last = sample_at(1, 130) };
    struct sandbox_info info = { .id = "s", .dir = world->dir, .generation = 1, .exit = &exit };
    struct egress_count network = { 10, 20 };
    struct message_sample sample = sample_at(1, 10);
    usage_sample(world->usage, &info, &sample, &network);
    assert_int_equal(world->count, 0); /* less than a minute */
    sample = sample_at(1, 60);
    usage_sample(world->usage, &info, &sample, &network);
    assert_int_equal(world->count, 1);
    assert_int_equal(world->row.cpu_us, 60000);
    assert_int_equal(world->row.from_us, 1000000000);
    assert_int_equal(world->row.until_us, 1060000000);
    assert_int_equal(world->row.memory_byte_seconds, 60 * 4096);
    assert_int_equal(world->row.received_bytes, 20);
    assert_false(world->row.is_final);
    usage_destroy(
        world->usage); /* killed; the proxy's count begins anew with the agent's next life */
    world->usage = usage_create("boot-1", &ops, world);
    usage_resume(world->usage, &info);
    assert_int_equal(world->count, 2); /* the same row once more */
    network = (struct egress_count){ 3, 4 };
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->count, 3);
    assert_int_equal(world->row.cpu_us, 70000);
    assert_int_equal(world->row.from_us, 1060000000);
    assert_int_equal(world->row.received_bytes, 4);
    assert_true(world->row.is_final);
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->count, 3);
    assert_int_equal(world->cpu_us, 130000);
}

/* Readings that made no row are charged by the next agent; those of another run are not. */
static void test_a_killed_agent_loses_no_byte_of_the_network_that_was_read(void **state)
{
    struct world *world = *state;
    struct sandbox_exit exit = { .last = sample_at(1, 130) };
    struct sandbox_info info = { .id = "s", .dir = world->dir, .generation = 1, .exit = &exit };
    uint64_t received = 0;
    for (uint64_t seconds = 60; seconds <= 110; seconds += 10) {
        struct message_sample sample = sample_at(1, seconds);
        const struct egress_count network = { seconds, 10 * seconds };
        usage_sample(world->usage, &info, &sample, &network);
    }
    assert_int_equal(world->row.received_bytes, 600);
    received += world->row.received_bytes;
    for (int life = 0; life < 2; life++) { /* two that are killed before they read */
        usage_destroy(world->usage);
        world->usage = usage_create("boot-1", &ops, world);
        usage_resume(world->usage, &info);
    }
    const struct egress_count network = { 3, 4 };
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->row.sent_bytes, 110 - 60 + 3);
    assert_int_equal(world->row.received_bytes, 1100 - 600 + 4);
    received += world->row.received_bytes;
    assert_int_equal(received, 1104);
    usage_destroy(world->usage);
    world->usage = usage_create("boot-1", &ops, world);
    info.generation = 2;
    exit.last = sample_at(2, 5);
    usage_resume(world->usage, &info);
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->row.received_bytes, 4);
}

static void test_a_new_run_begins_with_nothing_and_a_new_boot_keeps_the_old_key(void **state)
{
    struct world *world = *state;
    struct sandbox_exit exit = { .last = sample_at(1, 5) };
    struct sandbox_info info = { .id = "s", .dir = world->dir, .generation = 1, .exit = &exit };
    const struct egress_count network = { 0, 0 };
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->row.cpu_us, 5000);
    usage_destroy(world->usage);
    world->usage = usage_create("boot-2", &ops, world);
    usage_resume(world->usage, &info);
    assert_string_equal(world->boot, "boot-1");
    exit.last = sample_at(2, 3);
    info.generation = 2;
    usage_close(world->usage, &info, &network);
    assert_string_equal(world->boot, "boot-2");
    assert_int_equal(world->row.cpu_us, 3000);
    assert_int_equal(world->row.from_us, 1000000000);
}

/* Nobody knows how much of it was charged: nothing is charged twice. */
static void test_a_damaged_account_charges_nothing_twice(void **state)
{
    struct world *world = *state;
    struct sandbox_exit exit = { .last = sample_at(1, 250) };
    struct sandbox_info info = { .id = "s", .dir = world->dir, .generation = 1, .exit = &exit };
    AUTO_FREE char *path = mem_printf("%s/own.usage.json", world->dir);
    const struct egress_count network = { 0, 0 };
    for (unsigned life = 0; life < 2; life++) {
        struct message_sample sample = sample_at(1, 60 + life * 60);
        usage_sample(world->usage, &info, &sample, &network);
        assert_int_equal(
            world->count, 1); /* of 60 s; after the damage nothing until there is more */
        if (life == 1) {
            sample = sample_at(1, 180);
            usage_sample(world->usage, &info, &sample, &network);
            assert_int_equal(world->count, 2);
            assert_int_equal(world->row.from_us, 1120000000);
            assert_int_equal(world->row.cpu_us, 60000);
        }
        usage_destroy(world->usage);
        assert_ok(file_write_atomic(path, "{\"boot\": ", 9, 0600, NULL));
        world->usage = usage_create("boot-1", &ops, world);
        usage_resume(world->usage, &info);
    }
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->count, 3);
    assert_true(world->row.is_final);
    assert_int_equal(world->row.cpu_us, 0);
    assert_int_equal(world->cpu_us, 120000); /* of 250000, and no more than that */
    usage_close(world->usage, &info, &network);
    assert_int_equal(world->count, 3);
}

static void test_numbers_rise_over_restarts(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *path = mem_printf("%s/numbers", world->dir);
    uint64_t last = 0;
    for (unsigned life = 0; life < 3; life++) {
        struct sequence sequence = { .path = NULL };
        assert_ok(sequence_open(&sequence, path, NULL));
        for (unsigned i = 0; i < 5000; i++) {
            uint64_t number = 0;
            assert_ok(sequence_next(&sequence, &number, NULL));
            assert_true(number > last);
            last = number;
        }
        sequence_deinit(&sequence);
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs("nonsense", file);
    (void)fclose(file);
    struct sequence sequence = { .path = NULL };
    assert_code(ERR_CORRUPT, sequence_open(&sequence, path, NULL));
}

static void test_notes_and_policies(void **state)
{
    struct world *world = *state;
    struct wire_schema *schema = NULL;
    struct note note;
    Openshell__Sandbox__V1__SandboxPolicy policy = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;
    Openshell__Sandbox__V1__SandboxPolicy *loaded = NULL;
    AUTO_ARENA struct arena *arena = arena_create(65536);
    assert_ok(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, NULL));
    assert_ok(note_load(world->dir, &note, NULL));
    assert_int_equal(note.stopped, 0);
    assert_ok(note_load_policy(world->dir, schema, arena, &loaded, NULL));
    assert_null(loaded);
    note = (struct note){ .stopped = 2,
                          .policy_version = 3,
                          .failed_version = 4,
                          .policy_error = "no \"such\" thing\n",
                          .missing = "cpu" };
    policy.version = 1;
    assert_ok(note_save(world->dir, &note, NOTE_SYNCED, NULL));
    assert_ok(note_save_policy(world->dir, &policy, NOTE_SYNCED, NULL));
    memset(&note, 0, sizeof(note));
    assert_ok(note_load(world->dir, &note, NULL));
    assert_int_equal(note.stopped, 2);
    assert_int_equal(note.policy_version, 3);
    assert_int_equal(note.failed_version, 4);
    assert_string_equal(note.policy_error, "no 'such' thing'");
    assert_string_equal(note.missing, "cpu");
    assert_ok(note_load_policy(world->dir, schema, arena, &loaded, NULL));
    assert_int_equal(loaded->version, 1);
    wire_schema_destroy(schema);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_add_up_over_everything),
        TEST(test_a_killed_agent_loses_no_byte_of_the_network_that_was_read),
        TEST(test_a_new_run_begins_with_nothing_and_a_new_boot_keeps_the_old_key),
        TEST(test_a_damaged_account_charges_nothing_twice),
        TEST(test_numbers_rise_over_restarts),
        TEST(test_notes_and_policies),
    };
    return cmocka_run_group_tests_name("usage", tests, NULL, NULL);
}
