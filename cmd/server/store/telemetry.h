/*
 * Series and samples. Inside the caller's transaction. What each engine does fast differs (UNNEST
 * on PostgreSQL, one prepared statement per row on SQLite): both bodies stand behind one function.
 */
#ifndef SERVER_STORE_TELEMETRY_H
#define SERVER_STORE_TELEMETRY_H

#include "cmd/server/store/row.h"

struct series_name {
    struct str_view metric;
    struct str_view device;
    struct str_view instance;
    struct str_view unit;
};

struct series_request { /* names of one agent that want ids */
    int64_t workspace_id;
    int64_t agent_id;
    const struct series_name *names;
    size_t count;
};

struct series_record {
    int64_t id;
    int64_t agent_id;
    const char *agent_name;
    const char *metric;
    const char *device;
    const char *instance;
    const char *unit;
    int64_t last_time;
    double last_value;
};

struct series_filter {
    int64_t agent_id; /* 0: any */
    struct str_view metric;
    bool metric_is_prefix;
    struct str_view device;   /* ptr NULL: any */
    struct str_view instance; /* ptr NULL: any */
    int64_t after_id;         /* list, newer */
    int64_t received_after;   /* newer: by a server's clock */
    int64_t limit;
};

struct sample_columns { /* count rows, column by column */
    size_t count;
    const int64_t *workspace_ids;
    const int64_t *series_ids;
    const int64_t *times_us;
    const double *values;
};

/* Samples series by series: those of a series stand side by side in times_us and values, so that
 * what is the same for all of them is looked at once. */
struct sample_runs {
    size_t series_count;
    const int64_t *workspace_ids; /* a series each; none stands twice */
    const int64_t *series_ids;
    const int64_t *firsts; /* places of its first and last sample, counted from 1 */
    const int64_t *lasts;
    size_t count; /* samples of all */
    const int64_t *times_us;
    const double *values;
};

struct sample_range {
    int64_t series_id;
    int64_t start_us;
    int64_t end_us;  /* not included */
    int64_t step_us; /* steps only */
    int64_t limit;
};

struct sample_row {
    int64_t time_us;
    double value;
};

struct sample_step {
    int64_t start_us;
    int64_t count;
    double sum;
    double min;
    double max;
    int64_t last_us;
};

/* Makes what is missing and gives the id of each name, in order: ret_ids holds request->count. */
enum err_code store_series_put(
    struct sql_conn *conn,
    const struct series_request *request,
    int64_t *ret_ids,
    struct err_info *err) MUST_CHECK;

/*
 * How the last batches went: whether some of their samples stood already. PostgreSQL inserts at
 * half the price when it need not reckon with that, and pays double when it then does.
 */
struct sample_habit {
    unsigned wary; /* batches that still reckon with it; 0 from the start */
};

/* Inserts samples; one that stands already (same series and time) is left alone. */
enum err_code store_sample_put(
    struct sql_conn *conn,
    const struct sample_runs *samples,
    struct sample_habit *habit,
    struct err_info *err) MUST_CHECK;

/* Newest value of each series, received now; at most one row per series. */
enum err_code store_series_latest(
    struct sql_conn *conn,
    const struct sample_columns *latest,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;

/* struct series_record, by id: those whose metric begins with filter->metric. */
enum err_code store_series_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct series_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct series_record: exact metric. */
enum err_code store_series_match(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct series_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/*
 * struct series_record by id: those whose newest value came after received_after. Servers' clocks
 * differ and transactions end out of order, so who follows asks for some time before its last
 * question as well.
 */
enum err_code store_series_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct series_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* struct sample_row, by time. */
enum err_code store_sample_raw(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sample_range *range,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct sample_step: the steps of step_us that hold samples, from start_us on. */
enum err_code store_sample_steps(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sample_range *range,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
enum err_code store_sample_at(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t series_id,
    int64_t time_us,
    double *ret_value,
    struct err_info *err) MUST_CHECK;

/*
 * PostgreSQL: makes the daily partitions ahead of time. SQLite: nothing to do. Both this and
 * store_sample_retain wait a tenth of a second for locks that would hold up writers and readers.
 * ret_all: else somebody held one, and it is to be called again.
 */
enum err_code store_sample_partitions(
    struct sql_conn *conn, struct wall_us from, int64_t days, bool *ret_all, struct err_info *err)
    MUST_CHECK;
/* One portion of what is older; until *cursor is 0 it is to be called again, in a transaction of
 * its own. PostgreSQL: one whole partition. SQLite: up to max_series series after *cursor. */
enum err_code store_sample_retain(
    struct sql_conn *conn,
    struct wall_us before,
    int64_t max_series,
    int64_t *cursor,
    struct err_info *err) MUST_CHECK;

#endif
