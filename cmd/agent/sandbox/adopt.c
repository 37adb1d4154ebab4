/* What an agent finds when it starts: sandboxes that run on, have ended, or are lost. */
#include "cmd/agent/sandbox/sandbox_private.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPEC_BYTES_MAX ((size_t)MESSAGE_BYTES_MAX * 2)

enum {
    GONE_TRIES = 200,
    YOUNG_TRIES = 500,
    YOUNG_PAUSE_MS = 10
};

#define FILE_TAKEN "taken.json" /* of the output: by an agent, after the end */
#define FILE_LOST  "lost.json"  /* the run of this generation: told once, and for good */

static enum err_code read_record(
    const struct sandbox *sandbox,
    const char *name,
    struct buf *text,
    struct record *ret_record,
    struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/%s", sandbox->dir, name);
    TRY(file_read(path, RECORD_BYTES_MAX, text, err));
    return record_parse(buf_view(text), ret_record, err);
}

enum err_code adopt_exit(
    struct sandbox *sandbox, struct buf *text, struct record *ret_record, struct err_info *err)
{
    struct sandbox_exit exit = { .reason = SANDBOX_END_MAIN };
    TRY(read_record(sandbox, SANDBOX_FILE_EXIT, text, ret_record, err));
    if (record_number(ret_record, "generation") != sandbox->spec.generation) {
        return ERR_SET(
            err, ERR_NOT_FOUND, "sandbox %s: the exit is of an earlier run", sandbox->id);
    }
    uint64_t reason = record_number(ret_record, "reason_code");
    exit.reason = (enum sandbox_end)(reason > SANDBOX_END_FAILED ? SANDBOX_END_DIED : reason);
    exit.has_status = record_number(ret_record, "has_status") != 0;
    exit.status = (int)(record_number(ret_record, "status") & 0xffff);
    (void)snprintf(
        exit.error, sizeof(exit.error), "%.*s", STR_ARG(record_text(ret_record, "error")));
    record_sample(ret_record, &exit.last);
    sandbox->exit = exit;
    return ERR_OK;
}

static uint64_t size_of(const struct sandbox *sandbox, const char *name)
{
    struct stat info;
    AUTO_FREE char *path = mem_printf("%s/%s", sandbox->dir, name);
    return lstat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

/* What one log file has from an offset of the stream on; the file ends with the stream's byte
 * before `end`. What stands before it may be of an earlier run. */
static void tell_file(
    struct sandbox *sandbox, const char *name, unsigned stream, uint64_t from, uint64_t end)
{
    AUTO_FREE char *data = mem_alloc(MESSAGE_DATA_BYTES_MAX);
    AUTO_FREE char *path = mem_printf("%s/%s", sandbox->dir, name);
    AUTO_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t size = size_of(sandbox, name);
    uint64_t at = end > size && from < end - size ? end - size : from;
    ssize_t got = 0;
    while (fd >= 0 && at < end
           && (got = pread(fd, data, MESSAGE_DATA_BYTES_MAX, (off_t)(size - (end - at)))) > 0) {
        size_t bytes = (uint64_t)got > end - at ? (size_t)(end - at) : (size_t)got;
        struct message_output output = { stream, at, str_from(data, bytes) };
        sandbox->all->ops->output(sandbox->all->context, sandbox->id, 0, &output);
        at += bytes;
    }
}

static void tell_stream(
    struct sandbox *sandbox, const char *name, unsigned stream, uint64_t taken, uint64_t end)
{
    AUTO_FREE char *older = mem_printf("%s.1", name);
    uint64_t newest = size_of(sandbox, name);
    if (taken >= end || sandbox->all->ops->output == NULL) {
        return;
    }
    if (newest < end && taken < end - newest) {
        tell_file(sandbox, older, stream, taken, end - newest);
        taken = end - newest;
    }
    tell_file(sandbox, name, stream, taken, end);
}

static const char *const taken_names[] = { "out_taken", "err_taken" };

void adopt_keep_taken(const struct sandbox *sandbox)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *path = mem_printf("%s/" FILE_TAKEN, sandbox->dir);
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    record_open(&json);
    record_put_number(&json, "generation", sandbox->spec.generation);
    for (size_t i = 0; i < ARRAY_LENGTH(taken_names); i++) {
        record_put_number(&json, taken_names[i], sandbox->taken[i]);
    }
    record_close(&json);
    if (file_write_atomic(path, json.data, json.len, 0600, &err) != ERR_OK) {
        log_warn("sandbox_output_comes_again", LOG_STR("sandbox", sandbox->id), LOG_ERR(&err));
    }
}

