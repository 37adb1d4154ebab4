#include "common/sandbox/cgroup.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/major.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
    FILE_BYTES_MAX = 262144,
    PERIOD_US = 100000
};

/* A rule without effect that makes version 1 count at all. */
#define IO_UNLIMITED UINT64_C(1000000000000)
#define LEAF         "belay-agent-leaf"

static const struct {
    const char *name; /* ours */
    const char *v1;   /* option of a version 1 mount */
    const char *v2;   /* word in cgroup.controllers; NULL: needs none */
} controllers[CGROUP_CONTROLLER_COUNT] = {
    [CGROUP_CORE] = { "core", NULL, NULL },
    [CGROUP_MEMORY] = { "memory", "memory", "memory" },
    [CGROUP_PIDS] = { "pids", "pids", "pids" },
    [CGROUP_CPU] = { "cpu", "cpu", "cpu" },
    [CGROUP_CPUACCT] = { "cpuacct", "cpuacct", NULL },
    [CGROUP_IO] = { "io", "blkio", "io" },
};

const char *cgroup_controller_name(enum cgroup_controller controller)
{
    return controllers[controller].name;
}

void cgroup_set_deinit(struct cgroup_set *set)
{
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        mem_free(set->places[i].dir);
        set->places[i] = (struct cgroup_place){ .version = 0 };
    }
}

static bool read_file(const char *dir, const char *name, struct buf *buf)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    char part[4096];
    ssize_t got = 0;
    while (fd >= 0 && (got = read(fd, part, sizeof(part))) > 0) {
        buf_append(buf, part, (size_t)got);
    }
    return fd >= 0 && got == 0 && buf_ok(buf);
}

static int write_file(const char *dir, const char *name, const char *text)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t bytes = strlen(text);
    if (fd < 0 || write(fd, text, bytes) != (ssize_t)bytes) {
        return errno;
    }
    return 0;
}

static bool has_word(struct str_view list, char separator, const char *word)
{
    struct str_view rest = list;
    while (rest.len > 0) {
        struct str_view item = rest;
        struct str_view tail = STR_NONE;
        if (!str_cut(rest, separator, &item, &tail)) {
            item = rest;
            tail = STR_NONE;
        }
        if (str_equal(str_trim(item), str_of(word))) {
            return true;
        }
        rest = tail;
    }
    return false;
}

static bool next_line(struct str_view *rest, struct str_view *ret_line)
{
    struct str_view tail = STR_NONE;
    if (rest->len == 0) {
        return false;
    }
    if (!str_cut(*rest, '\n', ret_line, &tail)) {
        *ret_line = *rest;
        tail = STR_NONE;
    }
    *rest = tail;
    return true;
}

static struct str_view word_at(struct str_view line, unsigned index)
{
    struct str_view head = line;
    struct str_view tail = STR_NONE;
    for (unsigned i = 0; i <= index; i++) {
        if (!str_cut(line, ' ', &head, &tail)) {
            head = line;
            tail = STR_NONE;
            if (i < index) {
                return STR_NONE;
            }
        }
        line = tail;
    }
    return head;
}

/* Our own path in the hierarchy of this controller (NULL: the unified one). */
static struct str_view own_path(struct str_view own, const char *controller)
{
    struct str_view line = STR_NONE;
    while (next_line(&own, &line)) {
        struct str_view id = STR_NONE;
        struct str_view names = STR_NONE;
        struct str_view rest = STR_NONE;
        struct str_view path = STR_NONE;
        if (!str_cut(line, ':', &id, &rest) || !str_cut(rest, ':', &names, &path)) {
            continue;
        }
        bool match = controller == NULL ? str_equal(id, STR("0")) && names.len == 0
                                        : has_word(names, ',', controller);
        if (match) {
            return path;
        }
    }
    return STR_NONE;
}

/* The mount point, and below it our path as seen from the mount's root. */
static char *folder_of(struct str_view mount_root, struct str_view point, struct str_view path)
{
    if (mount_root.len > 1 && str_has_prefix(path, mount_root)) {
        path = str_from(path.ptr + mount_root.len, path.len - mount_root.len);
    }
    if (str_equal(path, STR("/"))) {
        path = STR_NONE;
    }
    return mem_printf("%.*s%.*s", STR_ARG(point), STR_ARG(path));
}

