#include "cmd/server/store/agent.h"

#include "agent.sql.h"
#include "cmd/server/store/session.h"

static const struct store_column columns[] = {
    STORE_COLUMN(agent_record, workspace_id, STORE_INT),
    STORE_COLUMN(agent_record, id, STORE_INT),
    STORE_COLUMN(agent_record, name, STORE_TEXT),
    STORE_COLUMN(agent_record, state, STORE_INT),
    STORE_COLUMN(agent_record, labels, STORE_TEXT),
    STORE_COLUMN(agent_record, cordoned, STORE_BOOL),
    STORE_COLUMN(agent_record, identity_key, STORE_BLOB),
    STORE_COLUMN(agent_record, encryption_key, STORE_BLOB),
    STORE_COLUMN(agent_record, version, STORE_TEXT),
    STORE_COLUMN(agent_record, host, STORE_BLOB),
    STORE_COLUMN(agent_record, enrollment_id, STORE_TEXT),
    STORE_COLUMN(agent_record, created_at, STORE_INT),
    STORE_COLUMN(agent_record, created_by, STORE_TEXT),
    STORE_COLUMN(agent_record, last_seen_at, STORE_INT),
    STORE_COLUMN(agent_record, status, STORE_BLOB),
    STORE_COLUMN(agent_record, telemetry_sequence, STORE_INT),
    STORE_COLUMN(agent_record, events_sequence, STORE_INT),
    STORE_COLUMN(agent_record, session_epoch, STORE_INT),
    STORE_COLUMN(agent_record, command_sequence, STORE_INT),
    STORE_COLUMN(agent_record, hello, STORE_BLOB),
    STORE_COLUMN(agent_record, handshaken, STORE_BOOL),
    STORE_COLUMN(agent_record, revision, STORE_INT),
    STORE_COLUMN(agent_record, sealed_api_key, STORE_BLOB),
    STORE_COLUMN(agent_record, workspace, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(agent_record, columns);

enum {
    INSERT_ARGS = 14
};

static void fill_insert(
    const struct agent_record *record,
    const uint8_t *api_key_hash,
    struct sql_value args[INSERT_ARGS])
{
    const struct str_view sealed = record->sealed_api_key;
    const struct sql_value values[INSERT_ARGS] = {
        SQL_INT(record->workspace_id),
        SQL_INT(record->id),
        SQL_TEXT(record->name),
        SQL_INT(record->state),
        SQL_TEXT(record->labels),
        SQL_BLOB(record->identity_key.ptr, record->identity_key.len),
        SQL_BLOB(record->encryption_key.ptr, record->encryption_key.len),
        SQL_TEXT(record->version),
        SQL_BLOB(record->host.ptr, record->host.len),
        SQL_TEXT(record->enrollment_id),
        SQL_INT(record->created_at),
        SQL_TEXT(record->created_by),
        api_key_hash == NULL ? SQL_NULL : SQL_BLOB(api_key_hash, 32),
        api_key_hash == NULL ? SQL_NULL : SQL_BLOB(sealed.ptr, sealed.len),
    };
    memcpy(args, values, sizeof(values));
}

enum err_code store_agent_exists(struct err_info *err)
{
    return ERR_SET(
        err,
        ERR_EXISTS,
        "an agent with this name or this identity key is enrolled already: choose another name, or "
        "revoke that one");
}

enum err_code store_agent_add(
    struct sql_conn *conn, struct agent_record *record, struct err_info *err)
{
    struct sql_value args[INSERT_ARGS];
    TRY(store_select_int(STORE_ASK(conn, &SQL_AGENT_NEXT_ID, SQL_NO_ARGS), &record->id, err));
    fill_insert(record, NULL, args);
    enum err_code code = sql_exec(conn, &SQL_AGENT_INSERT, args, INSERT_ARGS, NULL, err);
    return code == ERR_EXISTS ? store_agent_exists(err) : code;
}

enum err_code store_agent_enroll(
    struct sql_conn *conn,
    const struct agent_record *record,
    const uint8_t *api_key_hash,
    struct err_info *err)
{
    struct sql_value args[INSERT_ARGS];
    fill_insert(record, api_key_hash, args);
    return sql_exec_later(conn, &SQL_AGENT_INSERT, args, INSERT_ARGS, err);
}

enum err_code store_agent_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct arena *arena,
    struct agent_record *ret_record,
    struct err_info *err)
{
    enum err_code code = store_select_one(
        STORE_ASK(conn, &SQL_AGENT_BY_ID, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id))),
        &type,
        arena,
        ret_record,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "no such agent") : code;
}

