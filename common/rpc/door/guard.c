#include "common/rpc/door/guard.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <string.h>

/* RFC 9113 section 6. */
enum frame_type {
    FRAME_DATA = 0x0,
    FRAME_HEADERS = 0x1,
    FRAME_PRIORITY = 0x2,
    FRAME_RST_STREAM = 0x3,
    FRAME_SETTINGS = 0x4,
    FRAME_PUSH_PROMISE = 0x5,
    FRAME_PING = 0x6,
    FRAME_GOAWAY = 0x7,
    FRAME_WINDOW_UPDATE = 0x8,
    FRAME_CONTINUATION = 0x9,
    FRAME_KNOWN_COUNT
};

enum {
    FLAG_ACK = 0x1,
    FLAG_END_STREAM = 0x1,
    FLAG_END_HEADERS = 0x4,
    FLAG_PADDED = 0x8
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static_assert(sizeof(preface) - 1 == GUARD_PREFACE_BYTES, "length of the preface");

enum {
    CREDIT_MAX = 1 << 20
};

/*
 * Clients measure the path with PING and open their windows with WINDOW_UPDATE as data arrives, and
 * may reset a stream that the server has ended: those frames are paid for by what was sent to them
 * (credits); the rest must fit here.
 */
static const struct {
    uint32_t per_second;
    const char *reason;
} rates[GUARD_RATE_COUNT] = {
    [GUARD_RATE_OPEN] = { 100000, "too many streams per second" },
    [GUARD_RATE_RESET] = { 200, "too many stream resets" },
    [GUARD_RATE_PING] = { 100, "too many pings" },
    [GUARD_RATE_SETTINGS] = { 50, "too many settings" },
    [GUARD_RATE_ACK] = { 50, "too many settings acknowledgements" },
    [GUARD_RATE_EMPTY_DATA] = { 100, "too many empty data frames" },
    [GUARD_RATE_WINDOW] = { 1000, "too many window updates" },
    [GUARD_RATE_OTHER] = { 100, "too many unusual frames" },
};

struct head {
    uint32_t length;
    uint8_t type;
    uint8_t flags;
    uint32_t stream;
};

void guard_init(struct guard *guard, unsigned streams)
{
    *guard = (struct guard){ .openable = UINT64_MAX };
    guard->unacked_streams = streams < GUARD_UNACKED_STREAMS ? GUARD_UNACKED_STREAMS : streams;
}

bool guard_has_preface(const struct guard *guard)
{
    return guard->preface_len == GUARD_PREFACE_BYTES;
}

bool guard_has_request(const struct guard *guard)
{
    bool is_whole = guard->block_stream == 0 && guard->up.payload_left == 0;
    return guard->has_request || (guard->opened > 0 && is_whole);
}

bool guard_is_down_boundary(const struct guard *guard)
{
    return guard->down.head_len == 0 && guard->down.payload_left == 0;
}

bool guard_has_down(const struct guard *guard)
{
    return guard->settings_sent > 0;
}

uint32_t guard_rate_limit(enum guard_rate rate)
{
    return rates[rate].per_second;
}

static bool refuse(struct guard *guard, enum guard_error error, const char *reason)
{
    guard->error = error;
    guard->reason = reason;
    return false;
}

static uint32_t limit_of(const struct guard *guard, enum guard_rate rate)
{
    return rate == GUARD_RATE_RESET && !guard->is_known ? GUARD_STRANGER_RESETS
                                                        : rates[rate].per_second;
}

static bool count(struct guard *guard, enum guard_rate rate)
{
    if (guard->counts[rate] < limit_of(guard, rate)) {
        guard->counts[rate]++;
        return true;
    }
    if (guard->credits[rate] > 0) {
        guard->credits[rate]--;
        return true;
    }
    return refuse(guard, GUARD_ENHANCE_YOUR_CALM, rates[rate].reason);
}

static void earn(struct guard *guard, enum guard_rate rate, uint32_t amount)
{
    uint32_t room = CREDIT_MAX - guard->credits[rate];
    guard->credits[rate] += amount < room ? amount : room;
}

/* The stream was opened by this client at some time. */
static bool was_opened(const struct guard *guard, uint32_t stream)
{
    return stream % 2 == 1 && stream <= guard->last_stream;
}

static bool is_acked(const struct guard *guard)
{
    return guard->acks > 0;
}

/* Bounds of the header block that this frame starts or continues. */
static bool check_block(struct guard *guard, const struct head *head)
{
    guard->block_bytes += head->length;
    guard->block_frames++;
    if (guard->block_bytes > GUARD_HEADER_BLOCK_BYTES
        || guard->block_frames > GUARD_HEADER_BLOCK_FRAMES) {
        return refuse(guard, GUARD_ENHANCE_YOUR_CALM, "header block too large");
    }
    if (!is_acked(guard)) {
        guard->unacked_header_bytes += head->length;
        if (guard->unacked_header_bytes > GUARD_UNACKED_HEADER_BYTES) {
            return refuse(
                guard, GUARD_ENHANCE_YOUR_CALM, "headers without acknowledging the settings");
        }
    }
    guard->block_stream = (head->flags & FLAG_END_HEADERS) != 0 ? 0 : head->stream;
    return true;
}

static bool on_data(struct guard *guard, const struct head *head)
{
    if (!was_opened(guard, head->stream)) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "data on a stream that is not open");
    }
    if ((head->flags & FLAG_PADDED) != 0) {
        return count(guard, GUARD_RATE_OTHER);
    }
    if (head->length > 0) {
        return true;
    }
    if ((head->flags & FLAG_END_STREAM) == 0) {
        return count(guard, GUARD_RATE_EMPTY_DATA);
    }
    guard->empty_ends++;
    if (guard->empty_ends > guard->opened) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "more streams ended than opened");
    }
    return true;
}

