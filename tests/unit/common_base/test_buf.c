#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

static void test_empty_is_empty_text(void **state)
{
    (void)state;
    AUTO_BUF struct buf buf = BUF_INIT(10);
    assert_string_equal(buf_text(&buf), "");
    assert_int_equal(buf_view(&buf).len, 0);
    assert_non_null(buf_view(&buf).ptr);
    assert_true(buf_ok(&buf));
    buf_append(&buf, NULL, 0);
    assert_true(buf_ok(&buf));
}

static void test_append_kinds(void **state)
{
    (void)state;
    AUTO_BUF struct buf buf = BUF_INIT(1000);
    buf_append(&buf, "ab", 2);
    buf_append_char(&buf, 'c');
    buf_append_str(&buf, STR("de"));
    buf_printf(&buf, "%d-%s", 42, "x");
    assert_string_equal(buf_text(&buf), "abcde42-x");
    buf_clear(&buf);
    buf_append_u64_be(&buf, UINT64_C(0x0102030405060708));
    assert_memory_equal(buf.data, "\1\2\3\4\5\6\7\10", 8);
    assert_int_equal(buf.len, 8);
}

static void test_failure_sticks_until_cleared(void **state)
{
    (void)state;
    AUTO_BUF struct buf buf = BUF_INIT(5);
    buf_append(&buf, "12345", 5);
    assert_true(buf_ok(&buf));
    buf_append_char(&buf, '6');
    assert_false(buf_ok(&buf));
    buf_append(&buf, "", 0);
    assert_false(buf_ok(&buf));
    assert_string_equal(buf_text(&buf), "12345");
    assert_null(buf_steal(&buf));
    buf_clear(&buf);
    assert_true(buf_ok(&buf));
    buf_printf(&buf, "%s", "123456");
    assert_false(buf_ok(&buf));
    assert_string_equal(buf_text(&buf), "");
}

static void test_grows_to_large(void **state)
{
    (void)state;
    AUTO_BUF struct buf buf = BUF_INIT(100000);
    for (int i = 0; i < 10000; i++) {
        buf_append(&buf, "0123456789", 10);
    }
    assert_true(buf_ok(&buf));
    assert_int_equal(strlen(buf_text(&buf)), 100000);
}

static void test_steal(void **state)
{
    (void)state;
    AUTO_BUF struct buf buf = BUF_INIT(100);
    AUTO_FREE char *empty = buf_steal(&buf);
    assert_string_equal(empty, "");
    buf_append_str(&buf, STR("mine"));
    AUTO_FREE char *text = buf_steal(&buf);
    assert_string_equal(text, "mine");
    assert_int_equal(buf.len, 0);
}

static void test_json_escapes(void **state)
{
    (void)state;
    AUTO_BUF struct buf buf = BUF_INIT(200);
    buf_append_json(&buf, STR("a\"b\\c\n\t\r\x01\x7f\xC3\xA9"));
    assert_string_equal(buf_text(&buf), "\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u007f\xC3\xA9\"");
    buf_clear(&buf);
    buf_append_json(&buf, STR("a\xFF\xC3"));
    assert_string_equal(buf_text(&buf), "\"a\\ufffd\\ufffd\"");
    buf_clear(&buf);
    buf_append_json(&buf, str_from("\0x", 2));
    assert_string_equal(buf_text(&buf), "\"\\u0000x\"");
}

static bool fill(void *context)
{
    AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
    for (int i = 0; i < 500; i++) {
        buf_append_str(&buf, STR("some words "));
    }
    *(size_t *)context = buf.len;
    return buf_ok(&buf);
}

static void test_out_of_memory_fails_the_buffer(void **state)
{
    (void)state;
    size_t len = 0;
    test_allocation_sweep(fill, &len, 50);
    assert_int_equal(len, 5500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_is_empty_text),
        cmocka_unit_test(test_append_kinds),
        cmocka_unit_test(test_failure_sticks_until_cleared),
        cmocka_unit_test(test_grows_to_large),
        cmocka_unit_test(test_steal),
        cmocka_unit_test(test_json_escapes),
        cmocka_unit_test(test_out_of_memory_fails_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
