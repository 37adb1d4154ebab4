/* From a wish to a running shim: the checks, the spec on disk, the control groups, the process. */
#include "cmd/agent/image/images.h"
#include "cmd/agent/sandbox/sandbox_private.h"
#include "cmd/agent/sandbox/shim_spawn.h"
#include "common/base/cleanup.h"
#include "common/sandbox/disk.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DEFAULT_ROWS = 24,
    DEFAULT_COLUMNS = 80,
    DEFAULT_OPEN_FILES = 4096,
    LIST_BYTES_MAX = 65536,
    DISK_BYTES_MIN = 1024 * 1024
};

#define MIB               (UINT64_C(1024) * 1024)
#define DEFAULT_TMP_BYTES (64 * MIB)
#define DEFAULT_LOG_BYTES (4 * MIB)

void launch_lists_init(struct launch_lists *lists)
{
    lists->argv = (struct buf)BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    lists->env = (struct buf)BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    lists->cgroups = (struct buf)BUF_INIT(LIST_BYTES_MAX);
    lists->binds = (struct buf)BUF_INIT(LIST_BYTES_MAX);
    lists->read_only = (struct buf)BUF_INIT(LIST_BYTES_MAX);
    lists->read_write = (struct buf)BUF_INIT(LIST_BYTES_MAX);
}

void launch_lists_deinit(struct launch_lists *lists)
{
    buf_deinit(&lists->argv);
    buf_deinit(&lists->env);
    buf_deinit(&lists->cgroups);
    buf_deinit(&lists->binds);
    buf_deinit(&lists->read_only);
    buf_deinit(&lists->read_write);
}

static void add_words(struct buf *list, const char *const *words)
{
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        message_list_add(list, str_of(words[i]));
    }
}

/* ---- Environment ---- */

static struct str_view name_of(struct str_view entry)
{
    struct str_view name = entry;
    struct str_view value = STR_NONE;
    return str_cut(entry, '=', &name, &value) ? name : entry;
}

static bool names_it(const char *const *words, struct str_view name)
{
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        if (str_equal(name_of(str_of(words[i])), name)) {
            return true;
        }
    }
    return false;
}

static void add_defaults(const char *const *over, bool tty, bool proxy, struct buf *list)
{
    static const char *const always[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/sandbox",
        "USER=sandbox",
        "LOGNAME=sandbox",
        "SHELL=/bin/sh",
        "LANG=C.UTF-8",
        "TMPDIR=/tmp",
        NULL
    };
    static const char *const with_proxy[] = { "http_proxy=http://127.0.0.1:3128",
                                              "https_proxy=http://127.0.0.1:3128",
                                              "HTTP_PROXY=http://127.0.0.1:3128",
                                              "HTTPS_PROXY=http://127.0.0.1:3128",
                                              "no_proxy=127.0.0.1,localhost",
                                              "NO_PROXY=127.0.0.1,localhost",
                                              NULL };
    static const char *const with_tty[] = { "TERM=xterm-256color", NULL };
    const char *const *sets[] = { always, proxy ? with_proxy : NULL, tty ? with_tty : NULL };
    for (size_t set = 0; set < ARRAY_LENGTH(sets); set++) {
        for (size_t i = 0; sets[set] != NULL && sets[set][i] != NULL; i++) {
            if (!names_it(over, name_of(str_of(sets[set][i])))) {
                message_list_add(list, str_of(sets[set][i]));
            }
        }
    }
}

void launch_environment(
    const struct message_list *base,
    const char *const *over,
    bool tty,
    bool proxy,
    struct buf *list)
{
    size_t cursor = 0;
    struct str_view entry;
    if (base == NULL) {
        add_defaults(over, tty, proxy, list);
    }
    while (base != NULL && message_list_next(base, &cursor, &entry)) {
        if (!names_it(over, name_of(entry))) {
            message_list_add(list, entry);
        }
    }
    if (base != NULL && tty && !names_it(over, STR("TERM"))) {
        message_list_add(list, STR("TERM=xterm-256color"));
    }
    add_words(list, over);
}

