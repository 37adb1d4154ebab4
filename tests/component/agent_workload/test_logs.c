#include "cmd/agent/workload/logs.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdio.h>

struct world {
    struct test_clock clock;
    struct loop *loop;
    struct logs *logs;
    struct buf said; /* "id/target: text|" each */
    unsigned batches;
    uint64_t taken[2];
    bool is_full;   /* the spool has no room */
    bool is_broken; /* the spool takes nothing */
};

static enum err_code on_emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    struct world *world = context;
    if (world->is_broken) {
        return ERR_SET(err, ERR_LIMIT, "no");
    }
    world->batches++;
    for (size_t i = 0; i < batch->n_events; i++) {
        const Agentgateway__V1__AgentEvent *event = batch->events[i];
        assert_string_equal(event->kind, "sandbox.log");
        buf_printf(
            &world->said,
            "%s/%s: ",
            event->device,
            event->n_attributes == 0 ? "agent" : event->attributes[0]->value);
        for (size_t j = 1; j < event->n_attributes; j++) {
            buf_printf(&world->said, "%s ", event->attributes[j]->value);
        }
        buf_printf(&world->said, "%s|", event->text);
    }
    return ERR_OK;
}

static bool has_room(void *context)
{
    struct world *world = context;
    return !world->is_full;
}

static void on_taken(void *context, const char *sandbox_id, unsigned stream, uint64_t offset)
{
    struct world *world = context;
    (void)sandbox_id;
    world->taken[stream - 1] = offset;
}

static const struct logs_ops ops = { .emit = on_emit, .has_room = has_room, .taken = on_taken };

