#include "common/metrics/metrics.h"

#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "common/sys/lock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SERIES_MAX = 4096,
    LABELS_MAX_BYTES = 1024
};

/* Upper bounds in microseconds, each with its text in seconds. */
static const struct {
    int64_t us;
    const char *seconds;
} buckets[] = {
    { 100, "0.0001" },  { 250, "0.00025" }, { 500, "0.0005" },  { 1000, "0.001" },
    { 2500, "0.0025" }, { 5000, "0.005" },  { 10000, "0.01" },  { 25000, "0.025" },
    { 50000, "0.05" },  { 100000, "0.1" },  { 250000, "0.25" }, { 500000, "0.5" },
    { 1000000, "1" },   { 2500000, "2.5" }, { 5000000, "5" },   { 10000000, "10" },
    { 30000000, "30" }, { 60000000, "60" },
};

enum {
    BUCKET_COUNT = ARRAY_LENGTH(buckets)
};

struct histogram {
    _Atomic int64_t counts[BUCKET_COUNT + 1]; /* the last one: above every bound */
    _Atomic int64_t sum_us;
};

/* Never moved and never freed before its registry, so that counting needs no lock. */
struct metric {
    struct metrics *owner;
    enum metric_type type;
    char *labels; /* "" without */
    _Atomic int64_t value;
    struct histogram *histogram;    /* of histograms only */
    int64_t (*read)(void *context); /* this and context: under the owner's lock */
    void *context;
    struct metric *next; /* in order of registration */
};

struct family {
    const char *name;
    const char *help;
    enum metric_type type;
    struct map *by_labels;
    struct metric *first;
    struct metric **last;
    struct family *next;
};

struct metrics {
    struct lock lock; /* LOCK_RANK_METRICS: the lists and maps, not the numbers */
    struct map *by_name;
    struct family *first;
    struct family **last;
    size_t series_count;
};

static void misuse(const char *name, const char *text)
{
    (void)fprintf(
        stderr,
        "{\"level\":\"fatal\",\"event\":\"metric_misuse\",\"name\":\"%s\",\"reason\":\"%s\"}\n",
        name,
        text);
    abort();
}

struct metrics *metrics_create(void)
{
    struct metrics *metrics = mem_alloc(sizeof(*metrics));
    lock_init(&metrics->lock, LOCK_RANK_METRICS);
    metrics->by_name = map_create();
    metrics->last = &metrics->first;
    return metrics;
}

static void family_destroy(struct family *family)
{
    struct metric *next = NULL;
    for (struct metric *metric = family->first; metric != NULL; metric = next) {
        next = metric->next;
        mem_free(metric->labels);
        mem_free(metric->histogram);
        mem_free(metric);
    }
    map_destroy(family->by_labels, NULL);
    mem_free(family);
}

void metrics_destroy(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    struct family *next = NULL;
    for (struct family *family = metrics->first; family != NULL; family = next) {
        next = family->next;
        family_destroy(family);
    }
    map_destroy(metrics->by_name, NULL);
    lock_deinit(&metrics->lock);
    mem_free(metrics);
}

static bool is_name_char(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return letter || (!first && c >= '0' && c <= '9');
}

static bool is_name(struct str_view name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_name_char(name.ptr[i], i == 0)) {
            return false;
        }
    }
    return name.len > 0;
}

static bool is_escape(char c)
{
    return c == '\\' || c == '"' || c == 'n';
}

/* Bytes of a quoted value with its quotes, 0 if it is not one. */
static size_t quoted_length(struct str_view text)
{
    if (text.len < 2 || text.ptr[0] != '"') {
        return 0;
    }
    for (size_t i = 1; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"') {
            return i + 1;
        }
        if ((unsigned char)c < 0x20) {
            return 0;
        }
        if (c == '\\') {
            i++;
            if (i == text.len || !is_escape(text.ptr[i])) {
                return 0;
            }
        }
    }
    return 0;
}

