/* The life of a sandbox: made, used, stopped, started again, removed; and the agent's own deaths.
 */
#include "cmd/agent/image/images.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/descriptors.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_a_program_runs_and_its_end_is_told(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "one");
    struct recorded_program *program =
        fixture_shell(fixture, "one", "echo hello; echo oops >&2; id -u; pwd; exit 7");
    assert_string_equal(buf_text(&program->out), "hello\n1000\n/sandbox\n");
    assert_string_equal(buf_text(&program->err), "oops\n");
    assert_int_equal(WEXITSTATUS(program->status), 7);
    program = fixture_shell(fixture, "one", "kill -9 $$");
    assert_true(WIFSIGNALED(program->status));
    assert_int_equal(WTERMSIG(program->status), 9);
    const char *const missing[] = { "no-such-program", NULL };
    program = fixture_run(fixture, "one", missing);
    assert_int_equal(program->number, 2); /* ENOENT */
    const char *const python[] = { "python3", "-c", "import ssl, sqlite3; print(6 * 7)", NULL };
    program = fixture_run(fixture, "one", python);
    assert_string_equal(buf_text(&program->out), "42\n");
    fixture_destroy(fixture);
}

static void test_the_main_program_ends_the_sandbox(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "sh", "-c", "echo main; exit 17", NULL };
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "main", .argv = argv });
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->status, SANDBOX_STATUS_ENDED);
    assert_int_equal(fixture->exit.reason, SANDBOX_END_MAIN);
    assert_true(fixture->exit.has_status);
    assert_int_equal(WEXITSTATUS(fixture->exit.status), 17);
    assert_string_equal(buf_text(&fixture_program(fixture, "main", 0)->out), "main\n");
    fixture_destroy(fixture);
}

static void test_a_main_program_that_is_not_there_fails_in_words(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "/no/such/program", NULL };
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "none", .argv = argv });
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->exit.reason, SANDBOX_END_FAILED);
    assert_non_null(strstr(fixture->exit.error, "No such file or directory (errno 2)"));
    fixture_destroy(fixture);
}

static void test_input_reaches_the_program_and_its_end_too(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "wc", "-c", NULL };
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    size_t total = 3 * 1024 * 1024;
    size_t sent = 0;
    AUTO_FREE char *data = mem_alloc(65536);
    fixture_start(fixture, "in");
    assert_ok(sandbox_exec(fixture->all, "in", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "in", number);
    while (sent < total) {
        if (sent - program->input_taken + 65536 > SANDBOX_INPUT_WINDOW_BYTES) {
            loop_step(fixture->loop, 50);
            continue;
        }
        assert_ok(sandbox_input(fixture->all, "in", number, str_from(data, 65536), NULL));
        sent += 65536;
    }
    sandbox_input_end(fixture->all, "in", number);
    fixture_wait(fixture, &program->exited);
    assert_string_equal(buf_text(&program->out), "3145728\n");
    fixture_destroy(fixture);
}

/* What a main program says while no agent is there, three times as much as the shim keeps in
 * memory, is told by its log; whether it lives when the agent is back, or has ended. */
static void check_output_while_away(const char *last_words)
{
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *script = mem_printf(
        "echo begin; until [ -e go ]; do sleep 0.02; done; seq 500000; touch done; %s", last_words);
    const char *const argv[] = { "sh", "-c", script, NULL };
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "loud", .argv = argv });
    struct recorded_program *program = fixture_program(fixture, "loud", 0);
    while (program->out.len == 0) {
        loop_step(fixture->loop, 20);
    }
    fixture_close(fixture);
    AUTO_FREE char *go = mem_printf("%s/sandboxes/run/loud/workspace/go", fixture->dir);
    AUTO_FREE char *done = mem_printf("%s/sandboxes/run/loud/workspace/done", fixture->dir);
    AUTO_FREE char *end = mem_printf("%s/sandboxes/run/loud/" SANDBOX_FILE_EXIT, fixture->dir);
    assert_ok(file_write_atomic(go, "", 0, 0644, NULL));
    bool ends = strcmp(last_words, "exit 0") == 0;
    for (int i = 0; i < 3000 && !file_exists(ends ? end : done); i++) {
        (void)poll(NULL, 0, 10);
    }
    assert_true(file_exists(ends ? end : done));
    fixture_open(fixture);
    AUTO_BUF struct buf wanted = BUF_INIT(8 * 1024 * 1024);
    buf_append_str(&wanted, STR("begin\n"));
    for (int i = 1; i <= 500000; i++) {
        buf_printf(&wanted, "%d\n", i);
    }
    for (int i = 0; i < 3000 && program->out.len < wanted.len; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_int_equal(program->out.len, wanted.len);
    assert_memory_equal(program->out.data, wanted.data, wanted.len);
    fixture_destroy(fixture);
}