/* ---- Checks ---- */

enum err_code launch_check_id(const char *id, struct err_info *err)
{
    size_t bytes = id == NULL ? 0 : strlen(id);
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    if (bytes == 0 || bytes > SANDBOX_ID_BYTES_MAX || strspn(id, allowed) != bytes) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "sandbox id: 1 to %d letters, digits, '-' or '_'",
            SANDBOX_ID_BYTES_MAX);
    }
    return ERR_OK;
}

static bool is_below(const char *path, const char *folder)
{
    size_t bytes = strlen(folder);
    return strncmp(path, folder, bytes) == 0 && (path[bytes] == '/' || path[bytes] == '\0');
}

/* Clean and absolute: no empty, "." or ".." part, so that a prefix says where it leads. */
static bool is_clean(const char *path)
{
    struct str_view rest = str_of(path);
    if (rest.len < 2 || rest.ptr[0] != '/') {
        return false;
    }
    rest = str_from(rest.ptr + 1, rest.len - 1);
    bool more = true;
    while (more) {
        struct str_view part = rest;
        struct str_view tail = STR_NONE;
        more = str_cut(rest, '/', &part, &tail);
        part = more ? part : rest;
        if (part.len == 0 || str_equal(part, STR(".")) || str_equal(part, STR(".."))) {
            return false;
        }
        rest = tail;
    }
    return true;
}

/* A read-only bind does not stop connect() to a socket in it: where sockets live is never bound. */
static enum err_code check_bind(
    const struct sandboxes *all, const struct sandbox_bind *bind, struct err_info *err)
{
    static const char *const hosts[] = { "/proc", "/sys", "/dev", "/run", "/var/run", "/boot" };
    static const char *const own[] = { "/proc", "/sys", "/dev",  "/tmp", "/sandbox", "/usr",
                                       "/etc",  "/bin", "/sbin", "/lib", "/lib64" };
    if (!is_clean(bind->source) || !is_clean(bind->destination)) {
        return ERR_SET(
            err, ERR_INVALID, "bind %s: absolute paths without '.', '..' or '//'", bind->source);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(hosts); i++) {
        if (is_below(bind->source, hosts[i])) {
            return ERR_SET(
                err, ERR_DENIED, "bind %s: %s is the host's own", bind->source, hosts[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(own); i++) {
        if (is_below(bind->destination, own[i])) {
            return ERR_SET(
                err, ERR_DENIED, "bind to %s: %s is the sandbox's own", bind->destination, own[i]);
        }
    }
    if (is_below(bind->source, all->dir) || is_below(all->dir, bind->source)) {
        return ERR_SET(err, ERR_DENIED, "bind %s: the agent's state is there", bind->source);
    }
    return ERR_OK;
}

static enum err_code check_driver(
    const struct sandboxes *all,
    const struct sandbox_spec *wanted,
    enum sandbox_driver driver,
    struct err_info *err)
{
    const struct sandbox_report *report = &all->report;
    bool native = driver == SANDBOX_DRIVER_NATIVE;
    if (native ? !report->native : !report->bwrap) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "driver %s: %s",
            native ? "native" : "bwrap",
            native ? report->native_reason : report->bwrap_reason);
    }
    if (wanted->network == SANDBOX_NETWORK_PROXY && all->ops->listening == NULL) {
        return ERR_SET(err, ERR_UNSUPPORTED, "network proxy: this agent has no egress proxy");
    }
    if (wanted->disk_bytes > 0 && (!native || !report->disk_cap)) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "a cap of the workspace needs the native driver, loop devices and mkfs.ext4");
    }
    if (wanted->disk_bytes > 0 && wanted->disk_bytes < DISK_BYTES_MIN) {
        return ERR_SET(err, ERR_INVALID, "disk: at least 1 MiB");
    }
    if (wanted->want_landlock && report->landlock_abi == 0) {
        return ERR_SET(err, ERR_UNSUPPORTED, "Landlock: this kernel has none");
    }
    return ERR_OK;
}

