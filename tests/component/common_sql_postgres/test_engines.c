/* One body of tests, run on SQLite and on PostgreSQL: what callers may rely on whatever the engine.
 */
#include "common/base/cleanup.h"
#include "common/sql/postgres.h"
#include "common/sql/sql.h"
#include "common/sql/sqlite.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static const struct sql_driver *const drivers[] = { &sql_driver_sqlite,
                                                    &sql_driver_postgres,
                                                    NULL };

static const struct sql_statement VALUE_ADD = {
    "value_add",
    "INSERT INTO value (id, i, r, t, b) VALUES ($1, $2, $3, $4, $5)",
    "INSERT INTO value (id, i, r, t, b) VALUES ($1, $2, $3, $4, $5)",
};
static const struct sql_statement VALUE_GET = {
    "value_get",
    "SELECT i, r, t, b FROM value WHERE id = $1",
    "SELECT i, r, t, b FROM value WHERE id = $1",
};
static const struct sql_statement VALUE_REMOVE_ABOVE = {
    "value_remove_above",
    "DELETE FROM value WHERE id > $1",
    "DELETE FROM value WHERE id > $1",
};
static const struct sql_statement VALUE_LIST = {
    "value_list",
    "SELECT id FROM value ORDER BY id LIMIT CAST($1 AS bigint)",
    "SELECT id FROM value ORDER BY id LIMIT $1",
};
static const struct sql_statement VALUE_ADD_RETURNING = {
    "value_add_returning",
    "INSERT INTO value (id, i) VALUES ($1, $2) RETURNING id, i",
    "INSERT INTO value (id, i) VALUES ($1, $2) RETURNING id, i",
};
static const struct sql_statement PARENT_ADD = {
    "parent_add",
    "INSERT INTO parent (id, name) VALUES ($1, $2)",
    "INSERT INTO parent (id, name) VALUES ($1, $2)",
};
static const struct sql_statement CHILD_ADD = {
    "child_add",
    "INSERT INTO child (id, parent_id) VALUES ($1, $2)",
    "INSERT INTO child (id, parent_id) VALUES ($1, $2)",
};
static const struct sql_statement VALUE_SUM = {
    "value_sum",
    "SELECT sum(i), count(*), sum(r), max(t) FROM value",
    "SELECT sum(i), count(*), sum(r), max(t) FROM value",
};
static const struct sql_statement VALUE_MATCH = {
    "value_match",
    "SELECT id FROM value WHERE (t = $1 OR t = $2) AND b = $3 ORDER BY id",
    "SELECT id FROM value WHERE (t = $1 OR t = $2) AND b = $3 ORDER BY id",
};
static const struct sql_statement BOOL_SELECT = {
    "bool_select",
    "SELECT CAST($1 AS bigint) = 1, 1 = 0, NULL IS NULL",
    "SELECT CAST($1 AS bigint) = 1, 1 = 0, NULL IS NULL",
};
static const struct sql_statement POSTGRES_ONLY = { "postgres_only", "SELECT 1", NULL };
static const struct sql_statement SQLITE_ONLY = { "sqlite_only", NULL, "SELECT 1" };

static const char SCHEMA_POSTGRES[] =
    "DROP TABLE IF EXISTS value, child, parent;"
    "CREATE TABLE value (id bigint PRIMARY KEY, i bigint, r double precision, t text, b bytea);"
    "CREATE TABLE parent (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'));"
    "CREATE UNIQUE INDEX parent_name ON parent (name);"
    "CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent (id) "
    "DEFERRABLE INITIALLY IMMEDIATE)";
static const char SCHEMA_SQLITE[] =
    "CREATE TABLE value (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB) STRICT;"
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (name <> 'bad')) STRICT;"
    "CREATE UNIQUE INDEX parent_name ON parent (name);"
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id)) STRICT";

struct place {
    char *dir;
    char *url;
    bool no_prepared;
    struct sql_conn *conn;
};

static struct sql_conn *open_place(const char *url, bool no_prepared)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct sql_options options = {
        .url = url, .application = "test", .drivers = drivers, .no_prepared_statements = no_prepared
    };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    return conn;
}

