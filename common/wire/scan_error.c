/* The words of the scan: the path of a field, as a person would write it, and what is wrong. */
#include "common/wire/scan_private.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    PATH_BYTES = 256
};

/* A path in the making; cut at its end. */
struct path {
    char text[PATH_BYTES];
    size_t used;
};

static void path_add(struct path *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void path_add(struct path *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(path->text + path->used, sizeof(path->text) - path->used, format, args);
    va_end(args);
    size_t left = sizeof(path->text) - path->used - 1;
    path->used += length < 0 ? 0 : ((size_t)length > left ? left : (size_t)length);
}

const char *scan_quote(struct str_view text, char out[SCAN_QUOTE_BYTES])
{
    size_t length = text.len < SCAN_QUOTE_BYTES - 1 ? text.len : SCAN_QUOTE_BYTES - 1;
    while (length < text.len && length > 0 && ((unsigned char)text.ptr[length] & 0xC0) == 0x80) {
        length--; /* not in the middle of a character */
    }
    bool readable = str_is_utf8(str_from(text.ptr, length), NULL);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool plain = c >= 0x20 && c != 0x7F && (c < 0x80 || readable);
        out[i] = text.ptr[i];
        if (!plain) {
            out[i] = '?';
        }
    }
    out[length] = '\0';
    return out;
}

static void path_add_field(
    struct path *path,
    const struct scan_frame *holder,
    const struct wire_field *field,
    uint32_t entry)
{
    if (holder->type->map_entry) {
        char text[SCAN_QUOTE_BYTES];
        bool named = holder->key_text.ptr != NULL && !holder->type->fields[0].secret;
        if (named) {
            path_add(path, "[\"%s\"]", scan_quote(holder->key_text, text));
        } else if (holder->type->fields[0].type != PROTOBUF_C_TYPE_STRING) {
            path_add(path, "[%llu]", (unsigned long long)holder->numbers[0]);
        } else {
            path_add(path, "[%lu]", (unsigned long)holder->entry);
        }
        return;
    }
    path_add(path, "%s%s", path->used == 0 ? "" : ".", field->name);
    if (field->repeated && !field->map && entry != UINT32_MAX) {
        path_add(path, "[%lu]", (unsigned long)entry);
    }
}

/* Where the scan is, and the field of the innermost message (NULL: the message itself). */
static void path_build(
    const struct scan *scan, const struct wire_field *field, uint32_t entry, struct path *path)
{
    path->used = 0;
    path->text[0] = '\0';
    for (uint32_t i = 1; i < scan->depth; i++) {
        path_add_field(path, &scan->frames[i - 1], scan->frames[i].field, scan->frames[i].entry);
    }
    const struct scan_frame *top = &scan->frames[scan->depth - 1];
    bool is_key = field != NULL && top->type->map_entry && field->number == 1;
    if (field != NULL && !is_key) {
        path_add_field(path, top, field, entry);
    }
    if (path->used == 0) {
        path_add(path, "%s", scan->frames[0].type->name);
    }
}

enum err_code scan_fail_at(
    const struct scan *scan,
    const struct wire_field *field,
    uint32_t entry,
    const char *format,
    ...)
{
    if (scan->err == NULL) {
        return ERR_INVALID;
    }
    struct path path;
    path_build(scan, field, entry, &path);
    char text[ERR_TEXT_BYTES - PATH_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ERR_SET(scan->err, ERR_INVALID, "%s: %s", path.text, text);
}

enum err_code scan_fail(const struct scan *scan, const struct wire_field *field, const char *text)
{
    return scan_fail_at(scan, field, UINT32_MAX, "%s", text);
}
