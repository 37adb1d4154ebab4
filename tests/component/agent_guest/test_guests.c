/* Guests as processes: a script stands for the agent's program, and files tell it what to be. */
#include "cmd/agent/guest/guests.h"
#include "common/base/cleanup.h"
#include "common/sys/fault.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ANSWERS_MAX = 8,
    STEP_MS = 20,
    LOG_BYTES = 65536
};

#define PATIENCE_US (60 * US_PER_SECOND)
#define JOIN        STR("belay://localhost:1/?token=blt_x")

/* Its words: --mode agent -- VERB --state-dir=FOLDER ... Its input is the lender's pipe, which cat
 * reads until that is closed. */
static const char script[] = "#!/bin/sh\n"
                             "state=${5#--state-dir=}\n"
                             "[ -e \"$STUB/deaf\" ] && trap '' TERM\n"
                             "echo \"$4 $$ $(date +%s%N)\" >>\"$STUB/log\"\n"
                             "case $4 in\n"
                             "run)\n"
                             "    mkdir -p \"$state\"\n"
                             "    [ -e \"$STUB/enrolls\" ] && : >\"$state/enrollment\"\n"
                             "    [ -e \"$STUB/exits\" ] && exit 3\n"
                             "    exec cat ;;\n"
                             "reset)\n"
                             "    [ -e \"$STUB/held\" ] && exit 75\n"
                             "    [ ! -e \"$STUB/resists\" ] ;;\n"
                             "esac\n";

struct world {
    char *dir;
    char *folder;
    char *program;
    struct loop *loop;
    struct guests *guests;
    struct guest_pace pace;
    bool may_run;
    unsigned changed;
    unsigned answers;
    enum err_code codes[ANSWERS_MAX];
    void *tokens[ANSWERS_MAX];
};

static const struct room plenty = { 1000, 1000000, UINT64_C(1) << 40, UINT64_C(1) << 40 };

static void on_changed(void *context)
{
    struct world *world = context;
    world->changed++;
}

static void on_reclaimed(void *context, void *token, enum err_code code, const char *text)
{
    struct world *world = context;
    assert_true(world->answers < ANSWERS_MAX);
    assert_true((code == ERR_OK) == (text[0] == '\0'));
    world->codes[world->answers] = code;
    world->tokens[world->answers++] = token;
}

static const struct guests_ops ops = { .changed = on_changed, .reclaimed = on_reclaimed };

static void open_guests(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    const struct guests_options options = { .loop = world->loop,
                                            .folder = world->folder,
                                            .program = world->program,
                                            .setup = { .images = "/images" },
                                            .pace = world->pace,
                                            .may_run = world->may_run,
                                            .ops = &ops,
                                            .context = world };
    assert_ok_err(err, guests_open(&options, &world->guests, &err));
}

static void write_to(const struct world *world, const char *name, const char *text)
{
    AUTO_FREE char *path = mem_printf("%s/%s", world->dir, name);
    assert_ok(file_write_atomic(path, text, strlen(text), 0600, NULL));
}

static void be(const struct world *world, const char *what)
{
    write_to(world, what, "");
}

static void be_not(const struct world *world, const char *what)
{
    AUTO_FREE char *path = mem_printf("%s/%s", world->dir, what);
    assert_int_equal(unlink(path), 0);
}

static bool is_there(const struct world *world, const char *name)
{
    AUTO_FREE char *path = mem_printf("%s/%s", world->folder, name);
    return file_exists(path);
}

static struct world *create(void)
{
    struct world *world = mem_alloc(sizeof(*world));
    world->dir = test_dir_create();
    world->folder = mem_printf("%s/guests", world->dir);
    world->program = mem_printf("%s/stub", world->dir);
    world->may_run = true;
    world->pace = (struct guest_pace){ .pause_us = 20 * US_PER_MS,
                                       .pause_max_us = 80 * US_PER_MS,
                                       .look_us = 20 * US_PER_MS };
    write_to(world, "stub", script);
    assert_int_equal(chmod(world->program, 0700), 0);
    assert_int_equal(setenv("STUB", world->dir, 1), 0);
    assert_ok(loop_create(clock_system(), &world->loop, NULL));
    return world;
}

