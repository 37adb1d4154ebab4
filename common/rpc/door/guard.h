/*
 * Frame guard: checks what a client sends as HTTP/2 by the preface and the 9-byte frame heads
 * alone, before the library sees it, and watches the heads of what the library answers. It bounds
 * header blocks, frame sizes and the rates of frames that cost the receiver more than the sender,
 * and it knows whether an acknowledgement of SETTINGS is genuine (the library applies its limits
 * only after it). Pure: no I/O, no allocation, no clock of its own; not thread-safe. How the bytes
 * are cut into calls changes nothing.
 */
#ifndef COMMON_RPC_DOOR_GUARD_H
#define COMMON_RPC_DOOR_GUARD_H

#include "common/base/time.h"

enum {
    GUARD_PREFACE_BYTES = 24,
    GUARD_HEAD_BYTES = 9,
    GUARD_FRAME_BYTES = 16384, /* payload of a frame: HTTP/2's default, which the library keeps */
    GUARD_HEADER_BLOCK_BYTES = 16384, /* HEADERS and its CONTINUATIONs */
    GUARD_HEADER_BLOCK_FRAMES = 32,
    GUARD_UNACKED_HEADER_BYTES = 8192, /* header blocks before a genuine SETTINGS ACK */
    GUARD_SETTINGS_BYTES = 6 * 32,
    GUARD_GOAWAY_BYTES = 4096,
    GUARD_UNACKED_STREAMS = 100, /* opened before a genuine ACK, at least */
    GUARD_STRANGER_RESETS = 50,  /* per second, of a connection without a credential */
};

/* What is counted per second. */
enum guard_rate {
    GUARD_RATE_OPEN,
    GUARD_RATE_RESET,
    GUARD_RATE_PING,
    GUARD_RATE_SETTINGS,
    GUARD_RATE_ACK,
    GUARD_RATE_EMPTY_DATA,
    GUARD_RATE_WINDOW,
    GUARD_RATE_OTHER, /* PRIORITY, GOAWAY, trailers, padded DATA, unknown types */
    GUARD_RATE_COUNT
};

/* HTTP/2 error codes the guard answers with. */
enum guard_error {
    GUARD_NO_ERROR = 0x0,
    GUARD_PROTOCOL_ERROR = 0x1,
    GUARD_FRAME_SIZE_ERROR = 0x6,
    GUARD_ENHANCE_YOUR_CALM = 0xb
};

struct guard_frame {
    uint8_t head[GUARD_HEAD_BYTES];
    uint8_t head_len;
    uint32_t payload_left;
};

/* Fields are the guard's own, but for those named in the comments. */
struct guard {
    uint32_t unacked_streams; /* bound */
    bool is_known;            /* set by the owner: no stranger's, so that more may be reset */
    uint64_t openable;        /* set by the owner: streams that may be opened in all */
    bool is_waiting;          /* readable: the frame that comes would open more than that */
    uint8_t preface_len;
    bool has_settings; /* the client's first frame was its SETTINGS */
    bool has_request;  /* a frame came after a whole header block */
    struct guard_frame up;
    struct guard_frame down;
    uint32_t last_stream;
    uint32_t block_stream; /* of the header block that is open, else 0 */
    uint32_t block_bytes;
    uint32_t block_frames;
    uint32_t unacked_header_bytes;
    uint64_t opened;     /* readable: streams the client opened */
    uint64_t empty_ends; /* streams ended by an empty DATA frame */
    uint64_t settings_sent;
    uint64_t acks;
    struct mono_us window_start;
    uint32_t counts[GUARD_RATE_COUNT];
    uint32_t credits[GUARD_RATE_COUNT]; /* earned by what the server sent */
    uint64_t offset;                    /* readable: client bytes accepted */
    enum guard_error error;             /* readable after a refusal */
    const char *reason;                 /* the same; static text, NULL: none */
};

/* streams: allowed per connection (GUARD_UNACKED_STREAMS if fewer). */
void guard_init(struct guard *guard, unsigned streams);

/*
 * Bytes from the client. false: refused, for good; offset tells how many bytes were fine. Where
 * is_waiting is set the offset stands inside the head of the frame that has to wait: what is behind
 * it comes again once more is openable.
 */
bool guard_feed(struct guard *guard, const uint8_t *data, size_t bytes, struct mono_us now)
    MUST_CHECK;

/* Bytes from the library to the client (trusted), before they are sent. */
void guard_feed_down(struct guard *guard, const uint8_t *data, size_t bytes);

bool guard_has_preface(const struct guard *guard);
bool guard_has_request(const struct guard *guard); /* a whole header block has come */

/* The bytes of guard_feed_down end between two frames, so that another frame may follow. */
bool guard_is_down_boundary(const struct guard *guard);
bool guard_has_down(const struct guard *guard); /* the server's SETTINGS went down */

/* Allowed per second without credit; for tests and documentation. */
uint32_t guard_rate_limit(enum guard_rate rate);

enum {
    GUARD_GOAWAY_FRAME_BYTES = GUARD_HEAD_BYTES + 8 + GUARD_HEAD_BYTES
};

/* Writes the closing frames for error (an empty SETTINGS first if none went down); returns their
 * length. */
size_t guard_format_goaway(
    const struct guard *guard, enum guard_error error, uint8_t out[GUARD_GOAWAY_FRAME_BYTES]);

#endif
