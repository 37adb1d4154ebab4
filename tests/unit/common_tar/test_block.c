#include "common/base/cleanup.h"
#include "common/tar/block.h"
#include "tests/support/test.h"

#include <stdio.h>

static void put(char *block, size_t at, const char *bytes, size_t count)
{
    memcpy(block + at, bytes, count);
}

static void test_numbers(void **unused)
{
    static const struct {
        const char *bytes; /* of the field for the size: 12 */
        enum err_code code;
        uint64_t value;
    } rows[] = {
        { "00000000644\0", ERR_OK, 0644 },
        { "777777777777", ERR_OK, UINT64_C(0xfffffffff) },
        { "  17        ", ERR_OK, 017 },
        { "\0\0\0\0\0\0\0\0\0\0\0\0", ERR_OK, 0 },
        { "            ", ERR_OK, 0 },
        { "12a\0\0\0\0\0\0\0\0\0", ERR_CORRUPT, 0 },
        { "8\0\0\0\0\0\0\0\0\0\0\0", ERR_CORRUPT, 0 },
        { "-1\0\0\0\0\0\0\0\0\0\0", ERR_CORRUPT, 0 },
        { "\x80\0\0\0\0\0\0\0\0\0\1\2", ERR_OK, 258 },
        { "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", ERR_OK, INT64_MAX },
        { "\x80\0\0\0\x80\0\0\0\0\0\0\0", ERR_LIMIT, 0 },
        { "\x81\0\0\0\0\0\0\0\0\0\0\0", ERR_LIMIT, 0 },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ERR_LIMIT, 0 },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char block[TAR_BLOCK_BYTES] = { 0 };
        uint64_t value = 0;
        put(block, 124, rows[i].bytes, 12);
        memset(block + 136, '7', 12); /* what follows is no part of it */
        assert_code(rows[i].code, tar_block_number(block, TAR_AT_SIZE, INT64_MAX, &value));
        assert_true(value == rows[i].value);
        if (rows[i].code == ERR_OK && rows[i].value > 0) {
            assert_code(ERR_LIMIT, tar_block_number(block, TAR_AT_SIZE, rows[i].value - 1, &value));
        }
    }
}

static void test_paths(void **unused)
{
    char block[TAR_BLOCK_BYTES] = { 0 };
    char path[TAR_JOINED_BYTES];
    (void)unused;
    put(block, 0, "name", 4);
    put(block, 345, "before", 6);
    tar_block_path(block, path);
    assert_string_equal(path, "name"); /* of an old archive */
    put(block, 257, "ustar  ", 8);
    tar_block_path(block, path);
    assert_string_equal(path, "name"); /* of GNU, which keeps something else there */
    assert_true(tar_block_has_magic(block));
    put(block, 257, "ustar\0", 6);
    tar_block_path(block, path);
    assert_string_equal(path, "before/name");
    memset(block, 'n', 100);
    memset(block + 345, 'p', 155);
    tar_block_path(block, path);
    assert_int_equal(strlen(path), 256);
    assert_int_equal(path[155], '/');
    assert_int_equal(tar_block_text(block, TAR_AT_NAME).len, 100);
}

static void test_sums(void **unused)
{
    char block[TAR_BLOCK_BYTES] = { 0 };
    char sum[8];
    (void)unused;
    assert_true(tar_block_is_empty(block));
    block[511] = '\xff'; /* counts as 255 */
    assert_false(tar_block_is_empty(block));
    assert_false(tar_block_is_sound(block));
    (void)snprintf(sum, sizeof(sum), "%06o", 8U * ' ' + 255U);
    put(block, 148, sum, sizeof(sum));
    assert_true(tar_block_is_sound(block));
    block[0] = 1;
    assert_false(tar_block_is_sound(block));
}

static void expect_damage(const char *text, size_t bytes)
{
    struct str_view rest = str_from(text, bytes);
    struct str_view key = STR_NONE;
    struct str_view value = STR_NONE;
    assert_code(ERR_CORRUPT, tar_record_next(&rest, &key, &value));
}

static void test_records(void **unused)
{
    static const char TEXT[] = "12 path=a=b\n7 key=\n\0\0\0";
    static const char *const damaged[] = { "x",       "12 path=a\n", "6 ab\n\n",
                                           "3 =\n",   "5 a=b\n",     "99 path=a\n",
                                           "-6 a=\n", " 6 a=\n",     "0 a=b\n" };
    struct str_view rest = str_from(TEXT, sizeof(TEXT) - 1);
    struct str_view key = STR_NONE;
    struct str_view value = STR_NONE;
    (void)unused;
    assert_ok(tar_record_next(&rest, &key, &value));
    assert_true(str_equal(key, STR("path")) && str_equal(value, STR("a=b")));
    assert_ok(tar_record_next(&rest, &key, &value));
    assert_true(str_equal(key, STR("key")) && value.len == 0);
    assert_code(ERR_NOT_FOUND, tar_record_next(&rest, &key, &value));
    for (size_t i = 0; i < ARRAY_LENGTH(damaged); i++) {
        expect_damage(damaged[i], strlen(damaged[i]));
    }
}

static void test_padding(void **unused)
{
    (void)unused;
    assert_int_equal(tar_padding(0), 0);
    assert_int_equal(tar_padding(1), 511);
    assert_int_equal(tar_padding(512), 0);
    assert_int_equal(tar_padding(513), 511);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_paths),   cmocka_unit_test(test_sums),
        cmocka_unit_test(test_records), cmocka_unit_test(test_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