static int setup_sqlite(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    struct err_info err = ERR_INFO_INIT;
    place->dir = test_dir_create();
    place->url = mem_printf("sqlite:%s/file.db", place->dir);
    place->conn = open_place(place->url, false);
    assert_ok_err(err, sql_exec_script(place->conn, SCHEMA_SQLITE, &err));
    *state = place;
    return 0;
}

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

static int setup_postgres_as(void **state, bool no_prepared)
{
    struct place *place = mem_alloc(sizeof(*place));
    struct err_info err = ERR_INFO_INIT;
    const char *url = *state; /* of the group */
    *state = place;
    if (url == NULL) {
        return 0;
    }
    place->url = mem_strdup(url);
    place->no_prepared = no_prepared;
    place->conn = open_place(place->url, no_prepared);
    assert_ok_err(err, sql_exec_script(place->conn, SCHEMA_POSTGRES, &err));
    return 0;
}

static int setup_postgres(void **state)
{
    return setup_postgres_as(state, false);
}

static int setup_unprepared(void **state)
{
    return setup_postgres_as(state, true);
}

static int teardown(void **state)
{
    struct place *place = *state;
    sql_close(place->conn);
    if (place->dir != NULL) {
        test_dir_remove(place->dir);
    }
    mem_free(place->url);
    mem_free(place);
    return 0;
}

static struct sql_conn *conn_of(void **state)
{
    const struct place *place = *state;
    if (place->conn == NULL) {
        skip(); /* this run has no PostgreSQL */
    }
    return place->conn;
}

static void add_value(struct sql_conn *conn, int64_t id, const struct sql_value values[4])
{
    struct err_info err = ERR_INFO_INIT;
    int64_t changed = 0;
    assert_ok_err(
        err,
        sql_exec(
            conn,
            &VALUE_ADD,
            SQL_ARGS(SQL_INT(id), values[0], values[1], values[2], values[3]),
            &changed,
            &err));
    assert_int_equal(changed, 1);
}

static struct sql_rows *get_value(struct sql_conn *conn, int64_t id)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &VALUE_GET, SQL_ARGS(SQL_INT(id)), &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return rows;
}

static int64_t count_values(struct sql_conn *conn)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &VALUE_SUM, SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return sql_int(rows, 1);
}

static enum err_code add_id(struct sql_conn *conn, int64_t id, struct err_info *err)
{
    return sql_exec(
        conn, &VALUE_ADD, SQL_ARGS(SQL_INT(id), SQL_NULL, SQL_NULL, SQL_NULL, SQL_NULL), NULL, err);
}

static void test_numbers(void **state)
{
    struct sql_conn *conn = conn_of(state);
    static const int64_t integers[] = { 0, 1, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN };
    static const double reals[] = { 0, 0.1, -1.5, 1e300, 5e-324, 1.7976931348623157e308, 1.0 / 3 };
    for (size_t i = 0; i < ARRAY_LENGTH(integers); i++) {
        const struct sql_value values[] = {
            SQL_INT(integers[i]), SQL_REAL(reals[i]), SQL_NULL, SQL_NULL
        };
        add_value(conn, (int64_t)i, values);
        AUTO_ROWS struct sql_rows *rows = get_value(conn, (int64_t)i);
        assert_int_equal(sql_int(rows, 0), integers[i]);
        double real = sql_real(rows, 1);
        assert_memory_equal(&real, &reals[i], sizeof(real));
        assert_true(sql_is_null(rows, 2));
    }
}

static void test_text_and_bytes(void **state)
{
    struct sql_conn *conn = conn_of(state);
    static const char text[] = "caf\xc3\xa9 \xf0\x9f\x90\x98 'quoted' \"x\" \\ $1 \n\t;--";
    char all[256];
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (char)i;
    }
    const struct sql_value full[] = {
        SQL_NULL, SQL_NULL, SQL_TEXT(text), SQL_BLOB(all, sizeof(all))
    };
    add_value(conn, 1, full);
    const struct sql_value empty[] = { SQL_NULL, SQL_NULL, SQL_TEXT(""), SQL_BLOB(NULL, 0) };
    add_value(conn, 2, empty);
    struct sql_rows *rows = get_value(conn, 1);
    assert_true(str_equal(sql_text(rows, 2), str_of(text)));
    assert_int_equal(sql_blob(rows, 3).len, sizeof(all));
    assert_memory_equal(sql_blob(rows, 3).ptr, all, sizeof(all));
    sql_rows_close(rows);
    rows = get_value(conn, 2);
    assert_false(sql_is_null(rows, 2));
    assert_non_null(sql_text(rows, 2).ptr);
    assert_int_equal(sql_text(rows, 2).len, 0);
    assert_false(sql_is_null(rows, 3));
    assert_non_null(sql_blob(rows, 3).ptr);
    assert_int_equal(sql_blob(rows, 3).len, 0);
    sql_rows_close(rows);
}

