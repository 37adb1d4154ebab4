/*
 * One interface over SQLite and PostgreSQL. A connection belongs to one thread at a time.
 * Statements are named constants generated from .sql files; parameters are $1, $2, ... on both
 * engines. Time is an int64 in microseconds, passed in; booleans are integers 0 and 1.
 *
 * Errors: unique violation ERR_EXISTS; foreign key ERR_PRECONDITION; check or not-null ERR_INVALID;
 * row-level security ERR_DENIED; lock, deadlock, serialization ERR_BUSY (retry the transaction);
 * connection lost, or a database that takes no writes, ERR_UNAVAILABLE; a commit whose answer was
 * lost ERR_UNCERTAIN; disk full ERR_LIMIT; damaged file ERR_CORRUPT. Texts never hold SQL or
 * values.
 */
#ifndef COMMON_SQL_SQL_H
#define COMMON_SQL_SQL_H

#include "common/base/str.h"
#include "common/base/time.h"

enum sql_engine {
    SQL_SQLITE,
    SQL_POSTGRES
};

struct sql_conn;
struct sql_rows;
struct sql_driver;

struct sql_statement {
    const char *name;     /* noun_verb, unique in the program */
    const char *postgres; /* NULL: this engine has no such statement */
    const char *sqlite;
};

struct sql_value {
    enum {
        SQL_TYPE_NULL,
        SQL_TYPE_INT,
        SQL_TYPE_REAL,
        SQL_TYPE_TEXT,
        SQL_TYPE_BLOB,
        SQL_TYPE_INT_ARRAY, /* arrays: PostgreSQL only (UNNEST), no NULL members */
        SQL_TYPE_REAL_ARRAY,
        SQL_TYPE_TEXT_ARRAY,
        SQL_TYPE_BLOB_ARRAY
    } type;

    size_t count; /* bytes of text and blob, members of arrays */

    union {
        int64_t integer;
        double real;
        const void *data; /* borrowed for the call */
        const int64_t *integers;
        const double *reals;
        const struct str_view *views;
    } as;
};

#define SQL_NULL    ((struct sql_value){ .type = SQL_TYPE_NULL })
#define SQL_INT(v)  ((struct sql_value){ .type = SQL_TYPE_INT, .as.integer = (int64_t)(v) })
#define SQL_BOOL(v) ((struct sql_value){ .type = SQL_TYPE_INT, .as.integer = (v) ? 1 : 0 })
#define SQL_REAL(v) ((struct sql_value){ .type = SQL_TYPE_REAL, .as.real = (v) })
#define SQL_TIME(v) ((struct sql_value){ .type = SQL_TYPE_INT, .as.integer = (v).value })
#define SQL_BLOB(pointer, bytes) \
    ((struct sql_value){ .type = SQL_TYPE_BLOB, .count = (bytes), .as.data = (pointer) })
#define SQL_INTS(pointer, n) \
    ((struct sql_value){ .type = SQL_TYPE_INT_ARRAY, .count = (n), .as.integers = (pointer) })
#define SQL_REALS(pointer, n) \
    ((struct sql_value){ .type = SQL_TYPE_REAL_ARRAY, .count = (n), .as.reals = (pointer) })
#define SQL_TEXTS(pointer, n) \
    ((struct sql_value){ .type = SQL_TYPE_TEXT_ARRAY, .count = (n), .as.views = (pointer) })
#define SQL_BLOBS(pointer, n) \
    ((struct sql_value){ .type = SQL_TYPE_BLOB_ARRAY, .count = (n), .as.views = (pointer) })

static inline struct sql_value sql_value_of_view(struct str_view text)
{
    return (struct sql_value){ .type = text.ptr == NULL ? SQL_TYPE_NULL : SQL_TYPE_TEXT,
                               .count = text.len,
                               .as.data = text.ptr };
}

/* A view or a string; NULL gives SQL NULL. */
#define SQL_VIEW(text) sql_value_of_view(text)
#define SQL_TEXT(text) sql_value_of_view(str_of(text))

