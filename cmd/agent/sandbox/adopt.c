/* What an agent finds when it starts: sandboxes that run on, have ended, or are lost. */
#include "cmd/agent/sandbox/sandbox_private.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPEC_BYTES_MAX ((size_t)MESSAGE_BYTES_MAX * 2)

enum {
    GONE_TRIES = 200
};

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

/* One log file's part of [from, end); its first byte is at offset `first`. */
static void tell_file(
    struct sandbox *sandbox, const char *name, unsigned stream, uint64_t first, uint64_t from)
{
    AUTO_FREE char *data = mem_alloc(MESSAGE_DATA_BYTES_MAX);
    AUTO_FREE char *path = mem_printf("%s/%s", sandbox->dir, name);
    AUTO_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t at = from > first ? from : first;
    ssize_t got = 0;
    while (fd >= 0 && (got = pread(fd, data, MESSAGE_DATA_BYTES_MAX, (off_t)(at - first))) > 0) {
        struct message_output output = { stream, at, str_from(data, (size_t)got) };
        sandbox->all->ops->output(sandbox->all->context, sandbox->id, 0, &output);
        at += (uint64_t)got;
    }
}

static uint64_t size_of(const struct sandbox *sandbox, const char *name)
{
    struct stat info;
    AUTO_FREE char *path = mem_printf("%s/%s", sandbox->dir, name);
    return lstat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

static void tell_stream(
    struct sandbox *sandbox, const char *name, unsigned stream, uint64_t taken, uint64_t end)
{
    AUTO_FREE char *older = mem_printf("%s.1", name);
    uint64_t newest = size_of(sandbox, name);
    uint64_t before = size_of(sandbox, older);
    if (taken >= end || sandbox->all->ops->output == NULL) {
        return;
    }
    newest = newest > end ? end : newest;
    before = before > end - newest ? end - newest : before;
    if (taken < end - newest) {
        tell_file(sandbox, older, stream, end - newest - before, taken);
    }
    tell_file(sandbox, name, stream, end - newest, taken);
}

void adopt_output(struct sandbox *sandbox, const struct record *record)
{
    uint64_t out_taken = record_number(record, "out_taken");
    uint64_t err_taken = record_number(record, "err_taken");
    tell_stream(sandbox, SANDBOX_FILE_OUT, 1, out_taken, record_number(record, "out_end"));
    tell_stream(sandbox, SANDBOX_FILE_ERR, 2, err_taken, record_number(record, "err_end"));
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

void adopt_lost(struct sandbox *sandbox, bool rebooted)
{
    struct cgroup_set set;
    sandbox->rebooted = rebooted;
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
    return ERR_OK;
}

static bool is_of_this_boot(const struct sandbox *sandbox)
{
    struct record record;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    return read_record(sandbox, SANDBOX_FILE_STATE, &text, &record, NULL) != ERR_OK
        || str_equal(record_text(&record, "boot"), str_of(sandbox->all->boot));
}

static void adopt_one(struct sandbox *sandbox)
{
    struct record record;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    if (shim_link_connect(sandbox, &err) == ERR_OK) {
        log_info("sandbox_adopted", LOG_STR("sandbox", sandbox->id));
    } else if (adopt_exit(sandbox, &text, &record, &err) == ERR_OK) {
        adopt_output(sandbox, &record);
        sandbox_ended(sandbox, SANDBOX_STATUS_ENDED);
    } else {
        bool rebooted = !is_of_this_boot(sandbox);
        log_warn("sandbox_lost", LOG_STR("sandbox", sandbox->id), LOG_BOOL("rebooted", rebooted));
        adopt_lost(sandbox, rebooted);
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
    uint64_t slot = (sandbox->spec.uid_base - all->uid_base) / SANDBOX_UID_COUNT;
    if (sandbox->spec.uid_base >= all->uid_base && slot < all->slots) {
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
