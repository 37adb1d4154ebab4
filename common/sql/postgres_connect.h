/* Makes connections to PostgreSQL; private to common/sql. */
#ifndef COMMON_SQL_POSTGRES_CONNECT_H
#define COMMON_SQL_POSTGRES_CONNECT_H

#include "common/base/err.h"

#include <libpq-fe.h>

#include <stdint.h>

struct postgres_settings {
    const char *url; /* holds the password */
    const char *application;
    int64_t connect_timeout_us;
    const char *statement_timeout_ms;
    bool read_only;
    bool is_pooled; /* behind PgBouncer in transaction mode: nothing may live in the session */
};

/*
 * Waits for the connection. ERR_INVALID (malformed URL), ERR_UNAUTHENTICATED (a password is
 * wanted), ERR_UNAVAILABLE. The texts are libpq's where those cannot hold the password.
 */
enum err_code postgres_connect(
    const struct postgres_settings *settings, PGconn **ret_pg, struct err_info *err) MUST_CHECK;

#endif
