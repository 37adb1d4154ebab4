/* What a sandbox reads from the host's disk and writes to it: counted, and held at its rate. */
#include "common/base/cleanup.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum {
    MIB = 1024 * 1024,
    DIRECT_BYTES = 4 * MIB,
    SYNCED_BYTES = 4 * MIB,
    /* What the file system writes beside. */
    OTHER_BYTES = 2 * MIB
};

/* Neither waits for the kernel to write back by itself, which on version 1 is nobody's. */
static const char script[] = "dd if=/dev/zero of=/sandbox/a bs=1M count=4 oflag=direct 2>&1 && "
                             "dd if=/dev/zero of=/sandbox/b bs=1M count=4 conv=fsync 2>&1 && "
                             "echo done";

static struct fixture *create(void)
{
    struct stat info;
    struct fixture *fixture = fixture_create();
    fixture_need_native(fixture);
    assert_int_equal(stat(fixture->dir, &info), 0);
    if (major(info.st_dev) == 0) {
        print_message("skipped: %s is on no disk of its own\n", fixture->dir);
        fixture_destroy(fixture);
        skip();
    }
    return fixture;
}

static void write_some(struct fixture *fixture, const struct sandbox_spec *spec)
{
    fixture_create_sandbox(fixture, spec);
    struct recorded_program *program = fixture_shell(fixture, spec->id, script);
    assert_non_null(strstr(buf_text(&program->out), "done\n"));
}

static void stop(struct fixture *fixture, const char *id)
{
    unsigned ended = fixture->ended_count;
    assert_ok(sandbox_stop(fixture->all, id, US_PER_SECOND, NULL));
    fixture_wait_count(fixture, &fixture->ended_count, ended + 1);
}

/* Once each, whether the workspace is an image on a loop device or a folder. */
static void test_what_is_written_is_counted_once(void **unused)
{
    (void)unused;
    static const struct sandbox_spec specs[] = { { .id = "image", .disk_bytes = 32 * MIB },
                                                 { .id = "folder" } };
    struct fixture *fixture = create();
    for (size_t i = 0; i < ARRAY_LENGTH(specs); i++) {
        write_some(fixture, &specs[i]);
        stop(fixture, specs[i].id);
        print_message(
            "%s: %llu bytes\n", specs[i].id, (unsigned long long)fixture->exit.last.write_bytes);
        assert_in_range(
            fixture->exit.last.write_bytes,
            DIRECT_BYTES + SYNCED_BYTES,
            DIRECT_BYTES + SYNCED_BYTES + OTHER_BYTES);
    }
    fixture_destroy(fixture);
}

/* Three times what a second may have, with and without a loop device. What it takes at least is the
 * limit's doing; how much longer, the machine's. */
static void test_a_rate_holds_writers_and_readers(void **unused)
{
    (void)unused;
    static const char *const measured =
        "start=$(date +%s%N); "
        "dd if=/dev/zero of=/sandbox/a bs=256k count=32 oflag=direct 2>/dev/null && "
        "dd if=/dev/zero of=/sandbox/b bs=256k count=32 conv=fsync 2>/dev/null && "
        "dd if=/sandbox/a of=/dev/null bs=256k iflag=direct 2>/dev/null && "
        "echo $((($(date +%s%N) - start) / 1000000))";
    static const struct sandbox_spec specs[] = {
        { .id = "image", .disk_bytes = 64 * MIB, .io_bytes_per_second = 8 * MIB },
        { .id = "folder", .io_bytes_per_second = 8 * MIB }
    };
    struct fixture *fixture = create();
    for (size_t i = 0; i < ARRAY_LENGTH(specs); i++) {
        fixture_create_sandbox(fixture, &specs[i]);
        struct recorded_program *program = fixture_shell(fixture, specs[i].id, measured);
        unsigned long took_ms = strtoul(buf_text(&program->out), NULL, 10);
        print_message("%s: 24 MiB at 8 MiB/s in %lu ms\n", specs[i].id, took_ms);
        assert_true(took_ms >= 2500);
    }
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_counted_once),
        cmocka_unit_test(test_a_rate_holds_writers_and_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
