/*
 * What a connection may cost before a credential was accepted on it: calls are refused before their
 * request is read, few may be open, bytes and calls are taken at a limited rate, and who asks for
 * nothing, or for what is refused, goes.
 */
#include "common/sys/fd.h"
#include "tests/component/common_rpc/fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    DATA = 0,
    HEADERS = 1,
    SETTINGS = 4,
    GOAWAY = 7,
    END_STREAM = 1,
    ACK = 1,
    END_HEADERS = 4,
    FRAME_MAX = 16000,
    CALLS_MAX = 4,
    CALLS_MANY = 20,
    CALL_BYTES = 4096,
    CALM = 0xb
};

/* HTTP/2 by hand, on plain TCP. */
struct raw {
    int fd;
    uint32_t next_stream;
};

struct frame {
    uint8_t type;
    uint8_t flags;
    uint32_t stream;
    uint32_t error; /* of a GOAWAY */
};

static void raw_send(const struct raw *raw, const void *data, size_t bytes)
{
    assert_int_equal(send(raw->fd, data, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

static void raw_send_frame(
    const struct raw *raw, uint8_t type, uint8_t flags, uint32_t stream, struct str_view payload)
{
    uint8_t frame[9 + FRAME_MAX] = {
        (uint8_t)(payload.len >> 16),
        (uint8_t)(payload.len >> 8),
        (uint8_t)payload.len,
        type,
        flags,
        (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16),
        (uint8_t)(stream >> 8),
        (uint8_t)stream,
    };
    assert_true(payload.len <= FRAME_MAX);
    if (payload.len > 0) {
        memcpy(frame + 9, payload.ptr, payload.len);
    }
    raw_send(raw, frame, 9 + payload.len);
}

static struct raw raw_connect(uint16_t port)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    struct raw raw = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .next_stream = 1 };
    struct timeval timeout = { .tv_sec = 20 };
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    assert_true(raw.fd >= 0);
    (void)setsockopt(raw.fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    assert_int_equal(connect(raw.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    raw_send(&raw, hello, sizeof(hello)); /* the literal's NUL is the last byte of the frame */
    return raw;
}

/* false: the server has closed. */
static bool raw_read(const struct raw *raw, struct frame *ret_frame)
{
    uint8_t head[9];
    uint8_t payload[FRAME_MAX];
    ssize_t got = recv(raw->fd, head, sizeof(head), MSG_WAITALL);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) {
        return false;
    }
    assert_int_equal(got, sizeof(head));
    size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    assert_true(length <= sizeof(payload));
    if (length > 0) {
        assert_int_equal(recv(raw->fd, payload, length, MSG_WAITALL), (ssize_t)length);
    }
    ret_frame->type = head[3];
    ret_frame->flags = head[4];
    ret_frame->stream = ((uint32_t)head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16
        | (uint32_t)head[7] << 8 | head[8];
    ret_frame->error = length >= 8 ? payload[7] : 0;
    return true;
}

/* The stream that the server ends next. */
static uint32_t raw_read_ended(const struct raw *raw)
{
    struct frame frame;
    do {
        assert_true(raw_read(raw, &frame));
        if (frame.type == SETTINGS && (frame.flags & ACK) == 0) {
            raw_send_frame(raw, SETTINGS, ACK, 0, STR_NONE);
        }
    } while (frame.type != HEADERS || (frame.flags & END_STREAM) == 0);
    return frame.stream;
}

static size_t put_field(uint8_t *out, const char *name, const char *value)
{
    size_t at = 0;
    out[at++] = 0; /* literal, not indexed */
    out[at++] = (uint8_t)strlen(name);
    memcpy(out + at, name, strlen(name));
    at += strlen(name);
    out[at++] = (uint8_t)strlen(value);
    memcpy(out + at, value, strlen(value));
    return at + strlen(value);
}

/* A call whose request does not come. */
static uint32_t raw_call(struct raw *raw, const char *path, const char *gate)
{
    uint8_t block[512] = { 0x83, 0x86 }; /* POST, http */
    size_t at = 2;
    uint32_t stream = raw->next_stream;
    raw->next_stream += 2;
    at += put_field(block + at, ":path", path);
    at += put_field(block + at, ":authority", "localhost");
    at += put_field(block + at, "content-type", "application/grpc");
    at += put_field(block + at, "te", "trailers");
    at += put_field(block + at, "x-gate", gate);
    raw_send_frame(raw, HEADERS, END_HEADERS, stream, str_from((const char *)block, at));
    return stream;
}

static uint16_t world_listen(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    uint16_t port = 0;
    const struct rpc_listen_options listen = { .name = "plain", .address = "127.0.0.1:0" };
    assert_ok_err(err, rpc_server_listen(world->server, &listen, &port, &err));
    return port;
}

static struct rpc_server_stats stats_of(const struct world *world)
{
    struct rpc_server_stats stats = { 0 };
    rpc_server_get_stats(world->server, &stats);
    return stats;
}

static void test_a_call_is_refused_before_its_request_is_read(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct raw raw = raw_connect(world_listen(&world));
    uint32_t stream = raw_call(&raw, GATEWAY "Register", "refuse");
    assert_int_equal(raw_read_ended(&raw), stream);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_UNAUTHENTICATED);
    (void)close(raw.fd);
    world_destroy(&world);
}

static void test_a_request_that_comes_late_is_admitted_again(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct raw raw = raw_connect(world_listen(&world));
    uint32_t stream = raw_call(&raw, GATEWAY "Register", "");
    world_wait(&world, &world.admitted, 1);
    (void)poll(NULL, 0, 1100); /* what is tested is that the time passes */
    raw_send_frame(&raw, DATA, END_STREAM, stream, STR("\0\0\0\0\0"));
    assert_int_equal(raw_read_ended(&raw), stream);
    assert_int_equal(atomic_load(&world.admitted), 2);
    world_wait(&world, &world.finished, 1);
    (void)close(raw.fd);
    world_destroy(&world);
}

static void test_few_calls_at_once_without_a_credential(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .stranger_calls = CALLS_MAX };
    world_create_limited(&world, &limits);
    struct raw raw = raw_connect(world_listen(&world));
    for (int i = 0; i < CALLS_MAX; i++) {
        (void)raw_call(&raw, GATEWAY "Register", "stranger");
        world_wait(&world, &world.admitted, i + 1);
    }
    uint32_t stream = raw_call(&raw, GATEWAY "Register", "stranger");
    assert_int_equal(raw_read_ended(&raw), stream);
    world_wait(&world, &world.finished, 1);
    assert_int_equal(atomic_load(&world.last_status), RPC_RESOURCE_EXHAUSTED);
    (void)raw_call(&raw, GATEWAY "Register", "known"); /* who shows one may have more */
    world_wait(&world, &world.admitted, CALLS_MAX + 2);
    (void)close(raw.fd);
    world_wait(&world, &world.finished, CALLS_MAX + 2);
    assert_int_equal(atomic_load(&world.last_status), RPC_CANCELLED);
    world_destroy(&world);
}

static void test_watches_of_health_are_counted(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .stranger_calls = CALLS_MAX };
    world_create_limited(&world, &limits);
    struct raw raw = raw_connect(world_listen(&world));
    for (int i = 0; i < CALLS_MAX; i++) {
        uint32_t stream = raw_call(&raw, "/grpc.health.v1.Health/Watch", "stranger");
        raw_send_frame(&raw, DATA, END_STREAM, stream, STR("\0\0\0\0\0"));
        world_wait(&world, &world.admitted, i + 1);
    }
    uint32_t stream = raw_call(&raw, "/grpc.health.v1.Health/Watch", "stranger");
    assert_int_equal(raw_read_ended(&raw), stream);
    (void)close(raw.fd);
    world_wait(&world, &world.finished, CALLS_MAX + 1);
    world_destroy(&world);
}

/* Sends until the server takes no more for a while; gives how much that was. */
static size_t fill(const struct raw *raw, uint32_t stream, size_t most)
{
    char payload[FRAME_MAX] = { 0, 0, 1 }; /* of a message of 64 KiB and some */
    const uint8_t head[9] = {
        0, FRAME_MAX >> 8, FRAME_MAX & 0xff, DATA, 0, 0, 0, 0, (uint8_t)stream
    };
    size_t sent = 0;
    while (sent < most) {
        struct pollfd poll_fd = { .fd = raw->fd, .events = POLLOUT };
        if (poll(&poll_fd, 1, 300) == 0) {
            break;
        }
        raw_send(raw, head, sizeof(head));
        raw_send(raw, payload, sizeof(payload));
        sent += sizeof(payload);
    }
    return sent;
}

static void test_strangers_are_read_slowly_until_they_are_known(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .stranger_burst_bytes = 20000,
                                       .stranger_bytes_per_second = 1,
                                       .stranger_call_bytes = 1 };
    world_create_limited(&world, &limits);
    uint16_t port = world_listen(&world);
    struct raw raw = raw_connect(port);
    uint32_t stream = raw_call(&raw, GATEWAY "Register", "stranger");
    world_wait(&world, &world.admitted, 1);
    assert_int_equal(fill(&raw, stream, 3 * (size_t)FRAME_MAX), 3 * (size_t)FRAME_MAX);
    struct mono_us deadline = world_soon();
    while (stats_of(&world).bytes_received < 18000
           && clock_mono(clock_system()).value < deadline.value) {
        (void)poll(NULL, 0, 1);
    }
    assert_in_range(stats_of(&world).bytes_received, 18000, 20000);
    (void)close(raw.fd);
    world_wait(&world, &world.finished, 1);
    assert_in_range(stats_of(&world).bytes_received, 18000, 20000);

    raw = raw_connect(port);
    stream = raw_call(&raw, GATEWAY "Register", "known");
    assert_int_equal(fill(&raw, stream, 3 * (size_t)FRAME_MAX), 3 * (size_t)FRAME_MAX);
    while (stats_of(&world).bytes_received < 20000 + 3 * FRAME_MAX
           && clock_mono(clock_system()).value < deadline.value) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(stats_of(&world).bytes_received > 18000 + 3 * FRAME_MAX);
    (void)close(raw.fd);
    world_wait(&world, &world.finished, 2);
    world_destroy(&world);
}

