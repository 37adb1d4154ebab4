#include "common/base/time.h"
#include "common/wire/json_private.h"
#include "common/wire/wire_private.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    NANOS_PER_SECOND = 1000000000,
    NUMBER_CHARS_MAX = 128
};

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode_group(const uint8_t *data, size_t left, char quad[4])
{
    uint32_t group = (uint32_t)data[0] << 16;
    group |= left > 1 ? (uint32_t)data[1] << 8 : 0;
    group |= left > 2 ? (uint32_t)data[2] : 0;
    quad[0] = base64_alphabet[group >> 18];
    quad[1] = base64_alphabet[(group >> 12) & 63];
    quad[2] = '=';
    quad[3] = '=';
    if (left > 1) {
        quad[2] = base64_alphabet[(group >> 6) & 63];
    }
    if (left > 2) {
        quad[3] = base64_alphabet[group & 63];
    }
}

void json_append_base64(struct buf *buf, const uint8_t *data, size_t bytes)
{
    buf_append_char(buf, '"');
    char *out = buf_extend(buf, (bytes + 2) / 3 * 4);
    for (size_t i = 0; i < bytes && out != NULL; i += 3) {
        encode_group(data + i, bytes - i, out + i / 3 * 4);
    }
    buf_append_char(buf, '"');
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+' || c == '-') {
        return 62;
    }
    return c == '/' || c == '_' ? 63 : -1;
}

bool json_decode_base64(struct str_view text, struct buf *buf)
{
    size_t length = text.len;
    for (int i = 0; i < 2 && length > 0 && text.len % 4 == 0 && text.ptr[length - 1] == '='; i++) {
        length--;
    }
    if (length % 4 == 1) {
        return false;
    }
    char *out = buf_extend(buf, length * 3 / 4);
    uint32_t group = 0;
    for (size_t i = 0; i < length && out != NULL; i++) {
        int value = base64_value(text.ptr[i]);
        if (value < 0) {
            return false;
        }
        group = group << 6 | (uint32_t)value;
        if (i % 4 != 0) {
            unsigned shift = 6 - 2 * (unsigned)(i % 4);
            *out++ = (char)(uint8_t)(group >> shift);
        }
    }
    return true;
}

/* 0, 3, 6 or 9 digits, as many as say it all. */
static void append_fraction(struct buf *buf, unsigned nanos)
{
    if (nanos == 0) {
        return;
    }
    if (nanos % 1000000 == 0) {
        buf_printf(buf, ".%03u", nanos / 1000000);
    } else if (nanos % 1000 == 0) {
        buf_printf(buf, ".%06u", nanos / 1000);
    } else {
        buf_printf(buf, ".%09u", nanos);
    }
}

bool json_append_timestamp(struct buf *buf, int64_t seconds, int32_t nanos)
{
    time_t time = (time_t)seconds;
    struct tm parts;
    if (seconds < 0 || seconds > WIRE_TIMESTAMP_SECONDS_MAX || nanos < 0
        || nanos >= NANOS_PER_SECOND || gmtime_r(&time, &parts) == NULL) {
        return false;
    }
    buf_printf(
        buf,
        "\"%04d-%02d-%02dT%02d:%02d:%02d",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec);
    append_fraction(buf, (unsigned)nanos);
    buf_append(buf, "Z\"", 2);
    return true;
}

/* Reads digits after a point as nanoseconds; false: none, or more than nine. */
static bool parse_fraction(struct str_view digits, int32_t *ret_nanos)
{
    uint64_t value = 0;
    if (digits.len > 9 || str_parse_uint64(digits, 999999999, &value) != ERR_OK) {
        return false;
    }
    for (size_t i = digits.len; i < 9; i++) {
        value *= 10;
    }
    *ret_nanos = (int32_t)value;
    return true;
}