/* Steps out of a leaf that we made in an earlier life, or in which the agent that started us is. */
static void leave_leaf(char *dir)
{
    char *slash = strrchr(dir, '/');
    if (slash != NULL && strcmp(slash + 1, LEAF) == 0) {
        *slash = '\0';
    }
}

static void parse_mount(struct str_view line, struct str_view own, struct cgroup_set *host)
{
    struct str_view tail = line;
    struct str_view root = word_at(line, 3);
    struct str_view point = word_at(line, 4);
    while (tail.len >= 3 && !str_has_prefix(tail, STR(" - "))) {
        tail = str_from(tail.ptr + 1, tail.len - 1);
    }
    if (tail.len < 3) {
        return;
    }
    tail = str_from(tail.ptr + 3, tail.len - 3);
    struct str_view type = word_at(tail, 0);
    struct str_view options = word_at(tail, 2);
    if (str_equal(type, STR("cgroup2")) && host->places[CGROUP_CORE].version == 0) {
        host->places[CGROUP_CORE] =
            (struct cgroup_place){ 2, folder_of(root, point, own_path(own, NULL)) };
        leave_leaf(host->places[CGROUP_CORE].dir);
    }
    for (size_t i = 0; str_equal(type, STR("cgroup")) && i < CGROUP_CONTROLLER_COUNT; i++) {
        if (controllers[i].v1 == NULL || host->places[i].version != 0
            || !has_word(options, ',', controllers[i].v1)) {
            continue;
        }
        host->places[i] =
            (struct cgroup_place){ 1, folder_of(root, point, own_path(own, controllers[i].v1)) };
    }
}

void cgroup_host_parse(struct str_view mountinfo, struct str_view own, struct cgroup_set *ret_host)
{
    struct str_view line = STR_NONE;
    memset(ret_host, 0, sizeof(*ret_host));
    while (next_line(&mountinfo, &line)) {
        parse_mount(line, own, ret_host);
    }
}

/* Moves ourselves, or with is_given whoever is there, from a group into its leaf. */
static bool move_into_leaf(const char *dir, const char *leaf, bool is_given)
{
    AUTO_BUF struct buf pids = BUF_INIT(FILE_BYTES_MAX);
    if (is_given) {
        (void)read_file(dir, "cgroup.procs", &pids);
    } else {
        buf_printf(&pids, "%d\n", (int)getpid());
    }
    bool good = true;
    struct str_view rest = buf_view(&pids);
    struct str_view line = STR_NONE;
    while (next_line(&rest, &line)) {
        AUTO_FREE char *pid = mem_printf("%.*s", STR_ARG(line));
        int number = write_file(leaf, "cgroup.procs", pid);
        good = good && (number == 0 || number == ESRCH);
    }
    return good;
}

/* Hands one controller on to the groups below; moves who is in it out of the way. */
static bool enable(const char *dir, const char *controller, bool is_given)
{
    AUTO_BUF struct buf enabled = BUF_INIT(4096);
    AUTO_FREE char *word = mem_printf("+%s", controller);
    AUTO_FREE char *leaf = mem_printf("%s/" LEAF, dir);
    if (read_file(dir, "cgroup.subtree_control", &enabled)
        && has_word(str_trim(buf_view(&enabled)), ' ', controller)) {
        return true;
    }
    int number = write_file(dir, "cgroup.subtree_control", word);
    if (number == EBUSY && (mkdir(leaf, 0755) == 0 || errno == EEXIST)) {
        if (move_into_leaf(dir, leaf, is_given)) {
            number = write_file(dir, "cgroup.subtree_control", word);
        }
    }
    return number == 0;
}

static void detect_unified(bool is_given, struct cgroup_set *host)
{
    AUTO_BUF struct buf names = BUF_INIT(4096);
    struct cgroup_place *core = &host->places[CGROUP_CORE];
    if (core->version == 0) {
        return;
    }
    (void)read_file(core->dir, "cgroup.controllers", &names);
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        if (host->places[i].version == 0 && controllers[i].v2 != NULL
            && has_word(str_trim(buf_view(&names)), ' ', controllers[i].v2)
            && enable(core->dir, controllers[i].v2, is_given)) {
            host->places[i] = (struct cgroup_place){ 2, mem_strdup(core->dir) };
        }
    }
}