static void test_output_while_no_agent_is_there_is_told_by_the_log(void **unused)
{
    (void)unused;
    check_output_while_away("exec sleep 1000");
}

static void test_output_of_one_that_ended_meanwhile_is_told_by_the_log(void **unused)
{
    (void)unused;
    check_output_while_away("exit 0");
}

/* What was cut short in the folder of the templates goes, what is whole stays. */
static void test_copies_that_were_cut_short_go_with_the_next_agent(void **unused)
{
    static const char *const names[] = { "16777216.ext4.spare.new", "16777216.77.new", "1.ext4" };
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_close(fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *path = mem_printf("%s/sandboxes/templates/%s", fixture->dir, names[i]);
        assert_ok(file_write_atomic(path, "x", 1, 0600, NULL));
    }
    fixture_open(fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *path = mem_printf("%s/sandboxes/templates/%s", fixture->dir, names[i]);
        assert_int_equal(file_exists(path), i == 2);
    }
    fixture_destroy(fixture);
}

static void test_a_reader_that_takes_nothing_stops_the_program(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = {
        "sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' x; echo done >/tmp/done", NULL
    };
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    fixture_start(fixture, "slow");
    assert_ok(sandbox_exec(fixture->all, "slow", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "slow", number);
    program->hold = true;
    for (int i = 0; i < 3000 && program->out.len == 0; i++) {
        loop_step(fixture->loop, 10);
    }
    fixture_turn(fixture, 30);
    assert_true(program->out.len > 0);
    assert_true(program->out.len <= 300 * 1024);
    assert_int_equal(WEXITSTATUS(fixture_shell(fixture, "slow", "test -e /tmp/done")->status), 1);
    program = fixture_program(fixture, "slow", number);
    program->hold = false;
    sandbox_taken(fixture->all, "slow", number, 1, program->received[0]);
    fixture_wait(fixture, &program->exited);
    assert_int_equal(program->out.len, 8000000);
    fixture_destroy(fixture);
}

static void test_a_terminal_has_a_size_and_a_controlling_session(void **unused)
{
    (void)unused;
    /* The agent of a background job ignores it; a program in a sandbox does not. */
    void (*before)(int) = signal(SIGINT, SIG_IGN);
    struct fixture *fixture = fixture_create();
    /* It ends reading: a shell that is about to start a program holds the signal back until that
     * has ended, and the program may not have heard it (dash, on any terminal). */
    const char *const argv[] = {
        "sh", "-c", "tty; stty size; read line; stty size; read line", NULL
    };
    struct sandbox_exec exec = { .argv = argv, .tty = true, .rows = 30, .columns = 100 };
    uint64_t number = 0;
    fixture_start(fixture, "tty");
    assert_ok(sandbox_exec(fixture->all, "tty", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "tty", number);
    for (int i = 0; i < 1000 && strstr(buf_text(&program->out), "30 100") == NULL; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_non_null(strstr(buf_text(&program->out), "/dev/pts/0"));
    assert_non_null(strstr(buf_text(&program->out), "30 100"));
    sandbox_resize(fixture->all, "tty", number, 50, 132);
    assert_ok(sandbox_input(fixture->all, "tty", number, STR("go\n"), NULL));
    for (int i = 0; i < 1000 && strstr(buf_text(&program->out), "50 132") == NULL; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_non_null(strstr(buf_text(&program->out), "50 132"));
    assert_ok(sandbox_input(fixture->all, "tty", number, STR("\x03"), NULL));
    fixture_wait(fixture, &program->exited);
    assert_true(WIFSIGNALED(program->status) || WEXITSTATUS(program->status) == 130);
    fixture_destroy(fixture);
    (void)signal(SIGINT, before);
}

/* The second layer: what the mounts allow and the list of paths does not. */
static void test_landlock_narrows_what_may_be_written(void **unused)
{
    (void)unused;
    static const char *const script = "true >/tmp/a && echo tmp; true >/sandbox/a && echo sandbox; "
                                      "ls /usr >/dev/null && echo usr";
    static const char *const narrow[] = { "/tmp", "/dev", "/proc", NULL };
    struct fixture *fixture = fixture_create();
    struct sandbox_spec spec = { .id = "wide", .want_landlock = true };
    fixture_create_sandbox(fixture, &spec);
    struct recorded_program *program = fixture_shell(fixture, "wide", script);
    assert_string_equal(buf_text(&program->out), "tmp\nsandbox\nusr\n");
    spec = (struct sandbox_spec){ .id = "narrow", .want_landlock = true, .read_write = narrow };
    fixture_create_sandbox(fixture, &spec);
    program = fixture_shell(fixture, "narrow", script);
    assert_string_equal(buf_text(&program->out), "tmp\nusr\n");
    assert_non_null(strstr(buf_text(&program->err), "Permission denied"));
    fixture_destroy(fixture);
}

/* A shell that begins to read with the end of its input before it: it takes the terminal over and
 * loses what lay there. */
static void test_a_terminals_end_of_input_is_not_lost(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "bash", "--norc", NULL };
    struct sandbox_exec exec = { .argv = argv, .tty = true, .rows = 30, .columns = 100 };
    uint64_t number = 0;
    fixture_start(fixture, "end");
    assert_ok(sandbox_exec(fixture->all, "end", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "end", number);
    sandbox_input_end(fixture->all, "end", number);
    fixture_wait(fixture, &program->exited);
    assert_true(WIFEXITED(program->status));
    fixture_destroy(fixture);
}

static void test_a_signal_reaches_the_group(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = {
        "sh", "-c", "trap 'echo got; exit 3' TERM; echo up; sleep 60 & wait", NULL
    };
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    fixture_start(fixture, "sig");
    assert_ok(sandbox_exec(fixture->all, "sig", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "sig", number);
    for (int i = 0; i < 1000 && program->out.len == 0; i++) {
        loop_step(fixture->loop, 10);
    }
    sandbox_signal(fixture->all, "sig", number, SIGTERM);
    fixture_wait(fixture, &program->exited);
    assert_int_equal(WEXITSTATUS(program->status), 3);
    fixture_destroy(fixture);
}

static void test_stop_and_start_keep_the_workspace(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct sandbox_info info;
    fixture_start(fixture, "keep");
    (void)fixture_shell(fixture, "keep", "echo kept >/sandbox/file; echo gone >/tmp/file");
    assert_code(ERR_PRECONDITION, sandbox_start(fixture->all, "keep", NULL));
    assert_ok(sandbox_stop(fixture->all, "keep", US_PER_SECOND, NULL));
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->exit.reason, SANDBOX_END_STOPPED);
    assert_ok(sandbox_start(fixture->all, "keep", NULL));
    fixture_wait_count(fixture, &fixture->ready_count, 2);
    struct recorded_program *program =
        fixture_shell(fixture, "keep", "cat /sandbox/file; cat /tmp/file 2>/dev/null");
    assert_string_equal(buf_text(&program->out), "kept\n");
    assert_true(sandbox_find(fixture->all, "keep", &info));
    assert_int_equal(info.generation, 2);
    fixture_destroy(fixture);
}

static void test_an_agent_that_goes_and_comes_back_misses_nothing(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "sh", "-c", "echo first; read go; echo second; exit 5", NULL };
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    fixture_start(fixture, "stay");
    assert_ok(sandbox_exec(fixture->all, "stay", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "stay", number);
    program->hold = true; /* received, but never taken: it must come again */
    for (int i = 0; i < 1000 && program->out.len == 0; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_string_equal(buf_text(&program->out), "first\n");
    fixture_close(fixture);
    fixture->ready_count = 0;
    program->hold = false;
    program->received[0] = 0;
    buf_clear(&program->out);
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ready_count, 1);
    assert_ok(sandbox_input(fixture->all, "stay", number, STR("go\n"), NULL));
    fixture_wait(fixture, &program->exited);
    assert_string_equal(buf_text(&program->out), "first\nsecond\n");
    assert_int_equal(WEXITSTATUS(program->status), 5);
    fixture_destroy(fixture);
}

/* The sandbox ends while no agent is there: its exit and its output wait on the disk. */
static void test_an_end_without_an_agent_is_kept(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/alone/exit.json", fixture->dir);
    const char *const argv[] = { "sh", "-c", "sleep 0.3; echo late; exit 17", NULL };
    struct stat info;
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "alone", .argv = argv });
    fixture_close(fixture);
    for (int i = 0; i < 2000 && stat(path, &info) != 0; i++) {
        loop_step(fixture->loop, 10);
    }
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->status, SANDBOX_STATUS_ENDED);
    assert_int_equal(WEXITSTATUS(fixture->exit.status), 17);
    assert_string_equal(buf_text(&fixture_program(fixture, "alone", 0)->out), "late\n");
    fixture_destroy(fixture);
}

/* As if nobody had heard a word of it. */
static struct recorded_program *forget_main(struct fixture *fixture, const char *id)
{
    struct recorded_program *program = fixture_program(fixture, id, 0);
    buf_clear(&program->out);
    program->received[0] = 0;
    return program;
}

static void open_to_an_end(struct fixture *fixture)
{
    fixture->ended_count = 0;
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ended_count, 1);
}

