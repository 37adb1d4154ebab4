#include "cmd/agent/spool/command_log.h"

#include "cmd/agent/spool/spool_private.h"
#include "spool.sql.h"

#include <stdio.h>

static enum err_code need_file(struct spool *spool, struct err_info *err)
{
    return spool->conn != NULL
        ? ERR_OK
        : ERR_SET(err, ERR_UNAVAILABLE, "command log: %s", spool->last_error);
}

/* NULL stands for SQL NULL, which no column of text takes. */
static struct sql_value text_of(struct str_view text)
{
    return SQL_VIEW(text.ptr == NULL ? STR("") : text);
}

static enum err_code after_write(
    struct spool *spool, enum err_code code, const struct err_info *err)
{
    struct err_info none = ERR_INFO_INIT;
    if (code == ERR_CORRUPT) {
        (void)spool_recover(spool, code, err == NULL ? &none : err);
    }
    return code;
}

static enum err_code insert_command(
    struct spool *spool, const struct command_entry *entry, struct err_info *err)
{
    TRY(sql_begin(spool->conn, SQL_ALL_WORKSPACES, err));
    enum err_code code = sql_exec(
        spool->conn,
        &SQL_COMMAND_INSERT,
        SQL_ARGS(
            text_of(entry->command_id),
            SQL_INT(entry->sequence),
            text_of(entry->actor),
            text_of(entry->action),
            SQL_TIME(clock_wall(spool->clock))),
        NULL,
        err);
    if (code == ERR_OK) {
        code = sql_exec(
            spool->conn, &SQL_COMMAND_PRUNE, SQL_ARGS(SQL_INT(COMMAND_LOG_KEPT)), NULL, err);
    }
    if (code == ERR_OK) {
        code = sql_commit(spool->conn, err);
    }
    if (code != ERR_OK) {
        sql_rollback(spool->conn);
    }
    return code;
}

enum err_code command_log_begin(
    struct spool *spool, const struct command_entry *entry, struct err_info *err)
{
    TRY(need_file(spool, err));
    return after_write(spool, insert_command(spool, entry, err), err);
}

enum err_code command_log_finish(
    struct spool *spool,
    struct str_view command_id,
    const struct command_outcome *outcome,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(need_file(spool, err));
    enum err_code code = sql_exec(
        spool->conn,
        &SQL_COMMAND_FINISH,
        SQL_ARGS(
            text_of(command_id),
            SQL_TIME(clock_wall(spool->clock)),
            SQL_BOOL(outcome->succeeded),
            SQL_INT(outcome->code),
            SQL_TEXT(outcome->error),
            SQL_BLOB(outcome->payload.ptr, outcome->payload.len)),
        &changed,
        err);
    if (code == ERR_OK && changed == 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "command log: no such running command");
    }
    return after_write(spool, code, err);
}

enum err_code command_log_set_acked(
    struct spool *spool, struct str_view command_id, struct err_info *err)
{
    TRY(need_file(spool, err));
    enum err_code code =
        sql_exec(spool->conn, &SQL_COMMAND_ACKED, SQL_ARGS(text_of(command_id)), NULL, err);
    return after_write(spool, code, err);
}

static void read_outcome(
    const struct sql_rows *rows, unsigned first, struct command_outcome *outcome)
{
    struct str_view error = sql_text(rows, first + 2);
    outcome->succeeded = sql_int(rows, first) != 0;
    outcome->code = (unsigned)sql_int(rows, first + 1);
    (void)snprintf(outcome->error, sizeof(outcome->error), "%.*s", STR_ARG(error));
    outcome->payload = sql_blob(rows, first + 3);
}

enum err_code command_log_find(
    struct spool *spool,
    struct str_view command_id,
    struct arena *arena,
    enum command_status *ret_status,
    struct command_outcome *ret_outcome,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    struct command_outcome outcome;
    TRY(need_file(spool, err));
    TRY(sql_query(spool->conn, &SQL_COMMAND_GET, SQL_ARGS(text_of(command_id)), &rows, err));
    TRY(sql_rows_next(rows, err));
    read_outcome(rows, 1, &outcome);
    if (outcome.payload.len > 0) {
        const char *copy = arena_dup(arena, outcome.payload.ptr, outcome.payload.len);
        if (copy == NULL) {
            return ERR_SET(err, ERR_LIMIT, "command log: an answer does not fit its arena");
        }
        outcome.payload.ptr = copy;
    }
    *ret_status = (enum command_status)sql_int(rows, 0);
    *ret_outcome = outcome;
    return ERR_OK;
}

enum err_code command_log_each_unacked(
    struct spool *spool,
    unsigned max,
    void (*each)(void *context, struct str_view command_id, const struct command_outcome *outcome),
    void *context,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(need_file(spool, err));
    TRY(sql_query(spool->conn, &SQL_COMMAND_UNACKED, SQL_ARGS(SQL_INT(max)), &rows, err));
    for (;;) {
        struct command_outcome outcome;
        enum err_code code = sql_rows_next(rows, err);
        if (code == ERR_NOT_FOUND) {
            return ERR_OK;
        }
        TRY(code);
        read_outcome(rows, 1, &outcome);
        each(context, sql_text(rows, 0), &outcome);
    }
}

enum err_code command_log_interrupt(
    struct spool *spool, unsigned code, const char *text, struct err_info *err)
{
    struct wall_us now = clock_wall(spool->clock);
    struct wall_us resumed_since = { now.value - COMMAND_LOG_RESUME_US };
    TRY(need_file(spool, err));
    return sql_exec(
        spool->conn,
        &SQL_COMMAND_INTERRUPT,
        SQL_ARGS(SQL_TIME(now), SQL_INT(code), SQL_TEXT(text), SQL_TIME(resumed_since)),
        NULL,
        err);
}

enum err_code command_log_each_recent(
    struct spool *spool,
    unsigned max,
    void (*each)(void *context, const struct command_line *line),
    void *context,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(need_file(spool, err));
    TRY(sql_query(spool->conn, &SQL_COMMAND_RECENT, SQL_ARGS(SQL_INT(max)), &rows, err));
    for (;;) {
        enum err_code code = sql_rows_next(rows, err);
        if (code == ERR_NOT_FOUND) {
            return ERR_OK;
        }
        TRY(code);
        struct command_line line = { .command_id = sql_text(rows, 0),
                                     .action = sql_text(rows, 1),
                                     .actor = sql_text(rows, 2),
                                     .received_at = { sql_int(rows, 3) },
                                     .status = (enum command_status)sql_int(rows, 4),
                                     .succeeded = sql_int(rows, 5) != 0,
                                     .code = (unsigned)sql_int(rows, 6),
                                     .error = sql_text(rows, 7) };
        each(context, &line);
    }
}
