#include "common/sql/migrate.h"

#include "common/base/cleanup.h"
#include "common/sql/split.h"
#include "common/sql/sql_driver.h"

#include <limits.h>

/* Fixed for ever: two programs of any version must meet at the same lock. */
#define LOCK_KEY     "4776452131887411301"
#define LOCK_WAIT_US (10 * US_PER_MINUTE)
#define LOCK_POLL_US (200 * US_PER_MS)

#define OUTSIDE_WAIT_US (20 * US_PER_MS)

enum {
    OUTSIDE_LOOKS = 50
};

static const struct sql_statement table_exists = {
    "schema_table_exists",
    "SELECT CAST(to_regclass('belay_schema') IS NOT NULL AS integer)",
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'belay_schema'",
};

static const struct sql_statement applied_list = {
    "schema_applied_list",
    "SELECT version, sha256 FROM belay_schema ORDER BY version",
    "SELECT version, sha256 FROM belay_schema ORDER BY version",
};

static const struct sql_statement applied_find = {
    "schema_applied_find",
    "SELECT version FROM belay_schema WHERE version = CAST($1 AS integer)",
    "SELECT version FROM belay_schema WHERE version = $1",
};

#define INSERT_APPLIED                                                                      \
    "INSERT INTO belay_schema (version, name, sha256, applied_at) VALUES ($1, $2, $3, $4) " \
    "ON CONFLICT (version) DO NOTHING"

static const struct sql_statement applied_add = { "schema_applied_add",
                                                  INSERT_APPLIED,
                                                  INSERT_APPLIED };

/*
 * Tried again and again rather than waited for: a waiting statement holds a snapshot, and the other
 * side's concurrent index build waits for every snapshot to end.
 */
static const struct sql_statement lock_try = {
    "schema_lock_try",
    "SELECT CAST(pg_try_advisory_lock(" LOCK_KEY ") AS integer)",
    NULL,
};

static const struct sql_statement lock_release = {
    "schema_lock_release",
    "SELECT CAST(pg_advisory_unlock(" LOCK_KEY ") AS integer)",
    NULL,
};

static const char table_postgres[] =
    "CREATE TABLE IF NOT EXISTS belay_schema (version integer PRIMARY KEY, name text NOT NULL, "
    "sha256 text NOT NULL, applied_at bigint NOT NULL)";
static const char table_sqlite[] =
    "CREATE TABLE IF NOT EXISTS belay_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
    "sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";

static enum err_code read_number(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    int64_t *ret_number,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, statement, SQL_NO_ARGS, &rows, err));
    TRY(sql_rows_next(rows, err));
    *ret_number = sql_int(rows, 0);
    return ERR_OK;
}

static void compare_row(
    const struct sql_rows *rows,
    const struct sql_migration *migrations,
    size_t count,
    struct sql_migration_status *status)
{
    int64_t version = sql_int(rows, 0);
    int expected = status->applied + 1;
    status->applied = version > 0 && version < INT_MAX ? (int)version : INT_MAX;
    bool is_same = version == expected
        && (version > (int64_t)count
            || str_equal(sql_text(rows, 1), str_of(migrations[version - 1].sha256)));
    if (!is_same && status->checksum_ok) {
        status->checksum_ok = false;
        status->first_mismatch = expected;
    }
}

static enum err_code read_status(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    struct sql_migration_status *ret_status,
    struct err_info *err)
{
    struct sql_migration_status status = { .known = (int)count, .checksum_ok = true };
    int64_t exists = 0;
    TRY(read_number(conn, &table_exists, &exists, err));
    if (exists != 0) {
        AUTO_ROWS struct sql_rows *rows = NULL;
        TRY(sql_query(conn, &applied_list, SQL_NO_ARGS, &rows, err));
        enum err_code code = sql_rows_next(rows, err);
        for (; code == ERR_OK; code = sql_rows_next(rows, err)) {
            compare_row(rows, migrations, count, &status);
        }
        if (code != ERR_NOT_FOUND) {
            return code;
        }
    }
    *ret_status = status;
    return ERR_OK;
}

static enum err_code check_list(
    const struct sql_migration *migrations, size_t count, struct err_info *err)
{
    for (size_t i = 0; i < count; i++) {
        if (migrations[i].version != (int)i + 1) {
            return ERR_SET(err, ERR_INTERNAL, "the program's migration %zu is misnumbered", i + 1);
        }
    }
    return ERR_OK;
}

