#include "cmd/server/store/sandbox/relay.h"

#include "relay.sql.h"

enum {
    WAITING_MAX = 64
};

static const struct store_column columns[] = {
    STORE_COLUMN(relay_record, id, STORE_TEXT),
    STORE_COLUMN(relay_record, packed, STORE_BLOB),
    STORE_COLUMN(relay_record, expires_at, STORE_INT),
};
static const struct store_type type = STORE_TYPE(relay_record, columns);

enum err_code store_relay_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t agent_id,
    const struct relay_record *record,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_RELAY_INSERT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(record->id),
            SQL_INT(agent_id),
            SQL_BLOB(record->packed.ptr, record->packed.len),
            SQL_INT(record->expires_at)),
        NULL,
        err);
}

enum err_code store_relay_waiting(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_RELAY_WAITING,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_TIME(filter->now),
                SQL_INT(WAITING_MAX))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_relay_expire(struct sql_conn *conn, struct wall_us now, struct err_info *err)
{
    return sql_exec(conn, &SQL_RELAY_EXPIRE, SQL_ARGS(SQL_TIME(now)), NULL, err);
}
