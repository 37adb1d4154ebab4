/* Folders as a stranger may leave them, and all of them go. */
#include "common/base/cleanup.h"
#include "common/sys/eraser.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LEVELS = 5000, /* whose path is longer than any path may be */
    NOBODY = 65534
};

static bool is_there(const char *dir, const char *name)
{
    struct stat info;
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    return lstat(path, &info) == 0;
}

static int open_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void put_file(int dir, const char *name)
{
    AUTO_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
}

/* Folders in each other, and nothing else. */
static void put_levels(int dir, const char *name, unsigned levels)
{
    AUTO_FD int at = dup(dir);
    for (unsigned i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(at, name, 0755), 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        fd_close(&at);
        at = next;
    }
}

/* Folders in each other, each with a file and a second folder in it. */
static void put_chain(int dir, const char *name, unsigned levels)
{
    AUTO_FD int at = dup(dir);
    for (unsigned i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(at, name, 0755), 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        fd_close(&at);
        at = next;
        put_file(at, "file");
        assert_int_equal(mkdirat(at, "beside", 0755), 0);
    }
}

static void test_all_of_a_tree_goes_and_nothing_beside_it(void **unused)
{
    (void)unused;
    AUTO_FREE char *tree = NULL;
    char *dir = test_dir_create();
    AUTO_FD int above = open_dir(dir);
    tree = mem_printf("%s/tree", dir);
    assert_int_equal(mkdirat(above, "tree", 0700), 0);
    assert_int_equal(mkdirat(above, "kept", 0700), 0);
    AUTO_FD int kept = openat(above, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int at = openat(above, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put_file(kept, "file");
    put_file(at, "file");
    put_chain(at, "chain", 10);
    assert_int_equal(symlinkat("../kept", at, "link"), 0);
    assert_int_equal(symlinkat("../../kept", at, "chain/link"), 0);
    assert_int_equal(symlinkat("/nowhere", at, "chain/beside/link"), 0);
    assert_int_equal(mkfifoat(at, "chain/pipe", 0600), 0);
    assert_ok(eraser_run(tree, NULL));
    assert_false(is_there(dir, "tree"));
    assert_true(is_there(dir, "kept/file"));
    assert_ok(eraser_run(tree, NULL)); /* not there: good */
    test_dir_remove(dir);
}

static void test_a_file_and_a_link_in_place_of_the_folder(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    AUTO_FREE char *file = mem_printf("%s/file", dir);
    AUTO_FREE char *link = mem_printf("%s/link", dir);
    AUTO_FD int above = open_dir(dir);
    put_file(above, "file");
    assert_int_equal(mkdirat(above, "kept", 0700), 0);
    assert_int_equal(symlinkat("kept", above, "link"), 0);
    assert_ok(eraser_run(link, NULL));
    assert_ok(eraser_run(file, NULL));
    assert_false(is_there(dir, "file"));
    assert_false(is_there(dir, "link"));
    assert_true(is_there(dir, "kept"));
    test_dir_remove(dir);
}

static void test_a_tree_of_five_thousand_levels_goes(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FD int above = open_dir(dir);
    put_levels(above, "tree", LEVELS);
    assert_ok(eraser_run(tree, NULL));
    assert_false(is_there(dir, "tree"));
    test_dir_remove(dir);
}

static void test_names_longer_than_any_path(void **unused)
{
    (void)unused;
    char name[256];
    char *dir = test_dir_create();
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FD int above = open_dir(dir);
    assert_int_equal(mkdirat(above, "tree", 0700), 0);
    AUTO_FD int at = openat(above, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    put_chain(at, name, 40);
    assert_ok(eraser_run(tree, NULL));
    assert_false(is_there(dir, "tree"));
    test_dir_remove(dir);
}

/* The names that it gives to what it moves up are taken, by what was cut off or by a stranger. */
static void test_names_of_its_own_may_be_taken(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FD int above = open_dir(dir);
    assert_int_equal(mkdirat(above, "tree", 0700), 0);
    AUTO_FD int at = openat(above, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put_chain(at, "chain", 8);
    put_file(at, ".erased-0");
    put_chain(at, ".erased-1", 3);
    assert_int_equal(mkdirat(at, ".erased-2", 0), 0);
    assert_int_equal(symlinkat("..", at, ".erased-3"), 0);
    assert_ok(eraser_run(tree, NULL));
    assert_false(is_there(dir, "tree"));
    test_dir_remove(dir);
}

static void test_it_goes_on_where_it_was_and_stays_within_its_budget(void **unused)
{
    (void)unused;
    struct eraser *eraser = NULL;
    bool done = false;
    unsigned steps = 0;
    char *dir = test_dir_create();
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FD int above = open_dir(dir);
    put_chain(above, "tree", 100);
    assert_ok(eraser_open(tree, &eraser, NULL));
    for (steps = 0; !done && steps < 2000; steps++) {
        size_t budget = 2;
        assert_ok(eraser_step(eraser, &budget, &done, NULL));
        assert_true(done || budget == 0);
    }
    eraser_close(eraser);
    assert_true(done);
    assert_true(steps > 100); /* three entries a level, two a step */
    assert_false(is_there(dir, "tree"));
    test_dir_remove(dir);
}

static void test_a_half_deleted_tree_is_deleted_by_the_next(void **unused)
{
    (void)unused;
    struct eraser *eraser = NULL;
    bool done = false;
    size_t budget = 100;
    char *dir = test_dir_create();
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FD int above = open_dir(dir);
    put_chain(above, "tree", 100);
    assert_ok(eraser_open(tree, &eraser, NULL));
    assert_ok(eraser_step(eraser, &budget, &done, NULL));
    eraser_close(eraser);
    assert_false(done);
    assert_ok(eraser_run(tree, NULL));
    assert_false(is_there(dir, "tree"));
    test_dir_remove(dir);
}

/* ---- As somebody whom modes shut out ---- */

static int erase_as_nobody(const char *dir)
{
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FD int above = open_dir(dir);
    if (mkdirat(above, "tree", 0700) != 0) {
        return 2;
    }
    AUTO_FD int at = openat(above, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put_chain(at, "none", 3);
    put_chain(at, "read", 3);
    put_chain(at, "deep", 3);
    bool changed = fchmodat(at, "none", 0, 0) == 0 && fchmodat(at, "read/read/read", 0555, 0) == 0
        && fchmodat(at, "read/read", 0555, 0) == 0 && fchmodat(at, "read", 0555, 0) == 0
        && fchmodat(at, "deep/deep/deep", 0, 0) == 0 && fchmodat(at, "deep/deep", 0111, 0) == 0;
    if (!changed) {
        return 3;
    }
    return eraser_run(tree, NULL) == ERR_OK && !is_there(dir, "tree") ? 0 : 1;
}

static void test_folders_that_are_shut_to_their_owner_go(void **unused)
{
    int status = 0;
    (void)unused;
    char *dir = test_dir_create();
    pid_t child = fork();
    if (child == 0) {
        bool other = geteuid() != 0
            || (chown(dir, NOBODY, NOBODY) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0
                && setresuid(NOBODY, NOBODY, NOBODY) == 0);
        _exit(other ? erase_as_nobody(dir) : 4);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    test_dir_remove(dir);
}

/* What stands in another's folder stays, and the rest goes. */
static int erase_what_resists(const char *dir)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    if (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        return 2;
    }
    bool told = eraser_run(tree, &err) == ERR_UNAVAILABLE && strstr(err.text, tree) != NULL;
    return told && is_there(tree, "theirs/file") && !is_there(tree, "ours")
            && !is_there(tree, "chain")
        ? 0
        : 1;
}

static void test_what_resists_does_not_keep_the_rest(void **unused)
{
    int status = 0;
    (void)unused;
    if (geteuid() != 0) {
        skip();
    }
    char *dir = test_dir_create();
    AUTO_FD int above = open_dir(dir);
    assert_int_equal(mkdirat(above, "tree", 0777), 0);
    AUTO_FD int at = openat(above, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(at, "theirs", 0755), 0);
    put_file(at, "theirs/file");
    put_file(at, "ours");
    assert_int_equal(mkdirat(at, "chain", 0777), 0);
    assert_int_equal(mkdirat(at, "chain/in", 0777), 0);
    put_file(at, "chain/in/file");
    assert_int_equal(fchownat(at, "chain", NOBODY, NOBODY, 0), 0);
    assert_int_equal(fchownat(at, "chain/in", NOBODY, NOBODY, 0), 0);
    assert_int_equal(fchown(at, NOBODY, NOBODY), 0);
    assert_int_equal(fchown(above, NOBODY, NOBODY), 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(erase_what_resists(dir));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    test_dir_remove(dir);
}

static int erase_around_a_mount(const char *dir)
{
    AUTO_FREE char *tree = mem_printf("%s/tree", dir);
    AUTO_FREE char *mounted = mem_printf("%s/tree/in/mounted", dir);
    AUTO_FREE char *kept = mem_printf("%s/kept", dir);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
        || mount(kept, mounted, NULL, MS_BIND, NULL) != 0) {
        return 2;
    }
    /* Of the same file system, so that only the mount tells them apart. */
    bool refused = eraser_run(tree, NULL) == ERR_UNAVAILABLE && is_there(dir, "kept/file");
    bool gone = umount2(mounted, MNT_DETACH) == 0 && eraser_run(tree, NULL) == ERR_OK;
    return refused && gone && is_there(dir, "kept/file") ? 0 : 1;
}

static void test_a_mount_is_not_entered(void **unused)
{
    int status = 0;
    (void)unused;
    if (geteuid() != 0) {
        skip();
    }
    char *dir = test_dir_create();
    AUTO_FD int above = open_dir(dir);
    assert_int_equal(mkdirat(above, "tree", 0755), 0);
    assert_int_equal(mkdirat(above, "tree/in", 0755), 0);
    assert_int_equal(mkdirat(above, "tree/in/mounted", 0755), 0);
    assert_int_equal(mkdirat(above, "kept", 0755), 0);
    put_file(above, "kept/file");
    pid_t child = fork();
    if (child == 0) {
        _exit(erase_around_a_mount(dir));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_a_tree_goes_and_nothing_beside_it),
        cmocka_unit_test(test_a_file_and_a_link_in_place_of_the_folder),
        cmocka_unit_test(test_a_tree_of_five_thousand_levels_goes),
        cmocka_unit_test(test_names_longer_than_any_path),
        cmocka_unit_test(test_names_of_its_own_may_be_taken),
        cmocka_unit_test(test_it_goes_on_where_it_was_and_stays_within_its_budget),
        cmocka_unit_test(test_a_half_deleted_tree_is_deleted_by_the_next),
        cmocka_unit_test(test_folders_that_are_shut_to_their_owner_go),
        cmocka_unit_test(test_what_resists_does_not_keep_the_rest),
        cmocka_unit_test(test_a_mount_is_not_entered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