/* By the shim's count at its end, or by ours if that is further. */
static void load_taken(struct sandbox *sandbox, const struct record *exit)
{
    struct record record;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    bool is_ours = read_record(sandbox, FILE_TAKEN, &text, &record, NULL) == ERR_OK
        && record_number(&record, "generation") == sandbox->spec.generation;
    for (size_t i = 0; i < ARRAY_LENGTH(taken_names); i++) {
        uint64_t theirs = record_number(exit, taken_names[i]);
        uint64_t ours = is_ours ? record_number(&record, taken_names[i]) : 0;
        uint64_t most = ours > theirs ? ours : theirs;
        sandbox->taken[i] = most > sandbox->taken[i] ? most : sandbox->taken[i];
    }
}

void adopt_output(struct sandbox *sandbox)
{
    struct record record;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    if (adopt_exit(sandbox, &text, &record, NULL) != ERR_OK) {
        return;
    }
    load_taken(sandbox, &record);
    const uint64_t from[] = { sandbox->taken[0], sandbox->taken[1] };
    tell_stream(sandbox, SANDBOX_FILE_OUT, 1, from[0], record_number(&record, "out_end"));
    tell_stream(sandbox, SANDBOX_FILE_ERR, 2, from[1], record_number(&record, "err_end"));
}

/* Init ends by itself when its shim does; this is for the case that something kept it. */
static void kill_init(const struct sandbox *sandbox)
{
    struct record record;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    if (read_record(sandbox, SANDBOX_FILE_STATE, &text, &record, NULL) != ERR_OK) {
        return;
    }
    AUTO_FD int pidfd = -1;
    if (process_open(
            (pid_t)record_number(&record, "init_pid"),
            record_number(&record, "init_start"),
            &pidfd,
            NULL)
        == ERR_OK) {
        process_kill(pidfd, SIGKILL);
    }
}

void adopt_mark_lost(struct sandbox *sandbox, bool rebooted)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *path = mem_printf("%s/" FILE_LOST, sandbox->dir);
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    record_open(&json);
    record_put_number(&json, "generation", sandbox->spec.generation);
    record_put_number(&json, "rebooted", rebooted ? 1 : 0);
    record_close(&json);
    sandbox->rebooted = rebooted;
    sandbox->status = SANDBOX_STATUS_LOST;
    if (!sandbox->removing && file_write_atomic(path, json.data, json.len, 0600, &err) != ERR_OK) {
        log_warn("sandbox_not_marked", LOG_STR("sandbox", sandbox->id), LOG_ERR(&err));
    }
}

void adopt_lost(struct sandbox *sandbox, bool rebooted)
{
    struct cgroup_set set;
    adopt_mark_lost(sandbox, rebooted);
    if (!rebooted) {
        kill_init(sandbox);
    }
    if (cgroup_set_parse(&sandbox->spec.cgroups, &set, NULL) == ERR_OK) {
        /* Killing is not waiting: a few turns until the kernel has let go of the dead. */
        for (int i = 0; i < GONE_TRIES && !rebooted && !cgroup_set_remove(&set); i++) {
            cgroup_set_kill(&set);
            (void)sched_yield();
        }
        (void)cgroup_set_remove(&set);
        cgroup_set_deinit(&set);
    }
    sandbox_ended(sandbox, SANDBOX_STATUS_LOST);
}

static enum err_code load_spec(struct sandbox *sandbox, struct err_info *err)
{
    struct message message;
    AUTO_FREE char *path = mem_printf("%s/" SANDBOX_FILE_SPEC, sandbox->dir);
    sandbox->spec_bytes = (struct buf)BUF_INIT(SPEC_BYTES_MAX);
    TRY(file_read(path, SPEC_BYTES_MAX, &sandbox->spec_bytes, err));
    TRY(message_decode(buf_view(&sandbox->spec_bytes), &message, err));
    if (message.type != MESSAGE_SPEC || !str_equal(message.spec.id, str_of(sandbox->id))) {
        return ERR_SET(err, ERR_CORRUPT, "%s: not the spec of %s", path, sandbox->id);
    }
    sandbox->spec = message.spec;
    sandbox->spec_boot = message.id;
    return ERR_OK;
}