static void test_last_words_are_told_once_and_are_of_their_own_run(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/words/exit.json", fixture->dir);
    const char *const argv[] = { "sh", "-c", "sleep 0.3; echo x >>n; wc -l <n", NULL };
    struct stat info;
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "words", .argv = argv });
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_string_equal(buf_text(&fixture_program(fixture, "words", 0)->out), "1\n");
    assert_ok(sandbox_start(fixture->all, "words", NULL));
    fixture_wait_count(fixture, &fixture->ready_count, 2);
    fixture_close(fixture);
    struct recorded_program *program = forget_main(fixture, "words");
    for (int i = 0; i < 2000 && stat(path, &info) != 0; i++) {
        loop_step(fixture->loop, 10);
    }
    open_to_an_end(fixture);
    assert_string_equal(buf_text(&program->out), "2\n");
    fixture_close(fixture);
    (void)forget_main(fixture, "words");
    open_to_an_end(fixture);
    assert_string_equal(buf_text(&program->out), "");
    assert_int_equal(fixture->status, SANDBOX_STATUS_ENDED);
    fixture_destroy(fixture);
}

/* More than the window lets through, and then the end. */
static void test_all_of_a_quick_programs_words_arrive(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "sh", "-c", "exec head -c 600000 /dev/zero", NULL };
    fixture_program(fixture, "quick", 0)->hold = true;
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "quick", .argv = argv });
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture_program(fixture, "quick", 0)->received[0], 600000);
    fixture_destroy(fixture);
}

