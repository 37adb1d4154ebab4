#include "cmd/server/store/sandbox/quota.h"

#include "quota.sql.h"

static const struct store_column columns[] = {
    STORE_COLUMN(quota_record, owner, STORE_TEXT),
    STORE_COLUMN(quota_record, sandboxes, STORE_INT),
    STORE_COLUMN(quota_record, cpu_millis, STORE_INT),
    STORE_COLUMN(quota_record, memory_bytes, STORE_INT),
    STORE_COLUMN(quota_record, disk_bytes, STORE_INT),
    STORE_COLUMN(quota_record, changed_by, STORE_TEXT),
    STORE_COLUMN(quota_record, changed_at, STORE_INT),
};
static const struct store_type type = STORE_TYPE(quota_record, columns);

static const struct store_column use_columns[] = {
    STORE_COLUMN(quota_use, sandboxes, STORE_INT),
    STORE_COLUMN(quota_use, cpu_millis, STORE_INT),
    STORE_COLUMN(quota_use, memory_bytes, STORE_INT),
    STORE_COLUMN(quota_use, disk_bytes, STORE_INT),
};
static const struct store_type use_type = STORE_TYPE(quota_use, use_columns);

enum err_code store_quota_lock(
    struct sql_conn *conn, int64_t workspace_id, bool *ret_any, struct err_info *err)
{
    int64_t count = 0;
    TRY(sql_exec(conn, &SQL_QUOTA_LOCK, SQL_ARGS(SQL_INT(workspace_id)), &count, err));
    *ret_any = count > 0;
    return ERR_OK;
}

enum err_code store_quota_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view owner,
    struct arena *arena,
    struct quota_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_QUOTA_OF_OWNER, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(owner))),
        &type,
        arena,
        ret_record,
        err);
}

enum err_code store_quota_used(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view owner,
    struct arena *arena,
    struct quota_use *ret_use,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_QUOTA_USED, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(owner))),
        &use_type,
        arena,
        ret_use,
        err);
}
