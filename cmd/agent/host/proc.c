#include "cmd/agent/host/proc.h"

#include "common/base/cleanup.h"

enum {
    SECTOR_BYTES = 512,
    FIELDS_MAX = 20
};

static bool next_line(struct str_view *text, struct str_view *ret_line)
{
    if (text->len == 0) {
        return false;
    }
    struct str_view rest = STR_NONE;
    if (!str_cut(*text, '\n', ret_line, &rest)) {
        *ret_line = *text;
        rest = STR_NONE;
    }
    *text = rest;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Next run of non-blank characters; empty at the end of the line. */
static struct str_view next_word(struct str_view *line)
{
    size_t start = 0;
    if (line->len == 0) {
        return STR("");
    }
    while (start < line->len && is_blank(line->ptr[start])) {
        start++;
    }
    size_t end = start;
    while (end < line->len && !is_blank(line->ptr[end])) {
        end++;
    }
    struct str_view word = str_from(line->ptr + start, end - start);
    *line = str_from(line->ptr + end, line->len - end);
    return word;
}

/* Reads numbers until one is none; returns how many. */
static unsigned read_numbers(struct str_view line, uint64_t *numbers, unsigned max)
{
    unsigned count = 0;
    while (count < max) {
        struct str_view word = next_word(&line);
        if (word.len == 0 || str_parse_uint64(word, UINT64_MAX, &numbers[count]) != ERR_OK) {
            break;
        }
        count++;
    }
    return count;
}

static bool read_cpu(struct str_view line, struct proc_cpu *cpu)
{
    uint64_t n[8] = { 0 }; /* user nice system idle iowait irq softirq steal; steal since 2.6.11 */
    if (read_numbers(line, n, ARRAY_LENGTH(n)) < 4) {
        return false;
    }
    cpu->user = n[0] + n[1];
    cpu->system = n[2] + n[5] + n[6];
    cpu->idle = n[3];
    cpu->iowait = n[4];
    cpu->steal = n[7];
    return true;
}

enum err_code proc_parse_stat(struct str_view text, struct proc_stat *ret_stat)
{
    struct str_view line;
    bool have_total = false;
    ret_stat->core_count = 0;
    while (next_line(&text, &line)) {
        struct str_view name = next_word(&line);
        if (str_equal(name, STR("cpu"))) {
            have_total = read_cpu(line, &ret_stat->total);
        } else if (
            str_has_prefix(name, STR("cpu")) && ret_stat->core_count < PROC_CORES_MAX
            && read_cpu(line, &ret_stat->cores[ret_stat->core_count])) {
            ret_stat->core_count++;
        }
    }
    return have_total ? ERR_OK : ERR_CORRUPT;
}

/* "12.34" with up to 9 digits on each side of the point; no sign, no exponent. */
static enum err_code parse_decimal(struct str_view word, double *ret_value)
{
    struct str_view whole = word;
    struct str_view fraction = STR_NONE;
    uint64_t units = 0;
    uint64_t parts = 0;
    (void)str_cut(word, '.', &whole, &fraction);
    TRY(str_parse_uint64(whole, UINT64_C(1000000000000), &units));
    double scale = 1.0;
    if (fraction.len > 0) {
        TRY(str_parse_uint64(fraction, UINT64_C(999999999), &parts));
        for (size_t i = 0; i < fraction.len; i++) {
            scale *= 10.0;
        }
    }
    *ret_value = (double)units + (double)parts / scale;
    return ERR_OK;
}

enum err_code proc_parse_load(struct str_view text, struct proc_load *ret_load)
{
    struct proc_load load = { 0 };
    double *const values[] = { &load.load1, &load.load5, &load.load15 };
    struct str_view line = STR_NONE;
    (void)next_line(&text, &line);
    for (unsigned i = 0; i < ARRAY_LENGTH(values); i++) {
        if (parse_decimal(next_word(&line), values[i]) != ERR_OK) {
            return ERR_CORRUPT;
        }
    }
    struct str_view running = STR_NONE;
    struct str_view all = STR_NONE;
    if (!str_cut(next_word(&line), '/', &running, &all)
        || str_parse_uint64(all, UINT64_MAX, &load.tasks) != ERR_OK) {
        return ERR_CORRUPT;
    }
    *ret_load = load;
    return ERR_OK;
}

enum err_code proc_parse_memory(struct str_view text, struct proc_memory *ret_memory)
{
    struct {
        struct str_view name;
        uint64_t kib;
        bool found;
    } rows[] = { { STR("MemTotal:"), 0, false },  { STR("MemAvailable:"), 0, false },
                 { STR("SwapTotal:"), 0, false }, { STR("SwapFree:"), 0, false },
                 { STR("MemFree:"), 0, false },   { STR("Buffers:"), 0, false },
                 { STR("Cached:"), 0, false } };
    struct str_view line;
    while (next_line(&text, &line)) {
        struct str_view name = next_word(&line);
        for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
            if (str_equal(name, rows[i].name)
                && str_parse_uint64(next_word(&line), UINT64_MAX / 4096, &rows[i].kib) == ERR_OK) {
                rows[i].found = true;
            }
        }
    }
    if (!rows[0].found) {
        return ERR_CORRUPT;
    }
    uint64_t available = rows[1].found ? rows[1].kib : rows[4].kib + rows[5].kib + rows[6].kib;
    ret_memory->total = rows[0].kib * 1024;
    ret_memory->available = (available > rows[0].kib ? rows[0].kib : available) * 1024;
    ret_memory->swap_total = rows[2].kib * 1024;
    ret_memory->swap_free = (rows[3].kib > rows[2].kib ? rows[2].kib : rows[3].kib) * 1024;
    return ERR_OK;
}

