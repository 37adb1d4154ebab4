#include "common/base/str.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

bool str_equal(struct str_view a, struct str_view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (char)(c | 0x20);
    }
    return c;
}

bool str_equal_fold(struct str_view a, struct str_view b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (fold(a.ptr[i]) != fold(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

int str_compare(struct str_view a, struct str_view b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared == 0 ? 0 : memcmp(a.ptr, b.ptr, shared);
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

bool str_has_prefix(struct str_view text, struct str_view prefix)
{
    return text.len >= prefix.len && str_equal(str_from(text.ptr, prefix.len), prefix);
}

bool str_has_suffix(struct str_view text, struct str_view suffix)
{
    return text.len >= suffix.len
        && str_equal(str_from(text.ptr + text.len - suffix.len, suffix.len), suffix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str_view str_trim(struct str_view text)
{
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

bool str_cut(struct str_view text, char separator, struct str_view *head, struct str_view *rest)
{
    const char *at = text.len == 0 ? NULL : memchr(text.ptr, separator, text.len);
    if (at == NULL) {
        return false;
    }
    size_t before = (size_t)(at - text.ptr);
    *head = str_from(text.ptr, before);
    *rest = str_from(at + 1, text.len - before - 1);
    return true;
}

enum err_code str_parse_uint64(struct str_view text, uint64_t max, uint64_t *ret_value)
{
    if (text.len == 0) {
        return ERR_INVALID;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return ERR_INVALID;
        }
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return ERR_LIMIT;
        }
        value = value * 10 + digit;
    }
    if (value > max) {
        return ERR_LIMIT;
    }
    *ret_value = value;
    return ERR_OK;
}

enum err_code str_parse_int64(struct str_view text, int64_t min, int64_t max, int64_t *ret_value)
{
    bool negative = text.len > 0 && text.ptr[0] == '-';
    if (negative) {
        text.ptr++;
        text.len--;
    }
    uint64_t magnitude = 0;
    TRY(str_parse_uint64(text, (uint64_t)INT64_MAX + (negative ? 1 : 0), &magnitude));
    int64_t value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    if (value < min || value > max) {
        return ERR_LIMIT;
    }
    *ret_value = value;
    return ERR_OK;
}

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* Digits followed by exactly one suffix of the table. */
static enum err_code parse_with_unit(
    struct str_view text, const struct unit *units, size_t count, uint64_t *ret_value)
{
    size_t digits = 0;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9') {
        digits++;
    }
    uint64_t number = 0;
    TRY(str_parse_uint64(str_from(text.ptr, digits), INT64_MAX, &number));
    struct str_view suffix = str_from(text.ptr + digits, text.len - digits);
    for (size_t i = 0; i < count; i++) {
        if (str_equal(suffix, str_of(units[i].suffix))) {
            if (number > (uint64_t)INT64_MAX / units[i].factor) {
                return ERR_LIMIT;
            }
            *ret_value = number * units[i].factor;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static const struct unit duration_units[] = {
    { "d", 86400000000 }, { "h", 3600000000 }, { "m", 60000000 },
    { "s", 1000000 },     { "ms", 1000 },      { "us", 1 },
};

enum err_code str_parse_duration_us(struct str_view text, int64_t *ret_us)
{
    uint64_t us = 0;
    TRY(parse_with_unit(
        text, duration_units, sizeof(duration_units) / sizeof(duration_units[0]), &us));
    *ret_us = (int64_t)us;
    return ERR_OK;
}

char *str_format_duration_us(int64_t us, char *out, size_t out_bytes)
{
    for (size_t i = 0; i < sizeof(duration_units) / sizeof(duration_units[0]); i++) {
        int64_t factor = (int64_t)duration_units[i].factor;
        if (us != 0 && us % factor == 0) {
            (void)snprintf(out, out_bytes, "%" PRId64 "%s", us / factor, duration_units[i].suffix);
            return out;
        }
    }
    (void)snprintf(out, out_bytes, "0s");
    return out;
}

char *str_format_int64(int64_t value, char out[STR_INT64_BYTES])
{
    char digits[STR_INT64_BYTES]; /* the last first */
    size_t count = 0;
    size_t at = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        out[at++] = '-';
    }
    while (count > 0) {
        out[at++] = digits[--count];
    }
    out[at] = '\0';
    return out;
}

enum err_code str_parse_size_bytes(struct str_view text, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        { "", 1 },          { "B", 1 },           { "kB", 1000 },
        { "MB", 1000000 },  { "GB", 1000000000 }, { "KiB", 1024 },
        { "MiB", 1 << 20 }, { "GiB", 1 << 30 },   { "TiB", (uint64_t)1 << 40 },
    };
    return parse_with_unit(text, units, sizeof(units) / sizeof(units[0]), ret_bytes);
}

/* Length of the code point at p, 0 if malformed. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) {
        return 1;
    }
    size_t need = p[0] >= 0xC2 && p[0] <= 0xDF ? 2
        : p[0] >= 0xE0 && p[0] <= 0xEF         ? 3
        : p[0] >= 0xF0 && p[0] <= 0xF4         ? 4
                                               : 0;
    if (need == 0 || left < need) {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xF0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xED && p[1] > 0x9F;
    bool beyond = p[0] == 0xF4 && p[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : need;
}

bool str_is_utf8(struct str_view text, size_t *ret_chars)
{
    size_t chars = 0;
    for (size_t i = 0; i < text.len; chars++) {
        size_t step = utf8_length((const unsigned char *)text.ptr + i, text.len - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    if (ret_chars != NULL) {
        *ret_chars = chars;
    }
    return true;
}

size_t str_decode_utf8(struct str_view text, uint32_t *ret_code)
{
    const unsigned char *bytes = (const unsigned char *)text.ptr;
    size_t length = utf8_length(bytes, text.len);
    uint32_t code = length == 1 ? bytes[0] : bytes[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        code = code << 6 | (bytes[i] & 0x3fU);
    }
    *ret_code = code;
    return length;
}

bool str_is_deceptive(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f)
        || (code >= 0x202a && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f)
        || code == 0x061c || code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb)
        || (code >= 0xe0000 && code <= 0xe007f);
}

void str_make_utf8(char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        size_t step = utf8_length((const unsigned char *)text, left);
        if (step == 0) {
            *text = '?';
            step = 1;
        }
        text += step;
        left -= step;
    }
}

void str_clip_utf8(char *text, size_t bytes)
{
    if (strlen(text) <= bytes) {
        return; /* it may be a constant */
    }
    while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80) {
        bytes--;
    }
    text[bytes] = '\0';
}

bool str_is_token(struct str_view text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || strchr(marks, c) == NULL)) {
            return false;
        }
    }
    return text.len > 0;
}