bool json_parse_timestamp(struct str_view text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    struct wall_us time;
    struct str_view head;
    struct str_view fraction;
    if (time_parse(text, &time) != ERR_OK || time.value < 0) {
        return false;
    }
    *ret_seconds = time.value / US_PER_SECOND;
    *ret_nanos = 0;
    if (!str_cut(text, '.', &head, &fraction)) {
        return true;
    }
    size_t digits = 0; /* what follows them has been checked by time_parse */
    while (digits < fraction.len && fraction.ptr[digits] >= '0' && fraction.ptr[digits] <= '9') {
        digits++;
    }
    return parse_fraction(str_from(fraction.ptr, digits), ret_nanos);
}

static bool is_duration(int64_t seconds, int32_t nanos)
{
    return seconds >= -WIRE_DURATION_SECONDS_MAX && seconds <= WIRE_DURATION_SECONDS_MAX
        && nanos > -NANOS_PER_SECOND && nanos < NANOS_PER_SECOND && !(seconds > 0 && nanos < 0)
        && !(seconds < 0 && nanos > 0);
}

bool json_append_duration(struct buf *buf, int64_t seconds, int32_t nanos)
{
    if (!is_duration(seconds, nanos)) {
        return false;
    }
    bool negative = seconds < 0 || nanos < 0;
    buf_printf(buf, "\"%s%lld", negative ? "-" : "", (long long)(seconds < 0 ? -seconds : seconds));
    append_fraction(buf, (unsigned)(nanos < 0 ? -nanos : nanos));
    buf_append(buf, "s\"", 2);
    return true;
}

bool json_parse_duration(struct str_view text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    if (text.len < 2 || text.ptr[text.len - 1] != 's') {
        return false;
    }
    struct str_view number = str_from(text.ptr, text.len - 1);
    bool negative = number.ptr[0] == '-';
    number = negative ? str_from(number.ptr + 1, number.len - 1) : number;
    struct str_view whole = number;
    struct str_view fraction;
    int32_t nanos = 0;
    if (str_cut(number, '.', &whole, &fraction) && !parse_fraction(fraction, &nanos)) {
        return false;
    }
    uint64_t seconds = 0;
    if (str_parse_uint64(whole, (uint64_t)WIRE_DURATION_SECONDS_MAX, &seconds) != ERR_OK) {
        return false;
    }
    *ret_seconds = negative ? -(int64_t)seconds : (int64_t)seconds;
    *ret_nanos = negative ? -nanos : nanos;
    return true;
}

static bool append_special(struct buf *buf, double value)
{
    if (isfinite(value)) {
        return false;
    }
    const char *name = "\"NaN\"";
    if (!isnan(value)) {
        name = value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    }
    buf_append_str(buf, str_of(name));
    return true;
}

void json_append_double(struct buf *buf, double value)
{
    char text[40];
    if (append_special(buf, value)) {
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    buf_append_str(buf, str_of(text));
}

void json_append_float(struct buf *buf, float value)
{
    char text[40];
    if (append_special(buf, (double)value)) {
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }
    buf_append_str(buf, str_of(text));
}

bool json_parse_double(struct str_view text, double *ret_value)
{
    char copy[NUMBER_CHARS_MAX];
    if (str_equal(text, STR("NaN")) || str_equal(text, STR("Infinity"))
        || str_equal(text, STR("-Infinity"))) {
        *ret_value = text.len == 3 ? (double)NAN : (text.ptr[0] == '-' ? -HUGE_VAL : HUGE_VAL);
        return true;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\0' || strchr("0123456789+-.eE", text.ptr[i]) == NULL) {
            return false; /* strtod would take hexadecimal, spaces and names */
        }
    }
    if (text.len == 0 || str_copy(text, copy, sizeof(copy)) != ERR_OK) {
        return false;
    }
    char *end = NULL;
    *ret_value = strtod(copy, &end);
    return *end == '\0' && end != copy && isfinite(*ret_value);
}
