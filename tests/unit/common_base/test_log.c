#include "common/base/log.h"
#include "tests/support/test.h"

enum {
    TEXT_BYTES = 32 * 1024
};

static void capture(void (*fn)(void *context), void *context, char text[TEXT_BYTES])
{
    test_capture_stderr(fn, context, text, TEXT_BYTES);
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n' ? 1 : 0;
    }
    return lines;
}

static void write_kinds(void *context)
{
    struct err_info err = ERR_INFO_INIT;
    (void)ERR_SET(&err, ERR_INVALID, "bad %s", "thing");
    log_info(
        "kinds",
        LOG_STR("s", "a\"b\n"),
        LOG_STR("none", NULL),
        LOG_VIEW("v", str_from("abcdef", 3)),
        LOG_INT("i", -7),
        LOG_UINT("u", UINT64_MAX),
        LOG_BOOL("yes", *(int *)context),
        LOG_BOOL("no", false),
        LOG_ERR(&err));
}

static void test_one_json_line_with_every_kind(void **state)
{
    (void)state;
    char text[TEXT_BYTES];
    int yes = 2;
    capture(write_kinds, &yes, text);
    const char *fields = strstr(text, ",\"level\":");
    assert_memory_equal(text, "{\"time\":\"", 9);
    assert_non_null(fields);
    assert_string_equal(
        fields,
        ",\"level\":\"info\",\"event\":\"kinds\",\"s\":\"a\\\"b\\n\",\"none\":\"\",\"v\":\"abc\","
        "\"i\":-7,\"u\":18446744073709551615,\"yes\":true,\"no\":false,\"error\":\"bad thing\"}\n");
}

static void write_levels(void *context)
{
    (void)context;
    log_debug("d");
    log_info("i");
    log_warn("w");
    log_error("e");
}

static void test_threshold(void **state)
{
    (void)state;
    char text[TEXT_BYTES];
    for (int level = LOG_DEBUG; level <= LOG_OFF; level++) {
        log_set_level((enum log_level)level);
        capture(write_levels, NULL, text);
        assert_int_equal(count_lines(text), LOG_OFF - level);
    }
    log_set_level(LOG_INFO);
}

static void test_parse_level(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    assert_ok(log_parse_level(STR("warn"), &level));
    assert_int_equal(level, LOG_WARN);
    assert_ok(log_parse_level(STR("off"), &level));
    assert_int_equal(level, LOG_OFF);
    assert_code(ERR_INVALID, log_parse_level(STR("WARN"), &level));
    assert_code(ERR_INVALID, log_parse_level(STR(""), &level));
    assert_int_equal(level, LOG_OFF);
}

static void write_long(void *context)
{
    const char *value = context;
    log_info("long", LOG_STR("v", value), LOG_INT("after", 1));
}

static void test_value_is_cut_between_code_points(void **state)
{
    (void)state;
    char text[TEXT_BYTES];
    char value[LOG_VALUE_BYTES + 10];
    memset(value, 'a', sizeof(value));
    value[LOG_VALUE_BYTES - 1] = '\xC3'; /* an e with an accent that straddles the bound */
    value[LOG_VALUE_BYTES] = '\xA9';
    value[sizeof(value) - 1] = '\0';
    capture(write_long, value, text);
    const char *start = strstr(text, "\"v\":\"");
    assert_non_null(start);
    assert_int_equal(strspn(start + 5, "a"), LOG_VALUE_BYTES - 1);
    assert_non_null(strstr(text, "aaa\",\"after\":1}\n"));
}

static void write_hostile(void *context)
{
    struct log_field fields[64];
    for (size_t i = 0; i < 64; i++) {
        fields[i] = LOG_STR("v", (const char *)context);
    }
    log_write(LOG_WARN, "hostile", fields, 64);
}

/* A peer's text escapes to six times its length; the line must still be written, and be JSON. */
static void test_hostile_values_do_not_suppress_the_line(void **state)
{
    (void)state;
    char text[TEXT_BYTES];
    char value[LOG_VALUE_BYTES + 1];
    memset(value, '\x01', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    capture(write_hostile, value, text);
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, "\"event\":\"hostile\""));
    assert_non_null(strstr(text, "\\u0001\",\"cut\":true}\n"));
}

static void test_component(void **state)
{
    (void)state;
    char text[TEXT_BYTES];
    log_set_component("unit");
    capture(write_long, (void *)(uintptr_t) "x", text);
    assert_non_null(strstr(text, "\"event\":\"long\",\"component\":\"unit\",\"v\":\"x\""));
    log_set_component(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_json_line_with_every_kind),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_parse_level),
        cmocka_unit_test(test_value_is_cut_between_code_points),
        cmocka_unit_test(test_hostile_values_do_not_suppress_the_line),
        cmocka_unit_test(test_component),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
