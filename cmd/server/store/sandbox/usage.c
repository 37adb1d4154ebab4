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
