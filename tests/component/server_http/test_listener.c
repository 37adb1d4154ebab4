#include "cmd/server/http/listener.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 10000,
    REPLY_BYTES = 8192
};

struct fixture {
    struct metrics *metrics;
    struct http_listener *listener;
    _Atomic int unready;
};

static bool is_ready(void *context, char *reason, size_t reason_bytes)
{
    struct fixture *fixture = context;
    if (atomic_load(&fixture->unready) == 0) {
        return true;
    }
    (void)snprintf(reason, reason_bytes, "database away");
    return false;
}

static void start_with(struct fixture *fixture, struct http_listener_options options)
{
    struct err_info err = ERR_INFO_INIT;
    fixture->metrics = metrics_create();
    options.metrics = fixture->metrics;
    options.is_ready = is_ready;
    options.context = fixture;
    assert_ok_err(err, http_listener_start(&options, &fixture->listener, &err));
    assert_int_not_equal(http_listener_port(fixture->listener), 0);
}

static void start(struct fixture *fixture)
{
    start_with(fixture, (struct http_listener_options){ .address = "127.0.0.1:0" });
}

static void stop(struct fixture *fixture)
{
    http_listener_stop(fixture->listener);
    metrics_destroy(fixture->metrics);
}

static int dial(const struct fixture *fixture)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(http_listener_port(fixture->listener)),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Everything until the peer closes; -1 in place of a length when it was reset. */
static ssize_t read_all(int fd, char *reply)
{
    size_t got = 0;
    for (;;) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
        ssize_t part = read(fd, reply + got, REPLY_BYTES - 1 - got);
        if (part < 0) {
            return -1;
        }
        got += (size_t)part;
        reply[got] = '\0';
        if (part == 0) {
            return (ssize_t)got;
        }
    }
}

static void ask(const struct fixture *fixture, struct str_view request, char *reply)
{
    AUTO_FD int fd = dial(fixture);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, fd_write_all(fd, request.ptr, request.len, &err));
    reply[0] = '\0';
    (void)read_all(fd, reply);
}

static void get(const struct fixture *fixture, const char *method, const char *path, char *reply)
{
    AUTO_FREE char *request =
        mem_printf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    ask(fixture, str_of(request), reply);
}

static void expect(const char *reply, const char *text)
{
    if (strstr(reply, text) == NULL) {
        fail_msg("\"%s\" is not in: %s", text, reply);
    }
}

static void expect_status(const char *reply, unsigned status)
{
    char line[32];
    (void)snprintf(line, sizeof(line), "HTTP/1.1 %u ", status);
    if (strncmp(reply, line, strlen(line)) != 0) {
        fail_msg("not %u: %s", status, reply);
    }
}

