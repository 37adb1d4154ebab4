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

/* Columns; -1: not to be shown. */
static int width_of(uint32_t code)
{
    if (str_is_deceptive(code)) {
        return -1;
    }
    return code < 0x7f ? 1 : wcwidth((wchar_t)code);
}

static bool is_shown(uint32_t code)
{
    return width_of(code) >= 0;
}

void text_escape(struct str_view text, struct buf *buf)
{
    buf_append_escaped(buf, text, is_shown);
}

void text_escape_quoted(struct str_view text, bool is_yaml, struct buf *buf)
{
    while (text.len > 0) {
        uint32_t code = 0;
        size_t length = str_decode_utf8(text, &code);
        if (length < 2 || !str_is_deceptive(code)) {
            length = length == 0 ? 1 : length;
            buf_append(buf, text.ptr, length);
        } else if (code < 0x10000) {
            buf_printf(buf, "\\u%04x", code);
        } else if (is_yaml) {
            buf_printf(buf, "\\U%08x", code);
        } else {
            uint32_t rest = code - 0x10000;
            buf_printf(buf, "\\u%04x\\u%04x", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
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
        size_t length = str_decode_utf8(str_from(text.ptr + bytes, text.len - bytes), &code);
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