/* Until the server says goodbye: a GOAWAY, then the end. */
static void expect_goodbye(const struct raw *raw, uint32_t error)
{
    struct frame frame = { 0 };
    struct frame last = { 0 };
    while (raw_read(raw, &frame)) {
        last = frame;
    }
    assert_int_equal(last.type, GOAWAY);
    assert_int_equal(last.error, error);
    (void)close(raw->fd);
}

static void test_who_asks_for_nothing_goes(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .stranger_idle_timeout_us = 200 * US_PER_MS,
                                       .idle_timeout_us = 300 * US_PER_MS };
    world_create_limited(&world, &limits);
    uint16_t port = world_listen(&world);
    static const char *const gates[] = { "stranger", "known" };
    for (size_t i = 0; i < ARRAY_LENGTH(gates); i++) {
        struct raw raw = raw_connect(port);
        uint32_t stream = raw_call(&raw, GATEWAY "Register", gates[i]);
        raw_send_frame(&raw, DATA, END_STREAM, stream, STR("\0\0\0\0\0"));
        assert_int_equal(raw_read_ended(&raw), stream);
        expect_goodbye(&raw, 0);
    }
    world_destroy(&world);
}

/* What a burst of `calls` calls leaves no room for comes so late that no test sees it. */
static struct rpc_limits limits_of_calls(unsigned calls)
{
    return (struct rpc_limits){ .stranger_burst_bytes = (calls + 1) * (size_t)CALL_BYTES - 1,
                                .stranger_bytes_per_second = 1,
                                .stranger_call_bytes = CALL_BYTES,
                                .stranger_refusals = 1000 };
}