static uint64_t field_of(const struct fixture *fixture, const char *id, const char *name)
{
    AUTO_FREE char *command = mem_printf("%s/sandboxes/run/%s/state.json", fixture->dir, id);
    char text[4096] = { 0 };
    FILE *file = fopen(command, "re");
    assert_non_null(file);
    (void)fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    const char *at = strstr(text, name);
    assert_non_null(at);
    return strtoull(strchr(at, ':') + 1, NULL, 10);
}

static void test_a_dead_shim_ends_its_sandbox_and_is_told_as_lost(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct sandbox_info info;
    fixture_start(fixture, "dead");
    pid_t init = (pid_t)field_of(fixture, "dead", "init_pid");
    assert_int_equal(kill(init, 0), 0);
    assert_int_equal(kill((pid_t)field_of(fixture, "dead", "shim_pid"), SIGKILL), 0);
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->status, SANDBOX_STATUS_LOST);
    assert_false(fixture->rebooted);
    for (int i = 0; i < 1000 && kill(init, 0) == 0; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_int_not_equal(kill(init, 0), 0);
    assert_true(sandbox_find(fixture->all, "dead", &info));
    fixture_destroy(fixture);
}

/* The agent ended between writing the sandbox down and the first word of its shim. */
static void test_a_start_that_was_cut_off_is_carried_on(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/cut/state.json", fixture->dir);
    fixture_start(fixture, "cut");
    pid_t shim = (pid_t)field_of(fixture, "cut", "shim_pid");
    fixture_close(fixture);
    assert_int_equal(kill(shim, SIGKILL), 0);
    assert_int_equal(unlink(path), 0);
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ready_count, 2);
    assert_string_equal(buf_text(&fixture_shell(fixture, "cut", "echo here")->out), "here\n");
    fixture_destroy(fixture);
}

