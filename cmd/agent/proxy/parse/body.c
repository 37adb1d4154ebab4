#include "cmd/agent/proxy/parse/body.h"

enum {
    DIGITS_MAX = 15, /* of a chunk's size */
    EXTRA_BYTES_MAX = 8192
};

void body_init(struct body *body, const struct framing *framing, bool lenient)
{
    *body = (struct body){
        .kind = framing->kind, .lenient = lenient, .state = BODY_SIZE, .left = framing->length
    };
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_size(struct body *body, char c)
{
    int value = hex_value(c);
    if (value >= 0) {
        body->left = body->left * 16 + (uint64_t)value;
        return ++body->digits <= DIGITS_MAX;
    }
    body->state = c == '\r' ? BODY_SIZE_END : BODY_EXTENSION;
    return body->digits > 0 && (c == '\r' || (body->lenient && (c == ';' || c == ' ')));
}

static bool end_size(struct body *body)
{
    body->state = body->left > 0 ? BODY_DATA : BODY_TRAILER;
    body->digits = 0;
    return true;
}

static bool is_extra(struct body *body, char c)
{
    return body->lenient && c != '\0' && c != '\n' && ++body->extra_bytes <= EXTRA_BYTES_MAX;
}

/* One octet that is not data. */
static bool take_mark(struct body *body, char c)
{
    switch (body->state) {
    case BODY_SIZE:
        return take_size(body, c);
    case BODY_EXTENSION:
        body->state = c == '\r' ? BODY_SIZE_END : BODY_EXTENSION;
        return is_extra(body, c);
    case BODY_SIZE_END:
        return c == '\n' && end_size(body);
    case BODY_DATA_END:
        body->state = BODY_DATA_LF;
        return c == '\r';
    case BODY_DATA_LF:
        body->state = BODY_SIZE;
        body->left = 0;
        return c == '\n';
    case BODY_TRAILER:
        body->state = c == '\r' ? BODY_LAST_LF : BODY_TRAILER_LINE;
        return c == '\r' || is_extra(body, c);
    case BODY_TRAILER_LINE:
        body->state = c == '\r' ? BODY_TRAILER_LF : BODY_TRAILER_LINE;
        return is_extra(body, c);
    case BODY_TRAILER_LF:
        body->state = BODY_TRAILER;
        return c == '\n';
    case BODY_LAST_LF:
        body->state = BODY_OVER;
        return c == '\n';
    case BODY_DATA:
    case BODY_OVER:
        break;
    }
    return false;
}

static size_t take_data(struct body *body, size_t bytes)
{
    size_t part = bytes < body->left ? bytes : (size_t)body->left;
    body->left -= part;
    return part;
}

static enum body_result take_chunks(struct body *body, struct str_view data, size_t *ret_taken)
{
    size_t at = 0;
    while (at < data.len && body->state != BODY_OVER) {
        if (body->state == BODY_DATA) {
            at += take_data(body, data.len - at);
            body->state = body->left == 0 ? BODY_DATA_END : BODY_DATA;
        } else if (take_mark(body, data.ptr[at])) {
            at++;
        } else {
            *ret_taken = at;
            return BODY_BAD;
        }
    }
    *ret_taken = at;
    return body->state == BODY_OVER ? BODY_DONE : BODY_MORE;
}

enum body_result body_take(struct body *body, struct str_view data, size_t *ret_taken)
{
    switch (body->kind) {
    case FRAMING_LENGTH:
        *ret_taken = take_data(body, data.len);
        return body->left == 0 ? BODY_DONE : BODY_MORE;
    case FRAMING_CHUNKED:
        return take_chunks(body, data, ret_taken);
    case FRAMING_CLOSE:
        *ret_taken = data.len;
        return BODY_MORE;
    case FRAMING_NONE:
        break;
    }
    *ret_taken = 0;
    return BODY_DONE;
}
