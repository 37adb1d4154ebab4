#include "tools/bench/raw/frames.h"

#include "common/base/cleanup.h"

/* HPACK: names of the static table, and where the first request's headers stand afterwards. */
enum {
    HPACK_POST = 0x83,
    HPACK_HTTP = 0x86,
    HPACK_HTTPS = 0x87,
    HPACK_PATH_PLAIN = 0x04, /* the name by its index, not to be kept */
    HPACK_KEEP = 0x40,
    HPACK_NEVER_KEEP = 0x10,
    HPACK_INDEXED = 0x80,
    HPACK_NEWEST = 62,
    HEADERS_BYTES_MAX = 1024,
    GRPC_PREFIX_BYTES = 5
};

static const struct {
    const char *name;
    const char *value;
} fixed[] = {
    { ":authority", "belay-server" },
    { "content-type", "application/grpc" },
    { "te", "trailers" },
    { "user-agent", "belay-bench" },
};

static void append_head(struct buf *out, size_t bytes, enum frame_type type, unsigned flags)
{
    buf_append_char(out, (char)(bytes >> 16));
    buf_append_char(out, (char)(bytes >> 8));
    buf_append_char(out, (char)bytes);
    buf_append_char(out, (char)type);
    buf_append_char(out, (char)flags);
}

static void append_u32(struct buf *out, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        buf_append_char(out, (char)(value >> shift));
    }
}

/* Lengths below 127 only: all of ours are. */
static void append_text(struct buf *out, struct str_view text)
{
    buf_append_char(out, (char)text.len);
    buf_append_str(out, text);
}

static void append_kept(struct buf *out, const char *name, struct str_view value)
{
    buf_append_char(out, HPACK_KEEP);
    append_text(out, str_of(name));
    append_text(out, value);
}

static void append_spelled(struct buf *out, struct str_view token)
{
    AUTO_FREE char *value = mem_printf("Bearer %.*s", STR_ARG(token));
    buf_append_char(out, HPACK_NEVER_KEEP);
    append_text(out, STR("authorization"));
    append_text(out, str_of(value));
}

static void append_first(struct buf *out, const struct frame_request *request)
{
    append_kept(out, ":path", str_of(request->path));
    for (unsigned i = 0; i < ARRAY_LENGTH(fixed); i++) {
        append_kept(out, fixed[i].name, str_of(fixed[i].value));
    }
    if (request->token.ptr != NULL && request->spells_token) {
        append_spelled(out, request->token);
    } else if (request->token.ptr != NULL) {
        AUTO_FREE char *value = mem_printf("Bearer %.*s", STR_ARG(request->token));
        append_kept(out, "authorization", str_of(value));
    }
}

/* The fixed ones were put in after the first path; authorization, if any, last. */
static void append_again(struct buf *out, const struct frame_request *request)
{
    bool has_token = request->token.ptr != NULL;
    unsigned last = has_token && !request->spells_token ? 1 : 0;
    buf_append_char(out, HPACK_PATH_PLAIN);
    append_text(out, str_of(request->path));
    for (unsigned i = ARRAY_LENGTH(fixed); i > 0; i--) {
        buf_append_char(out, (char)(HPACK_INDEXED | (HPACK_NEWEST + last + i - 1)));
    }
    if (last > 0) {
        buf_append_char(out, (char)(HPACK_INDEXED | HPACK_NEWEST));
    } else if (has_token) {
        append_spelled(out, request->token);
    }
}

void frame_preface(struct buf *out)
{
    buf_append_str(out, STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    append_head(out, 0, FRAME_SETTINGS, 0);
    append_u32(out, 0);
}

void frame_request(struct buf *out, const struct frame_request *request, uint32_t stream)
{
    AUTO_BUF struct buf headers = BUF_INIT(HEADERS_BYTES_MAX);
    buf_append_char(&headers, (char)HPACK_POST);
    buf_append_char(&headers, (char)(request->is_tls ? HPACK_HTTPS : HPACK_HTTP));
    if (stream == 1) {
        append_first(&headers, request);
    } else {
        append_again(&headers, request);
    }
    append_head(out, headers.len, FRAME_HEADERS, FRAME_END_HEADERS);
    append_u32(out, stream);
    buf_append_str(out, buf_view(&headers));
    frame_message(out, stream, request->message, request->ends);
}

void frame_message(struct buf *out, uint32_t stream, struct str_view message, bool ends)
{
    append_head(out, message.len + GRPC_PREFIX_BYTES, FRAME_DATA, ends ? FRAME_END_STREAM : 0);
    append_u32(out, stream);
    buf_append_char(out, 0);
    append_u32(out, (uint32_t)message.len);
    buf_append_str(out, message);
}

void frame_settings_ack(struct buf *out)
{
    append_head(out, 0, FRAME_SETTINGS, FRAME_ACK);
    append_u32(out, 0);
}

void frame_ping_ack(struct buf *out, const uint8_t kept[FRAME_KEPT_BYTES])
{
    append_head(out, FRAME_KEPT_BYTES, FRAME_PING, FRAME_ACK);
    append_u32(out, 0);
    buf_append(out, kept, FRAME_KEPT_BYTES);
}

static void begin_frame(struct frame_reader *reader)
{
    const uint8_t *head = reader->head;
    reader->frame.bytes = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    reader->frame.type = (enum frame_type)head[3];
    reader->frame.flags = head[4];
    reader->frame.stream =
        ((uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8])
        & INT32_MAX;
    reader->left = reader->frame.bytes;
    reader->kept_len = 0;
}

bool frame_read(struct frame_reader *reader, const uint8_t **data, size_t *bytes)
{
    while (reader->head_len<FRAME_HEAD_BYTES && * bytes> 0) {
        reader->head[reader->head_len++] = **data;
        (*data)++;
        (*bytes)--;
        if (reader->head_len == FRAME_HEAD_BYTES) {
            begin_frame(reader);
        }
    }
    while (reader->left > 0 && *bytes > 0) {
        if (reader->kept_len < FRAME_KEPT_BYTES) {
            reader->frame.kept[reader->kept_len++] = **data;
        }
        if (reader->data != NULL && reader->frame.type == FRAME_DATA) {
            buf_append_char(reader->data, (char)**data);
        }
        (*data)++;
        (*bytes)--;
        reader->left--;
    }
    if (reader->head_len < FRAME_HEAD_BYTES || reader->left > 0) {
        return false;
    }
    reader->head_len = 0;
    return true;
}
