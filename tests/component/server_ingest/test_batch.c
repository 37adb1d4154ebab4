/* batch_write: each record exactly once, whatever is repeated, on both engines. */
#include "cmd/server/ingest/batch.h"
#include "cmd/server/store/event.h"
#include "cmd/server/store/telemetry.h"
#include "tests/component/server_store/fixture.h"
#include "tests/support/payload.h"

struct bench {
    struct place *place;
    struct service service;
    struct wire_schema *schema;
    struct batch_memory memory;
    int64_t agent;
    int64_t epoch;
};

static void bench_init(struct bench *bench, void **state)
{
    struct err_info err = ERR_INFO_INIT;
    *bench = (struct bench){ .place = place_of(state) };
    bench->schema = payload_schema();
    bench->memory.cache = series_cache_create();
    bench->service.clock = clock_system();
    bench->service.engine = sql_engine_of(bench->place->conn);
    bench->agent = place_add_agent(bench->place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(
        err,
        store_agent_begin_session(
            bench->place->conn, WORKSPACE_DEFAULT, bench->agent, PLACE_NOW, &bench->epoch, &err));
    place_commit(bench->place);
}

static void bench_deinit(struct bench *bench)
{
    wire_schema_destroy(bench->schema);
    series_cache_destroy(bench->memory.cache);
}

/* One sample of `metric` at PLACE_NOW + sequence. */
static struct record *make_record(struct bench *bench, const char *metric, uint64_t sequence)
{
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    payload_telemetry(metric, PLACE_NOW.value + (int64_t)sequence, 1, &payload);
    const struct record_source source = { WORKSPACE_DEFAULT, bench->agent, bench->epoch };
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .sequence = sequence,
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH,
    };
    assert_ok_err(err, record_create(bench->schema, &source, &upload, PLACE_NOW, &record, &err));
    return record;
}

static enum err_code write_in(
    struct bench *bench, struct record *const *records, size_t count, struct batch_result *results)
{
    struct err_info err = ERR_INFO_INIT;
    struct work work = { .service = &bench->service,
                         .conn = bench->place->conn,
                         .arena = bench->place->arena,
                         .now = PLACE_NOW };
    enum err_code code = batch_write(&work, &bench->memory, records, count, results, &err);
    mem_free(work.wakes);
    return code;
}

/* Writes one record and commits; gives the mark that is acknowledged. */
static int64_t write_one(struct bench *bench, uint64_t sequence)
{
    struct batch_result result;
    struct record *record = make_record(bench, "m", sequence);
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(bench, &record, 1, &result));
    place_commit(bench->place);
    record_destroy(record);
    assert_ok(result.code);
    return result.acked_sequence;
}

static void test_a_repeat_changes_nothing_and_is_acknowledged(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    assert_int_equal(write_one(&bench, 1), 1);
    assert_int_equal(write_one(&bench, 2), 2);
    assert_int_equal(write_one(&bench, 2), 2);
    assert_int_equal(write_one(&bench, 1), 2); /* backwards */
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 2);
    assert_int_equal(write_one(&bench, 9), 9); /* a gap: what is between was dropped over there */
    assert_int_equal(write_one(&bench, 5), 9);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 3);
    bench_deinit(&bench);
}

enum {
    EVENTS_OF_TEST = 8
};

/* What an agent sends of one sandbox; a kind of "sandbox.usage" with it, another one without. */
struct told {
    const char *kind;
    const char *sandbox_id;
    uint64_t sequence;
    uint64_t cpu_us;
};

