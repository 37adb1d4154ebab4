#include "common/sql/sqlite.h"

#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "common/sql/sql_driver.h"
#include "common/sql/sqlite_file.h"

#include <sqlite3.h>

enum {
    KEPT_BYTES = 128
};

#define BUSY_TIMEOUT_DEFAULT_US (5 * US_PER_SECOND)
#define BUSY_TIMEOUT_MAX_US     US_PER_HOUR

/* A prepared statement; $N is only a name to SQLite, so the index of each is kept. */
struct entry {
    struct sql_statement statement; /* its texts are static */
    sqlite3_stmt *stmt;
    size_t arg_count;
    int *indexes;          /* of $1, $2, ...; 0: not used in the text */
    bool has_copies;       /* of arguments, in memory of SQLite's */
    size_t kept_bytes;     /* of kept */
    char kept[KEPT_BYTES]; /* the small arguments of a query, which outlive the call */
};

struct sqlite_conn {
    struct sql_conn base;
    char *path; /* settings.path */
    struct sqlite_settings settings;
    sqlite3 *db;           /* NULL: a reconnect failed */
    sqlite3_stmt *undo;    /* ROLLBACK, ready before: where memory is short it cannot be parsed */
    struct map *entries;   /* name to struct entry */
    struct entry *latest;  /* used last: rows come one by one with the same statement */
    struct entry *current; /* of the open rows */
    bool is_at_first;      /* the first row is stepped to already */
    bool is_at_end;
};

static struct sqlite_conn *cast(struct sql_conn *conn)
{
    return (struct sqlite_conn *)(void *)conn;
}

static const struct sqlite_conn *cast_const(const struct sql_conn *conn)
{
    return (const struct sqlite_conn *)(const void *)conn;
}

static void free_entry(void *value)
{
    struct entry *entry = value;
    (void)sqlite3_finalize(entry->stmt);
    mem_free(entry->indexes);
    mem_free(entry);
}

static void disconnect(struct sqlite_conn *conn)
{
    map_destroy(conn->entries, free_entry);
    conn->entries = NULL;
    conn->latest = NULL;
    (void)sqlite3_finalize(conn->undo);
    conn->undo = NULL;
    (void)sqlite3_close(conn->db);
    conn->db = NULL;
}

static enum err_code connect_file(struct sqlite_conn *conn, struct err_info *err)
{
    TRY(sqlite_file_open(&conn->settings, &conn->db, err));
    conn->entries = map_create();
    if (sqlite3_prepare_v3(conn->db, "ROLLBACK", -1, SQLITE_PREPARE_PERSISTENT, &conn->undo, NULL)
        != SQLITE_OK) {
        enum err_code code = sqlite_set_error(conn->db, "rollback", err);
        disconnect(conn);
        return code;
    }
    return ERR_OK;
}

static void sqlite_close(struct sql_conn *base)
{
    struct sqlite_conn *conn = cast(base);
    disconnect(conn);
    mem_free(conn->path);
    mem_free(conn);
}

static enum err_code sqlite_open(
    const struct sql_options *options, struct sql_conn **ret_conn, struct err_info *err)
{
    const char *path = options->url + sql_driver_sqlite.schemes[0].len;
    if (path[0] != '/') {
        return ERR_SET(err, ERR_INVALID, "a SQLite URL is sqlite:/absolute/path");
    }
    struct sqlite_conn *conn = mem_alloc(sizeof(*conn));
    conn->path = mem_strdup(path);
    int64_t busy_us =
        options->busy_timeout_us <= 0 ? BUSY_TIMEOUT_DEFAULT_US : options->busy_timeout_us;
    conn->settings = (struct sqlite_settings){
        .path = conn->path,
        .busy_timeout_us = busy_us > BUSY_TIMEOUT_MAX_US ? BUSY_TIMEOUT_MAX_US : busy_us,
        .read_only = options->read_only,
        .full_sync = options->full_sync,
    };
    enum err_code code = connect_file(conn, err);
    if (code != ERR_OK) {
        sqlite_close(&conn->base);
        return code;
    }
    *ret_conn = &conn->base;
    return ERR_OK;
}

static bool sqlite_is_usable(const struct sql_conn *base)
{
    return cast_const(base)->db != NULL;
}

static bool sqlite_is_in_transaction(const struct sql_conn *base)
{
    return sqlite3_get_autocommit(cast_const(base)->db) == 0;
}

static enum err_code sqlite_reconnect(struct sql_conn *base, struct err_info *err)
{
    struct sqlite_conn *conn = cast(base);
    disconnect(conn);
    return connect_file(conn, err);
}

