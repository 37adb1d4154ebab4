#include "cmd/server/auth/call_metrics.h"

#include "common/base/mem.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    LABELS_BYTES = 192
};

/* Of one row, filled as they are needed; the registry gives the same series to whoever asks. */
struct method_series {
    _Atomic(struct metric *) ended[RPC_STATUS_COUNT];
    _Atomic(struct metric *) seconds;
};

struct served {
    struct rpc_table table;
    struct method_series *series; /* one per row */
};

struct call_metrics {
    struct metrics *registry;
    size_t count;
    struct served served[];
};

struct call_metrics *call_metrics_create(
    struct metrics *metrics, const struct rpc_table *tables, size_t count)
{
    struct call_metrics *self = mem_alloc(sizeof(*self) + count * sizeof(self->served[0]));
    self->registry = metrics;
    self->count = count;
    for (size_t i = 0; i < count; i++) {
        self->served[i].table = tables[i];
        self->served[i].series = mem_alloc_array(tables[i].count, sizeof(struct method_series));
    }
    return self;
}

void call_metrics_destroy(struct call_metrics *self)
{
    if (self != NULL) {
        for (size_t i = 0; i < self->count; i++) {
            mem_free(self->served[i].series);
        }
        mem_free(self);
    }
}

/* NULL: a row of none of the tables. */
static struct method_series *series_of(
    const struct call_metrics *self, const struct rpc_method *method)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct rpc_table *table = &self->served[i].table;
        if (method >= table->rows && method < table->rows + table->count) {
            return &self->served[i].series[method - table->rows];
        }
    }
    return NULL;
}

static struct metric *find_ended(
    const struct call_metrics *self, const struct rpc_method *method, enum rpc_status status)
{
    char labels[LABELS_BYTES];
    (void)snprintf(
        labels,
        sizeof(labels),
        "method=\"%s\",status=\"%s\"",
        method->path + 1,
        rpc_status_name(status));
    return metric_get(
        self->registry,
        METRIC_COUNTER,
        "belay_rpc_calls_total",
        "Calls ended, by method and status",
        labels);
}

static struct metric *find_seconds(const struct call_metrics *self, const struct rpc_method *method)
{
    char labels[LABELS_BYTES];
    (void)snprintf(labels, sizeof(labels), "method=\"%s\"", method->path + 1);
    return metric_get(
        self->registry, METRIC_HISTOGRAM, "belay_rpc_seconds", "Time of unary calls", labels);
}

static struct metric *ended_of(
    const struct call_metrics *self,
    struct method_series *series,
    const struct rpc_method *method,
    enum rpc_status status)
{
    struct metric *metric = series == NULL ? NULL : atomic_load(&series->ended[status]);
    if (metric == NULL) {
        metric = find_ended(self, method, status);
        if (series != NULL) {
            atomic_store(&series->ended[status], metric);
        }
    }
    return metric;
}

static struct metric *seconds_of(
    const struct call_metrics *self, struct method_series *series, const struct rpc_method *method)
{
    struct metric *metric = series == NULL ? NULL : atomic_load(&series->seconds);
    if (metric == NULL) {
        metric = find_seconds(self, method);
        if (series != NULL) {
            atomic_store(&series->seconds, metric);
        }
    }
    return metric;
}

void call_metrics_count(
    struct call_metrics *self,
    const struct rpc_method *method,
    enum rpc_status status,
    int64_t elapsed_us)
{
    struct method_series *series = series_of(self, method);
    metric_add(ended_of(self, series, method, status), 1);
    if (method->kind == RPC_UNARY) {
        metric_observe_us(seconds_of(self, series, method), elapsed_us);
    }
}