static struct record *make_told(struct bench *bench, const struct told *told, size_t count)
{
    AUTO_BUF struct buf payload = BUF_INIT(65536);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    Agentgateway__V1__AgentEvent events[EVENTS_OF_TEST];
    Agentgateway__V1__SandboxUsage usages[EVENTS_OF_TEST];
    Agentgateway__V1__AgentEvent *list[EVENTS_OF_TEST];
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    for (size_t i = 0; i < count; i++) {
        agentgateway__v1__agent_event__init(&events[i]);
        agentgateway__v1__sandbox_usage__init(&usages[i]);
        events[i].kind = CONST_CAST(char *, told[i].kind);
        if (told[i].sandbox_id != NULL) {
            usages[i].sandbox_id = CONST_CAST(char *, told[i].sandbox_id);
            usages[i].boot_id = CONST_CAST(char *, "boot");
            usages[i].sequence = told[i].sequence;
            usages[i].cpu_us = told[i].cpu_us;
            usages[i].from_us = 5;
            usages[i].until_us = PLACE_NOW.value + US_PER_DAY;
            events[i].usage = &usages[i];
        }
        list[i] = &events[i];
    }
    batch.n_events = count;
    batch.events = list;
    wire_pack(&batch.base, &payload);
    const struct record_source source = { WORKSPACE_DEFAULT, bench->agent, bench->epoch };
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
        .is_event_stream = true,
    };
    assert_ok_err(err, record_create(bench->schema, &source, &upload, PLACE_NOW, &record, &err));
    assert_null(record->why_opaque);
    return record;
}

static void write_told(struct bench *bench, const struct told *told, size_t count)
{
    struct batch_result result;
    struct record *record = make_told(bench, told, count);
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(bench, &record, 1, &result));
    place_commit(bench->place);
    record_destroy(record);
    assert_ok(result.code);
}

static const struct sql_statement USAGE_ROWS = {
    "usage_rows_of_test",
    "SELECT sandbox_id, sequence, cpu_us, from_us, until_us, owner FROM sandbox_usage ORDER BY 2",
    "SELECT sandbox_id, sequence, cpu_us, from_us, until_us, owner FROM sandbox_usage ORDER BY 2",
};
static const struct sql_statement EVENT_ROWS = {
    "event_rows_of_test",
    "SELECT kind, device FROM event ORDER BY id",
    "SELECT kind, device FROM event ORDER BY id",
};

/* The rows are those of `count` numbers: the sequence, and what it cost. */
static void check_usage(struct bench *bench, const int64_t (*expected)[2], size_t count)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(bench->place->conn, &USAGE_ROWS, SQL_NO_ARGS, &rows, &err));
    for (size_t i = 0; i < count; i++) {
        assert_ok(sql_rows_next(rows, &err));
        assert_true(str_equal(sql_text(rows, 0), STR("sbx_mine")));
        assert_int_equal(sql_int(rows, 1), expected[i][0]);
        assert_int_equal(sql_int(rows, 2), expected[i][1]);
        assert_int_equal(sql_int(rows, 3), PLACE_NOW.value - US_PER_HOUR); /* the sandbox's life */
        assert_int_equal(sql_int(rows, 4), PLACE_NOW.value);               /* our clock */
        assert_true(str_equal(sql_text(rows, 5), STR("user:a")));
    }
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    sql_rows_close(rows);
    place_commit(bench->place);
}

static void check_events(struct bench *bench, const char *const (*expected)[2], size_t count)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(bench->place->conn, &EVENT_ROWS, SQL_NO_ARGS, &rows, &err));
    for (size_t i = 0; i < count; i++) {
        assert_ok(sql_rows_next(rows, &err));
        assert_true(str_equal(sql_text(rows, 0), str_of(expected[i][0])));
        assert_true(str_equal(sql_text(rows, 1), str_of(expected[i][1])));
    }
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    sql_rows_close(rows);
    place_commit(bench->place);
}

static void add_account(struct bench *bench, const char *sandbox_id, int64_t agent_id)
{
    AUTO_FREE char *text = mem_printf(
        "INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, "
        "created_at) VALUES (1, '%s', 'n', %lld, 'user:a', '{}', %lld)",
        sandbox_id,
        (long long)agent_id,
        (long long)(PLACE_NOW.value - US_PER_HOUR));
    place_script(bench->place, text);
}

