#include "tests/component/agent_sandbox/fixture.h"

#include "common/base/cleanup.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PATIENCE_SECONDS = 30, /* unless $BELAY_TEST_PATIENCE says otherwise, for a slow machine */
    OUTPUT_BYTES_MAX = 16 * 1024 * 1024,
    END_MS = 10000
};

struct recorded_program *fixture_program(struct fixture *fixture, const char *id, uint64_t exec)
{
    for (size_t i = 0; i < fixture->program_count; i++) {
        struct recorded_program *program = &fixture->programs[i];
        if (program->exec == exec && strcmp(program->id, id) == 0) {
            return program;
        }
    }
    struct recorded_program *program =
        &fixture->programs[fixture->program_count++ % FIXTURE_PROGRAMS];
    if (fixture->program_count > FIXTURE_PROGRAMS) {
        fixture->program_count = FIXTURE_PROGRAMS;
        program = &fixture->programs[exec % FIXTURE_PROGRAMS];
        buf_deinit(&program->out);
        buf_deinit(&program->err);
    }
    *program = (struct recorded_program){ .exec = exec,
                                          .out = BUF_INIT(OUTPUT_BYTES_MAX),
                                          .err = BUF_INIT(OUTPUT_BYTES_MAX) };
    assert_ok(str_copy(str_of(id), program->id, sizeof(program->id)));
    return program;
}

static void on_ready(void *context, const char *id)
{
    struct fixture *fixture = context;
    (void)id;
    fixture->ready_count++;
}

static void on_waits(void *context, const char *id)
{
    struct fixture *fixture = context;
    (void)id;
    fixture->waits_count++;
}

static void on_ended(void *context, const struct sandbox_info *info)
{
    struct fixture *fixture = context;
    fixture->ended_count++;
    fixture->exit = *info->exit;
    fixture->status = info->status;
    fixture->rebooted = info->rebooted;
}

static void on_removed(void *context, const char *id)
{
    struct fixture *fixture = context;
    (void)id;
    fixture->removed_count++;
}

static void on_started(void *context, const char *id, uint64_t exec, int number)
{
    struct recorded_program *program = fixture_program(context, id, exec);
    program->started = true;
    program->number = number;
    program->exited = program->exited || number != 0;
}

static void on_output(
    void *context, const char *id, uint64_t exec, const struct message_output *output)
{
    struct fixture *fixture = context;
    struct recorded_program *program = fixture_program(fixture, id, exec);
    struct buf *buf = output->stream == 1 ? &program->out : &program->err;
    uint64_t end = output->offset + output->data.len;
    uint64_t *received = &program->received[output->stream - 1];
    if (end > *received) { /* what was sent before and not taken comes again */
        size_t skip = *received > output->offset ? (size_t)(*received - output->offset) : 0;
        buf_append(buf, output->data.ptr + skip, output->data.len - skip);
        *received = end;
    }
    if (!program->hold && fixture->all != NULL) {
        sandbox_taken(fixture->all, id, exec, (unsigned)output->stream, end);
    }
}

static void on_input_taken(void *context, const char *id, uint64_t exec, uint64_t offset)
{
    fixture_program(context, id, exec)->input_taken = offset;
}

static void on_exited(
    void *context, const char *id, uint64_t exec, const struct message_exited *exited)
{
    struct fixture *fixture = context;
    struct recorded_program *program = fixture_program(fixture, id, exec);
    program->exited = true;
    program->status = (int)exited->status;
    if (fixture->all != NULL) {
        sandbox_release(fixture->all, id, exec);
    }
}

static void on_sample(void *context, const char *id, const struct message_sample *sample)
{
    struct fixture *fixture = context;
    (void)id;
    fixture->sample = *sample;
    fixture->sample_count++;
}

static void on_connected(void *context, const char *id, uint64_t exec, int take_fd, int number)
{
    struct fixture *fixture = context;
    (void)id;
    (void)exec;
    if (take_fd >= 0) {
        (void)close(take_fd);
    }
    fixture->connected_count++;
    fixture->connected_number = number;
}

