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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flood_leaves_two_files_of_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
