/*
 * The spool on a machine that fails for a moment: opened, written, read, acknowledged, adopted
 * while one system call on a file fails with EIO, or one allocation (SQLite's too), or every one
 * from some number on: the first, the second, and so on until the story is over before. Then all is
 * in order again, and what the spool took is held against what it gives: nothing lost, nothing
 * doubled, no number used for two records. To SQLite a read that fails is damage; the spool reads
 * again before it sets a file aside.
 */
#include "cmd/agent/spool/spool.h"
#include "common/base/cleanup.h"
#include "tests/support/memory.h"
#include "tests/support/sys_fault.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PAUSE_US (10 * US_PER_SECOND) /* a spool that was refused waits before it tries again */
#define DELAY_US (2 * US_PER_SECOND)

enum {
    BEFORE = 40, /* records of each stream, on a sound machine */
    DURING = 3,  /* and while it fails */
    AFTER = 1,
    RECORDS = BEFORE + DURING + AFTER,
    EARLIER = 7,          /* events that the server has of a spool that is gone */
    PAYLOAD_BYTES = 1000, /* some of a record is on pages of its own */
    CALLS_MAX = 20000,
    ALLOCATION_STRIDE = 13,
    ARENA_BYTES = 16 * 1024 * 1024,
    TRIES = 5
};

/* What the spool said of a record. */
enum fate {
    REFUSED, /* or never offered: need not arrive */
    HELD,    /* in memory: arrives if the process lives, unless it is counted as dropped */
    TAKEN    /* arrives */
};

/* What the server does: takes what follows its mark, and passes over what does not. */
struct server {
    uint64_t mark;
    unsigned counts[RECORDS]; /* of each record */
};

struct disturbance {
    void (*begin)(long number);
    bool (*end)(void); /* true: something failed */
    long stride;       /* so many at a time are passed over in an ordinary run */
};

struct story {
    struct test_clock clock;
    char *path;
    struct spool_options options;
    struct spool *spool;
    bool is_slow; /* the server gets half of what is read before the process ends */
    enum fate fates[SPOOL_STREAM_COUNT][RECORDS];
    struct server servers[SPOOL_STREAM_COUNT];
};

static void open_spool(struct story *story)
{
    for (int i = 0; i < TRIES && story->spool == NULL; i++) {
        (void)!spool_open(&story->options, &story->spool, NULL);
    }
}

static void close_spool(struct story *story)
{
    spool_close(STEAL(story->spool));
}

/* Each text is its record's number. */
static void append(struct story *story, enum spool_stream stream, unsigned number)
{
    char text[PAYLOAD_BYTES + 1];
    (void)snprintf(text, sizeof(text), "%0*u", PAYLOAD_BYTES, number);
    const struct spool_input input = {
        .stream = stream, .captured_at = { story->clock.wall }, .format = 1, .payload = str_of(text)
    };
    enum err_code code = spool_append(story->spool, &input, 1, NULL);
    bool waits = stream == SPOOL_TELEMETRY && story->options.delay_us > 0;
    story->fates[stream][number] = code == ERR_OK && !waits ? TAKEN
        : code == ERR_OK || code == ERR_UNAVAILABLE         ? HELD
                                                            : REFUSED;
    test_clock_advance(&story->clock, PAUSE_US);
}

static void append_both(struct story *story, unsigned from, unsigned count)
{
    for (unsigned number = from; number < from + count && story->spool != NULL; number++) {
        append(story, SPOOL_TELEMETRY, number);
        append(story, SPOOL_EVENTS, number);
    }
}

static unsigned number_of(struct str_view payload)
{
    uint64_t number = 0;
    assert_int_equal(payload.len, PAYLOAD_BYTES);
    while (payload.len > 1 && payload.ptr[0] == '0') {
        payload = str_from(payload.ptr + 1, payload.len - 1);
    }
    assert_ok(str_parse_uint64(payload, RECORDS - 1, &number));
    return (unsigned)number;
}