struct sql_options {
    const char *url;         /* "sqlite:/path/file.db", "postgresql://..." */
    const char *application; /* shown in pg_stat_activity */
    bool read_only;
    bool no_prepared_statements; /* PgBouncer in transaction mode */
    bool full_sync;          /* SQLite: a commit is on the disk (synchronous=FULL); else NORMAL */
    int64_t busy_timeout_us; /* 0: 5 s */
    int64_t connect_timeout_us; /* 0: 5 s */
    /*
     * PostgreSQL, 0: 30 s. A statement that takes longer is ERR_TIMEOUT; when the database says
     * nothing at all for two seconds more, the connection is lost (ERR_UNAVAILABLE). A transaction
     * that idles for so long is ended by the database, so that a client that was stopped holds its
     * locks no longer.
     */
    int64_t statement_timeout_us;

    /* Engines this program links (common/sql/sqlite.h, postgres.h), ended by NULL; NULL: SQLite
     * only. */
    const struct sql_driver *const *drivers;
};

/*
 * ERR_UNSUPPORTED: an engine that is not known or not linked. A new SQLite file gets mode 0600. The
 * password of a URL is in no error text.
 */

enum err_code sql_connect(
    const struct sql_options *options, struct sql_conn **ret_conn, struct err_info *err) MUST_CHECK;
void sql_close(struct sql_conn *conn); /* rolls back; NULL is allowed */
enum sql_engine sql_engine_of(const struct sql_conn *conn);

/* false after a lost connection; sql_reconnect tries again (and prepares anew). */
bool sql_is_usable(const struct sql_conn *conn);
/* It was lost because no answer came in time: a new one would wait as long. */
bool sql_is_silent(const struct sql_conn *conn);
/* As far as the database has said with its last answer; a standby and one that is set read-only
 * take none. true: also where nobody says it (PgBouncer). */
bool sql_takes_writes(const struct sql_conn *conn);
enum err_code sql_reconnect(struct sql_conn *conn, struct err_info *err) MUST_CHECK;

/* Prepares every statement, so that a bad one stops the start; a no-op list check without prepared
 * statements. */
enum err_code sql_prepare_all(
    struct sql_conn *conn,
    const struct sql_statement *const *statements,
    size_t count,
    struct err_info *err) MUST_CHECK;

#define SQL_ALL_WORKSPACES INT64_C(-1)
#define SQL_OWN_WALL       INT64_C(-2) /* sql_begin_lookup only */

/*
 * Starts a transaction. On PostgreSQL row-level security shows only workspace_id's rows
 * (app.workspace_id); SQL_ALL_WORKSPACES lifts that for work of the server itself. SQLite: BEGIN
 * IMMEDIATE. Statements outside a transaction are refused on PostgreSQL by the wall. PostgreSQL
 * hears of the transaction with its first statement, in one round trip: a connection that is lost
 * is told of there.
 */