/* As if the host's power had failed when the spec was on the disk and the state was not. */
static void write_the_spec_in_another_boot(struct fixture *fixture, const char *id)
{
    enum {
        BOOT_AT = 8 /* message.h */
    };

    AUTO_FREE char *state = mem_printf("%s/sandboxes/run/%s/state.json", fixture->dir, id);
    AUTO_FREE char *spec = mem_printf("%s/sandboxes/run/%s/spec", fixture->dir, id);
    pid_t shim = (pid_t)field_of(fixture, id, "shim_pid");
    fixture_close(fixture);
    assert_int_equal(kill(shim, SIGKILL), 0);
    assert_int_equal(unlink(state), 0);
    AUTO_FD int fd = open(spec, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "another.", 8, BOOT_AT), 8);
}

static void test_a_start_before_a_reboot_is_not_carried_on(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "power");
    write_the_spec_in_another_boot(fixture, "power");
    for (int life = 0; life < 2; life++) {
        open_to_an_end(fixture);
        assert_int_equal(fixture->status, SANDBOX_STATUS_LOST);
        assert_true(fixture->rebooted);
        assert_int_equal(fixture->ready_count, 1);
        fixture_close(fixture);
    }
    fixture_open(fixture);
    fixture_destroy(fixture);
}

/* What was told as lost stays lost, whatever is left of it. */
static void test_what_is_lost_is_not_started_again(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/gone/state.json", fixture->dir);
    fixture_start(fixture, "gone");
    pid_t shim = (pid_t)field_of(fixture, "gone", "shim_pid");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(kill(shim, SIGKILL), 0);
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    fixture_close(fixture);
    open_to_an_end(fixture);
    assert_int_equal(fixture->status, SANDBOX_STATUS_LOST);
    assert_int_equal(fixture->ready_count, 1);
    fixture_destroy(fixture);
}

static void test_a_state_of_another_boot_is_told_apart(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/boot/state.json", fixture->dir);
    fixture_start(fixture, "boot");
    pid_t shim = (pid_t)field_of(fixture, "boot", "shim_pid");
    fixture_close(fixture);
    assert_int_equal(kill(shim, SIGKILL), 0);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(
        "{ \"boot\": \"00000000-0000-0000-0000-000000000000\", \"generation\": 1, \"init_pid\": 1 }",
        file);
    (void)fclose(file);
    fixture_open(fixture);
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->status, SANDBOX_STATUS_LOST);
    assert_true(fixture->rebooted);
    fixture_destroy(fixture);
}

static void test_the_wall_time_ends_a_sandbox(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_create_sandbox(
        fixture, &(struct sandbox_spec){ .id = "wall", .wall_us = 100 * US_PER_MS });
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->exit.reason, SANDBOX_END_TIMEOUT);
    fixture_destroy(fixture);
}

static void test_wishes_that_cannot_be_met_are_refused(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct err_info err = ERR_INFO_INIT;
    struct sandbox_bind root = { .source = "/", .destination = "/data" };
    struct sandbox_bind up = { .source = "/srv/../etc", .destination = "/data" };
    struct sandbox_bind sockets = { .source = "/run/x", .destination = "/data" };
    struct sandbox_bind over = { .source = "/srv", .destination = "/etc/x" };
    const struct sandbox_bind *binds[] = { &root, &up, &sockets, &over };
    for (size_t i = 0; i < ARRAY_LENGTH(binds); i++) {
        struct sandbox_spec spec = {
            .id = "bad", .driver = fixture->driver, .binds = binds[i], .bind_count = 1
        };
        assert_int_not_equal(sandbox_create(fixture->all, &spec, &err), ERR_OK);
    }
    struct sandbox_spec spec = { .id = "../up", .driver = fixture->driver };
    assert_code(ERR_INVALID, sandbox_create(fixture->all, &spec, &err));
    spec = (struct sandbox_spec){ .id = "img", .driver = fixture->driver, .image = "nothing" };
    assert_code(ERR_NOT_FOUND, sandbox_create(fixture->all, &spec, &err));
    fixture_start(fixture, "twice");
    spec = (struct sandbox_spec){ .id = "twice", .driver = fixture->driver };
    assert_code(ERR_EXISTS, sandbox_create(fixture->all, &spec, &err));
    fixture_destroy(fixture);
}

