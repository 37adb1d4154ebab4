#include "cmd/server/store/telemetry.h"

#include "telemetry.sql.h"

enum {
    RETAIN_ROWS = 20000
};

static const struct store_column series_columns[] = {
    STORE_COLUMN(series_record, id, STORE_INT),
    STORE_COLUMN(series_record, agent_id, STORE_INT),
    STORE_COLUMN(series_record, agent_name, STORE_TEXT),
    STORE_COLUMN(series_record, metric, STORE_TEXT),
    STORE_COLUMN(series_record, device, STORE_TEXT),
    STORE_COLUMN(series_record, instance, STORE_TEXT),
    STORE_COLUMN(series_record, unit, STORE_TEXT),
    STORE_COLUMN(series_record, last_time, STORE_INT),
    STORE_COLUMN(series_record, last_value, STORE_REAL),
};
static const struct store_type series_type = STORE_TYPE(series_record, series_columns);

static const struct store_column row_columns[] = {
    STORE_COLUMN(sample_row, time_us, STORE_INT),
    STORE_COLUMN(sample_row, value, STORE_REAL),
};
static const struct store_type row_type = STORE_TYPE(sample_row, row_columns);

static const struct store_column step_columns[] = {
    STORE_COLUMN(sample_step, start_us, STORE_INT), STORE_COLUMN(sample_step, count, STORE_INT),
    STORE_COLUMN(sample_step, sum, STORE_REAL),     STORE_COLUMN(sample_step, min, STORE_REAL),
    STORE_COLUMN(sample_step, max, STORE_REAL),     STORE_COLUMN(sample_step, last_us, STORE_INT),
};
static const struct store_type step_type = STORE_TYPE(sample_step, step_columns);

static enum err_code put_series_postgres(
    struct sql_conn *conn, const struct series_request *request, struct err_info *err)
{
    size_t count = request->count;
    AUTO_FREE struct str_view *columns = mem_alloc_array(count * 4, sizeof(*columns));
    for (size_t i = 0; i < count; i++) {
        columns[i] = request->names[i].metric;
        columns[count + i] = request->names[i].device;
        columns[2 * count + i] = request->names[i].instance;
        columns[3 * count + i] = request->names[i].unit;
    }
    return sql_exec(
        conn,
        &SQL_SERIES_PUT,
        SQL_ARGS(
            SQL_INT(request->workspace_id),
            SQL_INT(request->agent_id),
            SQL_TEXTS(columns, count),
            SQL_TEXTS(columns + count, count),
            SQL_TEXTS(columns + 2 * count, count),
            SQL_TEXTS(columns + 3 * count, count)),
        NULL,
        err);
}

static enum err_code put_series_sqlite(
    struct sql_conn *conn, const struct series_request *request, struct err_info *err)
{
    for (size_t i = 0; i < request->count; i++) {
        TRY(sql_exec(
            conn,
            &SQL_SERIES_PUT_ONE,
            SQL_ARGS(
                SQL_INT(request->workspace_id),
                SQL_INT(request->agent_id),
                SQL_VIEW(request->names[i].metric),
                SQL_VIEW(request->names[i].device),
                SQL_VIEW(request->names[i].instance),
                SQL_VIEW(request->names[i].unit)),
            NULL,
            err));
    }
    return ERR_OK;
}

enum err_code store_series_put(
    struct sql_conn *conn,
    const struct series_request *request,
    int64_t *ret_ids,
    struct err_info *err)
{
    TRY((sql_engine_of(conn) == SQL_POSTGRES ? put_series_postgres : put_series_sqlite)(
        conn, request, err));
    for (size_t i = 0; i < request->count; i++) {
        TRY(store_select_int(
            STORE_ASK(
                conn,
                &SQL_SERIES_FIND,
                SQL_ARGS(
                    SQL_INT(request->workspace_id),
                    SQL_INT(request->agent_id),
                    SQL_VIEW(request->names[i].metric),
                    SQL_VIEW(request->names[i].device),
                    SQL_VIEW(request->names[i].instance))),
            &ret_ids[i],
            err));
    }
    return ERR_OK;
}

