#include "cmd/shim/outlog.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>

static void test_a_flood_leaves_two_files_of_the_cap(void **unused)
{
    (void)unused;
    struct outlog log;
    char *folder = test_dir_create();
    AUTO_FREE char *newest = mem_printf("%s/out.log", folder);
    AUTO_FREE char *older = mem_printf("%s/out.log.1", folder);
    AUTO_FD int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    outlog_open(&log, dir, "out.log", 1000);
    for (int i = 0; i < 345; i++) {
        char line[11];
        (void)snprintf(line, sizeof(line), "%09d\n", i);
        outlog_append(&log, str_from(line, 10));
    }
    outlog_close(&log);
    AUTO_BUF struct buf text = BUF_INIT(4096);
    assert_ok(file_read(older, 4096, &text, NULL));
    assert_int_equal(text.len, 1000);
    assert_true(str_has_prefix(buf_view(&text), STR("000000200\n")));
    buf_clear(&text);
    assert_ok(file_read(newest, 4096, &text, NULL));
    assert_int_equal(text.len, 450);
    outlog_open(&log, dir, "out.log", 1000);
    assert_int_equal(log.bytes, 450); /* a second start goes on where the first one ended */
    outlog_close(&log);
    test_dir_remove(folder);
}

/* "abcdefghij", of which the log keeps four and three bytes, after three of an earlier run. */
static void test_a_stream_is_read_back_by_its_offset(void **unused)
{
    static const char stream[] = "abcdefghij";
    (void)unused;
    struct outlog log;
    char *folder = test_dir_create();
    AUTO_FD int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_BUF struct buf got = BUF_INIT(3);
    outlog_open(&log, dir, "out.log", 4);
    outlog_append(&log, STR("xyz"));
    for (uint64_t end = 1; end <= sizeof(stream) - 1; end++) {
        outlog_append(&log, str_from(&stream[end - 1], 1));
        for (uint64_t from = 0; from < end; from++) {
            uint64_t at = from;
            uint64_t kept = 4 + (end + 3 - 1) % 4 + 1; /* a full older file and the newest */
            uint64_t first = end + 3 <= 4 || kept >= end ? 0 : end - kept;
            assert_true(outlog_read(&log, end, &at, &got));
            assert_int_equal(at, from < first ? first : from);
            assert_memory_equal(got.data, stream + at, got.len);
        }
        uint64_t at = end;
        assert_false(outlog_read(&log, end, &at, &got));
    }
    uint64_t at = 0;
    log.dropped = 1;
    assert_false(outlog_read(&log, sizeof(stream) - 1, &at, &got));
    outlog_close(&log);
    test_dir_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flood_leaves_two_files_of_the_cap),
        cmocka_unit_test(test_a_stream_is_read_back_by_its_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
