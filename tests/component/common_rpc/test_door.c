/* The door over plain TCP and Unix sockets: limits, deadlines, shortage, life. */
#include "common/rpc/door/door.h"
#include "common/sys/file.h"
#include "tests/component/common_rpc/door_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

static struct rpc_peer *first_peer(struct fixture *fixture, unsigned index)
{
    WAIT_UNTIL(atomic_load(&fixture->channel_count) > index);
    return door_find_peer(fixture->door, fixture->channels[index].number);
}

static void test_plain_echo(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    assert_true(port > 0);
    int fd = client_connect(port);
    client_send_preface(fd);
    client_expect_hello(fd);
    struct rpc_peer *peer = first_peer(fixture, 0);
    assert_non_null(peer);
    assert_int_equal(peer->kind, RPC_PEER_PLAIN);
    assert_string_equal(peer->listener, "plain");
    assert_string_equal(peer->address, "127.0.0.1");
    assert_true(peer->is_loopback);
    assert_int_equal(peer->uid, (uid_t)-1);
    struct sockaddr_in own = { 0 };
    socklen_t bytes = sizeof(own);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &bytes), 0);
    assert_int_equal(peer->port, ntohs(own.sin_port));
    (void)close(fd);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    assert_null(door_find_peer(fixture->door, fixture->channels[0].number));
    assert_string_equal(peer->listener, "plain"); /* held by reference */
    rpc_peer_unref(peer);
    struct rpc_server_stats stats = fixture_stats(fixture);
    assert_int_equal(stats.connections_accepted, 1);
    assert_int_equal(stats.connections_refused, 0);
    assert_int_equal(stats.bytes_received, CLIENT_PREFACE_BYTES);
    assert_int_equal(stats.bytes_sent, 18);
    fixture_destroy(fixture);
}

static void test_unknown_numbers(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    const int numbers[] = { -1, 0, 3, 1000000000 };
    for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        assert_null(door_find_peer(fixture->door, numbers[i]));
    }
    fixture_destroy(fixture);
}

static void test_numbers_rotate(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    for (unsigned i = 0; i < 20; i++) {
        int fd = client_connect(port);
        client_send_preface(fd);
        client_expect_hello(fd);
        (void)close(fd);
        WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
        if (i > 0) {
            assert_int_equal(fixture->channels[i].number, fixture->channels[i - 1].number + 1);
        }
    }
    fixture_destroy(fixture);
}

static void test_unix(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/s", dir);
    AUTO_FREE char *address = mem_printf("unix:%s", path);
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    (void)fixture_listen(fixture, "local", address, NULL);
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0600);
    int fd = client_connect_unix(path);
    client_send_preface(fd);
    client_expect_hello(fd);
    struct rpc_peer *peer = first_peer(fixture, 0);
    assert_int_equal(peer->kind, RPC_PEER_UNIX);
    assert_string_equal(peer->address, "unix");
    assert_int_equal(peer->uid, getuid());
    assert_int_equal(peer->gid, getgid());
    assert_int_equal(peer->pid, getpid());
    assert_true(peer->is_loopback);
    rpc_peer_unref(peer);
    (void)close(fd);
    fixture_destroy(fixture);
    assert_int_equal(lstat(path, &status), -1);
    test_dir_remove(dir);
}

static enum err_code try_listen(struct fixture *fixture, const char *address, bool remote)
{
    struct err_info err = ERR_INFO_INIT;
    const struct rpc_listen_options options = {
        .name = "tried",
        .address = address,
        .allow_remote_plaintext = remote,
        .unix_mode = 0660,
    };
    enum err_code code = door_listen(fixture->door, &options, NULL, &err);
    assert_int_equal(code == ERR_OK, err.text[0] == '\0');
    return code;
}