/* Whatever stands in one batch: each reading once, the first of two alike, none of a sandbox that
 * is not the agent's, and the refusals as events in their places. */
static void test_usage_is_stored_once_and_refused_in_its_place(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_account(&bench, "sbx_mine", bench.agent);
    add_account(&bench, "sbx_theirs", place_add_agent(bench.place, WORKSPACE_DEFAULT, "other", 2));
    static const struct told told[EVENTS_OF_TEST] = {
        { "first", NULL, 0, 0 },
        { "sandbox.usage", "sbx_mine", 1, 10 },
        { "sandbox.usage", "sbx_theirs", 1, 10 },
        { "middle", NULL, 0, 0 },
        { "sandbox.usage", "sbx_mine", 1, 99 },
        { "sandbox.usage", "sbx_none", 1, 10 },
        { "sandbox.usage", "sbx_mine", 2, UINT64_C(1) << 63 },
        { "sandbox.usage", "sbx_mine", 3, 30 },
    };
    static const char *const events[][2] = {
        { "first", "" },
        { "sandbox.usage_refused", "sbx_theirs" },
        { "middle", "" },
        { "sandbox.usage_refused", "sbx_none" },
        { "sandbox.usage_refused", "sbx_mine" },
    };
    static const int64_t rows[][2] = { { 1, 10 }, { 3, 30 } };
    write_told(&bench, told, ARRAY_LENGTH(told));
    check_usage(&bench, rows, ARRAY_LENGTH(rows));
    check_events(&bench, events, ARRAY_LENGTH(events));
    bench_deinit(&bench);
}

/* What came before stays as it is, in a batch of many and of one. */
static void test_usage_that_comes_again_changes_nothing(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    add_account(&bench, "sbx_mine", bench.agent);
    static const struct told one[] = { { "sandbox.usage", "sbx_mine", 1, 10 } };
    static const struct told again[] = { { "sandbox.usage", "sbx_mine", 1, 11 } };
    static const struct told more[] = { { "sandbox.usage", "sbx_mine", 2, 20 },
                                        { "sandbox.usage", "sbx_mine", 1, 12 } };
    static const int64_t rows[][2] = { { 1, 10 }, { 2, 20 } };
    write_told(&bench, one, 1);
    write_told(&bench, again, 1);
    check_usage(&bench, rows, 1);
    write_told(&bench, more, 2);
    check_usage(&bench, rows, 2);
    check_events(&bench, NULL, 0);
    bench_deinit(&bench);
}

static void test_unsequenced_records_are_always_stored(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    struct batch_result result;
    const struct record_source source = { WORKSPACE_DEFAULT, bench.agent, bench.epoch };
    const struct record_upload upload = { .payload = STR("as it came") };
    assert_int_equal(write_one(&bench, 4), 4);
    assert_ok_err(err, record_create(bench.schema, &source, &upload, PLACE_NOW, &record, &err));
    for (int i = 0; i < 2; i++) {
        place_begin(bench.place, SQL_ALL_WORKSPACES);
        assert_ok(write_in(&bench, &record, 1, &result));
        place_commit(bench.place);
        assert_int_equal(result.acked_sequence, 4); /* the mark stays */
    }
    record_destroy(record);
    assert_int_equal(place_count(bench.place, &PLACE_UPLOADS), 2);
    bench_deinit(&bench);
}

static void test_an_older_session_is_fenced(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct err_info err = ERR_INFO_INIT;
    struct batch_result results[3];
    struct record *records[3] = { make_record(&bench, "m", 1), NULL, NULL };
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(store_agent_begin_session(
        bench.place->conn, WORKSPACE_DEFAULT, bench.agent, PLACE_NOW, &bench.epoch, &err));
    place_commit(bench.place);
    records[1] = make_record(&bench, "m", 1);
    records[2] = make_record(&bench, "m", 2);
    records[2]->source.epoch--;
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(&bench, records, 3, results));
    place_commit(bench.place);
    assert_int_equal(results[0].code, ERR_UNAUTHENTICATED);
    assert_int_equal(results[1].code, ERR_OK);
    assert_int_equal(results[2].code, ERR_UNAUTHENTICATED);
    assert_int_equal(results[2].acked_sequence, 1);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 1);
    for (size_t i = 0; i < 3; i++) {
        record_destroy(records[i]);
    }
    bench_deinit(&bench);
}

