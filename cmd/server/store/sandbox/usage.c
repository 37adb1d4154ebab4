#include "cmd/server/store/sandbox/usage.h"

#include "usage.sql.h"

enum {
    PORTION = 5000
};

static const struct store_column columns[] = {
    STORE_COLUMN(usage_account, owner, STORE_TEXT),
    STORE_COLUMN(usage_account, created_at, STORE_INT),
};
static const struct store_type type = STORE_TYPE(usage_account, columns);

static const struct store_column sum_columns[] = {
    STORE_COLUMN(usage_sum, workspace, STORE_TEXT),
    STORE_COLUMN(usage_sum, sandbox_id, STORE_TEXT),
    STORE_COLUMN(usage_sum, sandbox_name, STORE_TEXT),
    STORE_COLUMN(usage_sum, owner, STORE_TEXT),
    STORE_COLUMN(usage_sum, label_value, STORE_TEXT),
    STORE_COLUMN(usage_sum, hour_us, STORE_INT),
    STORE_COLUMN(usage_sum, until_us, STORE_INT),
    STORE_COLUMN(usage_sum, sandboxes, STORE_INT),
    STORE_COLUMN(usage_sum, running_us, STORE_INT),
    STORE_COLUMN(usage_sum, cpu_us, STORE_INT),
    STORE_COLUMN(usage_sum, memory_byte_seconds, STORE_INT),
    STORE_COLUMN(usage_sum, disk_byte_seconds, STORE_INT),
    STORE_COLUMN(usage_sum, memory_peak_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, processes_peak, STORE_INT),
    STORE_COLUMN(usage_sum, read_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, written_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, sent_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, received_bytes, STORE_INT),
    STORE_COLUMN(usage_sum, cursor, STORE_TEXT),
};
static const struct store_type sum_type = STORE_TYPE(usage_sum, sum_columns);

enum err_code store_usage_account_add(
    struct sql_conn *conn, const struct sandbox_record *record, struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_USAGE_ACCOUNT_PUT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_TEXT(record->name),
            SQL_INT(record->agent_id),
            SQL_TEXT(record->created_by),
            SQL_TEXT(record->labels),
            SQL_INT(record->created_at)),
        NULL,
        err);
}