static void test_unix_files_in_the_way(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/s", dir);
    AUTO_FREE char *address = mem_printf("unix:%s", path);
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    struct stat status;
    fixture_start(fixture);

    int file = open(path, O_CREAT | O_WRONLY, 0600);
    (void)close(file);
    assert_code(ERR_EXISTS, try_listen(fixture, address, false));
    assert_int_equal(unlink(path), 0);

    int live = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    assert_ok(str_copy(str_of(path), name.sun_path, sizeof(name.sun_path)));
    assert_int_equal(bind(live, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(live, 5), 0);
    assert_code(ERR_BUSY, try_listen(fixture, address, false));
    (void)close(live);

    assert_ok(try_listen(fixture, address, false)); /* stale now */
    assert_int_equal(lstat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0660);
    assert_code(ERR_INVALID, try_listen(fixture, "unix:relative", false));
    assert_code(ERR_EXISTS, try_listen(fixture, "127.0.0.1:0", false)); /* the name */
    fixture_destroy(fixture);
    test_dir_remove(dir);
}

static void test_addresses(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    const char *const wrong[] = { "",
                                  "127.0.0.1",
                                  ":1",
                                  "127.0.0.1:x",
                                  "127.0.0.1:65536",
                                  "::1:80",
                                  "[]:1",
                                  "no.such.host.invalid:1" };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_code(ERR_INVALID, try_listen(fixture, wrong[i], false));
    }
    assert_code(ERR_DENIED, try_listen(fixture, "0.0.0.0:0", false));
    assert_code(ERR_DENIED, try_listen(fixture, "[::]:0", false));
    assert_ok(try_listen(fixture, "0.0.0.0:0", true));
    fixture_destroy(fixture);
}

static void test_port_in_use(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    AUTO_FREE char *address = mem_printf("127.0.0.1:%u", (unsigned)port);
    assert_code(ERR_BUSY, try_listen(fixture, address, false));
    fixture_destroy(fixture);
}

/* ---- Limits ---- */

static void expect_refused(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    (void)close(fd);
}

static int client_connect_with_request(uint16_t port)
{
    static const uint8_t headers[9 + 4] = { 0, 0, 4, 1, 4, 0, 0, 0, 1 };
    int fd = client_connect(port);
    client_send_preface(fd);
    client_expect_hello(fd);
    client_send(fd, headers, sizeof(headers));
    client_expect(fd, headers, sizeof(headers)); /* the library's echo */
    return fd;
}

/* At the cap, who has not asked for anything yet gives way: first those before their preface. */
static void test_the_silent_give_way(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture->options.limits.connections = 3;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int served = client_connect_with_request(port);
    int quiet = client_connect(port);
    client_send_preface(quiet);
    client_expect_hello(quiet);
    int silent = client_connect(port);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 3);
    int second = client_connect_with_request(port);
    expect_refused(silent);
    int third = client_connect_with_request(port);
    expect_refused(quiet);
    expect_refused(client_connect(port));
    client_send(served, "\0\0\0\0\1\0\0\0\1", 9); /* END_STREAM */
    client_expect(served, "\0\0\0\0\1\0\0\0\1", 9);
    (void)close(served);
    (void)close(second);
    (void)close(third);
    fixture_destroy(fixture);
}

static void test_connection_cap(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture->options.limits.connections = 3;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fds[3];
    for (unsigned i = 0; i < 3; i++) {
        fds[i] = client_connect_with_request(port);
    }
    expect_refused(client_connect(port));
    assert_int_equal(fixture_stats(fixture).connections_refused, 1);
    (void)close(fds[0]);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 2);
    fds[0] = client_connect_with_request(port);
    for (unsigned i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
    fixture_destroy(fixture);
}

static void test_address_cap(void **state)
{
    (void)state;
    for (unsigned limited = 0; limited < 2; limited++) {
        struct fixture *fixture = fixture_create(LIBRARY_ECHO);
        fixture->options.limits.connections_per_address = 2;
        fixture->options.limit_loopback = limited == 1;
        fixture_start(fixture);
        uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
        int fds[3];
        for (unsigned i = 0; i < 3; i++) {
            fds[i] = client_connect(port);
            if (i < 2 || limited == 0) {
                client_send_preface(fds[i]);
                client_expect_hello(fds[i]);
            }
        }
        if (limited == 1) {
            expect_refused(fds[2]);
            (void)close(fds[0]);
            WAIT_UNTIL(fixture_stats(fixture).connections_open == 1);
            fds[0] = client_connect(port);
            client_send_preface(fds[0]);
            client_expect_hello(fds[0]);
        } else {
            (void)close(fds[2]);
        }
        (void)close(fds[0]);
        (void)close(fds[1]);
        fixture_destroy(fixture);
    }
}