/* Whether a shim holds the folder: it may be so young that its socket is not there yet. */
static bool has_shim(const struct sandbox *sandbox)
{
    AUTO_FD int dir = open(sandbox->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return dir >= 0 && flock(dir, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

static enum err_code connect_shim(struct sandbox *sandbox, struct err_info *err)
{
    enum err_code code = shim_link_connect(sandbox, err);
    for (int i = 0; i < YOUNG_TRIES && code != ERR_OK && has_shim(sandbox); i++) {
        (void)poll(NULL, 0, YOUNG_PAUSE_MS);
        code = shim_link_connect(sandbox, err);
    }
    return code;
}

/* No run of this generation left a trace in the boot that it was written in: the agent ended
 * between that and its shim's first word. Nothing of the workload has run, so it is started now.
 * After a failure of the power the trace may be missing of one that ran. */
static bool carry_on(struct sandbox *sandbox)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = sandbox_launch(sandbox, sandbox->spec.generation, &err);
    if (code != ERR_OK) {
        log_error("sandbox_not_started", LOG_STR("sandbox", sandbox->id), LOG_ERR(&err));
    }
    return code == ERR_OK;
}

static void adopt_without_end(struct sandbox *sandbox)
{
    struct record record;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    bool has_run = read_record(sandbox, SANDBOX_FILE_STATE, &text, &record, NULL) == ERR_OK
        && record_number(&record, "generation") == sandbox->spec.generation;
    bool is_of_now = has_run ? str_equal(record_text(&record, "boot"), str_of(sandbox->all->boot))
                             : sandbox->spec_boot == process_boot_number(sandbox->all->boot);
    bool rebooted = !is_of_now && (has_run || sandbox->spec_boot != 0);
    if (!has_run && is_of_now && carry_on(sandbox)) {
        log_info("sandbox_start_resumed", LOG_STR("sandbox", sandbox->id));
        return;
    }
    log_warn("sandbox_lost", LOG_STR("sandbox", sandbox->id), LOG_BOOL("rebooted", rebooted));
    adopt_lost(sandbox, rebooted);
}

static void adopt_one(struct sandbox *sandbox)
{
    struct record record;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    bool was_lost = read_record(sandbox, FILE_LOST, &text, &record, NULL) == ERR_OK
        && record_number(&record, "generation") == sandbox->spec.generation;
    bool rebooted = was_lost && record_number(&record, "rebooted") != 0;
    buf_clear(&text);
    if (was_lost) {
        adopt_lost(sandbox, rebooted);
    } else if (connect_shim(sandbox, &err) == ERR_OK) {
        log_info("sandbox_adopted", LOG_STR("sandbox", sandbox->id));
    } else if (adopt_exit(sandbox, &text, &record, &err) == ERR_OK) {
        sandbox_ended(sandbox, SANDBOX_STATUS_ENDED);
    } else {
        adopt_without_end(sandbox);
    }
}

/* A folder without a readable spec never ran: its create was cut off. */
static void take_folder(struct sandboxes *all, const char *name)
{
    struct err_info err = ERR_INFO_INIT;
    if (strlen(name) > SANDBOX_ID_BYTES_MAX) {
        return;
    }
    struct sandbox *sandbox = sandboxes_add(all, name);
    if (load_spec(sandbox, &err) != ERR_OK) {
        log_warn("sandbox_discarded", LOG_STR("sandbox", name), LOG_ERR(&err));
        sandbox->removing = true;
        sandbox_ended(sandbox, SANDBOX_STATUS_LOST);
        return;
    }
    uint64_t slot = (sandbox->spec.uid_base - all->ids.base) / SANDBOX_UID_COUNT;
    if (sandbox->spec.uid_base >= all->ids.base && slot < all->slots) {
        all->slot_used[slot] = true;
    }
    adopt_one(sandbox);
}

enum err_code adopt_all(struct sandboxes *all, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/run", all->dir);
    DIR *entries = opendir(path);
    if (entries == NULL) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (entry->d_name[0] != '.') {
            take_folder(all, entry->d_name);
        }
    }
    (void)closedir(entries);
    return ERR_OK;
}