static void test_large_bytes(void **state)
{
    struct sql_conn *conn = conn_of(state);
    size_t bytes = 5 * 1024 * 1024;
    AUTO_FREE char *data = mem_alloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (char)('a' + i * 7 % 26);
    }
    const struct sql_value values[] = {
        SQL_NULL, SQL_NULL, SQL_VIEW(str_from(data, bytes)), SQL_BLOB(data, bytes)
    };
    add_value(conn, 1, values);
    AUTO_ROWS struct sql_rows *rows = get_value(conn, 1);
    assert_true(str_equal(sql_text(rows, 2), str_from(data, bytes)));
    assert_true(str_equal(sql_blob(rows, 3), str_from(data, bytes)));
}

static void test_nulls(void **state)
{
    struct sql_conn *conn = conn_of(state);
    const struct sql_value values[] = { SQL_NULL, SQL_NULL, SQL_TEXT(NULL), SQL_NULL };
    add_value(conn, 1, values);
    AUTO_ROWS struct sql_rows *rows = get_value(conn, 1);
    for (unsigned i = 0; i < 5; i++) { /* the fifth column does not exist */
        assert_true(sql_is_null(rows, i));
        assert_int_equal(sql_int(rows, i), 0);
        assert_true(sql_real(rows, i) == 0);
        assert_null(sql_text(rows, i).ptr);
        assert_null(sql_blob(rows, i).ptr);
    }
}

static void test_values_are_not_converted(void **state)
{
    struct sql_conn *conn = conn_of(state);
    const struct sql_value values[] = {
        SQL_INT(42), SQL_REAL(2.75), SQL_TEXT("17"), SQL_BLOB("18", 2)
    };
    add_value(conn, 1, values);
    AUTO_ROWS struct sql_rows *rows = get_value(conn, 1);
    assert_null(sql_text(rows, 0).ptr);
    assert_null(sql_text(rows, 1).ptr);
    assert_true(sql_real(rows, 0) == 42.0);
    assert_int_equal(sql_int(rows, 1), 2);
    assert_int_equal(sql_int(rows, 2), 0);
    assert_int_equal(sql_int(rows, 3), 0);
}

/* The sum of integers is numeric on PostgreSQL. */
static void test_aggregates(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    static const int64_t parts[] = { 1234567890123456789, -10001, 0, 99990000 };
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        const struct sql_value values[] = {
            SQL_INT(parts[i]), SQL_REAL(0.5), SQL_TEXT("t"), SQL_NULL
        };
        add_value(conn, (int64_t)i, values);
    }
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &VALUE_SUM, SQL_NO_ARGS, &rows, &err));
    assert_ok(sql_rows_next(rows, &err));
    assert_int_equal(sql_int(rows, 0), INT64_C(1234567890223436788));
    assert_true(sql_real(rows, 0) > 1.2e18 && sql_real(rows, 0) < 1.3e18);
    assert_int_equal(sql_int(rows, 1), 4);
    assert_true(sql_real(rows, 2) == 2.0);
    assert_true(str_equal(sql_text(rows, 3), STR("t")));
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
}

static void test_booleans(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &BOOL_SELECT, SQL_ARGS(SQL_BOOL(7)), &rows, &err));
    assert_ok(sql_rows_next(rows, &err));
    assert_int_equal(sql_int(rows, 0), 1);
    assert_int_equal(sql_int(rows, 1), 0);
    assert_int_equal(sql_int(rows, 2), 1);
}

