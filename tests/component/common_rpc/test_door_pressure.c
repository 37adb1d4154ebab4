/* The door when one side is slow: what is on its way at the end, readers that do not read. */
#include "tests/component/common_rpc/door_fixture.h"

#include <signal.h>

/* ---- Order at the end ---- */

static void expect_pattern_to_end(int fd, size_t bytes)
{
    uint8_t *got = mem_alloc(bytes + 9 + 1);
    assert_int_equal(client_read_to_end(fd, got, bytes + 9 + 1), bytes + 9);
    for (size_t i = 0; i < bytes; i++) {
        if (got[9 + i] != pattern_at(i)) {
            fail_msg("byte %zu differs", i);
        }
    }
    mem_free(got);
}

/* What the library wrote before it closed arrives, also when the client still sends. */
static void test_flush_before_close(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_SEND);
    fixture->send_bytes = 3 << 20;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    for (unsigned i = 0; i < 5; i++) {
        int fd = client_connect(port);
        uint8_t unread[9 + 1000] = { 0, 3, 232, 99 };
        client_send_preface(fd);
        client_send(fd, unread, sizeof(unread)); /* never read by the library */
        expect_pattern_to_end(fd, fixture->send_bytes);
        (void)close(fd);
    }
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    fixture_destroy(fixture);
}

static void test_client_half_close(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_REPLY);
    fixture->send_bytes = 1 << 20;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send_preface(fd);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect_pattern_to_end(fd, fixture->send_bytes);
    (void)close(fd);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    fixture_destroy(fixture);
}

/* ---- Pressure ---- */

static void test_client_never_reads(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_FILL);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send_preface(fd);
    WAIT_UNTIL(atomic_load(&fixture->filled_count) == 1);
    size_t filled = atomic_load(&fixture->filled);
    assert_true(filled > 100000 && filled < 16 << 20);
    fixture_release(fixture); /* the library closes; the client gets everything */
    uint8_t *got = mem_alloc(filled + 10);
    assert_int_equal(client_read_to_end(fd, got, filled + 10), filled + 9);
    mem_free(got);
    (void)close(fd);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    fixture_destroy(fixture);
}

/* The library keeps its end open, so that nothing else would ever end these. */
static void test_unread_bytes_have_a_deadline(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_FILL);
    fixture->options.limits.unread_timeout_us = 700 * US_PER_MS;
    fixture->options.limits.first_request_timeout_us = US_PER_HOUR; /* not that one */
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int silent = client_connect(port);
    client_send_preface(silent);
    WAIT_UNTIL(fixture_stats(fixture).connections_refused == 1);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    WAIT_UNTIL(atomic_load(&fixture->filled_count) == 1); /* the library was told */
    (void)close(silent);
    fixture_destroy(fixture);
}

/* Whoever reads all of it in time stays, however long that takes in sum. */
static void test_a_slow_reader_stays(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_SEND);
    fixture->options.limits.unread_timeout_us = 300 * US_PER_MS;
    fixture->send_bytes = 8 << 20;
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send_preface(fd);
    uint8_t *block = mem_alloc(1 << 20);
    size_t total = 0;
    ssize_t got = 0;
    while ((got = recv(fd, block, 1 << 20, MSG_WAITALL)) > 0) {
        total += (size_t)got;
        (void)poll(NULL, 0, 50);
    }
    mem_free(block);
    assert_int_equal(total, 9 + fixture->send_bytes);
    (void)close(fd);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 0);
    assert_int_equal(fixture_stats(fixture).connections_refused, 0);
    fixture_destroy(fixture);
}

enum {
    SLOW_READ_BYTES = 65536
};

struct slow_client {
    uint16_t port;
    size_t total;
};

static void *read_slowly(void *argument)
{
    struct slow_client *client = argument;
    AUTO_FREE uint8_t *block = mem_alloc(SLOW_READ_BYTES);
    ssize_t got = 0;
    int fd = client_connect(client->port);
    client_send_preface(fd);
    while ((got = recv(fd, block, SLOW_READ_BYTES, MSG_WAITALL)) > 0) {
        client->total += (size_t)got;
        (void)poll(NULL, 0, 5);
    }
    (void)close(fd);
    return NULL;
}

/* What the library wrote before it ended is on its way: destroying the door would cut it off. */
static void test_flush_waits_for_slow_readers(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_SEND);
    fixture->send_bytes = 8 << 20;
    fixture_start(fixture);
    struct slow_client client = { .port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL) };
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_slowly, &client), 0);
    WAIT_UNTIL(atomic_load(&fixture->channel_count) == 1);
    door_flush(fixture->door, 20 * US_PER_SECOND);
    size_t sent = fixture->send_bytes;
    fixture_destroy(fixture);
    (void)pthread_join(reader, NULL);
    assert_int_equal(client.total, 9 + sent);
}

/* One that never reads is not waited for longer than asked. */
static void test_flush_has_an_end(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_FILL);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    door_flush(fixture->door, 20 * US_PER_SECOND); /* nobody is there: at once */
    int fd = client_connect(port);
    client_send_preface(fd);
    WAIT_UNTIL(atomic_load(&fixture->filled_count) == 1);
    fixture_release(fixture); /* the library closes with all of it unread */
    door_flush(fixture->door, 200 * US_PER_MS);
    assert_int_equal(fixture_stats(fixture).connections_open, 1);
    (void)close(fd);
    fixture_destroy(fixture);
}

static void test_library_never_reads(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_HOLD);
    fixture_start(fixture);
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send_preface(fd);
    static const uint8_t headers[9 + 4] = { 0, 0, 4, 1, 4, 0, 0, 0, 1 };
    client_send(fd, headers, sizeof(headers));
    const uint8_t frame[9 + 8192] = { 0, 0x20, 0, 0, 0, 0, 0, 0, 1 };
    size_t sent = 0;
    while (wait_fd(fd, POLLOUT, 500)) {
        ssize_t done = send(
            fd,
            frame + sent % sizeof(frame),
            sizeof(frame) - sent % sizeof(frame),
            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done > 0) {
            sent += (size_t)done;
        }
        assert_true(sent < 32 << 20);
    }
    assert_int_equal(fixture_stats(fixture).connections_open, 1);
    (void)close(fd);
    fixture_destroy(fixture);
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush_before_close),
        cmocka_unit_test(test_client_half_close),
        cmocka_unit_test(test_client_never_reads),
        cmocka_unit_test(test_unread_bytes_have_a_deadline),
        cmocka_unit_test(test_a_slow_reader_stays),
        cmocka_unit_test(test_flush_waits_for_slow_readers),
        cmocka_unit_test(test_flush_has_an_end),
        cmocka_unit_test(test_library_never_reads),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