static enum err_code put_whole(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sample_runs *runs,
    int64_t *ret_changed,
    struct err_info *err)
{
    return sql_exec(
        conn,
        statement,
        SQL_ARGS(
            SQL_INTS(runs->workspace_ids, runs->series_count),
            SQL_INTS(runs->series_ids, runs->series_count),
            SQL_INTS(runs->firsts, runs->series_count),
            SQL_INTS(runs->lasts, runs->series_count),
            SQL_INTS(runs->times_us, runs->count),
            SQL_REALS(runs->values, runs->count)),
        ret_changed,
        err);
}

static enum err_code put_run(
    struct sql_conn *conn, const struct sample_runs *runs, size_t series, struct err_info *err)
{
    for (int64_t i = runs->firsts[series] - 1; i < runs->lasts[series]; i++) {
        TRY(sql_exec(
            conn,
            &SQL_SAMPLE_PUT_ONE,
            SQL_ARGS(
                SQL_INT(runs->workspace_ids[series]),
                SQL_INT(runs->series_ids[series]),
                SQL_INT(runs->times_us[i]),
                SQL_REAL(runs->values[i])),
            NULL,
            err));
    }
    return ERR_OK;
}

static enum err_code put_each(
    struct sql_conn *conn, const struct sample_runs *runs, struct err_info *err)
{
    for (size_t series = 0; series < runs->series_count; series++) {
        TRY(put_run(conn, runs, series, err));
    }
    return ERR_OK;
}

static enum err_code add_all(struct sql_conn *conn, void *context, struct err_info *err)
{
    return put_whole(conn, &SQL_SAMPLE_ADD, context, NULL, err);
}

enum {
    WARY_BATCHES = 32
};

enum err_code store_sample_put(
    struct sql_conn *conn,
    const struct sample_runs *samples,
    struct sample_habit *habit,
    struct err_info *err)
{
    if (samples->count == 0) {
        return ERR_OK;
    }
    if (sql_engine_of(conn) != SQL_POSTGRES) {
        return put_each(conn, samples, err);
    }
    if (habit->wary == 0) {
        struct sample_runs runs = *samples;
        enum err_code code = sql_attempt(conn, add_all, &runs, err);
        if (code != ERR_EXISTS) {
            return code;
        }
        habit->wary = WARY_BATCHES;
    }
    int64_t added = 0;
    TRY(put_whole(conn, &SQL_SAMPLE_PUT, samples, &added, err));
    habit->wary = added < (int64_t)samples->count ? WARY_BATCHES : habit->wary - 1;
    return ERR_OK;
}

enum err_code store_series_latest(
    struct sql_conn *conn,
    const struct sample_columns *latest,
    struct wall_us now,
    struct err_info *err)
{
    if (latest->count > 0 && sql_engine_of(conn) == SQL_POSTGRES) {
        return sql_exec(
            conn,
            &SQL_SERIES_LATEST,
            SQL_ARGS(
                SQL_INTS(latest->workspace_ids, latest->count),
                SQL_INTS(latest->series_ids, latest->count),
                SQL_INTS(latest->times_us, latest->count),
                SQL_REALS(latest->values, latest->count),
                SQL_TIME(now)),
            NULL,
            err);
    }
    for (size_t i = 0; i < latest->count; i++) {
        TRY(sql_exec(
            conn,
            &SQL_SERIES_LATEST_ONE,
            SQL_ARGS(
                SQL_INT(latest->workspace_ids[i]),
                SQL_INT(latest->series_ids[i]),
                SQL_INT(latest->times_us[i]),
                SQL_REAL(latest->values[i]),
                SQL_TIME(now)),
            NULL,
            err));
    }
    return ERR_OK;
}

static struct str_view or_any(struct str_view text)
{
    return text.ptr == NULL ? STR("*") : text;
}

static struct str_view or_empty(struct str_view text)
{
    return text.ptr == NULL ? STR("") : text;
}

enum err_code store_series_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct series_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    size_t chars = 0;
    struct str_view metric = store_prefix(filter->metric, &chars);
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SERIES_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_VIEW(metric),
                SQL_INT(chars),
                SQL_INT(filter->after_id),
                SQL_INT(filter->limit))),
        &series_type,
        arena,
        ret_list,
        err);
}

