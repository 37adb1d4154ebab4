/* `belay-server migrate plan|up|status`. */
#include "cmd/server/app.h"
#include "cmd/server/store/store.h"
#include "common/base/cleanup.h"

#include <stdio.h>

static void print_status(const struct sql_migration_status *status, bool json)
{
    if (json) {
        (void)printf(
            "{\"applied\":%d,\"known\":%d,\"checksums_match\":%s}\n",
            status->applied,
            status->known,
            status->checksum_ok ? "true" : "false");
        return;
    }
    (void)printf("applied  %d\nknown    %d\n", status->applied, status->known);
    if (!status->checksum_ok) {
        (void)printf("migration %d differs from this program's\n", status->first_mismatch);
    }
}

static void on_step(void *context, const struct sql_migration *migration)
{
    (void)context;
    (void)printf("applied %04d_%s\n", migration->version, migration->name);
}

static enum err_code plan(
    struct sql_conn *conn,
    const struct sql_migration *migrations,
    size_t count,
    struct err_info *err)
{
    struct sql_migration_status status;
    TRY(sql_migrate_status(conn, migrations, count, &status, err));
    for (size_t i = 0; i < count; i++) {
        if (migrations[i].version > status.applied) {
            (void)printf("%04d_%s\n", migrations[i].version, migrations[i].name);
        }
    }
    if (status.applied >= status.known) {
        (void)printf("nothing to do: the database is at version %d\n", status.applied);
    }
    return ERR_OK;
}

static enum err_code run(const struct config *config, const char *verb, struct err_info *err)
{
    AUTO_FREE char *url = server_database_url(config);
    const struct store_options options = {
        .url = url,
        .direct_url = config_text(config, "database-direct-url"),
        .no_prepared_statements = !config_bool(config, "database-prepared-statements"),
    };
    struct sql_conn *conn = NULL;
    size_t count = 0;
    TRY(store_connect(&options, &conn, err));
    const struct sql_migration *migrations = store_migrations(sql_engine_of(conn), &count);
    enum err_code code = ERR_INVALID;
    if (strcmp(verb, "plan") == 0) {
        code = plan(conn, migrations, count, err);
    } else if (strcmp(verb, "up") == 0) {
        code = sql_migrate_up(conn, migrations, count, on_step, NULL, err);
    } else if (strcmp(verb, "status") == 0) {
        struct sql_migration_status status;
        code = sql_migrate_status(conn, migrations, count, &status, err);
        if (code == ERR_OK) {
            print_status(&status, config_bool(config, "json"));
        }
    } else {
        code = ERR_SET(err, ERR_INVALID, "migrate: one of plan, up, status");
    }
    sql_close(conn);
    return code;
}

int server_migrate(const struct config *config, const char *verb)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = run(config, verb, &err);
    if (code != ERR_OK) {
        (void)fprintf(stderr, "belay-server: %s\n", err.text);
    }
    return code == ERR_INVALID ? EXIT_USAGE : server_exit_of((int)code);
}
