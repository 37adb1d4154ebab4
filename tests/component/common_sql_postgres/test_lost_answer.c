/*
 * The worst moment: the server has committed and its answer never comes. A relay between client and
 * server passes everything on until it sees the COMMIT, then keeps the server's answer, and cuts
 * the line or stays silent on it.
 */
#include "common/base/cleanup.h"
#include "common/sql/postgres.h"
#include "common/sql/sql.h"
#include "common/sys/fd.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct sql_driver *const drivers[] = { &sql_driver_postgres, NULL };
static const char HOST_MARK[] = "@127.0.0.1:";

struct relay {
    struct thread thread;
    int listener;
    uint16_t server_port;
    bool stays_silent; /* else it cuts the line */
    bool has_cut;      /* read after the thread ended */
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

/* Bytes moved; 0 at the end of the line. */
static ssize_t pass_on(int from, int to, char *data, size_t bytes)
{
    ssize_t got = read(from, data, bytes);
    if (got > 0 && fd_write_all(to, data, (size_t)got, NULL) != ERR_OK) {
        return 0;
    }
    return got;
}

static void keep_answer(struct relay *relay, int client, int server)
{
    char data[8192];
    relay->has_cut = read(server, data, sizeof(data)) > 0;
    while (relay->stays_silent && read(client, data, sizeof(data)) > 0) {
    }
}

static void relay_bytes(struct relay *relay, int client, int server)
{
    char data[8192];
    bool commits = false;
    for (;;) {
        struct pollfd ends[] = { { .fd = client, .events = POLLIN },
                                 { .fd = server, .events = POLLIN } };
        if (poll(ends, 2, 10000) <= 0) {
            return;
        }
        if (ends[1].revents != 0) {
            if (commits) {
                keep_answer(relay, client, server);
                return;
            }
            if (pass_on(server, client, data, sizeof(data)) <= 0) {
                return;
            }
        }
        if (ends[0].revents != 0) {
            ssize_t got = pass_on(client, server, data, sizeof(data));
            if (got <= 0) {
                return;
            }
            commits = memmem(data, (size_t)got, "COMMIT", 6) != NULL;
        }
    }
}

static void run_relay(void *context)
{
    struct relay *relay = context;
    AUTO_FD int client = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
    AUTO_FD int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(relay->server_port);
    if (client >= 0 && server >= 0
        && connect(server, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        relay_bytes(relay, client, server);
    }
}

/* Starts the relay; its port. */
static uint16_t start_relay(struct relay *relay)
{
    struct err_info err = ERR_INFO_INIT;
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(relay->listener >= 0);
    assert_int_equal(bind(relay->listener, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(relay->listener, 1), 0);
    assert_int_equal(getsockname(relay->listener, (struct sockaddr *)&address, &length), 0);
    assert_ok(thread_start(&relay->thread, "relay", run_relay, relay, &err));
    return ntohs(address.sin_port);
}

static struct sql_conn *open_url(const char *url)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct sql_options options = { .url = url,
                                         .drivers = drivers,
                                         .statement_timeout_us = US_PER_SECOND };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    return conn;
}

static int64_t count_rows(struct sql_conn *conn)
{
    static const struct sql_statement count = { "answer_count",
                                                "SELECT count(*) FROM answer",
                                                NULL };
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &count, SQL_NO_ARGS, &rows, &err));
    assert_ok(sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

static enum err_code add_row(struct sql_conn *conn, void *context, struct err_info *err)
{
    static const struct sql_statement add = { "answer_add", "INSERT INTO answer VALUES (1)", NULL };
    int *runs = context;
    (*runs)++;
    return sql_exec(conn, &add, SQL_NO_ARGS, NULL, err);
}

/* The URL with the relay's port in place of the server's; NULL: this run has no server on a
 * loopback port. */
static char *relay_url_of(const char *url, struct relay *relay)
{
    const char *mark = url == NULL ? NULL : strstr(url, HOST_MARK);
    if (mark == NULL) {
        return NULL;
    }
    const char *port = mark + sizeof(HOST_MARK) - 1;
    const char *path = strchr(port, '/');
    uint64_t number = 0;
    assert_non_null(path);
    assert_ok(str_parse_uint64(str_from(port, (size_t)(path - port)), UINT16_MAX, &number));
    relay->server_port = (uint16_t)number;
    return mem_printf("%.*s%u%s", (int)(port - url), url, (unsigned)start_relay(relay), path);
}

static void check_uncertain(const char *url, struct relay *relay)
{
    AUTO_FREE char *relay_url = relay_url_of(url, relay);
    if (relay_url == NULL) {
        skip();
    }
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *direct = open_url(url);
    assert_ok_err(
        err,
        sql_exec_script(
            direct, "DROP TABLE IF EXISTS answer; CREATE TABLE answer (id bigint)", &err));

    struct sql_conn *conn = open_url(relay_url);
    int runs = 0;
    assert_code(ERR_UNCERTAIN, sql_transact(conn, 1, add_row, &runs, &err));
    assert_int_equal(runs, 1); /* never retried blind */
    assert_false(err.retryable);
    assert_false(sql_is_usable(conn));
    assert_int_equal(count_rows(direct), 1);

    fd_close(&relay->listener); /* nobody listens there any more */
    assert_code(ERR_UNAVAILABLE, sql_reconnect(conn, &err));
    thread_join(&relay->thread);
    assert_true(relay->has_cut);
    assert_false(sql_is_usable(conn));
    assert_code(ERR_UNAVAILABLE, sql_begin(conn, 1, &err));
    assert_code(ERR_UNAVAILABLE, sql_exec_script(conn, "SELECT 1", &err));
    sql_close(conn);
    sql_close(direct);
}

static void test_committed_without_answer(void **state)
{
    struct relay relay = { .stays_silent = false };
    check_uncertain(*state, &relay);
}

/* A database that keeps its socket and says nothing held the caller for ever. */
static void test_committed_and_silent(void **state)
{
    struct relay relay = { .stays_silent = true };
    check_uncertain(*state, &relay);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed_without_answer),
        cmocka_unit_test(test_committed_and_silent),
    };
    return cmocka_run_group_tests(tests, create_database, drop_database);
}
