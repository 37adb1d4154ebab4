/*
 * What is known to hurt the library behind the door, tried on a real server: afterwards an honest
 * client is served, the attacker is gone, and the memory it cost is bounded.
 */
#include "common/sys/fd.h"
#include "tests/component/common_rpc/fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SETTINGS = 4,
    HEADERS = 1,
    RESET = 3,
    CONTINUATION = 9,
    PING = 6,
    ACK = 1,
    END_HEADERS = 4,
    PAYLOAD_MAX = 8000,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GROWTH_KIB_MAX = 512 * 1024, /* they keep what was freed for a while */
#else
    GROWTH_KIB_MAX = 64 * 1024,
#endif
};

static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

/* POST / http, as indexed fields and literals that the library accepts. */
static const uint8_t request_block[] = { 0x83, 0x86, 0x84, 0x41, 1, 'a' };

static int attacker_connect(const struct world *world)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval timeout = { .tv_sec = 20 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_ok(str_copy(str_of(world->target + 5), address.sun_path, sizeof(address.sun_path)));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    return fd;
}

/* false: the server has closed. */
static bool push(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t done = send(fd, at, bytes, MSG_NOSIGNAL);
        if (done <= 0) {
            return false;
        }
        at += done;
        bytes -= (size_t)done;
    }
    return true;
}

