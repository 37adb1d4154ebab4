#include "cmd/server/store/sandbox/sandbox.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "sandbox.sql.h"

#include <inttypes.h>

enum {
    SET_BYTES = 256 * 1024 /* of a question for some sandboxes */
};

static const struct store_column columns[] = {
    STORE_COLUMN(sandbox_record, workspace_id, STORE_INT),
    STORE_COLUMN(sandbox_record, id, STORE_TEXT),
    STORE_COLUMN(sandbox_record, name, STORE_TEXT),
    STORE_COLUMN(sandbox_record, agent_id, STORE_INT),
    STORE_COLUMN(sandbox_record, phase, STORE_INT),
    STORE_COLUMN(sandbox_record, labels, STORE_TEXT),
    STORE_COLUMN(sandbox_record, annotations, STORE_TEXT),
    STORE_COLUMN(sandbox_record, spec, STORE_BLOB),
    STORE_COLUMN(sandbox_record, cpu_millis, STORE_INT),
    STORE_COLUMN(sandbox_record, memory_bytes, STORE_INT),
    STORE_COLUMN(sandbox_record, disk_bytes, STORE_INT),
    STORE_COLUMN(sandbox_record, reason, STORE_TEXT),
    STORE_COLUMN(sandbox_record, message, STORE_TEXT),
    STORE_COLUMN(sandbox_record, exit_code, STORE_INT),
    STORE_COLUMN(sandbox_record, instance_id, STORE_TEXT),
    STORE_COLUMN(sandbox_record, report_sequence, STORE_INT),
    STORE_COLUMN(sandbox_record, policy_version, STORE_INT),
    STORE_COLUMN(sandbox_record, policy_loaded, STORE_INT),
    STORE_COLUMN(sandbox_record, created_by, STORE_TEXT),
    STORE_COLUMN(sandbox_record, created_at, STORE_INT),
    STORE_COLUMN(sandbox_record, changed_at, STORE_INT),
    STORE_COLUMN(sandbox_record, deleting_at, STORE_INT),
    STORE_COLUMN(sandbox_record, revision, STORE_INT),
    STORE_COLUMN(sandbox_record, agent_name, STORE_TEXT),
    STORE_COLUMN(sandbox_record, agent_seen_at, STORE_INT),
    STORE_COLUMN(sandbox_record, workspace, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(sandbox_record, columns);

static const struct store_column head_columns[] = {
    STORE_COLUMN(sandbox_head, workspace_id, STORE_INT),
    STORE_COLUMN(sandbox_head, id, STORE_TEXT),
    STORE_COLUMN(sandbox_head, name, STORE_TEXT),
    STORE_COLUMN(sandbox_head, labels, STORE_TEXT),
    STORE_COLUMN(sandbox_head, spec_bytes, STORE_INT),
};
static const struct store_type head_type = STORE_TYPE(sandbox_head, head_columns);

static const struct store_column load_columns[] = {
    STORE_COLUMN(sandbox_load, agent_id, STORE_INT),
    STORE_COLUMN(sandbox_load, count, STORE_INT),
    STORE_COLUMN(sandbox_load, cpu_millis, STORE_INT),
    STORE_COLUMN(sandbox_load, memory_bytes, STORE_INT),
    STORE_COLUMN(sandbox_load, disk_bytes, STORE_INT),
};
static const struct store_type load_type = STORE_TYPE(sandbox_load, load_columns);

enum err_code store_sandbox_add(
    struct sql_conn *conn, const struct sandbox_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_SANDBOX_INSERT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_TEXT(record->name),
            record->agent_id == 0 ? SQL_NULL : SQL_INT(record->agent_id),
            SQL_INT(record->phase),
            SQL_TEXT(record->labels),
            SQL_TEXT(record->annotations),
            SQL_BLOB(record->spec.ptr, record->spec.len),
            SQL_INT(record->cpu_millis),
            SQL_INT(record->memory_bytes),
            SQL_INT(record->disk_bytes),
            SQL_TEXT(record->reason),
            SQL_TEXT(record->message),
            SQL_INT(record->policy_version),
            SQL_TEXT(record->created_by),
            SQL_INT(record->created_at)),
        NULL,
        err);
}

static enum err_code find(
    const struct store_ask *ask,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err)
{
    enum err_code code = store_select_one(ask, &type, arena, ret_record, err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "sandbox not found") : code;
}

enum err_code store_sandbox_by_name(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view name,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err)
{
    return find(
        STORE_ASK(conn, &SQL_SANDBOX_BY_NAME, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(name))),
        arena,
        ret_record,
        err);
}

enum err_code store_sandbox_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err)
{
    return find(
        STORE_ASK(conn, &SQL_SANDBOX_BY_ID, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id))),
        arena,
        ret_record,
        err);
}

enum err_code store_sandbox_head_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_head_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_HEAD_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->after_workspace),
                SQL_VIEW(filter->after_name),
                SQL_INT(filter->limit))),
        &head_type,
        arena,
        ret_list,
        err);
}

enum err_code store_sandbox_set(
    struct sql_conn *conn,
    const struct sandbox_head *const *heads,
    size_t count,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    AUTO_BUF struct buf pairs = BUF_INIT(SET_BYTES);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&pairs, "%c[%" PRId64 ",", i == 0 ? '[' : ',', heads[i]->workspace_id);
        buf_append_json(&pairs, str_of(heads[i]->id));
        buf_append_char(&pairs, ']');
    }
    buf_append_str(&pairs, count == 0 ? STR("[]") : STR("]"));
    if (!buf_ok(&pairs)) {
        return ERR_SET(err, ERR_LIMIT, "too many sandboxes at once");
    }
    return store_select(
        STORE_ASK(conn, &SQL_SANDBOX_SET, SQL_ARGS(SQL_VIEW(buf_view(&pairs)))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_sandbox_loads(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t agent_id,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(conn, &SQL_SANDBOX_LOADS, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(agent_id))),
        &load_type,
        arena,
        ret_list,
        err);
}

enum err_code store_sandbox_update(
    struct sql_conn *conn, struct sandbox_record *record, struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_SANDBOX_UPDATE,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_INT(record->revision),
            SQL_INT(record->phase),
            SQL_TEXT(record->reason),
            SQL_TEXT(record->message),
            record->exit_code < 0 ? SQL_NULL : SQL_INT(record->exit_code),
            SQL_TEXT(record->instance_id),
            SQL_INT(record->report_sequence),
            SQL_INT(record->policy_version),
            SQL_INT(record->policy_loaded),
            SQL_INT(record->changed_at),
            SQL_INT(record->deleting_at)),
        &changed,
        err));
    if (changed != 1) {
        return ERR_SET(err, ERR_BUSY, "the sandbox was changed at the same time");
    }
    record->revision++;
    return ERR_OK;
}

enum err_code store_sandbox_remove(
    struct sql_conn *conn, int64_t workspace_id, struct str_view id, struct err_info *err)
{
    return sql_exec(
        conn, &SQL_SANDBOX_REMOVE, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id)), NULL, err);
}

enum err_code store_sandbox_life(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err)
{
    return find(
        STORE_ASK(conn, &SQL_SANDBOX_LIFE, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id))),
        arena,
        ret_record,
        err);
}

enum err_code store_sandbox_life_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_life_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_LIFE_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_VIEW(filter->after_id),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_sandbox_life_overdue(
    struct sql_conn *conn,
    const struct sandbox_overdue_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_SANDBOX_LIFE_OVERDUE,
            SQL_ARGS(
                SQL_TIME(filter->seen_before),
                SQL_TIME(filter->created_before),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}
