#include "common/base/str.h"
#include "tests/support/test.h"

static void test_parse_uint64_takes_whole_input(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_ok(str_parse_uint64(STR("18446744073709551615"), UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_code(ERR_LIMIT, str_parse_uint64(STR("18446744073709551616"), UINT64_MAX, &value));
    assert_code(ERR_INVALID, str_parse_uint64(STR(""), 10, &value));
    assert_code(ERR_INVALID, str_parse_uint64(STR("1 "), 10, &value));
    assert_code(ERR_INVALID, str_parse_uint64(STR("+1"), 10, &value));
    assert_code(ERR_LIMIT, str_parse_uint64(STR("11"), 10, &value));
    assert_true(value == UINT64_MAX);
}

static void test_parse_int64_bounds(void **state)
{
    (void)state;
    int64_t value = 0;
    assert_ok(str_parse_int64(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &value));
    assert_true(value == INT64_MIN);
    assert_code(
        ERR_LIMIT, str_parse_int64(STR("9223372036854775808"), INT64_MIN, INT64_MAX, &value));
    assert_code(ERR_INVALID, str_parse_int64(STR("--1"), INT64_MIN, INT64_MAX, &value));
}

static void test_integers_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0", "7", "-1", "10", "-90", "1234567890", "9223372036854775807", "-9223372036854775808",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[STR_INT64_BYTES];
        int64_t value = 0;
        assert_ok(str_parse_int64(str_of(texts[i]), INT64_MIN, INT64_MAX, &value));
        assert_string_equal(str_format_int64(value, text), texts[i]);
    }
}

static void test_durations_and_sizes_need_units(void **state)
{
    (void)state;
    int64_t us = 0;
    uint64_t bytes = 0;
    char text[32];
    assert_ok(str_parse_duration_us(STR("250ms"), &us));
    assert_int_equal(us, 250000);
    assert_string_equal(str_format_duration_us(us, text, sizeof(text)), "250ms");
    assert_string_equal(str_format_duration_us(0, text, sizeof(text)), "0s");
    assert_code(ERR_INVALID, str_parse_duration_us(STR("5"), &us));
    assert_code(ERR_LIMIT, str_parse_duration_us(STR("999999999999d"), &us));
    assert_ok(str_parse_size_bytes(STR("64KiB"), &bytes));
    assert_int_equal(bytes, 65536);
    assert_code(ERR_INVALID, str_parse_size_bytes(STR("1 KiB"), &bytes));
}

static void test_utf8_refuses_surrogates_and_overlongs(void **state)
{
    (void)state;
    size_t chars = 0;
    assert_true(str_is_utf8(STR("h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), &chars));
    assert_int_equal(chars, 4);
    assert_false(str_is_utf8(STR("\xED\xA0\x80"), NULL));
    assert_false(str_is_utf8(STR("\xC0\x80"), NULL));
    assert_false(str_is_utf8(STR("\xF4\x90\x80\x80"), NULL));
    assert_false(str_is_utf8(STR("\xE2\x82"), NULL));
}

static void test_what_is_no_utf8_is_made_so_byte_for_byte(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "", "" },
        { "plain", "plain" },
        { "h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80" },
        { "\xE8\xA6\x8F\xE8\xA6", "\xE8\xA6\x8F??" },
        { "[\xE8\xA6]: x", "[??]: x" },
        { "\xC0\x80\xED\xA0\x80\xFF", "??????" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[32];
        assert_ok(str_copy(str_of(rows[i][0]), text, sizeof(text)));
        str_make_utf8(text);
        assert_string_equal(text, rows[i][1]);
        assert_true(str_is_utf8(str_of(text), NULL));
    }
}

static void test_clip_ends_between_characters(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        size_t bytes;
        const char *kept;
    } rows[] = {
        { "", 0, "" },           { "abc", 3, "abc" },           { "abc", 2, "ab" },
        { "a\xc3\xa4", 2, "a" }, { "\xf0\x9f\x98\x80", 3, "" }, { "a\xc3\xa4", 3, "a\xc3\xa4" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[16];
        assert_ok(str_copy(str_of(rows[i].text), text, sizeof(text)));
        str_clip_utf8(text, rows[i].bytes);
        assert_string_equal(text, rows[i].kept);
    }
}

static void test_distance_finds_typing_errors(void **state)
{
    (void)state;
    assert_int_equal(str_distance(STR("listen"), STR("lsiten")), 2);
    assert_int_equal(str_distance(STR(""), STR("abc")), 3);
    assert_int_equal(str_distance(STR("aaaaaaaaaaaaaaaa"), STR("bbbbbbbbbbbbbbbb")), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_uint64_takes_whole_input),
        cmocka_unit_test(test_parse_int64_bounds),
        cmocka_unit_test(test_integers_are_written_as_they_are_read),
        cmocka_unit_test(test_durations_and_sizes_need_units),
        cmocka_unit_test(test_utf8_refuses_surrogates_and_overlongs),
        cmocka_unit_test(test_what_is_no_utf8_is_made_so_byte_for_byte),
        cmocka_unit_test(test_clip_ends_between_characters),
        cmocka_unit_test(test_distance_finds_typing_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
