/*
 * HTTP/2 over TLS by hand, for clients that do not behave and for one that does. The server's
 * certificate is not looked at: it is ours, on loopback. Blocking, one thread per connection.
 */
#ifndef TOOLS_BENCH_HOSTILE_WIRE_H
#define TOOLS_BENCH_HOSTILE_WIRE_H

#include "common/base/str.h"

#include <openssl/ssl.h>

enum {
    WIRE_HEAD_BYTES = 9,
    WIRE_FRAME_MAX = 16384,
    WIRE_BLOCK_MAX = 256
};

enum wire_type {
    WIRE_DATA = 0,
    WIRE_HEADERS = 1,
    WIRE_RESET = 3,
    WIRE_SETTINGS = 4,
    WIRE_PING = 6,
    WIRE_WINDOW = 8,
    WIRE_CONTINUATION = 9
};

enum wire_flag {
    WIRE_NONE = 0,
    WIRE_END_STREAM = 1,
    WIRE_ACK = 1,
    WIRE_END_HEADERS = 4
};

struct wire {
    int fd;
    SSL *ssl;
    uint32_t stream; /* next */
};

#define WIRE_INIT \
    {             \
        .fd = -1  \
    }

SSL_CTX *wire_context(void);

/* A TCP connection to loopback, -1: refused. */
int wire_connect(uint16_t port);

/* Handshake, preface, SETTINGS; has_ack: also reads the server's and acknowledges them. false:
 * refused or not in five seconds. */
bool wire_open(struct wire *wire, SSL_CTX *context, uint16_t port, bool has_ack);
void wire_close(struct wire *wire);

/* false: the server has closed, or has taken nothing for half a second. */
bool wire_send(struct wire *wire, const void *data, size_t bytes);

/* Writes a frame's head; returns its length. */
size_t wire_head(uint8_t *out, size_t length, enum wire_type type, unsigned flags, uint32_t stream);

/* The header block of a call of path; returns its length. key: the caller's, NULL: none. */
size_t wire_request(uint8_t out[WIRE_BLOCK_MAX], const char *path, const char *key);

/* An empty request on the next stream, answered; the time in microseconds, -1: not answered. */
int64_t wire_call(struct wire *wire, const char *path, const char *key);

#endif