static void test_rows_and_mark_go_together(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct batch_result result;
    struct record *record = make_record(&bench, "m", 1);
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(&bench, &record, 1, &result));
    sql_rollback(bench.place->conn);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 0);
    /* The series it made are gone with it: the writer forgets them. */
    series_cache_clear(bench.memory.cache);
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(&bench, &record, 1, &result));
    place_commit(bench.place);
    record_destroy(record);
    assert_int_equal(result.acked_sequence, 1);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 1);
    bench_deinit(&bench);
}

static void test_many_agents_in_one_batch(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct batch_result results[4];
    struct record *records[4];
    int64_t first = bench.agent;
    records[0] = make_record(&bench, "m", 1);
    records[1] = make_record(&bench, "m", 2);
    bench.agent = place_add_agent(bench.place, PLACE_OTHER, "far", 2);
    records[2] = make_record(&bench, "m", 7);
    records[3] = make_record(&bench, "n", 8);
    for (size_t i = 2; i < 4; i++) {
        records[i]->source.workspace_id = PLACE_OTHER;
        records[i]->source.epoch = 0;
    }
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(&bench, records, 4, results));
    place_commit(bench.place);
    assert_int_equal(results[0].acked_sequence, 1);
    assert_int_equal(results[1].acked_sequence, 2);
    assert_int_equal(results[3].acked_sequence, 8);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 4);
    struct err_info err = ERR_INFO_INIT;
    struct agent_marks marks;
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(store_agent_marks(bench.place->conn, WORKSPACE_DEFAULT, first, &marks, &err));
    assert_int_equal(marks.telemetry_sequence, 2);
    assert_int_equal(marks.events_sequence, 0);
    /* An agent of one workspace is nobody in another. */
    assert_code(
        ERR_NOT_FOUND, store_agent_marks(bench.place->conn, PLACE_OTHER, first, &marks, &err));
    place_commit(bench.place);
    for (size_t i = 0; i < 4; i++) {
        record_destroy(records[i]);
    }
    bench_deinit(&bench);
}

/* A copy of the record that has the sequence: the same payload, unsequenced. */
static struct record *make_copy(struct bench *bench, const char *metric, uint64_t sequence)
{
    struct record *record = make_record(bench, metric, sequence);
    record->sequence = 0;
    record->is_copy = true;
    return record;
}

/* Writes records in one transaction and frees them; the last one's mark. */
static int64_t write_all_of(struct bench *bench, struct record **records, size_t count)
{
    struct batch_result results[10];
    assert_true(count <= ARRAY_LENGTH(results));
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok(write_in(bench, records, count, results));
    place_commit(bench->place);
    for (size_t i = 0; i < count; i++) {
        assert_ok(results[i].code);
        record_destroy(records[i]);
    }
    return results[count - 1].acked_sequence;
}

static void expect_latest(struct bench *bench, const char *metric, int64_t time_us)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list = { 0 };
    const struct series_filter filter = { .metric = str_of(metric), .limit = 10 };
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(
        err,
        store_series_list(
            bench->place->conn, WORKSPACE_DEFAULT, &filter, bench->place->arena, &list, &err));
    place_commit(bench->place);
    const struct series_record *rows = list.records;
    assert_int_equal(list.count, 1); /* whoever named the series first, there is one of it */
    assert_int_equal(rows[0].last_time, time_us);
}

/* The newest first as a copy, then everything in order: each sample once, the mark as if there had
 * been no copy, and the latest value is not taken back by what is older. */