enum err_code store_agent_find(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id_or_name,
    struct arena *arena,
    struct agent_record *ret_record,
    struct err_info *err)
{
    int64_t id = 0;
    if (str_parse_int64(id_or_name, 1, INT64_MAX, &id) == ERR_OK) {
        enum err_code code = store_agent_get(conn, workspace_id, id, arena, ret_record, err);
        if (code != ERR_NOT_FOUND) {
            return code;
        }
    }
    enum err_code code = store_select_one(
        STORE_ASK(conn, &SQL_AGENT_BY_NAME, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id_or_name))),
        &type,
        arena,
        ret_record,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "no such agent") : code;
}

enum err_code store_agent_by_api_key(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct arena *arena,
    struct agent_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_AGENT_BY_API_KEY, SQL_ARGS(SQL_BLOB(hash, 32))),
        &type,
        arena,
        ret_record,
        err);
}

enum err_code store_agent_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct agent_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    size_t prefix_chars = 0;
    struct str_view prefix = store_prefix(filter->name_prefix, &prefix_chars);
    return store_select(
        STORE_ASK(
            conn,
            &SQL_AGENT_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->state),
                SQL_VIEW(prefix),
                SQL_INT(prefix_chars),
                SQL_INT(filter->after_id),
                SQL_INT(filter->seen_since),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

static const struct store_column offer_columns[] = {
    STORE_COLUMN(agent_offer, id, STORE_INT),
    STORE_COLUMN(agent_offer, name, STORE_TEXT),
    STORE_COLUMN(agent_offer, labels, STORE_TEXT),
    STORE_COLUMN(agent_offer, cordoned, STORE_BOOL),
    STORE_COLUMN(agent_offer, last_seen_at, STORE_INT),
    STORE_COLUMN(agent_offer, hello, STORE_BLOB),
};
static const struct store_type offer_type = STORE_TYPE(agent_offer, offer_columns);

enum err_code store_agent_offers(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct agent_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_AGENT_OFFERS,
            SQL_ARGS(SQL_INT(workspace_id), SQL_INT(filter->after_id), SQL_INT(filter->limit))),
        &offer_type,
        arena,
        ret_list,
        err);
}

enum err_code store_agent_last_seen(struct sql_conn *conn, int64_t *ret_time, struct err_info *err)
{
    return store_select_int(STORE_ASK(conn, &SQL_AGENT_LAST_SEEN, SQL_NO_ARGS), ret_time, err);
}

enum err_code store_agent_count(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t seen_since,
    int64_t *ret_total,
    int64_t *ret_online,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        conn, &SQL_AGENT_COUNT, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(seen_since)), &rows, err));
    TRY(sql_rows_next(rows, err));
    *ret_total = sql_int(rows, 0);
    *ret_online = sql_int(rows, 1);
    return ERR_OK;
}

/* One statement that must change exactly one row, else `otherwise` with a text. */
static enum err_code change_one(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    enum err_code otherwise,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(conn, statement, args, arg_count, &changed, err));
    return changed == 1 ? ERR_OK : ERR_SET(err, otherwise, "the agent is not in a state for this");
}

enum err_code store_agent_set_state(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    enum agent_state state,
    struct err_info *err)
{
    return change_one(
        conn,
        &SQL_AGENT_SET_STATE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id), SQL_INT(state)),
        ERR_NOT_FOUND,
        err);
}

enum err_code store_agent_confirm(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const uint8_t api_key_hash[32],
    struct str_view sealed_key,
    struct err_info *err)
{
    return change_one(
        conn,
        &SQL_AGENT_CONFIRM,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_INT(id),
            SQL_BLOB(api_key_hash, 32),
            sealed_key.ptr == NULL ? SQL_NULL : SQL_BLOB(sealed_key.ptr, sealed_key.len)),
        ERR_CONFLICT,
        err);
}

enum err_code store_agent_offer_key(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const uint8_t hash[32],
    struct err_info *err)
{
    return change_one(
        conn,
        &SQL_AGENT_OFFER_KEY,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id), SQL_BLOB(hash, 32)),
        ERR_NOT_FOUND,
        err);
}

enum err_code store_agent_take_key(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct str_view hash,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_AGENT_TAKE_KEY,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id), SQL_BLOB(hash.ptr, hash.len)),
        err);
}

enum err_code store_agent_revoke(
    struct sql_conn *conn, int64_t workspace_id, int64_t id, struct err_info *err)
{
    TRY(change_one(
        conn, &SQL_AGENT_REVOKE, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id)), ERR_CONFLICT, err));
    return store_session_remove(conn, workspace_id, id, err);
}

