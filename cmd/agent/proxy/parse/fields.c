#include "cmd/agent/proxy/parse/fields.h"

#include "common/base/cleanup.h"

#include <inttypes.h>

bool fields_cut_line(struct str_view *text, struct str_view *ret_line)
{
    for (size_t i = 0; i < text->len; i++) {
        if (text->ptr[i] == '\r') {
            if (i + 1 == text->len || text->ptr[i + 1] != '\n') {
                return false;
            }
            *ret_line = str_from(text->ptr, i);
            *text = str_from(text->ptr + i + 2, text->len - i - 2);
            return true;
        }
        if (text->ptr[i] == '\n') {
            return false;
        }
    }
    return false;
}

static bool is_value(struct str_view text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

const char *fields_parse(struct str_view lines, struct fields *ret_fields)
{
    struct str_view line;
    ret_fields->count = 0;
    while (lines.len > 0) {
        if (!fields_cut_line(&lines, &line)) {
            return "a line ends in CRLF, and has no other CR or LF";
        }
        if (line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
            return "folded header lines are not taken";
        }
        if (ret_fields->count == FIELDS_MAX) {
            return "too many header fields";
        }
        struct field *field = &ret_fields->items[ret_fields->count];
        if (!str_cut(line, ':', &field->name, &field->value) || !str_is_token(field->name)) {
            return "a header field is a name, a colon and a value";
        }
        if (!is_value(field->value)) {
            return "control characters in a header field";
        }
        field->value = str_trim(field->value);
        ret_fields->count++;
    }
    return NULL;
}

size_t fields_count(const struct fields *fields, struct str_view name)
{
    size_t count = 0;
    for (size_t i = 0; i < fields->count; i++) {
        count += str_equal_fold(fields->items[i].name, name) ? 1 : 0;
    }
    return count;
}

struct str_view fields_find(const struct fields *fields, struct str_view name)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (str_equal_fold(fields->items[i].name, name)) {
            return fields->items[i].value;
        }
    }
    return STR_NONE;
}

static bool list_has(struct str_view list, struct str_view word)
{
    bool more = true;
    while (more) {
        struct str_view item = list;
        struct str_view rest = STR_NONE;
        more = str_cut(list, ',', &item, &rest);
        if (str_equal_fold(str_trim(more ? item : list), word)) {
            return true;
        }
        list = rest;
    }
    return false;
}

bool fields_has_word(const struct fields *fields, struct str_view name, struct str_view word)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (str_equal_fold(fields->items[i].name, name) && list_has(fields->items[i].value, word)) {
            return true;
        }
    }
    return false;
}

const char *fields_framing(const struct fields *fields, struct framing *ret_framing)
{
    size_t lengths = fields_count(fields, STR("Content-Length"));
    size_t codings = fields_count(fields, STR("Transfer-Encoding"));
    struct framing framing = { .kind = FRAMING_NONE };
    if (lengths > 0 && codings > 0) {
        return "Content-Length beside Transfer-Encoding";
    }
    if (lengths > 1 || codings > 1) {
        return "Content-Length or Transfer-Encoding twice";
    }
    if (lengths == 1) {
        framing.kind = FRAMING_LENGTH;
        struct str_view text = fields_find(fields, STR("Content-Length"));
        if (str_parse_uint64(text, INT64_MAX, &framing.length) != ERR_OK) {
            return "Content-Length is not a number";
        }
    }
    if (codings == 1) {
        framing.kind = FRAMING_CHUNKED;
        if (!str_equal_fold(fields_find(fields, STR("Transfer-Encoding")), STR("chunked"))) {
            return "of the transfer codings, chunked alone is taken";
        }
    }
    *ret_framing = framing;
    return NULL;
}

void fields_forward(const struct fields *fields, struct buf *out)
{
    static const char *const dropped[] = { "Host",
                                           "Content-Length",
                                           "Transfer-Encoding",
                                           "Connection",
                                           "Keep-Alive",
                                           "Proxy-Connection",
                                           "Proxy-Authorization",
                                           "Proxy-Authenticate",
                                           "TE",
                                           "Trailer",
                                           "Upgrade",
                                           "HTTP2-Settings" };
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->items[i];
        bool drop = fields_has_word(fields, STR("Connection"), field->name);
        for (size_t k = 0; k < ARRAY_LENGTH(dropped); k++) {
            drop = drop || str_equal_fold(field->name, str_of(dropped[k]));
        }
        if (!drop) {
            buf_append_str(out, field->name);
            buf_append_str(out, STR(": "));
            buf_append_str(out, field->value);
            buf_append_str(out, STR("\r\n"));
        }
    }
}

void fields_put_framing(const struct framing *framing, struct buf *out)
{
    if (framing->kind == FRAMING_LENGTH) {
        buf_printf(out, "Content-Length: %" PRIu64 "\r\n", framing->length);
    } else if (framing->kind == FRAMING_CHUNKED) {
        buf_append_str(out, STR("Transfer-Encoding: chunked\r\n"));
    }
}
