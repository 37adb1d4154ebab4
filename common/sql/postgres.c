#include "common/sql/postgres.h"

#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "common/sql/postgres_connect.h"
#include "common/sql/postgres_value.h"
#include "common/sql/postgres_wait.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_DEFAULT_US   (5 * US_PER_SECOND)
#define STATEMENT_TIMEOUT_DEFAULT_US (30 * US_PER_SECOND)
#define TIMEOUT_MAX_US               US_PER_DAY
/* The database ends a slow statement itself; who hears nothing for so much longer gives it up. */
#define ANSWER_LATE_US (2 * US_PER_SECOND)

enum {
    NUMBER_TEXT_BYTES = 24,
    POLL_MAX_MS = 60000
};

struct postgres_conn {
    struct sql_conn base;
    char *url; /* holds the password; settings.url */
    char *application;
    struct postgres_settings settings;
    char statement_timeout_ms[NUMBER_TEXT_BYTES];
    int64_t answer_us; /* the longest wait for the database */
    bool is_lost;
    bool is_silent;       /* lost because no answer came in time */
    PGconn *pg;           /* NULL: a reconnect failed */
    struct map *prepared; /* name to a pointer to its text, which is static */
    struct postgres_args args;
    PGresult *result; /* of the open rows */
    int row;          /* current one; -1 before the first */
};

static void clear_result(PGresult **result)
{
    PQclear(*result);
}

#define AUTO_RESULT AUTO(clear_result)

static struct postgres_conn *cast(struct sql_conn *conn)
{
    return (struct postgres_conn *)(void *)conn;
}

static const struct postgres_conn *cast_const(const struct sql_conn *conn)
{
    return (const struct postgres_conn *)(const void *)conn;
}

static bool postgres_is_usable(const struct sql_conn *base)
{
    const struct postgres_conn *conn = cast_const(base);
    return conn->pg != NULL && !conn->is_lost && PQstatus(conn->pg) == CONNECTION_OK;
}

static bool is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* States after which what was prepared is not what the server has: start anew. */
static bool is_stale(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return state != NULL && (strcmp(state, "26000") == 0 || strcmp(state, "0A000") == 0);
}

static enum err_code set_lost(struct postgres_conn *conn, const char *what, struct err_info *err)
{
    conn->is_lost = true;
    return ERR_SET(
        err,
        ERR_UNAVAILABLE,
        conn->is_silent ? "%s: the database does not answer"
                        : "%s: the connection to the database is lost",
        what);
}

static struct mono_us answer_deadline(const struct postgres_conn *conn)
{
    return (struct mono_us){ clock_mono(clock_system()).value + conn->answer_us };
}

/* The last result of what was sent; NULL: it could not be sent, or no answer came in time, and the
 * connection is lost. */
static PGresult *take_answer(struct postgres_conn *conn, int is_sent)
{
    bool in_time = true;
    PGresult *result =
        is_sent == 1 ? postgres_take_last(conn->pg, answer_deadline(conn), &in_time) : NULL;
    conn->is_silent = !in_time;
    conn->is_lost = conn->is_lost || result == NULL;
    return result;
}

/*
 * A database that takes no writes is one that another has taken the place of, or will: the next use
 * connects anew, and may find that one (target_session_attrs in the URL).
 */
static bool is_read_only_database(const struct postgres_conn *conn, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return conn->base.transaction == SQL_TRANSACTION_WRITE && !conn->settings.read_only
        && state != NULL && strcmp(state, "25006") == 0;
}

static enum err_code check_result(
    struct postgres_conn *conn,
    const PGresult *result,
    const char *what,
    bool is_script,
    struct err_info *err)
{
    if (is_good(result)) {
        return ERR_OK;
    }
    if (conn->is_lost || PQstatus(conn->pg) != CONNECTION_OK) {
        return set_lost(conn, what, err);
    }
    if (is_read_only_database(conn, result)) {
        conn->is_lost = true;
        return ERR_SET(
            err, ERR_UNAVAILABLE, "%s: the database takes no writes now (a standby?)", what);
    }
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
        conn->is_lost = true; /* the protocol is in another mode: nothing else can be said on it */
        return ERR_SET(err, ERR_UNSUPPORTED, "%s: COPY is not supported", what);
    }
    return postgres_set_error(result, what, is_script, err);
}

static void disconnect(struct postgres_conn *conn)
{
    map_destroy(conn->prepared, mem_free);
    conn->prepared = NULL;
    PQfinish(conn->pg);
    conn->pg = NULL;
}

static enum err_code postgres_reconnect(struct sql_conn *base, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    disconnect(conn);
    TRY(postgres_connect(&conn->settings, &conn->pg, err));
    conn->prepared = map_create();
    conn->is_lost = false;
    conn->is_silent = false;
    return ERR_OK;
}

