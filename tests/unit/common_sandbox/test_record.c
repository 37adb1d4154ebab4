#include "common/sandbox/record.h"
#include "tests/support/test.h"

static void test_a_record_is_read_as_written(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    struct record record;
    record_open(&json);
    record_put_text(&json, "id", STR("one"));
    record_put_number(&json, "status", 18446744073709551615ULL);
    record_close(&json);
    assert_ok(record_parse(buf_view(&json), &record, NULL));
    assert_true(str_equal(record_text(&record, "id"), STR("one")));
    assert_true(record_number(&record, "status") == UINT64_MAX);
    assert_int_equal(record_number(&record, "id"), 0);
    assert_false(record_has(&record, "other"));
}

static void test_what_is_no_record_is_refused(void **unused)
{
    (void)unused;
    static const char *const wrong[] = {
        "",     "[]",        "{",         "{\"a\":1,}",      "{\"a\":{}}", "{\"a\":-1}",
        "{} x", "{\"a\" 1}", "{\"a\":\"", "{\"a\":\"\\n\"}", "{\"a\":1e3}"
    };
    struct record record;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_code(ERR_CORRUPT, record_parse(str_of(wrong[i]), &record, NULL));
    }
    assert_ok(record_parse(STR(" { } "), &record, NULL));
}

/* Whatever others say is read again once it is tame. */
static void test_tame_words_are_read_again(void **unused)
{
    (void)unused;
    static const char *const words[][2] = {
        { "a \"b\" \\ c\n", "a 'b' ' c'" },
        { "\x7f\x1b", "''" },
        { "\xE8\xA6\x8F", "\xE8\xA6\x8F" },
        { "\xE8\xA6\x8F[\xE8\xA6]\xFF", "\xE8\xA6\x8F[??]?" },
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
        struct record record;
        char text[32];
        assert_ok(str_copy(str_of(words[i][0]), text, sizeof(text)));
        record_tame(text);
        assert_string_equal(text, words[i][1]);
        record_open(&json);
        record_put_text(&json, "text", str_of(text));
        record_close(&json);
        assert_ok(record_parse(buf_view(&json), &record, NULL));
        assert_true(str_equal(record_text(&record, "text"), str_of(words[i][1])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_is_read_as_written),
        cmocka_unit_test(test_what_is_no_record_is_refused),
        cmocka_unit_test(test_tame_words_are_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