static void test_rows_in_order_and_counts(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    for (int64_t id = 0; id < 100; id++) {
        assert_ok_err(err, add_id(conn, id, &err));
    }
    struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &VALUE_LIST, SQL_ARGS(SQL_INT(60)), &rows, &err));
    for (int64_t id = 0; id < 60; id++) {
        assert_ok(sql_rows_next(rows, &err));
        assert_int_equal(sql_int(rows, 0), id);
    }
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    sql_rows_close(rows);
    int64_t changed = -1;
    assert_ok(sql_exec(conn, &VALUE_LIST, SQL_ARGS(SQL_INT(60)), &changed, &err));
    assert_int_equal(changed, 0);
    assert_ok(sql_exec(conn, &VALUE_REMOVE_ABOVE, SQL_ARGS(SQL_INT(9)), &changed, &err));
    assert_int_equal(changed, 90);
    assert_ok(sql_exec(conn, &VALUE_REMOVE_ABOVE, SQL_ARGS(SQL_INT(9)), &changed, &err));
    assert_int_equal(changed, 0);
}

static void test_returning(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    assert_ok_err(
        err, sql_query(conn, &VALUE_ADD_RETURNING, SQL_ARGS(SQL_INT(5), SQL_INT(6)), &rows, &err));
    assert_ok(sql_rows_next(rows, &err));
    assert_int_equal(sql_int(rows, 1), 6);
    sql_rows_close(rows);
    assert_ok(sql_query(conn, &VALUE_ADD_RETURNING, SQL_ARGS(SQL_INT(7), SQL_INT(8)), &rows, &err));
    sql_rows_close(rows); /* not read: inserted all the same */
    assert_int_equal(count_values(conn), 2);
}

static void test_constraints(void **state)
{
    struct sql_conn *conn = conn_of(state);

    const struct {
        const struct sql_statement *statement;
        struct sql_value second;
        int64_t first;
        enum err_code code;
    } cases[] = {
        { &PARENT_ADD, SQL_TEXT("secret-one"), 1, ERR_OK },
        { &PARENT_ADD, SQL_TEXT("secret-one"), 2, ERR_EXISTS },
        { &PARENT_ADD, SQL_TEXT("secret-two"), 1, ERR_EXISTS },
        { &PARENT_ADD, SQL_TEXT("bad"), 2, ERR_INVALID },
        { &PARENT_ADD, SQL_NULL, 2, ERR_INVALID },
        { &CHILD_ADD, SQL_INT(99), 1, ERR_PRECONDITION },
        { &CHILD_ADD, SQL_INT(1), 1, ERR_OK },
        { &CHILD_ADD, SQL_TEXT("secret-text"), 2, ERR_INVALID },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct err_info err = ERR_INFO_INIT;
        assert_code(
            cases[i].code,
            sql_exec(
                conn,
                cases[i].statement,
                SQL_ARGS(SQL_INT(cases[i].first), cases[i].second),
                NULL,
                &err));
        assert_null(strstr(err.text, "secret"));
        assert_true(
            cases[i].code == ERR_OK || strstr(err.text, cases[i].statement->name) == err.text);
    }
}

static void test_unsound_text_is_refused(void **state)
{
    struct sql_conn *conn = conn_of(state);
    static const struct str_view texts[] = {
        { "a\0b", 3 }, { "\xff", 1 }, { "\xc3", 1 }, { "\xed\xa0\x80", 3 }
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct err_info err = ERR_INFO_INIT;
        assert_code(
            ERR_INVALID,
            sql_exec(conn, &PARENT_ADD, SQL_ARGS(SQL_INT(1), SQL_VIEW(texts[i])), NULL, &err));
    }
}

static void test_commit_and_rollback(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_id(conn, 1, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_ok_err(err, sql_begin(conn, SQL_ALL_WORKSPACES, &err));
    assert_ok_err(err, add_id(conn, 2, &err));
    sql_rollback(conn);
    sql_rollback(conn);
    assert_int_equal(count_values(conn), 1);
    assert_code(ERR_INTERNAL, sql_commit(conn, &err));
    assert_ok(sql_begin(conn, 0, &err));
    assert_code(ERR_INTERNAL, sql_begin(conn, 0, &err));
    assert_ok(sql_commit(conn, &err));
    assert_code(ERR_INVALID, sql_begin(conn, -2, &err));
}

static void test_failed_transaction(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_id(conn, 1, &err));
    assert_code(ERR_EXISTS, add_id(conn, 1, &err));
    assert_code(ERR_PRECONDITION, add_id(conn, 2, &err));
    assert_code(ERR_PRECONDITION, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 0);
    assert_ok_err(err, add_id(conn, 1, &err));
}