enum err_code store_series_match(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct series_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SERIES_MATCH,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_VIEW(or_empty(filter->metric)),
                SQL_VIEW(or_any(filter->device)),
                SQL_VIEW(or_any(filter->instance)),
                SQL_INT(filter->limit))),
        &series_type,
        arena,
        ret_list,
        err);
}

enum err_code store_series_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct series_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    size_t chars = 0;
    struct str_view metric = store_prefix(filter->metric, &chars);
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SERIES_NEWER,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_VIEW(metric),
                SQL_INT(filter->metric_is_prefix ? chars : 0),
                SQL_VIEW(or_any(filter->device)),
                SQL_VIEW(or_any(filter->instance)),
                SQL_INT(filter->received_after),
                SQL_INT(filter->after_id),
                SQL_INT(filter->limit))),
        &series_type,
        arena,
        ret_list,
        err);
}

enum err_code store_sample_raw(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sample_range *range,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SAMPLE_RAW,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(range->series_id),
                SQL_INT(range->start_us),
                SQL_INT(range->end_us),
                SQL_INT(range->limit))),
        &row_type,
        arena,
        ret_list,
        err);
}

enum err_code store_sample_steps(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sample_range *range,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SAMPLE_STEPS,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(range->series_id),
                SQL_INT(range->start_us),
                SQL_INT(range->end_us),
                SQL_INT(range->step_us),
                SQL_INT(range->limit))),
        &step_type,
        arena,
        ret_list,
        err);
}

enum err_code store_sample_at(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t series_id,
    int64_t time_us,
    double *ret_value,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        conn,
        &SQL_SAMPLE_AT,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(series_id), SQL_INT(time_us)),
        &rows,
        err));
    TRY(sql_rows_next(rows, err));
    *ret_value = sql_real(rows, 0);
    return ERR_OK;
}

enum err_code store_sample_partitions(
    struct sql_conn *conn, struct wall_us from, int64_t days, bool *ret_all, struct err_info *err)
{
    int64_t made = 0;
    if (sql_engine_of(conn) == SQL_POSTGRES) {
        TRY(store_select_int(
            STORE_ASK(conn, &SQL_SAMPLE_PARTITIONS, SQL_ARGS(SQL_TIME(from), SQL_INT(days))),
            &made,
            err));
    }
    *ret_all = made >= 0;
    return ERR_OK;
}

static enum err_code retain_sqlite(
    struct sql_conn *conn,
    struct wall_us before,
    int64_t max_series,
    int64_t *cursor,
    struct err_info *err)
{
    AUTO_FREE int64_t *keys = mem_alloc_array((size_t)max_series * 2, sizeof(*keys));
    size_t count = 0;
    {
        AUTO_ROWS struct sql_rows *rows = NULL;
        TRY(sql_query(
            conn, &SQL_SERIES_ALL, SQL_ARGS(SQL_INT(*cursor), SQL_INT(max_series)), &rows, err));
        enum err_code code = sql_rows_next(rows, err);
        for (; code == ERR_OK && count < (size_t)max_series; code = sql_rows_next(rows, err)) {
            keys[2 * count] = sql_int(rows, 0);
            keys[2 * count + 1] = sql_int(rows, 1);
            count++;
        }
        if (code != ERR_OK && code != ERR_NOT_FOUND) {
            return code;
        }
    }
    for (size_t i = 0; i < count; i++) {
        TRY(sql_exec(
            conn,
            &SQL_SAMPLE_REMOVE,
            SQL_ARGS(SQL_INT(keys[2 * i]), SQL_INT(keys[2 * i + 1]), SQL_TIME(before)),
            NULL,
            err));
    }
    *cursor = count == (size_t)max_series ? keys[2 * count - 1] : 0;
    return ERR_OK;
}

enum err_code store_sample_retain(
    struct sql_conn *conn,
    struct wall_us before,
    int64_t max_series,
    int64_t *cursor,
    struct err_info *err)
{
    if (sql_engine_of(conn) != SQL_POSTGRES) {
        return retain_sqlite(conn, before, max_series, cursor, err);
    }
    return store_select_int(
        STORE_ASK(conn, &SQL_SAMPLE_RETAIN, SQL_ARGS(SQL_TIME(before), SQL_INT(RETAIN_ROWS))),
        cursor,
        err);
}
