/*
 * A bind's source that somebody swaps for a link while it is opened, thousands of times: an
 * ordinary open is fooled, ours never is.
 */
#include "cmd/shim/builder/mounts.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ATTEMPTS = 20000
};

struct race {
    char *dir;
    char *name; /* a folder and a link to the secret, in turns */
    char *link;
    char *secret;
    _Atomic bool over;
    _Atomic unsigned flips;
};

static void *flip(void *context)
{
    struct race *race = context;
    while (!race->over) {
        (void)renameat2(AT_FDCWD, race->name, AT_FDCWD, race->link, RENAME_EXCHANGE);
        race->flips++;
    }
    return NULL;
}

static int open_naively(const char *path)
{
    return open(path, O_PATH | O_CLOEXEC);
}

/* How often what was opened is the secret, and how often anything. */
static unsigned count_secrets(
    const struct race *race, int (*open_one)(const char *path), unsigned *ret_opened)
{
    struct stat secret;
    unsigned found = 0;
    *ret_opened = 0;
    assert_int_equal(stat(race->secret, &secret), 0);
    for (int i = 0; i < ATTEMPTS; i++) {
        struct stat info;
        AUTO_FD int fd = open_one(race->name);
        if (fd >= 0) {
            assert_int_equal(fstat(fd, &info), 0);
            found += info.st_ino == secret.st_ino && info.st_dev == secret.st_dev ? 1 : 0;
            (*ret_opened)++;
        }
    }
    return found;
}

static void test_a_source_that_is_swapped_for_a_link_never_shows_the_secret(void **unused)
{
    (void)unused;
    struct race race = { .dir = test_dir_create() };
    pthread_t thread;
    unsigned opened = 0;
    race.name = mem_printf("%s/name", race.dir);
    race.link = mem_printf("%s/link", race.dir);
    race.secret = mem_printf("%s/secret", race.dir);
    assert_int_equal(mkdir(race.name, 0755), 0);
    assert_int_equal(mkdir(race.secret, 0755), 0);
    assert_int_equal(symlink(race.secret, race.link), 0);
    assert_int_equal(pthread_create(&thread, NULL, flip, &race), 0);
    while (race.flips < 10) {
    }
    assert_true(count_secrets(&race, open_naively, &opened) > 0); /* the control: it can be seen */
    assert_int_equal(count_secrets(&race, mounts_open_source, &opened), 0);
    assert_true(opened > 0); /* and the folder was, while it was one */
    race.over = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(race.flips > ATTEMPTS / 100);
    test_dir_remove(race.dir);
    mem_free(race.name);
    mem_free(race.link);
    mem_free(race.secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_that_is_swapped_for_a_link_never_shows_the_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
