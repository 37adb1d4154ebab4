/* Figures and records of a sandbox: samples, state.json, exit.json. */
#include "cmd/shim/builder/workspace.h"
#include "cmd/shim/shim.h"
#include "common/base/cleanup.h"
#include "common/sandbox/process.h"
#include "common/sandbox/record.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define STATE_NEW SANDBOX_FILE_STATE ".new"

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void shim_measure(struct shim *shim)
{
    struct cgroup_usage usage;
    struct message_sample *sample = &shim->sample;
    struct mono_us now = loop_now(shim->loop);
    cgroup_set_measure(&shim->cgroups, &usage);
    uint64_t passed_ms = (uint64_t)(now.value - shim->sampled.value) / 1000;
    /* Sums never fall, whatever a counter does when its group empties. */
    *sample = (struct message_sample){
        .sequence = sample->sequence + 1,
        .time_us = (uint64_t)clock_wall(shim->clock).value,
        .run_us = (uint64_t)(now.value - shim->started_mono.value),
        .cpu_us = larger(sample->cpu_us, usage.cpu_us),
        .memory_bytes = usage.memory_bytes,
        .memory_peak_bytes = larger(sample->memory_peak_bytes, usage.memory_peak_bytes),
        .memory_byte_ms = sample->memory_byte_ms + usage.memory_bytes * passed_ms,
        .read_bytes = larger(sample->read_bytes, usage.read_bytes),
        .write_bytes = larger(sample->write_bytes, usage.write_bytes),
        .pids = usage.pids,
        .pids_peak = larger(sample->pids_peak, usage.pids_peak),
        .disk_bytes = workspace_bytes(shim->dir_fd),
        .oom_kills = larger(sample->oom_kills, usage.oom_kills)
    };
    shim->sampled = now;
}

static enum err_code put_head(struct shim *shim, struct buf *json, struct err_info *err)
{
    char boot[PROCESS_BOOT_ID_BYTES];
    TRY(process_boot_id(boot, err));
    record_open(json);
    record_put_text(json, "boot", str_of(boot));
    record_put_text(json, "id", shim->spec.id);
    record_put_number(json, "generation", shim->spec.generation);
    return ERR_OK;
}

/* Renamed into place, not synced: after a crash of the host it would be of another boot anyway. */
enum err_code shim_write_state(struct shim *shim, struct err_info *err)
{
    uint64_t start = 0;
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    TRY(put_head(shim, &json, err));
    TRY(process_start_time(getpid(), &start, err));
    TRY(process_start_time(shim->built.pid, &shim->init_start, err));
    record_put_number(&json, "shim_pid", (uint64_t)getpid());
    record_put_number(&json, "shim_start", start);
    record_put_number(&json, "init_pid", (uint64_t)shim->built.pid);
    record_put_number(&json, "init_start", shim->init_start);
    record_put_number(&json, "started_us", (uint64_t)shim->started.value);
    record_put_number(&json, "uid_base", shim->spec.uid_base);
    record_close(&json);
    AUTO_FD int fd =
        openat(shim->dir_fd, STATE_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "%s/" SANDBOX_FILE_STATE, shim->dir);
    }
    TRY(fd_write_all(fd, json.data, json.len, err));
    if (renameat(shim->dir_fd, STATE_NEW, shim->dir_fd, SANDBOX_FILE_STATE) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "%s/" SANDBOX_FILE_STATE, shim->dir);
    }
    return ERR_OK;
}

static void put_stream(struct buf *json, const struct program *main, unsigned number)
{
    const struct stream *stream = &main->streams[number - 1];
    record_put_number(json, number == 1 ? "out_taken" : "err_taken", stream->taken);
    record_put_number(json, number == 1 ? "out_end" : "err_end", stream->ring.end);
}

enum err_code shim_write_exit(struct shim *shim, struct err_info *err)
{
    static const char *const reasons[] = { [SANDBOX_END_MAIN] = "main",
                                           [SANDBOX_END_STOPPED] = "stopped",
                                           [SANDBOX_END_TIMEOUT] = "timeout",
                                           [SANDBOX_END_DIED] = "died",
                                           [SANDBOX_END_FAILED] = "failed" };
    AUTO_FREE char *path = mem_printf("%s/" SANDBOX_FILE_EXIT, shim->dir);
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    TRY(put_head(shim, &json, err));
    record_put_text(&json, "reason", str_of(reasons[shim->reason]));
    record_put_number(&json, "reason_code", shim->reason);
    record_put_number(&json, "has_status", shim->has_status ? 1 : 0);
    record_put_number(&json, "status", shim->status);
    record_put_sample(&json, &shim->sample);
    if (shim->main != NULL) {
        put_stream(&json, shim->main, 1);
        put_stream(&json, shim->main, 2);
    }
    if (shim->error[0] != '\0') {
        record_tame(shim->error);
        record_put_text(&json, "error", str_of(shim->error));
    }
    record_close(&json);
    return file_write_atomic(path, json.data, json.len, 0600, err);
}