static struct world *create_open(void)
{
    struct world *world = create();
    open_guests(world);
    return world;
}

static void destroy(struct world *world)
{
    guests_close(world->guests);
    loop_destroy(world->loop);
    mem_free(world->program);
    mem_free(world->folder);
    test_dir_remove(world->dir);
    mem_free(world);
}

/* What the script was run as. */
static unsigned count_log(const struct world *world, const char *verb)
{
    AUTO_FREE char *path = mem_printf("%s/log", world->dir);
    AUTO_BUF struct buf text = BUF_INIT(LOG_BYTES);
    unsigned count = 0;
    if (file_read(path, LOG_BYTES - 1, &text, NULL) == ERR_OK) {
        for (const char *at = buf_text(&text); (at = strstr(at, verb)) != NULL; at++) {
            count++;
        }
    }
    return count;
}

static struct loan loan_of(const char *id)
{
    struct loan loan = { .workspace = "acme",
                         .name = "mill",
                         .room = { 2, 1000, 1 << 30, 1 << 20 } };
    (void)snprintf(loan.id, sizeof(loan.id), "%s", id);
    return loan;
}

static enum err_code lend(struct world *world, const char *id, struct err_info *err)
{
    struct loan loan = loan_of(id);
    return guests_lend(world->guests, &loan, JOIN, &plenty, err);
}

static const char *phase_of(const struct world *world, const char *id)
{
    size_t cursor = 0;
    struct guest_view view;
    while (guests_next(world->guests, &cursor, &view)) {
        if (strcmp(view.loan->id, id) == 0) {
            return view.phase;
        }
    }
    return "none";
}

static bool is_phase(const struct world *world, const char *id, const char *phase)
{
    return strcmp(phase_of(world, id), phase) == 0;
}

/* Turns the loop until the condition is so. */
#define WAIT_UNTIL(world, condition)                                   \
    do {                                                               \
        int64_t end_ = clock_mono(clock_system()).value + PATIENCE_US; \
        while (!(condition)) {                                         \
            assert_true(clock_mono(clock_system()).value < end_);      \
            loop_step((world)->loop, STEP_MS);                         \
        }                                                              \
    } while (0)

static pid_t pid_of(const struct world *world)
{
    size_t cursor = 0;
    struct guest_view view;
    return guests_next(world->guests, &cursor, &view) ? view.pid : 0;
}

static bool is_alive(pid_t pid)
{
    char path[64];
    AUTO_BUF struct buf text = BUF_INIT(4096);
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    return file_read(path, 4095, &text, NULL) == ERR_OK && strstr(buf_text(&text), ") Z ") == NULL;
}

static void test_a_loan_is_kept_and_run_once(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    struct err_info err = ERR_INFO_INIT;
    struct room lent;
    AUTO_FREE char *join = mem_printf("%s/1.join", world->folder);
    AUTO_BUF struct buf text = BUF_INIT(JOIN.len + 1);
    assert_ok_err(err, lend(world, "ln_1", &err));
    assert_ok(file_read_private(join, JOIN.len, &text, NULL));
    assert_true(str_equal(buf_view(&text), JOIN));
    assert_true(is_there(world, "1.loan"));
    assert_int_equal(world->changed, 1);
    guests_lent(world->guests, &lent);
    assert_int_equal(lent.cpu_millis, 1000);
    WAIT_UNTIL(world, count_log(world, "run ") == 1);
    pid_t pid = pid_of(world);
    assert_ok_err(err, lend(world, "ln_1", &err));
    assert_int_equal(pid_of(world), pid);
    assert_int_equal(world->changed, 1);
    assert_true(is_phase(world, "ln_1", "starting"));
    assert_ok_err(err, lend(world, "ln_2", &err));
    guests_lent(world->guests, &lent);
    assert_int_equal(lent.sandboxes, 4);
    assert_true(is_there(world, "2.loan"));
    destroy(world);
}

