/* Opens a database file with all its settings, and turns SQLite's errors into ours; private to
 * common/sql. */
#ifndef COMMON_SQL_SQLITE_FILE_H
#define COMMON_SQL_SQLITE_FILE_H

#include "common/base/err.h"

#include <sqlite3.h>

#include <stdint.h>

struct sqlite_settings {
    const char *path;
    int64_t busy_timeout_us;
    bool read_only; /* the file must exist; else it is made with mode 0600 */
    bool full_sync;
};

/* ERR_NOT_FOUND, ERR_DENIED (also: a symlink), ERR_CORRUPT, ERR_BUSY, ERR_UNAVAILABLE. */
enum err_code sqlite_file_open(
    const struct sqlite_settings *settings, sqlite3 **ret_db, struct err_info *err) MUST_CHECK;

/*
 * The error of db's last call, put behind "what: ". SQLite's own messages hold names and tokens of
 * our texts, never bound values.
 */
enum err_code sqlite_set_error(sqlite3 *db, const char *what, struct err_info *err);

#endif
