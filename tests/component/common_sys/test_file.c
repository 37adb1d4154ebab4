#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char *dir;
    char *path;
};

static int set_up(void **state)
{
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->dir = test_dir_create();
    fixture->path = mem_printf("%s/file", fixture->dir);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    test_dir_remove(fixture->dir);
    mem_free(fixture->path);
    mem_free(fixture);
    return 0;
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(lstat(path, &info), 0);
    return info.st_mode & 07777;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int count = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += entry->d_name[0] == '.' ? 0 : 1;
    }
    (void)closedir(dir);
    return count;
}

static void test_write_replaces_with_exact_mode(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    mode_t before = umask(0);
    assert_ok_err(err, file_write_atomic(fixture->path, "one", 3, 0640, &err));
    assert_int_equal(mode_of(fixture->path), 0640);
    (void)umask(077);
    assert_ok_err(err, file_write_atomic(fixture->path, "second", 6, 0644, &err));
    (void)umask(before);
    assert_int_equal(mode_of(fixture->path), 0644);
    AUTO_BUF struct buf buf = BUF_INIT(100);
    assert_ok_err(err, file_read(fixture->path, 100, &buf, &err));
    assert_string_equal(buf_text(&buf), "second");
    assert_int_equal(count_entries(fixture->dir), 1);
}

static void test_failed_write_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    assert_int_equal(mkdir(fixture->path, 0700), 0); /* rename over a folder fails */
    assert_true(file_write_atomic(fixture->path, "x", 1, 0600, &err) != ERR_OK);
    assert_int_equal(count_entries(fixture->dir), 1);
    AUTO_FREE char *lost = mem_printf("%s/none/file", fixture->dir);
    assert_code(ERR_NOT_FOUND, file_write_atomic(lost, "x", 1, 0600, &err));
    assert_non_null(strstr(err.text, "No such file"));
}

static void test_write_replaces_a_symlink_itself(void **state)
{
    struct fixture *fixture = *state;
    AUTO_FREE char *victim = mem_printf("%s/victim", fixture->dir);
    assert_ok(file_write_atomic(victim, "safe", 4, 0600, NULL));
    assert_int_equal(symlink(victim, fixture->path), 0);
    assert_ok(file_write_atomic(fixture->path, "new", 3, 0600, NULL));
    AUTO_BUF struct buf buf = BUF_INIT(100);
    assert_ok(file_read(victim, 100, &buf, NULL));
    assert_string_equal(buf_text(&buf), "safe");
}

static void test_read_bounds(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf buf = BUF_INIT(100);
    assert_code(ERR_NOT_FOUND, file_read(fixture->path, 100, &buf, &err));
    assert_false(file_exists(fixture->path));
    assert_ok(file_write_atomic(fixture->path, "12345", 5, 0600, NULL));
    assert_true(file_exists(fixture->path));
    assert_ok(file_read(fixture->path, 5, &buf, &err));
    assert_int_equal(buf.len, 5);
    assert_code(ERR_LIMIT, file_read(fixture->path, 4, &buf, &err));
    AUTO_BUF struct buf small = BUF_INIT(3);
    assert_code(ERR_LIMIT, file_read(fixture->path, 100, &small, &err));
    /* Its size says 0; the bytes count. */
    AUTO_BUF struct buf proc = BUF_INIT(100000);
    assert_code(ERR_LIMIT, file_read("/proc/self/maps", 10, &proc, &err));
}

static void test_read_refuses_what_is_not_a_file(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf buf = BUF_INIT(100);
    assert_int_equal(symlink("/etc/passwd", fixture->path), 0);
    assert_code(ERR_DENIED, file_read(fixture->path, 100, &buf, &err));
    assert_non_null(strstr(err.text, "symbolic link"));
    assert_true(file_exists(fixture->path));
    assert_code(ERR_INVALID, file_read(fixture->dir, 100, &buf, &err));
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(mkfifo(fixture->path, 0600), 0); /* must not wait for a writer */
    assert_code(ERR_INVALID, file_read(fixture->path, 100, &buf, &err));
    assert_int_equal(buf.len, 0);
}

static void test_what_a_person_names_may_be_a_link_or_a_pipe(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf buf = BUF_INIT(100);
    AUTO_FREE char *link = mem_printf("%s/link", fixture->dir);
    int ends[2];
    assert_ok(file_write_atomic(fixture->path, "text", 4, 0600, NULL));
    assert_int_equal(symlink(fixture->path, link), 0);
    assert_ok_err(err, file_read_named(link, 4, &buf, &err));
    assert_code(ERR_LIMIT, file_read_named(link, 3, &buf, &err));
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "ual", 3), 3);
    assert_int_equal(close(ends[1]), 0);
    AUTO_FREE char *end = mem_printf("/proc/self/fd/%d", ends[0]);
    assert_ok_err(err, file_read_named(end, 4, &buf, &err));
    assert_string_equal(buf_text(&buf), "textual");
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(unlink(link), 0);
    assert_code(ERR_NOT_FOUND, file_read_named(link, 4, &buf, &err));
    assert_code(ERR_UNAVAILABLE, file_read_named(fixture->dir, 4, &buf, &err));
    assert_non_null(strstr(err.text, fixture->dir));
}