static void test_the_join_string_goes_once_it_is_used(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, count_log(world, "run ") == 1);
    for (int i = 0; i < 5; i++) {
        loop_step(world->loop, STEP_MS);
    }
    assert_true(is_there(world, "1.join"));
    AUTO_FREE char *enrollment = mem_printf("%s/1/enrollment", world->folder);
    WAIT_UNTIL(world, is_there(world, "1"));
    assert_ok(file_write_atomic(enrollment, "", 0, 0600, NULL));
    WAIT_UNTIL(world, !is_there(world, "1.join"));
    assert_true(is_phase(world, "ln_1", "running"));
    destroy(world);
}

/* Between two starts at least the pause that was due. */
static void test_pauses_grow(void **unused)
{
    (void)unused;
    static const int64_t least_ms[] = { 20, 40, 80, 80 };
    struct world *world = create_open();
    AUTO_FREE char *path = mem_printf("%s/log", world->dir);
    AUTO_BUF struct buf text = BUF_INIT(LOG_BYTES);
    be(world, "exits");
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, count_log(world, "run ") > ARRAY_LENGTH(least_ms));
    assert_ok(file_read(path, LOG_BYTES - 1, &text, NULL));
    struct str_view rest = buf_view(&text);
    struct str_view line = STR_NONE;
    int64_t before = 0;
    for (size_t i = 0; i <= ARRAY_LENGTH(least_ms) && str_cut(rest, '\n', &line, &rest); i++) {
        struct str_view word = STR_NONE;
        int64_t now = 0;
        assert_true(str_cut(line, ' ', &word, &line) && str_cut(line, ' ', &word, &line));
        assert_ok(str_parse_int64(line, 1, INT64_MAX, &now));
        assert_true(i == 0 || now - before >= least_ms[i - 1] * 1000000);
        before = now;
    }
    destroy(world);
}

/* Else the twelfth would be more than a minute away. */
static void test_who_ran_long_begins_with_the_first_pause(void **unused)
{
    (void)unused;
    struct world *world = create();
    world->pace.pause_max_us = 600 * US_PER_SECOND;
    world->pace.good_us = 1;
    open_guests(world);
    be(world, "exits");
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, count_log(world, "run ") == 14);
    destroy(world);
}

static void assert_all_gone(const struct world *world)
{
    struct room lent;
    guests_lent(world->guests, &lent);
    assert_int_equal(lent.sandboxes, 0);
    assert_false(is_there(world, "1"));
    assert_false(is_there(world, "1.join"));
    assert_false(is_there(world, "1.loan"));
}

static void test_what_is_reclaimed_is_gone(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    int token = 0;
    int other = 0;
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    pid_t pid = pid_of(world);
    guests_reclaim(world->guests, "ln_1", &token);
    guests_reclaim(world->guests, "ln_1", &other); /* asked twice, both are answered */
    assert_true(is_phase(world, "ln_1", "ending"));
    assert_code(ERR_BUSY, lend(world, "ln_1", NULL));
    assert_int_equal(world->answers, 0);
    WAIT_UNTIL(world, world->answers == 2);
    assert_int_equal(world->codes[0], ERR_OK);
    assert_ptr_equal(world->tokens[0], &token);
    assert_ptr_equal(world->tokens[1], &other);
    assert_false(is_alive(pid));
    assert_int_equal(count_log(world, "reset "), 1);
    assert_int_equal(world->changed, 2);
    assert_all_gone(world);
    assert_ok(lend(world, "ln_1", NULL)); /* anew */
    assert_true(is_there(world, "1.loan"));
    guests_reclaim(world->guests, "ln_unknown", &token);
    assert_int_equal(world->answers, 3);
    assert_int_equal(world->codes[2], ERR_OK);
    destroy(world);
}

