/*
 * What sandboxes have in common lies ready, and is as the host is now: a file that changes, or is
 * covered by a mount, is seen by the next sandbox. The test has mounts of its own, so that the
 * host's files stay as they are.
 */
#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

enum {
    TRIES = 30
};

#define COVERED "/etc/shells"

struct seen {
    unsigned long long root; /* the device of its root: copies of one ground have one */
    char text[32];
};

/* Through a sandbox of its own, which stays: no other root has its device's number then. */
static struct seen look(struct fixture *fixture, const struct sandbox_bind *bind)
{
    struct seen seen = { .root = 0 };
    char id[32];
    (void)snprintf(id, sizeof(id), "s%u", fixture->ready_count);
    struct sandbox_spec spec = { .id = id, .binds = bind, .bind_count = bind == NULL ? 0 : 1 };
    fixture_create_sandbox(fixture, &spec);
    struct recorded_program *program = fixture_shell(fixture, id, "stat -c %d /; cat " COVERED);
    assert_int_equal(sscanf(buf_text(&program->out), "%llu %31s", &seen.root, seen.text), 2);
    return seen;
}

static void assert_next_one_sees(struct fixture *fixture, unsigned long long old, const char *text)
{
    struct seen seen = look(fixture, NULL);
    assert_string_equal(seen.text, text);
    assert_true(seen.root != old);
    bool is_shared = false; /* once the next ground is made */
    for (int i = 0; i < TRIES && !is_shared; i++) {
        struct seen next = look(fixture, NULL);
        assert_string_equal(next.text, text);
        assert_true(next.root != old);
        is_shared = next.root == seen.root;
        seen = next;
    }
    assert_true(is_shared);
}

static void test_the_next_sandbox_has_the_host_as_it_is(void **unused)
{
    (void)unused;
    if (geteuid() != 0) {
        print_message("skipped: only root has the native driver\n");
        skip();
    }
    char *dir = test_dir_create();
    AUTO_FREE char *first = mem_printf("%s/first", dir);
    AUTO_FREE char *second = mem_printf("%s/second", dir);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_ok(file_replace(first, "one\n", 4, 0644, NULL));
    assert_ok(file_replace(second, "three\n", 6, 0644, NULL));
    assert_int_equal(mount(first, COVERED, NULL, MS_BIND, NULL), 0);
    struct fixture *fixture = fixture_create();
    struct seen seen = look(fixture, NULL);
    assert_string_equal(seen.text, "one");
    assert_true(look(fixture, NULL).root == seen.root);
    const struct sandbox_bind bind = { .source = "/usr/share", .destination = "/srv/share" };
    assert_true(look(fixture, &bind).root != seen.root);

    FILE *file = fopen(first, "we"); /* in place, so that no mount changes */
    assert_non_null(file);
    assert_true(fputs("two\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_next_one_sees(fixture, seen.root, "two");
    seen = look(fixture, NULL);

    assert_int_equal(mount(second, COVERED, NULL, MS_BIND, NULL), 0);
    assert_next_one_sees(fixture, seen.root, "three");
    fixture_destroy(fixture);
    assert_int_equal(umount(COVERED), 0);
    assert_int_equal(umount(COVERED), 0);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_sandbox_has_the_host_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