static enum err_code add_paths(
    const struct sandboxes *all,
    const struct sandbox_spec *wanted,
    struct launch_lists *lists,
    struct err_info *err)
{
    static const char *const all_of_it[] = { "/", NULL };
    static const char *const own[] = { "/sandbox", "/tmp", "/dev", "/proc", NULL };
    add_words(&lists->read_only, wanted->read_only == NULL ? all_of_it : wanted->read_only);
    add_words(&lists->read_write, wanted->read_write == NULL ? own : wanted->read_write);
    for (size_t i = 0; i < wanted->bind_count; i++) {
        const struct sandbox_bind *bind = &wanted->binds[i];
        TRY(check_bind(all, bind, err));
        message_list_add(&lists->binds, bind->writable ? STR("rw") : STR("ro"));
        message_list_add(&lists->binds, str_of(bind->source));
        message_list_add(&lists->binds, str_of(bind->destination));
        if (bind->writable && wanted->read_write == NULL) {
            message_list_add(&lists->read_write, str_of(bind->destination));
        }
    }
    return ERR_OK;
}

enum err_code launch_groups(
    const struct sandboxes *all,
    const struct message_spec *spec,
    struct buf *list,
    struct err_info *err)
{
    struct cgroup_set set;
    struct cgroup_limits limits = { .memory_bytes = spec->memory_bytes,
                                    .pids = spec->pids,
                                    .cpu_milli = spec->cpu_milli,
                                    .io_bytes_per_second = spec->io_bytes_per_second,
                                    .io_device = disk_of_folder(all->dir) };
    if (limits.io_bytes_per_second > 0 && limits.io_device == 0) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "a limit on io is asked for, and %s is on no disk that a rule can name (overlay, "
            "btrfs and tmpfs have none; ext4 and xfs do)",
            all->dir);
    }
    AUTO_FREE char *name = mem_printf("belay-%s-%.*s", all->instance, STR_ARG(spec->id));
    TRY(cgroup_set_create(&all->cgroups, name, &limits, &set, err));
    cgroup_set_format(&set, list);
    cgroup_set_deinit(&set);
    return ERR_OK;
}

static uint64_t or_else(uint64_t value, uint64_t fallback)
{
    return value == 0 ? fallback : value;
}

static void fill_numbers(
    const struct sandboxes *all, const struct sandbox_spec *wanted, struct message_spec *spec)
{
    spec->uid = SANDBOX_UID;
    spec->flags = wanted->flags;
    spec->network = wanted->network;
    spec->landlock = wanted->want_landlock ? 1 : 2;
    spec->tmp_bytes = or_else(wanted->tmp_bytes, DEFAULT_TMP_BYTES);
    spec->disk_bytes = wanted->disk_bytes;
    spec->log_bytes = or_else(wanted->log_bytes, DEFAULT_LOG_BYTES);
    spec->open_files = or_else(wanted->open_files, DEFAULT_OPEN_FILES);
    spec->wall_us = wanted->wall_us;
    spec->sample_us = (uint64_t)all->sample_us;
    spec->rows = or_else(wanted->rows, DEFAULT_ROWS);
    spec->columns = or_else(wanted->columns, DEFAULT_COLUMNS);
    spec->memory_bytes = wanted->memory_bytes;
    spec->pids = wanted->pids;
    spec->cpu_milli = wanted->cpu_milli;
    spec->io_bytes_per_second = wanted->io_bytes_per_second;
}

