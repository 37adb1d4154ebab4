/* The spool over a real file: durability, bounds, damage, a disk that refuses. */
#include "cmd/agent/spool/command_log.h"
#include "cmd/agent/spool/spool.h"
#include "common/base/cleanup.h"
#include "common/sql/sql.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct test_clock clock;
    char *dir;
    char *path;
    struct spool_options options;
    struct spool *spool;
};

static void fixture_open(struct fixture *fixture)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, spool_open(&fixture->options, &fixture->spool, &err));
}

static void fixture_reopen(struct fixture *fixture)
{
    spool_close(fixture->spool);
    fixture->spool = NULL;
    fixture_open(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    test_clock_init(&fixture->clock);
    fixture->dir = test_dir_create();
    fixture->path = mem_printf("%s/spool.db", fixture->dir);
    fixture->options = (struct spool_options){ .path = fixture->path,
                                               .clock = &fixture->clock.clock,
                                               .max_bytes = 64 * 1024 * 1024,
                                               .max_age_us = 7 * US_PER_DAY };
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    spool_close(fixture->spool);
    test_dir_remove(fixture->dir);
    mem_free(fixture->path);
    mem_free(fixture);
    return 0;
}

static struct spool_input input_of(
    const struct fixture *fixture, enum spool_stream stream, const char *text)
{
    return (struct spool_input){ .stream = stream,
                                 .captured_at = { fixture->clock.wall },
                                 .format = 1,
                                 .payload = str_of(text) };
}

static void append(struct fixture *fixture, enum spool_stream stream, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    struct spool_input input = input_of(fixture, stream, text);
    assert_ok_err(err, spool_append(fixture->spool, &input, 1, &err));
}

/* The waiting records of a stream as "sequence=payload " text. */
static void expect_waiting(struct fixture *fixture, enum spool_stream stream, const char *expected)
{
    struct err_info err = ERR_INFO_INIT;
    struct spool_batch batch;
    AUTO_ARENA struct arena *arena = arena_create(16 * 1024 * 1024);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    assert_ok_err(
        err,
        spool_peek(
            fixture->spool, &(struct spool_ask){ stream, 0, SIZE_MAX, 100 }, arena, &batch, &err));
    for (unsigned i = 0; i < batch.count; i++) {
        const struct spool_record *record = &batch.records[i];
        buf_printf(
            &text, "%llu=%.*s ", (unsigned long long)record->sequence, STR_ARG(record->payload));
    }
    assert_string_equal(buf_text(&text), expected);
}

static struct spool_stream_stats stats_of(struct fixture *fixture, enum spool_stream stream)
{
    struct spool_stats stats;
    spool_get_stats(fixture->spool, &stats);
    return stats.streams[stream];
}

static void test_records_wait_in_order_and_survive(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, SPOOL_TELEMETRY, "a");
    append(fixture, SPOOL_EVENTS, "x");
    append(fixture, SPOOL_TELEMETRY, "b");
    fixture_reopen(fixture);
    append(fixture, SPOOL_TELEMETRY, "");
    expect_waiting(fixture, SPOOL_TELEMETRY, "1=a 2=b 3= ");
    expect_waiting(fixture, SPOOL_EVENTS, "1=x ");
    assert_ok(spool_trim(fixture->spool, SPOOL_TELEMETRY, 2, NULL));
    assert_ok(spool_trim(fixture->spool, SPOOL_TELEMETRY, 1, NULL));
    fixture_reopen(fixture);
    expect_waiting(fixture, SPOOL_TELEMETRY, "3= ");
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).acked_sequence, 2);
    assert_ok(spool_trim(fixture->spool, SPOOL_TELEMETRY, 999, NULL));
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).acked_sequence, 3);
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).records, 0);
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).bytes, 0);
}

