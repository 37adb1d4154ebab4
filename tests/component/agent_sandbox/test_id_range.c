/* Host user ids: two agents of one machine never give the same ones, whoever starts first, ends how
 * it likes, or asks for what. The file of the locks is the machine's own. */
#include "cmd/agent/sandbox/id_range.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "common/base/cleanup.h"
#include "common/base/mem.h"
#include "common/sandbox/id_use.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT (2 * (uint64_t)SANDBOX_UID_COUNT)

/* Ids that no agent chooses by itself soon, other than those of the same test beside this one. */
static uint64_t far_base(void)
{
    return UINT64_C(3000000000) + (uint64_t)getpid() % 1000 * 8 * SANDBOX_UID_COUNT;
}

static struct id_range claim(const char *dir, uint64_t wanted)
{
    struct err_info err = ERR_INFO_INIT;
    struct id_range range = { .fd = -1 };
    assert_ok_err(err, id_range_claim(dir, wanted, COUNT, &range, &err));
    assert_int_equal(range.count, COUNT);
    return range;
}

static bool overlap(const struct id_range *a, const struct id_range *b)
{
    return a->base < b->base + b->count && b->base < a->base + a->count;
}

static char *dir_of(const char *parent, const char *name)
{
    char *dir = mem_printf("%s/%s", parent, name);
    assert_ok(file_make_dir(dir, 0700, NULL));
    return dir;
}

static int set_up(void **state)
{
    *state = test_dir_create();
    return 0;
}

static int tear_down(void **state)
{
    test_dir_remove(*state);
    return 0;
}

static const char *root_dir(void **state)
{
    if (geteuid() != 0) {
        skip(); /* without root a sandbox has its agent's user */
    }
    return *state;
}

static void test_what_is_chosen_is_free_and_kept(void **state)
{
    const char *parent = root_dir(state);
    AUTO_FREE char *one = dir_of(parent, "one");
    AUTO_FREE char *two = dir_of(parent, "two");
    struct id_range first = claim(one, 0);
    struct id_range second = claim(two, 0);
    assert_false(overlap(&first, &second));
    assert_true(second.base >= SANDBOX_UID_BASE);
    assert_int_equal((second.base - SANDBOX_UID_BASE) % SANDBOX_UID_COUNT, 0);
    id_range_release(&first);
    id_range_release(&second);
    struct id_range again = claim(two, 0); /* although others are free before it by now */
    assert_int_equal(again.base, second.base);
    id_range_release(&again);
}

static void test_those_of_a_sandbox_that_runs_on_are_passed_over(void **state)
{
    const char *parent = root_dir(state);
    AUTO_FREE char *one = dir_of(parent, "one");
    AUTO_FREE char *two = dir_of(parent, "two");
    AUTO_FD int used = -1;
    struct err_info err = ERR_INFO_INIT;
    struct id_range first = claim(one, 0);
    uint64_t second_slot = first.base + SANDBOX_UID_COUNT;
    assert_ok_err(err, id_use_hold(second_slot, SANDBOX_UID_COUNT, &used, &err));
    id_range_release(&first); /* the agent is away, and its sandbox is not */
    struct id_range other = claim(two, 0);
    assert_true(other.base >= second_slot + SANDBOX_UID_COUNT || other.base + COUNT <= second_slot);
    struct id_range again = claim(one, 0);
    assert_int_equal(again.base, first.base);
    id_range_release(&other);
    id_range_release(&again);
    uint64_t unused = 0;
    assert_code(ERR_BUSY, id_use_check(first.base, COUNT, &unused, &err));
    assert_int_equal(unused, second_slot + SANDBOX_UID_COUNT);
    fd_close(&used);
    assert_ok_err(err, id_use_check(second_slot, SANDBOX_UID_COUNT, &unused, &err));
}

