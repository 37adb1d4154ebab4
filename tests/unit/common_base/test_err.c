#include "common/base/err.h"
#include "tests/support/test.h"

#include <errno.h>

static void test_every_code_has_a_name(void **state)
{
    (void)state;
    for (int code = 0; code < ERR_CODE_COUNT; code++) {
        assert_non_null(err_name((enum err_code)code));
        for (int other = 0; other < code; other++) {
            assert_string_not_equal(err_name((enum err_code)code), err_name((enum err_code)other));
        }
    }
    assert_string_equal(err_name(ERR_NOT_FOUND), "not_found");
    assert_string_equal(err_name((enum err_code) - 1), "unknown");
    assert_string_equal(err_name(ERR_CODE_COUNT), "unknown");
}

static void test_set_keeps_code_text_and_origin(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    assert_int_equal(ERR_SET(&err, ERR_LIMIT, "%d of %d", 3, 2), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.text, "3 of 2");
    assert_non_null(strstr(err.file, "test_err.c"));
    assert_true(err.line > 0);
    assert_false(err.retryable);
    assert_int_equal(ERR_SET(&err, ERR_UNAVAILABLE, "away"), ERR_UNAVAILABLE);
    assert_true(err.retryable);
    assert_int_equal(ERR_SET(NULL, ERR_BUSY, "nobody asks"), ERR_BUSY);
    assert_int_equal(ERR_SET_ERRNO(NULL, ERR_BUSY, EAGAIN, "nobody asks"), ERR_BUSY);
    err_prefix(NULL, "x");
}

static void test_errno_and_prefix(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    assert_int_equal(ERR_SET_ERRNO(&err, ERR_NOT_FOUND, ENOENT, "%s", "/x"), ERR_NOT_FOUND);
    assert_string_equal(err.text, "/x: No such file or directory");
    err_prefix(&err, "key %d", 1);
    assert_string_equal(err.text, "key 1: /x: No such file or directory");
    assert_int_equal(err.number, ENOENT);
    assert_int_equal(ERR_SET(&err, ERR_NOT_FOUND, "no agent"), ERR_NOT_FOUND);
    assert_int_equal(err.number, 0);
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    char text[2 * ERR_TEXT_BYTES];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(ERR_SET(&err, ERR_INVALID, "%s", text), ERR_INVALID);
    assert_int_equal(strlen(err.text), ERR_TEXT_BYTES - 1);
    err_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), ERR_TEXT_BYTES - 1);
    assert_int_equal(ERR_SET_ERRNO(&err, ERR_INVALID, EIO, "%s", text), ERR_INVALID);
    assert_int_equal(strlen(err.text), ERR_TEXT_BYTES - 1);
}

/* Peers hang up on a text that is not UTF-8, and files with it cannot be read again. */
static void test_a_text_is_utf8_wherever_it_was_cut(void **state)
{
    (void)state;
    static const char name[] = "\xE8\xA6\x8F\xE8\xA6\x8F\xE8\xA6\x8F";
    for (int length = 1; length <= 9; length++) {
        struct err_info err = ERR_INFO_INIT;
        assert_code(ERR_INVALID, ERR_SET(&err, ERR_INVALID, "%.*s: no", length, name));
        assert_true(str_is_utf8(str_of(err.text), NULL));
        err_prefix(&err, "key[%.*s]", length, name);
        assert_true(str_is_utf8(str_of(err.text), NULL));
        assert_non_null(strstr(err.text, "]: "));
        assert_code(ERR_INVALID, ERR_SET_ERRNO(&err, ERR_INVALID, EIO, "%.*s\xFF", length, name));
        assert_true(str_is_utf8(str_of(err.text), NULL));
    }
    char text[ERR_TEXT_BYTES];
    struct err_info err = ERR_INFO_INIT;
    for (size_t i = 0; i + 3 < sizeof(text); i += 3) {
        memcpy(text + i, name, 3);
        text[i + 3] = '\0';
    }
    for (int pad = 1; pad <= 3; pad++) {
        assert_code(ERR_INVALID, ERR_SET(&err, ERR_INVALID, "%*s%s", pad, "", text));
        assert_int_equal(strlen(err.text), pad == 1 ? strlen(text) + 1 : ERR_TEXT_BYTES - 1);
        assert_true(str_is_utf8(str_of(err.text), NULL));
        err_prefix(&err, "%*s", pad, "");
        assert_true(str_is_utf8(str_of(err.text), NULL));
    }
}

static enum err_code pass_up(enum err_code code, int *after)
{
    TRY(code);
    (*after)++;
    return ERR_OK;
}

static void test_try(void **state)
{
    (void)state;
    int after = 0;
    assert_code(ERR_DENIED, pass_up(ERR_DENIED, &after));
    assert_int_equal(after, 0);
    assert_ok(pass_up(ERR_OK, &after));
    assert_int_equal(after, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_has_a_name),
        cmocka_unit_test(test_set_keeps_code_text_and_origin),
        cmocka_unit_test(test_errno_and_prefix),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_a_text_is_utf8_wherever_it_was_cut),
        cmocka_unit_test(test_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
