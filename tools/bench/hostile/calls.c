#include "tools/bench/hostile/calls.h"

#include "common/base/cleanup.h"
#include "common/base/time.h"

#include <openssl/err.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>

enum {
    OPEN_MAX = 30, /* calls at once */
    OUT_BYTES = 8192,
    CALL_BYTES_MAX = 2 * WIRE_HEAD_BYTES + 5 + 2 * WIRE_BLOCK_MAX,
    INDEXED = 0x80,
    INDEXING = 0x40,
    DYNAMIC_FIRST = 62, /* of HPACK's table: the field that was added last */
    FIELDS_MAX = 5,
    GOAWAY = 7,
};

const struct call_flood call_floods[] = {
    { "health checks", "/grpc.health.v1.Health/Check", false, true },
    { "reads without a credential", "/agentgateway.v1.AgentAdminService/ListAgents", false, false },
    { "reads with a token of nobody",
      "/agentgateway.v1.AgentAdminService/ListAgents",
      true,
      false },
    { "audited writes with a token of nobody",
      "/agentgateway.v1.AgentAdminService/RevokeAgent",
      true,
      false },
    { "paths that are none", "/no.such.Service/Method", false, false },
};

const size_t call_flood_count = ARRAY_LENGTH(call_floods);

struct flooding {
    struct wire *wire;
    const struct call_flood *flood;
    struct call_tally *tally;
    unsigned open;
    bool is_indexed; /* the fields stand in the table */
    uint8_t out[OUT_BYTES];
    size_t out_at;
    size_t out_len;
    uint8_t head[WIRE_HEAD_BYTES];
    size_t head_len;
    size_t payload_left;
};

static size_t put_text(uint8_t *out, const char *text)
{
    size_t bytes = strlen(text);
    out[0] = (uint8_t)bytes; /* under 127 */
    memcpy(out + 1, text, bytes);
    return bytes + 1;
}

static size_t put_block(const struct flooding *self, uint8_t *out)
{
    const char *const fields[FIELDS_MAX][2] = {
        { ":path", self->flood->path },
        { ":authority", "localhost" },
        { "content-type", "application/grpc" },
        { "te", "trailers" },
        { "authorization", "Bearer bls_bm9ib2R5J3MgdG9rZW4sIHdoaWNoIG5vYm9keSBoYXM" },
    };
    size_t count = self->flood->has_token ? FIELDS_MAX : FIELDS_MAX - 1;
    size_t at = 0;
    out[at++] = 0x83; /* POST */
    out[at++] = 0x87; /* https */
    for (size_t i = 0; i < count; i++) {
        if (self->is_indexed) {
            out[at++] = (uint8_t)(INDEXED | (DYNAMIC_FIRST + (count - 1 - i)));
        } else {
            out[at++] = INDEXING;
            at += put_text(out + at, fields[i][0]);
            at += put_text(out + at, fields[i][1]);
        }
    }
    return at;
}

static void put_call(struct flooding *self)
{
    static const uint8_t empty[5];
    uint8_t block[2 * WIRE_BLOCK_MAX];
    uint8_t *out = self->out + self->out_len;
    bool has_request = self->flood->has_request;
    unsigned ends = has_request ? WIRE_NONE : WIRE_END_STREAM;
    size_t bytes = put_block(self, block);
    size_t at = wire_head(out, bytes, WIRE_HEADERS, WIRE_END_HEADERS | ends, self->wire->stream);
    memcpy(out + at, block, bytes);
    at += bytes;
    if (has_request) {
        at += wire_head(out + at, sizeof(empty), WIRE_DATA, WIRE_END_STREAM, self->wire->stream);
        memcpy(out + at, empty, sizeof(empty));
        at += sizeof(empty);
    }
    self->out_len += at;
    self->wire->stream += 2;
    self->is_indexed = true;
    self->open++;
}

/* false: nothing more now. */
static bool note_result(struct flooding *self, int result)
{
    int error = SSL_get_error(self->wire->ssl, result);
    ERR_clear_error();
    bool waits = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    self->tally->is_cut = self->tally->is_cut || (result <= 0 && !waits);
    return result > 0;
}

static void send_calls(struct flooding *self)
{
    while (self->open < OPEN_MAX && self->out_len + CALL_BYTES_MAX <= OUT_BYTES) {
        put_call(self);
    }
    if (self->out_at < self->out_len) {
        int sent = SSL_write(
            self->wire->ssl, self->out + self->out_at, (int)(self->out_len - self->out_at));
        if (note_result(self, sent)) {
            self->out_at += (size_t)sent;
            self->tally->sent_bytes += (size_t)sent;
        }
    }
    if (self->out_at == self->out_len) {
        self->out_at = 0;
        self->out_len = 0;
    }
}

static void take_frame(struct flooding *self)
{
    bool is_answer =
        self->head[3] == WIRE_HEADERS && (self->head[4] & (unsigned)WIRE_END_STREAM) != 0;
    self->tally->answered += is_answer ? 1 : 0;
    self->open -= is_answer && self->open > 0 ? 1 : 0;
    self->tally->is_cut = self->tally->is_cut || self->head[3] == GOAWAY;
}

static void take_bytes(struct flooding *self, const uint8_t *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        if (self->payload_left > 0) {
            self->payload_left--;
            continue;
        }
        self->head[self->head_len++] = data[at];
        if (self->head_len == WIRE_HEAD_BYTES) {
            self->head_len = 0;
            self->payload_left =
                (size_t)self->head[0] << 16 | (size_t)self->head[1] << 8 | self->head[2];
            take_frame(self);
        }
    }
}

static void read_answers(struct flooding *self)
{
    uint8_t data[4096];
    int got = 0;
    do {
        got = SSL_read(self->wire->ssl, data, sizeof(data));
        if (got > 0) {
            take_bytes(self, data, (size_t)got);
        }
    } while (note_result(self, got));
}

/* So much that no answer has to wait for it. */
static void open_window(struct flooding *self)
{
    self->out_len = wire_head(self->out, 4, WIRE_WINDOW, WIRE_NONE, 0);
    memcpy(self->out + self->out_len, "\x3f\xff\0\0", 4);
    self->out_len += 4;
}

void calls_flood(
    struct wire *wire,
    const struct call_flood *flood,
    int64_t duration_us,
    struct call_tally *tally)
{
    struct flooding flooding = { .wire = wire, .flood = flood, .tally = tally };
    int64_t end_us = clock_mono(clock_system()).value + duration_us;
    (void)fcntl(wire->fd, F_SETFL, O_NONBLOCK);
    (void)SSL_set_mode(
        wire->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    open_window(&flooding);
    while (!tally->is_cut && clock_mono(clock_system()).value < end_us) {
        send_calls(&flooding);
        read_answers(&flooding);
        short writes = flooding.out_at < flooding.out_len ? POLLOUT : 0;
        struct pollfd poll_fd = { .fd = wire->fd, .events = (short)(POLLIN | writes) };
        (void)poll(&poll_fd, 1, 10);
    }
}
