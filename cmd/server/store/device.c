#include "cmd/server/store/device.h"

#include "device.sql.h"

static const struct store_column columns[] = {
    STORE_COLUMN(device_record, workspace_id, STORE_INT),
    STORE_COLUMN(device_record, id, STORE_INT),
    STORE_COLUMN(device_record, agent_id, STORE_INT),
    STORE_COLUMN(device_record, agent_name, STORE_TEXT),
    STORE_COLUMN(device_record, name, STORE_TEXT),
    STORE_COLUMN(device_record, kind, STORE_TEXT),
    STORE_COLUMN(device_record, labels, STORE_TEXT),
    STORE_COLUMN(device_record, facts, STORE_TEXT),
    STORE_COLUMN(device_record, created_at, STORE_INT),
    STORE_COLUMN(device_record, last_seen_at, STORE_INT),
    STORE_COLUMN(device_record, workspace, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(device_record, columns);

enum err_code store_device_put(
    struct sql_conn *conn,
    const struct device_record *record,
    struct wall_us now,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_DEVICE_PUT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_INT(record->agent_id),
            SQL_TEXT(record->name),
            SQL_TEXT(record->kind),
            SQL_TEXT(record->labels),
            SQL_TEXT(record->facts),
            SQL_TIME(now)),
        err);
}

enum err_code store_device_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct arena *arena,
    struct device_record *ret_record,
    struct err_info *err)
{
    enum err_code code = store_select_one(
        STORE_ASK(conn, &SQL_DEVICE_BY_ID, SQL_ARGS(SQL_INT(workspace_id), SQL_INT(id))),
        &type,
        arena,
        ret_record,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "no such device") : code;
}

enum err_code store_device_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct device_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_DEVICE_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_INT(filter->after_id),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}
