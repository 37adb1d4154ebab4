#include "cmd/server/store/enrollment/loan.h"

#include "loan.sql.h"

static const struct store_column columns[] = {
    STORE_COLUMN(loan_record, id, STORE_TEXT),
    STORE_COLUMN(loan_record, lender_id, STORE_INT),
    STORE_COLUMN(loan_record, lender, STORE_TEXT),
    STORE_COLUMN(loan_record, lender_state, STORE_INT),
    STORE_COLUMN(loan_record, workspace, STORE_TEXT),
    STORE_COLUMN(loan_record, to_workspace_id, STORE_INT),
    STORE_COLUMN(loan_record, to_workspace, STORE_TEXT),
    STORE_COLUMN(loan_record, agent_id, STORE_INT),
    STORE_COLUMN(loan_record, name, STORE_TEXT),
    STORE_COLUMN(loan_record, last_seen_at, STORE_INT),
    STORE_COLUMN(loan_record, state, STORE_INT),
    STORE_COLUMN(loan_record, created_by, STORE_TEXT),
    STORE_COLUMN(loan_record, created_at, STORE_INT),
    STORE_COLUMN(loan_record, expires_at, STORE_INT),
};
static const struct store_type type = STORE_TYPE(loan_record, columns);

enum err_code store_loan_add(
    struct sql_conn *conn,
    int64_t to_workspace_id,
    const char *id,
    int64_t lender_id,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_LOAN_ADD,
        SQL_ARGS(SQL_INT(to_workspace_id), SQL_TEXT(id), SQL_INT(lender_id)),
        err);
}

enum err_code store_loan_get(
    struct sql_conn *conn,
    int64_t lender_workspace_id,
    struct str_view id,
    struct arena *arena,
    struct loan_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_LOAN_BY_ID, SQL_ARGS(SQL_INT(lender_workspace_id), SQL_VIEW(id))),
        &type,
        arena,
        ret_record,
        err);
}

enum err_code store_loan_list(
    struct sql_conn *conn,
    int64_t lender_workspace_id,
    const struct loan_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_LOAN_LIST,
            SQL_ARGS(
                SQL_INT(lender_workspace_id),
                SQL_INT(filter->lender_id),
                SQL_BOOL(filter->with_ended),
                SQL_VIEW(filter->after),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_loan_is_guest(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t agent_id,
    bool *ret_is_guest,
    struct err_info *err)
{
    int64_t count = 0;
    TRY(store_select_int(
        STORE_ASK(conn, &SQL_LOAN_OF_AGENT, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(agent_id))),
        &count,
        err));
    *ret_is_guest = count > 0;
    return ERR_OK;
}

enum err_code store_loan_end(
    struct sql_conn *conn, const struct loan_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_LOAN_END,
        SQL_ARGS(SQL_INT(record->to_workspace_id), SQL_TEXT(record->id)),
        NULL,
        err);
}
