#include "common/sql/sqlite_file.h"

#include "common/base/cleanup.h"
#include "common/sql/sql_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WAL_RETRY_US = 20000,
    WAL_BYTES_KEPT = 64 * 1024 * 1024
};

static enum err_code map_constraint(int extended)
{
    switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return ERR_EXISTS;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
    case SQLITE_CONSTRAINT_TRIGGER:
        return ERR_PRECONDITION;
    default:
        return ERR_INVALID;
    }
}

static enum err_code map_code(int extended)
{
    if (extended == SQLITE_IOERR_NOMEM) {
        return ERR_NOMEM;
    }
    switch (extended & 0xff) {
    case SQLITE_CONSTRAINT:
        return map_constraint(extended);
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return ERR_INVALID;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_FULL:
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        return ERR_UNAVAILABLE;
    case SQLITE_INTERRUPT:
        return ERR_CANCELED;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    default:
        return ERR_INTERNAL;
    }
}

enum err_code sqlite_set_error(sqlite3 *db, const char *what, struct err_info *err)
{
    return ERR_SET(err, map_code(sqlite3_extended_errcode(db)), "%s: %s", what, sqlite3_errmsg(db));
}

/*
 * Makes an empty file of mode 0600. It is linked into place, because closing any descriptor of a
 * database drops the locks which this process holds on it through SQLite.
 */
static enum err_code create_file(const char *path, struct err_info *err)
{
    AUTO_FREE char *temporary = mem_printf("%s.new-XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        enum err_code code = errno == ENOENT     ? ERR_NOT_FOUND
            : errno == EACCES || errno == EROFS  ? ERR_DENIED
            : errno == ENOSPC || errno == EDQUOT ? ERR_LIMIT
                                                 : ERR_UNAVAILABLE;
        return ERR_SET_ERRNO(err, code, errno, "database %s: cannot make it", path);
    }
    (void)close(fd);
    enum err_code code = ERR_OK;
    if (link(temporary, path) != 0 && errno != EEXIST) {
        code = ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "database %s: cannot make it", path);
    }
    (void)unlink(temporary);
    return code;
}

static enum err_code check_file(const struct sqlite_settings *settings, struct err_info *err)
{
    struct stat info;
    if (lstat(settings->path, &info) == 0) {
        return S_ISREG(info.st_mode)
            ? ERR_OK
            : ERR_SET(err, ERR_DENIED, "database %s is not a regular file", settings->path);
    }
    if (errno == ENOENT && !settings->read_only) {
        return create_file(settings->path, err);
    }
    enum err_code code = errno == ENOENT ? ERR_NOT_FOUND
        : errno == EACCES                ? ERR_DENIED
                                         : ERR_UNAVAILABLE;
    return ERR_SET_ERRNO(err, code, errno, "database %s", settings->path);
}

static enum err_code configure_safety(
    sqlite3 *db, const struct sqlite_settings *settings, struct err_info *err)
{
    static const struct {
        int option;
        int value;
    } options[] = {
        { SQLITE_DBCONFIG_ENABLE_FKEY, 1 },    { SQLITE_DBCONFIG_DEFENSIVE, 1 },
        { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 }, { SQLITE_DBCONFIG_DQS_DML, 0 },
        { SQLITE_DBCONFIG_DQS_DDL, 0 },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        int now = -1;
        int rc = sqlite3_db_config(db, options[i].option, options[i].value, &now);
        if (rc != SQLITE_OK || now != options[i].value) {
            return ERR_SET(err, ERR_UNSUPPORTED, "this SQLite lacks setting %d", options[i].option);
        }
    }
    (void)sqlite3_busy_timeout(db, (int)(settings->busy_timeout_us / US_PER_MS));
    return ERR_OK;
}

static int read_journal_mode(void *context, int count, char **values, char **names)
{
    (void)names;
    bool *is_wal = context;
    *is_wal = count == 1 && values[0] != NULL && strcmp(values[0], "wal") == 0;
    return 0;
}

/* SQLite does not wait when two connections turn a new database to WAL at once, so this does. */
static enum err_code enter_wal(
    sqlite3 *db, const struct sqlite_settings *settings, struct err_info *err)
{
    int64_t waited_us = 0;
    for (;;) {
        bool is_wal = false;
        int rc = sqlite3_exec(db, "PRAGMA journal_mode=WAL", read_journal_mode, &is_wal, NULL);
        if (rc == SQLITE_OK && is_wal) {
            return ERR_OK;
        }
        if (rc == SQLITE_OK) {
            return ERR_SET(
                err,
                ERR_UNSUPPORTED,
                "database %s: its file system has no write-ahead log",
                settings->path);
        }
        if (map_code(rc) != ERR_BUSY || waited_us >= settings->busy_timeout_us) {
            return sqlite_set_error(db, settings->path, err);
        }
        sql_wait_us(WAL_RETRY_US);
        waited_us += WAL_RETRY_US;
    }
}

static enum err_code configure_storage(
    sqlite3 *db, const struct sqlite_settings *settings, struct err_info *err)
{
    if (!settings->read_only) {
        TRY(enter_wal(db, settings, err));
    }
    char *limit = mem_printf("PRAGMA journal_size_limit=%d", WAL_BYTES_KEPT);
    int rc = sqlite3_exec(db, limit, NULL, NULL, NULL);
    mem_free(limit);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(
            db,
            settings->full_sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
            NULL,
            NULL,
            NULL);
    }
    if (rc == SQLITE_OK) { /* reads the header, so that a foreign file is noticed here */
        rc = sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? ERR_OK : sqlite_set_error(db, settings->path, err);
}

static enum err_code configure(
    sqlite3 *db, const struct sqlite_settings *settings, struct err_info *err)
{
    TRY(configure_safety(db, settings, err));
    return configure_storage(db, settings, err);
}

enum err_code sqlite_file_open(
    const struct sqlite_settings *settings, sqlite3 **ret_db, struct err_info *err)
{
    TRY(check_file(settings, err));
    int flags = (settings->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE)
        | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    sqlite3 *db = NULL;
    enum err_code code = ERR_OK;
    if (sqlite3_open_v2(settings->path, &db, flags, NULL) == SQLITE_OK) {
        code = configure(db, settings, err);
    } else {
        code = db == NULL ? ERR_SET(err, ERR_NOMEM, "database: out of memory")
                          : sqlite_set_error(db, settings->path, err);
    }
    if (code != ERR_OK) {
        (void)sqlite3_close(db);
        return code;
    }
    *ret_db = db;
    return ERR_OK;
}
