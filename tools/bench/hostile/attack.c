#include "tools/bench/hostile/attack.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <openssl/err.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t put_frame(
    uint8_t *out, enum wire_type type, unsigned flags, uint32_t stream, struct str_view payload)
{
    size_t at = wire_head(out, payload.len, type, flags, stream);
    if (payload.len > 0) {
        memcpy(out + at, payload.ptr, payload.len);
    }
    return at + payload.len;
}

/* The same frame again and again. */
static size_t repeat(
    uint8_t *out, enum wire_type type, unsigned flags, uint32_t stream, struct str_view payload)
{
    size_t at = 0;
    while (at + WIRE_HEAD_BYTES + payload.len <= FLOOD_CHUNK_BYTES) {
        at += put_frame(out + at, type, flags, stream, payload);
    }
    return at;
}

/* ---- Floods: one header block without end ---- */

/* The same CONTINUATION frame again and again, behind a first piece. */
static size_t fill_block(
    struct wire *wire, uint8_t *out, struct str_view first, struct str_view more)
{
    size_t at = 0;
    if (wire->stream == 1) {
        wire->stream = 3;
        at = put_frame(out, WIRE_HEADERS, WIRE_NONE, 1, first);
    }
    while (at + WIRE_HEAD_BYTES + more.len <= FLOOD_CHUNK_BYTES) {
        at += put_frame(out + at, WIRE_CONTINUATION, WIRE_NONE, 1, more);
    }
    return at;
}

/* Fields "a: b", five bytes each. */
static size_t fill_continuation(struct wire *wire, uint8_t *out)
{
    char fields[8000];
    for (size_t at = 0; at < sizeof(fields); at += 5) {
        memcpy(fields + at, "\0\1a\1b", 5);
    }
    return fill_block(wire, out, str_from("\x83", 1), str_from(fields, sizeof(fields)));
}

/* A value of 256 MiB. */
static size_t fill_value(struct wire *wire, uint8_t *out)
{
    char value[8000];
    memset(value, 'b', sizeof(value));
    return fill_block(
        wire, out, str_from("\0\1a\x7f\x81\xff\xff\x7f", 8), str_from(value, sizeof(value)));
}

/* ---- Floods: streams ---- */

/* One byte each for a field of the table: much memory for little. */
static size_t fill_references(struct wire *wire, uint8_t *out)
{
    char block[15000];
    size_t at = 0;
    memset(block, 0x83, sizeof(block)); /* :method: POST */
    while (at + WIRE_HEAD_BYTES + sizeof(block) <= FLOOD_CHUNK_BYTES) {
        at += put_frame(
            out + at, WIRE_HEADERS, WIRE_END_HEADERS, wire->stream, str_from(block, sizeof(block)));
        wire->stream += 2;
    }
    return at;
}

static size_t put_call(struct wire *wire, uint8_t *out)
{
    uint8_t block[WIRE_BLOCK_MAX];
    size_t bytes = wire_request(block, "/agentgateway.v1.AgentGatewayService/Register", NULL);
    return put_frame(
        out, WIRE_HEADERS, WIRE_END_HEADERS, wire->stream, str_from((char *)block, bytes));
}

static size_t fill_resets(struct wire *wire, uint8_t *out)
{
    size_t at = 0;
    while (at + 2 * WIRE_HEAD_BYTES + WIRE_BLOCK_MAX + 4 <= FLOOD_CHUNK_BYTES) {
        at += put_call(wire, out + at);
        at += put_frame(out + at, WIRE_RESET, WIRE_NONE, wire->stream, STR("\0\0\0\x08"));
        wire->stream += 2;
    }
    return at;
}

/* Calls whose request begins and does not end, as many as may be open. */
static size_t fill_parked(struct wire *wire, uint8_t *out)
{
    char part[WIRE_FRAME_MAX - 1000] = { 0, 0, 1 }; /* of a message of 64 KiB */
    size_t at = 0;
    while (wire->stream < 200
           && at + 2 * WIRE_HEAD_BYTES + WIRE_BLOCK_MAX + sizeof(part) <= FLOOD_CHUNK_BYTES) {
        at += put_call(wire, out + at);
        at += put_frame(out + at, WIRE_DATA, WIRE_NONE, wire->stream, str_from(part, sizeof(part)));
        wire->stream += 2;
    }
    return at > 0 ? at : put_frame(out, WIRE_PING, WIRE_ACK, 0, STR("12345678"));
}

/* ---- Floods: small frames ---- */

static size_t fill_pings(struct wire *wire, uint8_t *out)
{
    (void)wire;
    return repeat(out, WIRE_PING, WIRE_NONE, 0, STR("12345678"));
}

static size_t fill_settings(struct wire *wire, uint8_t *out)
{
    (void)wire;
    return repeat(out, WIRE_SETTINGS, WIRE_NONE, 0, STR("\0\4\0\1\0\0"));
}

