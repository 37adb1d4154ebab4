/*
 * A door whose "library" is a thread per channel: it reads the preface, sends an empty SETTINGS as
 * a server would, and then does what the test asked for. And plain blocking clients, whose sockets
 * time out, so that a failing test ends.
 */
#ifndef TESTS_COMPONENT_COMMON_RPC_DOOR_FIXTURE_H
#define TESTS_COMPONENT_COMMON_RPC_DOOR_FIXTURE_H

#include "common/base/cleanup.h"
#include "common/rpc/door/door.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum library_mode {
    LIBRARY_ECHO,  /* returns what comes after the preface */
    LIBRARY_HOLD,  /* reads the preface and then nothing until released */
    LIBRARY_SEND,  /* writes send_bytes and closes */
    LIBRARY_REPLY, /* reads to the end, writes send_bytes, closes */
    LIBRARY_FILL,  /* writes until nothing more is taken, waits for the release, closes */
};

enum {
    CHANNELS_MAX = 2048,
    CLIENT_TIMEOUT_S = 20
};

struct channel {
    struct fixture *fixture;
    pthread_t thread;
    int fd;
    int number;
};

struct fixture {
    struct door *door;
    struct door_options options;
    enum library_mode mode;
    size_t send_bytes;
    int release[2]; /* closed writing end: HOLD and FILL go on */
    atomic_size_t filled;
    atomic_uint filled_count;
    atomic_uint channel_count;
    struct channel channels[CHANNELS_MAX];
};

static inline bool wait_fd(int fd, short events, int timeout_ms)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };
    return poll(&poll_fd, 1, timeout_ms) > 0;
}

/* Bytes written are numbered, so that the client can check them. */
static inline uint8_t pattern_at(size_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

static inline bool library_write(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t done = send(fd, at, bytes, MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) {
            (void)wait_fd(fd, POLLOUT, -1);
            continue;
        }
        if (done <= 0) {
            return false;
        }
        at += done;
        bytes -= (size_t)done;
    }
    return true;
}

static inline ssize_t library_read(int fd, void *data, size_t bytes)
{
    for (;;) {
        ssize_t got = recv(fd, data, bytes, 0);
        if (got >= 0 || errno != EAGAIN) {
            return got;
        }
        (void)wait_fd(fd, POLLIN, -1);
    }
}

static inline void library_send_pattern(int fd, size_t bytes)
{
    uint8_t block[4096];
    for (size_t at = 0; at < bytes; at += sizeof(block)) {
        size_t part = bytes - at < sizeof(block) ? bytes - at : sizeof(block);
        for (size_t i = 0; i < part; i++) {
            block[i] = pattern_at(at + i);
        }
        if (!library_write(fd, block, part)) {
            return;
        }
    }
}

static inline void library_fill(struct fixture *fixture, int fd)
{
    uint8_t block[4096] = { 0 };
    for (;;) {
        ssize_t done = send(fd, block, sizeof(block), MSG_NOSIGNAL);
        if (done > 0) {
            (void)atomic_fetch_add(&fixture->filled, (size_t)done);
        } else if (errno != EAGAIN || !wait_fd(fd, POLLOUT, 500)) {
            break;
        }
    }
    (void)atomic_fetch_add(&fixture->filled_count, 1);
    (void)wait_fd(fixture->release[0], POLLIN, -1);
}

static inline void *library_run(void *argument)
{
    struct channel *channel = argument;
    struct fixture *fixture = channel->fixture;
    static const uint8_t settings[9] = { 0, 0, 0, 4 };
    uint8_t block[8192];
    int fd = channel->fd;
    size_t preface = 0;
    ssize_t got = 1;
    while (preface < 24 && got > 0) {
        got = library_read(fd, block, 24 - preface);
        preface += got > 0 ? (size_t)got : 0;
    }
    (void)library_write(fd, settings, sizeof(settings));
    switch (fixture->mode) {
    case LIBRARY_ECHO:
        while ((got = library_read(fd, block, sizeof(block))) > 0
               && library_write(fd, block, (size_t)got)) {
        }
        break;
    case LIBRARY_HOLD:
        (void)wait_fd(fixture->release[0], POLLIN, -1);
        break;
    case LIBRARY_SEND:
        library_send_pattern(fd, fixture->send_bytes);
        break;
    case LIBRARY_REPLY:
        while (library_read(fd, block, sizeof(block)) > 0) {
        }
        library_send_pattern(fd, fixture->send_bytes);
        break;
    case LIBRARY_FILL:
        library_fill(fixture, fd);
        break;
    }
    (void)close(fd);
    return NULL;
}

