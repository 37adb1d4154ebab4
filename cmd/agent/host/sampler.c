#include "cmd/agent/host/sampler.h"

#include "cmd/agent/host/proc.h"
#include "cmd/agent/host/sensors.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/statvfs.h>

enum {
    TEXT_BYTES = 256 * 1024
};

/* Counters of one round, kept until the next. */
struct round {
    struct mono_us at;
    bool have_stat;
    struct proc_stat stat;
    struct proc_disk disks[PROC_DISKS_MAX];
    unsigned disk_count;
    struct proc_interface interfaces[PROC_INTERFACES_MAX];
    unsigned interface_count;
    bool have_cgroup_cpu;
    uint64_t cgroup_cpu_us;
};

struct host_sampler {
    char *root;
    const struct clock *clock;
    bool per_core;
    struct buf text; /* of the file being read */
    struct round *now;
    struct round *before; /* at.value is 0 before the second round */
    struct host_samples samples;
    unsigned capacity;
};

struct host_sampler *host_sampler_create(const struct host_sampler_options *options)
{
    struct host_sampler *sampler = mem_alloc(sizeof(*sampler));
    sampler->root = mem_strdup(options->root);
    sampler->clock = options->clock;
    sampler->per_core = options->per_core;
    sampler->text = (struct buf)BUF_INIT(TEXT_BYTES);
    sampler->now = mem_alloc(sizeof(*sampler->now));
    sampler->before = mem_alloc(sizeof(*sampler->before));
    return sampler;
}

void host_sampler_destroy(struct host_sampler *sampler)
{
    if (sampler == NULL) {
        return;
    }
    mem_free(sampler->root);
    buf_deinit(&sampler->text);
    mem_free(sampler->now);
    mem_free(sampler->before);
    mem_free(sampler->samples.rows);
    mem_free(sampler);
}

/* Instances end up in a contract that takes printable UTF-8 only. */
static bool is_printable(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return false;
        }
    }
    return str_is_utf8(str_of(text), NULL);
}

static void add_instance(
    struct host_sampler *sampler,
    const char *metric,
    const char *unit,
    const char *instance,
    double value)
{
    struct host_samples *samples = &sampler->samples;
    if (samples->count >= HOST_SAMPLES_MAX || !isfinite(value) || !is_printable(instance)) {
        return;
    }
    if (samples->count == sampler->capacity) {
        sampler->capacity = sampler->capacity == 0 ? 64 : sampler->capacity * 2;
        samples->rows = mem_realloc(samples->rows, sampler->capacity * sizeof(*samples->rows));
    }
    struct host_sample *row = &samples->rows[samples->count];
    if (str_copy(str_of(instance), row->instance, sizeof(row->instance)) != ERR_OK) {
        return;
    }
    row->metric = metric;
    row->unit = unit;
    row->value = value;
    samples->count++;
}

static void add(struct host_sampler *sampler, const char *metric, const char *unit, double value)
{
    add_instance(sampler, metric, unit, "", value);
}

static bool read_text(struct host_sampler *sampler, const char *path, struct str_view *ret_text)
{
    AUTO_FREE char *full = mem_printf("%s%s", sampler->root, path);
    buf_clear(&sampler->text);
    if (file_read(full, TEXT_BYTES - 1, &sampler->text, NULL) != ERR_OK) {
        return false;
    }
    *ret_text = buf_view(&sampler->text);
    return ret_text->len > 0;
}

/* Counters may restart (a device replaced, a counter wrapped): no negative rates. */
static double difference(uint64_t now, uint64_t before)
{
    return now >= before ? (double)(now - before) : 0.0;
}

static double elapsed_seconds(const struct host_sampler *sampler)
{
    return (double)(sampler->now->at.value - sampler->before->at.value) / 1e6;
}

static bool has_before(const struct host_sampler *sampler)
{
    return sampler->before->at.value != 0 && sampler->now->at.value > sampler->before->at.value;
}

struct cpu_ratios {
    double busy, user, system, iowait, steal;
};

static bool compare_cpu(
    const struct proc_cpu *now, const struct proc_cpu *before, struct cpu_ratios *ratios)
{
    double user = difference(now->user, before->user);
    double system = difference(now->system, before->system);
    double idle = difference(now->idle, before->idle);
    double iowait = difference(now->iowait, before->iowait);
    double steal = difference(now->steal, before->steal);
    double all = user + system + idle + iowait + steal;
    if (all <= 0) {
        return false;
    }
    *ratios = (struct cpu_ratios){
        (user + system + steal) / all, user / all, system / all, iowait / all, steal / all
    };
    return true;
}