/* Adds the id that it is given, then the id 1 once more. */
static enum err_code add_two(struct sql_conn *conn, void *context, struct err_info *err)
{
    TRY(add_id(conn, *(const int64_t *)context, err));
    return add_id(conn, 1, err);
}

static void test_an_attempt_that_fails_leaves_the_transaction_whole(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 2;
    assert_code(ERR_INTERNAL, sql_attempt(conn, add_two, &id, &err));
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_id(conn, 1, &err));
    assert_code(ERR_EXISTS, sql_attempt(conn, add_two, &id, &err));
    assert_ok_err(err, add_id(conn, 3, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 2);
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, sql_exec(conn, &VALUE_REMOVE_ABOVE, SQL_ARGS(SQL_INT(0)), NULL, &err));
    assert_ok_err(err, sql_attempt(conn, add_two, &id, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 2);
}

static void test_reading_transaction(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    const struct place *place = *state;
    struct sql_conn *other = open_place(place->url, place->no_prepared);
    assert_ok_err(err, sql_begin_read(conn, 1, &err));
    assert_int_equal(count_values(conn), 0);
    assert_ok_err(err, add_id(other, 1, &err));
    assert_int_equal(count_values(conn), 0); /* one moment for the whole transaction */
    assert_code(ERR_DENIED, add_id(conn, 2, &err));
    sql_rollback(conn);
    assert_int_equal(count_values(conn), 1);
    sql_close(other);
}

