/*
 * Migrations on a filled PostgreSQL database while writers go on: the last migration is applied to
 * a database of the version before (when there is one); an up-to-date database must not be locked
 * at all. The longest pause of a writer is bounded.
 */
#include "cmd/server/store/telemetry.h"
#include "common/sql/migrate.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    SERIES = 20,
    ROWS_PER_SERIES = 2000,
    STALL_US_MAX = 3000000, /* a step waits 3 s for a lock, then lets the others go on */
    ROUNDS = 40
};

struct writer {
    const struct place *place;
    struct thread thread;
    int64_t series_id;
    atomic_bool *ended;
    atomic_int *running;
    int64_t longest_us;
    int64_t written;
    int failures;
};

/* Nothing prepared ahead: statements of today may name what the last migration brings. */
static struct sql_conn *connect_to_any_version(const struct place *place)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct store_options options = { .url = place->url };
    assert_ok_err(err, store_connect(&options, &conn, &err));
    return conn;
}

static enum err_code write_row(
    struct sql_conn *conn, const struct writer *writer, struct err_info *err)
{
    const int64_t workspace = WORKSPACE_DEFAULT;
    const int64_t time_us = PLACE_NOW.value + US_PER_HOUR + writer->written;
    const double value = 1;
    const int64_t only = 1;
    const int64_t *id = &writer->series_id;
    const struct sample_columns columns = { 1, &workspace, id, &time_us, &value };
    const struct sample_runs runs = { 1, &workspace, id, &only, &only, 1, &time_us, &value };
    TRY(sql_begin(conn, WORKSPACE_DEFAULT, err));
    struct sample_habit habit = { .wary = 0 };
    TRY(store_sample_put(conn, &runs, &habit, err));
    TRY(store_series_latest(conn, &columns, PLACE_NOW, err));
    return sql_commit(conn, err);
}

static void write_rows(void *context)
{
    struct writer *writer = context;
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = connect_to_any_version(writer->place);
    atomic_fetch_add(writer->running, 1);
    while (!atomic_load(writer->ended) && writer->written < 1000000) {
        int64_t began = clock_mono(clock_system()).value;
        if (write_row(conn, writer, &err) != ERR_OK) {
            print_error("writer: %s\n", err.text);
            sql_rollback(conn);
            writer->failures++;
            break;
        }
        writer->written++;
        int64_t took = clock_mono(clock_system()).value - began;
        writer->longest_us = took > writer->longest_us ? took : writer->longest_us;
    }
    sql_close(conn);
}

static void fill_samples(struct place *place, int64_t agent_id, int64_t ids[SERIES])
{
    struct err_info err = ERR_INFO_INIT;
    char names[SERIES][16];
    struct series_name series[SERIES];
    for (int i = 0; i < SERIES; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "metric.%d", i);
        series[i] = (struct series_name){ str_of(names[i]), STR(""), STR(""), STR("") };
    }
    place_begin(place, SQL_ALL_WORKSPACES);
    const struct series_request request = { WORKSPACE_DEFAULT, agent_id, series, SERIES };
    assert_ok_err(err, store_series_put(place->conn, &request, ids, &err));
    bool all = false;
    assert_ok_err(err, store_sample_partitions(place->conn, PLACE_NOW, 2, &all, &err));
    place_commit(place);
    char text[256];
    (void)snprintf(
        text,
        sizeof(text),
        "INSERT INTO sample SELECT s.workspace_id, s.id, %lld + g, g FROM series s, "
        "generate_series(1, %d) AS g",
        (long long)PLACE_NOW.value,
        ROWS_PER_SERIES);
    place_script(place, text);
}

