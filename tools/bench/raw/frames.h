/*
 * As much of HTTP/2 as a bench needs to speak gRPC to a server: requests made of bytes, and the
 * heads of frames that come back. Pure.
 */
#ifndef TOOLS_BENCH_RAW_FRAMES_H
#define TOOLS_BENCH_RAW_FRAMES_H

#include "common/base/buf.h"

enum {
    FRAME_HEAD_BYTES = 9,
    FRAME_KEPT_BYTES = 8 /* of a payload: enough for PING */
};

enum frame_type {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RESET = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7
};

enum frame_flags {
    FRAME_END_STREAM = 1,
    FRAME_ACK = 1,
    FRAME_END_HEADERS = 4
};

struct frame {
    enum frame_type type;
    unsigned flags;
    uint32_t stream;
    uint32_t bytes; /* of the payload */
    uint8_t kept[FRAME_KEPT_BYTES];
};

/* Cuts what comes into frames; zeroed: at the start of one. */
struct frame_reader {
    struct buf *data; /* gets the payload of each DATA frame; NULL: nobody asks */
    uint8_t head[FRAME_HEAD_BYTES];
    uint8_t head_len;
    uint8_t kept_len;
    uint32_t left;
    struct frame frame;
};

/* Takes bytes from *data on until a frame is whole (true; in reader->frame) or none are left. */
bool frame_read(struct frame_reader *reader, const uint8_t **data, size_t *bytes);

struct frame_request {
    const char *path;
    struct str_view token; /* NULL pointer: no authorization */
    bool spells_token;     /* not kept in the header table: each request has its own, or none */
    struct str_view message;
    bool is_tls;
    bool ends; /* nothing follows the message: a unary call */
};

/* The client's preface and its empty SETTINGS. */
void frame_preface(struct buf *out);

/* The first request of a connection fills the server's header table; later ones refer to it, as
 * clients do. */
void frame_request(struct buf *out, const struct frame_request *request, uint32_t stream);

/* A further message of a stream. */
void frame_message(struct buf *out, uint32_t stream, struct str_view message, bool ends);

void frame_settings_ack(struct buf *out);
void frame_ping_ack(struct buf *out, const uint8_t kept[FRAME_KEPT_BYTES]);

#endif
