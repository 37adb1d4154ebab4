/*
 * G15: from the wish to the first byte that the sandbox's program says, through agent, shim and
 * init, everything on disk that a crash must find. The floor is bubblewrap with the same isolation
 * started by hand: every namespace, none further, no capability, the same filter, the same
 * mounts. As root ours is the native driver, else the bwrap one.
 *
 * G17: many lives, and what is left of them: processes, mounts, control groups, descriptors, loop
 * devices and slots that name the bench's own folder.
 */
#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/shim/builder/filter.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"
#include "tools/bench/sandbox/left.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SAMPLES_MAX = 100000,
    STEP_MS = 5000,
    FILTER_FD = 9,
    DISK_EVERY = 5 /* lives: one with a disk of its own */
};

#define ID "bench"

struct setting {
    struct bench *bench;
    char *folder;
    char *workspace; /* of the floor's sandbox */
    char *shim;
    struct loop *loop;
    struct sandboxes *all;
    unsigned starts; /* per measurement */
    double *samples; /* ours, of all rounds */
    size_t sample_count;
    bool heard;
    bool ended;
    bool removed;
    struct sandbox_exit exit;
};

/* ---- Ours ---- */

static void on_output(
    void *context, const char *id, uint64_t exec, const struct message_output *output)
{
    struct setting *setting = context;
    setting->heard = true;
    sandbox_taken(
        setting->all, id, exec, (unsigned)output->stream, output->offset + output->data.len);
}

static void on_ended(void *context, const struct sandbox_info *info)
{
    struct setting *setting = context;
    setting->exit = *info->exit;
    setting->ended = true;
}

static void on_removed(void *context, const char *id)
{
    struct setting *setting = context;
    (void)id;
    setting->removed = true;
}

static const struct sandbox_ops ops = { .output = on_output,
                                        .ended = on_ended,
                                        .removed = on_removed };

static enum err_code await(struct setting *setting, const bool *flag, struct err_info *err)
{
    struct mono_us began = clock_mono(clock_system());
    while (!*flag && clock_mono(clock_system()).value - began.value < 30 * US_PER_SECOND) {
        loop_step(setting->loop, STEP_MS);
        if (setting->ended && !setting->heard) {
            return ERR_SET(err, ERR_UNAVAILABLE, "a sandbox ended: %s", setting->exit.error);
        }
    }
    return *flag ? ERR_OK : ERR_SET(err, ERR_TIMEOUT, "a sandbox says nothing for 30 s");
}

/* One life; ret_us: until its first byte. */
static enum err_code live(
    struct setting *setting, const struct sandbox_spec *spec, double *ret_us, struct err_info *err)
{
    setting->heard = false;
    setting->ended = false;
    setting->removed = false;
    struct mono_us began = clock_mono(clock_system());
    TRY(sandbox_create(setting->all, spec, err));
    TRY(await(setting, &setting->heard, err));
    *ret_us = (double)(clock_mono(clock_system()).value - began.value);
    TRY(await(setting, &setting->ended, err));
    TRY(sandbox_remove(setting->all, ID, err));
    return await(setting, &setting->removed, err);
}

static enum err_code run_ours(void *context, double *ret_us, struct err_info *err)
{
    struct setting *setting = context;
    static const char *const argv[] = { "/bin/echo", "up", NULL };
    const struct sandbox_spec spec = { .id = ID, .argv = argv };
    double *samples = setting->samples + setting->sample_count;
    for (unsigned i = 0; i < setting->starts; i++) {
        TRY(live(setting, &spec, &samples[i], err));
    }
    setting->sample_count += setting->starts;
    AUTO_FREE double *sorted = mem_dup(samples, setting->starts * sizeof(*samples));
    *ret_us = bench_quantile(sorted, setting->starts, 0.5);
    return ERR_OK;
}

/* ---- The floor ---- */

