/* Heads of members: what is written can be read again; what a hostile side may write is bounded. */
#include "cmd/cli/session/tar_header.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdio.h>

enum {
    OUT_BYTES = 64 * 1024
};

/* Reads back what was written: an optional head of records, then the head itself. */
static struct tar_header read_back(const struct buf *out)
{
    struct tar_header header;
    struct tar_header member;
    struct err_info err = ERR_INFO_INIT;
    bool is_end = true;
    assert_ok_err(err, tar_header_read(out->data, &header, &is_end, &err));
    assert_false(is_end);
    if (header.kind != TAR_PAX) {
        assert_int_equal(TAR_BLOCK_BYTES, out->len);
        return header;
    }
    assert_ok_err(
        err, tar_header_read(out->data + out->len - TAR_BLOCK_BYTES, &member, &is_end, &err));
    assert_ok_err(
        err, tar_header_apply(&member, str_from(out->data + TAR_BLOCK_BYTES, header.size), &err));
    return member;
}

static void check(char kind, uint64_t size, size_t path_bytes, size_t link_bytes)
{
    AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
    struct tar_header header = { .kind = kind, .mode = 0754, .size = size, .mtime = 1700000000 };
    struct err_info err = ERR_INFO_INIT;
    memset(header.path, 'p', path_bytes);
    memset(header.link, 'l', link_bytes);
    assert_ok_err(err, tar_header_write(&header, &out, &err));
    assert_int_equal(0, out.len % TAR_BLOCK_BYTES);
    struct tar_header again = read_back(&out);
    assert_int_equal(header.kind, again.kind);
    assert_int_equal(header.mode, again.mode);
    assert_true(header.size == again.size);
    assert_true(header.mtime == again.mtime);
    assert_string_equal(header.path, again.path);
    assert_string_equal(header.link, again.link);
}

static void test_there_and_back(void **unused)
{
    static const size_t LENGTHS[] = { 1, 99, 100, 101, 985, 986, 987, 998, 999, 1000, 4095 };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(LENGTHS); i++) {
        check(TAR_FILE, 0, LENGTHS[i], 0);
        check(TAR_SYMLINK, 0, 1, LENGTHS[i]);
    }
    check(TAR_FILE, (UINT64_C(1) << 33) - 1, 1, 0);
    check(TAR_FILE, UINT64_C(1) << 33, 1, 0);
    check(TAR_FILE, UINT64_C(1) << 60, 200, 200);
    check(TAR_FOLDER, 0, 5, 0);
}

static void test_no_heads(void **unused)
{
    AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
    struct tar_header header = { .kind = TAR_FILE, .path = "a" };
    struct tar_header read;
    struct err_info err = ERR_INFO_INIT;
    bool is_end = false;
    char zeros[TAR_BLOCK_BYTES] = { 0 };
    (void)unused;
    assert_ok(tar_header_read(zeros, &read, &is_end, &err));
    assert_true(is_end);
    assert_ok(tar_header_write(&header, &out, &err));
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        if (i == 155) {
            continue; /* what ends the sum's digits is not one of them */
        }
        out.data[i] = (char)(out.data[i] ^ 0x21);
        if (tar_header_read(out.data, &read, &is_end, &err) == ERR_OK) {
            print_error("byte %zu is not covered\n", i);
            fail();
        }
        out.data[i] = (char)(out.data[i] ^ 0x21);
    }
}

static void test_hostile_records(void **unused)
{
    static const char *const ROWS[] = {
        "1",
        "x path=a\n",
        "99 path=a\n",
        "0 path=a\n",
        "3 \n",
        "10 path=a",
        "18446744073709551615 a=b\n",
        "8 patha\n",
        "11 size=-1\n",
        "14 size=99999\n99",
        "13 size=0x10\n",
        "10 mtime=\n",
        "30 size=99999999999999999999\n\n",
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct tar_header header = { .kind = TAR_FILE };
        struct err_info err = ERR_INFO_INIT;
        assert_code(ERR_CORRUPT, tar_header_apply(&header, str_of(ROWS[i]), &err));
    }
    struct tar_header header = { .kind = TAR_FILE };
    struct err_info err = ERR_INFO_INIT;
    assert_ok(tar_header_apply(&header, STR("9 path=a\n19 mtime=12.999999\n9 other=\n"), &err));
    assert_string_equal("a", header.path);
    assert_true(header.mtime == 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_no_heads),
        cmocka_unit_test(test_hostile_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