static void test_peek_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    AUTO_ARENA struct arena *arena = arena_create(1024 * 1024);
    struct spool_batch batch;
    for (unsigned i = 0; i < 10; i++) {
        append(fixture, SPOOL_TELEMETRY, "0123456789");
    }
    assert_ok(spool_peek(
        fixture->spool, &(struct spool_ask){ SPOOL_TELEMETRY, 0, 35, 100 }, arena, &batch, NULL));
    assert_int_equal(batch.count, 3);
    assert_ok(spool_peek(
        fixture->spool, &(struct spool_ask){ SPOOL_TELEMETRY, 3, 1, 100 }, arena, &batch, NULL));
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.records[0].sequence, 4);
    assert_ok(spool_peek(
        fixture->spool, &(struct spool_ask){ SPOOL_TELEMETRY, 4, 1000, 2 }, arena, &batch, NULL));
    assert_int_equal(batch.count, 2);
    assert_ok(spool_peek(
        fixture->spool, &(struct spool_ask){ SPOOL_TELEMETRY, 10, 1000, 2 }, arena, &batch, NULL));
    assert_int_equal(batch.count, 0);
}

static void test_oldest_telemetry_goes_first_and_events_last(void **state)
{
    struct fixture *fixture = *state;
    char payload[1001];
    memset(payload, 'p', 1000);
    payload[1000] = '\0';
    spool_set_bounds(fixture->spool, 5 * 1064, US_PER_DAY);
    append(fixture, SPOOL_EVENTS, payload);
    append(fixture, SPOOL_EVENTS, payload);
    for (unsigned i = 0; i < 10; i++) {
        append(fixture, SPOOL_TELEMETRY, payload);
    }
    struct spool_stream_stats telemetry = stats_of(fixture, SPOOL_TELEMETRY);
    assert_int_equal(telemetry.records, 3);
    assert_int_equal(telemetry.dropped_records, 7);
    assert_int_equal(telemetry.dropped_bytes, 7 * 1064);
    assert_int_equal(stats_of(fixture, SPOOL_EVENTS).dropped_records, 0);
    for (unsigned i = 0; i < 6; i++) {
        append(fixture, SPOOL_EVENTS, payload);
    }
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).records, 0);
    assert_int_equal(stats_of(fixture, SPOOL_EVENTS).records, 5);
    assert_int_equal(stats_of(fixture, SPOOL_EVENTS).dropped_records, 3);
    struct spool_report report;
    assert_ok(spool_verify(fixture->spool, &report, NULL));
    assert_true(report.totals_match && report.file_ok && report.bad_records == 0);
}

static void test_age_is_running_time_and_clock_jumps_do_not_matter(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, SPOOL_TELEMETRY, "old");
    fixture->clock.wall += 10 * 365 * US_PER_DAY; /* somebody set the clock */
    spool_tick(fixture->spool);
    append(fixture, SPOOL_TELEMETRY, "jumped");
    fixture->clock.wall -= 20 * 365 * US_PER_DAY;
    fixture_reopen(fixture);
    fixture->clock.mono += 6 * US_PER_DAY;
    append(fixture, SPOOL_TELEMETRY, "later");
    spool_tick(fixture->spool);
    expect_waiting(fixture, SPOOL_TELEMETRY, "1=old 2=jumped 3=later ");
    fixture_reopen(fixture);
    fixture->clock.mono += 2 * US_PER_DAY;
    spool_tick(fixture->spool);
    expect_waiting(fixture, SPOOL_TELEMETRY, "3=later ");
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).dropped_records, 2);
}

/* What a spool holds must follow what the server has, or the server takes it for a repetition. */
static void test_a_fresh_spool_follows_the_servers_mark(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, SPOOL_TELEMETRY, "a");
    append(fixture, SPOOL_TELEMETRY, "b");
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 500, NULL));
    append(fixture, SPOOL_TELEMETRY, "c");
    expect_waiting(fixture, SPOOL_TELEMETRY, "501=a 502=b 503=c ");
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 501, NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "502=b 503=c ");
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 400, NULL)); /* an older server */
    expect_waiting(fixture, SPOOL_TELEMETRY, "502=b 503=c ");
    assert_code(ERR_INVALID, spool_adopt(fixture->spool, SPOOL_TELEMETRY, UINT64_MAX - 5, NULL));
    assert_ok(spool_adopt(fixture->spool, SPOOL_EVENTS, 0, NULL));
    append(fixture, SPOOL_EVENTS, "x");
    expect_waiting(fixture, SPOOL_EVENTS, "1=x ");
}

static void fixture_reopen_with_delay(struct fixture *fixture, int64_t delay_us)
{
    fixture->options.delay_us = delay_us;
    fixture_reopen(fixture);
}

