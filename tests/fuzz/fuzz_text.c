/* links: common_base */
/* The strict parsers of common/base: what is accepted must survive formatting and parsing again. */
#include "common/base/buf.h"
#include "common/base/time.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check_time(struct str_view text)
{
    struct wall_us time;
    struct wall_us again;
    char out[TIME_TEXT_BYTES];
    if (time_parse(text, &time) == ERR_OK) {
        check(time_parse(str_of(time_format(time, out)), &again) == ERR_OK);
        check(again.value == time.value);
    }
}

static void check_numbers(struct str_view text)
{
    int64_t value = 0;
    uint64_t bytes = 0;
    char out[32];
    if (str_parse_int64(text, -1000, 1000, &value) == ERR_OK) {
        check(value >= -1000 && value <= 1000);
    }
    if (str_parse_duration_us(text, &value) == ERR_OK) {
        int64_t again = -1;
        check(value >= 0);
        str_format_duration_us(value, out, sizeof(out));
        check(str_parse_duration_us(str_of(out), &again) == ERR_OK && again == value);
    }
    if (str_parse_size_bytes(text, &bytes) == ERR_OK) {
        check(bytes <= INT64_MAX);
    }
}

static void check_bytes(struct str_view text)
{
    uint8_t raw[16];
    char hex[33];
    if (str_hex_decode(text, raw, sizeof(raw)) == ERR_OK) {
        str_hex_encode(raw, sizeof(raw), hex);
        check(str_equal_fold(text, str_of(hex)));
    }
    size_t chars = 0;
    if (str_is_utf8(text, &chars)) {
        check(chars <= text.len);
    }
    AUTO_BUF struct buf json = BUF_INIT(1024 * 1024);
    buf_append_json(&json, text);
    check(!buf_ok(&json) || str_is_utf8(buf_view(&json), NULL));
    struct str_view head;
    struct str_view rest;
    if (str_cut(text, ':', &head, &rest)) {
        check(head.len + rest.len + 1 == text.len);
        check(str_distance(head, rest) == str_distance(rest, head));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str_view text = str_from((const char *)data, size);
    check_time(text);
    check_numbers(text);
    check_bytes(text);
    check(str_trim(text).len <= text.len);
    return 0;
}