/* A hierarchy in which we may make no group is as good as absent. */
static void drop_unwritable(struct cgroup_set *host)
{
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        struct cgroup_place *place = &host->places[i];
        if (place->version != 0 && access(place->dir, W_OK) != 0) {
            mem_free(place->dir);
            *place = (struct cgroup_place){ .version = 0 };
        }
    }
}

void cgroup_host_detect(const char *unified, struct cgroup_set *ret_host)
{
    AUTO_BUF struct buf mounts = BUF_INIT(FILE_BYTES_MAX);
    AUTO_BUF struct buf own = BUF_INIT(FILE_BYTES_MAX);
    (void)read_file("/proc/self", "mountinfo", &mounts);
    (void)read_file("/proc/self", "cgroup", &own);
    cgroup_host_parse(buf_view(&mounts), buf_view(&own), ret_host);
    /* One that is not there is of another kind of host, on which it is not needed. */
    bool is_given =
        unified != NULL && access(unified, W_OK) == 0 && ret_host->places[CGROUP_CORE].version == 2;
    if (is_given) {
        mem_free(ret_host->places[CGROUP_CORE].dir);
        ret_host->places[CGROUP_CORE].dir = mem_strdup(unified);
    }
    drop_unwritable(ret_host);
    detect_unified(is_given, ret_host);
}

static enum err_code set_text(
    const struct cgroup_place *place, const char *name, const char *text, struct err_info *err)
{
    int number = write_file(place->dir, name, text);
    if (number != 0) {
        return ERR_SET_ERRNO(
            err, ERR_UNSUPPORTED, number, "%s/%s: writing '%s'", place->dir, name, text);
    }
    return ERR_OK;
}

static enum err_code set_number(
    const struct cgroup_place *place, const char *name, uint64_t value, struct err_info *err)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return set_text(place, name, text, err);
}

/* Swap would let a sandbox have more than its memory; where there is no swap accounting the kernel
 * has no such file, and then the memory limit is all there is to set. */
static enum err_code limit_memory(
    const struct cgroup_place *place, const struct cgroup_limits *limits, struct err_info *err)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, limits->memory_bytes);
    if (place->version == 2) {
        (void)write_file(place->dir, "memory.swap.max", "0");
        (void)write_file(place->dir, "memory.oom.group", "0");
        return set_number(place, "memory.max", limits->memory_bytes, err);
    }
    TRY(set_number(place, "memory.limit_in_bytes", limits->memory_bytes, err));
    (void)write_file(place->dir, "memory.memsw.limit_in_bytes", text);
    return ERR_OK;
}

static enum err_code limit_pids(
    const struct cgroup_place *place, const struct cgroup_limits *limits, struct err_info *err)
{
    return set_number(place, "pids.max", limits->pids, err);
}

static enum err_code limit_cpu(
    const struct cgroup_place *place, const struct cgroup_limits *limits, struct err_info *err)
{
    char text[64];
    uint64_t quota = limits->cpu_milli * PERIOD_US / 1000;
    if (place->version == 2) {
        (void)snprintf(text, sizeof(text), "%" PRIu64 " %d", quota, PERIOD_US);
        return set_text(place, "cpu.max", text, err);
    }
    TRY(set_number(place, "cpu.cfs_period_us", PERIOD_US, err));
    return set_number(place, "cpu.cfs_quota_us", quota, err);
}

static enum err_code set_rate(
    const struct cgroup_place *place, dev_t device, uint64_t rate, struct err_info *err)
{
    char text[128];
    unsigned high = major(device);
    unsigned low = minor(device);
    if (place->version == 2) {
        (void)snprintf(
            text, sizeof(text), "%u:%u rbps=%" PRIu64 " wbps=%" PRIu64, high, low, rate, rate);
        return set_text(place, "io.max", text, err);
    }
    (void)snprintf(text, sizeof(text), "%u:%u %" PRIu64, high, low, rate);
    TRY(set_text(place, "blkio.throttle.read_bps_device", text, err));
    return set_text(place, "blkio.throttle.write_bps_device", text, err);
}