static void upload(struct server *server, const struct spool_batch *batch, unsigned count)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct spool_record *record = &batch->records[i];
        assert_true(record->sequence > last);
        last = record->sequence;
        if (record->sequence > server->mark) {
            server->mark = record->sequence;
            server->counts[number_of(record->payload)]++;
        }
    }
}

/* A session: nothing goes up before the server's mark is heard. */
static enum err_code run_session(struct story *story, enum spool_stream stream)
{
    struct spool_batch batch = { 0 };
    struct server *server = &story->servers[stream];
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    const struct spool_ask ask = { stream, 0, SIZE_MAX, SPOOL_BATCH_MAX };
    TRY(spool_adopt(story->spool, stream, server->mark, NULL));
    TRY(spool_peek(story->spool, &ask, arena, &batch, NULL));
    upload(server, &batch, story->is_slow ? batch.count / 2 : batch.count);
    return spool_trim(story->spool, stream, server->mark, NULL);
}

/* What cannot be done is left, as the agent leaves it for its next turn. */
static void live(struct story *story)
{
    open_spool(story);
    if (story->spool == NULL) {
        return;
    }
    append_both(story, BEFORE, DURING - 1);
    (void)!run_session(story, SPOOL_TELEMETRY);
    (void)!run_session(story, SPOOL_EVENTS);
    append_both(story, BEFORE + DURING - 1, 1);
    spool_tick(story->spool);
}

static void check_stream(const struct story *story, enum spool_stream stream)
{
    for (unsigned number = 0; number < RECORDS; number++) {
        unsigned count = story->servers[stream].counts[number];
        if (count > 1 || (count == 0 && story->fates[stream][number] == TAKEN)) {
            fail_msg("record %u of stream %d is stored %u times", number, (int)stream, count);
        }
    }
}

/* All is in order again: each record arrives. */
static void check(struct story *story)
{
    struct spool_stats stats;
    struct spool_report report;
    story->is_slow = false;
    assert_ok(run_session(story, SPOOL_TELEMETRY));
    assert_ok(run_session(story, SPOOL_EVENTS));
    spool_get_stats(story->spool, &stats);
    assert_int_equal(stats.set_aside_count, 0);
    assert_false(stats.is_degraded);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        assert_int_equal(stats.streams[i].quarantined, 0);
        assert_int_equal(stats.streams[i].records, 0);
        check_stream(story, (enum spool_stream)i);
    }
    assert_ok(spool_verify(story->spool, &report, NULL));
    assert_true(report.totals_match && report.file_ok);
}

/* What was in memory may be counted as dropped; nothing else may be missing while the process
 * lives. */
static void recover(struct story *story, bool lives)
{
    struct spool_stats stats;
    test_clock_advance(&story->clock, PAUSE_US);
    if (lives && story->spool != NULL) {
        spool_tick(story->spool);
        spool_get_stats(story->spool, &stats);
        for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
            for (unsigned number = 0; number < RECORDS && stats.streams[i].dropped_records == 0;
                 number++) {
                enum fate *fate = &story->fates[i][number];
                *fate = *fate == HELD ? TAKEN : *fate;
            }
        }
    }
    close_spool(story);
    open_spool(story);
    assert_non_null(story->spool);
    append_both(story, RECORDS - AFTER, AFTER);
    test_clock_advance(&story->clock, PAUSE_US);
    spool_tick(story->spool);
}

static void story_init(struct story *story, const char *dir, const char *name)
{
    *story = (struct story){ .path = mem_printf("%s/%s.db", dir, name) };
    story->servers[SPOOL_EVENTS].mark = EARLIER;
    test_clock_init(&story->clock);
    story->options = (struct spool_options){ .path = story->path,
                                             .clock = &story->clock.clock,
                                             .max_bytes = 64 * 1024 * 1024,
                                             .max_age_us = 7 * US_PER_DAY };
}

