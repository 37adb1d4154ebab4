/* The interface: finds the engine, checks order of calls and arguments, and dispatches. */
#include "common/sql/sql.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/sql/sql_driver.h"
#include "common/sql/sqlite.h"

#include <poll.h>
#include <stdio.h>

enum {
    TRANSACT_ATTEMPTS = 5,
    RETRY_FIRST_US = 10000, /* doubled by each attempt */
    CHANNEL_BYTES_MAX = 63,
    PAYLOAD_BYTES_MAX = 7999,
};

static const struct sql_driver *const only_sqlite[] = { &sql_driver_sqlite, NULL };

static const struct sql_driver *find_driver(
    const struct sql_driver *const *drivers, struct str_view url)
{
    for (; *drivers != NULL; drivers++) {
        for (size_t i = 0; i < ARRAY_LENGTH((*drivers)->schemes); i++) {
            struct str_view scheme = (*drivers)->schemes[i];
            if (scheme.len > 0 && str_has_prefix(url, scheme)) {
                return *drivers;
            }
        }
    }
    return NULL;
}

/* Names a scheme only when the whole program knows it: anything else may be a misplaced secret. */
static enum err_code set_no_driver(struct str_view url, struct err_info *err)
{
    if (str_has_prefix(url, STR("postgresql:")) || str_has_prefix(url, STR("postgres:"))) {
        return ERR_SET(
            err, ERR_UNSUPPORTED, "this program is built without PostgreSQL: use sqlite:/path");
    }
    return ERR_SET(
        err,
        ERR_UNSUPPORTED,
        "the database URL has an unknown scheme: use sqlite:/path or postgresql://...");
}

enum err_code sql_connect(
    const struct sql_options *options, struct sql_conn **ret_conn, struct err_info *err)
{
    struct str_view url = str_of(options->url);
    if (url.len == 0) {
        return ERR_SET(err, ERR_INVALID, "no database URL is given");
    }
    const struct sql_driver *driver =
        find_driver(options->drivers == NULL ? only_sqlite : options->drivers, url);
    if (driver == NULL) {
        return set_no_driver(url, err);
    }
    struct sql_conn *conn = NULL;
    TRY(driver->open(options, &conn, err));
    conn->driver = driver;
    conn->rows.conn = conn;
    *ret_conn = conn;
    return ERR_OK;
}

void sql_close(struct sql_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    sql_rollback(conn);
    conn->driver->close(conn);
}

enum sql_engine sql_engine_of(const struct sql_conn *conn)
{
    return conn->driver->engine;
}

bool sql_is_usable(const struct sql_conn *conn)
{
    return conn->driver->is_usable(conn);
}

static void forget_transaction(struct sql_conn *conn)
{
    conn->transaction = SQL_TRANSACTION_NONE;
    conn->transaction_failed = false;
    conn->has_looked_up = false;
}

bool sql_is_silent(const struct sql_conn *conn)
{
    return conn->driver->is_silent != NULL && conn->driver->is_silent(conn);
}

bool sql_takes_writes(const struct sql_conn *conn)
{
    return conn->driver->takes_writes == NULL || conn->driver->takes_writes(conn);
}

enum err_code sql_reconnect(struct sql_conn *conn, struct err_info *err)
{
    sql_rollback(conn);
    return conn->driver->reconnect(conn, err);
}

static enum err_code check_ready(
    const struct sql_conn *conn, const char *what, struct err_info *err)
{
    if (conn->rows.is_open) {
        return ERR_SET(
            err, ERR_INTERNAL, "%s: the rows of %s are still open", what, conn->rows.statement);
    }
    if (!conn->driver->is_usable(conn)) {
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: the connection to the database is lost", what);
    }
    if (conn->transaction_failed) {
        return ERR_SET(
            err, ERR_PRECONDITION, "%s: an earlier statement of the transaction failed", what);
    }
    return ERR_OK;
}

/* Both engines refuse the rest of a transaction after a failure, as PostgreSQL does. */
static enum err_code note(struct sql_conn *conn, enum err_code code)
{
    if (code != ERR_OK && conn->transaction != SQL_TRANSACTION_NONE) {
        conn->transaction_failed = true;
    }
    return code;
}

enum err_code sql_prepare_all(
    struct sql_conn *conn,
    const struct sql_statement *const *statements,
    size_t count,
    struct err_info *err)
{
    TRY(check_ready(conn, "prepare", err));
    for (size_t i = 0; i < count; i++) {
        const struct sql_statement *statement = statements[i];
        bool here = sql_engine_of(conn) == SQL_SQLITE ? statement->sqlite != NULL
                                                      : statement->postgres != NULL;
        if (here) {
            TRY(note(conn, conn->driver->prepare(conn, statement, err)));
        }
    }
    return ERR_OK;
}