static void on_listening(void *context, const char *id, int take_fd)
{
    struct fixture *fixture = context;
    if (fixture->listening == NULL) {
        (void)close(take_fd);
    } else {
        fixture->listening(fixture, id, take_fd);
    }
}

static const struct sandbox_ops ops = { .ready = on_ready,
                                        .waits = on_waits,
                                        .ended = on_ended,
                                        .removed = on_removed,
                                        .started = on_started,
                                        .output = on_output,
                                        .input_taken = on_input_taken,
                                        .exited = on_exited,
                                        .sample = on_sample,
                                        .listening = on_listening,
                                        .connected = on_connected };

void fixture_open(struct fixture *fixture)
{
    struct err_info err = ERR_INFO_INIT;
    struct sandboxes *all = NULL;
    AUTO_FREE char *dir = mem_printf("%s/sandboxes", fixture->dir);
    struct sandboxes_options options = { .loop = fixture->loop,
                                         .clock = clock_system(),
                                         .dir = dir,
                                         .shim_path = fixture->shim_path == NULL
                                             ? BELAY_SHIM_PATH
                                             : fixture->shim_path,
                                         .sample_us = 100 * US_PER_MS,
                                         .ops = &ops,
                                         .context = fixture };
    assert_ok_err(err, sandboxes_open(&options, &all, &err));
    fixture->all = all;
}

void fixture_need_native(struct fixture *fixture)
{
    if (fixture->driver != SANDBOX_DRIVER_NATIVE) {
        fixture_destroy(fixture);
        print_message(
            "skipped: limits by control groups and loop devices are the native driver's\n");
        skip();
    }
}

void fixture_close(struct fixture *fixture)
{
    sandboxes_close(fixture->all);
    fixture->all = NULL;
}

static const char *why_not(const struct fixture *fixture)
{
    const struct sandbox_report *report = sandboxes_report(fixture->all);
    if (fixture->driver == SANDBOX_DRIVER_NATIVE) {
        return report->native ? NULL : report->native_reason;
    }
    return report->bwrap ? NULL : report->bwrap_reason;
}

struct fixture *fixture_create(void)
{
    struct err_info err = ERR_INFO_INIT;
    const char *driver = getenv("BELAY_TEST_DRIVER");
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->dir = test_dir_create();
    fixture->driver = driver != NULL && strcmp(driver, "bwrap") == 0 ? SANDBOX_DRIVER_BWRAP
                                                                     : SANDBOX_DRIVER_NATIVE;
    assert_ok_err(err, loop_create(clock_system(), &fixture->loop, &err));
    assert_int_equal(access(BELAY_SHIM_PATH, X_OK), 0); /* that is no host's lack */
    fixture_open(fixture);
    if (why_not(fixture) != NULL) {
        bool needed = geteuid() == 0 || fixture->driver == SANDBOX_DRIVER_BWRAP;
        print_message("skipped: %s\n", why_not(fixture));
        assert_false(needed && getenv("BELAY_TEST_SANDBOX_MUST") != NULL);
        fixture_destroy(fixture);
        skip();
    }
    return fixture;
}

static int64_t deadline_of(const struct fixture *fixture)
{
    const char *wanted = getenv("BELAY_TEST_PATIENCE");
    int64_t seconds = wanted == NULL ? PATIENCE_SECONDS : strtol(wanted, NULL, 10);
    return loop_now(fixture->loop).value + seconds * US_PER_SECOND;
}

void fixture_wait(struct fixture *fixture, const bool *flag)
{
    int64_t deadline = deadline_of(fixture);
    while (!*flag && loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 50);
    }
    assert_true(*flag);
}

void fixture_wait_count(struct fixture *fixture, const unsigned *count, unsigned least)
{
    int64_t deadline = deadline_of(fixture);
    while (*count < least && loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 50);
    }
    if (*count < least && fixture->exit.error[0] != '\0') {
        print_error("the last to end said: %s\n", fixture->exit.error);
    }
    assert_true(*count >= least);
}