static void test_a_lookup_is_one_query(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    assert_ok_err(err, add_id(conn, 1, &err));
    for (int i = 0; i < 2; i++) {
        assert_ok_err(err, sql_begin_lookup(conn, 1, &err));
        assert_int_equal(count_values(conn), 1);
        assert_code(ERR_INTERNAL, sql_query(conn, &VALUE_SUM, SQL_NO_ARGS, &rows, &err));
        assert_non_null(strstr(err.text, "one query"));
        sql_rollback(conn);
    }
    assert_ok_err(err, sql_begin_lookup(conn, 1, &err));
    assert_code(ERR_DENIED, add_id(conn, 2, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_ok_err(err, sql_begin_lookup(conn, 1, &err));
    assert_code(
        ERR_DENIED,
        sql_query(conn, &VALUE_ADD_RETURNING, SQL_ARGS(SQL_INT(5), SQL_INT(6)), &rows, &err));
    sql_rollback(conn);
    assert_int_equal(count_values(conn), 1);
    assert_ok_err(err, sql_begin_lookup(conn, SQL_OWN_WALL, &err)); /* no tenant's rows here */
    assert_int_equal(count_values(conn), 1);
    assert_code(ERR_INTERNAL, sql_query(conn, &VALUE_SUM, SQL_NO_ARGS, &rows, &err));
    sql_rollback(conn);
    assert_ok_err(err, sql_begin(conn, 1, &err)); /* and nothing of it is left behind */
    assert_ok_err(err, add_id(conn, 2, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 2);
}

/* The rows of "a" repeated and "b" repeated, whatever becomes of the arguments meanwhile. */
static void check_match(struct sql_conn *conn, size_t length)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *bytes = mem_alloc(2 * (length + 1));
    char *const texts[2] = { bytes, bytes + length + 1 };
    uint8_t blob[3] = { 1, 2, 3 };
    for (int i = 0; i < 2; i++) {
        memset(texts[i], "ab"[i], length);
    }
    for (int i = 0; i < 4; i++) {
        assert_ok_err(
            err,
            sql_exec(
                conn,
                &VALUE_ADD,
                SQL_ARGS(
                    SQL_INT((int64_t)length * 10 + i),
                    SQL_INT(i),
                    SQL_NULL,
                    SQL_TEXT(texts[i % 2]),
                    SQL_BLOB(blob, sizeof(blob))),
                NULL,
                &err));
    }
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(
        err,
        sql_query(
            conn,
            &VALUE_MATCH,
            SQL_ARGS(SQL_TEXT(texts[0]), SQL_TEXT(texts[1]), SQL_BLOB(blob, sizeof(blob))),
            &rows,
            &err));
    memset(texts[0], 'x', length);
    memset(texts[1], 'x', length);
    memset(blob, 0, sizeof(blob));
    for (int i = 0; i < 4; i++) {
        assert_ok(sql_rows_next(rows, &err));
        assert_int_equal(sql_int(rows, 0), (int64_t)length * 10 + i);
    }
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
}

/* Arguments are borrowed for the call, of which a query's rows outlive the end: small ones, such as
 * fit where small ones are kept, and large ones, each after the other. */
static void test_rows_do_not_need_their_arguments(void **state)
{
    struct sql_conn *conn = conn_of(state);
    static const size_t lengths[] = { 1, 62, 63, 125, 126, 1000, 5 };
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        check_match(conn, lengths[i]);
    }
}

static void test_one_set_of_rows(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    assert_ok(sql_query(conn, &VALUE_LIST, SQL_ARGS(SQL_INT(1)), &rows, &err));
    assert_code(ERR_INTERNAL, add_id(conn, 1, &err));
    assert_non_null(strstr(err.text, "value_list"));
    sql_rows_close(rows);
    sql_rows_close(rows);
    sql_rows_close(NULL);
    assert_ok(add_id(conn, 1, &err));
}

static void test_statements_of_one_engine(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    bool is_sqlite = sql_engine_of(conn) == SQL_SQLITE;
    const struct sql_statement *here = is_sqlite ? &SQLITE_ONLY : &POSTGRES_ONLY;
    const struct sql_statement *there = is_sqlite ? &POSTGRES_ONLY : &SQLITE_ONLY;
    const struct sql_statement *all[] = { &VALUE_ADD, here, there, &VALUE_ADD };
    assert_ok_err(err, sql_prepare_all(conn, all, ARRAY_LENGTH(all), &err));
    assert_ok_err(err, sql_exec(conn, here, SQL_NO_ARGS, NULL, &err));
    assert_code(ERR_UNSUPPORTED, sql_exec(conn, there, SQL_NO_ARGS, NULL, &err));
    assert_code(ERR_INTERNAL, sql_exec(conn, &VALUE_ADD, SQL_ARGS(SQL_INT(1)), NULL, &err));
    assert_true(sql_is_usable(conn));
}

struct attempts {
    unsigned made;
    unsigned busy; /* how many say busy */
    enum err_code last;
};

static enum err_code attempt(struct sql_conn *conn, void *context, struct err_info *err)
{
    struct attempts *attempts = context;
    TRY(add_id(conn, 1, err));
    attempts->made++;
    return attempts->made <= attempts->busy ? ERR_SET(err, ERR_BUSY, "made up") : attempts->last;
}

static void test_transact_retries(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct attempts attempts = { .busy = 3, .last = ERR_OK };
    assert_ok_err(err, sql_transact(conn, 1, attempt, &attempts, &err));
    assert_int_equal(attempts.made, 4);
    assert_int_equal(count_values(conn), 1);
    assert_ok(sql_exec(conn, &VALUE_REMOVE_ABOVE, SQL_ARGS(SQL_INT(0)), NULL, &err));
    attempts = (struct attempts){ .busy = 100 };
    assert_code(ERR_BUSY, sql_transact(conn, 1, attempt, &attempts, &err));
    assert_int_equal(attempts.made, 5);
    attempts = (struct attempts){ .last = ERR_CONFLICT };
    assert_code(ERR_CONFLICT, sql_transact(conn, 1, attempt, &attempts, &err));
    assert_int_equal(attempts.made, 1);
    assert_int_equal(count_values(conn), 0);
}

static void test_script_errors(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_code(ERR_INTERNAL, sql_exec_script(conn, "SELECT 1; SELECT x FROM nowhere", &err));
    assert_non_null(strstr(err.text, "nowhere"));
    assert_code(ERR_INVALID, sql_exec_script(conn, "BEGIN", &err));
    assert_ok(sql_begin(conn, 1, &err));
    assert_ok(add_id(conn, 1, &err));
    assert_code(ERR_INVALID, sql_exec_script(conn, "COMMIT", &err));
    assert_ok_err(err, sql_exec_script(conn, "", &err));
    assert_ok_err(err, sql_exec_script(conn, "DELETE FROM value; DELETE FROM child;", &err));
}

static enum err_code add_later(struct sql_conn *conn, int64_t id, struct err_info *err)
{
    uint8_t bytes[3] = { 1, 0, 2 };
    enum err_code code = sql_exec_later(
        conn,
        &VALUE_ADD,
        SQL_ARGS(
            SQL_INT(id), SQL_INT(7), SQL_NULL, SQL_TEXT("later"), SQL_BLOB(bytes, sizeof(bytes))),
        err);
    memset(bytes, 9, sizeof(bytes)); /* copied by then */
    return code;
}

static void test_what_is_put_off_stands_before_what_comes_next(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_later(conn, 1, &err));
    assert_ok_err(err, add_later(conn, 2, &err));
    assert_int_equal(count_values(conn), 2);
    struct sql_rows *rows = get_value(conn, 2);
    assert_int_equal(sql_int(rows, 0), 7);
    assert_true(sql_is_null(rows, 1));
    assert_true(str_equal(sql_text(rows, 2), STR("later")));
    assert_true(str_equal(sql_blob(rows, 3), str_from("\1\0\2", 3)));
    sql_rows_close(rows);
    assert_ok_err(err, add_later(conn, 3, &err));
    assert_ok_err(err, sql_exec(conn, &VALUE_REMOVE_ABOVE, SQL_ARGS(SQL_INT(2)), NULL, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 2);
    assert_ok_err(err, add_later(conn, 4, &err)); /* outside: at once */
    assert_int_equal(count_values(conn), 3);
}

static void test_a_commit_takes_what_was_put_off(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_later(conn, 1, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 1);
    assert_ok_err(err, sql_begin(conn, 1, &err));
    for (int64_t id = 2; id <= 40; id++) { /* more than wait at once */
        assert_ok_err(err, add_later(conn, id, &err));
    }
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 40);
}

