/* What is PostgreSQL's own: arrays, row-level security, lost connections, notifications, waiting
 * for locks. */
#include "common/base/cleanup.h"
#include "common/sql/postgres.h"
#include "common/sql/sql.h"
#include "common/sql/sqlite.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static const struct sql_driver *const drivers[] = { &sql_driver_sqlite,
                                                    &sql_driver_postgres,
                                                    NULL };

/* A statement of one text, named by it. */
#define STATEMENT(text) \
    (&(const struct sql_statement){ .name = (text), .postgres = (text), .sqlite = NULL })

static struct sql_conn *open_with(struct sql_options options)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    options.drivers = drivers;
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    return conn;
}

struct place {
    const char *url; /* the group's */
    struct sql_conn *conn;
};

static int create_database(void **state)
{
    *state = test_postgres_create();
    return 0;
}

static int drop_database(void **state)
{
    test_postgres_drop(*state);
    return 0;
}

static int setup(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    place->url = *state;
    place->conn = place->url == NULL ? NULL : open_with((struct sql_options){ .url = place->url });
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    sql_close(place->conn);
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

static void run(struct sql_conn *conn, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_exec_script(conn, text, &err));
}

static enum err_code exec(struct sql_conn *conn, const char *text, struct err_info *err)
{
    return sql_exec(conn, STATEMENT(text), SQL_NO_ARGS, NULL, err);
}

static int64_t read_int(struct sql_conn *conn, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, STATEMENT(text), SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

static void read_text(struct sql_conn *conn, const char *text, char out[128])
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, STATEMENT(text), SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    (void)snprintf(out, 128, "%.*s", STR_ARG(sql_text(rows, 0)));
}

static const char UNNEST[] =
    "SELECT i, r, t, b FROM UNNEST(CAST($1 AS bigint[]), CAST($2 AS double precision[]), "
    "CAST($3 AS text[]), CAST($4 AS bytea[])) AS u(i, r, t, b)";

static void test_arrays(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    static const int64_t integers[] = { INT64_MIN, -1, INT64_MAX };
    static const double reals[] = { -0.1, 1e300, 5e-324 };
    static const struct str_view texts[] = { { "", 0 },
                                             { "{a,\"b\",NULL}", 12 },
                                             { "\xc3\xa9", 2 } };
    static const struct str_view blobs[] = { { "\0\xff\0", 3 }, { "", 0 }, { "\\x00", 4 } };
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(
        err,
        sql_query(
            conn,
            STATEMENT(UNNEST),
            SQL_ARGS(
                SQL_INTS(integers, 3),
                SQL_REALS(reals, 3),
                SQL_TEXTS(texts, 3),
                SQL_BLOBS(blobs, 3)),
            &rows,
            &err));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(sql_rows_next(rows, &err));
        assert_int_equal(sql_int(rows, 0), integers[i]);
        assert_true(sql_real(rows, 1) == reals[i]);
        assert_true(str_equal(sql_text(rows, 2), texts[i]));
        assert_true(str_equal(sql_blob(rows, 3), blobs[i]));
    }
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    sql_rows_close(rows);
    rows = NULL;
    assert_ok_err(
        err,
        sql_query(
            conn,
            STATEMENT(UNNEST),
            SQL_ARGS(SQL_INTS(NULL, 0), SQL_REALS(NULL, 0), SQL_TEXTS(NULL, 0), SQL_BLOBS(NULL, 0)),
            &rows,
            &err));
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    static const struct str_view unsound[] = { { "a\0b", 3 } };
    sql_rows_close(rows);
    rows = NULL;
    assert_code(
        ERR_INVALID,
        sql_exec(
            conn,
            STATEMENT("SELECT CAST($1 AS text[])"),
            SQL_ARGS(SQL_TEXTS(unsound, 1)),
            NULL,
            &err));
}

