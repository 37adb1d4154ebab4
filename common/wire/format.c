/*
 * The formats of texts that (belay.v1.rules) can name. ASCII only but for PRINTABLE, whose text is
 * already known to be UTF-8.
 */
#include "common/wire/wire_private.h"

enum {
    DNS_LABEL_CHARS = 63,
    LABEL_NAME_CHARS = 63,
    LABEL_PREFIX_CHARS = 253
};

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alphanumeric(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_dns_label(struct str_view text)
{
    if (text.len == 0 || text.len > DNS_LABEL_CHARS || !is_lower_or_digit(text.ptr[0])
        || !is_lower_or_digit(text.ptr[text.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!is_lower_or_digit(text.ptr[i]) && text.ptr[i] != '-') {
            return false;
        }
    }
    return true;
}

static bool is_dns_name(struct str_view text)
{
    if (text.len > LABEL_PREFIX_CHARS) {
        return false;
    }
    struct str_view label;
    struct str_view rest = text;
    while (str_cut(rest, '.', &label, &rest)) {
        if (!is_dns_label(label)) {
            return false;
        }
    }
    return is_dns_label(rest);
}

/* Letters, digits, '-', '_', '.', with a letter or digit at both ends. */
static bool is_label_name(struct str_view text)
{
    if (text.len == 0 || text.len > LABEL_NAME_CHARS || !is_alphanumeric(text.ptr[0])
        || !is_alphanumeric(text.ptr[text.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_alphanumeric(c) && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return true;
}

static bool is_label_key(struct str_view text)
{
    struct str_view prefix;
    struct str_view name;
    if (!str_cut(text, '/', &prefix, &name)) {
        return is_label_name(text);
    }
    return is_dns_name(prefix) && is_label_name(name);
}

static bool is_label_value(struct str_view text)
{
    return text.len == 0 || is_label_name(text);
}

bool wire_is_label(struct str_view key, struct str_view value)
{
    return is_label_key(key) && is_label_value(value);
}

static bool is_identifier(struct str_view text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\0' || (!is_alphanumeric(c) && strchr("_-.:/", c) == NULL)) {
            return false;
        }
    }
    return text.len > 0;
}

/* No C0, DEL or C1 control character (U+0080 to U+009F is C2 80 to C2 9F). */
static bool is_printable(struct str_view text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c == 0x7F) {
            return false;
        }
        if (c == 0xC2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xA0) {
            return false;
        }
    }
    return true;
}

/* Eight groups of four hex digits with one kind of separator: "ab12-cd34-..." */
static bool is_fingerprint(struct str_view text)
{
    if (text.len != 39 || strchr("-: ", text.ptr[4]) == NULL) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        bool separator = i % 5 == 4;
        if (separator ? text.ptr[i] != text.ptr[4] : !is_hex(text.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* "(f,g)": at least one value, each a label value. */
static bool is_value_set(struct str_view text)
{
    if (text.len < 2 || text.ptr[0] != '(' || text.ptr[text.len - 1] != ')') {
        return false;
    }
    struct str_view value;
    struct str_view rest = str_from(text.ptr + 1, text.len - 2);
    while (str_cut(rest, ',', &value, &rest)) {
        if (!is_label_value(str_trim(value))) {
            return false;
        }
    }
    return is_label_value(str_trim(rest));
}

/* "key in (a,b)" and "key notin (a,b)" */
static bool is_set_term(struct str_view key, struct str_view rest)
{
    rest = str_trim(rest);
    size_t length = str_has_prefix(rest, STR("notin")) ? 5 : 2;
    if (length == 2 && !str_has_prefix(rest, STR("in"))) {
        return false;
    }
    return is_label_key(key)
        && is_value_set(str_trim(str_from(rest.ptr + length, rest.len - length)));
}

/* One of: key, !key, key=value, key==value, key!=value, key in (a,b), key notin (a,b). */
static bool is_selector_term(struct str_view text)
{
    text = str_trim(text);
    if (text.len > 0 && text.ptr[0] == '!') {
        return is_label_key(str_trim(str_from(text.ptr + 1, text.len - 1)));
    }
    size_t at = 0;
    while (at < text.len && strchr(" \t!=", text.ptr[at]) == NULL) {
        at++;
    }
    struct str_view key = str_from(text.ptr, at);
    struct str_view rest = str_trim(str_from(text.ptr + at, text.len - at));
    if (rest.len == 0) {
        return is_label_key(key);
    }
    size_t length = rest.ptr[0] == '=' ? 1 : 0;
    if (rest.len > 1 && rest.ptr[1] == '=' && (rest.ptr[0] == '=' || rest.ptr[0] == '!')) {
        length = 2;
    }
    if (length == 0) {
        return is_set_term(key, rest);
    }
    struct str_view value = str_trim(str_from(rest.ptr + length, rest.len - length));
    return is_label_key(key) && is_label_value(value);
}

/* Terms with commas between them; the commas in brackets belong to a term. */
static bool is_selector(struct str_view text)
{
    size_t start = 0;
    bool inside = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\0') {
            return false;
        }
        inside = c == '(' || (inside && c != ')');
        if (c == ',' && !inside) {
            if (!is_selector_term(str_from(text.ptr + start, i - start))) {
                return false;
            }
            start = i + 1;
        }
    }
    return !inside && is_selector_term(str_from(text.ptr + start, text.len - start));
}

const char *wire_format_problem(enum wire_format format, struct str_view text)
{
    switch (format) {
    case WIRE_FORMAT_ANY:
        return NULL;
    case WIRE_FORMAT_DNS_LABEL:
        return is_dns_label(text) ? NULL : "is not a DNS label";
    case WIRE_FORMAT_LABEL_KEY:
        return is_label_key(text) ? NULL : "is not a label key";
    case WIRE_FORMAT_LABEL_VALUE:
        return is_label_value(text) ? NULL : "is not a label value";
    case WIRE_FORMAT_IDENTIFIER:
        return is_identifier(text) ? NULL : "is not an identifier";
    case WIRE_FORMAT_PRINTABLE:
        return is_printable(text) ? NULL : "holds control characters";
    case WIRE_FORMAT_SELECTOR:
        return is_selector(text) ? NULL : "is not a label selector";
    case WIRE_FORMAT_FINGERPRINT:
        return is_fingerprint(text) ? NULL : "is not a fingerprint";
    }
    return NULL;
}