/* The server's rule for ids lets dots and slashes pass; here an id is the name of a folder. */
static void test_an_id_that_is_no_name_of_a_folder_touches_nothing(void **unused)
{
    (void)unused;
    static const char *const ids[] = { "..", ".", "a/b", "../run", "a.b", "/", "a:b", "" };
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *spec_path =
        mem_printf("%s/sandboxes/" SANDBOXES_RUNS "/stays/" SANDBOX_FILE_SPEC, fixture->dir);
    fixture_start(fixture, "stays");
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        struct err_info err = ERR_INFO_INIT;
        struct sandbox_spec spec = { .id = ids[i], .driver = fixture->driver };
        assert_code(ERR_INVALID, sandbox_create(fixture->all, &spec, &err));
        assert_non_null(strstr(err.text, "sandbox id"));
        assert_true(file_exists(spec_path));
    }
    fixture_destroy(fixture);
}

static enum sandbox_status status_of(const struct fixture *fixture, const char *id)
{
    struct sandbox_info info;
    assert_true(sandbox_find(fixture->all, id, &info));
    return info.status;
}

static void test_a_start_that_the_disk_refuses_leaves_the_last_run_as_it_ended(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *path =
        mem_printf("%s/sandboxes/" SANDBOXES_RUNS "/again/" SANDBOX_FILE_SPEC, fixture->dir);
    AUTO_FREE char *aside = mem_printf("%s/aside", fixture->dir);
    fixture_start(fixture, "again");
    assert_ok(sandbox_stop(fixture->all, "again", 0, NULL));
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* no file can take its place */
    assert_int_not_equal(sandbox_start(fixture->all, "again", NULL), ERR_OK);
    assert_int_equal(status_of(fixture, "again"), SANDBOX_STATUS_ENDED);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(aside, path), 0);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(status_of(fixture, "again"), SANDBOX_STATUS_ENDED);
    assert_ok(sandbox_start(fixture->all, "again", NULL));
    fixture_wait_count(fixture, &fixture->ready_count, 2);
    fixture_destroy(fixture);
}

/* Stopped or running: what it was made from is there when it is started again. */
static void test_an_image_stays_while_a_sandbox_is_made_of_it(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *store = mem_printf("%s/sandboxes/" SANDBOXES_IMAGES, fixture->dir);
    AUTO_FREE char *dir = mem_printf("%s/sandboxes/" SANDBOXES_RUNS, fixture->dir);
    const char *const runs[] = { "/nonexistent", dir, NULL };
    const char *const others[] = { "/nonexistent", NULL };
    AUTO_FREE char *image = mem_printf("%s/bare", store);
    AUTO_FREE char *other = mem_printf("%s/other", store);
    assert_int_equal(mkdir(image, 0755), 0);
    assert_int_equal(mkdir(other, 0755), 0);
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "bare", .image = "bare" });
    assert_ok_err(err, images_remove(store, others, "other", &err));
    assert_code(ERR_PRECONDITION, images_remove(store, runs, "bare", &err));
    assert_non_null(strstr(err.text, "sandbox bare"));
    assert_ok(sandbox_stop(fixture->all, "bare", 0, NULL));
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_code(ERR_PRECONDITION, images_remove(store, runs, "bare", &err));
    assert_ok(sandbox_start(fixture->all, "bare", NULL));
    fixture_wait_count(fixture, &fixture->ready_count, 2);
    assert_ok(sandbox_remove(fixture->all, "bare", NULL));
    fixture_wait_count(fixture, &fixture->removed_count, 1);
    assert_ok_err(err, images_remove(store, runs, "bare", &err));
    assert_code(ERR_NOT_FOUND, images_remove(store, runs, "bare", &err));
    fixture_destroy(fixture);
}

