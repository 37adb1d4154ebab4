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
    OWED_FIRST = 8,
    LATER_MAX = 8, /* a transaction that wants more waits for an answer between */
    POLL_MAX_MS = 60000
};

/* The wall, prepared once; behind PgBouncer timeouts cannot be settings of the session. */
#define SET_WALL "SELECT set_config('app.workspace_id', $1, true)"
#define SET_TIMEOUTS                              \
    ", set_config('statement_timeout', $2, true)" \
    ", set_config('idle_in_transaction_session_timeout', $2, true)"
#define SET_READ_ONLY ", set_config('transaction_read_only', 'on', true)"

static const struct sql_statement wall_of_transaction = { .name = "wall_of_transaction",
                                                          .postgres = SET_WALL };
static const struct sql_statement wall_of_lookup = { .name = "wall_of_lookup",
                                                     .postgres = SET_WALL SET_READ_ONLY };
static const struct sql_statement notify_all = {
    .name = "notify_all",
    .postgres = "SELECT pg_notify(n.channel, n.payload) "
                "FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) AS n (channel, payload)",
};

/* The beginning of a transaction that the server was not told of yet: it goes out with the first
 * statement. */
struct opening {
    enum sql_transaction kind; /* SQL_TRANSACTION_NONE: nothing is to be said */
    char workspace[NUMBER_TEXT_BYTES];
};

/* A statement that waits for what comes next. */
struct later {
    const struct sql_statement *statement;
    struct postgres_args args;
    size_t arg_count;
};

/* What a pipeline has before its own statement, to name what failed. */
struct ahead {
    unsigned opening; /* results of the opening */
    unsigned count;
    const char *names[LATER_MAX];
    const char *failed; /* NULL: not one of these */
};