/* Records on disk, by the file itself. */
static uint64_t on_disk(struct fixture *fixture)
{
    struct spool_options options = fixture->options;
    struct spool *reader = NULL;
    struct spool_report report;
    options.read_only = true;
    assert_ok(spool_open(&options, &reader, NULL));
    assert_ok(spool_verify(reader, &report, NULL));
    assert_true(report.totals_match && report.bad_records == 0);
    spool_close(reader);
    return report.records;
}

static void test_telemetry_waits_for_its_answer_in_memory(void **state)
{
    struct fixture *fixture = *state;
    fixture_reopen_with_delay(fixture, 10 * US_PER_SECOND);
    append(fixture, SPOOL_TELEMETRY, "a");
    append(fixture, SPOOL_TELEMETRY, "b");
    expect_waiting(fixture, SPOOL_TELEMETRY, "1=a 2=b ");
    assert_int_equal(on_disk(fixture), 0);
    assert_ok(spool_trim(fixture->spool, SPOOL_TELEMETRY, 1, NULL));
    fixture->clock.mono += 9 * US_PER_SECOND;
    spool_tick(fixture->spool);
    assert_int_equal(on_disk(fixture), 0);
    append(fixture, SPOOL_TELEMETRY, "c");
    fixture->clock.mono += US_PER_SECOND;
    spool_tick(fixture->spool); /* the oldest is due, and the others go with it */
    assert_int_equal(on_disk(fixture), 2);
    append(fixture, SPOOL_TELEMETRY, "d");
    append(fixture, SPOOL_EVENTS, "x"); /* at once, with what waits */
    assert_int_equal(on_disk(fixture), 4);
    append(fixture, SPOOL_TELEMETRY, "e");
    expect_waiting(fixture, SPOOL_TELEMETRY, "2=b 3=c 4=d 5=e ");
    assert_ok(spool_quarantine(fixture->spool, SPOOL_TELEMETRY, 5, "refused", NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "2=b 3=c 4=d ");
    append(fixture, SPOOL_TELEMETRY, "f");
    fixture_reopen(fixture); /* a gentle end writes what waits */
    expect_waiting(fixture, SPOOL_TELEMETRY, "2=b 3=c 4=d 6=f ");
    assert_ok(spool_trim(fixture->spool, SPOOL_TELEMETRY, 6, NULL));
    assert_int_equal(on_disk(fixture), 1);
}

/* However long the delay is, memory holds half a ring at most. */
static void test_much_telemetry_does_not_wait(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.ring_bytes = 4096;
    fixture_reopen_with_delay(fixture, US_PER_HOUR);
    char payload[501];
    memset(payload, 'm', 500);
    payload[500] = '\0';
    struct spool_stats stats;
    for (unsigned i = 0; i < 40; i++) {
        append(fixture, SPOOL_TELEMETRY, payload);
        spool_get_stats(fixture->spool, &stats);
        assert_true(stats.ring_bytes <= 2048);
    }
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).dropped_records, 0);
    assert_int_equal(on_disk(fixture) + stats.ring_records, 40);
}

/* Sends what is in memory and is killed: the file knows nothing of the numbers it used. */
static void run_and_be_killed(struct fixture *fixture, const char *payload)
{
    spool_close(fixture->spool);
    fixture->spool = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct spool_options options = fixture->options;
        struct spool *spool = NULL;
        struct spool_batch batch = { 0 };
        struct spool_input input = input_of(fixture, SPOOL_TELEMETRY, payload);
        struct arena *arena = arena_create(1024 * 1024);
        options.delay_us = US_PER_HOUR;
        bool ok = spool_open(&options, &spool, NULL) == ERR_OK
            && spool_adopt(spool, SPOOL_TELEMETRY, 0, NULL) == ERR_OK
            && spool_append(spool, &input, 1, NULL) == ERR_OK
            && spool_peek(
                   spool,
                   &(struct spool_ask){ SPOOL_TELEMETRY, 0, SIZE_MAX, 9 },
                   arena,
                   &batch,
                   NULL)
                == ERR_OK;
        _exit(ok && batch.count == 1 && batch.records[0].sequence == 1 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fixture_open(fixture);
}

/* What is sampled after the crash has the numbers of what the server already holds: it must follow
 * the mark, also when the agent was started again before it heard the mark. */
static void test_numbers_that_died_in_memory_are_not_given_twice(void **state)
{
    struct fixture *fixture = *state;
    run_and_be_killed(fixture, "at the server");
    append(fixture, SPOOL_TELEMETRY, "x");
    fixture_reopen(fixture);
    append(fixture, SPOOL_TELEMETRY, "y");
    fixture_reopen_with_delay(fixture, US_PER_HOUR);
    append(fixture, SPOOL_TELEMETRY, "z"); /* in memory */
    expect_waiting(fixture, SPOOL_TELEMETRY, "1=x 2=y 3=z ");
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 1, NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "2=x 3=y 4=z ");
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).acked_sequence, 1);
    /* from here on the numbers are what the server will see: a mark means what it says */
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 3, NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "4=z ");
    fixture_reopen(fixture);
    append(fixture, SPOOL_TELEMETRY, "w");
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 4, NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "5=w ");
}

