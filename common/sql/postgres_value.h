/*
 * Values to and from libpq; private to common/sql. Numbers and texts go out as text, so that the
 * server reads each as the type it derived for the parameter; bytes and arrays go out in binary.
 * Results come in binary.
 */
#ifndef COMMON_SQL_POSTGRES_VALUE_H
#define COMMON_SQL_POSTGRES_VALUE_H

#include "common/base/buf.h"
#include "common/sql/sql_driver.h"

#include <libpq-fe.h>

struct postgres_args {
    struct buf bytes; /* what the pointers of values lead into, but for blobs that are borrowed */
    bool keeps_blobs; /* they are copied too */
    const char *values[SQL_ARGS_MAX];
    int lengths[SQL_ARGS_MAX];
    int formats[SQL_ARGS_MAX];
};

void postgres_args_init(struct postgres_args *args);
void postgres_args_deinit(struct postgres_args *args);

/* Valid until the next call. ERR_NOMEM. */
enum err_code postgres_args_set(
    struct postgres_args *args, const struct sql_value *values, size_t count, struct err_info *err)
    MUST_CHECK;

/* Gives back the memory of a large set. */
void postgres_args_trim(struct postgres_args *args);

/* ERR_UNSUPPORTED when a column's type has no portable form; the text names the column's number. */
enum err_code postgres_check_columns(
    const PGresult *result, const char *statement, struct err_info *err) MUST_CHECK;

/* As sql_int and its kin. */
int64_t postgres_get_int(const PGresult *result, int row, int column);
double postgres_get_real(const PGresult *result, int row, int column);
struct str_view postgres_get_bytes(const PGresult *result, int row, int column);

/*
 * Error of a failed result (NULL: libpq had no memory). The server's own words are taken only where
 * they cannot hold a value of ours: class 42 (names and syntax), and everything when is_script.
 */
enum err_code postgres_set_error(
    const PGresult *result, const char *what, bool is_script, struct err_info *err);

#endif
