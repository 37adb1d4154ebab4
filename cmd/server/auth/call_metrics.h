/*
 * Counters and times of calls, by method and status. The series of a method are looked up once and
 * kept, since counting happens on every call. Thread-safe.
 */
#ifndef SERVER_AUTH_CALL_METRICS_H
#define SERVER_AUTH_CALL_METRICS_H

#include "common/metrics/metrics.h"
#include "common/rpc/server.h"

struct call_metrics;

/* tables: what the server serves; their rows must outlive this. */
struct call_metrics *call_metrics_create(
    struct metrics *metrics, const struct rpc_table *tables, size_t count);
void call_metrics_destroy(struct call_metrics *self); /* NULL is allowed */

/* A method of none of the tables (health, reflection) counts too, at the price of a look-up. */
void call_metrics_count(
    struct call_metrics *self,
    const struct rpc_method *method,
    enum rpc_status status,
    int64_t elapsed_us);

#endif
