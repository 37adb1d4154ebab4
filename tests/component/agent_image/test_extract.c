/* What an archive may make on the disk without naming it. */
#include "cmd/agent/image/extract.h"
#include "cmd/agent/image/tar.h"
#include "common/base/cleanup.h"
#include "common/sys/eraser.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DEPTH = 40,
    FILES = 5
};

static void put_empty_file(int fd, const char *name)
{
    char block[TAR_BLOCK_BYTES] = { 0 };
    unsigned sum = 0;
    assert_true(strlen(name) < 100);
    memcpy(block, name, strlen(name));
    memcpy(block + 100, "0000644", 8);
    memcpy(block + 108, "0000000", 8);
    memcpy(block + 116, "0000000", 8);
    memcpy(block + 124, "00000000000", 12);
    memcpy(block + 136, "00000000000", 12);
    memset(block + 148, ' ', 8);
    block[156] = '0';
    memcpy(block + 257, "ustar", 6);
    memcpy(block + 263, "00", 2);
    for (size_t i = 0; i < sizeof(block); i++) {
        sum += (unsigned char)block[i];
    }
    (void)snprintf(block + 148, 8, "%06o", sum & 0777777U);
    assert_ok(fd_write_all(fd, block, sizeof(block), NULL));
}

/* Each file in a chain of folders of its own, none of which is an entry. */
static int make_archive(void)
{
    static const char end[2 * TAR_BLOCK_BYTES];
    int fd = memfd_create("tar", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (int file = 0; file < FILES; file++) {
        AUTO_BUF struct buf name = BUF_INIT(100);
        buf_append_char(&name, (char)('a' + file));
        for (int level = 1; level < DEPTH; level++) {
            buf_append_str(&name, STR("/d"));
        }
        buf_append_str(&name, STR("/f"));
        put_empty_file(fd, buf_text(&name));
    }
    assert_ok(fd_write_all(fd, end, sizeof(end), NULL));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static enum err_code extract(uint64_t entries_max, struct extract_sum *ret_sum)
{
    struct source *source = NULL;
    struct err_info err = ERR_INFO_INIT;
    char *dir = test_dir_create();
    AUTO_FD int archive = make_archive();
    AUTO_FD int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_ok(source_open(archive, 1 << 20, &source, NULL));
    enum err_code code = extract_tar(source, root, entries_max, ret_sum, &err);
    source_close(source);
    assert_true(code == ERR_OK || strstr(err.text, "folders that they lie in") != NULL);
    assert_ok(eraser_run(dir, NULL));
    mem_free(dir);
    return code;
}

static void test_folders_without_an_entry_count_as_entries(void **unused)
{
    struct extract_sum sum = { 0 };
    (void)unused;
    assert_ok(extract(FILES * (DEPTH + 1), &sum));
    assert_int_equal(sum.entries, FILES); /* what the archive has */
    assert_code(ERR_LIMIT, extract(FILES * (DEPTH + 1) - 1, &sum));
    assert_code(ERR_LIMIT, extract(FILES, &sum));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders_without_an_entry_count_as_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
