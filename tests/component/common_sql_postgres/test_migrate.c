/* Migrations on both engines: up, status, check, another history, two migrators at once. */
#include "common/base/cleanup.h"
#include "common/sql/migrate.h"
#include "common/sql/postgres.h"
#include "common/sql/sqlite.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <stdio.h>

static const struct sql_driver *const drivers[] = { &sql_driver_sqlite,
                                                    &sql_driver_postgres,
                                                    NULL };

static const struct sql_migration first_set[] = {
    { 1, "begin", "aa", "CREATE TABLE a (id integer); CREATE TABLE b (id integer);" },
    { 2, "fill", "bb", "INSERT INTO a (id) VALUES (1), (2), (3)" },
    { 3,
      "index",
      "cc",
      "-- no-transaction\nDROP INDEX IF EXISTS a_id;\n"
      "CREATE INDEX a_id ON a (id); -- the end; really\n" },
    { 4, "more", "dd", "ALTER TABLE b ADD COLUMN name text" },
};

static const struct sql_migration concurrent_set[] = {
    { 1, "begin", "aa", "CREATE TABLE a (id integer)" },
    { 2, "slow", "bb", "INSERT INTO a (id) SELECT 1 FROM (SELECT pg_sleep(0.3)) AS s" },
    { 3,
      "index",
      "cc",
      "-- no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS a_id;\n"
      "CREATE INDEX CONCURRENTLY a_id ON a (id);" },
    { 4, "count", "dd", "INSERT INTO a (id) VALUES (2)" },
};

struct place {
    char *dir;
    char *url;
    bool is_postgres;
    struct sql_conn *conn;
};

static struct sql_conn *open_place(const char *url)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct sql_options options = { .url = url, .drivers = drivers };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    return conn;
}

static int setup_sqlite(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    place->dir = test_dir_create();
    place->url = mem_printf("sqlite:%s/file.db", place->dir);
    place->conn = open_place(place->url);
    *state = place;
    return 0;
}

static int setup_postgres(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    place->url = test_postgres_create();
    place->is_postgres = true;
    place->conn = place->url == NULL ? NULL : open_place(place->url);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    sql_close(place->conn);
    if (place->is_postgres) {
        test_postgres_drop(place->url);
    } else {
        test_dir_remove(place->dir);
        mem_free(place->url);
    }
    mem_free(place);
    return 0;
}

static struct sql_conn *conn_of(void **state)
{
    const struct place *place = *state;
    if (place->conn == NULL) {
        skip();
    }
    return place->conn;
}