static bool parse_number(const char *name, size_t *ret_number)
{
    uint64_t number = 0;
    if (name == NULL || name[0] != '$'
        || str_parse_uint64(str_of(name + 1), SQL_ARGS_MAX, &number) != ERR_OK || number == 0) {
        return false;
    }
    *ret_number = (size_t)number;
    return true;
}

static enum err_code index_parameters(struct entry *entry, struct err_info *err)
{
    int count = sqlite3_bind_parameter_count(entry->stmt);
    entry->indexes = mem_alloc_array(SQL_ARGS_MAX, sizeof(*entry->indexes));
    for (int i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(entry->stmt, i);
        size_t number = 0;
        if (!parse_number(name, &number)) {
            return ERR_SET(
                err,
                ERR_INTERNAL,
                "%s: parameter %d is not one of $1 to $%d (write CAST, not '::')",
                entry->statement.name,
                i,
                SQL_ARGS_MAX);
        }
        entry->indexes[number - 1] = i;
        entry->arg_count = number > entry->arg_count ? number : entry->arg_count;
    }
    return ERR_OK;
}

static enum err_code create_entry(
    struct sqlite_conn *conn,
    const struct sql_statement *statement,
    struct entry **ret_entry,
    struct err_info *err)
{
    struct entry *entry = mem_alloc(sizeof(*entry));
    entry->statement = *statement;
    const char *tail = NULL;
    int rc = sqlite3_prepare_v3(
        conn->db, statement->sqlite, -1, SQLITE_PREPARE_PERSISTENT, &entry->stmt, &tail);
    enum err_code code = ERR_OK;
    if (rc != SQLITE_OK) {
        code = sqlite_set_error(conn->db, statement->name, err);
    } else if (entry->stmt == NULL || tail[strspn(tail, "; \t\r\n")] != '\0') {
        code = ERR_SET(err, ERR_INTERNAL, "%s: not exactly one statement", statement->name);
    } else {
        code = index_parameters(entry, err);
    }
    if (code != ERR_OK) {
        free_entry(entry);
        return code;
    }
    (void)map_put(conn->entries, str_of(statement->name), entry);
    *ret_entry = entry;
    return ERR_OK;
}

static enum err_code get_entry(
    struct sqlite_conn *conn,
    const struct sql_statement *statement,
    struct entry **ret_entry,
    struct err_info *err)
{
    /* The same text, at the same place, has the same name: texts are static. */
    if (conn->latest != NULL && conn->latest->statement.sqlite == statement->sqlite
        && conn->latest->statement.name == statement->name) {
        *ret_entry = conn->latest;
        return ERR_OK;
    }
    struct entry *entry = map_find(conn->entries, str_of(statement->name));
    if (entry == NULL) {
        return create_entry(conn, statement, ret_entry, err);
    }
    if (entry->statement.sqlite != statement->sqlite
        && strcmp(entry->statement.sqlite, statement->sqlite) != 0) {
        return ERR_SET(err, ERR_INTERNAL, "%s: two statements have this name", statement->name);
    }
    conn->latest = entry;
    *ret_entry = entry;
    return ERR_OK;
}

static enum err_code sqlite_prepare(
    struct sql_conn *base, const struct sql_statement *statement, struct err_info *err)
{
    struct entry *entry = NULL;
    return get_entry(cast(base), statement, &entry, err);
}

/* Whether the caller's bytes hold until the rows are read. */
enum life {
    LIFE_LONG,
    LIFE_OF_CALL
};

/* Data that is to outlive the call: a copy within the entry while it has room, which spares SQLite
 * an allocation and its end, else SQLite's own. */
static sqlite3_destructor_type keep_data(
    struct entry *entry, const struct sql_value *value, const void **data)
{
    if (value->count > KEPT_BYTES - entry->kept_bytes) {
        entry->has_copies = true;
        return SQLITE_TRANSIENT;
    }
    char *copy = entry->kept + entry->kept_bytes;
    memcpy(copy, *data, value->count);
    entry->kept_bytes += value->count;
    *data = copy;
    return SQLITE_STATIC;
}

