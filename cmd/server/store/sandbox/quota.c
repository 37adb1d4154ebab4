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

static const struct store_column standing_columns[] = {
    STORE_COLUMN(quota_standing, quota.owner, STORE_TEXT),
    STORE_COLUMN(quota_standing, quota.sandboxes, STORE_INT),
    STORE_COLUMN(quota_standing, quota.cpu_millis, STORE_INT),
    STORE_COLUMN(quota_standing, quota.memory_bytes, STORE_INT),
    STORE_COLUMN(quota_standing, quota.disk_bytes, STORE_INT),
    STORE_COLUMN(quota_standing, quota.changed_by, STORE_TEXT),
    STORE_COLUMN(quota_standing, quota.changed_at, STORE_INT),
    STORE_COLUMN(quota_standing, used.sandboxes, STORE_INT),
    STORE_COLUMN(quota_standing, used.cpu_millis, STORE_INT),
    STORE_COLUMN(quota_standing, used.memory_bytes, STORE_INT),
    STORE_COLUMN(quota_standing, used.disk_bytes, STORE_INT),
    STORE_COLUMN(quota_standing, cursor, STORE_TEXT),
};
static const struct store_type standing_type = STORE_TYPE(quota_standing, standing_columns);

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

enum err_code store_quota_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct quota_page *page,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    bool is_first = page->after.len == 0;
    struct str_view owner =
        is_first ? STR("") : str_from(page->after.ptr + 1, page->after.len - 1); /* past the '/' */
    return store_select(
        STORE_ASK(
            conn,
            &SQL_QUOTA_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_VIEW(owner),
                SQL_INT(is_first ? 1 : 0),
                SQL_INT(page->limit))),
        &standing_type,
        arena,
        ret_list,
        err);
}

static struct sql_value limit_value(int64_t limit)
{
    return limit < 0 ? SQL_VIEW(STR_NONE) : SQL_INT(limit);
}

static enum err_code changed_or_busy(int64_t count, struct err_info *err)
{
    return count == 1 ? ERR_OK : ERR_SET(err, ERR_BUSY, "the quota has changed meanwhile");
}

enum err_code store_quota_put(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct quota_record *record,
    int64_t read_changed_at,
    struct err_info *err)
{
    int64_t count = 0;
    TRY(sql_exec(
        conn,
        &SQL_QUOTA_PUT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(record->owner),
            limit_value(record->sandboxes),
            limit_value(record->cpu_millis),
            limit_value(record->memory_bytes),
            limit_value(record->disk_bytes),
            SQL_TEXT(record->changed_by),
            SQL_INT(record->changed_at),
            SQL_INT(read_changed_at)),
        &count,
        err));
    return changed_or_busy(count, err);
}

enum err_code store_quota_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view owner,
    int64_t read_changed_at,
    struct err_info *err)
{
    int64_t count = 0;
    TRY(sql_exec(
        conn,
        &SQL_QUOTA_REMOVE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(owner), SQL_INT(read_changed_at)),
        &count,
        err));
    return changed_or_busy(count, err);
}
