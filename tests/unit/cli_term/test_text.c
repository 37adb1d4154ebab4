#include "cmd/cli/term/text.h"
#include "tests/support/test.h"

static void expect_escaped(struct str_view text, const char *expected)
{
    AUTO_BUF struct buf out = BUF_INIT(4096);
    text_escape(text, &out);
    assert_string_equal(buf_text(&out), expected);
}

static void test_what_a_terminal_acts_on_is_escaped(void **state)
{
    (void)state;
    expect_escaped(STR("plain text 1"), "plain text 1");
    expect_escaped(STR("a\033[2Jb"), "a\\x1b[2Jb");
    expect_escaped(STR("\033]0;title\007"), "\\x1b]0;title\\x07");
    expect_escaped(STR("a\nb\tc\rd"), "a\\nb\\tc\\rd");
    expect_escaped(STR("a\x7f"), "a\\x7f");
    expect_escaped(
        STR("\xc2\x9b"
            "31m"),
        "\\u{9b}31m"); /* C1 control sequence introducer */
    expect_escaped(
        STR("\xe2\x80\xae"
            "txt.exe"),
        "\\u{202e}txt.exe"); /* right-to-left override */
    expect_escaped(STR("\xe2\x80\x8b"), "\\u{200b}");
    expect_escaped(str_from("a\0b", 3), "a\\x00b");
}

static void expect_quoted(struct str_view text, bool is_yaml, const char *expected)
{
    AUTO_BUF struct buf out = BUF_INIT(4096);
    text_escape_quoted(text, is_yaml, &out);
    assert_string_equal(buf_text(&out), expected);
}

static void test_json_and_yaml_keep_their_value(void **state)
{
    (void)state;
    expect_quoted(STR("{\n  \"a\": \"\xc3\xa4\"\n}"), false, "{\n  \"a\": \"\xc3\xa4\"\n}");
    expect_quoted(STR("\"\xc2\x9b\xe2\x80\xae\""), false, "\"\\u009b\\u202e\"");
    expect_quoted(STR("\"\xc2\x9b\xe2\x80\xae\""), true, "\"\\u009b\\u202e\"");
    expect_quoted(STR("\"\xf3\xa0\x81\x81\""), false, "\"\\udb40\\udc41\"");
    expect_quoted(STR("\"\xf3\xa0\x81\x81\""), true, "\"\\U000e0041\"");
}

static void test_broken_utf8_is_escaped_byte_by_byte(void **state)
{
    (void)state;
    expect_escaped(STR("\xff\xfe"), "\\xff\\xfe");
    expect_escaped(STR("ok\xc3"), "ok\\xc3");
    expect_escaped(STR("\xed\xa0\x80"), "\\xed\\xa0\\x80"); /* a surrogate */
    expect_escaped(STR("\xc0\xaf"), "\\xc0\\xaf");          /* overlong */
}

static void test_letters_of_the_world_stay(void **state)
{
    (void)state;
    expect_escaped(STR("\xe6\x9d\xb1\xe4\xba\xac"), "\xe6\x9d\xb1\xe4\xba\xac");
    expect_escaped(STR("na\xc3\xafve"), "na\xc3\xafve");
    assert_int_equal(text_width(STR("\xe6\x9d\xb1\xe4\xba\xac")), 4);
    assert_int_equal(text_width(STR("na\xc3\xafve")), 5);
    assert_int_equal(text_width(STR("")), 0);
}

static void test_fit_never_cuts_a_wide_character(void **state)
{
    (void)state;
    size_t width = 0;
    struct str_view text = STR("\xe6\x9d\xb1\xe4\xba\xac");
    assert_int_equal(text_fit(text, 3, &width).len, 3);
    assert_int_equal(width, 2);
    assert_int_equal(text_fit(text, 4, &width).len, 6);
    assert_int_equal(text_fit(text, 0, &width).len, 0);
}

static void test_styles_only_with_color(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(256);
    text_put(STR("x"), TEXT_BAD, false, &out);
    assert_string_equal(buf_text(&out), "x");
    buf_clear(&out);
    text_put(STR("x"), TEXT_BAD, true, &out);
    assert_string_equal(buf_text(&out), "\033[31mx\033[0m");
    buf_clear(&out);
    text_put(STR("x"), TEXT_PLAIN, true, &out);
    assert_string_equal(buf_text(&out), "x");
}

int main(void)
{
    text_use_utf8();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_terminal_acts_on_is_escaped),
        cmocka_unit_test(test_json_and_yaml_keep_their_value),
        cmocka_unit_test(test_broken_utf8_is_escaped_byte_by_byte),
        cmocka_unit_test(test_letters_of_the_world_stay),
        cmocka_unit_test(test_fit_never_cuts_a_wide_character),
        cmocka_unit_test(test_styles_only_with_color),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
