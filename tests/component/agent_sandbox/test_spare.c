/*
 * The shim that is started ahead: the next sandbox has it, there is one at most, it ends with its
 * agent, and what becomes of it on the way costs no sandbox.
 */
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

/* Of a process: its program's name and argument. */
static char *words_of(pid_t pid)
{
    char text[4096] = { 0 };
    AUTO_FREE char *path = mem_printf("/proc/%d/cmdline", (int)pid);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    size_t name = strlen(text);
    return mem_printf("%s %s", text, bytes > (ssize_t)name ? text + name + 1 : "");
}

static char *folder_of(const struct fixture *fixture, const char *id)
{
    return mem_printf("%s/sandboxes/run/%s", fixture->dir, id);
}

static void assert_is_shim_of(const struct fixture *fixture, pid_t pid, const char *id)
{
    AUTO_FREE char *dir = folder_of(fixture, id);
    AUTO_FREE char *wanted = mem_printf("belay-shim %s", dir);
    AUTO_FREE char *words = words_of(pid);
    assert_string_equal(words, wanted);
}

static void assert_works(struct fixture *fixture, const char *id)
{
    assert_string_equal(buf_text(&fixture_shell(fixture, id, "echo $((6 * 7))")->out), "42\n");
}

static void test_the_next_sandbox_has_the_shim_that_waits(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    assert_int_equal(fixture_spare(fixture), 0); /* not before the first sandbox */
    fixture_start(fixture, "first");
    pid_t spare = fixture_spare(fixture);
    assert_true(spare > 0);
    fixture_start(fixture, "second");
    assert_is_shim_of(fixture, spare, "second");
    assert_works(fixture, "second");
    pid_t next = fixture_spare(fixture); /* fails if there are two */
    assert_true(next > 0 && next != spare);
    fixture_destroy(fixture);
    fixture_wait_end(next);
}

static void test_it_ends_with_its_agent_and_its_sandbox_does_not(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "first");
    fixture_start(fixture, "second");
    pid_t spare = fixture_spare(fixture);
    fixture_close(fixture);
    fixture_wait_end(spare);
    unsigned ready = fixture->ready_count;
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ready_count, ready + 2);
    assert_works(fixture, "second");
    fixture_destroy(fixture);
}

static void test_one_that_was_killed_is_not_missed(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "first");
    pid_t spare = fixture_spare(fixture);
    assert_int_equal(kill(spare, SIGKILL), 0);
    fixture_wait_end(spare);
    fixture_start(fixture, "second");
    assert_works(fixture, "second");
    assert_true(fixture_spare(fixture) > 0);
    fixture_destroy(fixture);
}

static bool is_locked(const char *dir)
{
    AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

/* The agent goes between its order and the shim's turn: the next one finds the folder taken, waits
 * for that shim, and starts no second one. */
static void test_an_order_outlives_its_agent(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const struct sandbox_spec spec = { .id = "second", .driver = fixture->driver };
    AUTO_FREE char *dir = folder_of(fixture, "second");
    fixture_start(fixture, "first");
    pid_t spare = fixture_spare(fixture);
    assert_int_equal(kill(spare, SIGSTOP), 0);
    assert_ok(sandbox_create(fixture->all, &spec, NULL));
    fixture_close(fixture);
    assert_true(is_locked(dir));
    assert_int_equal(kill(spare, SIGCONT), 0);
    unsigned ready = fixture->ready_count;
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ready_count, ready + 2);
    assert_is_shim_of(fixture, spare, "second");
    assert_works(fixture, "second");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_sandbox_has_the_shim_that_waits),
        cmocka_unit_test(test_it_ends_with_its_agent_and_its_sandbox_does_not),
        cmocka_unit_test(test_one_that_was_killed_is_not_missed),
        cmocka_unit_test(test_an_order_outlives_its_agent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