static void postgres_close(struct sql_conn *base)
{
    struct postgres_conn *conn = cast(base);
    disconnect(conn);
    postgres_args_deinit(&conn->args);
    explicit_bzero(conn->url, strlen(conn->url));
    mem_free(conn->url);
    mem_free(conn->application);
    mem_free(conn);
}

static int64_t timeout_or(int64_t us, int64_t otherwise_us)
{
    if (us <= 0) {
        return otherwise_us;
    }
    return us > TIMEOUT_MAX_US ? TIMEOUT_MAX_US : us;
}

static enum err_code postgres_open(
    const struct sql_options *options, struct sql_conn **ret_conn, struct err_info *err)
{
    struct postgres_conn *conn = mem_alloc(sizeof(*conn));
    conn->url = mem_strdup(options->url);
    conn->application = mem_strdup(options->application == NULL ? "belay" : options->application);
    int64_t statement_us = timeout_or(options->statement_timeout_us, STATEMENT_TIMEOUT_DEFAULT_US);
    conn->answer_us = statement_us + ANSWER_LATE_US;
    (void)snprintf(
        conn->statement_timeout_ms,
        sizeof(conn->statement_timeout_ms),
        "%lld",
        (long long)((statement_us + US_PER_MS - 1) / US_PER_MS));
    conn->settings = (struct postgres_settings){
        .url = conn->url,
        .application = conn->application,
        .connect_timeout_us = timeout_or(options->connect_timeout_us, CONNECT_TIMEOUT_DEFAULT_US),
        .statement_timeout_ms = conn->statement_timeout_ms,
        .read_only = options->read_only,
        .is_pooled = options->no_prepared_statements,
    };
    conn->base.is_pooled = options->no_prepared_statements;
    postgres_args_init(&conn->args);
    enum err_code code = postgres_reconnect(&conn->base, err);
    if (code != ERR_OK) {
        postgres_close(&conn->base);
        return code;
    }
    *ret_conn = &conn->base;
    return ERR_OK;
}

static bool postgres_is_in_transaction(const struct sql_conn *base)
{
    return PQtransactionStatus(cast_const(base)->pg) != PQTRANS_IDLE;
}

static enum err_code postgres_prepare(
    struct sql_conn *base, const struct sql_statement *statement, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    if (conn->settings.is_pooled) {
        return ERR_OK;
    }
    const char *const *known = map_find(conn->prepared, str_of(statement->name));
    if (known != NULL) {
        return *known == statement->postgres || strcmp(*known, statement->postgres) == 0
            ? ERR_OK
            : ERR_SET(err, ERR_INTERNAL, "%s: two statements have this name", statement->name);
    }
    AUTO_RESULT PGresult *result =
        take_answer(conn, PQsendPrepare(conn->pg, statement->name, statement->postgres, 0, NULL));
    TRY(check_result(conn, result, statement->name, true, err));
    (void)map_put(
        conn->prepared,
        str_of(statement->name),
        mem_dup(&statement->postgres, sizeof(statement->postgres)));
    return ERR_OK;
}

/* ret_result is set on success only. */
static enum err_code run_statement(
    struct postgres_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    PGresult **ret_result,
    struct err_info *err)
{
    TRY(postgres_prepare(&conn->base, statement, err));
    TRY(postgres_args_set(&conn->args, args, arg_count, err));
    const struct postgres_args *sent = &conn->args;
    int is_sent = 0;
    if (conn->settings.is_pooled) {
        is_sent = PQsendQueryParams(
            conn->pg,
            statement->postgres,
            (int)arg_count,
            NULL,
            sent->values,
            sent->lengths,
            sent->formats,
            1);
    } else {
        is_sent = PQsendQueryPrepared(
            conn->pg,
            statement->name,
            (int)arg_count,
            sent->values,
            sent->lengths,
            sent->formats,
            1);
    }
    AUTO_RESULT PGresult *result = take_answer(conn, is_sent);
    postgres_args_trim(&conn->args);
    if (!is_good(result) && !conn->settings.is_pooled && is_stale(result)) {
        conn->is_lost = true;
        return ERR_SET(
            err, ERR_UNAVAILABLE, "%s: the schema has changed, reconnect", statement->name);
    }
    TRY(check_result(conn, result, statement->name, false, err));
    *ret_result = STEAL(result);
    return ERR_OK;
}

/* Rows read do not count as changed. */
static int64_t read_changed(PGresult *result)
{
    int64_t changed = 0;
    if (!str_has_prefix(str_of(PQcmdStatus(result)), STR("SELECT"))
        && str_parse_int64(str_of(PQcmdTuples(result)), 0, INT64_MAX, &changed) != ERR_OK) {
        return 0;
    }
    return changed;
}