enum err_code store_agent_begin_session(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct wall_us now,
    int64_t *ret_epoch,
    struct err_info *err)
{
    enum err_code code = store_select_int(
        STORE_ASK(
            conn,
            &SQL_AGENT_BEGIN_SESSION,
            SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id), SQL_TIME(now))),
        ret_epoch,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_PRECONDITION, "the agent is not confirmed")
                                 : code;
}

enum err_code store_agent_raise_epoch(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct wall_us now,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_AGENT_BEGIN_SESSION,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id), SQL_TIME(now)),
        err);
}

enum err_code store_agent_update(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const char *labels,
    bool cordoned,
    struct err_info *err)
{
    return change_one(
        conn,
        &SQL_AGENT_UPDATE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id), SQL_TEXT(labels), SQL_BOOL(cordoned)),
        ERR_NOT_FOUND,
        err);
}

enum err_code store_agent_hello(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const struct agent_hello *hello,
    struct wall_us now,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_AGENT_HELLO,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_INT(id),
            SQL_BLOB(hello->packed.ptr, hello->packed.len),
            SQL_VIEW(hello->version),
            SQL_TIME(now),
            SQL_INT(hello->stream)),
        err);
}

static enum err_code seen_postgres(
    struct sql_conn *conn, const struct agent_beat *beats, size_t count, struct err_info *err)
{
    AUTO_FREE int64_t *numbers = mem_alloc_array(4 * count, sizeof(*numbers));
    AUTO_FREE struct str_view *statuses = mem_alloc_array(count, sizeof(*statuses));
    for (size_t i = 0; i < count; i++) {
        numbers[i] = beats[i].workspace_id;
        numbers[count + i] = beats[i].id;
        numbers[2 * count + i] = beats[i].at.value;
        numbers[3 * count + i] = beats[i].epoch;
        statuses[i] = beats[i].status.ptr == NULL ? STR("") : beats[i].status;
    }
    return sql_exec(
        conn,
        &SQL_AGENT_SEEN_ALL,
        SQL_ARGS(
            SQL_INTS(numbers, count),
            SQL_INTS(numbers + count, count),
            SQL_INTS(numbers + 2 * count, count),
            SQL_BLOBS(statuses, count),
            SQL_INTS(numbers + 3 * count, count)),
        NULL,
        err);
}

enum err_code store_agent_seen(
    struct sql_conn *conn, const struct agent_beat *beats, size_t count, struct err_info *err)
{
    if (sql_engine_of(conn) == SQL_POSTGRES) {
        return seen_postgres(conn, beats, count, err);
    }
    for (size_t i = 0; i < count; i++) {
        struct str_view status = beats[i].status;
        TRY(sql_exec(
            conn,
            &SQL_AGENT_SEEN,
            SQL_ARGS(
                SQL_INT(beats[i].workspace_id),
                SQL_INT(beats[i].id),
                SQL_TIME(beats[i].at),
                status.len == 0 ? SQL_NULL : SQL_BLOB(status.ptr, status.len),
                SQL_INT(beats[i].epoch)),
            NULL,
            err));
    }
    return ERR_OK;
}

enum err_code store_agent_fence(
    struct sql_conn *conn, int64_t workspace_id, int64_t id, int64_t epoch, struct err_info *err)
{
    struct agent_marks marks;
    return store_agent_fence_marks(
        conn, (const int64_t[2]){ workspace_id, id }, epoch, &marks, err);
}

enum err_code store_agent_fence_marks(
    struct sql_conn *conn,
    const int64_t agent[2],
    int64_t epoch,
    struct agent_marks *ret_marks,
    struct err_info *err)
{
    enum err_code code = store_agent_marks(conn, agent[0], agent[1], ret_marks, err);
    if (code == ERR_OK && ret_marks->session_epoch == epoch && ret_marks->is_confirmed) {
        return ERR_OK;
    }
    return code != ERR_OK && code != ERR_NOT_FOUND
        ? code
        : ERR_SET(err, ERR_UNAUTHENTICATED, "the session has ended or was replaced");
}

enum err_code store_agent_takes_commands(
    struct sql_conn *conn, int64_t workspace_id, int64_t id, bool *ret_takes, struct err_info *err)
{
    int64_t count = 0;
    TRY(store_select_int(
        STORE_ASK(conn, &SQL_AGENT_TAKES_COMMANDS, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id))),
        &count,
        err));
    *ret_takes = count == 1;
    return ERR_OK;
}