static void sample_cpu(struct host_sampler *sampler)
{
    struct str_view text;
    struct round *now = sampler->now;
    struct round *before = sampler->before;
    struct cpu_ratios ratios;
    now->have_stat =
        read_text(sampler, "/proc/stat", &text) && proc_parse_stat(text, &now->stat) == ERR_OK;
    if (!now->have_stat || !before->have_stat
        || !compare_cpu(&now->stat.total, &before->stat.total, &ratios)) {
        return;
    }
    add(sampler, "host.cpu.busy", "ratio", ratios.busy);
    add(sampler, "host.cpu.user", "ratio", ratios.user);
    add(sampler, "host.cpu.system", "ratio", ratios.system);
    add(sampler, "host.cpu.iowait", "ratio", ratios.iowait);
    add(sampler, "host.cpu.steal", "ratio", ratios.steal);
    if (!sampler->per_core || now->stat.core_count != before->stat.core_count) {
        return;
    }
    for (unsigned i = 0; i < now->stat.core_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "%u", i);
        if (compare_cpu(&now->stat.cores[i], &before->stat.cores[i], &ratios)) {
            add_instance(sampler, "host.cpu.core.busy", "ratio", name, ratios.busy);
        }
    }
}

static unsigned count_processes(const struct host_sampler *sampler)
{
    AUTO_FREE char *path = mem_printf("%s/proc", sampler->root);
    DIR *dir = opendir(path);
    unsigned count = 0;
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? 1 : 0;
    }
    (void)closedir(dir);
    return count;
}

static void sample_load(struct host_sampler *sampler)
{
    struct str_view text;
    struct proc_load load;
    int64_t uptime_us = 0;
    if (read_text(sampler, "/proc/loadavg", &text) && proc_parse_load(text, &load) == ERR_OK) {
        add(sampler, "host.load.1m", "tasks", load.load1);
        add(sampler, "host.load.5m", "tasks", load.load5);
        add(sampler, "host.load.15m", "tasks", load.load15);
        add(sampler, "host.tasks", "count", (double)load.tasks);
    }
    if (read_text(sampler, "/proc/uptime", &text)
        && proc_parse_uptime(text, &uptime_us) == ERR_OK) {
        add(sampler, "host.uptime", "seconds", (double)uptime_us / 1e6);
    }
    unsigned processes = count_processes(sampler);
    if (processes > 0) {
        add(sampler, "host.processes", "count", (double)processes);
    }
}

static void sample_memory(struct host_sampler *sampler)
{
    struct str_view text;
    struct proc_memory memory;
    if (!read_text(sampler, "/proc/meminfo", &text) || proc_parse_memory(text, &memory) != ERR_OK) {
        return;
    }
    add(sampler, "host.memory.total", "bytes", (double)memory.total);
    add(sampler, "host.memory.available", "bytes", (double)memory.available);
    add(sampler, "host.memory.used", "bytes", (double)(memory.total - memory.available));
    add(sampler, "host.swap.total", "bytes", (double)memory.swap_total);
    add(sampler, "host.swap.used", "bytes", (double)(memory.swap_total - memory.swap_free));
}

static void sample_filesystems(struct host_sampler *sampler)
{
    struct str_view text;
    if (!read_text(sampler, "/proc/self/mounts", &text)) {
        return;
    }
    struct proc_mount *mounts = mem_alloc_array(PROC_MOUNTS_MAX, sizeof(*mounts));
    unsigned count = proc_parse_mounts(text, mounts, PROC_MOUNTS_MAX);
    for (unsigned i = 0; i < count; i++) {
        AUTO_FREE char *point = mem_printf("%s%s", sampler->root, mounts[i].point);
        struct statvfs info;
        if (statvfs(point, &info) != 0 || info.f_blocks == 0) {
            continue;
        }
        /* as df counts: blocks kept for root are neither used nor available */
        double used = (double)info.f_blocks - (double)info.f_bfree;
        double reachable = used + (double)info.f_bavail;
        double size = (double)info.f_blocks * (double)info.f_frsize;
        add_instance(sampler, "host.disk.size", "bytes", mounts[i].point, size);
        if (reachable > 0) {
            add_instance(sampler, "host.disk.used", "ratio", mounts[i].point, used / reachable);
        }
    }
    mem_free(mounts);
}

static const struct proc_disk *find_disk(const struct round *round, const char *name)
{
    for (unsigned i = 0; i < round->disk_count; i++) {
        if (strcmp(round->disks[i].name, name) == 0) {
            return &round->disks[i];
        }
    }
    return NULL;
}

static void sample_disks(struct host_sampler *sampler)
{
    struct str_view text;
    struct round *now = sampler->now;
    now->disk_count = 0;
    if (!read_text(sampler, "/proc/diskstats", &text)) {
        return;
    }
    now->disk_count = proc_parse_disks(text, now->disks, PROC_DISKS_MAX);
    double seconds = elapsed_seconds(sampler);
    for (unsigned i = 0; has_before(sampler) && i < now->disk_count; i++) {
        const struct proc_disk *row = &now->disks[i];
        const struct proc_disk *old = find_disk(sampler->before, row->name);
        if (old == NULL) {
            continue;
        }
        double read = difference(row->read_bytes, old->read_bytes) / seconds;
        double written = difference(row->written_bytes, old->written_bytes) / seconds;
        double busy = difference(row->busy_ms, old->busy_ms) / 1e3 / seconds;
        add_instance(sampler, "host.block.read", "bytes_per_second", row->name, read);
        add_instance(sampler, "host.block.write", "bytes_per_second", row->name, written);
        add_instance(sampler, "host.block.busy", "ratio", row->name, busy > 1.0 ? 1.0 : busy);
    }
}