static void test_the_deaf_are_killed(void **unused)
{
    (void)unused;
    struct world *world = create();
    world->pace.grace_us = 100 * US_PER_MS;
    open_guests(world);
    be(world, "deaf");
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1")); /* it has stopped its ears before */
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, world->answers == 1);
    assert_int_equal(world->codes[0], ERR_OK);
    assert_all_gone(world);
    assert_ok(lend(world, "ln_2", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    pid_t pid = pid_of(world);
    guests_close(STEAL(world->guests));
    assert_false(is_alive(pid));
    destroy(world);
}

static void test_a_removal_that_fails_is_told_once_and_tried_again(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    be(world, "resists");
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, count_log(world, "reset ") == 3);
    assert_int_equal(world->answers, 1);
    assert_int_equal(world->codes[0], ERR_INTERNAL);
    assert_true(is_there(world, "1"));
    assert_true(is_phase(world, "ln_1", "ending"));
    guests_close(STEAL(world->guests)); /* the next life carries on */
    be_not(world, "resists");
    open_guests(world);
    assert_true(is_phase(world, "ln_1", "ending"));
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, world->answers == 2);
    assert_int_equal(world->codes[1], ERR_OK);
    assert_all_gone(world);
    assert_int_equal(count_log(world, "run "), 1);
    destroy(world);
}

/* By the guest of a lender that was killed, which is about to end. */
static void test_a_folder_that_is_held_is_waited_for(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    be(world, "held");
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, count_log(world, "reset ") == 2);
    assert_int_equal(world->answers, 0);
    be_not(world, "held");
    WAIT_UNTIL(world, world->answers == 1);
    assert_int_equal(world->codes[0], ERR_OK);
    be(world, "held"); /* for good: that is told */
    assert_ok(lend(world, "ln_2", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    guests_reclaim(world->guests, "ln_2", NULL);
    WAIT_UNTIL(world, world->answers == 2);
    assert_int_equal(world->codes[1], ERR_INTERNAL);
    destroy(world);
}

static void test_guests_end_and_begin_with_the_lender(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    struct room lent;
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, count_log(world, "run ") == 1);
    pid_t pid = pid_of(world);
    assert_true(is_alive(pid));
    guests_close(STEAL(world->guests));
    assert_false(is_alive(pid));
    assert_true(is_there(world, "1.loan"));
    open_guests(world);
    guests_lent(world->guests, &lent);
    assert_int_equal(lent.sandboxes, 2);
    WAIT_UNTIL(world, count_log(world, "run ") == 2);
    guests_stop(world->guests); /* from within the loop: nothing begins again */
    WAIT_UNTIL(world, pid_of(world) == 0);
    for (int i = 0; i < 10; i++) {
        loop_step(world->loop, STEP_MS);
    }
    assert_int_equal(count_log(world, "run "), 2);
    assert_code(ERR_BUSY, lend(world, "ln_2", NULL));
    guests_reclaim(world->guests, "ln_1", NULL); /* kept, and left to the next life */
    assert_int_equal(pid_of(world), 0);
    assert_int_equal(world->answers, 0);
    guests_close(STEAL(world->guests));
    open_guests(world);
    WAIT_UNTIL(world, !is_there(world, "1.loan"));
    assert_int_equal(count_log(world, "reset "), 1);
    destroy(world);
}

static void lend_and_die(void *context)
{
    struct world *world = context;
    open_guests(world);
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    (void)kill(getpid(), SIGKILL);
}

/* Nobody tells it: the pipe does. */
static void test_a_guest_ends_with_a_lender_that_was_killed(void **unused)
{
    (void)unused;
    struct world *world = create();
    AUTO_FREE char *path = mem_printf("%s/log", world->dir);
    AUTO_BUF struct buf text = BUF_INIT(LOG_BYTES);
    be(world, "deaf"); /* no signal does either */
    (void)test_in_child(lend_and_die, world, NULL, 0);
    assert_ok(file_read(path, LOG_BYTES - 1, &text, NULL));
    int pid = 0;
    assert_int_equal(sscanf(buf_text(&text), "run %d ", &pid), 1);
    WAIT_UNTIL(world, !is_alive(pid));
    destroy(world);
}

#ifdef BELAY_FAULTS

