#include "cmd/cli/term/text.h"

#include "common/base/cleanup.h"

#include <langinfo.h>
#include <locale.h>
#include <wchar.h>

/* Before any other thread: the locale is the process's. NOLINTBEGIN(concurrency-mt-unsafe) */
void text_use_utf8(void)
{
    if (setlocale(LC_CTYPE, "") != NULL && strcmp(nl_langinfo(CODESET), "UTF-8") == 0) {
        return;
    }
    (void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* NOLINTEND(concurrency-mt-unsafe) */

/* Length of the well-formed character at the front, and its code point; 0: broken. */
static size_t decode(struct str_view text, uint32_t *ret_code)
{
    unsigned char first = (unsigned char)text.ptr[0];
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (length > text.len || !str_is_utf8(str_from(text.ptr, length), NULL)) {
        return 0;
    }
    uint32_t code = length == 1 ? first : first & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        code = code << 6 | ((unsigned char)text.ptr[i] & 0x3fU);
    }
    *ret_code = code;
    return length;
}

/* Marks that change the direction of what follows, or hide in it. */
static bool is_deceptive(uint32_t code)
{
    return (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e)
        || (code >= 0x2060 && code <= 0x206f) || code == 0x061c || code == 0xfeff
        || (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

static int width_of(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code < 0xa0) || is_deceptive(code)) {
        return -1;
    }
    return code < 0x7f ? 1 : wcwidth((wchar_t)code);
}

static void escape_code(uint32_t code, struct buf *buf)
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

void text_escape(struct str_view text, struct buf *buf)
{
    while (text.len > 0) {
        uint32_t code = 0;
        size_t length = decode(text, &code);
        if (length == 0) {
            buf_printf(buf, "\\x%02x", (unsigned)(unsigned char)text.ptr[0]);
            length = 1;
        } else if (width_of(code) < 0) {
            escape_code(code, buf);
        } else {
            buf_append(buf, text.ptr, length);
        }
        text = str_from(text.ptr + length, text.len - length);
    }
}

struct str_view text_fit(struct str_view text, size_t columns, size_t *ret_width)
{
    size_t used = 0;
    size_t bytes = 0;
    while (bytes < text.len) {
        uint32_t code = 0;
        size_t length = decode(str_from(text.ptr + bytes, text.len - bytes), &code);
        int width = length == 0 ? 1 : width_of(code);
        size_t takes = width < 0 ? 1 : (size_t)width;
        if (used + takes > columns) {
            break;
        }
        used += takes;
        bytes += length == 0 ? 1 : length;
    }
    *ret_width = used;
    return str_from(text.ptr, bytes);
}

size_t text_width(struct str_view text)
{
    size_t width = 0;
    (void)text_fit(text, SIZE_MAX, &width);
    return width;
}

static const char *const STARTS[] = {
    [TEXT_PLAIN] = "",        [TEXT_BOLD] = "\033[1m",  [TEXT_DIM] = "\033[2m",
    [TEXT_GOOD] = "\033[32m", [TEXT_WARN] = "\033[33m", [TEXT_BAD] = "\033[31m",
};
_Static_assert(ARRAY_LENGTH(STARTS) == TEXT_STYLE_COUNT, "a sequence for every style");

const char *text_style_start(enum text_style style)
{
    return STARTS[style];
}

const char *text_style_end(enum text_style style)
{
    return style == TEXT_PLAIN ? "" : "\033[0m";
}

void text_put(struct str_view text, enum text_style style, bool color, struct buf *buf)
{
    if (color) {
        buf_append_str(buf, str_of(text_style_start(style)));
    }
    buf_append_str(buf, text);
    if (color) {
        buf_append_str(buf, str_of(text_style_end(style)));
    }
}
