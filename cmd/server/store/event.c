#include "cmd/server/store/event.h"

#include "event.sql.h"
#include "telemetry.sql.h"

enum {
    REMOVE_ROWS = 20000 /* in one transaction: a fraction of a second */
};

static const struct store_column columns[] = {
    STORE_COLUMN(event_record, id, STORE_INT),
    STORE_COLUMN(event_record, agent_id, STORE_INT),
    STORE_COLUMN(event_record, agent_name, STORE_TEXT),
    STORE_COLUMN(event_record, time_us, STORE_INT),
    STORE_COLUMN(event_record, received_at, STORE_INT),
    STORE_COLUMN(event_record, severity, STORE_INT),
    STORE_COLUMN(event_record, kind, STORE_TEXT),
    STORE_COLUMN(event_record, device, STORE_TEXT),
    STORE_COLUMN(event_record, text, STORE_TEXT),
    STORE_COLUMN(event_record, attributes, STORE_TEXT),
    STORE_COLUMN(event_record, workspace, STORE_TEXT),
};
static const struct store_type type = STORE_TYPE(event_record, columns);

enum err_code store_event_lock(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
{
    int64_t nothing = 0;
    if (sql_engine_of(conn) != SQL_POSTGRES) {
        return ERR_OK; /* one writes at a time */
    }
    return store_select_int(
        STORE_ASK(conn, &SQL_EVENT_LOCK, SQL_ARGS(SQL_INT(workspace_id))), &nothing, err);
}

enum err_code store_event_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_record *record,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_EVENT_PUT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_INT(record->agent_id),
            SQL_INT(record->time_us),
            SQL_INT(record->received_at),
            SQL_INT(record->severity),
            SQL_TEXT(record->kind),
            SQL_TEXT(record->device),
            SQL_TEXT(record->text),
            SQL_TEXT(record->attributes)),
        NULL,
        err);
}

enum {
    INT_COLUMNS = 4,
    TEXT_COLUMNS = 4
};

static enum err_code add_all_postgres(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_record *records,
    size_t count,
    struct err_info *err)
{
    AUTO_FREE int64_t *ints = mem_alloc_array(count * INT_COLUMNS, sizeof(*ints));
    AUTO_FREE struct str_view *texts = mem_alloc_array(count * TEXT_COLUMNS, sizeof(*texts));
    for (size_t i = 0; i < count; i++) {
        ints[i] = records[i].agent_id;
        ints[count + i] = records[i].time_us;
        ints[2 * count + i] = records[i].received_at;
        ints[3 * count + i] = records[i].severity;
        texts[i] = str_of(records[i].kind);
        texts[count + i] = str_of(records[i].device);
        texts[2 * count + i] = str_of(records[i].text);
        texts[3 * count + i] = str_of(records[i].attributes);
    }
    return sql_exec(
        conn,
        &SQL_EVENT_PUT_ALL,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_INTS(ints, count),
            SQL_INTS(ints + count, count),
            SQL_INTS(ints + 2 * count, count),
            SQL_INTS(ints + 3 * count, count),
            SQL_TEXTS(texts, count),
            SQL_TEXTS(texts + count, count),
            SQL_TEXTS(texts + 2 * count, count),
            SQL_TEXTS(texts + 3 * count, count)),
        NULL,
        err);
}

enum err_code store_event_add_all(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_record *records,
    size_t count,
    struct err_info *err)
{
    if (count > 1 && sql_engine_of(conn) == SQL_POSTGRES) {
        return add_all_postgres(conn, workspace_id, records, count, err);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(store_event_add(conn, workspace_id, &records[i], err));
    }
    return ERR_OK;
}

enum err_code store_event_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    size_t chars = 0;
    struct str_view prefix = store_prefix(filter->kind_prefix, &chars);
    return store_select(
        STORE_ASK(
            conn,
            &SQL_EVENT_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_INT(filter->min_severity),
                SQL_VIEW(prefix),
                SQL_INT(chars),
                SQL_INT(filter->start),
                SQL_INT(filter->end),
                SQL_INT(filter->before_id),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_event_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    size_t chars = 0;
    struct str_view prefix = store_prefix(filter->kind_prefix, &chars);
    return store_select(
        STORE_ASK(
            conn,
            &SQL_EVENT_NEWER,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->agent_id),
                SQL_INT(filter->min_severity),
                SQL_VIEW(prefix),
                SQL_INT(chars),
                SQL_INT(filter->after_id),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_event_of_device(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_device_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_EVENT_OF_DEVICE,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_VIEW(filter->device),
                SQL_INT(filter->kinds),
                SQL_INT(filter->min_severity),
                SQL_INT(filter->since),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_event_of_device_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_device_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_EVENT_OF_DEVICE_NEWER,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_VIEW(filter->device),
                SQL_INT(filter->after_id),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_event_count_of_device(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view device,
    int64_t *ret_count,
    struct err_info *err)
{
    return store_select_int(
        STORE_ASK(
            conn, &SQL_EVENT_COUNT_OF_DEVICE, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(device))),
        ret_count,
        err);
}

enum err_code store_event_last_id(
    struct sql_conn *conn, int64_t workspace_id, int64_t *ret_id, struct err_info *err)
{
    return store_select_int(
        STORE_ASK(conn, &SQL_EVENT_LAST_ID, SQL_ARGS(SQL_INT(workspace_id))), ret_id, err);
}

static enum err_code remove_portion(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    struct wall_us before,
    bool *ret_more,
    struct err_info *err)
{
    int64_t removed = 0;
    TRY(sql_exec(conn, statement, SQL_ARGS(SQL_TIME(before), SQL_INT(REMOVE_ROWS)), &removed, err));
    *ret_more = removed == REMOVE_ROWS;
    return ERR_OK;
}

enum err_code store_event_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err)
{
    return remove_portion(conn, &SQL_EVENT_REMOVE, before, ret_more, err);
}

enum err_code store_upload_add(
    struct sql_conn *conn, const struct upload_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_UPLOAD_PUT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_INT(record->agent_id),
            SQL_INT(record->events ? 2 : 1),
            SQL_INT(record->sequence),
            SQL_INT(record->captured_at),
            SQL_INT(record->received_at),
            SQL_BLOB(record->payload.len == 0 ? "" : record->payload.ptr, record->payload.len)),
        NULL,
        err);
}

enum err_code store_upload_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err)
{
    return remove_portion(conn, &SQL_UPLOAD_REMOVE, before, ret_more, err);
}