enum err_code store_agent_take_command_sequence(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    int64_t *ret_sequence,
    struct err_info *err)
{
    enum err_code code = store_select_int(
        STORE_ASK(
            conn, &SQL_AGENT_TAKE_COMMAND_SEQUENCE, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id))),
        ret_sequence,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_PRECONDITION, "the agent is not confirmed")
                                 : code;
}

enum err_code store_agent_marks(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct agent_marks *ret_marks,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        conn, &SQL_AGENT_MARKS, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id)), &rows, err));
    TRY(sql_rows_next(rows, err));
    ret_marks->telemetry_sequence = sql_int(rows, 0);
    ret_marks->events_sequence = sql_int(rows, 1);
    ret_marks->session_epoch = sql_int(rows, 2);
    ret_marks->is_confirmed = sql_int(rows, 3) == AGENT_CONFIRMED;
    ret_marks->stream = sql_int(rows, 4);
    return ERR_OK;
}

static enum err_code read_marks(
    struct sql_rows *rows,
    const struct agent_columns *agents,
    struct agent_marks *ret_marks,
    struct err_info *err)
{
    for (size_t i = 0; i < agents->count; i++) {
        TRY(sql_rows_next(rows, err));
        if (sql_int(rows, 0) != agents->ids[i]) {
            return ERR_SET(err, ERR_NOT_FOUND, "an agent is gone");
        }
        ret_marks[i].telemetry_sequence = sql_int(rows, 1);
        ret_marks[i].events_sequence = sql_int(rows, 2);
        ret_marks[i].session_epoch = sql_int(rows, 3);
        ret_marks[i].is_confirmed = sql_int(rows, 4) == AGENT_CONFIRMED;
    }
    return ERR_OK;
}

enum err_code store_agent_marks_all(
    struct sql_conn *conn,
    const struct agent_columns *agents,
    struct agent_marks *ret_marks,
    struct err_info *err)
{
    if (sql_engine_of(conn) == SQL_POSTGRES) {
        AUTO_ROWS struct sql_rows *rows = NULL;
        TRY(sql_query(
            conn,
            &SQL_AGENT_MARKS_ALL,
            SQL_ARGS(
                SQL_INTS(agents->workspace_ids, agents->count),
                SQL_INTS(agents->ids, agents->count)),
            &rows,
            err));
        return read_marks(rows, agents, ret_marks, err);
    }
    for (size_t i = 0; i < agents->count; i++) {
        TRY(store_agent_marks(conn, agents->workspace_ids[i], agents->ids[i], &ret_marks[i], err));
    }
    return ERR_OK;
}

static enum err_code raise_postgres(
    struct sql_conn *conn,
    const struct agent_columns *agents,
    const struct agent_marks *marks,
    struct err_info *err)
{
    AUTO_FREE int64_t *sequences = mem_alloc_array(2 * agents->count, sizeof(*sequences));
    for (size_t i = 0; i < agents->count; i++) {
        sequences[i] = marks[i].telemetry_sequence;
        sequences[agents->count + i] = marks[i].events_sequence;
    }
    return sql_exec(
        conn,
        &SQL_AGENT_MARK_ALL,
        SQL_ARGS(
            SQL_INTS(agents->workspace_ids, agents->count),
            SQL_INTS(agents->ids, agents->count),
            SQL_INTS(sequences, agents->count),
            SQL_INTS(sequences + agents->count, agents->count)),
        NULL,
        err);
}

static enum err_code raise_one(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const int64_t key[2],
    int64_t sequence,
    struct err_info *err)
{
    return sql_exec(
        conn, statement, SQL_ARGS(SQL_INT(key[0]), SQL_INT(key[1]), SQL_INT(sequence)), NULL, err);
}

enum err_code store_agent_mark_all(
    struct sql_conn *conn,
    const struct agent_columns *agents,
    const struct agent_marks *marks,
    struct err_info *err)
{
    if (sql_engine_of(conn) == SQL_POSTGRES) {
        return raise_postgres(conn, agents, marks, err);
    }
    for (size_t i = 0; i < agents->count; i++) {
        const int64_t key[2] = { agents->workspace_ids[i], agents->ids[i] };
        TRY(raise_one(conn, &SQL_AGENT_MARK_TELEMETRY, key, marks[i].telemetry_sequence, err));
        TRY(raise_one(conn, &SQL_AGENT_MARK_EVENTS, key, marks[i].events_sequence, err));
    }
    return ERR_OK;
}