enum err_code sql_migrate_status(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    struct sql_migration_status *ret_status,
    struct err_info *err)
{
    TRY(check_list(migrations, count, err));
    TRY(sql_begin_read(conn, SQL_ALL_WORKSPACES, err));
    struct sql_migration_status status;
    enum err_code code = read_status(conn, migrations, count, &status, err);
    if (code != ERR_OK) {
        sql_rollback(conn);
        return code;
    }
    TRY(sql_commit(conn, err));
    *ret_status = status;
    return ERR_OK;
}

/* Newer or different: what no migration can mend. */
static enum err_code check_history(const struct sql_migration_status *status, struct err_info *err)
{
    if (status->applied > status->known) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "the database is at version %d, this program knows %d: upgrade the program or restore "
            "a backup made before the upgrade",
            status->applied,
            status->known);
    }
    if (!status->checksum_ok) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "migration %d in the database is not the one of this program (missing, or with another "
            "checksum): use the program that made the database, or restore a backup",
            status->first_mismatch);
    }
    return ERR_OK;
}

enum err_code sql_migrate_check(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    struct err_info *err)
{
    struct sql_migration_status status;
    TRY(sql_migrate_status(conn, migrations, count, &status, err));
    TRY(check_history(&status, err));
    if (status.applied < status.known) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "the database is at version %d, this program needs %d: run `migrate up`",
            status.applied,
            status.known);
    }
    return ERR_OK;
}

static enum err_code add_row(
    struct sql_conn *conn, const struct sql_migration *migration, struct err_info *err)
{
    return sql_exec(
        conn,
        &applied_add,
        SQL_ARGS(
            SQL_INT(migration->version),
            SQL_TEXT(migration->name),
            SQL_TEXT(migration->sha256),
            SQL_TIME(clock_wall(clock_system()))),
        NULL,
        err);
}

/* On SQLite the transaction is the only lock, so another migrator may have been here just before.
 */
static enum err_code is_applied(
    struct sql_conn *conn,
    const struct sql_migration *migration,
    bool *ret_applied,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, &applied_find, SQL_ARGS(SQL_INT(migration->version)), &rows, err));
    enum err_code code = sql_rows_next(rows, err);
    *ret_applied = code == ERR_OK;
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static enum err_code apply_in_transaction(
    struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct sql_migration *migration = context;
    bool is_done = false;
    TRY(is_applied(conn, migration, &is_done, err));
    if (is_done) {
        return ERR_OK;
    }
    if (sql_engine_of(conn) == SQL_POSTGRES) {
        /* A lock that others wait behind is given up soon; sql_transact tries again. */
        TRY(sql_exec_script(
            conn, "SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = 0", err));
    }
    TRY(sql_exec_script(conn, migration->text, err));
    return add_row(conn, migration, err);
}

static enum err_code add_row_in_transaction(
    struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct sql_migration *migration = context;
    return add_row(conn, migration, err);
}

/* SQLite runs a script statement by statement itself; PostgreSQL would make one transaction of it.
 */
static enum err_code run_statements(struct sql_conn *conn, const char *text, struct err_info *err)
{
    if (sql_engine_of(conn) == SQL_SQLITE) {
        return sql_exec_script(conn, text, err);
    }
    struct str_view rest = str_of(text);
    struct str_view statement = STR_NONE;
    while (split_next_statement(&rest, &statement)) {
        AUTO_FREE char *copy = mem_printf("%.*s", STR_ARG(statement));
        TRY(sql_exec_script(conn, copy, err));
    }
    return ERR_OK;
}

/*
 * Statements that are to be outside of a transaction. On SQLite nothing holds another migrator off
 * meanwhile: where two are at the same step one of them may fail, which is no failure if the other
 * notes the step as done.
 */
static enum err_code run_outside(
    struct sql_conn *conn, const struct sql_migration *migration, struct err_info *err)
{
    enum err_code code = run_statements(conn, migration->text, err);
    bool is_done = code == ERR_OK || sql_engine_of(conn) == SQL_POSTGRES;
    for (int looks = 0; !is_done && looks < OUTSIDE_LOOKS; looks++) {
        sql_wait_us(OUTSIDE_WAIT_US);
        if (is_applied(conn, migration, &is_done, NULL) == ERR_OK && is_done) {
            code = ERR_OK;
        }
    }
    return code;
}