static int bind_value(struct entry *entry, int index, const struct sql_value *value, enum life life)
{
    const void *data = value->as.data == NULL ? "" : value->as.data;
    sqlite3_destructor_type end = SQLITE_STATIC;
    if (life == LIFE_OF_CALL && (value->type == SQL_TYPE_TEXT || value->type == SQL_TYPE_BLOB)) {
        end = keep_data(entry, value, &data);
    }
    switch (value->type) {
    case SQL_TYPE_NULL:
        return sqlite3_bind_null(entry->stmt, index);
    case SQL_TYPE_INT:
        return sqlite3_bind_int64(entry->stmt, index, value->as.integer);
    case SQL_TYPE_REAL:
        return sqlite3_bind_double(entry->stmt, index, value->as.real);
    case SQL_TYPE_TEXT:
        return sqlite3_bind_text64(entry->stmt, index, data, value->count, end, SQLITE_UTF8);
    case SQL_TYPE_BLOB:
        return sqlite3_bind_blob64(entry->stmt, index, data, value->count, end);
    case SQL_TYPE_INT_ARRAY:
    case SQL_TYPE_REAL_ARRAY:
    case SQL_TYPE_TEXT_ARRAY:
    case SQL_TYPE_BLOB_ARRAY:
        break;
    }
    return SQLITE_MISUSE;
}

static enum err_code bind_values(
    struct sqlite_conn *conn,
    struct entry *entry,
    const struct sql_value *args,
    enum life life,
    struct err_info *err)
{
    entry->kept_bytes = 0;
    for (size_t i = 0; i < entry->arg_count; i++) {
        if (args[i].type >= SQL_TYPE_INT_ARRAY) {
            return ERR_SET(err, ERR_UNSUPPORTED, "%s: SQLite has no arrays", entry->statement.name);
        }
        int index = entry->indexes[i];
        if (index != 0 && bind_value(entry, index, &args[i], life) != SQLITE_OK) {
            return sqlite_set_error(conn->db, entry->statement.name, err);
        }
    }
    return ERR_OK;
}

/* Finds the statement and binds its arguments; a text without all of $1 to $N still takes N. */
static enum err_code ready_entry(
    struct sqlite_conn *conn,
    struct entry *entry,
    const struct sql_value *args,
    size_t arg_count,
    enum life life,
    struct err_info *err)
{
    const char *name = entry->statement.name;
    if (arg_count != entry->arg_count) {
        return ERR_SET(
            err,
            ERR_INTERNAL,
            "%s: takes %zu arguments, %zu are given",
            name,
            entry->arg_count,
            arg_count);
    }
    bool may_write = conn->base.transaction == SQL_TRANSACTION_WRITE
        || conn->base.transaction == SQL_TRANSACTION_NONE;
    if (!may_write && sqlite3_stmt_readonly(entry->stmt) == 0) {
        return ERR_SET(err, ERR_DENIED, "%s: writes in a transaction for reading", name);
    }
    return bind_values(conn, entry, args, life, err);
}

/* Without copies there is nothing to free: each argument is bound anew before the next step. */
static void release_entry(struct entry *entry)
{
    (void)sqlite3_reset(entry->stmt);
    if (entry->has_copies) {
        (void)sqlite3_clear_bindings(entry->stmt);
        entry->has_copies = false;
    }
}

static enum err_code sqlite_exec(
    struct sql_conn *base,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    int64_t *ret_changed,
    struct err_info *err)
{
    struct sqlite_conn *conn = cast(base);
    struct entry *entry = NULL;
    enum err_code code = get_entry(conn, statement, &entry, err);
    if (entry == NULL) {
        return code;
    }
    int64_t before = sqlite3_total_changes64(conn->db);
    code = ready_entry(conn, entry, args, arg_count, LIFE_LONG, err);
    int rc = code == ERR_OK ? SQLITE_ROW : SQLITE_DONE;
    while (rc == SQLITE_ROW) {
        rc = sqlite3_step(entry->stmt);
    }
    if (rc != SQLITE_DONE) {
        code = sqlite_set_error(conn->db, statement->name, err);
    }
    release_entry(entry);
    /* sqlite3_changes keeps the number of an earlier statement when this one changes no rows. */
    bool has_changed = sqlite3_total_changes64(conn->db) != before;
    *ret_changed = has_changed ? sqlite3_changes64(conn->db) : 0;
    return code;
}

static void sqlite_close_rows(struct sql_conn *base)
{
    struct sqlite_conn *conn = cast(base);
    if (conn->current != NULL) {
        release_entry(conn->current);
        conn->current = NULL;
    }
}

static enum err_code step(struct sqlite_conn *conn, struct err_info *err)
{
    int rc = sqlite3_step(conn->current->stmt);
    conn->is_at_end = rc != SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE
        ? ERR_OK
        : sqlite_set_error(conn->db, conn->current->statement.name, err);
}