/* Notifications that go out with the commit, column by column. */
struct owed {
    size_t count;
    size_t room;
    struct str_view *channels;
    struct str_view *payloads;
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
    struct opening opening;
    struct later later[LATER_MAX];
    unsigned later_count;
    struct ahead ahead; /* of the pipeline under way */
    struct owed owed;
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

static bool postgres_is_silent(const struct sql_conn *base)
{
    return cast_const(base)->is_silent;
}

static bool postgres_is_usable(const struct sql_conn *base)
{
    const struct postgres_conn *conn = cast_const(base);
    return conn->pg != NULL && !conn->is_lost && PQstatus(conn->pg) == CONNECTION_OK;
}

/* PostgreSQL tells its clients by itself how these stand, and that they have changed. */
static bool postgres_takes_writes(const struct sql_conn *base)
{
    static const char *const against[] = { "in_hot_standby", "default_transaction_read_only" };
    const struct postgres_conn *conn = cast_const(base);
    for (size_t i = 0; conn->pg != NULL && i < ARRAY_LENGTH(against); i++) {
        const char *said = PQparameterStatus(conn->pg, against[i]);
        if (said != NULL && strcmp(said, "on") == 0) {
            return false;
        }
    }
    return true;
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

static void owe(struct owed *owed, const char *channel, const char *payload)
{
    if (owed->count == owed->room) {
        owed->room = owed->room == 0 ? OWED_FIRST : 2 * owed->room;
        owed->channels = mem_realloc(owed->channels, owed->room * sizeof(*owed->channels));
        owed->payloads = mem_realloc(owed->payloads, owed->room * sizeof(*owed->payloads));
    }
    owed->channels[owed->count] = str_of(mem_strdup(channel));
    owed->payloads[owed->count++] = str_of(mem_strdup(payload));
}

static void forget_owed(struct owed *owed)
{
    for (size_t i = 0; i < owed->count; i++) {
        mem_free(CONST_CAST(char *, owed->channels[i].ptr));
        mem_free(CONST_CAST(char *, owed->payloads[i].ptr));
    }
    owed->count = 0;
}

/* What waited is void. */
static void forget_later(struct postgres_conn *conn)
{
    for (unsigned i = 0; i < conn->later_count; i++) {
        postgres_args_trim(&conn->later[i].args);
    }
    conn->later_count = 0;
}

static void disconnect(struct postgres_conn *conn)
{
    conn->opening.kind = SQL_TRANSACTION_NONE;
    forget_later(conn);
    forget_owed(&conn->owed);
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
    for (unsigned i = 0; i < LATER_MAX; i++) {
        postgres_args_deinit(&conn->later[i].args);
    }
    mem_free(conn->owed.channels);
    mem_free(conn->owed.payloads);
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
    for (unsigned i = 0; i < LATER_MAX; i++) {
        postgres_args_init(&conn->later[i].args);
        conn->later[i].args.keeps_blobs = true;
    }
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

/* 1: sent. */
static int send_statement(
    struct postgres_conn *conn,
    const struct sql_statement *statement,
    const struct postgres_args *sent,
    size_t arg_count)
{
    if (conn->settings.is_pooled) {
        return PQsendQueryParams(
            conn->pg,
            statement->postgres,
            (int)arg_count,
            NULL,
            sent->values,
            sent->lengths,
            sent->formats,
            1);
    }
    return PQsendQueryPrepared(
        conn->pg, statement->name, (int)arg_count, sent->values, sent->lengths, sent->formats, 1);
}

static const struct sql_statement *wall_of(const struct postgres_conn *conn)
{
    return conn->opening.kind == SQL_TRANSACTION_LOOKUP ? &wall_of_lookup : &wall_of_transaction;
}

static int send_wall(const struct postgres_conn *conn)
{
    bool is_lookup = conn->opening.kind == SQL_TRANSACTION_LOOKUP;
    const char *const values[] = { conn->opening.workspace, conn->statement_timeout_ms };
    if (conn->settings.is_pooled) {
        const char *text = is_lookup ? SET_WALL SET_TIMEOUTS SET_READ_ONLY : SET_WALL SET_TIMEOUTS;
        return PQsendQueryParams(conn->pg, text, 2, NULL, values, NULL, NULL, 1);
    }
    return PQsendQueryPrepared(conn->pg, wall_of(conn)->name, 1, values, NULL, NULL, 1);
}

/* The beginning of a transaction, if it was not said yet. The connection is in pipeline mode. */
static bool send_opening(struct postgres_conn *conn)
{
    conn->ahead.opening = conn->opening.kind == SQL_TRANSACTION_NONE ? 0
        : conn->opening.kind == SQL_TRANSACTION_LOOKUP               ? 1
                                                                     : 2;
    /* A reader sees one moment, as on SQLite. */
    bool read_only = conn->opening.kind == SQL_TRANSACTION_READ || conn->settings.read_only;
    const char *begin = read_only ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN";
    bool is_sent = conn->opening.kind == SQL_TRANSACTION_NONE
        || ((conn->opening.kind == SQL_TRANSACTION_LOOKUP
             || PQsendQueryParams(conn->pg, begin, 0, NULL, NULL, NULL, NULL, 1) == 1)
            && send_wall(conn) == 1);
    conn->opening.kind = SQL_TRANSACTION_NONE;
    return is_sent;
}

/* What goes before a statement or a commit; the connection is in pipeline mode. */
static bool send_ahead(struct postgres_conn *conn)
{
    bool is_sent = send_opening(conn);
    conn->ahead.count = conn->later_count;
    for (unsigned i = 0; i < conn->later_count; i++) {
        const struct later *later = &conn->later[i];
        conn->ahead.names[i] = later->statement->name;
        is_sent =
            is_sent && send_statement(conn, later->statement, &later->args, later->arg_count) == 1;
    }
    forget_later(conn);
    return is_sent;
}

static bool has_ahead(const struct postgres_conn *conn)
{
    return conn->opening.kind != SQL_TRANSACTION_NONE || conn->later_count > 0;
}

/* place: of the result that failed, counted from the first one. */
static void note_failure(struct ahead *ahead, unsigned place)
{
    bool is_later = place >= ahead->opening && place < ahead->opening + ahead->count;
    ahead->failed = is_later ? ahead->names[place - ahead->opening] : NULL;
}

/* The result that a pipeline is about: its first failure, else its last. */
static PGresult *drain_pipeline(struct postgres_conn *conn)
{
    PGresult *kept = NULL;
    unsigned place = 0;
    struct mono_us deadline = answer_deadline(conn);
    for (;;) {
        if (!postgres_wait(conn->pg, deadline)) {
            PQclear(kept);
            conn->is_silent = true;
            return NULL;
        }
        PGresult *result = PQgetResult(conn->pg);
        ExecStatusType status = PQresultStatus(result);
        if (result == NULL && PQstatus(conn->pg) == CONNECTION_OK) {
            continue; /* between two statements */
        }
        bool is_end = result == NULL || status == PGRES_PIPELINE_SYNC;
        bool has_failed = kept != NULL && PQresultStatus(kept) == PGRES_FATAL_ERROR;
        if (is_end || has_failed || status == PGRES_PIPELINE_ABORTED) {
            PQclear(result);
        } else {
            PQclear(kept);
            kept = result;
            if (status == PGRES_FATAL_ERROR) {
                note_failure(&conn->ahead, place);
            }
            place++;
        }
        if (is_end || (kept != NULL && postgres_is_copy(kept))) {
            return kept;
        }
    }
}

/* Ends what was sent in pipeline mode and takes its result; NULL: the connection is lost. */
static PGresult *take_pipeline(struct postgres_conn *conn, bool is_sent)
{
    conn->ahead.failed = NULL;
    PGresult *result = is_sent && PQpipelineSync(conn->pg) == 1 ? drain_pipeline(conn) : NULL;
    conn->is_lost = conn->is_lost || result == NULL
        || (!postgres_is_copy(result) && PQexitPipelineMode(conn->pg) != 1);
    return result;
}

static enum err_code prepare_opening(struct postgres_conn *conn, struct err_info *err)
{
    return conn->opening.kind == SQL_TRANSACTION_NONE
        ? ERR_OK
        : postgres_prepare(&conn->base, wall_of(conn), err);
}

/* Which statement of the pipeline that was taken has failed; else the last one's name. */
static const char *name_of_failure(const struct postgres_conn *conn, const char *last)
{
    return conn->ahead.failed != NULL ? conn->ahead.failed : last;
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
    TRY(prepare_opening(conn, err));
    TRY(postgres_args_set(&conn->args, args, arg_count, err));
    AUTO_RESULT PGresult *result = NULL;
    const char *name = statement->name;
    if (!has_ahead(conn)) {
        result = take_answer(conn, send_statement(conn, statement, &conn->args, arg_count));
    } else {
        bool is_sent = PQenterPipelineMode(conn->pg) == 1 && send_ahead(conn)
            && send_statement(conn, statement, &conn->args, arg_count) == 1;
        result = take_pipeline(conn, is_sent);
        name = name_of_failure(conn, name);
    }
    postgres_args_trim(&conn->args);
    if (!is_good(result) && !conn->settings.is_pooled && is_stale(result)) {
        conn->is_lost = true;
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: the schema has changed, reconnect", name);
    }
    TRY(check_result(conn, result, name, false, err));
    *ret_result = STEAL(result);
    return ERR_OK;
}

/* Says what was put off, for what does not go through run_statement. */
static enum err_code open_now(struct postgres_conn *conn, struct err_info *err)
{
    if (!has_ahead(conn)) {
        return ERR_OK;
    }
    TRY(prepare_opening(conn, err));
    AUTO_RESULT PGresult *result =
        take_pipeline(conn, PQenterPipelineMode(conn->pg) == 1 && send_ahead(conn));
    return check_result(conn, result, name_of_failure(conn, "begin"), false, err);
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

static enum err_code postgres_exec_later(
    struct sql_conn *base,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    if (conn->later_count == LATER_MAX) {
        int64_t changed = 0;
        return postgres_exec(base, statement, args, arg_count, &changed, err);
    }
    struct later *later = &conn->later[conn->later_count];
    TRY(postgres_prepare(base, statement, err));
    TRY(postgres_args_set(&later->args, args, arg_count, err));
    later->statement = statement;
    later->arg_count = arg_count;
    conn->later_count++;
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

static void postgres_rollback(struct sql_conn *base)
{
    struct postgres_conn *conn = cast(base);
    conn->opening.kind = SQL_TRANSACTION_NONE;
    forget_later(conn);
    forget_owed(&conn->owed);
    if (PQtransactionStatus(conn->pg) == PQTRANS_IDLE) {
        return;
    }
    AUTO_RESULT PGresult *result = take_answer(conn, PQsendQuery(conn->pg, "ROLLBACK"));
    conn->is_lost = conn->is_lost || !is_good(result);
}

static enum err_code postgres_begin(
    struct sql_conn *base, int64_t workspace_id, enum sql_transaction kind, struct err_info *err)
{
    (void)err;
    struct opening *opening = &cast(base)->opening;
    opening->kind = kind;
    (void)snprintf(opening->workspace, sizeof(opening->workspace), "all");
    if (workspace_id != SQL_ALL_WORKSPACES) {
        (void)snprintf(
            opening->workspace, sizeof(opening->workspace), "%lld", (long long)workspace_id);
    }
    return ERR_OK;
}

/* What waits, notifications and commit in one round trip: when one of them fails, there is no
 * commit. */
static PGresult *send_commit(struct postgres_conn *conn)
{
    bool notifies = conn->owed.count > 0;
    if (!notifies && !has_ahead(conn)) {
        conn->ahead.failed = NULL;
        return take_answer(conn, PQsendQuery(conn->pg, "COMMIT"));
    }
    bool is_sent = PQenterPipelineMode(conn->pg) == 1 && send_ahead(conn)
        && (!notifies || send_statement(conn, &notify_all, &conn->args, 2) == 1)
        && PQsendQueryParams(conn->pg, "COMMIT", 0, NULL, NULL, NULL, NULL, 1) == 1;
    return take_pipeline(conn, is_sent);
}

static enum err_code ready_owed(struct postgres_conn *conn, struct err_info *err)
{
    const struct owed *owed = &conn->owed;
    const struct sql_value args[] = { SQL_TEXTS(owed->channels, owed->count),
                                      SQL_TEXTS(owed->payloads, owed->count) };
    TRY(postgres_prepare(&conn->base, &notify_all, err));
    return postgres_args_set(&conn->args, args, ARRAY_LENGTH(args), err);
}

static enum err_code postgres_commit(struct sql_conn *base, struct err_info *err)
{
    struct postgres_conn *conn = cast(base);
    if (base->transaction == SQL_TRANSACTION_LOOKUP
        || (conn->opening.kind != SQL_TRANSACTION_NONE && conn->owed.count == 0
            && conn->later_count == 0)) {
        conn->opening.kind = SQL_TRANSACTION_NONE; /* nothing was done */
        return ERR_OK;
    }
    /* What has had no answer yet may be on a connection that died long ago: with the commit on its
     * way too, nobody could tell whether it happened. */
    if (conn->opening.kind != SQL_TRANSACTION_NONE && conn->later_count > 0) {
        TRY(open_now(conn, err));
    }
    TRY(prepare_opening(conn, err));
    if (conn->owed.count > 0) {
        TRY(ready_owed(conn, err));
    }
    AUTO_RESULT PGresult *result = send_commit(conn);
    forget_owed(&conn->owed);
    const char *name = name_of_failure(conn, "commit");
    enum err_code code = check_result(conn, result, name, false, err);
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
    TRY(open_now(conn, err));
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
    if (base->transaction != SQL_TRANSACTION_NONE) {
        owe(&conn->owed, channel, payload);
        return ERR_OK;
    }
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
    TRY(open_now(conn, err));
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
    .is_silent = postgres_is_silent,
    .takes_writes = postgres_takes_writes,
    .is_in_transaction = postgres_is_in_transaction,
    .reconnect = postgres_reconnect,
    .prepare = postgres_prepare,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .exec = postgres_exec,
    .exec_later = postgres_exec_later,
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
