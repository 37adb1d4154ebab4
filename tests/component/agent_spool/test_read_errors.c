/*
 * The spool on a disk that fails for a moment: one system call after the other fails once with EIO.
 * To SQLite a read that fails is damage; the spool reads again before it sets a file aside.
 */
#include "cmd/agent/spool/spool.h"
#include "common/base/cleanup.h"
#include "tests/support/sys_fault.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>

#define PAUSE_US (10 * US_PER_SECOND) /* a spool that was refused waits before it tries again */

enum {
    RECORDS = 40,
    CALLS_MAX = 2000,
    ARENA_BYTES = 16 * 1024 * 1024,
    TRIES = 5
};

struct disk {
    struct test_clock clock;
    char *dir;
    char *path;
    struct spool_options options;
};

static void disk_init(struct disk *disk)
{
    test_clock_init(&disk->clock);
    disk->dir = test_dir_create();
    disk->path = mem_printf("%s/spool.db", disk->dir);
    disk->options = (struct spool_options){ .path = disk->path,
                                            .clock = &disk->clock.clock,
                                            .max_bytes = 64 * 1024 * 1024,
                                            .max_age_us = 7 * US_PER_DAY };
}

static void disk_deinit(struct disk *disk)
{
    test_dir_remove(disk->dir);
    mem_free(disk->path);
}

/* A call that fails is a reason to try again, not one to lose anything. */
static enum err_code append(struct spool *spool, struct disk *disk, unsigned number)
{
    char text[1024];
    enum err_code code = ERR_INTERNAL;
    (void)snprintf(text, sizeof(text), "%01000u", number);
    struct spool_input input = { .stream = SPOOL_EVENTS,
                                 .captured_at = { disk->clock.wall },
                                 .format = 1,
                                 .payload = str_of(text) };
    for (int i = 0; i < TRIES && code != ERR_OK; i++) {
        code = spool_append(spool, &input, 1, NULL);
        test_clock_advance(&disk->clock, PAUSE_US);
    }
    return code;
}

static unsigned count(struct spool *spool)
{
    struct spool_batch batch = { 0 };
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    const struct spool_ask ask = { SPOOL_EVENTS, 0, SIZE_MAX, 1024 };
    enum err_code code = ERR_INTERNAL;
    for (int i = 0; i < TRIES && code != ERR_OK; i++) {
        code = spool_peek(spool, &ask, arena, &batch, NULL);
    }
    assert_ok(code);
    return (unsigned)batch.count;
}

static struct spool *open_spool(const struct disk *disk)
{
    struct spool *spool = NULL;
    for (int i = 0; i < TRIES && spool == NULL; i++) {
        (void)!spool_open(&disk->options, &spool, NULL);
    }
    assert_non_null(spool);
    return spool;
}

/* Fills, opens anew under the fault, writes, reads, ends; false: fewer calls than that. */
static bool survive(long number)
{
    struct disk disk;
    struct spool_stats stats;
    const struct sys_fault fault = { .after = number, .number = EIO };
    disk_init(&disk);
    struct spool *spool = open_spool(&disk);
    for (unsigned i = 0; i < RECORDS; i++) {
        assert_ok(append(spool, &disk, i));
    }
    spool_close(spool);

    sys_fault_arm(&fault);
    spool = open_spool(&disk);
    unsigned added = 0;
    for (unsigned i = 0; i < 3; i++) {
        added += append(spool, &disk, RECORDS + i) == ERR_OK ? 1 : 0;
    }
    unsigned seen = count(spool);
    spool_get_stats(spool, &stats);
    bool was_hit = sys_fault_disarm();
    assert_int_equal(stats.set_aside_count, 0);
    assert_true(seen >= RECORDS + added);
    spool_close(spool);

    spool = open_spool(&disk);
    assert_true(count(spool) >= RECORDS + added);
    spool_get_stats(spool, &stats);
    assert_int_equal(stats.set_aside_count, 0);
    spool_close(spool);
    disk_deinit(&disk);
    return was_hit;
}

static void test_a_call_that_fails_once_loses_nothing(void **state)
{
    (void)state;
    long number = 0;
    while (survive(number)) {
        number++;
        assert_true(number < CALLS_MAX);
    }
    print_message("%ld calls, each failed once\n", number);
    assert_true(number > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_that_fails_once_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