static void test_batch_by_unnest(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;

    enum {
        COUNT = 20000
    };

    int64_t *numbers = mem_alloc_array(COUNT, sizeof(*numbers));
    for (int64_t i = 0; i < COUNT; i++) {
        numbers[i] = i;
    }
    run(conn, "CREATE TABLE batch (id bigint)");
    int64_t changed = 0;
    assert_ok_err(
        err,
        sql_exec(
            conn,
            STATEMENT("INSERT INTO batch SELECT UNNEST(CAST($1 AS bigint[]))"),
            SQL_ARGS(SQL_INTS(numbers, COUNT)),
            &changed,
            &err));
    mem_free(numbers);
    assert_int_equal(changed, COUNT);
    assert_int_equal(read_int(conn, "SELECT sum(id) FROM batch"), (int64_t)COUNT * (COUNT - 1) / 2);
    run(conn, "DROP TABLE batch");
}

static void test_column_types(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;

    static const struct {
        const char *text;
        int64_t integer;
        double real;
        const char *string;
    } cases[] = {
        { "SELECT CAST(-2 AS smallint)", -2, -2, NULL },
        { "SELECT CAST(-70000 AS integer)", -70000, -70000, NULL },
        { "SELECT true", 1, 1, NULL },
        { "SELECT CAST(2.5 AS real)", 2, 2.5, NULL },
        { "SELECT CAST('-infinity' AS double precision)", INT64_MIN, -__builtin_inf(), NULL },
        { "SELECT CAST('1e30' AS double precision)", INT64_MAX, 1e30, NULL },
        { "SELECT CAST(-12345678.75 AS numeric)", -12345678, -12345678.75, NULL },
        { "SELECT CAST(0.00015 AS numeric)", 0, 0.00015, NULL },
        { "SELECT CAST(100000000 AS numeric)", 100000000, 100000000, NULL },
        { "SELECT CAST(-9223372036854775808 AS numeric)", INT64_MIN, -0x1p63, NULL },
        { "SELECT CAST(9223372036854775808 AS numeric)", INT64_MAX, 0x1p63, NULL },
        { "SELECT CAST('NaN' AS numeric) IS NULL", 0, 0, NULL },
        { "SELECT CAST('x' AS name)", 0, 0, "x" },
        { "SELECT CAST('xy' AS varchar(5))", 0, 0, "xy" },
        { "SELECT 'literal'", 0, 0, "literal" },
        { "SELECT CAST('{\"a\": 1}' AS json)", 0, 0, "{\"a\": 1}" },
        { "SELECT CAST('{\"a\":1}' AS jsonb)", 0, 0, "{\"a\": 1}" },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_ROWS struct sql_rows *rows = NULL;
        assert_ok_err(err, sql_query(conn, STATEMENT(cases[i].text), SQL_NO_ARGS, &rows, &err));
        assert_ok(sql_rows_next(rows, &err));
        assert_int_equal(sql_int(rows, 0), cases[i].integer);
        double off = sql_real(rows, 0) - cases[i].real;
        assert_true(sql_real(rows, 0) == cases[i].real || (off < 1e-12 && off > -1e-12));
        assert_true(str_equal(sql_text(rows, 0), str_of(cases[i].string)));
    }
    struct sql_rows *rows = NULL;
    assert_code(
        ERR_UNSUPPORTED, sql_query(conn, STATEMENT("SELECT 1, now()"), SQL_NO_ARGS, &rows, &err));
    assert_non_null(strstr(err.text, "column 2"));
    assert_null(rows);
}