static int set_up(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    test_clock_init(&world->clock);
    world->said = (struct buf)BUF_INIT((size_t)64 * 1024 * 1024);
    assert_ok(loop_create(&world->clock.clock, &world->loop, NULL));
    world->logs = logs_create(world->loop, &world->clock.clock, &ops, world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    logs_destroy(world->logs);
    loop_destroy(world->loop);
    buf_deinit(&world->said);
    mem_free(world);
    return 0;
}

static void say(struct world *world, unsigned stream, uint64_t offset, const char *text)
{
    struct message_output output = { stream, offset, str_of(text) };
    logs_add(world->logs, "s", &output);
}

static void exec_says(
    struct world *world, uint64_t exec, unsigned stream, uint64_t offset, struct str_view text)
{
    struct message_output output = { stream, offset, text };
    logs_add_exec(world->logs, "s", exec, exec == 7 ? "sh" : "tar", &output);
}

static void pass(struct world *world, int64_t us)
{
    test_clock_advance(&world->clock, us);
    (void)loop_turn(world->loop);
}

static void test_lines_are_gathered_and_taken_when_kept(void **state)
{
    struct world *world = *state;
    say(world, 1, 0, "one\ntw");
    say(world, 1, 6, "o\r\nthr");
    say(world, 2, 0, "err\n");
    assert_int_equal(world->batches, 0);
    pass(world, 200 * US_PER_MS);
    assert_string_equal(buf_text(&world->said), "s/stdout: one|s/stdout: two|s/stderr: err|");
    assert_int_equal(world->batches, 1);
    assert_int_equal(world->taken[0], 9); /* not the line that has no end yet */
    assert_int_equal(world->taken[1], 4);
    pass(world, US_PER_SECOND);
    assert_non_null(strstr(buf_text(&world->said), "|s/stdout: thr|"));
    assert_int_equal(world->taken[0], 12);
}

/* The agent may be killed right after it: what is told as taken does not come again. */
static void test_a_batch_that_goes_in_between_takes_whole_lines(void **state)
{
    struct world *world = *state;
    AUTO_BUF struct buf text = BUF_INIT(65536);
    for (unsigned i = 0; i < 257; i++) { /* one more than a batch has */
        buf_append_str(&text, STR("ab\n"));
    }
    say(world, 1, 0, buf_text(&text));
    assert_int_equal(world->batches, 1);
    assert_int_equal(world->taken[0], 256 * 3);
    pass(world, 200 * US_PER_MS);
    assert_int_equal(world->taken[0], 257 * 3);
}

static void test_what_comes_again_is_known(void **state)
{
    struct world *world = *state;
    say(world, 1, 100, "a\nb\n");
    say(world, 1, 100, "a\nb\nc\n");
    say(world, 1, 102, "b\n");
    logs_end(world->logs, "s");
    assert_string_equal(buf_text(&world->said), "s/stdout: a|s/stdout: b|s/stdout: c|");
    assert_int_equal(world->taken[0], 106);
    say(world, 1, 0, "next run\n"); /* its offsets begin anew */
    logs_end(world->logs, "s");
    assert_non_null(strstr(buf_text(&world->said), "next run"));
}

static void test_the_end_brings_the_last_words(void **state)
{
    struct world *world = *state;
    say(world, 1, 0, "no newline");
    logs_end(world->logs, "s");
    assert_string_equal(buf_text(&world->said), "s/stdout: no newline|");
    assert_int_equal(world->taken[0], 10);
}

static void test_bytes_that_are_no_text(void **state)
{
    struct world *world = *state;
    struct message_output output = { 1, 0, str_from("a\0b\xff\xc3\xa9\xc3\n", 8) };
    logs_add(world->logs, "s", &output);
    logs_end(world->logs, "s");
    assert_string_equal(buf_text(&world->said), "s/stdout: a?b?\xc3\xa9?|");
}

static void test_a_long_line_is_cut(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *line = mem_alloc(10000);
    memset(line, 'x', 9000);
    line[9000] = '\n';
    say(world, 1, 0, line);
    logs_end(world->logs, "s");
    const char *text = buf_text(&world->said);
    unsigned count = 0;
    for (const char *at = text; (at = strchr(at, '|')) != NULL; at++) {
        count++;
    }
    assert_int_equal(count, 3);
    assert_int_equal(world->taken[0], 9001);
}

static void test_a_bomb_is_cut_counted_and_never_made_to_wait(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *piece = mem_alloc(32769);
    uint64_t offset = 0;
    for (size_t i = 0; i < 32768; i++) {
        piece[i] = i % 64 == 63 ? '\n' : 'b';
    }
    for (unsigned i = 0; i < 320; i++) { /* 10 MiB */
        say(world, 1, offset, piece);
        offset += 32768;
    }
    pass(world, 200 * US_PER_MS);
    assert_int_equal(world->taken[0], offset);
    assert_true(world->said.len < (size_t)LOGS_BURST_BYTES * 2);
    assert_non_null(strstr(buf_text(&world->said), "s/agent: "));
    assert_non_null(strstr(buf_text(&world->said), "are not here"));
    pass(world, 10 * US_PER_SECOND); /* its share comes back */
    say(world, 1, offset, "later\n");
    pass(world, 200 * US_PER_MS);
    assert_non_null(strstr(buf_text(&world->said), "s/stdout: later|"));
}

static void test_many_bombs_together_have_a_share_too(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *line = mem_alloc(1025);
    char id[16];
    memset(line, 'x', 1023);
    line[1023] = '\n';
    for (unsigned i = 0; i < 20 * 1024; i++) { /* 20 MiB of 20 sandboxes */
        (void)snprintf(id, sizeof(id), "s%u", i % 20);
        struct message_output output = { 1, (uint64_t)(i / 20) * 1024, str_from(line, 1024) };
        logs_add(world->logs, id, &output);
    }
    assert_true(world->said.len < (size_t)LOGS_BURST_BYTES * LOGS_FACTOR_ALL + LOGS_BATCH_BYTES);
    assert_true(world->said.len > (size_t)LOGS_BURST_BYTES);
}

static void test_a_full_spool_costs_lines_and_nothing_else(void **state)
{
    struct world *world = *state;
    world->is_full = true;
    say(world, 1, 0, "lost\n");
    pass(world, 200 * US_PER_MS);
    assert_int_equal(world->batches, 0);
    assert_int_equal(world->taken[0], 5);
    world->is_full = false;
    pass(world, 2 * US_PER_SECOND);
    assert_non_null(strstr(buf_text(&world->said), "s/agent: 1 lines (4 bytes)"));
    world->is_broken = true;
    say(world, 1, 5, "lost too\n");
    pass(world, 200 * US_PER_MS);
    world->is_broken = false;
    pass(world, 2 * US_PER_SECOND);
    assert_non_null(strstr(buf_text(&world->said), "s/agent: 1 lines (8 bytes)"));
}

static void test_a_jump_is_counted(void **state)
{
    struct world *world = *state;
    say(world, 1, 0, "a\n");
    say(world, 1, 1002, "b\n");
    pass(world, 200 * US_PER_MS);
    pass(world, 2 * US_PER_SECOND);
    assert_non_null(strstr(buf_text(&world->said), "s/agent: 0 lines (1000 bytes)"));
}

static void test_programs_of_operators_are_told_apart(void **state)
{
    struct world *world = *state;
    say(world, 1, 0, "main\n");
    exec_says(world, 7, 1, 0, STR("one\npart"));
    exec_says(world, 8, 2, 0, STR("other\n"));
    pass(world, 200 * US_PER_MS);
    assert_string_equal(
        buf_text(&world->said),
        "s/stdout: main|s/exec.stdout: sh 7 one|s/exec.stderr: tar 8 other|");
    assert_int_equal(world->taken[0], 5); /* theirs is taken by whoever had them run */
    exec_says(world, 7, 1, 8, STR("ial"));
    logs_end_exec(world->logs, "s", 7);
    logs_end_exec(world->logs, "s", 7);
    logs_end_exec(world->logs, "nobody", 7);
    pass(world, 200 * US_PER_MS);
    assert_non_null(strstr(buf_text(&world->said), "|s/exec.stdout: sh 7 partial|"));
    exec_says(world, 8, 1, 0, STR("last"));
    logs_end(world->logs, "s");
    assert_non_null(strstr(buf_text(&world->said), "|s/exec.stdout: tar 8 last|"));
}

static void test_an_archive_is_not_logged(void **state)
{
    struct world *world = *state;
    exec_says(world, 7, 1, 0, STR("begins\nfile"));
    exec_says(world, 7, 1, 11, str_from("name\0\0\n", 7));
    exec_says(world, 7, 1, 18, STR("more of it\n"));
    exec_says(world, 7, 2, 0, STR("words\n"));
    logs_end(world->logs, "s");
    assert_string_equal(
        buf_text(&world->said),
        "s/exec.stdout: sh 7 begins|s/exec.stdout: sh 7 (no text: the rest of it is not logged)|"
        "s/exec.stderr: sh 7 words|");
}

static void test_a_bomb_of_an_operator_leaves_the_main_program_room(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *piece = mem_alloc(32768);
    for (size_t i = 0; i < 32768; i++) {
        piece[i] = i % 64 == 63 ? '\n' : 'b';
    }
    for (uint64_t i = 0; i < 320; i++) { /* 10 MiB */
        exec_says(world, 7, 1, i * 32768, str_from(piece, 32768));
    }
    pass(world, 200 * US_PER_MS);
    assert_true(world->said.len < (size_t)LOGS_BURST_BYTES);
    for (uint64_t i = 0; i < 500; i++) {
        say(world, 1, i * 64, "0123456789012345678901234567890123456789012345678901234567890ab\n");
    }
    pass(world, 200 * US_PER_MS);
    assert_int_equal(world->taken[0], 500 * 64);
    unsigned count = 0;
    for (const char *at = buf_text(&world->said); (at = strstr(at, "s/stdout: 0")) != NULL; at++) {
        count++;
    }
    assert_int_equal(count, 500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lines_are_gathered_and_taken_when_kept),
        TEST(test_a_batch_that_goes_in_between_takes_whole_lines),
        TEST(test_what_comes_again_is_known),
        TEST(test_the_end_brings_the_last_words),
        TEST(test_bytes_that_are_no_text),
        TEST(test_a_long_line_is_cut),
        TEST(test_a_bomb_is_cut_counted_and_never_made_to_wait),
        TEST(test_many_bombs_together_have_a_share_too),
        TEST(test_a_full_spool_costs_lines_and_nothing_else),
        TEST(test_a_jump_is_counted),
        TEST(test_programs_of_operators_are_told_apart),
        TEST(test_an_archive_is_not_logged),
        TEST(test_a_bomb_of_an_operator_leaves_the_main_program_room),
    };
    return cmocka_run_group_tests_name("logs", tests, NULL, NULL);
}