static enum err_code account_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct usage_account *account,
    struct arena *arena,
    struct err_info *err)
{
    enum err_code code = store_select_one(
        STORE_ASK(
            conn,
            &SQL_USAGE_ACCOUNT,
            SQL_ARGS(
                SQL_INT(workspace_id), SQL_TEXT(account->sandbox_id), SQL_INT(account->agent_id))),
        &type,
        arena,
        account,
        err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static enum err_code read_accounts(
    struct sql_rows *rows,
    struct usage_account *accounts,
    size_t count,
    struct arena *arena,
    struct err_info *err)
{
    enum err_code code = sql_rows_next(rows, err);
    for (; code == ERR_OK; code = sql_rows_next(rows, err)) {
        uint64_t place = (uint64_t)sql_int(rows, 0) - 1;
        if (place >= count) {
            return ERR_SET(err, ERR_INTERNAL, "usage_accounts: an answer to no question");
        }
        accounts[place].owner = arena_str_dup(arena, sql_text(rows, 1));
        accounts[place].created_at = sql_int(rows, 2);
        if (accounts[place].owner == NULL) {
            return ERR_SET(err, ERR_LIMIT, "the owners of too many sandboxes at once");
        }
    }
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static enum err_code accounts_postgres(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct usage_account *accounts,
    size_t count,
    struct arena *arena,
    struct err_info *err)
{
    AUTO_FREE struct str_view *sandboxes = mem_alloc_array(count, sizeof(*sandboxes));
    AUTO_FREE int64_t *agents = mem_alloc_array(count, sizeof(*agents));
    AUTO_ROWS struct sql_rows *rows = NULL;
    for (size_t i = 0; i < count; i++) {
        sandboxes[i] = str_of(accounts[i].sandbox_id);
        agents[i] = accounts[i].agent_id;
    }
    TRY(sql_query(
        conn,
        &SQL_USAGE_ACCOUNTS,
        SQL_ARGS(SQL_INT(workspace_id), SQL_TEXTS(sandboxes, count), SQL_INTS(agents, count)),
        &rows,
        err));
    return read_accounts(rows, accounts, count, arena, err);
}

enum err_code store_usage_accounts(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct usage_account *accounts,
    size_t count,
    struct arena *arena,
    struct err_info *err)
{
    for (size_t i = 0; i < count; i++) {
        accounts[i].owner = NULL;
    }
    if (count > 1 && sql_engine_of(conn) == SQL_POSTGRES) {
        return accounts_postgres(conn, workspace_id, accounts, count, arena, err);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(account_get(conn, workspace_id, &accounts[i], arena, err));
    }
    return ERR_OK;
}

static enum err_code add_one(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_record *record,
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_USAGE_PUT,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_TEXT(record->sandbox_id),
            SQL_TEXT(record->boot_id),
            SQL_TEXT(record->owner),
            SQL_INT(record->sequence),
            SQL_INT(record->agent_id),
            SQL_INT(record->from_us),
            SQL_INT(record->until_us),
            SQL_INT(record->cpu_us),
            SQL_INT(record->memory_byte_seconds),
            SQL_INT(record->memory_peak_bytes),
            SQL_INT(record->read_bytes),
            SQL_INT(record->written_bytes),
            SQL_INT(record->sent_bytes),
            SQL_INT(record->received_bytes),
            SQL_INT(record->disk_bytes),
            SQL_INT(record->processes_peak),
            SQL_INT(record->is_final ? 1 : 0)),
        NULL,
        err);
}

/* The columns of a record, in the order of the statements. */
enum {
    TEXT_COLUMNS = 3,
    INT_COLUMNS = 14,
    ALL_COLUMNS = 1 + TEXT_COLUMNS + INT_COLUMNS
};

/* count: of records, which is from one column to the next. */
static void spread(
    const struct usage_record *record, struct str_view *texts, int64_t *ints, size_t count)
{
    const char *const text_fields[TEXT_COLUMNS] = { record->sandbox_id,
                                                    record->boot_id,
                                                    record->owner };
    const int64_t int_fields[INT_COLUMNS] = {
        record->sequence,          record->agent_id,         record->from_us,
        record->until_us,          record->cpu_us,           record->memory_byte_seconds,
        record->memory_peak_bytes, record->read_bytes,       record->written_bytes,
        record->sent_bytes,        record->received_bytes,   record->disk_bytes,
        record->processes_peak,    record->is_final ? 1 : 0,
    };
    for (size_t i = 0; i < TEXT_COLUMNS; i++) {
        texts[i * count] = str_of(text_fields[i]);
    }
    for (size_t i = 0; i < INT_COLUMNS; i++) {
        ints[i * count] = int_fields[i];
    }
}

static enum err_code add_all_postgres(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_record *records,
    size_t count,
    struct err_info *err)
{
    AUTO_FREE struct str_view *texts = mem_alloc_array(count * TEXT_COLUMNS, sizeof(*texts));
    AUTO_FREE int64_t *ints = mem_alloc_array(count * INT_COLUMNS, sizeof(*ints));
    struct sql_value args[ALL_COLUMNS] = { SQL_INT(workspace_id) };
    for (size_t i = 0; i < count; i++) {
        spread(&records[i], texts + i, ints + i, count);
    }
    for (size_t i = 0; i < TEXT_COLUMNS; i++) {
        args[1 + i] = SQL_TEXTS(texts + i * count, count);
    }
    for (size_t i = 0; i < INT_COLUMNS; i++) {
        args[1 + TEXT_COLUMNS + i] = SQL_INTS(ints + i * count, count);
    }
    return sql_exec(conn, &SQL_USAGE_PUT_ALL, args, ALL_COLUMNS, NULL, err);
}

enum err_code store_usage_add_all(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_record *records,
    size_t count,
    struct err_info *err)
{
    if (count > 1 && sql_engine_of(conn) == SQL_POSTGRES) {
        return add_all_postgres(conn, workspace_id, records, count, err);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(add_one(conn, workspace_id, &records[i], err));
    }
    return ERR_OK;
}

struct place_in_report {
    int64_t hour_us;
    int64_t workspace_id;
    struct str_view key;
};

/* "hour:workspace:key"; nothing stands before the first row. */
static enum err_code parse_cursor(
    struct str_view cursor, struct place_in_report *ret_place, struct err_info *err)
{
    struct str_view hour = STR_NONE;
    struct str_view workspace = STR_NONE;
    struct str_view rest = STR_NONE;
    *ret_place = (struct place_in_report){ .hour_us = -1, .key = STR("") };
    bool is_valid = cursor.len == 0
        || (str_cut(cursor, ':', &hour, &rest) && str_cut(rest, ':', &workspace, &ret_place->key)
            && str_parse_int64(hour, 0, INT64_MAX, &ret_place->hour_us) == ERR_OK
            && str_parse_int64(workspace, 0, INT64_MAX, &ret_place->workspace_id) == ERR_OK);
    return is_valid ? ERR_OK : ERR_SET(err, ERR_INVALID, "cursor: not of this report");
}

enum err_code store_usage_report(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    struct place_in_report after;
    TRY(parse_cursor(filter->cursor, &after, err));
    return store_select(
        STORE_ASK(
            conn,
            &SQL_USAGE_REPORT,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->after_us),
                SQL_INT(filter->until_us),
                SQL_INT(filter->group),
                SQL_VIEW(filter->label_key),
                SQL_INT(filter->is_hourly ? 1 : 0),
                SQL_VIEW(filter->sandbox),
                SQL_VIEW(filter->owner),
                SQL_INT(after.hour_us),
                SQL_INT(after.workspace_id),
                SQL_VIEW(after.key),
                SQL_INT(filter->limit))),
        &sum_type,
        arena,
        ret_list,
        err);
}

enum err_code store_usage_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err)
{
    int64_t removed = 0;
    TRY(sql_exec(
        conn, &SQL_USAGE_REMOVE, SQL_ARGS(SQL_TIME(before), SQL_INT(PORTION)), &removed, err));
    *ret_more = removed == PORTION;
    if (*ret_more) {
        return ERR_OK;
    }
    return sql_exec(conn, &SQL_USAGE_ACCOUNT_REMOVE, SQL_ARGS(SQL_TIME(before)), NULL, err);
}