void str_hex_encode(const uint8_t *data, size_t bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * bytes] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = fold(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum err_code str_hex_decode(struct str_view text, uint8_t *ret_data, size_t bytes)
{
    if (text.len != 2 * bytes) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_value(text.ptr[2 * i]);
        int low = hex_value(text.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return ERR_INVALID;
        }
        ret_data[i] = (uint8_t)(high * 16 + low);
    }
    return ERR_OK;
}

enum err_code str_copy(struct str_view text, char *out, size_t out_bytes)
{
    if (text.len >= out_bytes || (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL)) {
        return ERR_LIMIT;
    }
    if (text.len > 0) {
        memcpy(out, text.ptr, text.len);
    }
    out[text.len] = '\0';
    return ERR_OK;
}

unsigned str_distance(struct str_view a, struct str_view b)
{
    enum {
        FAR = 8,
        LONGEST = 64
    };

    if (a.len > LONGEST || b.len > LONGEST) {
        return FAR;
    }
    unsigned row[LONGEST + 1];
    for (unsigned j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b.len; j++) {
            unsigned above = row[j + 1];
            unsigned best = diagonal + (a.ptr[i] == b.ptr[j] ? 0 : 1);
            best = above + 1 < best ? above + 1 : best;
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j + 1] = best;
            diagonal = above;
        }
    }
    return row[b.len] > FAR ? FAR : row[b.len];
}