/* The first step is made here, so that INSERT ... RETURNING works without its rows being read. */
static enum err_code sqlite_query(
    struct sql_conn *base,
    const struct sql_statement *statement,
    const struct sql_value *args,
    size_t arg_count,
    struct err_info *err)
{
    struct sqlite_conn *conn = cast(base);
    enum err_code code = get_entry(conn, statement, &conn->current, err);
    if (conn->current == NULL) {
        return code;
    }
    code = ready_entry(conn, conn->current, args, arg_count, LIFE_OF_CALL, err);
    if (code == ERR_OK) {
        code = step(conn, err);
    }
    conn->is_at_first = true;
    if (code != ERR_OK) {
        sqlite_close_rows(base);
    }
    return code;
}

static enum err_code sqlite_next(struct sql_conn *base, struct err_info *err)
{
    struct sqlite_conn *conn = cast(base);
    if (!conn->is_at_end && !conn->is_at_first) {
        TRY(step(conn, err));
    }
    conn->is_at_first = false;
    return conn->is_at_end ? ERR_NOT_FOUND : ERR_OK;
}

/* One look at the column for all that is asked of it. Such a value is the thread's that has the
 * connection, as the connection is. A column that does not exist is a NULL. */
static sqlite3_value *column_of(const struct sql_conn *base, unsigned column)
{
    return sqlite3_column_value(cast_const(base)->current->stmt, (int)column);
}

static bool sqlite_is_null(const struct sql_conn *base, unsigned column)
{
    return sqlite3_value_type(column_of(base, column)) == SQLITE_NULL;
}

static bool is_number(sqlite3_value *value)
{
    int type = sqlite3_value_type(value);
    return type == SQLITE_INTEGER || type == SQLITE_FLOAT;
}

static int64_t sqlite_get_int(const struct sql_conn *base, unsigned column)
{
    sqlite3_value *value = column_of(base, column);
    return is_number(value) ? sqlite3_value_int64(value) : 0;
}

static double sqlite_get_real(const struct sql_conn *base, unsigned column)
{
    sqlite3_value *value = column_of(base, column);
    return is_number(value) ? sqlite3_value_double(value) : 0;
}

static struct str_view sqlite_get_bytes(const struct sql_conn *base, unsigned column)
{
    sqlite3_value *value = column_of(base, column);
    int type = sqlite3_value_type(value);
    if (type != SQLITE_TEXT && type != SQLITE_BLOB) {
        return STR_NONE;
    }
    const char *data = sqlite3_value_blob(value); /* NULL when empty */
    return str_from(data == NULL ? "" : data, (size_t)sqlite3_value_bytes(value));
}

static enum err_code run_plain(
    struct sqlite_conn *conn, const char *what, const char *text, struct err_info *err)
{
    return sqlite3_exec(conn->db, text, NULL, NULL, NULL) == SQLITE_OK
        ? ERR_OK
        : sqlite_set_error(conn->db, what, err);
}

static enum err_code sqlite_begin(
    struct sql_conn *base, int64_t workspace_id, enum sql_transaction kind, struct err_info *err)
{
    (void)workspace_id; /* SQLite has no row-level security: every statement names its workspace */
    if (kind == SQL_TRANSACTION_LOOKUP) {
        return ERR_OK; /* a query alone sees one moment */
    }
    const char *text = kind == SQL_TRANSACTION_READ ? "BEGIN" : "BEGIN IMMEDIATE";
    return run_plain(cast(base), "begin", text, err);
}

static enum err_code sqlite_commit(struct sql_conn *base, struct err_info *err)
{
    return base->transaction == SQL_TRANSACTION_LOOKUP
        ? ERR_OK
        : run_plain(cast(base), "commit", "COMMIT", err);
}

static void sqlite_rollback(struct sql_conn *base)
{
    if (sqlite_is_in_transaction(base)) { /* some errors have rolled back already */
        (void)sqlite3_step(cast(base)->undo);
        (void)sqlite3_reset(cast(base)->undo);
    }
}

static enum err_code sqlite_exec_script(
    struct sql_conn *base, const char *text, struct err_info *err)
{
    return run_plain(cast(base), "script", text, err);
}

const struct sql_driver sql_driver_sqlite = {
    .engine = SQL_SQLITE,
    .schemes = { { "sqlite:", sizeof("sqlite:") - 1 } },
    .open = sqlite_open,
    .close = sqlite_close,
    .is_usable = sqlite_is_usable,
    .is_in_transaction = sqlite_is_in_transaction,
    .reconnect = sqlite_reconnect,
    .prepare = sqlite_prepare,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .exec = sqlite_exec,
    .query = sqlite_query,
    .next = sqlite_next,
    .close_rows = sqlite_close_rows,
    .is_null = sqlite_is_null,
    .get_int = sqlite_get_int,
    .get_real = sqlite_get_real,
    .get_bytes = sqlite_get_bytes,
    .exec_script = sqlite_exec_script,
};