/* The server acknowledged what the file still holds, and more that died in memory. */
static void test_what_the_mark_covers_is_not_sent_again(void **state)
{
    struct fixture *fixture = *state;
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 0, NULL));
    append(fixture, SPOOL_TELEMETRY, "a");
    append(fixture, SPOOL_TELEMETRY, "b");
    fixture_reopen(fixture);
    append(fixture, SPOOL_TELEMETRY, "new");
    assert_ok(spool_adopt(fixture->spool, SPOOL_TELEMETRY, 7, NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "8=new ");
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).records, 1);
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).dropped_records, 0);
    append(fixture, SPOOL_TELEMETRY, "next");
    expect_waiting(fixture, SPOOL_TELEMETRY, "8=new 9=next ");
}

/* Runs a script on the file behind the spool's back. */
static void tamper(struct fixture *fixture, const char *script)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *url = mem_printf("sqlite:%s", fixture->path);
    struct sql_conn *conn = NULL;
    struct sql_options options = { .url = url };
    assert_ok_err(err, sql_connect(&options, &conn, &err));
    assert_ok_err(err, sql_exec_script(conn, script, &err));
    sql_close(conn);
}

static void test_damaged_records_are_quarantined(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, SPOOL_TELEMETRY, "good one");
    append(fixture, SPOOL_TELEMETRY, "bad one");
    append(fixture, SPOOL_TELEMETRY, "bad time");
    append(fixture, SPOOL_TELEMETRY, "bad sum");
    append(fixture, SPOOL_TELEMETRY, "good too");
    tamper(
        fixture,
        "UPDATE record SET payload = CAST('bad ome' AS BLOB) WHERE sequence = 2;"
        "UPDATE record SET captured_at = captured_at + 1 WHERE sequence = 3;"
        "UPDATE record SET checksum = x'00' WHERE sequence = 4");
    struct spool_report report;
    assert_ok(spool_verify(fixture->spool, &report, NULL));
    assert_int_equal(report.records, 5);
    assert_int_equal(report.bad_records, 3);
    expect_waiting(fixture, SPOOL_TELEMETRY, "1=good one 5=good too ");
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).quarantined, 3);
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).records, 2);
    assert_ok(spool_verify(fixture->spool, &report, NULL));
    assert_true(report.totals_match && report.bad_records == 0);
    assert_ok(spool_quarantine(fixture->spool, SPOOL_TELEMETRY, 1, "refused", NULL));
    expect_waiting(fixture, SPOOL_TELEMETRY, "5=good too ");
}

static unsigned count_files(const char *dir, const char *part)
{
    unsigned count = 0;
    DIR *handle = opendir(dir);
    assert_non_null(handle);
    for (struct dirent *entry = readdir(handle); entry != NULL; entry = readdir(handle)) {
        count += strstr(entry->d_name, part) != NULL ? 1 : 0;
    }
    (void)closedir(handle);
    return count;
}

static void fill(struct fixture *fixture, unsigned count)
{
    char payload[3001];
    memset(payload, 'f', 3000);
    payload[3000] = '\0';
    for (unsigned i = 0; i < count; i++) {
        append(fixture, SPOOL_TELEMETRY, payload);
    }
}

