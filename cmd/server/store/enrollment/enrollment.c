#include "cmd/server/store/enrollment/enrollment.h"

#include "enrollment.sql.h"

enum {
    TAKEN_COLUMNS = 9
};

static const struct store_column columns[] = {
    STORE_COLUMN(enrollment_record, workspace_id, STORE_INT),
    STORE_COLUMN(enrollment_record, id, STORE_TEXT),
    STORE_COLUMN(enrollment_record, state, STORE_INT),
    STORE_COLUMN(enrollment_record, labels, STORE_TEXT),
    STORE_COLUMN(enrollment_record, auto_confirm, STORE_BOOL),
    STORE_COLUMN(enrollment_record, created_by, STORE_TEXT),
    STORE_COLUMN(enrollment_record, created_at, STORE_INT),
    STORE_COLUMN(enrollment_record, expires_at, STORE_INT),
    STORE_COLUMN(enrollment_record, agent_id, STORE_INT),
    STORE_COLUMN(enrollment_record, agent_name, STORE_TEXT),
    STORE_COLUMN(enrollment_record, identity_key, STORE_BLOB),
    STORE_COLUMN(enrollment_record, workspace, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(enrollment_record, columns);
/* The first columns alone: up to agent_id. */
static const struct store_type taken_type = { .size = sizeof(struct enrollment_record),
                                              .columns = columns,
                                              .count = TAKEN_COLUMNS };

enum err_code store_enrollment_add(
    struct sql_conn *conn,
    const struct enrollment_record *record,
    const uint8_t token_hash[32],
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_ENROLLMENT_INSERT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_BLOB(token_hash, 32),
            SQL_INT(record->state),
            SQL_TEXT(record->labels),
            SQL_BOOL(record->auto_confirm),
            SQL_TEXT(record->created_by),
            SQL_INT(record->created_at),
            SQL_INT(record->expires_at)),
        err);
}

enum err_code store_enrollment_by_token(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct arena *arena,
    struct enrollment_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_ENROLLMENT_BY_TOKEN, SQL_ARGS(SQL_BLOB(token_hash, 32))),
        &type,
        arena,
        ret_record,
        err);
}

enum err_code store_enrollment_take(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct arena *arena,
    struct enrollment_record *ret_record,
    struct err_info *err)
{
    struct enrollment_record taken = { .agent_name = "", .workspace = "" };
    TRY(store_select_one(
        STORE_ASK(conn, &SQL_ENROLLMENT_TAKE, SQL_ARGS(SQL_BLOB(token_hash, 32))),
        &taken_type,
        arena,
        &taken,
        err));
    *ret_record = taken;
    return ERR_OK;
}

enum err_code store_enrollment_settle(
    struct sql_conn *conn,
    const struct enrollment_record *record,
    enum enrollment_state state,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_ENROLLMENT_SETTLE,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_INT(state),
            SQL_INT(record->agent_id)),
        err);
}

enum err_code store_enrollment_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct enrollment_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_ENROLLMENT_BY_ID, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id))),
        &type,
        arena,
        ret_record,
        err);
}

enum err_code store_enrollment_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct enrollment_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_ENROLLMENT_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->state),
                SQL_VIEW(filter->after),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_enrollment_move(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct enrollment_move *move,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_ENROLLMENT_MOVE,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_VIEW(move->id),
            SQL_INT(move->from),
            SQL_INT(move->to),
            move->agent_id == 0 ? SQL_NULL : SQL_INT(move->agent_id)),
        &changed,
        err));
    return changed == 1 ? ERR_OK
                        : ERR_SET(err, ERR_CONFLICT, "the enrollment has changed meanwhile");
}

enum err_code store_enrollment_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err)
{
    return sql_exec(conn, &SQL_ENROLLMENT_EXPIRE, SQL_ARGS(SQL_TIME(now)), NULL, err);
}