static void test_private_files_need_their_mode(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf buf = BUF_INIT(100);
    assert_ok(file_write_atomic(fixture->path, "key", 3, 0600, NULL));
    assert_ok_err(err, file_read_private(fixture->path, 100, &buf, &err));
    static const mode_t loose[] = { 0640, 0604, 0620, 0610, 0601 };
    for (size_t i = 0; i < ARRAY_LENGTH(loose); i++) {
        assert_int_equal(chmod(fixture->path, loose[i]), 0);
        assert_code(ERR_DENIED, file_read_private(fixture->path, 100, &buf, &err));
        assert_non_null(strstr(err.text, "chmod 600 "));
    }
    assert_int_equal(chmod(fixture->path, 0400), 0);
    assert_ok_err(err, file_read_private(fixture->path, 100, &buf, &err));
    if (geteuid() == 0) {
        assert_int_equal(chown(fixture->path, 12345, 12345), 0);
        assert_code(ERR_DENIED, file_read_private(fixture->path, 100, &buf, &err));
        assert_non_null(strstr(err.text, "12345"));
    }
}

static void test_folders(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    mode_t before = umask(077);
    assert_ok_err(err, file_make_dir(fixture->path, 0750, &err));
    (void)umask(before);
    assert_int_equal(mode_of(fixture->path), 0750);
    assert_ok_err(err, file_make_dir(fixture->path, 0750, &err));
    assert_ok_err(err, file_make_dir(fixture->path, 0770, &err));
    assert_code(ERR_DENIED, file_make_dir(fixture->path, 0700, &err));
    assert_non_null(strstr(err.text, "chmod 700 "));
    assert_int_equal(rmdir(fixture->path), 0);
    assert_int_equal(symlink(fixture->dir, fixture->path), 0);
    assert_code(ERR_DENIED, file_make_dir(fixture->path, 0700, &err));
    AUTO_FREE char *deep = mem_printf("%s/a/b", fixture->dir);
    assert_code(ERR_NOT_FOUND, file_make_dir(deep, 0700, &err));
}

static void take_lock(void *context)
{
    int fd = -1;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = file_lock_dir(context, &fd, &err);
    (void)fprintf(stderr, "%s", err.text);
    _exit(code == ERR_OK ? 0 : (int)code);
}

static void test_lock_keeps_a_second_process_out(void **state)
{
    struct fixture *fixture = *state;
    struct err_info err = ERR_INFO_INIT;
    char text[512];
    int fd = -1;
    assert_ok_err(err, file_lock_dir(fixture->dir, &fd, &err));
    int status = test_in_child(take_lock, fixture->dir, text, sizeof(text));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ERR_BUSY);
    AUTO_FREE char *holder = mem_printf("%s: in use by process %d", fixture->dir, (int)getpid());
    assert_string_equal(text, holder);
    fd_close(&fd);
    status = test_in_child(take_lock, fixture->dir, text, sizeof(text));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_ok_err(err, file_lock_dir(fixture->dir, &fd, &err)); /* the child has ended */
    fd_close(&fd);
}

static void test_overwriting_changes_nothing_but_the_bytes(void **state)
{
    struct fixture *fixture = *state;
    char large[FILE_SECTOR_BYTES + 1] = "";
    struct stat before;
    struct stat after;
    AUTO_BUF struct buf text = BUF_INIT(64);
    AUTO_FREE char *path = mem_printf("%s/number", fixture->dir);
    AUTO_FREE char *link = mem_printf("%s/link", fixture->dir);
    assert_code(ERR_NOT_FOUND, file_overwrite(path, "0001", 4, NULL));
    assert_false(file_exists(path));
    assert_ok(file_replace(path, "0001", 4, 0600, NULL));
    assert_int_equal(stat(path, &before), 0);
    assert_ok(file_overwrite(path, "0002", 4, NULL));
    assert_code(ERR_NOT_FOUND, file_overwrite(path, "003", 3, NULL));
    assert_code(ERR_NOT_FOUND, file_overwrite(path, "00003", 5, NULL));
    assert_code(ERR_INVALID, file_overwrite(path, large, sizeof(large), NULL));
    assert_int_equal(symlink(path, link), 0);
    assert_code(ERR_DENIED, file_overwrite(link, "0004", 4, NULL));
    assert_ok(file_read(path, 64, &text, NULL));
    assert_string_equal(buf_text(&text), "0002");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mode & 07777U, 0600);
    assert_ok(file_sync(path, NULL));
    assert_ok(file_sync(fixture->dir, NULL));
    assert_code(ERR_DENIED, file_sync(link, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_replaces_with_exact_mode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_write_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_write_replaces_a_symlink_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_refuses_what_is_not_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_what_a_person_names_may_be_a_link_or_a_pipe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_private_files_need_their_mode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_overwriting_changes_nothing_but_the_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock_keeps_a_second_process_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