/* However much of the file is left: the agent starts, takes records and says what happened. */
static void test_truncated_files_never_stop_it(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture, 40);
    spool_close(fixture->spool);
    fixture->spool = NULL;
    struct stat info;
    assert_int_equal(stat(fixture->path, &info), 0);
    for (unsigned i = 0; i <= 16; i++) {
        off_t size = info.st_size * (off_t)i / 16;
        if (i == 2) {
            size = 100; /* the header alone */
        }
        AUTO_FREE char *url = mem_printf("%s/%u", fixture->dir, i);
        AUTO_FREE char *copy = mem_printf("%s/spool.db", url);
        AUTO_BUF struct buf data = BUF_INIT(16 * 1024 * 1024);
        assert_ok(file_read(fixture->path, 15 * 1024 * 1024, &data, NULL));
        assert_int_equal(mkdir(url, 0700), 0);
        assert_ok(file_write_atomic(copy, buf_text(&data), (size_t)size, 0600, NULL));
        struct spool_options options = fixture->options;
        struct spool *spool = NULL;
        struct spool_stats stats;
        struct spool_batch batch = { 0 };
        AUTO_ARENA struct arena *arena = arena_create(16 * 1024 * 1024);
        options.path = copy;
        assert_ok(spool_open(&options, &spool, NULL));
        (void)!spool_peek(
            spool, &(struct spool_ask){ SPOOL_TELEMETRY, 0, SIZE_MAX, 1024 }, arena, &batch, NULL);
        struct spool_input input = input_of(fixture, SPOOL_TELEMETRY, "after");
        assert_ok(spool_append(spool, &input, 1, NULL));
        assert_ok(spool_peek(
            spool, &(struct spool_ask){ SPOOL_TELEMETRY, 0, SIZE_MAX, 1024 }, arena, &batch, NULL));
        assert_true(batch.count >= 1);
        assert_true(str_equal(batch.records[batch.count - 1].payload, STR("after")));
        spool_get_stats(spool, &stats);
        assert_int_equal(count_files(url, ".corrupt-"), stats.set_aside_count);
        assert_true(i != 8 || stats.set_aside_count == 1);
        assert_true(i != 16 || (stats.set_aside_count == 0 && batch.count == 41));
        spool_close(spool);
    }
}

static void test_a_foreign_file_is_set_aside(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 4; i++) {
        spool_close(fixture->spool);
        fixture->spool = NULL;
        AUTO_FREE char *wal = mem_printf("%s-wal", fixture->path);
        (void)unlink(wal);
        const char *text = "this is not a database, however long one looks at it ..............";
        assert_ok(file_write_atomic(fixture->path, text, strlen(text), 0600, NULL));
        fixture->clock.wall += US_PER_SECOND;
        fixture_open(fixture);
        append(fixture, SPOOL_EVENTS, "x");
        expect_waiting(fixture, SPOOL_EVENTS, "1=x ");
    }
    assert_int_equal(count_files(fixture->dir, ".corrupt-"), SPOOL_CORRUPT_FILES_MAX);
}

/* The disk refuses (the file may not grow): records wait in memory, the oldest telemetry gives way.
 */
static void test_a_full_disk_degrades_and_recovers(void **state)
{
    struct fixture *fixture = *state;
    spool_close(fixture->spool);
    fixture->options.max_pages = 60;
    fixture->options.ring_bytes = 20000;
    fixture_open(fixture);
    char payload[3001];
    memset(payload, 'f', 3000);
    payload[3000] = '\0';
    struct spool_stats stats = { 0 };
    unsigned written = 0;
    for (; written < 200 && !stats.is_degraded; written++) {
        struct spool_input input = input_of(fixture, SPOOL_TELEMETRY, payload);
        (void)!spool_append(fixture->spool, &input, 1, NULL);
        spool_get_stats(fixture->spool, &stats);
    }
    assert_true(stats.is_degraded && stats.last_error[0] != '\0');
    assert_int_equal(stats.ring_records, 1);
    uint64_t on_disk = stats.streams[SPOOL_TELEMETRY].records;
    assert_int_equal(on_disk + 1, written);
    struct spool_input event = input_of(fixture, SPOOL_EVENTS, "event");
    assert_code(ERR_UNAVAILABLE, spool_append(fixture->spool, &event, 1, NULL));
    for (unsigned i = 0; i < 10; i++) {
        struct spool_input input = input_of(fixture, SPOOL_TELEMETRY, payload);
        assert_code(ERR_UNAVAILABLE, spool_append(fixture->spool, &input, 1, NULL));
    }
    spool_get_stats(fixture->spool, &stats);
    assert_int_equal(stats.ring_records, 7); /* the event and six of telemetry */
    assert_int_equal(stats.streams[SPOOL_TELEMETRY].dropped_records, 5);
    assert_int_equal(stats.streams[SPOOL_EVENTS].dropped_records, 0);
    spool_tick(fixture->spool);
    spool_get_stats(fixture->spool, &stats);
    assert_true(stats.is_degraded);

    /* the server took half of it: room again */
    assert_ok(spool_trim(fixture->spool, SPOOL_TELEMETRY, on_disk / 2, NULL));
    test_clock_advance(&fixture->clock, 6 * US_PER_SECOND);
    spool_tick(fixture->spool);
    spool_get_stats(fixture->spool, &stats);
    assert_false(stats.is_degraded);
    assert_int_equal(stats.ring_records, 0);
    assert_int_equal(stats.streams[SPOOL_TELEMETRY].records, on_disk - on_disk / 2 + 6);
    assert_int_equal(stats.streams[SPOOL_TELEMETRY].dropped_records, 5);
    expect_waiting(fixture, SPOOL_EVENTS, "1=event ");
    fixture_reopen(fixture);
    assert_int_equal(stats_of(fixture, SPOOL_TELEMETRY).dropped_records, 5);
}