static enum err_code check_idle(struct sql_conn *conn, struct err_info *err)
{
    TRY(check_ready(conn, "begin", err));
    return conn->transaction == SQL_TRANSACTION_NONE
        ? ERR_OK
        : ERR_SET(err, ERR_INTERNAL, "begin: a transaction is open already");
}

static enum err_code begin(
    struct sql_conn *conn, int64_t workspace_id, enum sql_transaction kind, struct err_info *err)
{
    TRY(check_idle(conn, err));
    if (workspace_id < SQL_ALL_WORKSPACES) {
        return ERR_SET(err, ERR_INVALID, "begin: workspace_id is negative");
    }
    TRY(conn->driver->begin(conn, workspace_id, kind, err));
    conn->transaction = kind;
    return ERR_OK;
}

/* A look-up of which the engine hears nothing but the query. */
static enum err_code begin_alone(struct sql_conn *conn, struct err_info *err)
{
    if (conn->is_pooled) {
        return begin(conn, SQL_ALL_WORKSPACES, SQL_TRANSACTION_LOOKUP, err);
    }
    TRY(check_idle(conn, err));
    conn->transaction = SQL_TRANSACTION_LOOKUP;
    return ERR_OK;
}

enum err_code sql_begin(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
{
    return begin(conn, workspace_id, SQL_TRANSACTION_WRITE, err);
}

enum err_code sql_begin_read(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
{
    return begin(conn, workspace_id, SQL_TRANSACTION_READ, err);
}

enum err_code sql_begin_lookup(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
{
    return workspace_id == SQL_OWN_WALL ? begin_alone(conn, err)
                                        : begin(conn, workspace_id, SQL_TRANSACTION_LOOKUP, err);
}

bool sql_is_lookup(const struct sql_conn *conn)
{
    return conn->transaction == SQL_TRANSACTION_LOOKUP;
}

enum err_code sql_commit(struct sql_conn *conn, struct err_info *err)
{
    if (conn->transaction == SQL_TRANSACTION_NONE) {
        return ERR_SET(err, ERR_INTERNAL, "commit: there is no transaction");
    }
    enum err_code code = check_ready(conn, "commit", err);
    if (code == ERR_OK) {
        code = conn->driver->commit(conn, err);
    }
    if (code != ERR_OK) {
        sql_rollback(conn);
    }
    forget_transaction(conn);
    return code;
}

void sql_rollback(struct sql_conn *conn)
{
    if (conn->rows.is_open) {
        sql_rows_close(&conn->rows);
    }
    if (conn->transaction != SQL_TRANSACTION_NONE && conn->driver->is_usable(conn)) {
        conn->driver->rollback(conn);
    }
    forget_transaction(conn);
}

void sql_wait_us(int64_t us)
{
    (void)poll(NULL, 0, (int)(us / US_PER_MS));
}

enum err_code sql_transact(
    struct sql_conn *conn,
    int64_t workspace_id,
    enum err_code (*fn)(struct sql_conn *conn, void *context, struct err_info *err),
    void *context,
    struct err_info *err)
{
    enum err_code code = ERR_BUSY;
    for (unsigned attempt = 0; code == ERR_BUSY && attempt < TRANSACT_ATTEMPTS; attempt++) {
        if (attempt > 0) {
            sql_wait_us((int64_t)id_random_below((uint64_t)RETRY_FIRST_US << attempt));
        }
        code = sql_begin(conn, workspace_id, err);
        if (code != ERR_OK) {
            continue;
        }
        code = fn(conn, context, err);
        if (code == ERR_OK) {
            code = sql_commit(conn, err);
        } else {
            sql_rollback(conn);
        }
    }
    return code;
}

static enum err_code run_script(struct sql_conn *conn, const char *text, struct err_info *err)
{
    return note(conn, conn->driver->exec_script(conn, text, err));
}

enum err_code sql_attempt(
    struct sql_conn *conn,
    enum err_code (*fn)(struct sql_conn *conn, void *context, struct err_info *err),
    void *context,
    struct err_info *err)
{
    TRY(check_ready(conn, "attempt", err));
    if (conn->transaction != SQL_TRANSACTION_WRITE) {
        return ERR_SET(err, ERR_INTERNAL, "attempt: there is no transaction for writing");
    }
    TRY(run_script(conn, "SAVEPOINT attempt", err));
    conn->is_attempting = true;
    enum err_code code = fn(conn, context, err);
    conn->is_attempting = false;
    if (code == ERR_OK) {
        return run_script(conn, "RELEASE SAVEPOINT attempt", err);
    }
    if (conn->driver->is_usable(conn) && conn->driver->is_in_transaction(conn)) {
        static const char undo[] = "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt";
        struct err_info detail = ERR_INFO_INIT;
        conn->transaction_failed = conn->driver->exec_script(conn, undo, &detail) != ERR_OK;
    }
    return code;
}

static bool is_plain_text(struct str_view text)
{
    return text.len == 0 || (memchr(text.ptr, '\0', text.len) == NULL && str_is_utf8(text, NULL));
}

/* What PostgreSQL would refuse is refused on both engines. */
static bool is_text_sound(const struct sql_value *value)
{
    if (value->type == SQL_TYPE_TEXT) {
        return is_plain_text(str_from(value->as.data, value->count));
    }
    if (value->type == SQL_TYPE_TEXT_ARRAY) {
        for (size_t i = 0; i < value->count; i++) {
            if (!is_plain_text(value->as.views[i])) {
                return false;
            }
        }
    }
    return true;
}

static size_t value_bytes(const struct sql_value *value)
{
    switch (value->type) {
    case SQL_TYPE_NULL:
    case SQL_TYPE_INT:
    case SQL_TYPE_REAL:
        return sizeof(int64_t);
    case SQL_TYPE_TEXT:
    case SQL_TYPE_BLOB:
        return value->count;
    case SQL_TYPE_INT_ARRAY:
    case SQL_TYPE_REAL_ARRAY:
        return value->count > SQL_ARG_BYTES_MAX ? SQL_ARG_BYTES_MAX + 1
                                                : value->count * sizeof(int64_t);
    case SQL_TYPE_TEXT_ARRAY:
    case SQL_TYPE_BLOB_ARRAY:
        break;
    }
    size_t total = 0;
    for (size_t i = 0; i < value->count && total <= SQL_ARG_BYTES_MAX; i++) {
        size_t bytes = value->as.views[i].len;
        total += sizeof(int32_t) + (bytes > SQL_ARG_BYTES_MAX ? SQL_ARG_BYTES_MAX : bytes);
    }
    return total;
}

static enum err_code check_args(
    const char *name, const struct sql_value *args, size_t count, struct err_info *err)
{
    if (count > SQL_ARGS_MAX) {
        return ERR_SET(err, ERR_INTERNAL, "%s: more than %d arguments", name, SQL_ARGS_MAX);
    }
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = value_bytes(&args[i]);
        if (bytes > SQL_ARG_BYTES_MAX || total > SQL_ARG_BYTES_MAX - bytes) {
            return ERR_SET(
                err, ERR_LIMIT, "%s: arguments of more than %zu bytes", name, SQL_ARG_BYTES_MAX);
        }
        total += bytes;
        if (!is_text_sound(&args[i])) {
            return ERR_SET(
                err, ERR_INVALID, "%s: argument %zu is not UTF-8 text without NUL", name, i + 1);
        }
    }
    return ERR_OK;
}

static enum err_code check_statement(
    const struct sql_conn *conn, const struct sql_statement *statement, struct err_info *err)
{
    TRY(check_ready(conn, statement->name, err));
    if (conn->has_looked_up) {
        return ERR_SET(err, ERR_INTERNAL, "%s: a look-up is one query", statement->name);
    }
    bool here =
        sql_engine_of(conn) == SQL_SQLITE ? statement->sqlite != NULL : statement->postgres != NULL;
    if (!here) {
        return ERR_SET(
            err, ERR_UNSUPPORTED, "%s: there is no such statement on this engine", statement->name);
    }
    return ERR_OK;
}

enum err_code sql_exec(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    int64_t *ret_changed,
    struct err_info *err)
{
    TRY(check_statement(conn, statement, err));
    TRY(check_args(statement->name, args, arg_count, err));
    if (conn->transaction == SQL_TRANSACTION_LOOKUP) {
        return ERR_SET(err, ERR_DENIED, "%s: writes in a look-up", statement->name);
    }
    int64_t changed = 0;
    TRY(note(conn, conn->driver->exec(conn, statement, args, arg_count, &changed, err)));
    if (ret_changed != NULL) {
        *ret_changed = changed;
    }
    return ERR_OK;
}

enum err_code sql_exec_later(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct err_info *err)
{
    if (conn->driver->exec_later == NULL || conn->transaction != SQL_TRANSACTION_WRITE
        || conn->is_attempting) {
        return sql_exec(conn, statement, args, arg_count, NULL, err);
    }
    TRY(check_statement(conn, statement, err));
    TRY(check_args(statement->name, args, arg_count, err));
    return note(conn, conn->driver->exec_later(conn, statement, args, arg_count, err));
}

enum err_code sql_query(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct sql_rows **ret_rows,
    struct err_info *err)
{
    TRY(check_statement(conn, statement, err));
    TRY(check_args(statement->name, args, arg_count, err));
    conn->has_looked_up = conn->transaction == SQL_TRANSACTION_LOOKUP;
    TRY(note(conn, conn->driver->query(conn, statement, args, arg_count, err)));
    conn->rows.is_open = true;
    conn->rows.statement = statement->name;
    *ret_rows = &conn->rows;
    return ERR_OK;
}

enum err_code sql_rows_next(struct sql_rows *rows, struct err_info *err)
{
    enum err_code code = rows->conn->driver->next(rows->conn, err);
    return code == ERR_NOT_FOUND ? code : note(rows->conn, code);
}

void sql_rows_close(struct sql_rows *rows)
{
    if (rows != NULL && rows->is_open) {
        rows->conn->driver->close_rows(rows->conn);
        rows->is_open = false;
    }
}

bool sql_is_null(const struct sql_rows *rows, unsigned column)
{
    return rows->conn->driver->is_null(rows->conn, column);
}

int64_t sql_int(const struct sql_rows *rows, unsigned column)
{
    return rows->conn->driver->get_int(rows->conn, column);
}

double sql_real(const struct sql_rows *rows, unsigned column)
{
    return rows->conn->driver->get_real(rows->conn, column);
}

struct str_view sql_text(const struct sql_rows *rows, unsigned column)
{
    return rows->conn->driver->get_bytes(rows->conn, column);
}

struct str_view sql_blob(const struct sql_rows *rows, unsigned column)
{
    return rows->conn->driver->get_bytes(rows->conn, column);
}

enum err_code sql_exec_script(struct sql_conn *conn, const char *text, struct err_info *err)
{
    TRY(check_ready(conn, "script", err));
    TRY(note(conn, conn->driver->exec_script(conn, text, err)));
    bool inside = conn->driver->is_in_transaction(conn);
    if (inside != (conn->transaction != SQL_TRANSACTION_NONE)) {
        conn->driver->rollback(conn);
        forget_transaction(conn);
        return ERR_SET(err, ERR_INVALID, "the script starts or ends a transaction of its own");
    }
    return ERR_OK;
}

static bool is_channel(const char *channel)
{
    size_t length = strlen(channel);
    return length > 0 && length <= CHANNEL_BYTES_MAX
        && strspn(channel, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static enum err_code check_channel(
    const struct sql_conn *conn, const char *channel, struct err_info *err)
{
    if (conn->driver->notify == NULL) {
        return ERR_SET(err, ERR_UNSUPPORTED, "this database engine has no notifications");
    }
    if (!is_channel(channel)) {
        return ERR_SET(
            err, ERR_INVALID, "a channel has 1 to %d of a-z, 0-9 and _", CHANNEL_BYTES_MAX);
    }
    return check_ready(conn, channel, err);
}

enum err_code sql_notify(
    struct sql_conn *conn, const char *channel, struct str_view payload, struct err_info *err)
{
    TRY(check_channel(conn, channel, err));
    char text[PAYLOAD_BYTES_MAX + 1];
    if (payload.len > PAYLOAD_BYTES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "a notification has at most %d bytes", PAYLOAD_BYTES_MAX);
    }
    if (!is_plain_text(payload) || str_copy(payload, text, sizeof(text)) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "a notification is UTF-8 text without NUL");
    }
    return note(conn, conn->driver->notify(conn, channel, text, err));
}

enum err_code sql_listen(struct sql_conn *conn, const char *channel, struct err_info *err)
{
    TRY(check_channel(conn, channel, err));
    return note(conn, conn->driver->listen(conn, channel, err));
}

struct notification {
    char *channel;
    size_t channel_bytes;
    char *payload;
    size_t payload_bytes;
};

static void copy_notification(void *context, const char *channel, const char *payload)
{
    const struct notification *target = context;
    (void)snprintf(target->channel, target->channel_bytes, "%s", channel);
    (void)snprintf(target->payload, target->payload_bytes, "%s", payload);
}

/* Four of the seven are results.
 * NOLINTBEGIN(readability-function-size,readability-non-const-parameter) */
enum err_code sql_wait_notification(
    struct sql_conn *conn,
    int64_t timeout_us,
    char *ret_channel,
    size_t channel_bytes,
    char *ret_payload,
    size_t payload_bytes,
    struct err_info *err)
{
    if (conn->driver->wait == NULL) {
        return ERR_SET(err, ERR_UNSUPPORTED, "this database engine has no notifications");
    }
    TRY(check_ready(conn, "wait", err));
    struct notification target = { ret_channel, channel_bytes, ret_payload, payload_bytes };
    return conn->driver->wait(conn, timeout_us, copy_notification, &target, err);
}

/* NOLINTEND(readability-function-size,readability-non-const-parameter) */
