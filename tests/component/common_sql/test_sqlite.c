/* What is SQLite's own: the file, its settings, damage, a full disk, two writers. What both engines
 * share is in common_sql_postgres/test_engines.c. */
#include "common/base/cleanup.h"
#include "common/sql/sql.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATEMENT(text) \
    (&(const struct sql_statement){ .name = (text), .postgres = NULL, .sqlite = (text) })

struct place {
    char *dir;
    char *path;
    char *url;
    struct sql_conn *conn;
};

static struct sql_conn *open_with(const struct sql_options *options)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    assert_ok_err(err, sql_connect(options, &conn, &err));
    return conn;
}

static int setup(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    place->dir = test_dir_create();
    place->path = mem_printf("%s/file.db", place->dir);
    place->url = mem_printf("sqlite:%s", place->path);
    place->conn = open_with(&(struct sql_options){ .url = place->url, .busy_timeout_us = 20000 });
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    sql_close(place->conn);
    test_dir_remove(place->dir);
    mem_free(place->path);
    mem_free(place->url);
    mem_free(place);
    return 0;
}

static void run(struct sql_conn *conn, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_exec_script(conn, text, &err));
}

static int64_t read_int(struct sql_conn *conn, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, STATEMENT(text), SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

static void test_file_is_private(void **state)
{
    struct place *place = *state;
    run(place->conn, "CREATE TABLE a(x INTEGER) STRICT; INSERT INTO a VALUES (1)");
    static const char *const suffixes[] = { "", "-wal", "-shm" };
    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        AUTO_FREE char *path = mem_printf("%s%s", place->path, suffixes[i]);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
    }
}

static void test_settings(void **state)
{
    struct place *place = *state;
    struct sql_conn *conn = place->conn;
    struct err_info err = ERR_INFO_INIT;
    assert_int_equal(read_int(conn, "PRAGMA foreign_keys"), 1);
    assert_int_equal(read_int(conn, "PRAGMA synchronous"), 1);
    assert_int_equal(read_int(conn, "PRAGMA trusted_schema"), 0);
    assert_int_equal(read_int(conn, "PRAGMA busy_timeout"), 20);
    assert_code(
        ERR_INTERNAL,
        sql_exec(conn, STATEMENT("SELECT \"no_such_column\""), SQL_NO_ARGS, NULL, &err));
    assert_int_not_equal(
        ERR_OK, sql_exec_script(conn, "UPDATE sqlite_schema SET name = 'x'", &err));
    struct sql_conn *durable =
        open_with(&(struct sql_options){ .url = place->url, .full_sync = true });
    assert_int_equal(read_int(durable, "PRAGMA synchronous"), 2);
    assert_int_equal(read_int(durable, "PRAGMA busy_timeout"), 5000);
    sql_close(durable);
}

static void test_open_errors(void **state)
{
    struct place *place = *state;

    static const struct {
        const char *format;
        bool read_only;
        enum err_code code;
    } cases[] = {
        { "sqlite:relative.db", false, ERR_INVALID },
        { "sqlite:%s/no/such/folder.db", false, ERR_NOT_FOUND },
        { "sqlite:%s/none.db", true, ERR_NOT_FOUND },
        { "sqlite:%s", false, ERR_DENIED },
        { "sqlite:%s/link.db", false, ERR_DENIED },
        { "postgresql://u:hunter2@h%s", false, ERR_UNSUPPORTED },
        { "postgres://u:hunter2@h%s", false, ERR_UNSUPPORTED },
        { "mysql://u:hunter2@h%s", false, ERR_UNSUPPORTED },
        { "", false, ERR_INVALID },
    };

    AUTO_FREE char *link_path = mem_printf("%s/link.db", place->dir);
    assert_int_equal(symlink(place->path, link_path), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct err_info err = ERR_INFO_INIT;
        struct sql_conn *conn = NULL;
        const char *mark = strstr(cases[i].format, "%s");
        int head = mark == NULL ? (int)strlen(cases[i].format) : (int)(mark - cases[i].format);
        AUTO_FREE char *url = mem_printf(
            "%.*s%s%s",
            head,
            cases[i].format,
            mark == NULL ? "" : place->dir,
            mark == NULL ? "" : mark + 2);
        struct sql_options options = { .url = url, .read_only = cases[i].read_only };
        assert_code(cases[i].code, sql_connect(&options, &conn, &err));
        assert_null(conn);
        assert_null(strstr(err.text, "hunter2"));
    }
}

