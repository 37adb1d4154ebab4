#include "cmd/server/store/command.h"

#include "command.sql.h"

enum {
    PORTION = 1000 /* of up to 1 MiB each */
};

static const struct store_column columns[] = {
    STORE_COLUMN(command_record, workspace_id, STORE_INT),
    STORE_COLUMN(command_record, id, STORE_TEXT),
    STORE_COLUMN(command_record, agent_id, STORE_INT),
    STORE_COLUMN(command_record, agent_name, STORE_TEXT),
    STORE_COLUMN(command_record, sequence, STORE_INT),
    STORE_COLUMN(command_record, state, STORE_INT),
    STORE_COLUMN(command_record, kind, STORE_TEXT),
    STORE_COLUMN(command_record, payload, STORE_BLOB),
    STORE_COLUMN(command_record, actor, STORE_TEXT),
    STORE_COLUMN(command_record, signature, STORE_BLOB),
    STORE_COLUMN(command_record, created_at, STORE_INT),
    STORE_COLUMN(command_record, expires_at, STORE_INT),
    STORE_COLUMN(command_record, sent_at, STORE_INT),
    STORE_COLUMN(command_record, finished_at, STORE_INT),
    STORE_COLUMN(command_record, code, STORE_INT),
    STORE_COLUMN(command_record, error_message, STORE_TEXT),
    STORE_COLUMN(command_record, result, STORE_BLOB),
    STORE_COLUMN(command_record, idempotency_key, STORE_TEXT),
    STORE_COLUMN(command_record, revision, STORE_INT),
    STORE_COLUMN(command_record, workspace, STORE_TEXT),
    STORE_COLUMN(command_record, sandbox_id, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(command_record, columns);

enum err_code store_command_add(
    struct sql_conn *conn, const struct command_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_COMMAND_INSERT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_INT(record->agent_id),
            SQL_INT(record->sequence),
            SQL_TEXT(record->kind),
            SQL_BLOB(record->payload.ptr, record->payload.len),
            SQL_TEXT(record->actor),
            SQL_BLOB(record->signature.ptr, record->signature.len),
            SQL_INT(record->created_at),
            SQL_INT(record->expires_at),
            record->idempotency_key[0] == '\0' ? SQL_NULL : SQL_TEXT(record->idempotency_key),
            SQL_TEXT(record->sandbox_id)),
        NULL,
        err);
}

enum err_code store_command_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct command_record *ret_record,
    struct err_info *err)
{
    enum err_code code = store_select_one(
        STORE_ASK(conn, &SQL_COMMAND_BY_ID, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id))),
        &type,
        arena,
        ret_record,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "no such command") : code;
}

enum err_code store_command_by_idempotency_key(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view key,
    struct arena *arena,
    struct command_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(
            conn, &SQL_COMMAND_BY_IDEMPOTENCY_KEY, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(key))),
        &type,
        arena,
        ret_record,
        err);
}

enum err_code store_command_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct command_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_COMMAND_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_INT(filter->state),
                SQL_VIEW(filter->before),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_command_open(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct command_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_COMMAND_OPEN,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_INT(filter->after_sequence),
                SQL_TIME(filter->now),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_command_waiting(
    struct sql_conn *conn, struct wall_us now, struct sql_rows **ret_rows, struct err_info *err)
{
    return sql_query(conn, &SQL_COMMAND_WAITING, SQL_ARGS(SQL_TIME(now)), ret_rows, err);
}

enum err_code store_command_sent(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct wall_us now,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_COMMAND_MARK_SENT,
        SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id), SQL_TIME(now)),
        NULL,
        err);
}

enum err_code store_command_finish(
    struct sql_conn *conn,
    const struct command_ack *ack,
    struct wall_us now,
    bool *ret_changed,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_COMMAND_FINISH,
        SQL_ARGS(
            SQL_INT(ack->workspace_id),
            SQL_TEXT(ack->id),
            SQL_INT(ack->agent_id),
            SQL_INT(ack->succeeded ? COMMAND_SUCCEEDED : COMMAND_FAILED),
            SQL_INT(ack->code),
            SQL_TEXT(ack->error_message),
            SQL_BLOB(ack->result.len == 0 ? "" : ack->result.ptr, ack->result.len),
            SQL_TIME(now)),
        &changed,
        err));
    *ret_changed = changed == 1;
    return ERR_OK;
}

enum err_code store_command_cancel(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct wall_us now,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_COMMAND_CANCEL,
        SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id), SQL_TIME(now)),
        &changed,
        err));
    return changed == 1
        ? ERR_OK
        : ERR_SET(
            err, ERR_PRECONDITION, "the command was sent or has finished: it cannot be taken back");
}

enum err_code store_command_expire(
    struct sql_conn *conn, struct wall_us now, int64_t *ret_count, struct err_info *err)
{
    return sql_exec(conn, &SQL_COMMAND_EXPIRE, SQL_ARGS(SQL_TIME(now)), ret_count, err);
}

enum err_code store_command_open_count(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct command_open_filter *filter,
    int64_t *ret_count,
    struct err_info *err)
{
    return store_select_int(
        STORE_ASK(
            conn,
            &SQL_COMMAND_OPEN_COUNT,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_TEXT(filter->kind),
                SQL_TEXT(filter->sandbox_id),
                SQL_TIME(filter->now))),
        ret_count,
        err);
}

enum err_code store_command_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err)
{
    int64_t removed = 0;
    TRY(sql_exec(
        conn, &SQL_COMMAND_REMOVE, SQL_ARGS(SQL_TIME(before), SQL_INT(PORTION)), &removed, err));
    *ret_more = removed == PORTION;
    return ERR_OK;
}
