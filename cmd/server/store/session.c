#include "cmd/server/store/session.h"

#include "session.sql.h"

static const struct store_column session_columns[] = {
    STORE_COLUMN(session_record, workspace_id, STORE_INT),
    STORE_COLUMN(session_record, agent_id, STORE_INT),
    STORE_COLUMN(session_record, epoch, STORE_INT),
    STORE_COLUMN(session_record, expires_at, STORE_INT),
    STORE_COLUMN(session_record, stream, STORE_INT),
    STORE_COLUMN(session_record, agent_name, STORE_TEXT),
    STORE_COLUMN(session_record, workspace, STORE_TEXT),
};
static const struct store_type session_type = STORE_TYPE(session_record, session_columns);

static const struct store_column taken_columns[] = {
    STORE_COLUMN(challenge_taken, workspace_id, STORE_INT),
    STORE_COLUMN(challenge_taken, agent_id, STORE_INT),
    STORE_COLUMN(challenge_taken, api_key_hash, STORE_BLOB),
    STORE_COLUMN(challenge_taken, expires_at, STORE_INT),
    STORE_COLUMN(challenge_taken, agent_state, STORE_INT),
    STORE_COLUMN(challenge_taken, identity_key, STORE_BLOB),
    STORE_COLUMN(challenge_taken, session_epoch, STORE_INT),
    STORE_COLUMN(challenge_taken, telemetry_sequence, STORE_INT),
    STORE_COLUMN(challenge_taken, events_sequence, STORE_INT),
    STORE_COLUMN(challenge_taken, is_offered_key, STORE_BOOL),
};
static const struct store_type taken_type = STORE_TYPE(challenge_taken, taken_columns);

enum err_code store_session_put(
    struct sql_conn *conn,
    const struct session_record *record,
    const uint8_t token_hash[32],
    struct wall_us now,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_SESSION_PUT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_INT(record->agent_id),
            SQL_BLOB(token_hash, 32),
            SQL_INT(record->epoch),
            SQL_TIME(now),
            SQL_INT(record->expires_at)),
        err);
}

enum err_code store_session_by_token(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct wall_us now,
    struct arena *arena,
    struct session_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_SESSION_BY_TOKEN, SQL_ARGS(SQL_BLOB(token_hash, 32), SQL_TIME(now))),
        &session_type,
        arena,
        ret_record,
        err);
}

static const struct store_column glimpse_columns[] = {
    STORE_COLUMN(session_record, workspace_id, STORE_INT),
    STORE_COLUMN(session_record, agent_id, STORE_INT),
    STORE_COLUMN(session_record, epoch, STORE_INT),
    STORE_COLUMN(session_record, expires_at, STORE_INT),
    STORE_COLUMN(session_record, stream, STORE_INT),
    STORE_COLUMN(session_record, has_waiting, STORE_BOOL),
};
static const struct store_type glimpse_type = STORE_TYPE(session_record, glimpse_columns);

enum err_code store_session_glimpse(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct wall_us now,
    const struct session_sent *sent,
    struct session_record *ret_record,
    struct err_info *err)
{
    struct session_record seen = { .agent_name = "", .workspace = "" };
    TRY(store_select_one(
        STORE_ASK(
            conn,
            &SQL_SESSION_GLIMPSE,
            SQL_ARGS(
                SQL_BLOB(token_hash, 32),
                SQL_TIME(now),
                SQL_INT(sent->command_sequence),
                SQL_INT(sent->stream))),
        &glimpse_type,
        NULL, /* numbers alone */
        &seen,
        err));
    *ret_record = seen;
    return ERR_OK;
}

enum err_code store_session_remove(
    struct sql_conn *conn, int64_t workspace_id, int64_t agent_id, struct err_info *err)
{
    TRY(sql_exec(
        conn, &SQL_SESSION_REMOVE, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(agent_id)), NULL, err));
    return sql_exec(
        conn, &SQL_CHALLENGE_REMOVE, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(agent_id)), NULL, err);
}

static enum err_code add_sqlite(
    struct sql_conn *conn,
    const uint8_t hash[32],
    const struct challenge_record *record,
    struct wall_us now,
    struct err_info *err)
{
    TRY(sql_exec_later(
        conn,
        &SQL_CHALLENGE_INSERT,
        SQL_ARGS(
            SQL_BLOB(hash, 32),
            SQL_INT(record->workspace_id),
            SQL_INT(record->agent_id),
            SQL_BLOB(record->api_key_hash.ptr, record->api_key_hash.len),
            SQL_INT(record->expires_at)),
        err));
    return sql_exec_later(
        conn,
        &SQL_CHALLENGE_TRIM,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_INT(record->agent_id),
            SQL_TIME(now),
            SQL_INT(CHALLENGES_PER_AGENT)),
        err);
}

enum err_code store_challenge_add(
    struct sql_conn *conn,
    const uint8_t hash[32],
    const struct challenge_record *record,
    struct wall_us now,
    struct err_info *err)
{
    if (sql_engine_of(conn) != SQL_POSTGRES) {
        return add_sqlite(conn, hash, record, now, err);
    }
    return sql_exec_later(
        conn,
        &SQL_CHALLENGE_ADD,
        SQL_ARGS(
            SQL_BLOB(hash, 32),
            SQL_INT(record->workspace_id),
            SQL_INT(record->agent_id),
            SQL_BLOB(record->api_key_hash.ptr, record->api_key_hash.len),
            SQL_INT(record->expires_at),
            SQL_TIME(now),
            SQL_INT(CHALLENGES_PER_AGENT)),
        err);
}

enum err_code store_challenge_take(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct arena *arena,
    struct challenge_taken *ret_taken,
    struct err_info *err)
{
    TRY(store_select_one(
        STORE_ASK(conn, &SQL_CHALLENGE_TAKE, SQL_ARGS(SQL_BLOB(hash, 32))),
        &taken_type,
        arena,
        ret_taken,
        err));
    return sql_engine_of(conn) == SQL_POSTGRES
        ? ERR_OK /* the statement has deleted it */
        : sql_exec(conn, &SQL_CHALLENGE_DROP, SQL_ARGS(SQL_BLOB(hash, 32)), NULL, err);
}

enum err_code store_challenge_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err)
{
    return sql_exec(conn, &SQL_CHALLENGE_EXPIRE, SQL_ARGS(SQL_TIME(now)), NULL, err);
}
