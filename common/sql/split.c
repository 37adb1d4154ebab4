#include "common/sql/split.h"

static bool starts_with(struct str_view text, size_t at, struct str_view prefix)
{
    return str_has_prefix(str_from(text.ptr + at, text.len - at), prefix);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
        || (unsigned char)c >= 0x80;
}

/* All of these return the offset after what begins at `at`; the end of the text when it is not
 * closed. */
static size_t skip_line_comment(struct str_view text, size_t at)
{
    const char *end = memchr(text.ptr + at, '\n', text.len - at);
    return end == NULL ? text.len : (size_t)(end - text.ptr) + 1;
}

static size_t skip_block_comment(struct str_view text, size_t at)
{
    size_t depth = 0;
    while (at < text.len) {
        if (starts_with(text, at, STR("/*"))) {
            depth++;
            at += 2;
        } else if (starts_with(text, at, STR("*/"))) {
            at += 2;
            if (--depth == 0) {
                return at;
            }
        } else {
            at++;
        }
    }
    return text.len;
}

/* A doubled quote ends and starts at once, so it needs no care; a backslash does in E'...'. */
static size_t skip_quoted(struct str_view text, size_t at)
{
    char quote = text.ptr[at];
    bool has_escapes = quote == '\'' && at > 0
        && (text.ptr[at - 1] == 'E' || text.ptr[at - 1] == 'e')
        && (at < 2 || !is_word(text.ptr[at - 2]));
    for (at++; at < text.len; at++) {
        bool is_pair = text.ptr[at] == '\\' || starts_with(text, at, STR("''"));
        if (has_escapes && is_pair) {
            at++; /* also over a doubled quote: a string that begins anew would have no escapes */
        } else if (text.ptr[at] == quote) {
            return at + 1;
        }
    }
    return text.len;
}

/* $tag$ ... $tag$; a plain dollar ($1, a$b) is one character. */
static size_t skip_dollar(struct str_view text, size_t at)
{
    size_t end = at + 1;
    bool is_parameter = end < text.len && text.ptr[end] >= '0' && text.ptr[end] <= '9';
    while (end < text.len && is_word(text.ptr[end])) {
        end++;
    }
    bool is_inside_word = at > 0 && (is_word(text.ptr[at - 1]) || text.ptr[at - 1] == '$');
    if (is_parameter || is_inside_word || end >= text.len || text.ptr[end] != '$') {
        return at + 1;
    }
    struct str_view tag = str_from(text.ptr + at, end + 1 - at);
    for (size_t i = end + 1; i + tag.len <= text.len; i++) {
        if (starts_with(text, i, tag)) {
            return i + tag.len;
        }
    }
    return text.len;
}

static size_t skip_token(struct str_view text, size_t at)
{
    if (starts_with(text, at, STR("--"))) {
        return skip_line_comment(text, at);
    }
    if (starts_with(text, at, STR("/*"))) {
        return skip_block_comment(text, at);
    }
    switch (text.ptr[at]) {
    case '\'':
    case '"':
        return skip_quoted(text, at);
    case '$':
        return skip_dollar(text, at);
    default:
        return at + 1;
    }
}

static size_t skip_blank(struct str_view text, size_t at)
{
    while (at < text.len) {
        if (is_space(text.ptr[at]) || text.ptr[at] == ';') {
            at++;
        } else if (starts_with(text, at, STR("--")) || starts_with(text, at, STR("/*"))) {
            at = skip_token(text, at);
        } else {
            break;
        }
    }
    return at;
}

bool split_next_statement(struct str_view *rest, struct str_view *ret_statement)
{
    struct str_view text = *rest;
    size_t start = skip_blank(text, 0);
    size_t at = start;
    while (at < text.len && text.ptr[at] != ';') {
        at = skip_token(text, at);
    }
    *ret_statement = str_from(text.ptr + start, at - start);
    *rest = str_from(text.ptr + at, text.len - at);
    return at > start;
}
