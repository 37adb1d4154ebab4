/* What this host can do, found by doing it: each driver builds a sandbox that is ended at once. */
#include "cmd/agent/sandbox/sandbox_private.h"
#include "common/base/cleanup.h"
#include "common/sandbox/disk.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PROBE_MS = 10000,
    LANDLOCK_CREATE = 444,
    LANDLOCK_VERSION = 1
};

struct probe {
    struct channel_buffer buffer;
    int fd;
    bool ready;
    char text[MESSAGE_TEXT_BYTES_MAX + 1];
};

/* One message; false: none comes any more. */
static bool hear(struct probe *probe, enum message_type *ret_type)
{
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    struct pollfd watched = { .fd = probe->fd, .events = POLLIN };
    if (poll(&watched, 1, PROBE_MS) != 1
        || channel_receive(probe->fd, &probe->buffer, &message, &fds, NULL) != ERR_OK) {
        return false;
    }
    channel_fds_close(&fds);
    probe->ready = probe->ready || message.type == MESSAGE_READY;
    if (message.type == MESSAGE_FAILED) {
        (void)snprintf(probe->text, sizeof(probe->text), "%.*s", STR_ARG(message.failed.text));
    }
    *ret_type = message.type;
    return true;
}

static void converse(struct probe *probe)
{
    struct message attach = { .type = MESSAGE_ATTACH };
    struct message stop = { .type = MESSAGE_STOP };
    enum message_type type = MESSAGE_ATTACH;
    bool said = channel_send(probe->fd, &attach, NULL, NULL) == ERR_OK;
    while (said && !probe->ready && type != MESSAGE_ENDED && hear(probe, &type)) {
    }
    said = said && channel_send(probe->fd, &stop, NULL, NULL) == ERR_OK;
    while (said && type != MESSAGE_ENDED && hear(probe, &type)) {
    }
    (void)shutdown(probe->fd, SHUT_WR);
    while (hear(probe, &type)) { /* its own end closes last: nothing of it is left then */
    }
}

static enum err_code prepare(
    struct sandboxes *all,
    struct sandbox *sandbox,
    enum sandbox_driver driver,
    struct err_info *err)
{
    struct message_spec spec = { .driver = driver,
                                 .uid = SANDBOX_UID,
                                 .uid_base = all->ids.base + all->slots * SANDBOX_UID_COUNT,
                                 .landlock = 2,
                                 .tmp_bytes = 65536,
                                 .id = STR("probe"),
                                 .hostname = STR("probe"),
                                 .cwd = STR("/") };
    TRY(eraser_run(sandbox->dir, err));
    TRY(file_make_dir(sandbox->dir, 0700, err));
    return launch_prepare(sandbox, &spec, err);
}

static bool probe_driver(
    struct sandboxes *all, enum sandbox_driver driver, char *ret_reason, size_t reason_bytes)
{
    struct sandbox sandbox = { .all = all };
    struct probe probe = { .fd = -1 };
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *dir = mem_printf("%s/probe-%d", all->dir, (int)driver);
    sandbox.dir = dir;
    enum err_code code = prepare(all, &sandbox, driver, &err);
    if (code == ERR_OK) {
        code = launch_shim(all, dir, &probe.fd, &err);
    }
    if (code == ERR_OK) {
        converse(&probe);
    }
    if (!probe.ready) {
        const char *silent = "its shim gave no answer";
        (void)snprintf(
            ret_reason,
            reason_bytes,
            "%.*s",
            (int)reason_bytes - 1,
            code != ERR_OK              ? err.text
                : probe.text[0] != '\0' ? probe.text
                                        : silent);
    }
    fd_close(&probe.fd);
    channel_buffer_deinit(&probe.buffer);
    buf_deinit(&sandbox.spec_bytes);
    code = eraser_run(dir, &err);
    (void)code; /* the next probe begins with deleting it */
    return probe.ready;
}

static bool has_disk_cap(void)
{
    static const char *const programs[] = { "/usr/sbin/mkfs.ext4",
                                            "/sbin/mkfs.ext4",
                                            "/usr/bin/mkfs.ext4" };
    for (size_t i = 0; i < ARRAY_LENGTH(programs); i++) {
        if (access(programs[i], X_OK) == 0) {
            return access("/dev/loop-control", R_OK | W_OK) == 0;
        }
    }
    return false;
}

void probe_host(struct sandboxes *all)
{
    struct sandbox_report *report = &all->report;
    long abi = syscall(LANDLOCK_CREATE, NULL, 0, LANDLOCK_VERSION);
    report->landlock_abi = abi < 0 ? 0 : (unsigned)abi;
    report->memory = all->cgroups.places[CGROUP_MEMORY].version;
    report->pids = all->cgroups.places[CGROUP_PIDS].version;
    report->cpu = all->cgroups.places[CGROUP_CPU].version;
    report->io = disk_of_folder(all->dir) == 0 ? 0 : all->cgroups.places[CGROUP_IO].version;
    if (geteuid() == 0) {
        report->native = probe_driver(
            all, SANDBOX_DRIVER_NATIVE, report->native_reason, sizeof(report->native_reason));
    } else {
        (void)snprintf(
            report->native_reason, sizeof(report->native_reason), "the agent does not run as root");
    }
    report->bwrap =
        probe_driver(all, SANDBOX_DRIVER_BWRAP, report->bwrap_reason, sizeof(report->bwrap_reason));
    report->disk_cap = report->native && has_disk_cap();
}