static void test_limits_of_one_append(void **state)
{
    struct fixture *fixture = *state;
    AUTO_FREE char *large = mem_alloc(SPOOL_PAYLOAD_MAX + 1);
    struct spool_input inputs[2] = { input_of(fixture, SPOOL_EVENTS, "x") };
    inputs[1] = inputs[0];
    inputs[1].payload = str_from(large, SPOOL_PAYLOAD_MAX + 1);
    assert_code(ERR_LIMIT, spool_append(fixture->spool, inputs, 2, NULL));
    assert_int_equal(stats_of(fixture, SPOOL_EVENTS).records, 0);
}

/* A child appends and reports each number it was given; killed at any moment, none of them is lost.
 */
static void test_nothing_that_counted_is_lost_by_kill(void **state)
{
    struct fixture *fixture = *state;
    spool_close(fixture->spool);
    fixture->spool = NULL;
    uint64_t promised = 0;
    for (unsigned round = 0; round < 4; round++) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        if (child == 0) {
            struct spool *spool = NULL;
            struct spool_input input = input_of(fixture, SPOOL_TELEMETRY, "payload of a child");
            bool going = spool_open(&fixture->options, &spool, NULL) == ERR_OK;
            while (going && spool_append(spool, &input, 1, NULL) == ERR_OK) {
                struct spool_stats stats;
                spool_get_stats(spool, &stats);
                uint64_t last = stats.streams[SPOOL_TELEMETRY].next_sequence - 1;
                going = write(pipe_fds[1], &last, sizeof(last)) == sizeof(last);
            }
            _exit(1);
        }
        close(pipe_fds[1]);
        for (unsigned i = 0; i < 20 + round * 7; i++) {
            assert_int_equal(read(pipe_fds[0], &promised, sizeof(promised)), sizeof(promised));
        }
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        uint64_t more = 0;
        while (read(pipe_fds[0], &more, sizeof(more)) == sizeof(more)) {
            promised = more;
        }
        close(pipe_fds[0]);
    }
    fixture_open(fixture);
    struct spool_report report;
    assert_ok(spool_verify(fixture->spool, &report, NULL));
    assert_true(report.records >= promised && report.records <= promised + 1);
    assert_true(report.totals_match && report.file_ok && report.bad_records == 0);
    struct spool_stats stats;
    spool_get_stats(fixture->spool, &stats);
    assert_int_equal(stats.set_aside_count, 0);
}

static void test_a_second_process_may_look(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, SPOOL_EVENTS, "x");
    struct spool_options options = fixture->options;
    struct spool *reader = NULL;
    struct spool_report report;
    options.read_only = true;
    assert_ok(spool_open(&options, &reader, NULL));
    assert_ok(spool_verify(reader, &report, NULL));
    assert_int_equal(report.records, 1);
    struct spool_input input = input_of(fixture, SPOOL_EVENTS, "y");
    assert_code(ERR_LIMIT, spool_append(reader, &input, 1, NULL));
    spool_close(reader);
    append(fixture, SPOOL_EVENTS, "z");
    expect_waiting(fixture, SPOOL_EVENTS, "1=x 2=z ");
}