static void story_deinit(struct story *story)
{
    close_spool(story);
    mem_free(story->path);
}

/*
 * A filled spool, of which each round takes a copy. The server has half of its telemetry, and some
 * that was in memory alone when the agent ended: the numbers given since are not the server's.
 */
static void begin_all(struct story *first, const char *dir)
{
    story_init(first, dir, "first");
    open_spool(first);
    append_both(first, 0, BEFORE / 2);
    assert_ok(run_session(first, SPOOL_TELEMETRY));
    first->servers[SPOOL_TELEMETRY].mark += EARLIER;
    close_spool(first);
    open_spool(first);
    append_both(first, BEFORE / 2, BEFORE / 2);
    close_spool(first);
}

static bool survive(
    const struct story *first,
    const char *dir,
    const struct disturbance *disturbance,
    int64_t delay_us,
    long number)
{
    struct story story;
    story_init(&story, dir, "spool");
    test_copy_file(first->path, story.path);
    story.clock = first->clock;
    story.options.delay_us = delay_us;
    story.is_slow = number % 2 == 1;
    memcpy(story.fates, first->fates, sizeof(story.fates));
    memcpy(story.servers, first->servers, sizeof(story.servers));

    disturbance->begin(number);
    live(&story);
    bool ends = number % 3 == 0; /* the process, while it fails */
    if (ends) {
        close_spool(&story);
    }
    bool was_hit = disturbance->end();
    recover(&story, !ends);
    check(&story);
    AUTO_FREE char *path = mem_strdup(story.path);
    story_deinit(&story);
    assert_int_equal(unlink(path), 0);
    return was_hit;
}

static void sweep(const struct disturbance *disturbance, long every)
{
    long stride = every == 0 ? disturbance->stride : every;
    static const int64_t delays_us[] = { 0, DELAY_US };
    char *dir = test_dir_create_in_memory();
    struct story first;
    begin_all(&first, dir);
    for (size_t i = 0; i < ARRAY_LENGTH(delays_us); i++) {
        long number = 0;
        while (survive(&first, dir, disturbance, delays_us[i], number)) {
            number += stride;
            assert_true(number < CALLS_MAX);
        }
        print_message("%ld calls, each %ld. failed\n", number, stride);
        assert_true(number > 20 * stride);
    }
    story_deinit(&first);
    test_dir_remove(dir);
}

/* ---- what fails ---- */

static void fail_one_call(long number)
{
    const struct sys_fault fault = { .after = number, .number = EIO };
    sys_fault_arm(&fault);
}

static void fail_one_allocation(long number)
{
    (void)mem_fault_swap((struct mem_fault){ .after = number, .is_single = true });
}

static void fail_allocations_from(long number)
{
    (void)mem_fault_swap((struct mem_fault){ .after = number });
}

static bool end_of_allocations(void)
{
    return mem_fault_swap(MEM_FAULT_NONE).has_failed;
}

static void test_a_system_call_that_fails_once(void **state)
{
    static const struct disturbance disturbance = { fail_one_call, sys_fault_disarm, 1 };
    sweep(&disturbance, *(const long *)*state);
}

static void test_an_allocation_that_fails_once(void **state)
{
    static const struct disturbance disturbance = { fail_one_allocation,
                                                    end_of_allocations,
                                                    ALLOCATION_STRIDE };
    sweep(&disturbance, *(const long *)*state);
}

static void test_no_memory_from_one_allocation_on(void **state)
{
    static const struct disturbance disturbance = { fail_allocations_from,
                                                    end_of_allocations,
                                                    ALLOCATION_STRIDE };
    sweep(&disturbance, *(const long *)*state);
}

int main(int argc, char **argv)
{
    long every = test_every(argc, argv);
    memory_take_sqlite();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_a_system_call_that_fails_once, &every),
        cmocka_unit_test_prestate(test_an_allocation_that_fails_once, &every),
        cmocka_unit_test_prestate(test_no_memory_from_one_allocation_on, &every),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