static void arm(const struct world *world, const char *step)
{
    AUTO_FREE char *path = mem_printf("%s/page", world->dir);
    struct fault_page page = { .action = FAULT_KILL };
    (void)snprintf(page.name, sizeof(page.name), "%s", step);
    assert_ok(file_write_atomic(path, &page, sizeof(page), 0600, NULL));
    assert_int_equal(setenv("BELAY_FAULT_PAGE", path, 1), 0);
}

static void lend_and_reclaim(void *context)
{
    struct world *world = context;
    open_guests(world);
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, world->answers == 1);
}

/* Both orders come again, as the server gives what was not answered. */
static void assert_survives(const char *step, bool is_lent)
{
    struct world *world = create();
    struct err_info err = ERR_INFO_INIT;
    arm(world, step);
    int status = test_in_child(lend_and_reclaim, world, NULL, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_guests(world);
    if (!is_lent) {
        assert_ok_err(err, lend(world, "ln_1", &err));
        WAIT_UNTIL(world, is_there(world, "1"));
        assert_true(is_phase(world, "ln_1", "starting"));
        assert_false(is_there(world, "2.loan"));
    }
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, world->answers == 1);
    assert_int_equal(world->codes[0], ERR_OK);
    assert_all_gone(world);
    loop_step(world->loop, STEP_MS);
    assert_ok(lend(world, "ln_2", NULL)); /* its number is free */
    assert_true(is_there(world, "1.loan"));
    destroy(world);
    assert_int_equal(unsetenv("BELAY_FAULT_PAGE"), 0);
}

static void test_a_kill_at_every_step(void **unused)
{
    (void)unused;
    assert_survives("agent.loan.join_kept", false);
    assert_survives("agent.loan.kept", false);
    assert_survives("agent.loan.ending", true);
    assert_survives("agent.loan.left", true);
    assert_survives("agent.loan.erased", true);
    assert_survives("agent.loan.gone", true);
}

#endif

static void test_bounds(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    struct err_info err = ERR_INFO_INIT;
    struct loan loan = loan_of("ln_1");
    const struct room three = { 3, 3000, UINT64_C(3) << 30, 3 << 20 };
    assert_ok(guests_lend(world->guests, &loan, JOIN, &three, NULL));
    loan = loan_of("ln_2");
    assert_code(ERR_LIMIT, guests_lend(world->guests, &loan, JOIN, &three, &err));
    assert_non_null(strstr(err.text, "sandboxes: 2 asked for, and this agent has 1 left"));
    loan.room.sandboxes = 1;
    loan.room.memory_bytes = UINT64_C(2) << 30; /* to the last of what is left */
    assert_ok_err(err, guests_lend(world->guests, &loan, JOIN, &three, &err));
    for (unsigned i = 3; i <= LOAN_COUNT_MAX; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "ln_%u", i);
        assert_ok_err(err, lend(world, id, &err));
    }
    assert_code(ERR_LIMIT, lend(world, "ln_more", &err));
    assert_non_null(strstr(err.text, "32 guests"));
    destroy(world);
}

static void test_a_path_that_is_too_long(void **unused)
{
    (void)unused;
    struct world *world = create();
    struct err_info err = ERR_INFO_INIT;
    size_t bytes = strlen(world->dir);
    mem_free(world->folder);
    world->folder = mem_printf("%s/%0*d", world->dir, (int)(GUEST_STATE_DIR_MAX - 3 - bytes), 0);
    assert_int_equal(strlen(world->folder), GUEST_STATE_DIR_MAX - 2);
    open_guests(world);
    assert_code(ERR_UNSUPPORTED, lend(world, "ln_1", &err));
    assert_non_null(strstr(err.text, "90 bytes"));
    assert_false(file_exists(world->folder));
    guests_close(STEAL(world->guests));
    world->folder[GUEST_STATE_DIR_MAX - 3] = '\0';
    open_guests(world);
    assert_ok_err(err, lend(world, "ln_1", &err));
    destroy(world);
}