static void test_read_only(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(place->conn, "CREATE TABLE a(x INTEGER) STRICT; INSERT INTO a VALUES (7)");
    struct sql_conn *reader =
        open_with(&(struct sql_options){ .url = place->url, .read_only = true });
    assert_int_equal(read_int(reader, "SELECT x FROM a"), 7);
    assert_code(ERR_DENIED, sql_exec(reader, STATEMENT("DELETE FROM a"), SQL_NO_ARGS, NULL, &err));
    sql_close(reader);
}

static void test_parameters_go_by_number(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(
        err,
        sql_query(
            place->conn,
            STATEMENT("SELECT $2, $1, $2"),
            SQL_ARGS(SQL_INT(10), SQL_INT(20)),
            &rows,
            &err));
    assert_ok(sql_rows_next(rows, &err));
    assert_int_equal(sql_int(rows, 0), 20);
    assert_int_equal(sql_int(rows, 1), 10);
    assert_int_equal(sql_int(rows, 2), 20);
}

static void test_bad_statements(void **state)
{
    struct place *place = *state;
    static const char *const texts[] = {
        "SELECT $1::text", "SELECT ?",  "SELECT :name", "SELECT $1; SELECT 2", "",
        "SELEKT 1",        "SELECT $0", "SELECT $129",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct err_info err = ERR_INFO_INIT;
        const struct sql_statement bad = { .name = "bad_text", .sqlite = texts[i] };
        const struct sql_statement *list[] = { &bad };
        assert_code(ERR_INTERNAL, sql_prepare_all(place->conn, list, 1, &err));
        assert_non_null(strstr(err.text, "bad_text"));
    }
    struct err_info err = ERR_INFO_INIT;
    const struct sql_statement one = { .name = "same_name", .sqlite = "SELECT 1" };
    const struct sql_statement two = { .name = "same_name", .sqlite = "SELECT 2" };
    const struct sql_statement *list[] = { &one, &two };
    assert_code(ERR_INTERNAL, sql_prepare_all(place->conn, list, 2, &err));
    assert_code(
        ERR_INTERNAL,
        sql_exec(place->conn, STATEMENT("SELECT $2"), SQL_ARGS(SQL_INT(1)), NULL, &err));
}

static void test_arrays_and_notifications_are_refused(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    int64_t numbers[] = { 1 };
    char text[8];
    assert_code(
        ERR_UNSUPPORTED,
        sql_exec(place->conn, STATEMENT("SELECT $1"), SQL_ARGS(SQL_INTS(numbers, 1)), NULL, &err));
    assert_code(ERR_UNSUPPORTED, sql_listen(place->conn, "a", &err));
    assert_code(ERR_UNSUPPORTED, sql_notify(place->conn, "a", STR("b"), &err));
    assert_code(
        ERR_UNSUPPORTED,
        sql_wait_notification(place->conn, 0, text, sizeof(text), text, sizeof(text), &err));
}

static void test_full_disk(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(place->conn, "CREATE TABLE a(x BLOB) STRICT; PRAGMA max_page_count = 20");
    const struct sql_statement *add = STATEMENT("INSERT INTO a VALUES ($1)");
    AUTO_FREE char *large = mem_alloc(200000);
    assert_ok(sql_begin(place->conn, 1, &err));
    assert_code(
        ERR_LIMIT, sql_exec(place->conn, add, SQL_ARGS(SQL_BLOB(large, 200000)), NULL, &err));
    sql_rollback(place->conn);
    assert_ok_err(err, sql_exec(place->conn, add, SQL_ARGS(SQL_BLOB(large, 10)), NULL, &err));
    assert_int_equal(read_int(place->conn, "SELECT count(*) FROM a"), 1);
}

static void overwrite(const char *path, off_t offset, size_t bytes)
{
    AUTO_FREE char *junk = mem_alloc(bytes);
    memset(junk, 'x', bytes);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk, bytes, offset), bytes);
    assert_int_equal(close(fd), 0);
}