/* The agent neither falls over it nor leaves it behind, whatever modes it has. */
static void test_a_tree_of_any_depth_and_mode_goes_with_its_sandbox(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const nest[] = { "python3",
                                 "-c",
                                 "import os\n"
                                 "for i in range(2500):\n"
                                 "    os.mkdir('a')\n"
                                 "    os.chdir('a')\n",
                                 NULL };
    AUTO_FREE char *dir = mem_printf("%s/sandboxes/run/deep", fixture->dir);
    fixture_start(fixture, "deep");
    assert_int_equal(fixture_run(fixture, "deep", nest)->status, 0);
    assert_int_equal(
        fixture_shell(
            fixture,
            "deep",
            "mkdir -p shut/in open/in/side && touch open/in/file && chmod 0 shut"
            " && chmod 0555 open/in open")
            ->status,
        0);
    assert_ok(sandbox_remove(fixture->all, "deep", NULL));
    fixture_wait_count(fixture, &fixture->removed_count, 1);
    assert_int_equal(access(dir, F_OK), -1);
    fixture_destroy(fixture);
}

/* An agent that comes along in the middle does not take the rest for a sandbox. */
static void test_a_deletion_that_was_cut_off_is_finished_by_the_next_agent(void **unused)
{
    (void)unused;
    size_t cursor = 0;
    struct sandbox_info info;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *dir = mem_printf("%s/sandboxes/run/many", fixture->dir);
    AUTO_FREE char *spec = mem_printf("%s/spec", dir);
    fixture_start(fixture, "many");
    assert_int_equal(
        fixture_shell(fixture, "many", "mkdir m && cd m && seq 5000 | xargs touch")->status, 0);
    assert_ok(sandbox_remove(fixture->all, "many", NULL));
    while (access(spec, F_OK) == 0) {
        loop_step(fixture->loop, 10);
    }
    assert_int_equal(fixture->removed_count, 0); /* bit by bit */
    assert_int_equal(access(dir, F_OK), 0);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_false(sandbox_next(fixture->all, &cursor, &info));
    fixture_wait_count(fixture, &fixture->removed_count, 1);
    assert_int_equal(access(dir, F_OK), -1);
    fixture_destroy(fixture);
}

