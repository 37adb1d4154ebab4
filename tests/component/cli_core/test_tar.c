/* Copies as archives, on a real disk: what a sandbox's archive may cost and set, what may change
 * under a packer. */
#include "cmd/cli/session/tar.h"
#include "cmd/cli/session/tar_header.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ARCHIVE_BYTES = 1 << 20,
    BIG_BYTES = 1 << 20 /* more than a pipe holds */
};

struct world {
    char *dir;
    int folder_fd;
    struct buf archive;
    struct tar_target target;
    struct tar_counts counts;
    struct err_info err;
};

static int set_up(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    world->dir = test_dir_create();
    world->folder_fd = open(world->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    world->archive = (struct buf)BUF_INIT(ARCHIVE_BYTES);
    world->target = (struct tar_target){ .folder_fd = world->folder_fd,
                                         .name = "target",
                                         .member = "got",
                                         .bytes_max = 1 << 20,
                                         .entries_max = 1000,
                                         .names_max = 1 << 20 };
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    fd_close(&world->folder_fd);
    buf_deinit(&world->archive);
    test_dir_remove(world->dir);
    mem_free(world);
    return 0;
}

static void add(struct world *world, char kind, const char *path, const char *link, uint32_t mode)
{
    struct tar_header header = { .kind = kind, .mode = mode, .mtime = 1700000000 };
    (void)snprintf(header.path, sizeof(header.path), "%s", path);
    (void)snprintf(header.link, sizeof(header.link), "%s", link);
    assert_ok(tar_header_write(&header, &world->archive, NULL));
}

static enum err_code unpack(struct world *world)
{
    static const char end[2 * TAR_BLOCK_BYTES];
    AUTO_FD int fd = memfd_create("archive", MFD_CLOEXEC);
    buf_append(&world->archive, end, sizeof(end));
    assert_true(buf_ok(&world->archive));
    assert_ok(fd_write_all(fd, world->archive.data, world->archive.len, NULL));
    assert_int_equal(0, lseek(fd, 0, SEEK_SET));
    return tar_unpack(fd, &world->target, &world->counts, &world->err);
}

static mode_t mode_of(const struct world *world, const char *path)
{
    struct stat stat;
    assert_int_equal(0, fstatat(world->folder_fd, path, &stat, AT_SYMLINK_NOFOLLOW));
    return stat.st_mode & 07777;
}

static void test_the_umask_holds_whatever_the_sandbox_says(void **state)
{
    struct world *world = *state;
    world->target.umask = 027;
    add(world, TAR_FOLDER, "got", "", 07777);
    add(world, TAR_FILE, "got/file", "", 06777);
    add(world, TAR_FILE, "got/bare", "", 0);
    assert_ok_err(world->err, unpack(world));
    assert_int_equal(0750, mode_of(world, "target"));
    assert_int_equal(0750, mode_of(world, "target/file"));
    assert_int_equal(0, mode_of(world, "target/bare"));
}

/* Whatever is kept a path for: files, links to them, folders. */
static void test_paths_have_a_bound_together(void **state)
{
    static const char kinds[] = { TAR_FILE, TAR_HARD_LINK, TAR_FOLDER };
    struct world *world = *state;
    for (size_t k = 0; k < sizeof(kinds); k++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "t%zu", k);
        world->target.name = name;
        world->target.names_max = 1000;
        buf_clear(&world->archive);
        add(world, TAR_FOLDER, "got", "", 0755);
        add(world, TAR_FILE, "got/first", "", 0600);
        for (int i = 0; i < 10; i++) {
            char path[256];
            (void)snprintf(path, sizeof(path), "got/%0200d", i);
            add(world, kinds[k], path, "got/first", 0700);
        }
        assert_code(ERR_LIMIT, unpack(world));
        assert_non_null(strstr(world->err.text, "paths of more than 1000 bytes"));
        assert_int_equal(0755, mode_of(world, name)); /* what was made is finished */
    }
}

static void test_a_name_that_is_too_long_is_refused(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *name = mem_alloc(TAR_PATH_MAX + 1000);
    add(world, TAR_FILE, "got", "", 0600);
    memset(name, 'x', TAR_PATH_MAX + 999);
    world->target.name = name;
    assert_code(ERR_INVALID, unpack(world));
    name[256] = 0;
    assert_code(ERR_INVALID, unpack(world));
    name[255] = 0;
    assert_ok_err(world->err, unpack(world));
    assert_int_equal(0600, mode_of(world, name));
}

struct packing {
    char *path;
    int out_fd;
    struct tar_counts counts;
    enum err_code code;
    struct err_info err;
};

static void pack(void *context)
{
    struct packing *packing = context;
    packing->code =
        tar_pack(packing->path, "name", packing->out_fd, &packing->counts, &packing->err);
    fd_close(&packing->out_fd);
}

static void write_big(const struct world *world, const char *name)
{
    AUTO_FD int fd = openat(world->folder_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(0, ftruncate(fd, BIG_BYTES));
}

/* The packer has looked at both files and stands in the first, since nobody reads on. */
static void test_a_file_that_turns_into_something_else(void **state)
{
    struct world *world = *state;
    struct packing packing = { .path = world->dir };
    struct thread thread = { .running = false };
    struct tar_header header;
    bool is_end = false;
    size_t got = 1;
    int ends[2];
    AUTO_FREE char *bytes = mem_alloc(BIG_BYTES);
    write_big(world, "a");
    write_big(world, "b");
    assert_int_equal(0, pipe2(ends, O_CLOEXEC));
    packing.out_fd = ends[1];
    assert_ok(thread_start(&thread, "pack", pack, &packing, NULL));
    assert_ok(fd_read_full(ends[0], bytes, 2 * TAR_BLOCK_BYTES, &got, NULL));
    assert_ok(tar_header_read(bytes + TAR_BLOCK_BYTES, &header, &is_end, NULL));
    const char *other = strcmp(header.path, "name/a") == 0 ? "b" : "a";
    assert_int_equal(0, unlinkat(world->folder_fd, other, 0));
    assert_int_equal(0, mkfifoat(world->folder_fd, other, 0600));
    while (got > 0) {
        assert_ok(fd_read_full(ends[0], bytes, BIG_BYTES, &got, NULL));
    }
    thread_join(&thread);
    fd_close(&ends[0]);
    assert_int_equal(ERR_CONFLICT, packing.code);
    assert_non_null(strstr(packing.err.text, "is no file any more"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_the_umask_holds_whatever_the_sandbox_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paths_have_a_bound_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_name_that_is_too_long_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_file_that_turns_into_something_else, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