/* One write, so that nothing but the price of each parts them. */
static void raw_call_many(struct raw *raw, const char *gate)
{
    for (int i = 0; i < CALLS_MANY; i++) {
        (void)raw_call(raw, GATEWAY "Register", gate);
    }
}

static void test_strangers_calls_have_a_price(void **state)
{
    (void)state;
    static const char *const paths[] = { GATEWAY "Register",
                                         "/grpc.health.v1.Health/Check",
                                         "/no.such/Method" };
    const struct rpc_limits limits = limits_of_calls(CALLS_MAX);
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        struct world world;
        world_create_limited(&world, &limits);
        struct raw raw = raw_connect(world_listen(&world));
        for (int n = 0; n < CALLS_MANY; n++) {
            (void)raw_call(&raw, paths[i], "refuse");
        }
        for (int n = 0; n < CALLS_MAX; n++) {
            (void)raw_read_ended(&raw);
        }
        (void)poll(NULL, 0, 200); /* what is tested is that no more come meanwhile */
        assert_int_equal(stats_of(&world).calls_started, CALLS_MAX);
        assert_int_equal(stats_of(&world).connections_open, 1);
        (void)close(raw.fd);
        world_destroy(&world);
    }
}

static void test_what_waits_goes_on_once_the_connection_is_known(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = limits_of_calls(CALLS_MAX);
    world_create_limited(&world, &limits);
    struct raw raw = raw_connect(world_listen(&world));
    (void)raw_call(&raw, GATEWAY "Register", "known");
    raw_call_many(&raw, "refuse");
    for (int i = 0; i < CALLS_MANY; i++) {
        (void)raw_read_ended(&raw);
    }
    (void)close(raw.fd);
    world_wait(&world, &world.finished, CALLS_MANY + 1);
    assert_int_equal(stats_of(&world).calls_started, CALLS_MANY + 1);
    world_destroy(&world);
}