static bool on_headers(struct guard *guard, const struct head *head)
{
    if (head->stream % 2 == 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "stream number of a client must be odd");
    }
    if (head->stream <= guard->last_stream) { /* trailers */
        if (!count(guard, GUARD_RATE_OTHER)) {
            return false;
        }
    } else {
        guard->last_stream = head->stream;
        guard->opened++;
        if (!count(guard, GUARD_RATE_OPEN)) {
            return false;
        }
        if (!is_acked(guard) && guard->opened > guard->unacked_streams) {
            return refuse(
                guard, GUARD_ENHANCE_YOUR_CALM, "streams without acknowledging the settings");
        }
    }
    guard->block_bytes = 0;
    guard->block_frames = 0;
    return check_block(guard, head);
}

static bool on_settings(struct guard *guard, const struct head *head)
{
    if (head->stream != 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "settings on a stream");
    }
    if ((head->flags & FLAG_ACK) == 0) {
        if (head->length % 6 != 0 || head->length > GUARD_SETTINGS_BYTES) {
            return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of settings");
        }
        return count(guard, GUARD_RATE_SETTINGS);
    }
    if (head->length != 0) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of a settings acknowledgement");
    }
    guard->acks++;
    if (guard->acks > guard->settings_sent) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "acknowledged settings that were never sent");
    }
    return count(guard, GUARD_RATE_ACK);
}

static bool on_reset(struct guard *guard, const struct head *head)
{
    if (head->length != 4) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of a stream reset");
    }
    /* gRPC's clients also reset a stream they gave up before its headers went out. */
    if (head->stream % 2 == 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "reset of a stream that cannot be open");
    }
    return count(guard, GUARD_RATE_RESET);
}

static bool on_ping(struct guard *guard, const struct head *head)
{
    if (head->length != 8) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of a ping");
    }
    if (head->stream != 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "ping on a stream");
    }
    return count(guard, GUARD_RATE_PING);
}

static bool on_window_update(struct guard *guard, const struct head *head)
{
    if (head->length != 4) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of a window update");
    }
    if (head->stream != 0 && !was_opened(guard, head->stream)) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "window of a stream that is not open");
    }
    return count(guard, GUARD_RATE_WINDOW);
}

