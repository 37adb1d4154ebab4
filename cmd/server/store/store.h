/*
 * The server's store: connections that are ready to use, and the schema they need. Each worker and
 * each ingest writer owns one connection.
 */
#ifndef SERVER_STORE_STORE_H
#define SERVER_STORE_STORE_H

#include "common/sql/migrate.h"
#include "common/sql/sql.h"

struct store_options {
    const char *url;
    const char *direct_url; /* past PgBouncer, to the same database; NULL: there is but url */
    bool no_prepared_statements;
    int64_t statement_timeout_us; /* 0: sql_options.statement_timeout_us says */
};

/* Connects for what needs a session of its own, migrations and LISTEN, by direct_url if there is
 * one. Does not look at the schema. */
enum err_code store_connect(
    const struct store_options *options,
    struct sql_conn **ret_conn,
    struct err_info *err) MUST_CHECK;

/* Whether notifications can be had: not on SQLite, which has one server, nor through PgBouncer. */
bool store_can_listen(const struct store_options *options, enum sql_engine engine);

/* Connects and prepares every statement; the schema must be there. */
enum err_code store_open(
    const struct store_options *options,
    struct sql_conn **ret_conn,
    struct err_info *err) MUST_CHECK;

/* The migrations of an engine. */
const struct sql_migration *store_migrations(enum sql_engine engine, size_t *ret_count);

/* Every statement of the store, for the test that prepares them on both engines. */
const struct sql_statement *const *store_statements(
    size_t index, size_t *ret_count); /* NULL past the last file */

#endif
