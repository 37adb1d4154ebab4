#include "cmd/server/store/sandbox/figures.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "figures.sql.h"

#include <inttypes.h>

enum {
    NAMES_BYTES = 64 * 1024,
    ROW_BYTES = 1024 /* of a sandbox's reading: its id, escaped, and ten numbers */
};

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

static void write_reading(const struct figures_news *news, struct buf *out)
{
    const struct figures_reading *reading = &news->reading;
    const int64_t numbers[] = {
        reading->interval_us,   reading->taken_at,   reading->cpu_us,         reading->read_bytes,
        reading->written_bytes, reading->sent_bytes, reading->received_bytes, reading->memory_bytes,
        reading->disk_bytes,    reading->processes,
    };
    buf_append_char(out, '[');
    buf_append_json(out, str_of(news->sandbox_id));
    for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        buf_printf(out, ",%" PRId64, numbers[i]);
    }
    buf_append_char(out, ']');
}

enum err_code store_figures_put(
    struct sql_conn *conn,
    const struct figures_of *whose,
    const struct figures_news *news,
    size_t count,
    struct err_info *err)
{
    AUTO_BUF struct buf rows = BUF_INIT(count * ROW_BYTES + 2);
    buf_append_char(&rows, '[');
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&rows, i == 0 ? STR("") : STR(","));
        write_reading(&news[i], &rows);
    }
    buf_append_char(&rows, ']');
    if (!buf_ok(&rows)) {
        return ERR_SET(err, ERR_LIMIT, "sandbox_id: too long");
    }
    return sql_exec(
        conn,
        &SQL_FIGURES_PUT,
        SQL_ARGS(
            SQL_INT(whose->workspace_id),
            SQL_INT(whose->agent_id),
            SQL_VIEW(buf_view(&rows)),
            SQL_TIME(whose->received_at)),
        NULL,
        err);
}

/* A JSON array; "": none were given. */
static enum err_code write_names(
    const struct figures_filter *filter, struct buf *out, struct err_info *err)
{
    for (size_t i = 0; i < filter->name_count; i++) {
        buf_append_char(out, i == 0 ? '[' : ',');
        buf_append_json(out, str_of(filter->names[i]));
    }
    if (filter->name_count > 0) {
        buf_append_char(out, ']');
    }
    return buf_ok(out) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "sandboxes: too many names at once");
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
    AUTO_BUF struct buf names = BUF_INIT(NAMES_BYTES);
    int64_t after = 0;
    bool is_valid = filter->cursor.len == 0
        || (str_cut(filter->cursor, ':', &workspace, &name)
            && str_parse_int64(workspace, 0, INT64_MAX, &after) == ERR_OK);
    if (!is_valid) {
        return ERR_SET(err, ERR_INVALID, "cursor: not of this list");
    }
    TRY(write_names(filter, &names, err));
    return store_select(
        STORE_ASK(
            conn,
            sql_takes_writes(conn) ? &SQL_FIGURES_LIST : &SQL_FIGURES_LIST_BARE,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(after),
                SQL_VIEW(name),
                SQL_TEXT(buf_text(&names)),
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