static bool needs_no_transaction(const struct sql_migration *migration)
{
    struct str_view line = STR_NONE;
    struct str_view rest = STR_NONE;
    if (!str_cut(str_of(migration->text), '\n', &line, &rest)) {
        line = str_of(migration->text);
    }
    return str_equal(str_trim(line), STR("-- no-transaction"));
}

static enum err_code apply(
    struct sql_conn *conn, const struct sql_migration *migration, struct err_info *err)
{
    struct sql_migration copy = *migration;
    enum err_code code = ERR_OK;
    if (needs_no_transaction(migration)) {
        code = run_outside(conn, migration, err);
        if (code == ERR_OK) {
            code = sql_transact(conn, SQL_ALL_WORKSPACES, add_row_in_transaction, &copy, err);
        }
    } else {
        code = sql_transact(conn, SQL_ALL_WORKSPACES, apply_in_transaction, &copy, err);
    }
    if (code != ERR_OK) {
        err_prefix(err, "migration %d (%s)", migration->version, migration->name);
    }
    return code;
}

static enum err_code make_table(struct sql_conn *conn, void *context, struct err_info *err)
{
    (void)context;
    int64_t exists = 0;
    TRY(read_number(conn, &table_exists, &exists, err));
    if (exists != 0) {
        return ERR_OK;
    }
    return sql_exec_script(
        conn, sql_engine_of(conn) == SQL_POSTGRES ? table_postgres : table_sqlite, err);
}

struct progress {
    void (*on_step)(void *context, const struct sql_migration *migration);
    void *context;
};

static enum err_code migrate_locked(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    const struct progress *progress,
    struct err_info *err)
{
    struct sql_migration_status status;
    TRY(sql_transact(conn, SQL_ALL_WORKSPACES, make_table, NULL, err));
    TRY(sql_migrate_status(conn, migrations, count, &status, err));
    TRY(check_history(&status, err));
    for (size_t i = (size_t)status.applied; i < count; i++) {
        if (progress->on_step != NULL) {
            progress->on_step(progress->context, &migrations[i]);
        }
        TRY(apply(conn, &migrations[i], err));
    }
    return ERR_OK;
}

static enum err_code lock(struct sql_conn *conn, struct err_info *err)
{
    for (int64_t waited_us = 0; waited_us < LOCK_WAIT_US; waited_us += LOCK_POLL_US) {
        int64_t is_mine = 0;
        TRY(read_number(conn, &lock_try, &is_mine, err));
        if (is_mine != 0) {
            return ERR_OK;
        }
        sql_wait_us(LOCK_POLL_US);
    }
    return ERR_SET(err, ERR_BUSY, "another program is migrating the database for ten minutes now");
}

/* A lost connection has released the lock and forgotten the setting. */
static void unlock(struct sql_conn *conn)
{
    int64_t was_mine = 0;
    if (sql_is_usable(conn)) {
        (void)(sql_exec_script(conn, "RESET statement_timeout", NULL) == ERR_OK);
        (void)(read_number(conn, &lock_release, &was_mine, NULL) == ERR_OK);
    }
}

enum err_code sql_migrate_up(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    void (*on_step)(void *context, const struct sql_migration *migration),
    void *context,
    struct err_info *err)
{
    TRY(check_list(migrations, count, err));
    struct progress progress = { on_step, context };
    if (sql_engine_of(conn) == SQL_SQLITE) {
        return migrate_locked(conn, migrations, count, &progress, err);
    }
    if (conn->is_pooled && sql_migrate_check(conn, migrations, count, NULL) == ERR_OK) {
        return ERR_OK; /* nothing to do */
    }
    if (conn->is_pooled) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "migrations need a direct connection with prepared statements, not one through PgBouncer");
    }
    TRY(lock(conn, err));
    /* Index builds outside a transaction take their time. */
    enum err_code code = sql_exec_script(conn, "SET statement_timeout = 0", err);
    if (code == ERR_OK) {
        code = migrate_locked(conn, migrations, count, &progress, err);
    }
    unlock(conn);
    return code;
}