enum err_code launch_spec(
    const struct sandboxes *all,
    const struct sandbox_spec *wanted,
    struct launch_lists *lists,
    struct message_spec *ret_spec,
    struct err_info *err)
{
    struct message_spec spec = { .generation = 1 };
    enum sandbox_driver driver = wanted->driver != 0 ? wanted->driver
        : geteuid() == 0                             ? SANDBOX_DRIVER_NATIVE
                                                     : SANDBOX_DRIVER_BWRAP;
    TRY(check_driver(all, wanted, driver, err));
    if (wanted->image != NULL) {
        TRY(images_find(all->image_dir, wanted->image, lists->image, sizeof(lists->image), err));
        spec.image = str_of(lists->image);
    }
    TRY(add_paths(all, wanted, lists, err));
    fill_numbers(all, wanted, &spec);
    spec.driver = driver;
    spec.id = str_of(wanted->id);
    spec.hostname = str_of(wanted->hostname == NULL ? "sandbox" : wanted->hostname);
    spec.cwd = str_of(wanted->cwd == NULL ? "/sandbox" : wanted->cwd);
    add_words(&lists->argv, wanted->argv);
    launch_environment(
        NULL,
        wanted->env,
        (wanted->flags & SANDBOX_FLAG_TTY) != 0,
        wanted->network == SANDBOX_NETWORK_PROXY,
        &lists->env);
    TRY(launch_groups(all, &spec, &lists->cgroups, err));
    spec.argv = message_list_of(&lists->argv);
    spec.env = message_list_of(&lists->env);
    spec.cgroups = message_list_of(&lists->cgroups);
    spec.binds = message_list_of(&lists->binds);
    spec.read_only = message_list_of(&lists->read_only);
    spec.read_write = message_list_of(&lists->read_write);
    *ret_spec = spec;
    return buf_ok(&lists->argv) && buf_ok(&lists->env) && buf_ok(&lists->binds)
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_LIMIT,
            "arguments and environment: at most %d KiB each",
            MESSAGE_WORDS_BYTES_MAX / 1024);
}

enum err_code launch_prepare(
    struct sandbox *sandbox, const struct message_spec *spec, struct err_info *err)
{
    struct message message = { .type = MESSAGE_SPEC, .spec = *spec };
    message.id = process_boot_number(sandbox->all->boot);
    AUTO_FREE char *path = mem_printf("%s/" SANDBOX_FILE_SPEC, sandbox->dir);
    AUTO_BUF struct buf bytes = BUF_INIT((size_t)MESSAGE_BYTES_MAX * 2);
    TRY(message_encode(&message, &bytes, err));
    /* Of a new sandbox the keeper brings it to the disk; an older one has a workspace to lose. */
    TRY(spec->generation == 1 ? file_replace(path, bytes.data, bytes.len, 0600, err)
                              : file_write_atomic(path, bytes.data, bytes.len, 0600, err));
    TRY(message_decode(buf_view(&bytes), &message, err));
    buf_deinit(&sandbox->spec_bytes);
    sandbox->spec_bytes = bytes;
    bytes = (struct buf)BUF_INIT(0);
    sandbox->spec = message.spec;
    return ERR_OK;
}

/* ---- The process ---- */

static enum err_code start_shim(
    const struct sandboxes *all, const char *dir, int ground, int *ret_fd, struct err_info *err)
{
    int pair[2] = { -1, -1 };
    TRY(channel_pair(pair, err));
    AUTO_FD int ours = pair[0];
    AUTO_FD int theirs = pair[1];
    const struct shim_spawn spawn = { .path = all->shim_path,
                                      .name = "belay-shim",
                                      .dir = dir,
                                      .fds = { theirs, ground },
                                      .count = ground < 0 ? 1 : 2 };
    TRY(shim_spawn_away(&spawn, err));
    TRY(channel_set_nonblocking(ours, err));
    *ret_fd = fd_steal(&ours);
    return ERR_OK;
}

enum err_code launch_shim(
    const struct sandboxes *all, const char *dir, int *ret_fd, struct err_info *err)
{
    int ground = ground_get(all->ground);
    enum err_code code = spare_order(all->spare, dir, ground, ret_fd, err);
    return code == ERR_NOT_FOUND ? start_shim(all, dir, ground, ret_fd, err) : code;
}