static void test_handshake_rate(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture->options.limits.handshakes_per_second_per_address = 5;
    fixture->options.limit_loopback = true;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    for (unsigned i = 0; i < 40; i++) {
        (void)close(client_connect(port));
    }
    WAIT_UNTIL(fixture_stats(fixture).connections_accepted == 40);
    /* 5 in a second; a slow machine may need several seconds for the 40 */
    assert_true(fixture_stats(fixture).connections_refused >= 10);
    fixture_destroy(fixture);
}

/* ---- Deadlines ---- */

static void test_slow_preface(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture->options.limits.handshake_timeout_us = 200 * US_PER_MS;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int silent = client_connect(port);
    int half = client_connect(port);
    client_send(half, CLIENT_PREFACE, 23);
    expect_refused(silent);
    expect_refused(half);
    assert_int_equal(fixture_stats(fixture).connections_refused, 2);
    assert_int_equal(atomic_load(&fixture->channel_count), 0);
    fixture_destroy(fixture);
}

static void test_no_request(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_HOLD);
    fixture->options.limits.first_request_timeout_us = 200 * US_PER_MS;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    static const uint8_t headers[9 + 4] = { 0, 0, 4, 1, 4, 0, 0, 0, 1 };
    int active = client_connect(port);
    client_send_preface(active);
    client_send(active, headers, sizeof(headers));
    int quiet = client_connect(port);
    client_send_preface(quiet);
    uint8_t got[64];
    size_t bytes = client_read_to_end(quiet, got, sizeof(got));
    assert_int_equal(bytes, 9 + 17); /* SETTINGS, GOAWAY(NO_ERROR) */
    assert_int_equal(got[9 + 3], 7);
    assert_int_equal(got[25], 0);
    (void)close(quiet);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 1); /* the one with a request */
    (void)close(active);
    fixture_destroy(fixture);
}

/* A header block that has begun is no request yet. */
static void test_slow_headers(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_HOLD);
    fixture->options.limits.first_request_timeout_us = 200 * US_PER_MS;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    static const uint8_t half[9 + 2] = { 0, 0, 4, 1, 4, 0, 0, 0, 1 };
    static const uint8_t open[9 + 4] = { 0, 0, 4, 1, 0, 0, 0, 0, 1 };

    const struct {
        const uint8_t *frame;
        size_t bytes;
    } starts[] = { { half, sizeof(half) }, { open, sizeof(open) } };

    for (size_t i = 0; i < ARRAY_LENGTH(starts); i++) {
        int fd = client_connect(port);
        uint8_t got[64];
        client_send_preface(fd);
        client_send(fd, starts[i].frame, starts[i].bytes);
        assert_int_equal(client_read_to_end(fd, got, sizeof(got)), 9 + 17);
        (void)close(fd);
    }
    fixture_destroy(fixture);
}

/* ---- The guard at work ---- */

static void test_guarded(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_HOLD);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send_preface(fd);
    static const uint8_t settings[9] = { 0, 0, 0, 4 };
    client_expect(fd, settings, sizeof(settings));
    static const uint8_t push[9] = { 0, 0, 0, 5, 4, 0, 0, 0, 1 };
    client_send(fd, push, sizeof(push));
    uint8_t got[64];
    assert_int_equal(client_read_to_end(fd, got, sizeof(got)), 17);
    assert_int_equal(got[3], 7);
    assert_int_equal(got[16], 1);
    (void)close(fd);

    fd = client_connect(port); /* HTTP/1.1: SETTINGS and GOAWAY before the library saw anything */
    client_send(fd, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_int_equal(client_read_to_end(fd, got, sizeof(got)), 26);
    (void)close(fd);
    assert_int_equal(fixture_stats(fixture).guard_closes, 2);
    assert_int_equal(fixture_stats(fixture).connections_refused, 2);
    assert_int_equal(atomic_load(&fixture->channel_count), 1);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    fixture_destroy(fixture);
}

/* ---- Shortage of descriptors ---- */