/* Numbers are sent as text, so any type of the column takes them. */
static void test_parameter_types(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    run(conn, "CREATE TABLE types (s smallint, n numeric, f boolean, u uuid, j jsonb)");
    assert_ok_err(
        err,
        sql_exec(
            conn,
            STATEMENT("INSERT INTO types VALUES ($1, $2, $3, $4, $5)"),
            SQL_ARGS(
                SQL_INT(-3),
                SQL_REAL(0.25),
                SQL_BOOL(true),
                SQL_TEXT("6fa459ea-ee8a-3ca4-894e-db77e160355e"),
                SQL_TEXT("{\"k\": [1]}")),
            NULL,
            &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM types WHERE f AND s = -3"), 1);
    assert_code(
        ERR_INVALID,
        sql_exec(
            conn,
            STATEMENT("INSERT INTO types (s) VALUES ($1)"),
            SQL_ARGS(SQL_INT(70000)),
            NULL,
            &err));
    assert_null(strstr(err.text, "70000"));
    run(conn, "DROP TABLE types");
}

/* A second connection under a role that owns nothing, as the server should run. */
static struct sql_conn *open_as_tenant(const struct place *place)
{
    struct sql_conn *conn = open_with((struct sql_options){ .url = place->url });
    run(conn, "SET ROLE wall_user");
    return conn;
}

static void test_row_level_security(void **state)
{
    struct sql_conn *owner = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    run(owner,
        "DO $$ BEGIN IF to_regrole('wall_user') IS NULL THEN CREATE ROLE wall_user; END IF; END $$;"
        "CREATE TABLE wall (workspace_id bigint, name text);"
        "ALTER TABLE wall ENABLE ROW LEVEL SECURITY; ALTER TABLE wall FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY wall_policy ON wall USING (current_setting('app.workspace_id', true) IN "
        "('all', CAST(workspace_id AS text)));"
        "GRANT ALL ON wall TO wall_user");
    struct sql_conn *conn = open_as_tenant(*state);
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, exec(conn, "INSERT INTO wall VALUES (1, 'one')", &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_ok_err(err, sql_begin(conn, 2, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM wall"), 0);
    assert_code(ERR_DENIED, exec(conn, "INSERT INTO wall VALUES (1, 'across')", &err));
    sql_rollback(conn);
    assert_ok_err(err, sql_begin_read(conn, SQL_ALL_WORKSPACES, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM wall"), 1);
    assert_ok_err(err, sql_commit(conn, &err));
    /* After a commit the setting is '', which no row and no word may match. */
    char setting[128];
    read_text(conn, "SELECT current_setting('app.workspace_id', true)", setting);
    assert_string_equal(setting, "");
    assert_int_equal(read_int(conn, "SELECT count(*) FROM wall"), 0);
    assert_code(ERR_DENIED, exec(conn, "INSERT INTO wall VALUES (1, 'outside')", &err));
    assert_code(ERR_DENIED, exec(conn, "DROP TABLE wall", &err));
    sql_close(conn);
    run(owner, "DROP TABLE wall");
    run(owner, "DROP OWNED BY wall_user; DROP ROLE wall_user");
}

static void test_lost_connection(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    run(conn, "CREATE TABLE lost (id bigint)");
    assert_ok(sql_begin(conn, 1, &err));
    assert_ok(exec(conn, "INSERT INTO lost VALUES (1)", &err));
    assert_true(sql_is_usable(conn));
    assert_code(ERR_UNAVAILABLE, exec(conn, "SELECT pg_terminate_backend(pg_backend_pid())", &err));
    assert_true(err.retryable);
    assert_false(sql_is_usable(conn));
    assert_code(ERR_UNAVAILABLE, exec(conn, "INSERT INTO lost VALUES (2)", &err));
    assert_code(ERR_UNAVAILABLE, sql_commit(conn, &err));
    assert_code(ERR_UNAVAILABLE, sql_begin(conn, 1, &err));
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_true(sql_is_usable(conn));
    assert_ok_err(err, exec(conn, "INSERT INTO lost VALUES (3)", &err)); /* prepared anew */
    assert_int_equal(read_int(conn, "SELECT count(*) FROM lost"), 1);
    run(conn, "DROP TABLE lost");
}

static void terminate_other(struct sql_conn *killer, int64_t pid)
{
    struct err_info err = ERR_INFO_INIT;
    /* The second argument waits until it is gone. */
    assert_ok_err(
        err,
        sql_exec(
            killer,
            STATEMENT("SELECT pg_terminate_backend(CAST($1 AS integer), 5000)"),
            SQL_ARGS(SQL_INT(pid)),
            NULL,
            &err));
}

static void test_terminated_while_idle(void **state)
{
    struct sql_conn *killer = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = open_with((struct sql_options){ .url = place->url });
    terminate_other(killer, read_int(conn, "SELECT pg_backend_pid()"));
    assert_ok_err(err, sql_begin(conn, 1, &err)); /* is said with the first statement */
    assert_code(ERR_UNAVAILABLE, exec(conn, "SELECT 1", &err));
    assert_false(sql_is_usable(conn));
    sql_rollback(conn);
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, exec(conn, "SELECT 1", &err));
    assert_ok_err(err, sql_commit(conn, &err));
    sql_close(conn);
}

/* Nothing had an answer before the commit: it is not sent to a connection that has died. */
static void test_terminated_before_what_is_put_off(void **state)
{
    struct sql_conn *killer = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = open_with((struct sql_options){ .url = place->url });
    const struct sql_statement *put_off = STATEMENT("SELECT CAST($1 AS bigint)");
    assert_ok_err(err, sql_prepare_all(conn, &put_off, 1, &err));
    assert_ok_err(err, sql_begin(conn, 1, &err));
    int64_t pid = read_int(conn, "SELECT pg_backend_pid()");
    assert_ok_err(err, sql_commit(conn, &err));
    terminate_other(killer, pid);
    assert_ok_err(err, sql_begin(conn, 1, &err));
    enum err_code code = sql_exec_later(conn, put_off, SQL_ARGS(SQL_INT(1)), &err);
    assert_code(ERR_UNAVAILABLE, code == ERR_OK ? sql_commit(conn, &err) : code);
    assert_false(sql_is_usable(conn));
    sql_rollback(conn);
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, sql_exec_later(conn, put_off, SQL_ARGS(SQL_INT(1)), &err));
    assert_ok_err(err, sql_commit(conn, &err));
    sql_close(conn);
}

/* A deferred trigger runs inside COMMIT and ends its own server process there. */
static void test_commit_uncertain(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    run(conn,
        "CREATE TABLE doubt (id bigint);"
        "CREATE FUNCTION doubt_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM "
        "pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER doubt_trigger AFTER INSERT ON doubt DEFERRABLE INITIALLY "
        "DEFERRED FOR EACH ROW EXECUTE FUNCTION doubt_end()");
    assert_ok(sql_begin(conn, 1, &err));
    assert_ok_err(err, exec(conn, "INSERT INTO doubt VALUES (1)", &err));
    assert_code(ERR_UNCERTAIN, sql_commit(conn, &err));
    assert_false(err.retryable);
    assert_false(sql_is_usable(conn));
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_int_equal(read_int(conn, "SELECT count(*) FROM doubt"), 0);
    run(conn, "DROP TABLE doubt; DROP FUNCTION doubt_end");
}

static void test_locks_and_timeouts(void **state)
{
    struct sql_conn *holder = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(holder, "CREATE TABLE held (id bigint)");
    struct sql_conn *conn = open_with(
        (struct sql_options){ .url = place->url, .statement_timeout_us = 100 * US_PER_MS });
    assert_ok(sql_begin(holder, 1, &err));
    assert_ok_err(err, exec(holder, "LOCK TABLE held", &err));
    assert_ok(sql_begin(conn, 1, &err));
    assert_code(ERR_BUSY, exec(conn, "LOCK TABLE held NOWAIT", &err));
    sql_rollback(conn);
    assert_code(ERR_TIMEOUT, exec(conn, "SELECT count(*) FROM held", &err));
    assert_code(ERR_TIMEOUT, exec(conn, "SELECT CAST(pg_sleep(30) AS text)", &err));
    sql_rollback(holder);
    assert_ok_err(err, exec(conn, "SELECT count(*) FROM held", &err));
    sql_close(conn);
    run(holder, "DROP TABLE held");
}

enum {
    WRITERS = 4,
    ROUNDS = 25
};

struct writer {
    struct thread thread;
    const char *url;
    bool is_backward;
    unsigned failures;
    struct err_info err;
};

/* Two rows in either order: deadlocks between the writers, which the retries resolve. */
static enum err_code move_one(struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct writer *writer = context;
    const struct sql_statement *update =
        STATEMENT("UPDATE account SET amount = amount + CAST($2 AS bigint) WHERE id = $1");
    int64_t first = writer->is_backward ? 2 : 1;
    TRY(sql_exec(conn, update, SQL_ARGS(SQL_INT(first), SQL_INT(1)), NULL, err));
    return sql_exec(conn, update, SQL_ARGS(SQL_INT(3 - first), SQL_INT(1)), NULL, err);
}

static void write_rounds(void *context)
{
    struct writer *writer = context;
    struct sql_conn *conn = NULL;
    const struct sql_options options = { .url = writer->url, .drivers = drivers };
    if (sql_connect(&options, &conn, &writer->err) != ERR_OK
        || sql_exec_script(conn, "SET deadlock_timeout = '10ms'", &writer->err) != ERR_OK) {
        writer->failures = ROUNDS;
    }
    for (int i = 0; i < ROUNDS && writer->failures == 0; i++) {
        enum err_code code = ERR_BUSY;
        for (int again = 0; code == ERR_BUSY && again < 20; again++) {
            code = sql_transact(conn, 1, move_one, writer, &writer->err);
        }
        writer->failures += code == ERR_OK ? 0 : 1;
    }
    sql_close(conn);
}

/* A client that was stopped in a transaction must not hold its locks for ever. */
static void test_an_idle_transaction_is_ended(void **state)
{
    struct sql_conn *conn = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(conn, "CREATE TABLE idle_held (id bigint)");
    for (int pooled = 0; pooled < 2; pooled++) {
        struct sql_conn *idle = open_with((struct sql_options){
            .url = place->url,
            .no_prepared_statements = pooled == 1,
            .statement_timeout_us = 50 * US_PER_MS,
        });
        assert_ok(sql_begin(idle, 1, &err));
        assert_ok_err(err, exec(idle, "LOCK TABLE idle_held", &err));
        run(conn, "INSERT INTO idle_held VALUES (1)"); /* waits until the lock is free */
        assert_code(ERR_UNAVAILABLE, exec(idle, "SELECT count(*) FROM idle_held", &err));
        sql_close(idle);
    }
    run(conn, "DROP TABLE idle_held");
}

/* A database that has become a standby: no fault of the caller, and worth another connection. */
static void test_a_database_that_takes_no_writes(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    run(conn, "CREATE TABLE standby (id bigint)");
    run(conn, "SET default_transaction_read_only = on");
    assert_ok(sql_begin(conn, 1, &err));
    assert_code(ERR_UNAVAILABLE, exec(conn, "INSERT INTO standby VALUES (1)", &err));
    assert_non_null(strstr(err.text, "takes no writes"));
    assert_false(sql_is_usable(conn));
    sql_rollback(conn);
    assert_ok_err(err, sql_reconnect(conn, &err)); /* a new session, without the setting */
    assert_ok(sql_begin(conn, 1, &err));
    assert_ok_err(err, exec(conn, "INSERT INTO standby VALUES (1)", &err));
    assert_ok(sql_commit(conn, &err));
    assert_ok(sql_begin_read(conn, 1, &err)); /* one's own promise is another thing */
    assert_code(ERR_DENIED, exec(conn, "INSERT INTO standby VALUES (2)", &err));
    sql_rollback(conn);
    assert_true(sql_is_usable(conn));
    run(conn, "DROP TABLE standby");
}

static void test_deadlocks_are_retried(void **state)
{
    struct sql_conn *conn = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(conn,
        "CREATE TABLE account (id bigint, amount bigint);"
        "INSERT INTO account VALUES (1, 0), (2, 0)");
    struct writer writers[WRITERS] = { 0 };
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i].url = place->url;
        writers[i].is_backward = i % 2 == 1;
        assert_ok(thread_start(&writers[i].thread, "writer", write_rounds, &writers[i], &err));
    }
    for (size_t i = 0; i < WRITERS; i++) {
        thread_join(&writers[i].thread);
        assert_string_equal(writers[i].failures == 0 ? "" : writers[i].err.text, "");
    }
    assert_int_equal(read_int(conn, "SELECT sum(amount) FROM account"), 2 * WRITERS * ROUNDS);
    run(conn, "DROP TABLE account");
}

static void test_notifications(void **state)
{
    struct sql_conn *listener = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    char channel[16];
    char payload[16];
    struct sql_conn *sender = open_with((struct sql_options){ .url = place->url });
    assert_ok_err(err, sql_listen(listener, "agent_1", &err));
    assert_code(
        ERR_TIMEOUT,
        sql_wait_notification(
            listener, 1000, channel, sizeof(channel), payload, sizeof(payload), &err));
    assert_ok(sql_begin(sender, 1, &err));
    assert_ok_err(err, sql_notify(sender, "agent_1", STR("first"), &err));
    assert_ok_err(err, sql_notify(sender, "agent_1", STR("a payload that is cut"), &err));
    assert_ok_err(err, sql_notify(sender, "elsewhere", STR("not listened to"), &err));
    assert_code(
        ERR_TIMEOUT,
        sql_wait_notification(
            listener, 10000, channel, sizeof(channel), payload, sizeof(payload), &err));
    assert_ok(sql_commit(sender, &err));
    static const char *const expected[] = { "first", "a payload that " };
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_ok_err(
            err,
            sql_wait_notification(
                listener, 5000000, channel, sizeof(channel), payload, sizeof(payload), &err));
        assert_string_equal(channel, "agent_1");
        assert_string_equal(payload, expected[i]);
    }
    assert_ok(sql_begin(sender, 1, &err)); /* what is rolled back is not said, nor later */
    assert_ok_err(err, sql_notify(sender, "agent_1", STR("never"), &err));
    sql_rollback(sender);
    assert_ok(sql_begin(sender, 1, &err));
    assert_ok_err(err, sql_notify(sender, "agent_1", STR("never"), &err));
    assert_code(ERR_INVALID, exec(sender, "SELECT 1 / 0", &err));
    assert_code(ERR_PRECONDITION, sql_commit(sender, &err));
    assert_ok(sql_begin(sender, 1, &err));
    assert_ok_err(err, sql_notify(sender, "agent_1", STR("last"), &err)); /* and nothing else */
    assert_ok_err(err, sql_commit(sender, &err));
    assert_ok_err(
        err,
        sql_wait_notification(
            listener, 5000000, channel, sizeof(channel), payload, sizeof(payload), &err));
    assert_string_equal(payload, "last");
    AUTO_FREE char *large = mem_alloc(8001);
    memset(large, 'x', 8000);
    assert_code(ERR_LIMIT, sql_notify(sender, "agent_1", str_of(large), &err));
    assert_code(ERR_INVALID, sql_notify(sender, "Agent", STR("x"), &err));
    assert_code(ERR_INVALID, sql_listen(sender, "a;b", &err));
    assert_code(ERR_INVALID, sql_notify(sender, "a", str_from("\xff", 1), &err));
    terminate_other(sender, read_int(listener, "SELECT pg_backend_pid()"));
    assert_code(
        ERR_UNAVAILABLE,
        sql_wait_notification(
            listener, 5000000, channel, sizeof(channel), payload, sizeof(payload), &err));
    assert_false(sql_is_usable(listener));
    sql_close(sender);
}

static void test_options(void **state)
{
    const struct place *place = *state;
    (void)conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    char text[128];
    struct sql_conn *conn =
        open_with((struct sql_options){ .url = place->url, .application = "belay-server" });
    read_text(conn, "SELECT current_setting('application_name')", text);
    assert_string_equal(text, "belay-server");
    read_text(conn, "SELECT current_setting('statement_timeout')", text);
    assert_string_equal(text, "30s");
    sql_close(conn);
    conn = open_with((struct sql_options){ .url = place->url, .read_only = true });
    assert_code(ERR_DENIED, exec(conn, "CREATE TABLE never (id bigint)", &err));
    assert_ok(sql_begin(conn, 1, &err));
    assert_code(ERR_DENIED, exec(conn, "CREATE TABLE never2 (id bigint)", &err));
    sql_close(conn);
    conn = open_with((struct sql_options){ .url = place->url,
                                           .no_prepared_statements = true,
                                           .statement_timeout_us = 50 * US_PER_MS });
    assert_ok(sql_begin(conn, 1, &err));
    read_text(conn, "SELECT current_setting('statement_timeout')", text);
    assert_string_equal(text, "50ms");
    assert_int_equal(read_int(conn, "SELECT count(*) FROM pg_prepared_statements"), 0);
    assert_ok(sql_commit(conn, &err));
    assert_code(ERR_UNSUPPORTED, sql_listen(conn, "agent", &err));
    sql_close(conn);
}

static void test_bad_urls_keep_the_password(void **state)
{
    (void)state;

    static const struct {
        const char *url;
        enum err_code code;
    } cases[] = {
        { "postgresql://u:hunter2@127.0.0.1:1/d", ERR_UNAVAILABLE },
        { "postgresql://u:hunter2@[::1/d", ERR_INVALID },
        { "postgresql://u:hunter2%zz@127.0.0.1/d", ERR_INVALID },
        { "postgresql://u:hunter2@127.0.0.1:port/d", ERR_UNAVAILABLE },
        { "postgresql://u:hunter2@127.0.0.1/d?no_such=1", ERR_INVALID },
        { "postgresql://u:hunter2@/d?host=/nowhere/hunter2", ERR_UNAVAILABLE },
        { "postgresql:u:hunter2", ERR_UNSUPPORTED },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct err_info err = ERR_INFO_INIT;
        struct sql_conn *conn = NULL;
        const struct sql_options options = { .url = cases[i].url, .drivers = drivers };
        assert_code(cases[i].code, sql_connect(&options, &conn, &err));
        assert_null(conn);
        assert_true(err.text[0] != '\0');
        assert_null(strstr(err.text, "hunter2"));
    }
}

/* After a migration elsewhere a prepared statement may not fit its table any more. */
static void test_schema_changes_below(void **state)
{
    struct sql_conn *conn = conn_of(state);
    const struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(conn, "CREATE TABLE below (id integer); INSERT INTO below VALUES (1)");
    assert_int_equal(read_int(conn, "SELECT id FROM below"), 1);
    struct sql_conn *other = open_with((struct sql_options){ .url = place->url });
    run(other, "ALTER TABLE below ALTER COLUMN id TYPE bigint");
    sql_close(other);
    assert_code(ERR_UNAVAILABLE, exec(conn, "SELECT id FROM below", &err));
    assert_false(sql_is_usable(conn));
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_int_equal(read_int(conn, "SELECT id FROM below"), 1);
    run(conn, "DROP TABLE below");
}

static void test_copy_is_refused(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_code(ERR_UNSUPPORTED, sql_exec_script(conn, "COPY pg_class TO STDOUT", &err));
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_int_equal(read_int(conn, "SELECT 1"), 1);
}

static void test_constraint_is_named(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    run(conn, "CREATE TABLE named (id bigint CONSTRAINT named_key UNIQUE)");
    assert_ok(exec(conn, "INSERT INTO named VALUES (77123)", &err));
    assert_code(ERR_EXISTS, exec(conn, "INSERT INTO named VALUES (77123)", &err));
    assert_non_null(strstr(err.text, "named_key"));
    assert_code(ERR_INTERNAL, sql_exec(conn, STATEMENT("SELECT 1 + $1"), SQL_NO_ARGS, NULL, &err));
    assert_true(sql_is_usable(conn));
    const struct sql_statement bad = { .name = "bad_text", .postgres = "SELECT x FROM nowhere" };
    const struct sql_statement *list[] = { &bad };
    assert_code(ERR_INTERNAL, sql_prepare_all(conn, list, 1, &err));
    assert_non_null(strstr(err.text, "bad_text"));
    assert_non_null(strstr(err.text, "nowhere"));
    run(conn, "DROP TABLE named");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_arrays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_by_unnest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_column_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parameter_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_row_level_security, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_terminated_while_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_terminated_before_what_is_put_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_uncertain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks_and_timeouts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_idle_transaction_is_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_database_that_takes_no_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadlocks_are_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_notifications, setup, teardown),
        cmocka_unit_test_setup_teardown(test_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_changes_below, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_constraint_is_named, setup, teardown),
        cmocka_unit_test(test_bad_urls_keep_the_password),
    };
    return cmocka_run_group_tests(tests, create_database, drop_database);
}