/* Labels may hold a peer's text: what would break the page is counted without labels instead. */
static bool labels_are_valid(struct str_view labels)
{
    if (labels.len > LABELS_MAX_BYTES || !str_is_utf8(labels, NULL)) {
        return false;
    }
    while (labels.len > 0) {
        struct str_view name = STR_NONE;
        struct str_view value = STR_NONE;
        if (!str_cut(labels, '=', &name, &value) || !is_name(name) || str_equal(name, STR("le"))) {
            return false;
        }
        size_t length = quoted_length(value);
        bool more = length > 0 && length < value.len;
        if (length == 0 || (more && (value.ptr[length] != ',' || length + 1 == value.len))) {
            return false;
        }
        size_t used = more ? length + 1 : length;
        labels = str_from(value.ptr + used, value.len - used);
    }
    return true;
}

static struct family *get_family(
    struct metrics *metrics, enum metric_type type, const char *name, const char *help)
{
    lock_assert_held(&metrics->lock);
    struct family *family = map_find(metrics->by_name, str_of(name));
    if (family != NULL) {
        if (family->type != type) {
            misuse(name, "registered with another type");
        }
        return family;
    }
    bool total = str_has_suffix(str_of(name), STR("_total"));
    if (!is_name(str_of(name)) || total != (type == METRIC_COUNTER)) {
        misuse(name, "not a name for this type (counters, and they alone, end in _total)");
    }
    family = mem_alloc(sizeof(*family));
    *family =
        (struct family){ .name = name, .help = help, .type = type, .by_labels = map_create() };
    family->last = &family->first;
    *metrics->last = family;
    metrics->last = &family->next;
    (void)map_put(metrics->by_name, str_of(name), family);
    return family;
}

static struct metric *add_series(
    struct metrics *metrics, struct family *family, struct str_view labels)
{
    struct metric *metric = mem_alloc(sizeof(*metric));
    metric->owner = metrics;
    metric->type = family->type;
    metric->labels = mem_printf("%.*s", STR_ARG(labels));
    if (family->type == METRIC_HISTOGRAM) {
        metric->histogram = mem_alloc(sizeof(*metric->histogram));
    }
    *family->last = metric;
    family->last = &metric->next;
    (void)map_put(family->by_labels, labels, metric);
    metrics->series_count++;
    return metric;
}

struct metric *metric_get(
    struct metrics *metrics,
    enum metric_type type,
    const char *name,
    const char *help,
    const char *labels)
{
    struct str_view wanted = labels == NULL ? STR("") : str_of(labels);
    if (!labels_are_valid(wanted)) {
        wanted = STR("");
    }
    LOCK_GUARD(&metrics->lock);
    struct family *family = get_family(metrics, type, name, help);
    struct metric *metric = map_find(family->by_labels, wanted);
    if (metric == NULL && wanted.len > 0 && map_count(family->by_labels) >= SERIES_MAX) {
        wanted = STR("");
        metric = map_find(family->by_labels, wanted);
    }
    return metric != NULL ? metric : add_series(metrics, family, wanted);
}