/* The filter as bubblewrap reads it, at the start of a file of memory. */
static enum err_code open_filter(int *ret_fd, struct err_info *err)
{
    struct filter filter;
    filter_build(&filter, false);
    AUTO_FD int fd = memfd_create("filter", 0);
    TRY(fd_write_all(fd, filter.code, filter.count * sizeof(filter.code[0]), err));
    if (lseek(fd, 0, SEEK_SET) != 0) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "memfd");
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

static enum err_code start_bwrap(
    const struct setting *setting, int out, pid_t *ret_pid, struct err_info *err)
{
    const char *const words[] = { "bwrap",
                                  "--unshare-all",
                                  "--unshare-user",
                                  "--disable-userns",
                                  "--new-session",
                                  "--die-with-parent",
                                  "--uid",
                                  "1000",
                                  "--gid",
                                  "1000",
                                  "--cap-drop",
                                  "ALL",
                                  "--clearenv",
                                  "--hostname",
                                  "sandbox",
                                  "--ro-bind",
                                  "/usr",
                                  "/usr",
                                  "--symlink",
                                  "usr/bin",
                                  "/bin",
                                  "--symlink",
                                  "usr/lib",
                                  "/lib",
                                  "--symlink",
                                  "usr/lib64",
                                  "/lib64",
                                  "--symlink",
                                  "usr/sbin",
                                  "/sbin",
                                  "--ro-bind",
                                  "/etc/ld.so.cache",
                                  "/etc/ld.so.cache",
                                  "--ro-bind",
                                  "/etc/alternatives",
                                  "/etc/alternatives",
                                  "--proc",
                                  "/proc",
                                  "--dev",
                                  "/dev",
                                  "--size",
                                  "67108864",
                                  "--tmpfs",
                                  "/tmp",
                                  "--bind",
                                  setting->workspace,
                                  "/sandbox",
                                  "--chdir",
                                  "/sandbox",
                                  "--seccomp",
                                  "9",
                                  "/bin/echo",
                                  "up",
                                  NULL };
    char *environment[] = { NULL };
    posix_spawn_file_actions_t actions;
    AUTO_FD int filter = -1;
    TRY(open_filter(&filter, err));
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, out, 1);
    (void)posix_spawn_file_actions_adddup2(&actions, filter, FILTER_FD);
    int number = posix_spawn(
        ret_pid, "/usr/bin/bwrap", &actions, NULL, CONST_CAST(char *const *, words), environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    return number == 0 ? ERR_OK : ERR_SET_ERRNO(err, ERR_UNAVAILABLE, number, "/usr/bin/bwrap");
}

static enum err_code start_once(const struct setting *setting, double *ret_us, struct err_info *err)
{
    int pair[2] = { -1, -1 };
    int status = 0;
    char byte = 0;
    pid_t pid = 0;
    if (pipe2(pair, O_CLOEXEC) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "pipe");
    }
    AUTO_FD int in = pair[0];
    AUTO_FD int out = pair[1];
    struct mono_us began = clock_mono(clock_system());
    TRY(start_bwrap(setting, out, &pid, err));
    fd_close(&out);
    ssize_t got = read(in, &byte, 1);
    *ret_us = (double)(clock_mono(clock_system()).value - began.value);
    (void)waitpid(pid, &status, 0);
    return got == 1 && WIFEXITED(status) && WEXITSTATUS(status) == 0
        ? ERR_OK
        : ERR_SET(err, ERR_UNSUPPORTED, "bwrap cannot build a sandbox here");
}

static enum err_code run_floor(void *context, double *ret_us, struct err_info *err)
{
    struct setting *setting = context;
    AUTO_FREE double *samples = mem_alloc_array(setting->starts, sizeof(*samples));
    for (unsigned i = 0; i < setting->starts; i++) {
        TRY(start_once(setting, &samples[i], err));
    }
    *ret_us = bench_quantile(samples, setting->starts, 0.5);
    return ERR_OK;
}

/* ---- The run ---- */