static void test_those_of_another_are_refused_and_its_neighbours_are_not(void **state)
{
    const char *dir = root_dir(state);
    struct err_info err = ERR_INFO_INIT;
    uint64_t base = far_base();
    struct id_range none = { .fd = -1 };
    struct id_range range = claim(dir, base);
    assert_code(ERR_BUSY, id_range_claim(dir, base, COUNT, &none, &err));
    assert_code(ERR_BUSY, id_range_claim(dir, base + COUNT - 1, COUNT, &none, &err));
    AUTO_FREE char *named = mem_printf("ids %" PRIu64 " to ", base + COUNT - 1);
    assert_non_null(strstr(err.text, named));
    assert_code(ERR_BUSY, id_range_claim(dir, base - COUNT + 1, COUNT, &none, &err));
    assert_int_equal(none.fd, -1);
    struct id_range after = claim(dir, base + COUNT);
    struct id_range before = claim(dir, base - COUNT);
    id_range_release(&after);
    id_range_release(&before);
    id_range_release(&range);
}

static void test_a_note_that_cannot_be_used_is_replaced(void **state)
{
    static const char *const unfit[] = { "", "x", "4294967294", "18446744073709551616", "-1" };
    const char *dir = root_dir(state);
    AUTO_FREE char *path = mem_printf("%s/uid-base", dir);
    AUTO_FREE char *taken = mem_printf("%" PRIu64, far_base());
    struct id_range other = claim(dir, far_base());
    for (size_t i = 0; i <= ARRAY_LENGTH(unfit); i++) {
        const char *note = i < ARRAY_LENGTH(unfit) ? unfit[i] : taken;
        assert_ok(file_write_atomic(path, note, strlen(note), 0600, NULL));
        struct id_range range = claim(dir, 0);
        assert_false(overlap(&range, &other));
        struct id_range third = { .fd = -1 };
        id_range_release(&range);
        third = claim(dir, 0);
        assert_int_equal(third.base, range.base); /* that is what is noted now */
        id_range_release(&third);
    }
    id_range_release(&other);
}

static void test_their_end_is_below_the_last_id(void **state)
{
    const char *dir = root_dir(state);
    struct err_info err = ERR_INFO_INIT;
    struct id_range none = { .fd = -1 };
    const uint64_t first_unfit = UINT64_C(4294967295) - COUNT + 1;
    assert_code(ERR_INVALID, id_range_claim(dir, first_unfit, COUNT, &none, &err));
    assert_non_null(strstr(err.text, "4294967294"));
    assert_code(ERR_INVALID, id_range_claim(dir, UINT64_MAX, COUNT, &none, &err));
    assert_code(ERR_INVALID, id_range_claim(dir, 0, UINT64_MAX, &none, &err));
    struct id_range last = claim(dir, first_unfit - 1);
    id_range_release(&last);
}

static void test_a_killed_agent_frees_them(void **state)
{
    const char *dir = root_dir(state);
    struct err_info err = ERR_INFO_INIT;
    uint64_t base = far_base();
    struct id_range range = { .fd = -1 };
    int pipe_fds[2];
    char byte = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        bool held = id_range_claim(dir, base, COUNT, &range, NULL) == ERR_OK;
        _exit(!held || write(pipe_fds[1], "x", 1) != 1 || pause() != 0);
    }
    fd_close(&pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    fd_close(&pipe_fds[0]);
    assert_code(ERR_BUSY, id_range_claim(dir, base, COUNT, &range, &err));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    range = claim(dir, base);
    id_range_release(&range);
}

/* Whole agents, as two workspaces of one machine have them. */
static void test_sandboxes_of_two_agents_have_users_of_their_own(void **state)
{
    struct sandbox_info one;
    struct sandbox_info two;
    (void)root_dir(state);
    struct fixture *first = fixture_create();
    struct fixture *second = fixture_create();
    fixture_start(first, "a");
    fixture_start(second, "a");
    assert_true(sandbox_find(first->all, "a", &one));
    assert_true(sandbox_find(second->all, "a", &two));
    if (first->driver == SANDBOX_DRIVER_NATIVE) {
        assert_int_not_equal(one.uid_base, two.uid_base);
    }
    fixture_destroy(second);
    fixture_destroy(first);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_chosen_is_free_and_kept),
        TEST(test_those_of_a_sandbox_that_runs_on_are_passed_over),
        TEST(test_those_of_another_are_refused_and_its_neighbours_are_not),
        TEST(test_a_note_that_cannot_be_used_is_replaced),
        TEST(test_their_end_is_below_the_last_id),
        TEST(test_a_killed_agent_frees_them),
        TEST(test_sandboxes_of_two_agents_have_users_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