static void test_calls_on_a_unix_socket_have_no_price(void **state)
{
    (void)state;
    struct world world;
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 0;
    const struct rpc_limits limits = limits_of_calls(1);
    world_create_limited(&world, &limits);
    for (int i = 0; i < CALLS_MANY; i++) {
        assert_ok_err(err, world_register(&world, "honest", NULL, &id, &err));
    }
    world_destroy(&world);
}

static void refused_once(struct raw *raw, struct world *world, int finished)
{
    uint32_t stream = raw_call(raw, GATEWAY "Register", "refuse");
    assert_int_equal(raw_read_ended(raw), stream);
    world_wait(world, &world->finished, finished);
}

static void test_who_is_refused_again_and_again_goes(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .stranger_refusals = CALLS_MAX };
    world_create_limited(&world, &limits);
    struct raw raw = raw_connect(world_listen(&world));
    for (int i = 1; i < CALLS_MAX; i++) {
        refused_once(&raw, &world, i);
    }
    uint32_t stream = raw_call(&raw, "/grpc.health.v1.Health/Check", "stranger"); /* in order */
    raw_send_frame(&raw, DATA, END_STREAM, stream, STR("\0\0\0\0\0"));
    assert_int_equal(raw_read_ended(&raw), stream);
    world_wait(&world, &world.finished, CALLS_MAX);
    assert_int_equal(atomic_load(&world.last_status), RPC_OK);
    for (int i = 1; i <= CALLS_MAX; i++) {
        refused_once(&raw, &world, CALLS_MAX + i);
    }
    assert_int_equal(stats_of(&world).guard_closes, 0);
    (void)raw_call(&raw, GATEWAY "Register", "refuse");
    expect_goodbye(&raw, CALM);
    assert_int_equal(stats_of(&world).guard_closes, 1);
    assert_int_equal(stats_of(&world).calls_started, 2 * CALLS_MAX);
    world_destroy(&world);
}

static void test_an_old_connection_is_asked_to_go(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .age_us = 200 * US_PER_MS };
    world_create_limited(&world, &limits);
    struct raw raw = raw_connect(world_listen(&world));
    struct frame frame = { 0 };
    (void)raw_call(&raw, GATEWAY "Register", "known");
    while (frame.type != GOAWAY) {
        assert_true(raw_read(&raw, &frame));
    }
    (void)close(raw.fd);
    world_wait(&world, &world.finished, 1);
    world_destroy(&world);
}

static void test_a_connection_with_a_call_stays(void **state)
{
    (void)state;
    struct world world;
    const struct rpc_limits limits = { .stranger_idle_timeout_us = 50 * US_PER_MS,
                                       .idle_timeout_us = 50 * US_PER_MS };
    world_create_limited(&world, &limits);
    struct raw raw = raw_connect(world_listen(&world));
    uint32_t stream = raw_call(&raw, GATEWAY "CompleteAuthHandshake", "known");
    raw_send_frame(&raw, DATA, 0, stream, STR_NONE);
    (void)poll(NULL, 0, 400); /* what is tested is that the time passes */
    assert_int_equal(stats_of(&world).connections_open, 1);
    (void)close(raw.fd);
    world_wait(&world, &world.finished, 1);
    world_destroy(&world);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_is_refused_before_its_request_is_read),
        cmocka_unit_test(test_a_request_that_comes_late_is_admitted_again),
        cmocka_unit_test(test_few_calls_at_once_without_a_credential),
        cmocka_unit_test(test_watches_of_health_are_counted),
        cmocka_unit_test(test_strangers_are_read_slowly_until_they_are_known),
        cmocka_unit_test(test_who_asks_for_nothing_goes),
        cmocka_unit_test(test_strangers_calls_have_a_price),
        cmocka_unit_test(test_what_waits_goes_on_once_the_connection_is_known),
        cmocka_unit_test(test_calls_on_a_unix_socket_have_no_price),
        cmocka_unit_test(test_who_is_refused_again_and_again_goes),
        cmocka_unit_test(test_an_old_connection_is_asked_to_go),
        cmocka_unit_test(test_a_connection_with_a_call_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