static bool push_frame(
    int fd, uint8_t type, uint8_t flags, uint32_t stream, struct str_view payload)
{
    uint8_t frame[9 + PAYLOAD_MAX];
    const uint8_t head[9] = {
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
    assert_true(payload.len <= PAYLOAD_MAX);
    memcpy(frame, head, sizeof(head));
    if (payload.len > 0) {
        memcpy(frame + sizeof(head), payload.ptr, payload.len);
    }
    return push(fd, frame, sizeof(head) + payload.len);
}

static void put_frame(
    struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, struct str_view payload)
{
    const uint8_t head[9] = {
        0, 0, (uint8_t)payload.len, type, flags, 0, 0, (uint8_t)(stream >> 8), (uint8_t)stream,
    };
    buf_append(out, head, sizeof(head));
    buf_append_str(out, payload);
}

static bool push_hello(int fd)
{
    return push(fd, preface, sizeof(preface)); /* the literal's NUL is the last byte of the frame */
}

/* Reads the server's SETTINGS, then acknowledges. */
static bool push_ack(int fd)
{
    uint8_t head[9];
    return recv(fd, head, sizeof(head), MSG_WAITALL | MSG_PEEK) == (ssize_t)sizeof(head)
        && push_frame(fd, SETTINGS, ACK, 0, STR_NONE);
}

/* The last frame before the end is a GOAWAY with this code. */
static void expect_goaway(int fd, uint8_t code)
{
    uint8_t tail[17] = { 0 };
    uint8_t byte;
    ssize_t got;
    while ((got = recv(fd, &byte, 1, 0)) > 0) {
        memmove(tail, tail + 1, sizeof(tail) - 1);
        tail[sizeof(tail) - 1] = byte;
    }
    assert_true(got == 0 || errno == ECONNRESET); /* a reset, when the server waited long enough */
    assert_int_equal(tail[3], 7);
    assert_int_equal(tail[16], code);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*s %ld", &pages), 1);
    (void)fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static struct rpc_server_stats stats_of(const struct world *world)
{
    struct rpc_server_stats stats = { 0 };
    rpc_server_get_stats(world->server, &stats);
    return stats;
}

static void expect_served(struct world *world)
{
    struct err_info err = ERR_INFO_INIT;
    int64_t id = 0;
    assert_ok_err(err, world_register(world, "honest", NULL, &id, &err));
    assert_int_equal(id, 6);
}

/* What comes after the cut is thrown away: of all the streams the library has seen a few. */
static void expect_cut(const struct world *world)
{
    assert_int_equal(stats_of(world).guard_closes, 1);
    assert_true(stats_of(world).calls_started < 1000);
}

static void run_attack(void (*attack)(struct world *world), uint64_t guard_closes)
{
    struct world world;
    world_create(&world, 100);
    expect_served(&world);
    long before = resident_kib();
    attack(&world);
    expect_served(&world);
    /* The door reads what was sent when its turn comes. */
    for (int i = 0; i < 1000 && stats_of(&world).guard_closes < guard_closes; i++) {
        (void)poll(NULL, 0, 10);
    }
    assert_int_equal(stats_of(&world).guard_closes, guard_closes);
    assert_true(resident_kib() - before < GROWTH_KIB_MAX);
    world_destroy(&world);
}

/* One header block over endless CONTINUATION frames (the library parses it in quadratic time). */
static void attack_continuation(struct world *world)
{
    static const char zeros[8000];
    int fd = attacker_connect(world);
    assert_true(push_hello(fd));
    assert_true(push_ack(fd));
    bool open = push_frame(fd, HEADERS, 0, 1, str_from(zeros, sizeof(zeros)));
    unsigned sent = 0;
    while (open && sent < 10000) {
        open = push_frame(fd, CONTINUATION, 0, 1, str_from(zeros, sizeof(zeros)));
        sent++;
    }
    assert_true(sent < 10000);
    (void)close(fd);
}

/* Blocks of references to one table entry, by a client that never acknowledges the limits. */
static void attack_header_bomb(struct world *world)
{
    char block[4000];
    int fd = attacker_connect(world);
    memset(block, 0x83, sizeof(block));
    assert_true(push_hello(fd));
    uint32_t stream = 1;
    bool open = true;
    while (open && stream < 1000) {
        open = push_frame(fd, HEADERS, END_HEADERS, stream, str_from(block, sizeof(block)));
        stream += 2;
    }
    expect_goaway(fd, 0xb);
    (void)close(fd);
}

static void attack_early_ack(struct world *world)
{
    int fd = attacker_connect(world);
    uint8_t both[sizeof(preface) + 9] = { 0 };
    memcpy(both, preface, sizeof(preface));
    both[sizeof(preface) + 3] = SETTINGS;
    both[sizeof(preface) + 4] = ACK;
    assert_true(push(fd, both, sizeof(both)));
    expect_goaway(fd, 1);
    (void)close(fd);
}

static void attack_rapid_reset(struct world *world)
{
    static const char cancel[4] = { 0, 0, 0, 8 };
    const struct str_view request = str_from((const char *)request_block, sizeof(request_block));
    int fd = attacker_connect(world);
    assert_true(push_hello(fd));
    assert_true(push_ack(fd));
    /* All at once: a reset of a call that is answered already would be in order. */
    AUTO_BUF struct buf frames = BUF_INIT(64 * 1024);
    for (uint32_t stream = 1; stream < 1200; stream += 2) {
        put_frame(&frames, HEADERS, END_HEADERS, stream, request);
        put_frame(&frames, RESET, 0, stream, str_from(cancel, sizeof(cancel)));
    }
    (void)push(fd, frames.data, frames.len);
    expect_goaway(fd, 0xb);
    expect_cut(world);
    (void)close(fd);
}

static void attack_pings(struct world *world)
{
    static const char payload[8];
    int fd = attacker_connect(world);
    assert_true(push_hello(fd));
    assert_true(push_ack(fd));
    bool open = true;
    unsigned sent = 0;
    while (open && sent < 1000000) {
        open = push_frame(fd, PING, ACK, 0, str_from(payload, sizeof(payload)));
        sent++;
    }
    assert_true(sent < 1000000);
    (void)close(fd);
}

/* Streams without end by a client that never acknowledges how many it may have. */
static void attack_streams(struct world *world)
{
    int fd = attacker_connect(world);
    assert_true(push_hello(fd));
    bool open = true;
    uint32_t stream = 1;
    while (open && stream < 100000) {
        open = push_frame(
            fd,
            HEADERS,
            END_HEADERS,
            stream,
            str_from((const char *)request_block, sizeof(request_block)));
        stream += 2;
    }
    expect_cut(world);
    (void)close(fd);
}

static void attack_storm(struct world *world)
{
    for (unsigned i = 0; i < 2000; i++) {
        int fd = attacker_connect(world);
        if (i % 4 == 0) {
            (void)push_hello(fd);
        }
        (void)close(fd);
    }
}

#define ATTACK_TEST(name, closes)            \
    static void test_##name(void **state)    \
    {                                        \
        (void)state;                         \
        run_attack(attack_##name, (closes)); \
    }

ATTACK_TEST(continuation, 1)
ATTACK_TEST(header_bomb, 1)
ATTACK_TEST(early_ack, 1)
ATTACK_TEST(rapid_reset, 1)
ATTACK_TEST(pings, 1)
ATTACK_TEST(streams, 1)
ATTACK_TEST(storm, 0)

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_continuation), cmocka_unit_test(test_header_bomb),
        cmocka_unit_test(test_early_ack),    cmocka_unit_test(test_rapid_reset),
        cmocka_unit_test(test_pings),        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