static void test_a_copy_is_stored_once_with_its_record(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct record *copy = make_copy(&bench, "m", 9);
    assert_int_equal(write_all_of(&bench, &copy, 1), 0);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 1);
    expect_latest(&bench, "m", PLACE_NOW.value + 9);
    series_cache_clear(
        bench.memory.cache); /* as after a restart: the series is found, not made again */
    for (uint64_t sequence = 1; sequence <= 8; sequence++) {
        assert_int_equal(write_one(&bench, sequence), (int64_t)sequence);
    }
    expect_latest(&bench, "m", PLACE_NOW.value + 9);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 9);
    assert_int_equal(write_one(&bench, 9), 9);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 9);
    /* in one transaction with its record, before and after it, and again when the record is old */
    struct record *together[] = { make_copy(&bench, "m", 10),
                                  make_record(&bench, "m", 10),
                                  make_copy(&bench, "m", 10) };
    assert_int_equal(write_all_of(&bench, together, 3), 10);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 10);
    bench_deinit(&bench);
}

/* A sample's partition follows from its time alone, so a copy and its record meet in the same one:
 * the default one until the day's is made, and still after that could not be made around them. */
static void test_a_copy_meets_its_record_in_every_partition(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct err_info err = ERR_INFO_INIT;
    struct record *copy = make_copy(&bench, "m", 1); /* no partition of that day yet */
    assert_int_equal(write_all_of(&bench, &copy, 1), 0);
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    bool all = false;
    assert_ok_err(err, store_sample_partitions(bench.place->conn, PLACE_NOW, 3, &all, &err));
    assert_true(all);
    place_commit(bench.place);
    assert_int_equal(write_one(&bench, 1), 1);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 1);
    /* tomorrow has a partition of its own */
    uint64_t tomorrow = (uint64_t)US_PER_DAY;
    copy = make_copy(&bench, "m", tomorrow);
    assert_int_equal(write_all_of(&bench, &copy, 1), 1);
    assert_int_equal(write_one(&bench, tomorrow), (int64_t)tomorrow);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 2);
    bench_deinit(&bench);
}

/* An agent's clock was ahead: its samples are kept, but do not hide what comes later. */
static void test_a_sample_of_the_future_is_not_the_latest(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    assert_int_equal(write_one(&bench, 1), 1);
    uint64_t ahead = (uint64_t)(2 * US_PER_HOUR);
    assert_int_equal(write_one(&bench, ahead), (int64_t)ahead);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 2);
    expect_latest(&bench, "m", PLACE_NOW.value + 1);
    bench_deinit(&bench);
}

/* What has no key would be there twice: it waits for its record. */
static void test_a_copy_that_does_not_decode_is_dropped(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    const struct record_source source = { WORKSPACE_DEFAULT, bench.agent, bench.epoch };
    struct record_upload upload = { .payload = STR("as it came"), .is_copy = true };
    assert_ok_err(err, record_create(bench.schema, &source, &upload, PLACE_NOW, &record, &err));
    assert_int_equal(write_all_of(&bench, &record, 1), 0);
    assert_int_equal(place_count(bench.place, &PLACE_UPLOADS), 0);
    upload.sequence = 1;
    assert_code(
        ERR_INVALID, record_create(bench.schema, &source, &upload, PLACE_NOW, &record, &err));
    upload.is_copy = false;
    assert_ok_err(err, record_create(bench.schema, &source, &upload, PLACE_NOW, &record, &err));
    assert_int_equal(write_all_of(&bench, &record, 1), 1);
    assert_int_equal(place_count(bench.place, &PLACE_UPLOADS), 1);
    bench_deinit(&bench);
}