static bool on_priority(struct guard *guard, const struct head *head)
{
    if (head->length != 5) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of a priority frame");
    }
    if (head->stream == 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "priority without a stream");
    }
    return count(guard, GUARD_RATE_OTHER);
}

static bool on_goaway(struct guard *guard, const struct head *head)
{
    if (head->length < 8 || head->length > GUARD_GOAWAY_BYTES) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "size of a goaway");
    }
    if (head->stream != 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "goaway on a stream");
    }
    return count(guard, GUARD_RATE_OTHER);
}

static bool on_push_promise(struct guard *guard, const struct head *head)
{
    (void)head;
    return refuse(guard, GUARD_PROTOCOL_ERROR, "push promise from a client");
}

static bool on_continuation(struct guard *guard, const struct head *head)
{
    if (guard->block_stream == 0) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "continuation of nothing");
    }
    return check_block(guard, head);
}

static bool (*const on_frame[FRAME_KNOWN_COUNT])(struct guard *guard, const struct head *head) = {
    [FRAME_DATA] = on_data,
    [FRAME_HEADERS] = on_headers,
    [FRAME_PRIORITY] = on_priority,
    [FRAME_RST_STREAM] = on_reset,
    [FRAME_SETTINGS] = on_settings,
    [FRAME_PUSH_PROMISE] = on_push_promise,
    [FRAME_PING] = on_ping,
    [FRAME_GOAWAY] = on_goaway,
    [FRAME_WINDOW_UPDATE] = on_window_update,
    [FRAME_CONTINUATION] = on_continuation,
};

static bool on_head(struct guard *guard, const struct head *head)
{
    if (head->length > GUARD_FRAME_BYTES) {
        return refuse(guard, GUARD_FRAME_SIZE_ERROR, "frame too large");
    }
    if (!guard->has_settings) {
        if (head->type != FRAME_SETTINGS || (head->flags & FLAG_ACK) != 0) {
            return refuse(guard, GUARD_PROTOCOL_ERROR, "the first frame must be SETTINGS");
        }
        guard->has_settings = true;
    }
    if (guard->block_stream != 0
        && (head->type != FRAME_CONTINUATION || head->stream != guard->block_stream)) {
        return refuse(guard, GUARD_PROTOCOL_ERROR, "a frame inside a header block");
    }
    guard->has_request = guard->has_request || (guard->opened > 0 && guard->block_stream == 0);
    if (head->type >= FRAME_KNOWN_COUNT) {
        return count(guard, GUARD_RATE_OTHER);
    }
    return on_frame[head->type](guard, head);
}

static struct head parse_head(const uint8_t bytes[GUARD_HEAD_BYTES])
{
    return (struct head){
        .length = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2],
        .type = bytes[3],
        .flags = bytes[4],
        /* the top bit is reserved and ignored */
        .stream = ((uint32_t)bytes[5] & 0x7f) << 24 | (uint32_t)bytes[6] << 16
            | (uint32_t)bytes[7] << 8 | bytes[8],
    };
}

/* Takes payload and head bytes of one frame; returns how many. ret_has_head: a head is complete
 * now. */
static size_t take_frame_bytes(
    struct guard_frame *frame, const uint8_t *data, size_t bytes, bool *ret_has_head)
{
    *ret_has_head = false;
    if (frame->payload_left > 0) {
        size_t skipped = bytes < frame->payload_left ? bytes : frame->payload_left;
        frame->payload_left -= (uint32_t)skipped;
        return skipped;
    }
    size_t missing = (size_t)GUARD_HEAD_BYTES - frame->head_len;
    size_t taken = bytes < missing ? bytes : missing;
    memcpy(frame->head + frame->head_len, data, taken);
    frame->head_len = (uint8_t)(frame->head_len + taken);
    *ret_has_head = frame->head_len == GUARD_HEAD_BYTES;
    return taken;
}

