#include "common/base/buf.h"

#include "common/base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void buf_deinit(struct buf *buf)
{
    mem_free(buf->data);
    buf->data = NULL;
    buf->len = 0;
    buf->capacity = 0;
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

static bool reserve(struct buf *buf, size_t bytes)
{
    if (buf->failed || bytes > buf->cap - buf->len) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + bytes + 1;
    if (need <= buf->capacity) {
        return true;
    }
    size_t capacity = buf->capacity == 0 ? 128 : buf->capacity * 2;
    capacity = capacity < need ? need : capacity;
    char *data = mem_try_realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void buf_append(struct buf *buf, const void *data, size_t bytes)
{
    if (reserve(buf, bytes)) {
        if (bytes > 0) {
            memcpy(buf->data + buf->len, data, bytes);
        }
        buf->len += bytes;
        buf->data[buf->len] = '\0';
    }
}

char *buf_extend(struct buf *buf, size_t bytes)
{
    if (!reserve(buf, bytes)) {
        return NULL;
    }
    char *start = buf->data + buf->len;
    buf->len += bytes;
    buf->data[buf->len] = '\0';
    return start;
}

void buf_append_str(struct buf *buf, struct str_view text)
{
    buf_append(buf, text.ptr, text.len);
}

void buf_append_char(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !reserve(buf, (size_t)length)) {
        buf->failed = true;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(buf->data + buf->len, (size_t)length + 1, format, args);
    va_end(args);
    buf->len += (size_t)length;
}

void buf_append_u64_be(struct buf *buf, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
    }
    buf_append(buf, bytes, sizeof(bytes));
}

static void append_code(struct buf *buf, uint32_t code)
{
    if (code == '\n') {
        buf_append_str(buf, STR("\\n"));
    } else if (code == '\r') {
        buf_append_str(buf, STR("\\r"));
    } else if (code == '\t') {
        buf_append_str(buf, STR("\\t"));
    } else if (code < 0x80) {
        buf_printf(buf, "\\x%02x", code);
    } else {
        buf_printf(buf, "\\u{%x}", code);
    }
}

void buf_append_escaped(struct buf *buf, struct str_view text, bool (*is_shown)(uint32_t code))
{
    while (text.len > 0) {
        uint32_t code = 0;
        size_t length = str_decode_utf8(text, &code);
        if (length == 0) {
            buf_printf(buf, "\\x%02x", (unsigned)(unsigned char)text.ptr[0]);
            length = 1;
        } else if (str_is_deceptive(code) || (is_shown != NULL && !is_shown(code))) {
            append_code(buf, code);
        } else {
            buf_append(buf, text.ptr, length);
        }
        text = str_from(text.ptr + length, text.len - length);
    }
}

static void append_json_char(struct buf *buf, unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        buf_append_char(buf, '\\');
        buf_append_char(buf, (char)c);
        break;
    case '\n':
        buf_append(buf, "\\n", 2);
        break;
    case '\t':
        buf_append(buf, "\\t", 2);
        break;
    case '\r':
        buf_append(buf, "\\r", 2);
        break;
    default:
        if (c < 0x20 || c == 0x7F) {
            buf_printf(buf, "\\u%04x", (unsigned)c);
        } else {
            buf_append_char(buf, (char)c);
        }
    }
}

void buf_append_json(struct buf *buf, struct str_view text)
{
    bool utf8 = str_is_utf8(text, NULL);
    size_t start = 0; /* of the run that needs no escapes */
    buf_append_char(buf, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool plain = c >= 0x80 ? utf8 : c >= 0x20 && c != 0x7F && c != '"' && c != '\\';
        if (plain) {
            continue;
        }
        if (i > start) {
            buf_append(buf, text.ptr + start, i - start);
        }
        start = i + 1;
        if (c >= 0x80) {
            buf_append(buf, "\\ufffd", 6);
        } else {
            append_json_char(buf, c);
        }
    }
    if (text.len > start) {
        buf_append(buf, text.ptr + start, text.len - start);
    }
    buf_append_char(buf, '"');
}

bool buf_ok(const struct buf *buf)
{
    return !buf->failed;
}

struct str_view buf_view(const struct buf *buf)
{
    return str_from(buf->data == NULL ? "" : buf->data, buf->len);
}

const char *buf_text(const struct buf *buf)
{
    return buf->data == NULL ? "" : buf->data;
}

char *buf_steal(struct buf *buf)
{
    if (buf->failed) {
        return NULL;
    }
    char *data = buf->data == NULL ? mem_strdup("") : buf->data;
    buf->data = NULL;
    buf->len = 0;
    buf->capacity = 0;
    return data;
}