static void test_a_rollback_drops_what_was_put_off(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_later(conn, 1, &err));
    sql_rollback(conn);
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_id(conn, 1, &err));
    assert_ok_err(err, add_later(conn, 2, &err));
    sql_rollback(conn);
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_id(conn, 3, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 1);
}

static enum err_code add_parent_later(struct sql_conn *conn, struct err_info *err)
{
    return sql_exec_later(conn, &PARENT_ADD, SQL_ARGS(SQL_INT(1), SQL_TEXT("one")), err);
}

/* The same parent twice; the first failure, and whose it is. */
static enum err_code fail_late(struct sql_conn *conn, bool at_commit, struct err_info *err)
{
    TRY(sql_begin(conn, 1, err));
    TRY(add_parent_later(conn, err));
    TRY(add_parent_later(conn, err));
    return at_commit ? sql_commit(conn, err) : add_id(conn, 1, err);
}

static void test_what_was_put_off_and_fails_is_named(void **state)
{
    struct sql_conn *conn = conn_of(state);
    for (unsigned i = 0; i < 2; i++) {
        struct err_info err = ERR_INFO_INIT;
        assert_code(ERR_EXISTS, fail_late(conn, i == 1, &err));
        assert_non_null(strstr(err.text, "parent_add"));
        if (i == 0) {
            assert_code(ERR_PRECONDITION, add_id(conn, 2, &err));
        }
        sql_rollback(conn);
        assert_int_equal(count_values(conn), 0);
        assert_ok_err(err, sql_begin(conn, 1, &err));
        assert_ok_err(err, add_parent_later(conn, &err));
        sql_rollback(conn);
    }
}

static enum err_code add_parent_twice(struct sql_conn *conn, void *context, struct err_info *err)
{
    (void)context;
    TRY(add_parent_later(conn, err));
    return add_parent_later(conn, err);
}

static void test_an_attempt_puts_nothing_off(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, add_later(conn, 1, &err));
    assert_code(ERR_EXISTS, sql_attempt(conn, add_parent_twice, NULL, &err));
    assert_ok_err(err, add_later(conn, 2, &err));
    assert_ok_err(err, sql_commit(conn, &err));
    assert_int_equal(count_values(conn), 2);
}