static bool feed_preface(struct guard *guard, const uint8_t *data, size_t bytes, size_t *ret_taken)
{
    size_t at = 0;
    while (at < bytes && guard->preface_len < GUARD_PREFACE_BYTES) {
        if (data[at] != (uint8_t)preface[guard->preface_len]) {
            guard->offset += at;
            return refuse(guard, GUARD_PROTOCOL_ERROR, "not HTTP/2");
        }
        guard->preface_len++;
        at++;
    }
    guard->offset += at;
    *ret_taken = at;
    return true;
}

/* The head that has just come is taken back by its last byte when the stream it opens has to wait.
 */
static bool defer_stream(struct guard *guard, const struct head *head)
{
    guard->is_waiting = head->type == FRAME_HEADERS && head->stream > guard->last_stream
        && guard->opened >= guard->openable;
    if (guard->is_waiting) {
        guard->up.head_len--;
        guard->offset--;
    }
    return guard->is_waiting;
}

bool guard_feed(struct guard *guard, const uint8_t *data, size_t bytes, struct mono_us now)
{
    if (guard->reason != NULL) {
        return false;
    }
    if (now.value - guard->window_start.value >= US_PER_SECOND) {
        guard->window_start = now;
        memset(guard->counts, 0, sizeof(guard->counts));
    }
    size_t at = 0;
    guard->is_waiting = false;
    if (!feed_preface(guard, data, bytes, &at)) {
        return false;
    }
    while (at < bytes) {
        bool has_head = false;
        size_t taken = take_frame_bytes(&guard->up, data + at, bytes - at, &has_head);
        at += taken;
        guard->offset += taken;
        if (has_head) {
            struct head head = parse_head(guard->up.head);
            if (defer_stream(guard, &head)) {
                return true;
            }
            guard->up.head_len = 0;
            guard->up.payload_left = head.length;
            if (!on_head(guard, &head)) {
                return false;
            }
        }
    }
    return true;
}

static void on_down_head(struct guard *guard, const struct head *head)
{
    bool is_message = head->type == FRAME_DATA || head->type == FRAME_HEADERS;
    if (head->type == FRAME_SETTINGS && (head->flags & FLAG_ACK) == 0) {
        guard->settings_sent++;
    }
    if (is_message) {
        earn(guard, GUARD_RATE_PING, 1);
        earn(guard, GUARD_RATE_WINDOW, 2 + head->length / 1024);
    }
    if ((is_message && (head->flags & FLAG_END_STREAM) != 0) || head->type == FRAME_RST_STREAM) {
        earn(guard, GUARD_RATE_RESET, 1);
    }
}

void guard_feed_down(struct guard *guard, const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        bool has_head = false;
        at += take_frame_bytes(&guard->down, data + at, bytes - at, &has_head);
        if (has_head) {
            struct head head = parse_head(guard->down.head);
            guard->down.head_len = 0;
            guard->down.payload_left = head.length;
            on_down_head(guard, &head);
        }
    }
}

size_t guard_format_goaway(
    const struct guard *guard, enum guard_error error, uint8_t out[GUARD_GOAWAY_FRAME_BYTES])
{
    size_t at = 0;
    if (!guard_has_down(guard)) {
        const uint8_t settings[GUARD_HEAD_BYTES] = { 0, 0, 0, FRAME_SETTINGS };
        memcpy(out, settings, sizeof(settings));
        at = sizeof(settings);
    }
    uint32_t last = guard->last_stream;
    const uint8_t goaway[GUARD_HEAD_BYTES + 8] = {
        0,
        0,
        8,
        FRAME_GOAWAY,
        0,
        0,
        0,
        0,
        0,
        (uint8_t)(last >> 24),
        (uint8_t)(last >> 16),
        (uint8_t)(last >> 8),
        (uint8_t)last,
        0,
        0,
        0,
        (uint8_t)error,
    };
    memcpy(out + at, goaway, sizeof(goaway));
    return at + sizeof(goaway);
}