static inline void fixture_on_channel(void *context, int take_fd)
{
    struct fixture *fixture = context;
    unsigned index = atomic_load(&fixture->channel_count);
    if (index >= CHANNELS_MAX) {
        (void)close(take_fd);
        return;
    }
    struct channel *channel = &fixture->channels[index];
    channel->fixture = fixture;
    channel->fd = take_fd;
    channel->number = take_fd;
    (void)pthread_create(&channel->thread, NULL, library_run, channel);
    atomic_store(&fixture->channel_count, index + 1);
}

static inline struct fixture *fixture_create(enum library_mode mode)
{
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->mode = mode;
    fixture->options = (struct door_options){
        .limits = {
            .connections = 100,
            .connections_per_address = 1024,
            .handshakes_per_second_per_address = 1000,
            .strangers_per_address = 1000,
            .strangers_per_second_per_address = 1000,
            .streams_per_connection = 100,
            .calls_in_flight = 100,
            .queued_bytes_per_stream = 1 << 20,
            .handshake_timeout_us = 30 * US_PER_SECOND,
            .first_request_timeout_us = 30 * US_PER_SECOND,
            .unread_timeout_us = 60 * US_PER_SECOND,
            .stranger_idle_timeout_us = 60 * US_PER_SECOND,
            .stranger_burst_bytes = 1 << 30,
            .stranger_bytes_per_second = 1 << 30,
            .stranger_call_bytes = 1,
            .stranger_calls = 32,
            .stranger_refusals = 32,
        },
        .on_channel = fixture_on_channel,
        .context = fixture,
    };
    assert_int_equal(pipe(fixture->release), 0);
    return fixture;
}

static inline void fixture_start(struct fixture *fixture)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, door_create(&fixture->options, &fixture->door, &err));
    assert_ok_err(err, door_start(fixture->door, &err));
}

static inline uint16_t fixture_listen(
    struct fixture *fixture, const char *name, const char *address, const struct rpc_tls_files *tls)
{
    struct err_info err = ERR_INFO_INIT;
    uint16_t port = 0;
    const struct rpc_listen_options options = { .name = name, .address = address, .tls = tls };
    assert_ok_err(err, door_listen(fixture->door, &options, &port, &err));
    return port;
}

static inline void fixture_release(struct fixture *fixture)
{
    fd_close(&fixture->release[1]);
}

static inline void fixture_destroy(struct fixture *fixture)
{
    fixture_release(fixture);
    door_destroy(fixture->door);
    for (unsigned i = 0; i < atomic_load(&fixture->channel_count); i++) {
        (void)pthread_join(fixture->channels[i].thread, NULL);
    }
    fd_close(&fixture->release[0]);
    mem_free(fixture);
}

static inline struct rpc_server_stats fixture_stats(struct fixture *fixture)
{
    struct rpc_server_stats stats = { 0 };
    door_get_stats(fixture->door, &stats);
    return stats;
}

/* Waits until a condition on the counters holds (20 s at most). */
#define WAIT_UNTIL(condition)                    \
    do {                                         \
        int wait_rounds_ = 0;                    \
        while (!(condition)) {                   \
            assert_true(wait_rounds_++ < 20000); \
            (void)poll(NULL, 0, 1);              \
        }                                        \
    } while (0)

/* ---- Clients ---- */

static const char CLIENT_PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

enum {
    CLIENT_PREFACE_BYTES = 24 + 9
};

static inline void set_timeouts(int fd)
{
    struct timeval timeout = { .tv_sec = CLIENT_TIMEOUT_S };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

static inline int client_connect_fd(int fd, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    set_timeouts(fd);
    return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

static inline int client_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(client_connect_fd(fd, port), 0);
    return fd;
}

static inline int client_connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    set_timeouts(fd);
    assert_ok(str_copy(str_of(path), address.sun_path, sizeof(address.sun_path)));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static inline void client_send(int fd, const void *data, size_t bytes)
{
    assert_int_equal(send(fd, data, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

static inline void client_send_preface(int fd)
{
    client_send(fd, CLIENT_PREFACE, CLIENT_PREFACE_BYTES);
}

/* Bytes until the end of the stream, at most cap. */
static inline size_t client_read_to_end(int fd, uint8_t *data, size_t cap)
{
    size_t total = 0;
    while (total < cap) {
        ssize_t got = recv(fd, data + total, cap - total, 0);
        if (got <= 0) {
            assert_true(got == 0 || errno == ECONNRESET);
            break;
        }
        total += (size_t)got;
    }
    return total;
}

static inline void client_expect(int fd, const void *data, size_t bytes)
{
    uint8_t *got = mem_alloc(bytes);
    size_t at = 0;
    while (at < bytes) {
        ssize_t part = recv(fd, got + at, bytes - at, 0);
        assert_true(part > 0);
        at += (size_t)part;
    }
    assert_memory_equal(got, data, bytes);
    mem_free(got);
}

/* The server's SETTINGS and the echo of the client's own. */
static inline void client_expect_hello(int fd)
{
    static const uint8_t both[18] = { 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4 };
    client_expect(fd, both, sizeof(both));
}

#endif
