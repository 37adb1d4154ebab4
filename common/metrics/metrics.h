/*
 * Metrics registry and Prometheus text (version 0.0.4). Families are registered at start; counting
 * is lock-free and thread-safe.
 */
#ifndef COMMON_METRICS_METRICS_H
#define COMMON_METRICS_METRICS_H

#include "common/base/buf.h"

struct metrics;
struct metric; /* one series: a name with fixed label values */

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM
};

struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *metrics);

/* name and help: static storage. labels: "method=\"x\",status=\"OK\"" or NULL, copied. The same
 * name and labels give the same series. Takes a lock: keep the pointer. Counter names end in
 * _total. At most 4096 series per name; past that the series with no labels is returned. */
struct metric *metric_get(
    struct metrics *metrics,
    enum metric_type type,
    const char *name,
    const char *help,
    const char *labels);

void metric_add(struct metric *metric, int64_t delta);
void metric_set(struct metric *metric, int64_t value);
void metric_observe_us(
    struct metric *metric, int64_t us); /* histogram of seconds, fixed buckets 100 us .. 60 s */
int64_t metric_value(const struct metric *metric);

/* A gauge or counter whose value is asked for when text is made. */
void metric_set_source(struct metric *metric, int64_t (*read)(void *context), void *context);

void metrics_write(struct metrics *metrics, struct buf *buf);

#endif