/* What this process lacks is no fault of a sandbox, which is told and lives on. */
static void test_an_agent_without_descriptors_keeps_its_sandboxes(void **unused)
{
    (void)unused;
    const char *const serve[] = { "python3",
                                  "-c",
                                  "import signal, socket\n"
                                  "s = socket.create_server(('127.0.0.1', 8080))\n"
                                  "print('up', flush=True)\n"
                                  "signal.pause()\n",
                                  NULL };
    struct sandbox_exec exec = { .argv = serve };
    const struct sandbox_port port = { .address = INADDR_LOOPBACK, .port = 8080 };
    struct test_descriptors before;
    uint64_t number = 0;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "poor");
    assert_ok(sandbox_exec(fixture->all, "poor", &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, "poor", number);
    for (int i = 0; i < 1000 && program->out.len == 0; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_string_equal(buf_text(&program->out), "up\n");
    test_descriptors_take(&before, 0);
    assert_ok(sandbox_connect(fixture->all, "poor", &port, &number, NULL));
    fixture_wait_count(fixture, &fixture->connected_count, 1);
    test_descriptors_give_back(&before);
    assert_int_equal(fixture->connected_number, EMFILE);
    assert_int_equal(fixture->ended_count, 0);
    assert_int_equal(fixture_shell(fixture, "poor", "true")->status, 0);
    assert_ok(sandbox_connect(fixture->all, "poor", &port, &number, NULL));
    fixture_wait_count(fixture, &fixture->connected_count, 2);
    assert_int_equal(fixture->connected_number, 0);
    fixture_destroy(fixture);
}

static void count_listener(struct fixture *fixture, const char *id, int take_fd)
{
    unsigned *count = fixture->egress;
    (void)id;
    *count += 1;
    assert_int_equal(close(take_fd), 0);
}

/* The same of a start: it waits for room, in either life of the agent, and loses no network. */
static void test_a_start_without_a_descriptor_for_its_listener_waits(void **unused)
{
    (void)unused;
    struct test_descriptors before;
    struct sandbox_info info;
    struct fixture *fixture = fixture_create();
    unsigned listeners = 0;
    const struct sandbox_spec spec = { .id = "late",
                                       .driver = fixture->driver,
                                       .network = SANDBOX_NETWORK_PROXY };
    fixture->listening = count_listener;
    fixture->egress = &listeners;
    assert_ok(sandbox_create(fixture->all, &spec, NULL));
    for (unsigned life = 1; life <= 2; life++) {
        test_descriptors_take(&before, 0);
        fixture_wait_count(fixture, &fixture->waits_count, life);
        assert_true(sandbox_find(fixture->all, "late", &info));
        assert_true(info.waits);
        assert_int_equal(info.status, SANDBOX_STATUS_STARTING);
        fixture_turn(fixture, 50);
        assert_int_equal(fixture->waits_count, life); /* said once */
        assert_int_equal(listeners, life - 1);
        test_descriptors_give_back(&before);
        fixture_wait_count(fixture, &fixture->ready_count, life);
        assert_int_equal(listeners, life);
        assert_true(sandbox_find(fixture->all, "late", &info));
        assert_false(info.waits);
        assert_int_equal(fixture_shell(fixture, "late", "true")->status, 0);
        fixture_close(fixture);
        fixture_open(fixture);
    }
    fixture_destroy(fixture);
}

/* What is to end waits for no listener. */
static void test_a_start_that_waits_can_be_stopped(void **unused)
{
    (void)unused;
    struct test_descriptors before;
    struct fixture *fixture = fixture_create();
    const struct sandbox_spec spec = { .id = "never",
                                       .driver = fixture->driver,
                                       .network = SANDBOX_NETWORK_PROXY };
    assert_ok(sandbox_create(fixture->all, &spec, NULL));
    test_descriptors_take(&before, 0);
    fixture_wait_count(fixture, &fixture->waits_count, 1);
    assert_ok(sandbox_stop(fixture->all, "never", US_PER_SECOND, NULL));
    fixture_wait_count(fixture, &fixture->ready_count, 1);
    test_descriptors_give_back(&before); /* to read how it ended */
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(fixture->exit.reason, SANDBOX_END_STOPPED);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program_runs_and_its_end_is_told),
        cmocka_unit_test(test_the_main_program_ends_the_sandbox),
        cmocka_unit_test(test_a_main_program_that_is_not_there_fails_in_words),
        cmocka_unit_test(test_input_reaches_the_program_and_its_end_too),
        cmocka_unit_test(test_output_while_no_agent_is_there_is_told_by_the_log),
        cmocka_unit_test(test_output_of_one_that_ended_meanwhile_is_told_by_the_log),
        cmocka_unit_test(test_copies_that_were_cut_short_go_with_the_next_agent),
        cmocka_unit_test(test_a_reader_that_takes_nothing_stops_the_program),
        cmocka_unit_test(test_a_terminal_has_a_size_and_a_controlling_session),
        cmocka_unit_test(test_landlock_narrows_what_may_be_written),
        cmocka_unit_test(test_a_terminals_end_of_input_is_not_lost),
        cmocka_unit_test(test_a_signal_reaches_the_group),
        cmocka_unit_test(test_stop_and_start_keep_the_workspace),
        cmocka_unit_test(test_an_agent_that_goes_and_comes_back_misses_nothing),
        cmocka_unit_test(test_an_end_without_an_agent_is_kept),
        cmocka_unit_test(test_a_dead_shim_ends_its_sandbox_and_is_told_as_lost),
        cmocka_unit_test(test_last_words_are_told_once_and_are_of_their_own_run),
        cmocka_unit_test(test_all_of_a_quick_programs_words_arrive),
        cmocka_unit_test(test_a_start_that_was_cut_off_is_carried_on),
        cmocka_unit_test(test_a_start_before_a_reboot_is_not_carried_on),
        cmocka_unit_test(test_what_is_lost_is_not_started_again),
        cmocka_unit_test(test_a_state_of_another_boot_is_told_apart),
        cmocka_unit_test(test_the_wall_time_ends_a_sandbox),
        cmocka_unit_test(test_wishes_that_cannot_be_met_are_refused),
        cmocka_unit_test(test_an_id_that_is_no_name_of_a_folder_touches_nothing),
        cmocka_unit_test(test_a_start_that_the_disk_refuses_leaves_the_last_run_as_it_ended),
        cmocka_unit_test(test_an_image_stays_while_a_sandbox_is_made_of_it),
        cmocka_unit_test(test_a_tree_of_any_depth_and_mode_goes_with_its_sandbox),
        cmocka_unit_test(test_an_agent_without_descriptors_keeps_its_sandboxes),
        cmocka_unit_test(test_a_start_without_a_descriptor_for_its_listener_waits),
        cmocka_unit_test(test_a_start_that_waits_can_be_stopped),
        cmocka_unit_test(test_a_deletion_that_was_cut_off_is_finished_by_the_next_agent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