enum err_code sql_begin(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
    MUST_CHECK;
enum err_code sql_begin_read(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
    MUST_CHECK;
/*
 * As sql_begin_read for exactly one sql_query: no transaction is opened and none is ended, which
 * would cost more than a look-up. PostgreSQL gets wall and query in one round trip. SQL_OWN_WALL:
 * PostgreSQL gets the query alone, and shows it no tenant's rows but those for which it lifts the
 * wall itself, until its end (store/credential.sql); behind PgBouncer, where timeouts must be said
 * with each look-up, it is SQL_ALL_WORKSPACES.
 */
enum err_code sql_begin_lookup(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
    MUST_CHECK;
bool sql_is_lookup(const struct sql_conn *conn); /* inside one */
enum err_code sql_commit(struct sql_conn *conn, struct err_info *err) MUST_CHECK;
/*
 * After a statement that failed, the transaction takes only sql_rollback on either engine (the rest
 * is ERR_PRECONDITION). A commit that failed has rolled back, unless it is ERR_UNCERTAIN.
 */
void sql_rollback(struct sql_conn *conn); /* outside a transaction: nothing */

/* Runs fn in a transaction; on ERR_BUSY rolls back and retries, up to 5 times with jitter. */
enum err_code sql_transact(
    struct sql_conn *conn,
    int64_t workspace_id,
    enum err_code (*fn)(struct sql_conn *conn, void *context, struct err_info *err),
    void *context,
    struct err_info *err) MUST_CHECK;

/*
 * Inside a transaction for writing: runs fn so that it may fail. When it does, what it has done is
 * undone and the transaction goes on as if it had not run; the error is fn's. Not nested.
 */
enum err_code sql_attempt(
    struct sql_conn *conn,
    enum err_code (*fn)(struct sql_conn *conn, void *context, struct err_info *err),
    void *context,
    struct err_info *err) MUST_CHECK;

/* ret_changed (may be NULL): rows inserted, updated or deleted. */
enum err_code sql_exec(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    int64_t *ret_changed,
    struct err_info *err) MUST_CHECK;

/*
 * As sql_exec, in a transaction for writing, when nobody needs the answer now: on PostgreSQL the
 * statement goes out with what comes next on the connection, a statement or the commit, in the same
 * round trip. When it fails, that one fails with its error: so it is not for a statement whose
 * failure a caller tells from another's. Arguments are copied. Inside sql_attempt as sql_exec.
 */
enum err_code sql_exec_later(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct err_info *err) MUST_CHECK;

/*
 * Text is UTF-8 without NUL, else ERR_INVALID. On PostgreSQL the server derives the types of the
 * parameters from the statement: write CAST($1 AS bigint) where the context does not tell, and
 * CAST($1 AS bigint[]) for arrays. Writing in sql_begin_read's transaction is ERR_DENIED.
 */
/* Rows stay valid until sql_rows_close, which must come before the next statement of the
 * connection. */
enum err_code sql_query(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct sql_rows **ret_rows,
    struct err_info *err) MUST_CHECK;

/* Steps to the next row: ERR_OK, ERR_NOT_FOUND at the end, else an error. */
enum err_code sql_rows_next(struct sql_rows *rows, struct err_info *err) MUST_CHECK;
void sql_rows_close(struct sql_rows *rows); /* NULL is allowed */

/* Values are not converted: asking a number for text gives STR_NONE, text for a number 0. Columns:
 * integers, floats, numeric, boolean, text, json, bytea. */
bool sql_is_null(const struct sql_rows *rows, unsigned column);
int64_t sql_int(const struct sql_rows *rows, unsigned column); /* NULL: 0 */
double sql_real(const struct sql_rows *rows, unsigned column); /* NULL: 0 */
struct str_view sql_text(
    const struct sql_rows *rows, unsigned column); /* NULL: STR_NONE; valid until the next step */
struct str_view sql_blob(const struct sql_rows *rows, unsigned column);

static inline void sql_rows_close_(struct sql_rows **rows)
{
    sql_rows_close(*rows);
}

#define AUTO_ROWS __attribute__((cleanup(sql_rows_close_)))

/* ARGS(a, b) for the two parameters args, arg_count. */
#define SQL_ARGS(...)                          \
    (const struct sql_value[]){ __VA_ARGS__ }, \
        sizeof((const struct sql_value[]){ __VA_ARGS__ }) / sizeof(struct sql_value)
#define SQL_NO_ARGS NULL, 0

/* Text without parameters, several statements allowed: migrations and tests only. */
enum err_code sql_exec_script(struct sql_conn *conn, const char *text, struct err_info *err)
    MUST_CHECK;

/* PostgreSQL notifications (ERR_UNSUPPORTED on SQLite). Notify takes effect at commit. */
enum err_code sql_notify(
    struct sql_conn *conn, const char *channel, struct str_view payload, struct err_info *err)
    MUST_CHECK;
enum err_code sql_listen(struct sql_conn *conn, const char *channel, struct err_info *err)
    MUST_CHECK;
/* ERR_TIMEOUT: none came. channel and payload are copied, cut to the sizes given. */
enum err_code sql_wait_notification(
    struct sql_conn *conn,
    int64_t timeout_us,
    char *ret_channel,
    size_t channel_bytes,
    char *ret_payload,
    size_t payload_bytes,
    struct err_info *err) MUST_CHECK;

#endif