static enum err_code limit_io(
    const struct cgroup_place *place, const struct cgroup_limits *limits, struct err_info *err)
{
    return set_rate(place, limits->io_device, limits->io_bytes_per_second, err);
}

static const struct {
    enum cgroup_controller controller;
    size_t offset; /* of the limit that asks for it */
    enum err_code (*set)(
        const struct cgroup_place *place, const struct cgroup_limits *limits, struct err_info *err);
} setters[] = {
    { CGROUP_MEMORY, offsetof(struct cgroup_limits, memory_bytes), limit_memory },
    { CGROUP_PIDS, offsetof(struct cgroup_limits, pids), limit_pids },
    { CGROUP_CPU, offsetof(struct cgroup_limits, cpu_milli), limit_cpu },
    { CGROUP_IO, offsetof(struct cgroup_limits, io_bytes_per_second), limit_io },
};

static enum err_code set_limits(
    const struct cgroup_set *set, const struct cgroup_limits *limits, struct err_info *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(setters); i++) {
        const struct cgroup_place *place = &set->places[setters[i].controller];
        uint64_t limit = 0;
        memcpy(&limit, (const char *)limits + setters[i].offset, sizeof(limit));
        if (limit == 0) {
            continue;
        }
        if (place->version == 0) {
            return ERR_SET(
                err,
                ERR_UNSUPPORTED,
                "a limit on %s is asked for, and this host gives us no %s controller",
                cgroup_controller_name(setters[i].controller),
                cgroup_controller_name(setters[i].controller));
        }
        TRY(setters[i].set(place, limits, err));
    }
    return ERR_OK;
}

/* Version 1 counts bytes only where a throttle rule stands; without a device there is nothing to
 * stand on, and then these bytes are not counted. */
static void count_io(const struct cgroup_place *place, dev_t device)
{
    if (place->version == 1) {
        enum err_code code = set_rate(place, device, IO_UNLIMITED, NULL);
        (void)code;
    }
}

enum err_code cgroup_set_add_disk(
    const struct cgroup_set *set, dev_t device, uint64_t bytes_per_second, struct err_info *err)
{
    const struct cgroup_place *place = &set->places[CGROUP_IO];
    if (bytes_per_second == 0) {
        count_io(place, device);
        return ERR_OK;
    }
    return set_rate(place, device, bytes_per_second, err);
}

enum err_code cgroup_set_create(
    const struct cgroup_set *host,
    const char *name,
    const struct cgroup_limits *limits,
    struct cgroup_set *ret_set,
    struct err_info *err)
{
    struct cgroup_set set = { .places = { { .version = 0 } } };
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT && code == ERR_OK; i++) {
        if (host->places[i].version == 0) {
            continue;
        }
        set.places[i].version = host->places[i].version;
        set.places[i].dir = mem_printf("%s/%s", host->places[i].dir, name);
        if (mkdir(set.places[i].dir, 0755) != 0 && errno != EEXIST) {
            code = ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "%s: mkdir", set.places[i].dir);
        }
    }
    if (code == ERR_OK) {
        code = set_limits(&set, limits, err);
    }
    if (code != ERR_OK) {
        (void)cgroup_set_remove(&set);
        cgroup_set_deinit(&set);
        return code;
    }
    if (limits->io_bytes_per_second == 0) {
        count_io(&set.places[CGROUP_IO], limits->io_device);
    }
    *ret_set = set;
    return ERR_OK;
}

void cgroup_set_format(const struct cgroup_set *set, struct buf *list)
{
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        if (set->places[i].version != 0) {
            buf_printf(
                list, "%s=%u:%s", controllers[i].name, set->places[i].version, set->places[i].dir);
            buf_append_char(list, '\0');
        }
    }
}

static bool parse_place(struct str_view item, struct cgroup_set *set)
{
    struct str_view name = STR_NONE;
    struct str_view rest = STR_NONE;
    struct str_view digits = STR_NONE;
    struct str_view dir = STR_NONE;
    uint64_t version = 0;
    if (!str_cut(item, '=', &name, &rest) || !str_cut(rest, ':', &digits, &dir)
        || str_parse_uint64(digits, 2, &version) != ERR_OK || version == 0
        || !str_has_prefix(dir, STR("/"))) {
        return false;
    }
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        if (str_equal(name, str_of(controllers[i].name)) && set->places[i].version == 0) {
            set->places[i] =
                (struct cgroup_place){ (unsigned)version, mem_printf("%.*s", STR_ARG(dir)) };
            return true;
        }
    }
    return false;
}

