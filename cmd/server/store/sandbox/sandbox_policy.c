/* Policies of sandboxes by revision, forward tokens. */
#include "cmd/server/store/sandbox/sandbox.h"
#include "sandbox.sql.h"

static const struct store_column policy_columns[] = {
    STORE_COLUMN(sandbox_policy_record, sandbox_id, STORE_TEXT),
    STORE_COLUMN(sandbox_policy_record, version, STORE_INT),
    STORE_COLUMN(sandbox_policy_record, status, STORE_INT),
    STORE_COLUMN(sandbox_policy_record, policy, STORE_BLOB),
    STORE_COLUMN(sandbox_policy_record, hash, STORE_TEXT),
    STORE_COLUMN(sandbox_policy_record, load_error, STORE_TEXT),
    STORE_COLUMN(sandbox_policy_record, annotations, STORE_TEXT),
    STORE_COLUMN(sandbox_policy_record, created_by, STORE_TEXT),
    STORE_COLUMN(sandbox_policy_record, created_at, STORE_INT),
    STORE_COLUMN(sandbox_policy_record, loaded_at, STORE_INT),
};
static const struct store_type policy_type = STORE_TYPE(sandbox_policy_record, policy_columns);

static const struct store_column forward_columns[] = {
    STORE_COLUMN(sandbox_forward_record, sandbox_id, STORE_TEXT),
    STORE_COLUMN(sandbox_forward_record, created_by, STORE_TEXT),
    STORE_COLUMN(sandbox_forward_record, created_at, STORE_INT),
    STORE_COLUMN(sandbox_forward_record, expires_at, STORE_INT),
};
static const struct store_type forward_type = STORE_TYPE(sandbox_forward_record, forward_columns);

enum {
    HASH_BYTES = 32
};

enum err_code store_sandbox_policy_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_record *record,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_SANDBOX_POLICY_INSERT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(record->sandbox_id),
            SQL_INT(record->version),
            SQL_INT(record->status),
            SQL_BLOB(record->policy.len == 0 ? "" : record->policy.ptr, record->policy.len),
            SQL_TEXT(record->hash),
            SQL_TEXT(record->annotations),
            SQL_TEXT(record->created_by),
            SQL_INT(record->created_at)),
        NULL,
        err);
}

static enum err_code find(
    const struct store_ask *ask,
    struct arena *arena,
    struct sandbox_policy_record *ret_record,
    struct err_info *err)
{
    enum err_code code = store_select_one(ask, &policy_type, arena, ret_record, err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "policy revision not found") : code;
}

enum err_code store_sandbox_policy_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_filter *filter,
    struct arena *arena,
    struct sandbox_policy_record *ret_record,
    struct err_info *err)
{
    return find(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_POLICY_BY_VERSION,
            SQL_ARGS(
                SQL_INT(workspace_id), SQL_VIEW(filter->sandbox_id), SQL_INT(filter->version))),
        arena,
        ret_record,
        err);
}

enum err_code store_sandbox_policy_standing(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view sandbox_id,
    struct arena *arena,
    struct sandbox_policy_record *ret_record,
    struct err_info *err)
{
    return find(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_POLICY_STANDING,
            SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(sandbox_id))),
        arena,
        ret_record,
        err);
}

enum err_code store_sandbox_policy_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_POLICY_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_VIEW(filter->sandbox_id),
                SQL_INT(filter->offset),
                SQL_INT(filter->limit))),
        &policy_type,
        arena,
        ret_list,
        err);
}

enum err_code store_sandbox_policy_settle(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_record *record,
    struct wall_us now,
    bool *ret_new,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_SANDBOX_POLICY_SETTLE,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(record->sandbox_id),
            SQL_INT(record->version),
            SQL_INT(record->status),
            SQL_TEXT(record->load_error),
            SQL_TIME(now)),
        &changed,
        err));
    *ret_new = changed > 0;
    if (changed == 0 || record->status != SANDBOX_POLICY_LOADED) {
        return ERR_OK;
    }
    return sql_exec(
        conn,
        &SQL_SANDBOX_POLICY_SUPERSEDE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_TEXT(record->sandbox_id), SQL_INT(record->version)),
        NULL,
        err);
}

enum err_code store_sandbox_forward_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_forward_record *record,
    const uint8_t token_hash[32],
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_SANDBOX_FORWARD_INSERT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(record->sandbox_id),
            SQL_BLOB(token_hash, HASH_BYTES),
            SQL_TEXT(record->created_by),
            SQL_INT(record->created_at),
            SQL_INT(record->expires_at)),
        NULL,
        err);
}

enum err_code store_sandbox_forward_find(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_forward_filter *filter,
    struct arena *arena,
    struct sandbox_forward_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_FORWARD_BY_TOKEN,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_BLOB(filter->token_hash, HASH_BYTES),
                SQL_TIME(filter->now))),
        &forward_type,
        arena,
        ret_record,
        err);
}

enum err_code store_sandbox_forward_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    const uint8_t token_hash[32],
    bool *ret_removed,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_SANDBOX_FORWARD_REMOVE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_BLOB(token_hash, HASH_BYTES)),
        &changed,
        err));
    *ret_removed = changed == 1;
    return ERR_OK;
}

enum err_code store_sandbox_forward_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err)
{
    return sql_exec(conn, &SQL_SANDBOX_FORWARD_EXPIRE, SQL_ARGS(SQL_TIME(now)), NULL, err);
}