static void test_three_pages(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start(&fixture);
    metric_add(metric_get(fixture.metrics, METRIC_COUNTER, "a_total", "A", NULL), 5);
    get(&fixture, "GET", "/healthz", reply);
    expect_status(reply, 200);
    expect(reply, "\r\n\r\nok\n");
    expect(reply, "Content-Type: text/plain; charset=utf-8\r\n");
    expect(reply, "X-Content-Type-Options: nosniff\r\n");
    expect(reply, "Cache-Control: no-store\r\n");
    get(&fixture, "GET", "/metrics?name=x", reply);
    expect_status(reply, 200);
    expect(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect(reply, "a_total 5\n");
    expect(reply, "belay_http_requests_total{path=\"/healthz\",status=\"200\"} 1\n");
    get(&fixture, "GET", "/readyz", reply);
    expect_status(reply, 200);
    expect(reply, "ready\n");
    atomic_store(&fixture.unready, 1);
    get(&fixture, "GET", "/readyz", reply);
    expect_status(reply, 503);
    expect(reply, "not ready: database away\n");
    stop(&fixture);
}

static void test_other_methods_and_paths(void **state)
{
    (void)state;
    static const char *const methods[] = {
        "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X"
    };
    static const char *const paths[] = { "/",          "/healthz/", "/healthz%00x",
                                         "/%68ealthz", "//healthz", "/x/../healthz",
                                         "/HEALTHZ",   "healthz",   "*" };
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start(&fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(methods); i++) {
        get(&fixture, methods[i], "/healthz", reply);
        expect_status(reply, 405);
        expect(reply, "Allow: GET, HEAD\r\n");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        get(&fixture, "GET", paths[i], reply);
        expect_status(reply, 404);
    }
    get(&fixture, "HEAD", "/healthz", reply);
    expect_status(reply, 200);
    expect(reply, "Content-Length: 3\r\n");
    assert_true(str_has_suffix(str_of(reply), STR("\r\n\r\n")));
    stop(&fixture);
}

/* A body must neither be taken nor be read as the next request. */
static void test_bodies_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *request;
        unsigned status;
    } cases[] = {
        { "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 27\r\n\r\n"
          "GET /metrics HTTP/1.1\r\n\r\n\r\n",
          413 },
        { "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413 },
        { "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 413 },
        { "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
          400 },
        { "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400 },
        { "GET /healthz HTTP/1.1\r\n\r\n", 400 },
    };
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start(&fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        ask(&fixture, str_of(cases[i].request), reply);
        expect_status(reply, cases[i].status);
        assert_null(strstr(reply + 1, "HTTP/1.1 2"));
    }
    get(&fixture, "GET", "/healthz", reply);
    expect_status(reply, 200);
    stop(&fixture);
}

static void test_connection_is_kept_between_requests(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start(&fixture);
    ask(&fixture,
        STR("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\nConnection: "
            "close\r\n\r\n"),
        reply);
    expect_status(reply, 200);
    expect(reply, "ok\nHTTP/1.1 200 OK");
    expect(reply, "ready\n");
    stop(&fixture);
}

static void test_large_headers_are_refused(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start(&fixture);
    AUTO_BUF struct buf request = BUF_INIT(65536);
    buf_append_str(&request, STR("GET /healthz HTTP/1.1\r\nHost: x\r\nX: "));
    for (int i = 0; i < 20000; i++) {
        buf_append_char(&request, 'a');
    }
    buf_append_str(&request, STR("\r\n\r\n"));
    AUTO_FD int fd = dial(&fixture);
    (void)!send(fd, request.data, request.len, MSG_NOSIGNAL);
    if (read_all(fd, reply) > 0) {
        expect_status(reply, 431);
    }
    get(&fixture, "GET", "/healthz", reply);
    expect_status(reply, 200);
    stop(&fixture);
}

/* A byte now and then keeps libmicrohttpd's own timeout away, but not ours. */
static void test_slow_peer_is_cut(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    start_with(
        &fixture,
        (struct http_listener_options){ .address = "127.0.0.1:0",
                                        .request_max_us = 600 * US_PER_MS });
    AUTO_FD int fd = dial(&fixture);
    int64_t begin = clock_mono(clock_system()).value;
    static const char request[] = "GET /healthz HTTP/1.1\r\nX-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaa";
    size_t sent = 0;
    for (bool open = true; open;) {
        if (sent < sizeof(request) - 1) {
            (void)!send(fd, request + sent++, 1, MSG_NOSIGNAL);
        }
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        if (poll(&wait, 1, 100) == 1) {
            char byte = 0;
            open = read(fd, &byte, 1) > 0;
        }
        assert_true(clock_mono(clock_system()).value - begin < 5 * US_PER_SECOND);
    }
    assert_true(clock_mono(clock_system()).value - begin >= 500 * US_PER_MS);
    char reply[REPLY_BYTES];
    get(&fixture, "GET", "/healthz", reply);
    expect_status(reply, 200);
    stop(&fixture);
}

static void test_connections_per_address_are_bounded(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start_with(
        &fixture,
        (struct http_listener_options){ .address = "127.0.0.1:0", .connection_per_ip_max = 2 });
    int first = dial(&fixture);
    int second = dial(&fixture);
    /* Both are accepted once one answers. */
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_ok(fd_write_all(second, request, sizeof(request) - 1, NULL));
    struct pollfd wait = { .fd = second, .events = POLLIN };
    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    AUTO_FD int third = dial(&fixture);
    reply[0] = '\0';
    (void)send(third, request, sizeof(request) - 1, MSG_NOSIGNAL);
    (void)read_all(third, reply);
    assert_string_equal(reply, "");
    fd_close(&first);
    fd_close(&second);
    stop(&fixture);
}

/* A connection beyond the limit waits for its turn and then gets it. */
static void test_connections_beyond_the_limit_wait(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    char reply[REPLY_BYTES];
    start_with(
        &fixture,
        (struct http_listener_options){
            .address = "127.0.0.1:0", .connection_max = 2, .request_max_us = 400 * US_PER_MS });
    AUTO_FD int first = dial(&fixture); /* silent: cut after their time */
    AUTO_FD int second = dial(&fixture);
    for (int i = 0; i < 5; i++) {
        get(&fixture, "GET", "/healthz", reply);
        expect_status(reply, 200);
    }
    assert_true(read_all(first, reply) <= 0);
    assert_true(read_all(second, reply) <= 0);
    stop(&fixture);
}

/* A peer that asks and never reads must not hold its connection either. */
static void test_peer_that_does_not_read_is_cut(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    start_with(
        &fixture,
        (struct http_listener_options){ .address = "127.0.0.1:0",
                                        .request_max_us = 400 * US_PER_MS });
    for (int i = 0; i < 4000; i++) { /* some megabytes, more than sockets buffer */
        char name[32];
        (void)snprintf(name, sizeof(name), "n=\"%d\"", i);
        metric_observe_us(
            metric_get(fixture.metrics, METRIC_HISTOGRAM, "long_seconds", "L", name), i);
    }
    AUTO_FD int fd = dial(&fixture);
    const int small = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_ok(fd_write_all(fd, request, sizeof(request) - 1, NULL));
    struct pollfd wait = { .fd = fd, .events = POLLRDHUP };
    int64_t begin = clock_mono(clock_system()).value;
    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    assert_true(clock_mono(clock_system()).value - begin < 8 * US_PER_SECOND);
    stop(&fixture);
}

static void test_stop_closes_open_connections(void **state)
{
    (void)state;
    struct fixture fixture = { 0 };
    start(&fixture);
    AUTO_FD int idle = dial(&fixture);
    AUTO_FD int half = dial(&fixture);
    assert_ok(fd_write_all(half, "GET /he", 7, NULL));
    stop(&fixture);
    char reply[REPLY_BYTES];
    assert_true(read_all(idle, reply) <= 0);
    assert_true(read_all(half, reply) <= 0);
    http_listener_stop(NULL);
}

static void refuse(const char *address, enum err_code code)
{
    struct err_info err = ERR_INFO_INIT;
    struct metrics *metrics = metrics_create();
    struct http_listener *listener = NULL;
    struct http_listener_options options = { .address = address, .metrics = metrics };
    assert_code(code, http_listener_start(&options, &listener, &err));
    assert_null(listener);
    assert_non_null(strstr(err.text, address));
    metrics_destroy(metrics);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       "9090",  "127.0.0.1",      "127.0.0.1:",    "127.0.0.1:65536", "127.0.0.1:-1",
        "::1:80", "[::1]", "example.org:80", "127.0.0.1:80x", "[127.0.0.1:80"
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        refuse(bad[i], ERR_INVALID);
    }
    struct fixture fixture = { 0 };
    start_with(&fixture, (struct http_listener_options){ .address = "localhost:0" });
    AUTO_FREE char *taken = mem_printf("127.0.0.1:%u", http_listener_port(fixture.listener));
    refuse(taken, ERR_EXISTS);
    stop(&fixture);
}

static void test_ipv6_address(void **state)
{
    (void)state;
    struct fixture fixture = { .metrics = metrics_create() };
    struct err_info err = ERR_INFO_INIT;
    struct http_listener_options options = { .address = "[::1]:0", .metrics = fixture.metrics };
    enum err_code code = http_listener_start(&options, &fixture.listener, &err);
    if (code == ERR_UNAVAILABLE && access("/proc/net/if_inet6", R_OK) != 0) {
        metrics_destroy(fixture.metrics);
        skip(); /* a kernel without IPv6 */
    }
    assert_ok_err(err, code);
    struct sockaddr_in6 address = { .sin6_family = AF_INET6,
                                    .sin6_port = htons(http_listener_port(fixture.listener)),
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    AUTO_FD int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    char reply[REPLY_BYTES];
    static const char request[] = "GET /readyz HTTP/1.0\r\n\r\n";
    assert_ok(fd_write_all(fd, request, sizeof(request) - 1, NULL));
    assert_true(read_all(fd, reply) > 0);
    expect(reply, " 200 OK");
    expect(reply, "ready\n");
    stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_pages),
        cmocka_unit_test(test_other_methods_and_paths),
        cmocka_unit_test(test_bodies_are_refused),
        cmocka_unit_test(test_connection_is_kept_between_requests),
        cmocka_unit_test(test_large_headers_are_refused),
        cmocka_unit_test(test_slow_peer_is_cut),
        cmocka_unit_test(test_connections_per_address_are_bounded),
        cmocka_unit_test(test_connections_beyond_the_limit_wait),
        cmocka_unit_test(test_peer_that_does_not_read_is_cut),
        cmocka_unit_test(test_stop_closes_open_connections),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_ipv6_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