static int64_t read_int(struct sql_conn *conn, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    const struct sql_statement statement = { text, text, text };
    assert_ok_err(err, sql_query(conn, &statement, SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

static void count_step(void *context, const struct sql_migration *migration)
{
    int *steps = context;
    (*steps)++;
    assert_true(migration->version >= 1);
}

static void test_up(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_migration_status status;
    assert_ok_err(err, sql_migrate_status(conn, first_set, 4, &status, &err));
    assert_int_equal(status.applied, 0);
    assert_int_equal(status.known, 4);
    assert_true(status.checksum_ok);
    assert_code(ERR_PRECONDITION, sql_migrate_check(conn, first_set, 4, &err));
    assert_non_null(strstr(err.text, "migrate up"));
    int steps = 0;
    assert_ok_err(err, sql_migrate_up(conn, first_set, 2, count_step, &steps, &err));
    assert_int_equal(steps, 2);
    assert_ok_err(err, sql_migrate_check(conn, first_set, 2, &err));
    assert_ok_err(err, sql_migrate_up(conn, first_set, 4, count_step, &steps, &err));
    assert_int_equal(steps, 4);
    assert_ok_err(err, sql_migrate_up(conn, first_set, 4, count_step, &steps, &err));
    assert_int_equal(steps, 4);
    assert_ok_err(err, sql_migrate_check(conn, first_set, 4, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM a"), 3);
    assert_int_equal(read_int(conn, "SELECT count(*) FROM belay_schema WHERE applied_at > 0"), 4);
}

static void test_newer_database(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_migrate_up(conn, first_set, 4, NULL, NULL, &err));
    assert_code(ERR_PRECONDITION, sql_migrate_check(conn, first_set, 3, &err));
    assert_non_null(strstr(err.text, "version 4, this program knows 3"));
    assert_code(ERR_PRECONDITION, sql_migrate_up(conn, first_set, 3, NULL, NULL, &err));
    struct sql_migration_status status;
    assert_ok(sql_migrate_status(conn, first_set, 3, &status, &err));
    assert_int_equal(status.applied, 4);
    assert_true(status.checksum_ok);
}

static void test_other_history(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_migration changed[4];
    memcpy(changed, first_set, sizeof(changed));
    assert_ok_err(err, sql_migrate_up(conn, first_set, 3, NULL, NULL, &err));
    changed[1].sha256 = "other";
    struct sql_migration_status status;
    assert_ok(sql_migrate_status(conn, changed, 4, &status, &err));
    assert_false(status.checksum_ok);
    assert_int_equal(status.first_mismatch, 2);
    assert_code(ERR_PRECONDITION, sql_migrate_check(conn, changed, 4, &err));
    assert_code(ERR_PRECONDITION, sql_migrate_up(conn, changed, 4, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "migration 2 "));
    assert_ok_err(err, sql_exec_script(conn, "DELETE FROM belay_schema WHERE version = 1", &err));
    assert_ok(sql_migrate_status(conn, first_set, 4, &status, &err));
    assert_false(status.checksum_ok);
    assert_int_equal(status.first_mismatch, 1);
    changed[0].version = 7;
    assert_code(ERR_INTERNAL, sql_migrate_status(conn, changed, 4, &status, &err));
}

static void test_failing_step_leaves_nothing(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    const struct sql_migration broken[] = {
        first_set[0],
        { 2, "broken", "bb", "INSERT INTO a (id) VALUES (1); INSERT INTO nowhere VALUES (1)" },
    };
    assert_code(ERR_INTERNAL, sql_migrate_up(conn, broken, 2, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "migration 2 (broken): "));
    assert_non_null(strstr(err.text, "nowhere"));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM a"), 0);
    assert_int_equal(read_int(conn, "SELECT count(*) FROM belay_schema"), 1);
    assert_ok_err(err, sql_migrate_up(conn, first_set, 4, NULL, NULL, &err));
}

static void test_step_may_not_commit(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    const struct sql_migration sly[] = {
        { 1, "sly", "aa", "CREATE TABLE a (id integer); COMMIT" }
    };
    assert_code(ERR_INVALID, sql_migrate_up(conn, sly, 1, NULL, NULL, &err));
}

static void test_step_outside_transaction_repeats(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    const struct sql_migration broken[] = {
        first_set[0],
        { 2,
          "half",
          "bb",
          "-- no-transaction\nINSERT INTO a (id) VALUES (1);\nINSERT INTO nowhere "
          "VALUES (';');" },
    };
    assert_code(ERR_INTERNAL, sql_migrate_up(conn, broken, 2, NULL, NULL, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM a"), 1); /* the first half stays */
    assert_ok_err(err, sql_exec_script(conn, "CREATE TABLE nowhere (t text)", &err));
    assert_ok_err(err, sql_migrate_up(conn, broken, 2, NULL, NULL, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM a"), 2);
}

enum {
    MIGRATORS = 3
};

struct migrator {
    struct thread thread;
    const char *url;
    const struct sql_migration *set;
    enum err_code code;
    struct err_info err;
};

static void migrate(void *context)
{
    struct migrator *migrator = context;
    struct sql_conn *conn = NULL;
    const struct sql_options options = { .url = migrator->url, .drivers = drivers };
    migrator->code = sql_connect(&options, &conn, &migrator->err);
    if (migrator->code == ERR_OK) {
        migrator->code = sql_migrate_up(conn, migrator->set, 4, NULL, NULL, &migrator->err);
    }
    sql_close(conn);
}

static void test_migrators_at_once(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    const struct place *place = *state;
    struct migrator migrators[MIGRATORS] = { 0 };
    const struct sql_migration *set = place->is_postgres ? concurrent_set : first_set;
    for (size_t i = 0; i < MIGRATORS; i++) {
        migrators[i].url = place->url;
        migrators[i].set = set;
        assert_ok(thread_start(&migrators[i].thread, "migrator", migrate, &migrators[i], &err));
    }
    for (size_t i = 0; i < MIGRATORS; i++) {
        thread_join(&migrators[i].thread);
        assert_ok_err(migrators[i].err, migrators[i].code);
    }
    assert_ok_err(err, sql_migrate_check(conn, set, 4, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM a"), place->is_postgres ? 2 : 3);
}

static void test_direct_connection_is_needed(void **state)
{
    (void)conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct sql_options options = { .url = place->url,
                                         .drivers = drivers,
                                         .no_prepared_statements = true };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    assert_code(ERR_UNSUPPORTED, sql_migrate_up(conn, first_set, 4, NULL, NULL, &err));
    assert_code(ERR_PRECONDITION, sql_migrate_check(conn, first_set, 4, &err));
    sql_close(conn);
}

/* A step that cannot have its lock in time gives way, so that others do not queue up behind it. */
static void test_step_waits_for_lock(void **state)
{
    struct sql_conn *conn = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_migrate_up(conn, first_set, 1, NULL, NULL, &err));
    struct sql_conn *holder = open_place(place->url);
    assert_ok(sql_begin(holder, 1, &err));
    assert_ok_err(err, sql_exec_script(holder, "LOCK TABLE b", &err));
    const struct sql_migration impatient[] = {
        first_set[0],
        { 2, "wait", "bb", "SET LOCAL lock_timeout = '1ms'; ALTER TABLE b ADD COLUMN x text" },
    };
    assert_code(ERR_BUSY, sql_migrate_up(conn, impatient, 2, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "migration 2 (wait)"));
    sql_rollback(holder);
    assert_ok_err(err, sql_migrate_up(conn, impatient, 2, NULL, NULL, &err));
    sql_close(holder);
}

#define BOTH_TESTS(setup)                                                                        \
    cmocka_unit_test_setup_teardown(test_up, setup, teardown),                                   \
        cmocka_unit_test_setup_teardown(test_newer_database, setup, teardown),                   \
        cmocka_unit_test_setup_teardown(test_other_history, setup, teardown),                    \
        cmocka_unit_test_setup_teardown(test_failing_step_leaves_nothing, setup, teardown),      \
        cmocka_unit_test_setup_teardown(test_step_may_not_commit, setup, teardown),              \
        cmocka_unit_test_setup_teardown(test_step_outside_transaction_repeats, setup, teardown), \
        cmocka_unit_test_setup_teardown(test_migrators_at_once, setup, teardown)

int main(void)
{
    const struct CMUnitTest sqlite[] = { BOTH_TESTS(setup_sqlite) };
    const struct CMUnitTest postgres[] = {
        BOTH_TESTS(setup_postgres),
        cmocka_unit_test_setup_teardown(test_direct_connection_is_needed, setup_postgres, teardown),
        cmocka_unit_test_setup_teardown(test_step_waits_for_lock, setup_postgres, teardown),
    };
    int failed = cmocka_run_group_tests(sqlite, NULL, NULL);
    return failed + cmocka_run_group_tests(postgres, NULL, NULL);
}