void metric_add(struct metric *metric, int64_t delta)
{
    if (metric->type == METRIC_HISTOGRAM || (metric->type == METRIC_COUNTER && delta < 0)) {
        misuse(metric->labels, "add");
    }
    (void)atomic_fetch_add_explicit(&metric->value, delta, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
    if (metric->type == METRIC_HISTOGRAM) {
        misuse(metric->labels, "set");
    }
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe_us(struct metric *metric, int64_t us)
{
    if (metric->type != METRIC_HISTOGRAM) {
        misuse(metric->labels, "observe");
    }
    us = us < 0 ? 0 : us; /* two clock readings of different threads */
    size_t bucket = 0;
    while (bucket < BUCKET_COUNT && us > buckets[bucket].us) {
        bucket++;
    }
    struct histogram *histogram = metric->histogram;
    (void)atomic_fetch_add_explicit(&histogram->counts[bucket], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

static int64_t histogram_count(const struct histogram *histogram)
{
    int64_t count = 0;
    for (size_t i = 0; i <= BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    }
    return count;
}

int64_t metric_value(const struct metric *metric)
{
    if (metric->type == METRIC_HISTOGRAM) {
        return histogram_count(metric->histogram);
    }
    lock_acquire(&metric->owner->lock);
    int64_t (*read)(void *context) = metric->read;
    void *context = metric->context;
    lock_release(&metric->owner->lock);
    return read != NULL ? read(context)
                        : atomic_load_explicit(&metric->value, memory_order_relaxed);
}

void metric_set_source(struct metric *metric, int64_t (*read)(void *context), void *context)
{
    if (metric->type == METRIC_HISTOGRAM) {
        misuse(metric->labels, "source");
    }
    LOCK_GUARD(&metric->owner->lock);
    metric->read = read;
    metric->context = context;
}

/* One line of a page: collected under the lock, written without it, for sources are callbacks. */
struct line {
    const struct family *family;
    const struct metric *metric;
    int64_t (*read)(void *context);
    void *context;
};

static struct line *collect(struct metrics *metrics, size_t *ret_count)
{
    LOCK_GUARD(&metrics->lock);
    struct line *lines = mem_alloc_array(metrics->series_count, sizeof(*lines));
    size_t count = 0;
    for (const struct family *family = metrics->first; family != NULL; family = family->next) {
        for (const struct metric *metric = family->first; metric != NULL; metric = metric->next) {
            lines[count++] = (struct line){ family, metric, metric->read, metric->context };
        }
    }
    *ret_count = count;
    return lines;
}

static void write_head(const struct family *family, struct buf *buf)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"
    };
    buf_printf(buf, "# HELP %s ", family->name);
    for (const char *p = family->help; *p != '\0'; p++) {
        if (*p == '\\' || *p == '\n') {
            buf_append_str(buf, *p == '\n' ? STR("\\n") : STR("\\\\"));
        } else {
            buf_append_char(buf, *p);
        }
    }
    buf_printf(buf, "\n# TYPE %s %s\n", family->name, types[family->type]);
}

static void write_histogram(const struct line *line, struct buf *buf)
{
    const struct histogram *histogram = line->metric->histogram;
    const char *name = line->family->name;
    const char *labels = line->metric->labels;
    const char *comma = labels[0] == '\0' ? "" : ",";
    const char *open = labels[0] == '\0' ? "" : "{";
    const char *close = labels[0] == '\0' ? "" : "}";
    int64_t sum_us = atomic_load_explicit(&histogram->sum_us, memory_order_relaxed);
    int64_t count = 0;
    for (size_t i = 0; i <= BUCKET_COUNT; i++) {
        const char *bound = i < BUCKET_COUNT ? buckets[i].seconds : "+Inf";
        count += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        buf_printf(
            buf, "%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", name, labels, comma, bound, count);
    }
    buf_printf(
        buf,
        "%s_sum%s%s%s %" PRId64 ".%06" PRId64 "\n",
        name,
        open,
        labels,
        close,
        sum_us / US_PER_SECOND,
        sum_us % US_PER_SECOND);
    buf_printf(buf, "%s_count%s%s%s %" PRId64 "\n", name, open, labels, close, count);
}

static void write_value(const struct line *line, struct buf *buf)
{
    const char *labels = line->metric->labels;
    int64_t value = line->read != NULL
        ? line->read(line->context)
        : atomic_load_explicit(&line->metric->value, memory_order_relaxed);
    bool bare = labels[0] == '\0';
    buf_printf(
        buf,
        "%s%s%s%s %" PRId64 "\n",
        line->family->name,
        bare ? "" : "{",
        labels,
        bare ? "" : "}",
        value);
}

void metrics_write(struct metrics *metrics, struct buf *buf)
{
    size_t count = 0;
    AUTO_FREE struct line *lines = collect(metrics, &count);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || lines[i].family != lines[i - 1].family) {
            write_head(lines[i].family, buf);
        }
        if (lines[i].family->type == METRIC_HISTOGRAM) {
            write_histogram(&lines[i], buf);
        } else {
            write_value(&lines[i], buf);
        }
    }
}
