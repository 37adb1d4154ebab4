#include "cmd/server/store/task.h"

#include "common/base/buf.h"
#include "task.sql.h"

#include <stdio.h>

enum {
    NAME_BYTES = 64,
    TIME_BYTES = 8
};

static enum err_code lock(
    struct sql_conn *conn, const char *name, bool *ret_locked, struct err_info *err)
{
    int64_t locked = 1;
    if (sql_engine_of(conn) == SQL_POSTGRES) { /* SQLite has one server, and one writer */
        TRY(store_select_int(
            STORE_ASK(conn, &SQL_TASK_LOCK, SQL_ARGS(SQL_TEXT(name))), &locked, err));
    }
    *ret_locked = locked != 0;
    return ERR_OK;
}

static int64_t read_time(struct str_view bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.len && i < TIME_BYTES; i++) {
        value = value << 8 | (uint8_t)bytes.ptr[i];
    }
    return (int64_t)value;
}

static enum err_code is_due(
    struct sql_conn *conn,
    const char *name,
    int64_t every_us,
    struct wall_us now,
    bool *ret_due,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, &SQL_TASK_RAN_AT, SQL_ARGS(SQL_TEXT(name)), &rows, err));
    enum err_code code = sql_rows_next(rows, err);
    if (code == ERR_NOT_FOUND) {
        *ret_due = true;
        return ERR_OK;
    }
    TRY(code);
    int64_t ran_at = read_time(sql_blob(rows, 0));
    /* A time still to come is of a clock that was wrong. */
    *ret_due = ran_at > now.value || now.value - ran_at >= every_us;
    return ERR_OK;
}

enum err_code store_task_take(
    struct sql_conn *conn,
    const char *name,
    int64_t every_us,
    struct wall_us now,
    bool *ret_mine,
    struct err_info *err)
{
    char key[NAME_BYTES];
    AUTO_BUF struct buf time = BUF_INIT(TIME_BYTES + 1);
    (void)snprintf(key, sizeof(key), "task.%s", name);
    *ret_mine = false;
    TRY(lock(conn, key, ret_mine, err));
    if (!*ret_mine) {
        return ERR_OK;
    }
    TRY(is_due(conn, key, every_us, now, ret_mine, err));
    if (!*ret_mine) {
        return ERR_OK;
    }
    buf_append_u64_be(&time, (uint64_t)now.value);
    return sql_exec(
        conn, &SQL_TASK_NOTE, SQL_ARGS(SQL_TEXT(key), SQL_BLOB(time.data, time.len)), NULL, err);
}