static enum err_code postgres_exec(
    struct sql_conn *base,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    int64_t *ret_changed,
    struct err_info *err)
{
    AUTO_RESULT PGresult *result = NULL;
    TRY(run_statement(cast(base), statement, args, arg_count, &result, err));
    *ret_changed = read_changed(result);
    return ERR_OK;
}

static enum err_code postgres_query(
    struct sql_conn *base,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    AUTO_RESULT PGresult *result = NULL;
    TRY(run_statement(conn, statement, args, arg_count, &result, err));
    TRY(postgres_check_columns(result, statement->name, err));
    conn->result = STEAL(result);
    conn->row = -1;
    return ERR_OK;
}

static enum err_code postgres_next(struct sql_conn *base, struct err_info *err)
{
    (void)err;
    struct postgres_conn *conn = cast(base);
    if (conn->row + 1 >= PQntuples(conn->result)) {
        return ERR_NOT_FOUND;
    }
    conn->row++;
    return ERR_OK;
}

static void postgres_close_rows(struct sql_conn *base)
{
    struct postgres_conn *conn = cast(base);
    PQclear(conn->result);
    conn->result = NULL;
}

static bool postgres_is_null(const struct sql_conn *base, unsigned column)
{
    const struct postgres_conn *conn = cast_const(base);
    return (int)column >= PQnfields(conn->result)
        || PQgetisnull(conn->result, conn->row, (int)column) != 0;
}

static int64_t get_int(const struct sql_conn *base, unsigned column)
{
    const struct postgres_conn *conn = cast_const(base);
    return postgres_get_int(conn->result, conn->row, (int)column);
}

static double get_real(const struct sql_conn *base, unsigned column)
{
    const struct postgres_conn *conn = cast_const(base);
    return postgres_get_real(conn->result, conn->row, (int)column);
}

static struct str_view get_bytes(const struct sql_conn *base, unsigned column)
{
    const struct postgres_conn *conn = cast_const(base);
    return postgres_get_bytes(conn->result, conn->row, (int)column);
}

/* Reads up to the end of the pipeline; the first failed result, or NULL. */
static PGresult *drain_pipeline(struct postgres_conn *conn)
{
    PGconn *pg = conn->pg;
    PGresult *failed = NULL;
    struct mono_us deadline = answer_deadline(conn);
    bool is_done = false;
    while (!is_done) {
        if (!postgres_wait(pg, deadline)) {
            conn->is_lost = true;
            conn->is_silent = true;
            break;
        }
        PGresult *result = PQgetResult(pg);
        ExecStatusType status = PQresultStatus(result);
        is_done = (result != NULL && status == PGRES_PIPELINE_SYNC)
            || (result == NULL && PQstatus(pg) != CONNECTION_OK);
        if (result != NULL && failed == NULL && status == PGRES_FATAL_ERROR) {
            failed = result;
        } else {
            PQclear(result);
        }
    }
    return failed;
}

/* Both statements in one round trip. */
static enum err_code run_begin(
    struct postgres_conn *conn, const char *begin, const char *workspace, struct err_info *err)
{
    PGconn *pg = conn->pg;
    const char *const values[] = { workspace, conn->statement_timeout_ms };
    /* Behind PgBouncer timeouts cannot be settings of the session. */
    const char *set = conn->settings.is_pooled
        ? "SELECT set_config('app.workspace_id', $1, true), set_config('statement_timeout', $2, "
          "true), set_config('idle_in_transaction_session_timeout', $2, true)"
        : "SELECT set_config('app.workspace_id', $1, true)";
    int set_args = conn->settings.is_pooled ? 2 : 1;
    bool is_sent = PQenterPipelineMode(pg) == 1
        && PQsendQueryParams(pg, begin, 0, NULL, NULL, NULL, NULL, 1) == 1
        && PQsendQueryParams(pg, set, set_args, NULL, values, NULL, NULL, 1) == 1
        && PQpipelineSync(pg) == 1;
    if (!is_sent) {
        return set_lost(conn, "begin", err);
    }
    AUTO_RESULT PGresult *failed = drain_pipeline(conn);
    if (conn->is_lost || PQstatus(pg) != CONNECTION_OK || PQexitPipelineMode(pg) != 1) {
        return set_lost(conn, "begin", err);
    }
    return failed == NULL ? ERR_OK : check_result(conn, failed, "begin", false, err);
}

static void postgres_rollback(struct sql_conn *base)
{
    struct postgres_conn *conn = cast(base);
    if (PQtransactionStatus(conn->pg) == PQTRANS_IDLE) {
        return;
    }
    AUTO_RESULT PGresult *result = take_answer(conn, PQsendQuery(conn->pg, "ROLLBACK"));
    conn->is_lost = conn->is_lost || !is_good(result);
}