static void count_command(
    void *context, struct str_view command_id, const struct command_outcome *outcome)
{
    buf_printf(context, "%.*s:%u:%s ", STR_ARG(command_id), outcome->code, outcome->error);
}

static void test_commands_are_remembered(void **state)
{
    struct fixture *fixture = *state;
    AUTO_ARENA struct arena *arena = arena_create(65536);
    AUTO_BUF struct buf text = BUF_INIT(4096);
    struct command_entry entry = {
        .command_id = STR("cmd_1"), .actor = STR("me"), .action = STR("drain"), .sequence = 1
    };
    enum command_status status = COMMAND_RUNNING;
    struct command_outcome outcome = { .succeeded = true, .code = 1, .payload = STR("out") };
    assert_code(
        ERR_NOT_FOUND,
        command_log_find(fixture->spool, entry.command_id, arena, &status, &outcome, NULL));
    assert_ok(command_log_begin(fixture->spool, &entry, NULL));
    assert_code(ERR_EXISTS, command_log_begin(fixture->spool, &entry, NULL));
    entry.command_id = STR("cmd_2");
    entry.sequence = 2;
    assert_ok(command_log_begin(fixture->spool, &entry, NULL));
    assert_ok(command_log_finish(fixture->spool, STR("cmd_1"), &outcome, NULL));
    assert_code(ERR_NOT_FOUND, command_log_finish(fixture->spool, STR("cmd_1"), &outcome, NULL));
    fixture_reopen(fixture);
    assert_ok(command_log_interrupt(fixture->spool, 7, "interrupted", NULL));
    assert_ok(command_log_each_unacked(fixture->spool, 10, count_command, &text, NULL));
    assert_string_equal(buf_text(&text), "cmd_1:1: cmd_2:7:interrupted ");
    memset(&outcome, 0, sizeof(outcome));
    assert_ok(command_log_find(fixture->spool, STR("cmd_1"), arena, &status, &outcome, NULL));
    assert_int_equal(status, COMMAND_DONE);
    assert_true(outcome.succeeded && str_equal(outcome.payload, STR("out")));
    assert_ok(command_log_set_acked(fixture->spool, STR("cmd_1"), NULL));
    buf_clear(&text);
    assert_ok(command_log_each_unacked(fixture->spool, 10, count_command, &text, NULL));
    assert_string_equal(buf_text(&text), "cmd_2:7:interrupted ");
}

static void test_settings(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(spool_get_setting(fixture->spool, "interval", 7), 7);
    assert_ok(spool_put_setting(fixture->spool, "interval", 250, NULL));
    assert_ok(spool_put_setting(fixture->spool, "interval", 500, NULL));
    fixture_reopen(fixture);
    assert_int_equal(spool_get_setting(fixture->spool, "interval", 7), 500);
}

#define SPOOL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(test_records_wait_in_order_and_survive),
        SPOOL_TEST(test_peek_is_bounded),
        SPOOL_TEST(test_oldest_telemetry_goes_first_and_events_last),
        SPOOL_TEST(test_age_is_running_time_and_clock_jumps_do_not_matter),
        SPOOL_TEST(test_a_fresh_spool_follows_the_servers_mark),
        SPOOL_TEST(test_telemetry_waits_for_its_answer_in_memory),
        SPOOL_TEST(test_much_telemetry_does_not_wait),
        SPOOL_TEST(test_numbers_that_died_in_memory_are_not_given_twice),
        SPOOL_TEST(test_what_the_mark_covers_is_not_sent_again),
        SPOOL_TEST(test_damaged_records_are_quarantined),
        SPOOL_TEST(test_truncated_files_never_stop_it),
        SPOOL_TEST(test_a_foreign_file_is_set_aside),
        SPOOL_TEST(test_a_full_disk_degrades_and_recovers),
        SPOOL_TEST(test_limits_of_one_append),
        SPOOL_TEST(test_nothing_that_counted_is_lost_by_kill),
        SPOOL_TEST(test_a_second_process_may_look),
        SPOOL_TEST(test_commands_are_remembered),
        SPOOL_TEST(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
