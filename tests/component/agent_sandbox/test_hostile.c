/*
 * An init that is not ours any more, against the shim and the agent as they are: whatever it says,
 * its sandbox ends or goes on as agreed, it can always be stopped, a neighbour answers, and nothing
 * is left.
 */
#include "common/base/cleanup.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    EXECS = 40
};

static void assert_honest_answers(struct fixture *fixture)
{
    struct recorded_program *program = fixture_shell(fixture, "honest", "echo here; exit 4");
    assert_string_equal(buf_text(&program->out), "here\n");
    assert_int_equal(WEXITSTATUS(program->status), 4);
}

/* The control: the same program, with the init that is ours. */
static struct fixture *open_with_honest(void)
{
    struct fixture *fixture = fixture_create();
    fixture_close(fixture);
    fixture->shim_path = BELAY_HOSTILE_SHIM_PATH;
    fixture_open(fixture);
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "honest", .hostname = "honest" });
    assert_honest_answers(fixture);
    return fixture;
}

static void create(struct fixture *fixture, const char *way)
{
    struct err_info err = ERR_INFO_INIT;
    struct sandbox_spec spec = { .id = way,
                                 .hostname = way,
                                 .driver = fixture->driver,
                                 .network = strstr(way, "listener") == NULL
                                     ? SANDBOX_NETWORK_NONE
                                     : SANDBOX_NETWORK_PROXY };
    assert_ok_err(err, sandbox_create(fixture->all, &spec, &err));
}

static void remove_one(struct fixture *fixture, const char *way)
{
    unsigned removed = fixture->removed_count;
    assert_ok(sandbox_remove(fixture->all, way, NULL));
    fixture_wait_count(fixture, &fixture->removed_count, removed + 1);
}

static size_t count_fds(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

static void test_first_words_that_are_not_as_agreed_fail_the_start(void **unused)
{
    (void)unused;
    static const char *const ways[] = {
        "silent",     "leave",          "noise",          "hello-without",
        "hello-null", "hello-many",     "other-first",    "wrong-version",
        "too-large",  "hello-listener", "listener-first",
    };
    struct fixture *fixture = open_with_honest();
    sandboxes_sync(fixture->all); /* which has descriptors of its own meanwhile */
    size_t fds = count_fds();
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        unsigned ended = fixture->ended_count;
        unsigned ready = fixture->ready_count;
        create(fixture, ways[i]);
        fixture_wait_count(fixture, &fixture->ended_count, ended + 1);
        assert_int_equal(fixture->exit.reason, SANDBOX_END_FAILED);
        assert_true(fixture->exit.error[0] != '\0');
        assert_int_equal(fixture->ready_count, ready);
        remove_one(fixture, ways[i]);
        assert_honest_answers(fixture);
    }
    sandboxes_sync(fixture->all);
    assert_int_equal(count_fds(), fds);
    fixture_destroy(fixture);
}

static void test_later_nonsense_ends_the_sandbox(void **unused)
{
    (void)unused;
    static const char *const ways[] = {
        "then-noise", "then-leave", "then-empty", "then-descriptors"
    };
    struct fixture *fixture = open_with_honest();
    sandboxes_sync(fixture->all); /* which has descriptors of its own meanwhile */
    size_t fds = count_fds();
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        unsigned ended = fixture->ended_count;
        create(fixture, ways[i]);
        fixture_wait_count(fixture, &fixture->ended_count, ended + 1);
        assert_int_equal(fixture->status, SANDBOX_STATUS_ENDED);
        assert_int_equal(fixture->exit.reason, SANDBOX_END_DIED);
        assert_false(fixture->exit.has_status);
        remove_one(fixture, ways[i]);
        assert_honest_answers(fixture);
    }
    sandboxes_sync(fixture->all);
    assert_int_equal(count_fds(), fds);
    fixture_destroy(fixture);
}

/* One answer counts, the first; what is said of other programs is about none. */
static void test_lies_about_programs_stay_with_their_sandbox(void **unused)
{
    (void)unused;
    const char *const argv[] = { "true", NULL };
    struct sandbox_exec exec = { .argv = argv };
    struct fixture *fixture = open_with_honest();
    create(fixture, "then-lies");
    fixture_wait_count(fixture, &fixture->ready_count, 2);
    for (int i = 0; i < 5; i++) {
        uint64_t number = 0;
        assert_ok(sandbox_exec(fixture->all, "then-lies", &exec, &number, NULL));
        struct recorded_program *program = fixture_program(fixture, "then-lies", number);
        fixture_wait(fixture, &program->exited);
        assert_int_equal(program->out.len, 0);
        assert_true(program->started);
        assert_honest_answers(fixture);
    }
    assert_ok(sandbox_stop(fixture->all, "then-lies", 0, NULL));
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    remove_one(fixture, "then-lies");
    fixture_destroy(fixture);
}

/* Whether it never answers or never stops talking: a stop is a stop. */
static void test_an_init_that_never_answers_or_never_stops_can_be_stopped(void **unused)
{
    (void)unused;
    static const char *const ways[] = { "then-nothing", "then-flood" };
    const char *const argv[] = { "true", NULL };
    struct sandbox_exec exec = { .argv = argv };
    struct fixture *fixture = open_with_honest();
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        unsigned ended = fixture->ended_count;
        unsigned ready = fixture->ready_count;
        create(fixture, ways[i]);
        fixture_wait_count(fixture, &fixture->ready_count, ready + 1);
        for (int j = 0; j < EXECS; j++) {
            uint64_t number = 0;
            assert_ok(sandbox_exec(fixture->all, ways[i], &exec, &number, NULL));
        }
        assert_honest_answers(fixture);
        assert_ok(sandbox_stop(fixture->all, ways[i], 0, NULL));
        fixture_wait_count(fixture, &fixture->ended_count, ended + 1);
        assert_int_equal(fixture->exit.reason, SANDBOX_END_STOPPED);
        remove_one(fixture, ways[i]);
        assert_honest_answers(fixture);
    }
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_words_that_are_not_as_agreed_fail_the_start),
        cmocka_unit_test(test_later_nonsense_ends_the_sandbox),
        cmocka_unit_test(test_lies_about_programs_stay_with_their_sandbox),
        cmocka_unit_test(test_an_init_that_never_answers_or_never_stops_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