static struct record *make_events(struct bench *bench, uint64_t sequence, size_t count)
{
    AUTO_BUF struct buf payload = BUF_INIT(1024 * 1024);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    payload_events(PLACE_NOW.value, count, &payload);
    const struct record_source source = { WORKSPACE_DEFAULT, bench->agent, bench->epoch };
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .sequence = sequence,
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
        .is_event_stream = true,
    };
    assert_ok_err(err, record_create(bench->schema, &source, &upload, PLACE_NOW, &record, &err));
    assert_null(record->why_opaque);
    return record;
}

/* Rows of one command of a transaction have one cmin. */
static const struct sql_statement COMMANDS = {
    "commands_of_test",
    "SELECT COUNT(DISTINCT (CAST(xmin AS text), CAST(cmin AS text))) FROM event",
    "SELECT 1"
};

/* The events of workspace, by id: texts "0" to "per_record - 1" again and again. */
static void expect_events_in_order(struct bench *bench, size_t count, size_t per_record)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    const struct event_filter filter = { .limit = (int64_t)count + 1 };
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024 * 1024);
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(
        err, store_event_newer(bench->place->conn, WORKSPACE_DEFAULT, &filter, arena, &list, &err));
    place_commit(bench->place);
    assert_int_equal(list.count, count);
    const struct event_record *rows = list.records;
    for (size_t i = 0; i < count; i++) {
        size_t nth = i % per_record;
        AUTO_FREE char *text = mem_printf("%zu", nth);
        assert_string_equal(rows[i].text, text);
        assert_int_equal(rows[i].time_us, PLACE_NOW.value + (int64_t)nth);
        assert_int_equal(rows[i].agent_id, bench->agent);
        assert_string_equal(rows[i].kind, "test.event");
        assert_string_equal(
            rows[i].attributes, nth % 2 == 1 ? "{\"stream\":\"a \\\"b\\\"\"}" : "{}");
    }
}

static void test_events_with_a_repeat_are_stored_once_and_in_order(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct record *first[] = { make_events(&bench, 1, 3),
                               make_events(&bench, 2, 3),
                               make_events(&bench, 2, 3), /* again */
                               make_events(&bench, 3, 3) };
    assert_int_equal(write_all_of(&bench, first, 4), 3);
    expect_events_in_order(&bench, 9, 3);
    assert_int_equal(place_count(bench.place, &COMMANDS), 1);
    struct record *second[] = { make_events(&bench, 3, 3), make_events(&bench, 4, 3) };
    assert_int_equal(write_all_of(&bench, second, 2), 4);
    expect_events_in_order(&bench, 12, 3);
    bench_deinit(&bench);
}

/* More than one statement takes. */
static void test_a_flood_of_events_is_stored_in_portions(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct record *records[10];
    for (size_t i = 0; i < ARRAY_LENGTH(records); i++) {
        records[i] = make_events(&bench, i + 1, 1000);
    }
    assert_int_equal(write_all_of(&bench, records, 10), 10);
    expect_events_in_order(&bench, 10000, 1000);
    assert_in_range(place_count(bench.place, &COMMANDS), 1, 10);
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_a_repeat_changes_nothing_and_is_acknowledged),
        PLACE_BOTH(test_unsequenced_records_are_always_stored),
        PLACE_BOTH(test_usage_is_stored_once_and_refused_in_its_place),
        PLACE_BOTH(test_usage_that_comes_again_changes_nothing),
        PLACE_BOTH(test_an_older_session_is_fenced),
        PLACE_BOTH(test_rows_and_mark_go_together),
        PLACE_BOTH(test_many_agents_in_one_batch),
        PLACE_BOTH(test_a_copy_is_stored_once_with_its_record),
        PLACE_BOTH(test_a_copy_meets_its_record_in_every_partition),
        PLACE_BOTH(test_a_copy_that_does_not_decode_is_dropped),
        PLACE_BOTH(test_a_sample_of_the_future_is_not_the_latest),
        PLACE_BOTH(test_events_with_a_repeat_are_stored_once_and_in_order),
        PLACE_BOTH(test_a_flood_of_events_is_stored_in_portions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
