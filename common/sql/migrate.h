/* Forward-only migrations, embedded, checksummed, each in a transaction of its own under an
 * advisory lock. */
#ifndef COMMON_SQL_MIGRATE_H
#define COMMON_SQL_MIGRATE_H

#include "common/sql/sql.h"

/*
 * A file whose first line is `-- no-transaction` runs statement by statement outside a transaction
 * (concurrent index builds) and must be repeatable.
 */
struct sql_migration {
    int version; /* 1, 2, ... without gaps */
    const char *name;
    const char *sha256; /* hex, of the file */
    const char *text;
};

struct sql_migration_status {
    int applied;        /* highest version in the database; 0: an empty one */
    int known;          /* highest version of this program */
    bool checksum_ok;   /* every applied one is what this program knows */
    int first_mismatch; /* version, when not */
};

enum err_code sql_migrate_status(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    struct sql_migration_status *ret_status,
    struct err_info *err) MUST_CHECK;

/*
 * Applies what is missing. ERR_PRECONDITION: the database is newer than the program or differs from
 * it; the text says what to do. Two programs may try at once: on PostgreSQL the second waits, up to
 * ten minutes (ERR_BUSY). ERR_UNSUPPORTED with no_prepared_statements: the lock lives in the
 * session. A step waits 3 s for a lock, then is tried again, 5 times in all. on_step may be NULL.
 */
enum err_code sql_migrate_up(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    void (*on_step)(void *context, const struct sql_migration *migration),
    void *context,
    struct err_info *err) MUST_CHECK;

/* ERR_OK only if the database is exactly at the program's version; else ERR_PRECONDITION saying
 * what to run. */
enum err_code sql_migrate_check(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    struct err_info *err) MUST_CHECK;

#endif