static size_t fill_empty_data(struct wire *wire, uint8_t *out)
{
    if (wire->stream == 1) {
        size_t bytes = put_call(wire, out);
        wire->stream += 2;
        return bytes;
    }
    return repeat(out, WIRE_DATA, WIRE_NONE, 1, STR_NONE);
}

static size_t fill_windows(struct wire *wire, uint8_t *out)
{
    (void)wire;
    return repeat(out, WIRE_WINDOW, WIRE_NONE, 0, STR("\0\0\0\1"));
}

const struct flood floods[] = {
    { "header block without end", true, fill_continuation },
    { "header value without end", true, fill_value },
    { "table references, settings not acknowledged", false, fill_references },
    { "table references", true, fill_references },
    { "rapid reset", true, fill_resets },
    { "requests that do not end", true, fill_parked },
    { "PING", true, fill_pings },
    { "SETTINGS", true, fill_settings },
    { "empty DATA", true, fill_empty_data },
    { "WINDOW_UPDATE", true, fill_windows },
};

const size_t flood_count = ARRAY_LENGTH(floods);

/* ---- Sieges ---- */

static void rest_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* Connections that say nothing, held to the end. */
static unsigned run_silent(uint16_t port, unsigned scale, const volatile bool *stop)
{
    int *fds = mem_alloc_array(scale, sizeof(*fds));
    unsigned made = 0;
    for (; made < scale && !*stop; made++) {
        fds[made] = wire_connect(port);
    }
    while (!*stop) {
        rest_ms(20);
    }
    for (unsigned i = 0; i < made; i++) {
        fd_close(&fds[i]);
    }
    mem_free(fds);
    return made;
}

static unsigned run_connects(uint16_t port, unsigned scale, const volatile bool *stop)
{
    unsigned made = 0;
    for (; made < scale * 5 && !*stop; made++) {
        int fd = wire_connect(port);
        fd_close(&fd);
    }
    while (!*stop) {
        rest_ms(20);
    }
    return made;
}

/* After the handshake a header block comes a byte at a time. */
static unsigned run_slow(uint16_t port, unsigned scale, const volatile bool *stop)
{
    SSL_CTX *context = wire_context();
    unsigned count = scale / 20;
    struct wire *wires = mem_alloc_array(count, sizeof(*wires));
    uint8_t frame[WIRE_HEAD_BYTES + 1];
    unsigned made = 0;
    for (unsigned i = 0; i < count && !*stop; i++) {
        made += wire_open(&wires[i], context, port, true) ? 1 : 0;
    }
    for (unsigned round = 0; !*stop; round++) {
        size_t bytes = wire_head(frame, 1, round == 0 ? WIRE_HEADERS : WIRE_CONTINUATION, 0, 1);
        frame[bytes] = 0x83;
        for (unsigned i = 0; i < count; i++) {
            if (wires[i].ssl != NULL) {
                (void)wire_send(&wires[i], frame, sizeof(frame));
            }
        }
        rest_ms(100);
    }
    for (unsigned i = 0; i < count; i++) {
        wire_close(&wires[i]);
    }
    mem_free(wires);
    SSL_CTX_free(context);
    return made;
}

/* The bytes of a first flight, to be sent again and again: the server signs, the peer does not. */
static size_t client_hello(uint8_t *out, size_t room)
{
    SSL_CTX *context = wire_context();
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *sent = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, sent);
    (void)SSL_connect(ssl);
    int bytes = BIO_read(sent, out, (int)room);
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    return bytes > 0 ? (size_t)bytes : 0;
}

enum {
    HELLOS_AT_ONCE = 200
};

static unsigned run_handshakes(uint16_t port, unsigned scale, const volatile bool *stop)
{
    uint8_t hello[1024];
    int fds[HELLOS_AT_ONCE];
    size_t bytes = client_hello(hello, sizeof(hello));
    unsigned made = 0;
    (void)scale;
    memset(fds, -1, sizeof(fds));
    for (size_t at = 0; !*stop; at = (at + 1) % HELLOS_AT_ONCE) {
        fd_close(&fds[at]);
        fds[at] = wire_connect(port);
        if (fds[at] >= 0 && send(fds[at], hello, bytes, MSG_NOSIGNAL) == (ssize_t)bytes) {
            made++;
        }
    }
    for (size_t i = 0; i < HELLOS_AT_ONCE; i++) {
        fd_close(&fds[i]);
    }
    return made;
}

const struct siege sieges[] = {
    { "silent connections beyond the descriptors", run_silent },
    { "connect and close", run_connects },
    { "slow headers", run_slow },
    { "TLS handshakes that are not finished", run_handshakes },
};

const size_t siege_count = ARRAY_LENGTH(sieges);
