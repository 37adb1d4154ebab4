/* Clients that come through a trusted proxy: who they are, what counts against them, what is
 * refused. */
#include "tests/component/common_rpc/door_fixture.h"

enum {
    HEADER_BYTES = 28
};

static const uint8_t local_header[16] = "\r\n\r\n\0\r\nQUIT\n\x20";

/* For a client at 192.0.2.`last`, port 4711. */
static void make_header(uint8_t last, uint8_t out[HEADER_BYTES])
{
    static const uint8_t like[HEADER_BYTES] =
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\0\x0a\0\0\1\x12\x67\1";
    memcpy(out, like, HEADER_BYTES);
    out[19] = last;
}

static void start_behind(struct fixture *fixture, const char *trusted)
{
    struct network network;
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, network_parse(str_of(trusted), &network, &err));
    fixture->options.trusted_proxies = &network;
    fixture->options.trusted_proxy_count = 1;
    fixture_start(fixture);
    fixture->options.trusted_proxies = NULL;
}

static int connect_for(uint16_t port, uint8_t last)
{
    uint8_t header[HEADER_BYTES];
    int fd = client_connect(port);
    make_header(last, header);
    client_send(fd, header, sizeof(header));
    client_send_preface(fd);
    return fd;
}

static struct rpc_peer *peer_of(struct fixture *fixture, unsigned index)
{
    WAIT_UNTIL(atomic_load(&fixture->channel_count) > index);
    return door_find_peer(fixture->door, fixture->channels[index].number);
}

static void expect_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    (void)close(fd);
}

static void test_the_client_is_whom_the_header_names(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    start_behind(fixture, "127.0.0.0/8");
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = connect_for(port, 7);
    client_expect_hello(fd);
    struct rpc_peer *peer = peer_of(fixture, 0);
    assert_non_null(peer);
    assert_string_equal(peer->address, "192.0.2.7");
    assert_int_equal(peer->port, 4711);
    assert_false(peer->is_loopback);
    assert_true(peer->is_reached_locally);
    rpc_peer_unref(peer);
    (void)close(fd);
    fixture_destroy(fixture);
}

static void test_a_header_in_pieces(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    start_behind(fixture, "127.0.0.1");
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    uint8_t header[HEADER_BYTES];
    int fd = client_connect(port);
    int on = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on)), 0);
    make_header(9, header);
    for (size_t i = 0; i < sizeof(header); i++) {
        client_send(fd, &header[i], 1);
        (void)poll(NULL, 0, 1);
    }
    client_send_preface(fd);
    client_expect_hello(fd);
    struct rpc_peer *peer = peer_of(fixture, 0);
    assert_string_equal(peer->address, "192.0.2.9");
    rpc_peer_unref(peer);
    (void)close(fd);
    fixture_destroy(fixture);
}

static void test_a_proxy_that_speaks_for_itself(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    start_behind(fixture, "127.0.0.0/8");
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fd = client_connect(port);
    client_send(fd, local_header, sizeof(local_header));
    client_send_preface(fd);
    client_expect_hello(fd);
    struct rpc_peer *peer = peer_of(fixture, 0);
    assert_string_equal(peer->address, "127.0.0.1");
    assert_true(peer->is_loopback);
    rpc_peer_unref(peer);
    (void)close(fd);
    fixture_destroy(fixture);
}

/* The limits per address hold for each client, and for none but the clients. */
static void test_limits_are_of_the_client(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture->options.limits.connections_per_address = 2;
    start_behind(fixture, "127.0.0.0/8");
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int fds[4];
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = connect_for(port, 1);
        client_expect_hello(fds[i]);
    }
    uint8_t header[HEADER_BYTES];
    int third = client_connect(port);
    make_header(1, header);
    client_send(third, header, sizeof(header));
    expect_end(third);
    for (unsigned i = 2; i < 4; i++) {
        fds[i] = connect_for(port, 2);
        client_expect_hello(fds[i]);
    }
    (void)close(fds[0]);
    WAIT_UNTIL(fixture_stats(fixture).connections_open == 3);
    fds[0] = connect_for(port, 1);
    client_expect_hello(fds[0]);
    for (unsigned i = 0; i < ARRAY_LENGTH(fds); i++) {
        (void)close(fds[i]);
    }
    fixture_destroy(fixture);
}

static void test_who_is_trusted_must_say_and_nobody_else_may(void **state)
{
    (void)state;
    static const char *const networks[] = { "127.0.0.0/8", "192.0.2.0/24" };
    for (unsigned is_stranger = 0; is_stranger < 2; is_stranger++) {
        struct fixture *fixture = fixture_create(LIBRARY_ECHO);
        start_behind(fixture, networks[is_stranger]);
        uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
        int silent = client_connect(port);
        client_send_preface(silent);
        int speaks = connect_for(port, 1);
        if (is_stranger == 0) {
            client_expect_hello(speaks);
            (void)close(speaks);
            expect_end(silent);
        } else {
            client_expect_hello(silent);
            (void)close(silent);
            WAIT_UNTIL(fixture_stats(fixture).connections_refused == 1);
            (void)close(speaks);
        }
        assert_int_equal(fixture_stats(fixture).connections_refused, 1);
        fixture_destroy(fixture);
    }
}

static void test_a_proxy_that_says_nothing_has_a_deadline(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    fixture->options.limits.handshake_timeout_us = 100 * US_PER_MS;
    start_behind(fixture, "127.0.0.0/8");
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);
    int silent = client_connect(port);
    int begun = client_connect(port);
    client_send(begun, local_header, 5);
    expect_end(silent);
    expect_end(begun);
    assert_int_equal(fixture_stats(fixture).connections_refused, 2);
    fixture_destroy(fixture);
}

static void test_headers_that_name_nobody(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(LIBRARY_ECHO);
    start_behind(fixture, "127.0.0.0/8");
    uint16_t port = fixture_listen(fixture, "plain", "127.0.0.1:0", NULL);

    static const struct {
        size_t at;
        uint8_t value;
    } rows[] = {
        { 0, 'P' },   /* another signature */
        { 12, 0x11 }, /* version 1 */
        { 13, 0x12 }, /* UDP */
        { 13, 0x21 }, /* IPv6, too short */
        { 14, 0x20 }, /* longer than is taken */
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        uint8_t header[HEADER_BYTES];
        int fd = client_connect(port);
        make_header(1, header);
        header[rows[i].at] = rows[i].value;
        client_send(fd, header, sizeof(header));
        expect_end(fd);
    }
    assert_int_equal(fixture_stats(fixture).connections_refused, ARRAY_LENGTH(rows));
    assert_int_equal(atomic_load(&fixture->channel_count), 0);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_client_is_whom_the_header_names),
        cmocka_unit_test(test_a_header_in_pieces),
        cmocka_unit_test(test_a_proxy_that_speaks_for_itself),
        cmocka_unit_test(test_limits_are_of_the_client),
        cmocka_unit_test(test_who_is_trusted_must_say_and_nobody_else_may),
        cmocka_unit_test(test_a_proxy_that_says_nothing_has_a_deadline),
        cmocka_unit_test(test_headers_that_name_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