void fixture_turn(struct fixture *fixture, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        loop_step(fixture->loop, 10);
    }
}

void fixture_destroy(struct fixture *fixture)
{
    size_t cursor = 0;
    struct sandbox_info info;
    if (fixture->all == NULL) {
        fixture_open(fixture);
    }
    unsigned expected = fixture->removed_count;
    char ids[64][SANDBOX_ID_BYTES_MAX + 1];
    size_t count = 0;
    while (count < 64 && sandbox_next(fixture->all, &cursor, &info)) {
        assert_ok(str_copy(str_of(info.id), ids[count++], sizeof(ids[0])));
    }
    for (size_t i = 0; i < count; i++) {
        assert_ok(sandbox_remove(fixture->all, ids[i], NULL));
        expected++;
    }
    fixture_wait_count(fixture, &fixture->removed_count, expected);
    fixture_close(fixture);
    loop_destroy(fixture->loop);
    for (size_t i = 0; i < fixture->program_count; i++) {
        buf_deinit(&fixture->programs[i].out);
        buf_deinit(&fixture->programs[i].err);
    }
    test_dir_remove(fixture->dir);
    mem_free(fixture);
}

void fixture_create_sandbox(struct fixture *fixture, const struct sandbox_spec *spec)
{
    struct err_info err = ERR_INFO_INIT;
    struct sandbox_spec wanted = *spec;
    unsigned ready = fixture->ready_count;
    wanted.driver = fixture->driver;
    assert_ok_err(err, sandbox_create(fixture->all, &wanted, &err));
    fixture_wait_count(fixture, &fixture->ready_count, ready + 1);
}

void fixture_start(struct fixture *fixture, const char *id)
{
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = id });
}

static bool is_spare(const char *pid, const char *instance)
{
    AUTO_FREE char *path = mem_printf("/proc/%s/cmdline", pid);
    AUTO_FREE char *wanted = mem_printf("belay-shim%c" SANDBOX_SPARE " %s ", '\n', instance);
    AUTO_BUF struct buf words = BUF_INIT(8192);
    if (strtol(pid, NULL, 10) <= 0 || file_read(path, 8191, &words, NULL) != ERR_OK) {
        return false;
    }
    for (size_t i = 0; i < words.len; i++) {
        words.data[i] = words.data[i] == '\0' ? '\n' : words.data[i];
    }
    return str_has_prefix(buf_view(&words), str_of(wanted));
}

pid_t fixture_spare(struct fixture *fixture)
{
    pid_t found = 0;
    AUTO_FREE char *path = mem_printf("%s/sandboxes/instance", fixture->dir);
    AUTO_BUF struct buf instance = BUF_INIT(32);
    sandboxes_sync(fixture->all);
    assert_ok(file_read(path, 31, &instance, NULL));
    DIR *processes = opendir("/proc");
    assert_non_null(processes);
    for (struct dirent *entry = readdir(processes); entry != NULL; entry = readdir(processes)) {
        if (is_spare(entry->d_name, buf_text(&instance))) {
            assert_int_equal(found, 0);
            found = (pid_t)strtol(entry->d_name, NULL, 10);
        }
    }
    (void)closedir(processes);
    return found;
}

void fixture_wait_end(pid_t pid)
{
    AUTO_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd end = { .fd = fd, .events = POLLIN };
    assert_true(fd >= 0 || errno == ESRCH);
    assert_int_equal(fd < 0 ? 1 : poll(&end, 1, END_MS), 1);
}

struct recorded_program *fixture_run(
    struct fixture *fixture, const char *id, const char *const *argv)
{
    struct err_info err = ERR_INFO_INIT;
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    assert_ok_err(err, sandbox_exec(fixture->all, id, &exec, &number, &err));
    struct recorded_program *program = fixture_program(fixture, id, number);
    fixture_wait(fixture, &program->exited);
    return program;
}

struct recorded_program *fixture_shell(struct fixture *fixture, const char *id, const char *script)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };
    return fixture_run(fixture, id, argv);
}