static void test_no_descriptors(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);

    enum {
        WAITING = 6,
        TAKEN_MAX = 4096
    };

    int waiting[WAITING];
    for (unsigned i = 0; i < WAITING; i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    int *taken = mem_alloc_array(TAKEN_MAX, sizeof(int));
    unsigned count = 0;
    for (int fd = dup(0); fd >= 0; fd = dup(0)) {
        taken[count++] = fd;
        assert_true(count < TAKEN_MAX);
    }
    for (unsigned i = 0; i < WAITING; i++) {
        assert_int_equal(client_connect_fd(waiting[i], port), 0);
        client_send_preface(waiting[i]);
    }
    (void)poll(NULL, 0, 100);
    assert_int_equal(fixture_stats(fixture).connections_accepted, 0);
    /* Room for one socket, but not for a channel: refused, and the listener lives. */
    (void)close(taken[--count]);
    WAIT_UNTIL(fixture_stats(fixture).connections_refused >= WAITING);
    while (count > 0) {
        (void)close(taken[--count]);
    }
    int fd = client_connect(port);
    client_send_preface(fd);
    client_expect_hello(fd);
    (void)close(fd);
    for (unsigned i = 0; i < WAITING; i++) {
        (void)close(waiting[i]);
    }
    mem_free(taken);
    fixture_destroy(fixture);
}

/* ---- Life ---- */

static void test_stop_accepting(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/s", dir);
    AUTO_FREE char *address = mem_printf("unix:%s", path);
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    (void)fixture_listen(fixture, "local", address, NULL);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send_preface(fd);
    client_expect_hello(fd);
    door_stop_accepting(fixture->door);
    door_stop_accepting(fixture->door);
    assert_int_equal(client_connect_unix(path), -1);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(client_connect_fd(late, port), -1);
    (void)close(late);
    static const uint8_t ping[9 + 8] = { 0, 0, 8, 6 };
    client_send(fd, ping, sizeof(ping));
    client_expect(fd, ping, sizeof(ping)); /* goes on */
    assert_code(ERR_PRECONDITION, try_listen(fixture, "127.0.0.1:0", false));
    (void)close(fd);
    fixture_destroy(fixture);
    test_dir_remove(dir);
}

static void test_destroy_with_everything_open(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fds[30];
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = client_connect(port);
        if (i % 3 > 0) {
            client_send_preface(fds[i]);
        }
        if (i % 3 > 1) {
            client_expect_hello(fds[i]);
        }
    }
    fixture_destroy(fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        (void)close(fds[i]);
    }
    /* Never started. */
    fixture = fixture_create(LIBRARY_ECHO);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, door_create(&fixture->options, &fixture->door, &err));
    (void)fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    fixture_destroy(fixture);
    door_destroy(NULL);
}

/* Many clients that come and go at once, from several threads, while records are looked up. */
static void *run_churn(void *argument)
{
    struct fixture *fixture = argument;
    uint16_t port = (uint16_t)fixture->send_bytes;
    for (unsigned i = 0; i < 100; i++) {
        int fd = client_connect(port);
        client_send_preface(fd);
        if (i % 2 == 0) {
            client_expect_hello(fd);
        }
        (void)close(fd);
        unsigned count = atomic_load(&fixture->channel_count);
        if (count > 0) {
            rpc_peer_unref(door_find_peer(fixture->door, fixture->channels[count - 1].number));
        }
    }
    return NULL;
}

static void test_churn(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture_start(fixture);
    fixture->send_bytes = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_churn, fixture), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    assert_int_equal(fixture_stats(fixture).connections_accepted, 400);
    fixture_destroy(fixture);
}

/* The tests of shortages need a known limit. */
static int set_up(void **state)
{
    (void)state;
    struct rlimit limit;
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return -1;
    }
    limit.rlim_cur = 1024;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_echo),
        cmocka_unit_test(test_unknown_numbers),
        cmocka_unit_test(test_numbers_rotate),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_files_in_the_way),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_connection_cap),
        cmocka_unit_test(test_the_silent_give_way),
        cmocka_unit_test(test_address_cap),
        cmocka_unit_test(test_handshake_rate),
        cmocka_unit_test(test_slow_preface),
        cmocka_unit_test(test_slow_headers),
        cmocka_unit_test(test_no_request),
        cmocka_unit_test(test_guarded),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_stop_accepting),
        cmocka_unit_test(test_destroy_with_everything_open),
        cmocka_unit_test(test_churn),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