enum err_code cgroup_set_parse(
    const struct message_list *list, struct cgroup_set *ret_set, struct err_info *err)
{
    size_t cursor = 0;
    struct str_view item;
    memset(ret_set, 0, sizeof(*ret_set));
    while (message_list_next(list, &cursor, &item)) {
        if (!parse_place(item, ret_set)) {
            cgroup_set_deinit(ret_set);
            return ERR_SET(err, ERR_CORRUPT, "spec: '%.*s' is no control group", STR_ARG(item));
        }
    }
    return ERR_OK;
}

int cgroup_set_open_core(const struct cgroup_set *set)
{
    const struct cgroup_place *core = &set->places[CGROUP_CORE];
    return core->version == 0 ? -1 : open(core->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static enum err_code move(
    const struct cgroup_set *set,
    const char *v1_name,
    pid_t pid,
    bool with_core,
    struct err_info *err)
{
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        const struct cgroup_place *place = &set->places[i];
        if (place->version == 1) {
            TRY(set_number(place, v1_name, (uint64_t)pid, err));
        } else if (i == CGROUP_CORE && with_core && place->version == 2) {
            TRY(set_number(place, "cgroup.procs", (uint64_t)pid, err));
        }
    }
    return ERR_OK;
}

enum err_code cgroup_set_join(const struct cgroup_set *set, bool with_core, struct err_info *err)
{
    return move(set, "tasks", 0, with_core, err); /* 0 is who writes it */
}

enum err_code cgroup_set_attach(
    const struct cgroup_set *set, pid_t pid, bool with_core, struct err_info *err)
{
    return move(set, "cgroup.procs", pid, with_core, err);
}

/* The number after "key " in a file of such lines (key NULL: the file is one number). */
static uint64_t read_value(const struct cgroup_place *place, const char *name, const char *key)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    uint64_t value = 0;
    if (place->version == 0 || !read_file(place->dir, name, &text)) {
        return 0;
    }
    struct str_view rest = buf_view(&text);
    struct str_view line = STR_NONE;
    while (next_line(&rest, &line)) {
        struct str_view head = STR_NONE;
        struct str_view tail = line;
        if (key != NULL && (!str_cut(line, ' ', &head, &tail) || !str_equal(head, str_of(key)))) {
            continue;
        }
        return str_parse_uint64(str_trim(tail), UINT64_MAX, &value) == ERR_OK ? value : 0;
    }
    return 0;
}

struct io_bytes {
    uint64_t read;
    uint64_t written;
    uint64_t written_to_loops;
};

/*
 * What passes a loop device reaches the disk that its file is on. There it is counted as the
 * sandbox's own when it was read; what was written is there the kernel's own writing back, on
 * version 2 sometimes the sandbox's too. line: begins with the device's numbers.
 */
static void add_io(
    struct io_bytes *bytes, struct str_view line, uint64_t value, bool was_read, bool was_written)
{
    uint64_t number = 0;
    struct str_view high = STR_NONE;
    struct str_view rest = STR_NONE;
    bool is_loop = str_cut(line, ':', &high, &rest)
        && str_parse_uint64(high, UINT64_MAX, &number) == ERR_OK && number == LOOP_MAJOR;
    if (was_read && !is_loop) {
        bytes->read += value;
    } else if (was_written) {
        *(is_loop ? &bytes->written_to_loops : &bytes->written) += value;
    }
}

/* "8:0 rbytes=1 wbytes=2 ..." */
static void read_io_v2(const struct cgroup_place *place, struct io_bytes *bytes)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    (void)read_file(place->dir, "io.stat", &text);
    struct str_view rest = buf_view(&text);
    struct str_view line = STR_NONE;
    while (next_line(&rest, &line)) {
        struct str_view words = line;
        struct str_view word = STR_NONE;
        while (str_cut(words, ' ', &word, &words)) {
            struct str_view name = STR_NONE;
            struct str_view digits = STR_NONE;
            uint64_t value = 0;
            if (str_cut(word, '=', &name, &digits)
                && str_parse_uint64(digits, UINT64_MAX, &value) == ERR_OK) {
                add_io(
                    bytes,
                    line,
                    value,
                    str_equal(name, STR("rbytes")),
                    str_equal(name, STR("wbytes")));
            }
        }
    }
}

