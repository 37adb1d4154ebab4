#include "cmd/server/store/sandbox/usage.h"

#include "usage.sql.h"

enum {
    PORTION = 5000
};

static const struct store_column columns[] = {
    STORE_COLUMN(usage_account, owner, STORE_TEXT),
    STORE_COLUMN(usage_account, created_at, STORE_INT),
};
static const struct store_type type = STORE_TYPE(usage_account, columns);

static const struct store_column sum_columns[] = {
    STORE_COLUMN(usage_sum, workspace, STORE_TEXT),
    STORE_COLUMN(usage_sum, sandbox_id, STORE_TEXT),
    STORE_COLUMN(usage_sum, sandbox_name, STORE_TEXT),
    STORE_COLUMN(usage_sum, owner, STORE_TEXT),
    STORE_COLUMN(usage_sum, label_value, STORE_TEXT),
    STORE_COLUMN(usage_sum, hour_us, STORE_INT),
    STORE_COLUMN(usage_sum, until_us, STORE_INT),
    STORE_COLUMN(usage_sum, sandboxes, STORE_INT),
    STORE_COLUMN(usage_sum, running_us, STORE_INT),
    STORE_COLUMN(usage_sum, cpu_us, STORE_INT),
    STORE_COLUMN(usage_sum, memory_byte_seconds, STORE_INT),
    STORE_COLUMN(usage_sum, disk_byte_seconds, STORE_INT),
    STORE_COLUMN(usage_sum, memory_peak_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, processes_peak, STORE_INT),
    STORE_COLUMN(usage_sum, read_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, written_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, sent_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, received_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, cursor, STORE_TEXT),
};
static const struct store_type sum_type = STORE_TYPE(usage_sum, sum_columns);

enum err_code store_usage_account_add(
    struct sql_conn *conn, const struct sandbox_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_USAGE_ACCOUNT_PUT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_TEXT(record->name),
            SQL_INT(record->agent_id),
            SQL_TEXT(record->created_by),
            SQL_TEXT(record->labels),
            SQL_INT(record->created_at)),
        NULL,
        err);
}

enum err_code store_usage_account_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_account_filter *filter,
    struct arena *arena,
    struct usage_account *ret_account,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(
            conn,
            &SQL_USAGE_ACCOUNT,
            SQL_ARGS(
                SQL_INT(workspace_id), SQL_TEXT(filter->sandbox_id), SQL_INT(filter->agent_id))),
        &type,
        arena,
        ret_account,
        err);
}

enum err_code store_usage_add(
    struct sql_conn *conn, const struct usage_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_USAGE_PUT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->sandbox_id),
            SQL_TEXT(record->boot_id),
            SQL_INT(record->sequence),
            SQL_INT(record->agent_id),
            SQL_TEXT(record->owner),
            SQL_INT(record->from_us),
            SQL_INT(record->until_us),
            SQL_INT(record->cpu_us),
            SQL_INT(record->memory_byte_seconds),
            SQL_INT(record->memory_peak_bytes),
            SQL_INT(record->read_bytes),
            SQL_INT(record->written_bytes),
            SQL_INT(record->sent_bytes),
            SQL_INT(record->received_bytes),
            SQL_INT(record->disk_bytes),
            SQL_INT(record->processes_peak),
            SQL_INT(record->is_final ? 1 : 0)),
        NULL,
        err);
}

struct place_in_report {
    int64_t hour_us;
    int64_t workspace_id;
    struct str_view key;
};

/* "hour:workspace:key"; nothing stands before the first row. */
static enum err_code parse_cursor(
    struct str_view cursor, struct place_in_report *ret_place, struct err_info *err)
{
    struct str_view hour = STR_NONE;
    struct str_view workspace = STR_NONE;
    struct str_view rest = STR_NONE;
    *ret_place = (struct place_in_report){ .hour_us = -1, .key = STR("") };
    bool is_valid = cursor.len == 0
        || (str_cut(cursor, ':', &hour, &rest) && str_cut(rest, ':', &workspace, &ret_place->key)
            && str_parse_int64(hour, 0, INT64_MAX, &ret_place->hour_us) == ERR_OK
            && str_parse_int64(workspace, 0, INT64_MAX, &ret_place->workspace_id) == ERR_OK);
    return is_valid ? ERR_OK : ERR_SET(err, ERR_INVALID, "cursor: not of this report");
}

enum err_code store_usage_report(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    struct place_in_report after;
    TRY(parse_cursor(filter->cursor, &after, err));
    return store_select(
        STORE_ASK(
            conn,
            &SQL_USAGE_REPORT,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->after_us),
                SQL_INT(filter->until_us),
                SQL_INT(filter->group),
                SQL_VIEW(filter->label_key),
                SQL_INT(filter->is_hourly ? 1 : 0),
                SQL_VIEW(filter->sandbox),
                SQL_VIEW(filter->owner),
                SQL_INT(after.hour_us),
                SQL_INT(after.workspace_id),
                SQL_VIEW(after.key),
                SQL_INT(filter->limit))),
        &sum_type,
        arena,
        ret_list,
        err);
}

enum err_code store_usage_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err)
{
    int64_t removed = 0;
    TRY(sql_exec(
        conn, &SQL_USAGE_REMOVE, SQL_ARGS(SQL_TIME(before), SQL_INT(PORTION)), &removed, err));
    *ret_more = removed == PORTION;
    if (*ret_more) {
        return ERR_OK;
    }
    return sql_exec(conn, &SQL_USAGE_ACCOUNT_REMOVE, SQL_ARGS(SQL_TIME(before)), NULL, err);
}