enum err_code proc_parse_uptime(struct str_view text, int64_t *ret_us)
{
    double seconds = 0;
    struct str_view line = STR_NONE;
    (void)next_line(&text, &line);
    if (parse_decimal(next_word(&line), &seconds) != ERR_OK) {
        return ERR_CORRUPT;
    }
    *ret_us = (int64_t)(seconds * 1e6);
    return ERR_OK;
}

static bool is_pseudo_disk(struct str_view name)
{
    return str_has_prefix(name, STR("loop")) || str_has_prefix(name, STR("ram"))
        || str_has_prefix(name, STR("zram"));
}

unsigned proc_parse_disks(struct str_view text, struct proc_disk *rows, unsigned max)
{
    unsigned count = 0;
    struct str_view line;
    while (count < max && next_line(&text, &line)) {
        (void)next_word(&line); /* major and minor number */
        (void)next_word(&line);
        struct str_view name = next_word(&line);
        uint64_t n[FIELDS_MAX] = { 0 };
        if (read_numbers(line, n, FIELDS_MAX) < 10 || (is_pseudo_disk(name) && n[0] + n[4] == 0)) {
            continue;
        }
        struct proc_disk *row = &rows[count];
        if (name.len == 0 || str_copy(name, row->name, sizeof(row->name)) != ERR_OK) {
            continue;
        }
        row->read_bytes = n[2] * SECTOR_BYTES;
        row->written_bytes = n[6] * SECTOR_BYTES;
        row->busy_ms = n[9];
        count++;
    }
    return count;
}

unsigned proc_parse_interfaces(struct str_view text, struct proc_interface *rows, unsigned max)
{
    unsigned count = 0;
    struct str_view line;
    while (count < max && next_line(&text, &line)) {
        struct str_view name;
        struct str_view rest;
        uint64_t n[FIELDS_MAX] = { 0 };
        if (!str_cut(line, ':', &name, &rest) || read_numbers(rest, n, FIELDS_MAX) < 16) {
            continue; /* the two heading lines end here too */
        }
        struct proc_interface *row = &rows[count];
        name = str_trim(name);
        if (name.len == 0 || str_copy(name, row->name, sizeof(row->name)) != ERR_OK) {
            continue;
        }
        row->received_bytes = n[0];
        row->received_errors = n[2] + n[3];
        row->sent_bytes = n[8];
        row->sent_errors = n[10] + n[11];
        count++;
    }
    return count;
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* The kernel writes blanks, tabs, newlines and backslashes of a path as \NNN. */
static enum err_code copy_unescaped(struct str_view word, char out[PROC_MOUNT_BYTES])
{
    size_t used = 0;
    for (size_t i = 0; i < word.len; i++) {
        char c = word.ptr[i];
        if (c == '\\' && word.len - i > 3 && is_octal(word.ptr[i + 1]) && is_octal(word.ptr[i + 2])
            && is_octal(word.ptr[i + 3])) {
            c = (char)(((word.ptr[i + 1] - '0') * 64 + (word.ptr[i + 2] - '0') * 8 + (word.ptr[i + 3] - '0')) & 0xff);
            i += 3;
        }
        if (c == '\0' || used + 1 >= PROC_MOUNT_BYTES) {
            return ERR_LIMIT;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return used == 0 ? ERR_INVALID : ERR_OK;
}

static bool is_real_mount(struct str_view source, struct str_view point, struct str_view type)
{
    if (str_equal(type, STR("zfs")) || str_equal(type, STR("btrfs"))) {
        return true;
    }
    if (str_equal(type, STR("overlay"))) {
        return str_equal(point, STR("/"));
    }
    return str_has_prefix(source, STR("/dev/")) && !str_equal(type, STR("squashfs"))
        && !str_equal(type, STR("iso9660"));
}

static bool has_source(const struct proc_mount *rows, unsigned count, const char *source)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(rows[i].source, source) == 0) {
            return true;
        }
    }
    return false;
}