/* The migration that is measured: the last one again after the schema was taken back, or none. */
static void migrate_under_writers(struct place *place, bool *ret_applied)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_migration_status status;
    struct sql_conn *conn = connect_to_any_version(place);
    size_t count = 0;
    const struct sql_migration *migrations = store_migrations(SQL_POSTGRES, &count);
    assert_ok_err(err, sql_migrate_status(conn, migrations, count, &status, &err));
    *ret_applied = status.applied < status.known;
    for (int i = 0; i < ROUNDS; i++) {
        assert_ok_err(err, sql_migrate_up(conn, migrations, count, NULL, NULL, &err));
        assert_ok_err(err, sql_migrate_check(conn, migrations, count, &err));
    }
    sql_close(conn);
}

static void run_writers(struct place *place, const int64_t ids[SERIES])
{
    struct err_info err = ERR_INFO_INIT;
    struct writer writers[3];
    atomic_bool ended = false;
    atomic_int running = 0;
    bool applied = false;
    for (size_t i = 0; i < ARRAY_LENGTH(writers); i++) {
        writers[i] = (struct writer){
            .place = place, .series_id = ids[i], .ended = &ended, .running = &running
        };
        assert_ok_err(
            err, thread_start(&writers[i].thread, "writer", write_rows, &writers[i], &err));
    }
    const int64_t limit_us = clock_mono(clock_system()).value + 30 * US_PER_SECOND;
    while (atomic_load(&running) < (int)ARRAY_LENGTH(writers)
           && clock_mono(clock_system()).value < limit_us) {
    }
    migrate_under_writers(place, &applied);
    atomic_store(&ended, true);
    int64_t longest = 0;
    int64_t written = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(writers); i++) {
        thread_join(&writers[i].thread);
        assert_int_equal(writers[i].failures, 0);
        written += writers[i].written;
        longest = writers[i].longest_us > longest ? writers[i].longest_us : longest;
    }
    print_message(
        "%s: %lld rows written meanwhile, longest pause %lld us\n",
        applied ? "last migration applied" : "up to date",
        (long long)written,
        (long long)longest);
    assert_true(written > 0);
    assert_true(longest < STALL_US_MAX);
}

/* The database as the version before the last left it; with one version, as it is. */
static void take_back_last(struct place *place)
{
    size_t count = 0;
    (void)store_migrations(SQL_POSTGRES, &count);
    if (count == 1) {
        return;
    }
    struct err_info err = ERR_INFO_INIT;
    sql_close(place->conn);
    place->conn = NULL;
    struct sql_conn *conn = connect_to_any_version(place);
    assert_ok_err(
        err, sql_exec_script(conn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public", &err));
    const struct sql_migration *migrations = store_migrations(SQL_POSTGRES, &count);
    assert_ok_err(err, sql_migrate_up(conn, migrations, count - 1, NULL, NULL, &err));
    sql_close(conn);
    place->conn = connect_to_any_version(place);
}

static void test_writers_go_on_while_migrating(void **state)
{
    struct place *place = place_of(state);
    int64_t ids[SERIES];
    take_back_last(place);
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    fill_samples(place, agent, ids);
    run_writers(place, ids);
}

/* An open transaction of a writer must not hold up `migrate up` on an up-to-date database. */
static void test_an_up_to_date_database_is_not_locked(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t ids[SERIES];
    size_t count = 0;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    fill_samples(place, agent, ids);
    struct sql_conn *conn = place_connect(place);
    const struct sql_migration *migrations = store_migrations(SQL_POSTGRES, &count);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(
        err,
        sql_exec_script(
            place->conn,
            "UPDATE agent SET revision = revision + 1; UPDATE series SET last_time = 1; "
            "INSERT INTO sample SELECT workspace_id, id, 5, 5 FROM series",
            &err));
    int64_t began = clock_mono(clock_system()).value;
    assert_ok_err(err, sql_migrate_up(conn, migrations, count, NULL, NULL, &err));
    assert_true(clock_mono(clock_system()).value - began < US_PER_SECOND);
    place_commit(place);
    sql_close(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_POSTGRES(test_writers_go_on_while_migrating),
        PLACE_POSTGRES(test_an_up_to_date_database_is_not_locked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
