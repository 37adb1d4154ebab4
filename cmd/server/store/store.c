#include "cmd/server/store/store.h"

#include "access.sql.h"
#include "agent.sql.h"
#include "audit.sql.h"
#include "command.sql.h"
#include "common/base/cleanup.h"
#include "common/sql/postgres.h"
#include "common/sql/sqlite.h"
#include "credential.sql.h"
#include "device.sql.h"
#include "enrollment.sql.h"
#include "event.sql.h"
#include "migrations_postgres.h"
#include "migrations_sqlite.h"
#include "quota.sql.h"
#include "relay.sql.h"
#include "sandbox.sql.h"
#include "session.sql.h"
#include "task.sql.h"
#include "telemetry.sql.h"
#include "usage.sql.h"

struct statement_file {
    const struct sql_statement *const *statements;
    size_t count;
};

#define FILE_OF(noun)                                                  \
    {                                                                  \
        sql_##noun##_statements, ARRAY_LENGTH(sql_##noun##_statements) \
    }

static const struct statement_file files[] = {
    FILE_OF(access),     FILE_OF(agent),     FILE_OF(audit),   FILE_OF(command),
    FILE_OF(credential), FILE_OF(device),    FILE_OF(event),   FILE_OF(enrollment),
    FILE_OF(quota),      FILE_OF(relay),     FILE_OF(sandbox), FILE_OF(session),
    FILE_OF(task),       FILE_OF(telemetry), FILE_OF(usage),
};

const struct sql_statement *const *store_statements(size_t index, size_t *ret_count)
{
    if (index >= ARRAY_LENGTH(files)) {
        return NULL;
    }
    *ret_count = files[index].count;
    return files[index].statements;
}

const struct sql_migration *store_migrations(enum sql_engine engine, size_t *ret_count)
{
    *ret_count = engine == SQL_POSTGRES ? migrations_postgres_count : migrations_sqlite_count;
    return engine == SQL_POSTGRES ? migrations_postgres : migrations_sqlite;
}

static enum err_code connect_by(
    const struct store_options *options, struct sql_conn **ret_conn, struct err_info *err)
{
    static const struct sql_driver *const drivers[] = { &sql_driver_sqlite,
                                                        &sql_driver_postgres,
                                                        NULL };
    const struct sql_options sql = {
        .url = options->url,
        .application = "belay-server",
        .no_prepared_statements = options->no_prepared_statements,
        .statement_timeout_us = options->statement_timeout_us,
        .full_sync = true, /* what is acknowledged outlives a loss of power */
        .drivers = drivers,
    };
    return sql_connect(&sql, ret_conn, err);
}

enum err_code store_connect(
    const struct store_options *options, struct sql_conn **ret_conn, struct err_info *err)
{
    struct store_options direct = *options;
    if (direct.direct_url != NULL) {
        direct.url = direct.direct_url;
        direct.no_prepared_statements = false;
    }
    return connect_by(&direct, ret_conn, err);
}

bool store_can_listen(const struct store_options *options, enum sql_engine engine)
{
    return engine == SQL_POSTGRES
        && (!options->no_prepared_statements || options->direct_url != NULL);
}

enum err_code store_open(
    const struct store_options *options, struct sql_conn **ret_conn, struct err_info *err)
{
    struct sql_conn *conn = NULL;
    TRY(connect_by(options, &conn, err));
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        enum err_code code = sql_prepare_all(conn, files[i].statements, files[i].count, err);
        if (code != ERR_OK) {
            sql_close(conn);
            return code;
        }
    }
    *ret_conn = conn;
    return ERR_OK;
}