/* "8:0 Read 4096" lines. */
static void read_io_v1(const struct cgroup_place *place, struct io_bytes *bytes)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    (void)read_file(place->dir, "blkio.throttle.io_service_bytes", &text);
    struct str_view rest = buf_view(&text);
    struct str_view line = STR_NONE;
    while (next_line(&rest, &line)) {
        uint64_t value = 0;
        struct str_view kind = word_at(line, 1);
        if (str_parse_uint64(word_at(line, 2), UINT64_MAX, &value) == ERR_OK) {
            add_io(bytes, line, value, str_equal(kind, STR("Read")), str_equal(kind, STR("Write")));
        }
    }
}

static void measure_io(const struct cgroup_place *place, struct cgroup_usage *usage)
{
    struct io_bytes bytes = { .read = 0 };
    if (place->version != 0) {
        (place->version == 2 ? read_io_v2 : read_io_v1)(place, &bytes);
    }
    usage->read_bytes = bytes.read;
    usage->write_bytes =
        bytes.written > bytes.written_to_loops ? bytes.written : bytes.written_to_loops;
}

static void measure_cpu(const struct cgroup_set *set, struct cgroup_usage *usage)
{
    if (set->places[CGROUP_CORE].version == 2) {
        usage->cpu_us = read_value(&set->places[CGROUP_CORE], "cpu.stat", "usage_usec");
    } else {
        usage->cpu_us = read_value(&set->places[CGROUP_CPUACCT], "cpuacct.usage", NULL) / 1000;
    }
}

static void measure_memory(const struct cgroup_place *place, struct cgroup_usage *usage)
{
    bool is_v1 = place->version == 1;
    usage->memory_bytes =
        read_value(place, is_v1 ? "memory.usage_in_bytes" : "memory.current", NULL);
    usage->memory_peak_bytes =
        read_value(place, is_v1 ? "memory.max_usage_in_bytes" : "memory.peak", NULL);
    usage->oom_kills =
        read_value(place, is_v1 ? "memory.oom_control" : "memory.events", "oom_kill");
}

void cgroup_set_measure(const struct cgroup_set *set, struct cgroup_usage *ret_usage)
{
    memset(ret_usage, 0, sizeof(*ret_usage));
    measure_cpu(set, ret_usage);
    measure_memory(&set->places[CGROUP_MEMORY], ret_usage);
    ret_usage->pids = read_value(&set->places[CGROUP_PIDS], "pids.current", NULL);
    ret_usage->pids_peak = read_value(&set->places[CGROUP_PIDS], "pids.peak", NULL);
    measure_io(&set->places[CGROUP_IO], ret_usage);
}

static void kill_listed(const struct cgroup_place *place)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    (void)read_file(place->dir, "cgroup.procs", &text);
    struct str_view rest = buf_view(&text);
    struct str_view line = STR_NONE;
    while (next_line(&rest, &line)) {
        uint64_t pid = 0;
        if (str_parse_uint64(str_trim(line), INT32_MAX, &pid) == ERR_OK && pid > 1) {
            (void)kill((pid_t)pid, SIGKILL);
        }
    }
}

void cgroup_set_kill(const struct cgroup_set *set)
{
    const struct cgroup_place *core = &set->places[CGROUP_CORE];
    if (core->version == 2 && write_file(core->dir, "cgroup.kill", "1") == 0) {
        return;
    }
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        if (set->places[i].version != 0) {
            kill_listed(&set->places[i]); /* before 5.14, or no unified hierarchy */
            return;
        }
    }
}

bool cgroup_set_remove(const struct cgroup_set *set)
{
    bool gone = true;
    for (size_t i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        if (set->places[i].version != 0 && rmdir(set->places[i].dir) != 0 && errno != ENOENT) {
            gone = false;
        }
    }
    return gone;
}