static enum err_code compare_starts(struct setting *setting, struct err_info *err)
{
    const struct bench_pair pair = { .id = "G15",
                                     .metric = "sandbox start, full isolation, to the first byte",
                                     .unit = "us",
                                     .sense = BENCH_AT_MOST,
                                     .goal = 1.0,
                                     .ours = run_ours,
                                     .floor = run_floor,
                                     .context = setting };
    double ignored = 0;
    TRY(run_floor(setting, &ignored, err)); /* caches are warm for both */
    TRY(run_ours(setting, &ignored, err));
    setting->sample_count = 0;
    TRY(bench_compare(setting->bench, &pair, err));
    double p50 = bench_quantile(setting->samples, setting->sample_count, 0.5);
    double p99 = bench_quantile(setting->samples, setting->sample_count, 0.99);
    bench_value(setting->bench, "p99 of a start over its p50", "x", p99 / p50, 8);
    return ERR_OK;
}

static enum err_code run_lives(struct setting *setting, struct err_info *err)
{
    static const char *const argv[] = { "/bin/echo", "up", NULL };
    bool native = sandboxes_report(setting->all)->native;
    bool capped = sandboxes_report(setting->all)->disk_cap;
    int64_t lives = bench_is_smoke(setting->bench) ? 3 : bench_int(setting->bench, "lives");
    double us = 0;
    struct mono_us began = clock_mono(clock_system());
    sandboxes_sync(setting->all); /* which has descriptors of its own meanwhile */
    size_t before = left_descriptors();
    for (int64_t i = 0; i < lives; i++) {
        struct sandbox_spec spec = { .id = ID, .argv = argv };
        spec.memory_bytes = native ? 64U << 20 : 0;
        spec.pids = native ? 32 : 0;
        spec.disk_bytes = native && capped && i % DISK_EVERY == 0 ? 8U << 20 : 0;
        TRY(live(setting, &spec, &us, err));
    }
    double seconds = (double)(clock_mono(clock_system()).value - began.value) / US_PER_SECOND;
    sandboxes_sync(setting->all);
    bench_value(setting->bench, "whole lives", "/s", (double)lives / seconds, 0);
    AUTO_FREE char *metric = mem_printf("left after %lld lives", (long long)lives);
    size_t left = left_of(setting->folder) + left_descriptors() - before;
    bench_value(setting->bench, metric, "things", (double)left, 0);
    return left == 0 ? ERR_OK : ERR_SET(err, ERR_INTERNAL, "%zu things were left", left);
}

static enum err_code run(struct setting *setting, struct err_info *err)
{
    AUTO_FREE char *dir = mem_printf("%s/sandboxes", setting->folder);
    struct sandboxes_options options = { .clock = clock_system(),
                                         .dir = dir,
                                         .shim_path = setting->shim,
                                         .ops = &ops,
                                         .context = setting };
    if (mkdir(setting->workspace, 0755) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", setting->workspace);
    }
    TRY(loop_create(clock_system(), &setting->loop, err));
    options.loop = setting->loop;
    TRY(sandboxes_open(&options, &setting->all, err));
    TRY(compare_starts(setting, err));
    return run_lives(setting, err);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "starts", "50", "starts per measurement" },
        { "lives", "1000", "whole lives, one after the other" },
        { NULL, NULL, NULL },
    };
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("sandbox", options, argc, argv) };
    setting.starts =
        bench_is_smoke(setting.bench) ? 2 : (unsigned)bench_int(setting.bench, "starts");
    setting.samples = mem_alloc_array(SAMPLES_MAX, sizeof(*setting.samples));
    setting.folder = process_folder_make("sandbox");
    setting.workspace = mem_printf("%s/workspace", setting.folder);
    setting.shim = process_program("belay-shim");
    (void)signal(SIGPIPE, SIG_IGN);
    enum err_code code = run(&setting, &err);
    sandboxes_close(setting.all);
    loop_destroy(setting.loop);
    process_folder_remove(setting.folder);
    mem_free(setting.shim);
    mem_free(setting.workspace);
    mem_free(setting.folder);
    mem_free(setting.samples);
    return bench_finish(setting.bench, code, &err);
}
