#include "cmd/server/store/sandbox/figures.h"

#include "figures.sql.h"

static const struct store_column columns[] = {
    STORE_COLUMN(figures_record, workspace, STORE_TEXT),
    STORE_COLUMN(figures_record, sandbox_id, STORE_TEXT),
    STORE_COLUMN(figures_record, name, STORE_TEXT),
    STORE_COLUMN(figures_record, owner, STORE_TEXT),
    STORE_COLUMN(figures_record, agent_name, STORE_TEXT),
    STORE_COLUMN(figures_record, agent_seen_at, STORE_INT),
    STORE_COLUMN(figures_record, phase, STORE_INT),
    STORE_COLUMN(figures_record, cpu_millis, STORE_INT),
    STORE_COLUMN(figures_record, memory_limit_bytes, STORE_INT),
    STORE_COLUMN(figures_record, disk_limit_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.interval_us, STORE_INT),
    STORE_COLUMN(figures_record, reading.taken_at, STORE_INT),
    STORE_COLUMN(figures_record, reading.received_at, STORE_INT),
    STORE_COLUMN(figures_record, reading.cpu_us, STORE_INT),
    STORE_COLUMN(figures_record, reading.read_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.written_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.sent_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.received_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.memory_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.disk_bytes, STORE_INT),
    STORE_COLUMN(figures_record, reading.processes, STORE_INT),
    STORE_COLUMN(figures_record, cursor, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(figures_record, columns);

static const struct store_column watch_columns[] = {
    STORE_COLUMN(figures_watch, workspace_id, STORE_INT),
};
static const struct store_type watch_type = STORE_TYPE(figures_watch, watch_columns);

enum err_code store_figures_put(
    struct sql_conn *conn,
    const struct figures_of *whose,
    const struct figures_reading *reading,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_FIGURES_PUT,
        SQL_ARGS(
            SQL_INT(whose->workspace_id),
            SQL_TEXT(whose->sandbox_id),
            SQL_INT(whose->agent_id),
            SQL_INT(reading->interval_us),
            SQL_INT(reading->taken_at),
            SQL_INT(reading->received_at),
            SQL_INT(reading->cpu_us),
            SQL_INT(reading->read_bytes),
            SQL_INT(reading->written_bytes),
            SQL_INT(reading->sent_bytes),
            SQL_INT(reading->received_bytes),
            SQL_INT(reading->memory_bytes),
            SQL_INT(reading->disk_bytes),
            SQL_INT(reading->processes)),
        NULL,
        err);
}

enum err_code store_figures_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct figures_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    struct str_view workspace = STR_NONE;
    struct str_view name = STR("");
    int64_t after = 0;
    bool is_valid = filter->cursor.len == 0
        || (str_cut(filter->cursor, ':', &workspace, &name)
            && str_parse_int64(workspace, 0, INT64_MAX, &after) == ERR_OK);
    if (!is_valid) {
        return ERR_SET(err, ERR_INVALID, "cursor: not of this list");
    }
    return store_select(
        STORE_ASK(
            conn,
            &SQL_FIGURES_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(after),
                SQL_VIEW(name),
                SQL_VIEW(filter->name),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_figures_watch(
    struct sql_conn *conn,
    const struct figures_watch *watch,
    int64_t enough_us,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_FIGURES_WATCH,
            SQL_ARGS(SQL_INT(watch->workspace_id), SQL_INT(watch->until_us), SQL_INT(enough_us))),
        &watch_type,
        arena,
        ret_list,
        err);
}

enum err_code store_figures_watched(
    struct sql_conn *conn, int64_t workspace_id, int64_t *ret_until_us, struct err_info *err)
{
    int64_t until_us = 0;
    enum err_code code = store_select_int(
        STORE_ASK(conn, &SQL_FIGURES_WATCHED, SQL_ARGS(SQL_INT(workspace_id))), &until_us, err);
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        return code;
    }
    *ret_until_us = until_us;
    return ERR_OK;
}