static const struct proc_interface *find_interface(const struct round *round, const char *name)
{
    for (unsigned i = 0; i < round->interface_count; i++) {
        if (strcmp(round->interfaces[i].name, name) == 0) {
            return &round->interfaces[i];
        }
    }
    return NULL;
}

static void sample_network(struct host_sampler *sampler)
{
    struct str_view text;
    struct round *now = sampler->now;
    now->interface_count = 0;
    if (!read_text(sampler, "/proc/self/net/dev", &text)) {
        return;
    }
    now->interface_count = proc_parse_interfaces(text, now->interfaces, PROC_INTERFACES_MAX);
    double seconds = elapsed_seconds(sampler);
    for (unsigned i = 0; has_before(sampler) && i < now->interface_count; i++) {
        const struct proc_interface *row = &now->interfaces[i];
        const struct proc_interface *old = find_interface(sampler->before, row->name);
        if (old == NULL) {
            continue;
        }
        double received = difference(row->received_bytes, old->received_bytes) / seconds;
        double sent = difference(row->sent_bytes, old->sent_bytes) / seconds;
        double errors = (difference(row->received_errors, old->received_errors)
                         + difference(row->sent_errors, old->sent_errors))
            / seconds;
        add_instance(sampler, "host.network.receive", "bytes_per_second", row->name, received);
        add_instance(sampler, "host.network.transmit", "bytes_per_second", row->name, sent);
        add_instance(sampler, "host.network.errors", "per_second", row->name, errors);
    }
}

/* Reads the first of two files that exists: our own cgroup, or the top of what a container sees. */
static bool read_cgroup(
    struct host_sampler *sampler,
    const char *mount,
    const char *group,
    const char *file,
    struct str_view *ret_text)
{
    AUTO_FREE char *own = mem_printf("/sys/fs/cgroup%s%s/%s", mount, group, file);
    AUTO_FREE char *top = mem_printf("/sys/fs/cgroup%s/%s", mount, file);
    return read_text(sampler, own, ret_text) || read_text(sampler, top, ret_text);
}

static bool read_cgroup_cpu(
    struct host_sampler *sampler, const struct proc_cgroup *group, uint64_t *ret_us)
{
    struct str_view text;
    int64_t ns = 0;
    if (read_cgroup(sampler, "", group->unified, "cpu.stat", &text)
        && proc_find_number(text, STR("usage_usec"), ret_us) == ERR_OK) {
        return true;
    }
    if (read_cgroup(sampler, "/cpuacct", group->cpu, "cpuacct.usage", &text)
        && proc_parse_number(text, &ns) == ERR_OK && ns >= 0) {
        *ret_us = (uint64_t)ns / 1000;
        return true;
    }
    return false;
}

static void sample_cgroup(struct host_sampler *sampler)
{
    struct str_view text;
    struct proc_cgroup group;
    struct round *now = sampler->now;
    int64_t bytes = 0;
    now->have_cgroup_cpu = false;
    if (!read_text(sampler, "/proc/self/cgroup", &text)) {
        return;
    }
    proc_parse_cgroup(text, &group);
    now->have_cgroup_cpu = read_cgroup_cpu(sampler, &group, &now->cgroup_cpu_us);
    if (now->have_cgroup_cpu && sampler->before->have_cgroup_cpu && has_before(sampler)) {
        double used_us = difference(now->cgroup_cpu_us, sampler->before->cgroup_cpu_us);
        add(sampler, "host.cgroup.cpu", "cores", used_us / 1e6 / elapsed_seconds(sampler));
    }
    if ((read_cgroup(sampler, "", group.unified, "memory.current", &text)
         || read_cgroup(sampler, "/memory", group.memory, "memory.usage_in_bytes", &text))
        && proc_parse_number(text, &bytes) == ERR_OK) {
        add(sampler, "host.cgroup.memory", "bytes", (double)bytes);
    }
}

static void add_temperature(void *context, const char *name, double celsius)
{
    add_instance(context, "host.temperature", "celsius", name, celsius);
}

void host_sampler_take(struct host_sampler *sampler, struct host_samples *ret_samples)
{
    struct round *recycled = sampler->before;
    sampler->before = sampler->now;
    sampler->now = recycled;
    sampler->now->at = clock_mono(sampler->clock);
    sampler->samples.time = clock_wall(sampler->clock);
    sampler->samples.count = 0;
    sample_cpu(sampler);
    sample_load(sampler);
    sample_memory(sampler);
    sample_filesystems(sampler);
    sample_disks(sampler);
    sample_network(sampler);
    sample_cgroup(sampler);
    sensors_read(sampler->root, add_temperature, sampler);
    *ret_samples = sampler->samples;
}

void host_sampler_peek_last(const struct host_sampler *sampler, struct host_samples *ret_samples)
{
    *ret_samples = sampler->samples;
}
