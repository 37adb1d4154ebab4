/* SQLite when there is no memory: what was begun can be ended all the same. */
#include "common/base/cleanup.h"
#include "common/sql/sql.h"
#include "tests/support/memory.h"
#include "tests/support/test.h"

static struct sql_conn *open_file(const char *dir)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    AUTO_FREE char *url = mem_printf("sqlite:%s/file.db", dir);
    const struct sql_options options = { .url = url, .busy_timeout_us = 20000 };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    return conn;
}

static void write_row(struct sql_conn *conn)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(conn, SQL_ALL_WORKSPACES, &err));
    assert_ok_err(err, sql_exec_script(conn, "INSERT INTO thing VALUES (1)", &err));
}

/* Else the transaction would stay open: nobody else could write, and this connection not even
 * begin, for good. */
static void test_a_rollback_needs_no_memory(void **state)
{
    struct err_info err = ERR_INFO_INIT;
    char *dir = test_dir_create();
    struct sql_conn *conn = open_file(dir);
    struct sql_conn *other = open_file(dir);
    (void)state;
    assert_ok_err(err, sql_exec_script(conn, "CREATE TABLE thing (id INTEGER) STRICT", &err));
    write_row(conn);
    (void)mem_fault_swap((struct mem_fault){ .after = 0 });
    sql_rollback(conn);
    (void)mem_fault_swap(MEM_FAULT_NONE);
    write_row(other);
    assert_ok_err(err, sql_commit(other, &err));
    write_row(conn);
    assert_ok_err(err, sql_commit(conn, &err));
    sql_close(other);
    sql_close(conn);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rollback_needs_no_memory),
    };
    memory_take_sqlite();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