/* Deferred to the commit, so that it is the commit that fails. */
static void test_commit_fails(void **state)
{
    struct sql_conn *conn = conn_of(state);
    struct err_info err = ERR_INFO_INIT;
    assert_ok(sql_begin(conn, 1, &err));
    assert_ok_err(
        err,
        sql_exec_script(
            conn,
            sql_engine_of(conn) == SQL_SQLITE ? "PRAGMA defer_foreign_keys = ON"
                                              : "SET CONSTRAINTS ALL DEFERRED",
            &err));
    assert_ok_err(err, sql_exec(conn, &CHILD_ADD, SQL_ARGS(SQL_INT(1), SQL_INT(9)), NULL, &err));
    assert_code(ERR_PRECONDITION, sql_commit(conn, &err));
    assert_ok_err(err, sql_begin(conn, 1, &err));
    assert_ok_err(err, sql_commit(conn, &err));
}

#define BOTH_TESTS(setup)                                                                         \
    cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),                               \
        cmocka_unit_test_setup_teardown(test_text_and_bytes, setup, teardown),                    \
        cmocka_unit_test_setup_teardown(test_large_bytes, setup, teardown),                       \
        cmocka_unit_test_setup_teardown(test_nulls, setup, teardown),                             \
        cmocka_unit_test_setup_teardown(test_values_are_not_converted, setup, teardown),          \
        cmocka_unit_test_setup_teardown(test_aggregates, setup, teardown),                        \
        cmocka_unit_test_setup_teardown(test_booleans, setup, teardown),                          \
        cmocka_unit_test_setup_teardown(test_rows_in_order_and_counts, setup, teardown),          \
        cmocka_unit_test_setup_teardown(test_returning, setup, teardown),                         \
        cmocka_unit_test_setup_teardown(test_constraints, setup, teardown),                       \
        cmocka_unit_test_setup_teardown(test_unsound_text_is_refused, setup, teardown),           \
        cmocka_unit_test_setup_teardown(test_commit_and_rollback, setup, teardown),               \
        cmocka_unit_test_setup_teardown(test_failed_transaction, setup, teardown),                \
        cmocka_unit_test_setup_teardown(                                                          \
            test_an_attempt_that_fails_leaves_the_transaction_whole, setup, teardown),            \
        cmocka_unit_test_setup_teardown(test_reading_transaction, setup, teardown),               \
        cmocka_unit_test_setup_teardown(test_a_lookup_is_one_query, setup, teardown),             \
        cmocka_unit_test_setup_teardown(test_rows_do_not_need_their_arguments, setup, teardown),  \
        cmocka_unit_test_setup_teardown(test_one_set_of_rows, setup, teardown),                   \
        cmocka_unit_test_setup_teardown(test_statements_of_one_engine, setup, teardown),          \
        cmocka_unit_test_setup_teardown(test_transact_retries, setup, teardown),                  \
        cmocka_unit_test_setup_teardown(test_script_errors, setup, teardown),                     \
        cmocka_unit_test_setup_teardown(                                                          \
            test_what_is_put_off_stands_before_what_comes_next, setup, teardown),                 \
        cmocka_unit_test_setup_teardown(test_a_commit_takes_what_was_put_off, setup, teardown),   \
        cmocka_unit_test_setup_teardown(test_a_rollback_drops_what_was_put_off, setup, teardown), \
        cmocka_unit_test_setup_teardown(                                                          \
            test_what_was_put_off_and_fails_is_named, setup, teardown),                           \
        cmocka_unit_test_setup_teardown(test_an_attempt_puts_nothing_off, setup, teardown),       \
        cmocka_unit_test_setup_teardown(test_commit_fails, setup, teardown)

int main(void)
{
    const struct CMUnitTest sqlite[] = { BOTH_TESTS(setup_sqlite) };
    const struct CMUnitTest postgres[] = { BOTH_TESTS(setup_postgres) };
    const struct CMUnitTest unprepared[] = { BOTH_TESTS(setup_unprepared) };
    int failed = cmocka_run_group_tests(sqlite, NULL, NULL);
    failed += cmocka_run_group_tests(postgres, create_database, drop_database);
    failed += cmocka_run_group_tests(unprepared, create_database, drop_database);
    return failed;
}