static void test_damaged_file(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(place->conn, "CREATE TABLE a(x INTEGER) STRICT; INSERT INTO a VALUES (1)");
    sql_close(place->conn); /* the last one: the log is moved into the file */
    place->conn = NULL;
    overwrite(place->path, 4096, 4096); /* the table's page */
    place->conn = open_with(&(struct sql_options){ .url = place->url });
    assert_code(
        ERR_CORRUPT, sql_exec(place->conn, STATEMENT("SELECT x FROM a"), SQL_NO_ARGS, NULL, &err));
    sql_close(place->conn);
    place->conn = NULL;
    overwrite(place->path, 0, 100); /* the header */
    assert_code(
        ERR_CORRUPT, sql_connect(&(struct sql_options){ .url = place->url }, &place->conn, &err));
    assert_null(place->conn);
}

static void test_second_writer_is_busy(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(place->conn, "CREATE TABLE a(x INTEGER) STRICT");
    struct sql_conn *other =
        open_with(&(struct sql_options){ .url = place->url, .busy_timeout_us = 1000 });
    assert_ok(sql_begin(other, 1, &err));
    assert_code(ERR_BUSY, sql_begin(place->conn, 1, &err));
    assert_true(err.retryable);
    assert_ok(sql_begin_read(place->conn, 1, &err)); /* readers do not wait */
    assert_int_equal(read_int(place->conn, "SELECT count(*) FROM a"), 0);
    assert_ok(sql_commit(place->conn, &err));
    sql_rollback(other);
    assert_ok(sql_begin(place->conn, 1, &err));
    sql_rollback(place->conn);
    sql_close(other);
}

enum {
    WRITERS = 4,
    ROUNDS = 50
};

static enum err_code add_one(struct sql_conn *conn, void *context, struct err_info *err)
{
    (void)context;
    return sql_exec(conn, STATEMENT("UPDATE a SET x = x + 1"), SQL_NO_ARGS, NULL, err);
}

struct writer {
    struct thread thread;
    const char *url;
    unsigned failures;
};

static void write_rounds(void *context)
{
    struct writer *writer = context;
    struct sql_conn *conn = NULL;
    struct err_info err = ERR_INFO_INIT;
    if (sql_connect(&(struct sql_options){ .url = writer->url }, &conn, &err) != ERR_OK) {
        writer->failures++;
        return;
    }
    for (int i = 0; i < ROUNDS; i++) {
        writer->failures += sql_transact(conn, 1, add_one, NULL, &err) == ERR_OK ? 0 : 1;
    }
    sql_close(conn);
}

/* The file does not exist before: the threads also make it and turn it to WAL at once. */
static void test_writers_on_threads(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *url = mem_printf("sqlite:%s/threads.db", place->dir);
    struct writer openers[WRITERS] = { 0 };
    for (size_t i = 0; i < WRITERS; i++) {
        openers[i].url = url;
        assert_ok(thread_start(&openers[i].thread, "opener", write_rounds, &openers[i], &err));
    }
    for (size_t i = 0; i < WRITERS; i++) {
        thread_join(&openers[i].thread);
        assert_int_equal(openers[i].failures, ROUNDS); /* no table yet, but opened */
    }
    struct sql_conn *conn = open_with(&(struct sql_options){ .url = url });
    run(conn, "CREATE TABLE a(x INTEGER) STRICT; INSERT INTO a VALUES (0)");
    struct writer writers[WRITERS] = { 0 };
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i].url = url;
        assert_ok(thread_start(&writers[i].thread, "writer", write_rounds, &writers[i], &err));
    }
    for (size_t i = 0; i < WRITERS; i++) {
        thread_join(&writers[i].thread);
        assert_int_equal(writers[i].failures, 0);
    }
    assert_int_equal(read_int(conn, "SELECT x FROM a"), WRITERS * ROUNDS);
    sql_close(conn);
}

static void test_reconnect(void **state)
{
    struct place *place = *state;
    struct err_info err = ERR_INFO_INIT;
    run(place->conn, "CREATE TABLE a(x INTEGER) STRICT");
    assert_ok(sql_begin(place->conn, 1, &err));
    assert_ok(
        sql_exec(place->conn, STATEMENT("INSERT INTO a VALUES (1)"), SQL_NO_ARGS, NULL, &err));
    assert_ok(sql_reconnect(place->conn, &err));
    assert_true(sql_is_usable(place->conn));
    assert_int_equal(read_int(place->conn, "SELECT count(*) FROM a"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file_is_private, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parameters_go_by_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_statements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arrays_and_notifications_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_writer_is_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writers_on_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reconnect, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