static enum err_code postgres_begin(
    struct sql_conn *base, int64_t workspace_id, bool read_only, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    char workspace[NUMBER_TEXT_BYTES] = "all";
    if (workspace_id != SQL_ALL_WORKSPACES) {
        (void)snprintf(workspace, sizeof(workspace), "%lld", (long long)workspace_id);
    }
    /* A reader sees one moment, as on SQLite. */
    const char *begin = read_only || conn->settings.read_only
        ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        : "BEGIN";
    enum err_code code = run_begin(conn, begin, workspace, err);
    if (code != ERR_OK && postgres_is_usable(base)) {
        postgres_rollback(base);
    }
    return code;
}

static enum err_code postgres_commit(struct sql_conn *base, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    AUTO_RESULT PGresult *result = take_answer(conn, PQsendQuery(conn->pg, "COMMIT"));
    enum err_code code = check_result(conn, result, "commit", false, err);
    if (code != ERR_OK && conn->is_lost && base->transaction == SQL_TRANSACTION_WRITE) {
        return ERR_SET(
            err,
            ERR_UNCERTAIN,
            "commit: the connection was lost before the answer, it may or may not have happened");
    }
    if (code == ERR_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0) {
        return ERR_SET(err, ERR_PRECONDITION, "commit: the transaction had failed before");
    }
    return code;
}

static enum err_code postgres_exec_script(
    struct sql_conn *base, const char *text, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    AUTO_RESULT PGresult *result = PQexec(conn->pg, text);
    if (PQresultStatus(result) == PGRES_EMPTY_QUERY) {
        return ERR_OK;
    }
    return check_result(conn, result, "script", true, err);
}

static enum err_code postgres_notify(
    struct sql_conn *base, const char *channel, const char *payload, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    const char *const values[] = { channel, payload };
    AUTO_RESULT PGresult *result = take_answer(
        conn,
        PQsendQueryParams(conn->pg, "SELECT pg_notify($1, $2)", 2, NULL, values, NULL, NULL, 1));
    return check_result(conn, result, "notify", false, err);
}

static enum err_code postgres_listen(
    struct sql_conn *base, const char *channel, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    if (conn->settings.is_pooled) {
        return ERR_SET(
            err, ERR_UNSUPPORTED, "listen: needs a direct connection, PgBouncer loses it");
    }
    char *name = PQescapeIdentifier(conn->pg, channel, strlen(channel));
    if (name == NULL) {
        return ERR_SET(err, ERR_NOMEM, "listen: no memory");
    }
    AUTO_FREE char *command = mem_printf("LISTEN %s", name);
    PQfreemem(name);
    AUTO_RESULT PGresult *result = take_answer(conn, PQsendQuery(conn->pg, command));
    return check_result(conn, result, "listen", false, err);
}

static int64_t now_us(void)
{
    return clock_mono(clock_system()).value;
}

static enum err_code postgres_wait_notification(
    struct sql_conn *base,
    int64_t timeout_us,
    void (*on_notification)(void *context, const char *channel, const char *payload),
    void *context,
    struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    int64_t started = now_us();
    for (;;) {
        bool is_read = PQconsumeInput(conn->pg) == 1;
        PGnotify *notification = PQnotifies(conn->pg);
        if (notification != NULL) {
            on_notification(context, notification->relname, notification->extra);
            PQfreemem(notification);
            return ERR_OK;
        }
        if (!is_read || PQstatus(conn->pg) != CONNECTION_OK) {
            return set_lost(conn, "wait", err);
        }
        int64_t left_us = timeout_us - (now_us() - started);
        if (left_us <= 0) {
            return ERR_SET(err, ERR_TIMEOUT, "no notification came");
        }
        int64_t left_ms = (left_us + US_PER_MS - 1) / US_PER_MS;
        struct pollfd wanted = { .fd = PQsocket(conn->pg), .events = POLLIN };
        (void)poll(&wanted, 1, left_ms > POLL_MAX_MS ? POLL_MAX_MS : (int)left_ms);
    }
}

const struct sql_driver sql_driver_postgres = {
    .engine = SQL_POSTGRES,
    .schemes = { { "postgresql://", sizeof("postgresql://") - 1 },
                 { "postgres://", sizeof("postgres://") - 1 } },
    .open = postgres_open,
    .close = postgres_close,
    .is_usable = postgres_is_usable,
    .is_in_transaction = postgres_is_in_transaction,
    .reconnect = postgres_reconnect,
    .prepare = postgres_prepare,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .exec = postgres_exec,
    .query = postgres_query,
    .next = postgres_next,
    .close_rows = postgres_close_rows,
    .is_null = postgres_is_null,
    .get_int = get_int,
    .get_real = get_real,
    .get_bytes = get_bytes,
    .exec_script = postgres_exec_script,
    .notify = postgres_notify,
    .listen = postgres_listen,
    .wait = postgres_wait_notification,
};
