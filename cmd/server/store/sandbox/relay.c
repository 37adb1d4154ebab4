#include "cmd/server/store/sandbox/relay.h"

#include "relay.sql.h"

enum {
    HASH_BYTES = 32
};

static const struct store_column columns[] = {
    STORE_COLUMN(relay_record, id, STORE_TEXT),
    STORE_COLUMN(relay_record, packed, STORE_BLOB),
    STORE_COLUMN(relay_record, expires_at, STORE_INT),
    STORE_COLUMN(relay_record, owner, STORE_TEXT),
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
            SQL_INT(record->expires_at),
            SQL_TEXT(record->owner)),
        NULL,
        err);
}

enum err_code store_relay_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct arena *arena,
    struct relay_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(
            conn,
            &SQL_RELAY_BY_ID,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_VIEW(filter->id),
                SQL_TIME(filter->now))),
        &type,
        arena,
        ret_record,
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
                SQL_INT(filter->stream),
                SQL_INT(RELAY_WAITING_MAX),
                SQL_INT(RELAY_SMALL_BYTES))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_relay_sent(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_RELAY_MARK_SENT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_INT(filter->agent_id),
            SQL_VIEW(filter->id),
            SQL_INT(filter->stream)),
        NULL,
        err);
}

enum err_code store_relay_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_RELAY_REMOVE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(filter->agent_id), SQL_VIEW(filter->id)),
        err);
}

enum err_code store_relay_expire(struct sql_conn *conn, struct wall_us now, struct err_info *err)
{
    TRY(sql_exec(conn, &SQL_RELAY_CONNECTION_EXPIRE, SQL_ARGS(SQL_TIME(now)), NULL, err));
    return sql_exec(conn, &SQL_RELAY_EXPIRE, SQL_ARGS(SQL_TIME(now)), NULL, err);
}

static enum err_code count(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *like,
    struct wall_us now,
    int64_t *ret_count,
    struct err_info *err)
{
    return store_select_int(
        STORE_ASK(
            conn,
            &SQL_RELAY_CONNECTION_COUNT,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_TEXT(like->sandbox_id),
                like->token_hash == NULL ? SQL_NULL : SQL_BLOB(like->token_hash, HASH_BYTES),
                SQL_TIME(now))),
        ret_count,
        err);
}

enum err_code store_relay_connections(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *like,
    struct wall_us now,
    struct relay_connection_counts *ret_counts,
    struct err_info *err)
{
    const struct relay_connection any = { .sandbox_id = like->sandbox_id };
    TRY(sql_exec(
        conn,
        &SQL_RELAY_CONNECTION_LOCK,
        SQL_ARGS(SQL_INT(workspace_id), SQL_TEXT(like->sandbox_id)),
        NULL,
        err));
    TRY(count(conn, workspace_id, like, now, &ret_counts->with_token, err));
    return count(conn, workspace_id, &any, now, &ret_counts->to_sandbox, err);
}

enum err_code store_relay_connection_put(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *connection,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_RELAY_CONNECTION_PUT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(connection->sandbox_id),
            SQL_TEXT(connection->relay_id),
            SQL_BLOB(connection->token_hash, HASH_BYTES),
            SQL_TIME(connection->until)),
        NULL,
        err);
}

enum err_code store_relay_connection_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *connection,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_RELAY_CONNECTION_REMOVE,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(connection->sandbox_id),
            SQL_TEXT(connection->relay_id)),
        NULL,
        err);
}