static void test_a_damaged_record_is_left_alone(void **unused)
{
    (void)unused;
    struct world *world = create();
    struct room lent;
    assert_int_equal(mkdir(world->folder, 0700), 0);
    write_to(
        world,
        "guests/1.loan",
        "loan ln_1\nsandboxes 3\ncpu_millis 10\nmemory_bytes 5\ndisk_bytes 6\n");
    write_to(world, "guests/1.join", "x");
    write_to(world, "guests/3.join", "x"); /* of a loan that did not come about */
    open_guests(world);
    guests_lent(world->guests, &lent);
    assert_int_equal(lent.sandboxes, 3);
    assert_true(is_phase(world, "ln_1", "damaged"));
    assert_true(is_there(world, "1.join"));
    assert_false(is_there(world, "3.join"));
    guests_reclaim(world->guests, "ln_1", NULL);
    guests_reclaim(world->guests, "ln_2", NULL);
    assert_int_equal(world->codes[0], ERR_CORRUPT);
    assert_int_equal(world->codes[1], ERR_OK);
    assert_code(ERR_CORRUPT, lend(world, "ln_1", NULL));
    assert_ok(lend(world, "ln_2", NULL));
    assert_true(is_there(world, "2.loan"));
    WAIT_UNTIL(world, count_log(world, "run ") == 1);
    guests_close(STEAL(world->guests));
    write_to(world, "guests/1.loan", "?");
    open_guests(world);
    guests_reclaim(world->guests, "ln_9", NULL); /* it may be that one */
    assert_int_equal(world->codes[2], ERR_CORRUPT);
    assert_true(is_there(world, "1.loan"));
    destroy(world);
}

static void test_an_agent_without_sandboxes_runs_no_guests(void **unused)
{
    (void)unused;
    struct world *world = create_open();
    assert_ok(lend(world, "ln_1", NULL));
    WAIT_UNTIL(world, is_there(world, "1"));
    guests_close(STEAL(world->guests));
    world->may_run = false;
    open_guests(world);
    assert_true(is_phase(world, "ln_1", "waiting"));
    assert_code(ERR_UNSUPPORTED, lend(world, "ln_2", NULL));
    guests_reclaim(world->guests, "ln_1", NULL);
    WAIT_UNTIL(world, world->answers == 1);
    assert_int_equal(world->codes[0], ERR_OK);
    assert_int_equal(count_log(world, "run "), 1);
    assert_all_gone(world);
    destroy(world);
}

static void test_a_program_that_cannot_be_run_is_tried_again(void **unused)
{
    (void)unused;
    struct world *world = create();
    assert_int_equal(chmod(world->program, 0600), 0);
    open_guests(world);
    assert_ok(lend(world, "ln_1", NULL));
    assert_true(is_phase(world, "ln_1", "waiting"));
    assert_int_equal(chmod(world->program, 0700), 0);
    WAIT_UNTIL(world, count_log(world, "run ") == 1);
    destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_loan_is_kept_and_run_once),
        cmocka_unit_test(test_the_join_string_goes_once_it_is_used),
        cmocka_unit_test(test_pauses_grow),
        cmocka_unit_test(test_who_ran_long_begins_with_the_first_pause),
        cmocka_unit_test(test_what_is_reclaimed_is_gone),
        cmocka_unit_test(test_the_deaf_are_killed),
        cmocka_unit_test(test_a_removal_that_fails_is_told_once_and_tried_again),
        cmocka_unit_test(test_a_folder_that_is_held_is_waited_for),
        cmocka_unit_test(test_guests_end_and_begin_with_the_lender),
        cmocka_unit_test(test_a_guest_ends_with_a_lender_that_was_killed),
#ifdef BELAY_FAULTS
        cmocka_unit_test(test_a_kill_at_every_step),
#endif
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_a_path_that_is_too_long),
        cmocka_unit_test(test_a_damaged_record_is_left_alone),
        cmocka_unit_test(test_an_agent_without_sandboxes_runs_no_guests),
        cmocka_unit_test(test_a_program_that_cannot_be_run_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