unsigned proc_parse_mounts(struct str_view text, struct proc_mount *rows, unsigned max)
{
    unsigned count = 0;
    struct str_view line;
    while (count < max && next_line(&text, &line)) {
        struct str_view source = next_word(&line);
        struct str_view point = next_word(&line);
        struct str_view type = next_word(&line);
        struct proc_mount *row = &rows[count];
        if (is_real_mount(source, point, type) && copy_unescaped(source, row->source) == ERR_OK
            && copy_unescaped(point, row->point) == ERR_OK && row->point[0] == '/'
            && str_is_utf8(str_of(row->point), NULL) && !has_source(rows, count, row->source)) {
            count++;
        }
    }
    return count;
}

/* true: `name` is one of the comma-separated controllers. */
static bool lists_controller(struct str_view controllers, struct str_view name)
{
    struct str_view head;
    while (str_cut(controllers, ',', &head, &controllers)) {
        if (str_equal(head, name)) {
            return true;
        }
    }
    return str_equal(controllers, name);
}

/* Paths with ".." (a cgroup outside our namespace) are of no use below the mount point. */
static void copy_cgroup_path(struct str_view path, char out[PROC_MOUNT_BYTES])
{
    bool climbs = str_has_prefix(path, STR("/.."));
    if (path.len == 0 || path.ptr[0] != '/' || climbs
        || str_copy(path, out, PROC_MOUNT_BYTES) != ERR_OK) {
        out[0] = '\0';
    }
}

void proc_parse_cgroup(struct str_view text, struct proc_cgroup *ret_cgroup)
{
    memset(ret_cgroup, 0, sizeof(*ret_cgroup));
    struct str_view line;
    while (next_line(&text, &line)) {
        struct str_view id;
        struct str_view controllers;
        struct str_view path;
        if (!str_cut(line, ':', &id, &path) || !str_cut(path, ':', &controllers, &path)) {
            continue;
        }
        if (controllers.len == 0) {
            copy_cgroup_path(path, ret_cgroup->unified);
        } else if (lists_controller(controllers, STR("memory"))) {
            copy_cgroup_path(path, ret_cgroup->memory);
        } else if (lists_controller(controllers, STR("cpuacct"))) {
            copy_cgroup_path(path, ret_cgroup->cpu);
        }
    }
}

enum err_code proc_find_number(struct str_view text, struct str_view name, uint64_t *ret_value)
{
    struct str_view line;
    while (next_line(&text, &line)) {
        if (str_equal(next_word(&line), name)) {
            return str_parse_uint64(next_word(&line), UINT64_MAX, ret_value) == ERR_OK
                ? ERR_OK
                : ERR_CORRUPT;
        }
    }
    return ERR_NOT_FOUND;
}

enum err_code proc_parse_number(struct str_view text, int64_t *ret_value)
{
    return str_parse_int64(str_trim(text), INT64_MIN, INT64_MAX, ret_value) == ERR_OK ? ERR_OK
                                                                                      : ERR_CORRUPT;
}

struct str_view proc_find_release(struct str_view text, struct str_view name)
{
    struct str_view line;
    while (next_line(&text, &line)) {
        struct str_view key;
        struct str_view value;
        if (!str_cut(line, '=', &key, &value) || !str_equal(str_trim(key), name)) {
            continue;
        }
        value = str_trim(value);
        if (value.len >= 2 && (value.ptr[0] == '"' || value.ptr[0] == '\'')
            && value.ptr[value.len - 1] == value.ptr[0]) {
            value = str_from(value.ptr + 1, value.len - 2);
        }
        return value;
    }
    return STR_NONE;
}
