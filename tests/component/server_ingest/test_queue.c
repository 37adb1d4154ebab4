/*
 * The writer's queue on both engines: order, commit before the answer, room, what is refused and
 * what comes after it. The streams that wait for room are counters here: only their wake is asked
 * for.
 */
#include "cmd/server/ingest/ingest.h"
#include "common/sys/lock.h"
#include "tests/component/server_store/fixture.h"
#include "tests/support/payload.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

struct rpc_stream {
    atomic_int references;
    atomic_int wakes;
};

struct rpc_stream *rpc_stream_ref(struct rpc_stream *stream)
{
    atomic_fetch_add(&stream->references, 1);
    return stream;
}

void rpc_stream_unref(struct rpc_stream *stream)
{
    atomic_fetch_sub(&stream->references, 1);
}

void rpc_stream_wake(struct rpc_stream *stream)
{
    atomic_fetch_add(&stream->wakes, 1);
}

struct bench {
    struct place *place;
    struct service service;
    struct wire_schema *schema;
    struct ingest *ingest;
    struct rpc_stream stream;
    int64_t agent;
    struct lock lock;
    struct lock_cond changed;
    size_t done;
    size_t stored;
    size_t failed;
    int64_t acked;
    bool in_order; /* marks never went back */
    atomic_bool broken;
    bool breaks; /* a failure breaks the source, as it breaks a stream */
};

static void on_done(void *context, const struct batch_result *result)
{
    struct bench *bench = context;
    LOCK_GUARD(&bench->lock);
    bench->done++;
    if (result->code == ERR_OK) {
        bench->stored++;
        bench->in_order = bench->in_order && result->acked_sequence >= bench->acked;
        bench->acked = result->acked_sequence;
    } else {
        assert_int_equal(result->code, ERR_UNAVAILABLE);
        bench->failed++;
        if (bench->breaks) {
            atomic_store(&bench->broken, true);
        }
    }
    lock_cond_broadcast(&bench->changed);
}

static bool is_broken(void *context)
{
    return atomic_load(&((struct bench *)context)->broken);
}

static const struct ingest_source source = { on_done, is_broken };

static void bench_init(struct bench *bench, void **state)
{
    struct err_info err = ERR_INFO_INIT;
    memset(bench, 0, sizeof(*bench));
    bench->in_order = true;
    bench->place = place_of(state);
    bench->schema = payload_schema();
    bench->service.clock = clock_system();
    bench->service.engine = sql_engine_of(bench->place->conn);
    bench->service.store.url = bench->place->url;
    bench->service.metrics = metrics_create();
    bench->service.hub = hub_create();
    lock_init(&bench->lock, LOCK_RANK_LEAF);
    lock_cond_init(&bench->changed);
    bench->agent = place_add_agent(bench->place, WORKSPACE_DEFAULT, "edge", 1);
    assert_ok_err(err, ingest_start(&bench->service, &bench->ingest, &err));
}

static void bench_deinit(struct bench *bench)
{
    ingest_stop(bench->ingest);
    assert_int_equal(atomic_load(&bench->stream.references), 0);
    hub_destroy(bench->service.hub);
    metrics_destroy(bench->service.metrics);
    wire_schema_destroy(bench->schema);
    lock_cond_deinit(&bench->changed);
    lock_deinit(&bench->lock);
}

static struct record *make_record(struct bench *bench, uint64_t sequence)
{
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    payload_telemetry("m", PLACE_NOW.value + (int64_t)sequence, 1, &payload);
    const struct record_source from = { WORKSPACE_DEFAULT, bench->agent, 0 };
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .sequence = sequence,
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH,
    };
    assert_ok_err(err, record_create(bench->schema, &from, &upload, PLACE_NOW, &record, &err));
    return record;
}

static void submit(struct bench *bench, struct record *record)
{
    assert_ok(ingest_submit(bench->ingest, record, &source, bench, &bench->stream));
}

static void wait_done(struct bench *bench, size_t count)
{
    const struct mono_us until = { clock_mono(clock_system()).value + 60 * US_PER_SECOND };
    lock_acquire(&bench->lock);
    while (bench->done < count && lock_cond_wait_until(&bench->changed, &bench->lock, until)) {
    }
    size_t done = bench->done;
    lock_release(&bench->lock);
    assert_int_equal(done, count);
}

static void test_records_are_stored_in_order(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    for (uint64_t i = 1; i <= 600; i++) {
        submit(&bench, make_record(&bench, i));
    }
    wait_done(&bench, 600);
    assert_int_equal(bench.stored, 600);
    assert_true(bench.in_order);
    assert_int_equal(bench.acked, 600);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 600);
    bench_deinit(&bench);
}

static void test_stopping_finishes_what_is_queued(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    for (uint64_t i = 1; i <= 50; i++) {
        submit(&bench, make_record(&bench, i));
    }
    bench_deinit(&bench);
    assert_int_equal(bench.stored, 50);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 50);
}

static void test_a_full_queue_makes_its_streams_wait(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct err_info err = ERR_INFO_INIT;
    /* Holds the writer up: it needs the agent's row, or the whole file. */
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    struct agent_marks marks;
    assert_ok_err(
        err, store_agent_marks(bench.place->conn, WORKSPACE_DEFAULT, bench.agent, &marks, &err));
    uint64_t sent = 0;
    struct record *record = make_record(&bench, 1);
    while (ingest_submit(bench.ingest, record, &source, &bench, &bench.stream) == ERR_OK) {
        sent++;
        assert_true(sent < 20000);
        record = make_record(&bench, sent + 1);
    }
    assert_true(sent >= 8192);
    assert_int_equal(atomic_load(&bench.stream.references), 1);
    assert_int_equal(atomic_load(&bench.stream.wakes), 0);
    place_commit(bench.place);
    wait_done(&bench, sent);
    assert_true(atomic_load(&bench.stream.wakes) >= 1);
    assert_int_equal(atomic_load(&bench.stream.references), 0);
    submit(&bench, record); /* it stayed the caller's */
    wait_done(&bench, sent + 1);
    assert_int_equal(bench.acked, (int64_t)sent + 1);
    assert_true(bench.in_order);
    bench_deinit(&bench);
}

static void submit_three(struct bench *bench, struct record *const records[3])
{
    for (size_t i = 0; i < 3; i++) {
        submit(bench, records[i]);
    }
    wait_done(bench, 3);
    assert_int_equal(bench->stored, 3);
    assert_int_equal(bench->acked, 3);
}

/* What the store refuses for its own sake is kept as it came; those before and behind get through.
 */
static void test_a_poison_record_blocks_nobody(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct record *records[3];
    for (uint64_t i = 0; i < 3; i++) {
        records[i] = make_record(&bench, i + 1);
    }
    records[1]->telemetry->series[0]->metric[0] = (char)0xff; /* no database takes such a text */
    submit_three(&bench, records);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 2);
    assert_int_equal(place_count(bench.place, &PLACE_UPLOADS), 1);
    bench_deinit(&bench);
}

static struct record *make_events(struct bench *bench, uint64_t sequence)
{
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    payload_events(PLACE_NOW.value, 2, &payload);
    const struct record_source from = { WORKSPACE_DEFAULT, bench->agent, 0 };
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .sequence = sequence,
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
        .is_event_stream = true,
    };
    assert_ok_err(err, record_create(bench->schema, &from, &upload, PLACE_NOW, &record, &err));
    return record;
}

static const struct sql_statement EVENTS = { "events_of_test",
                                             "SELECT COUNT(*) FROM event",
                                             "SELECT COUNT(*) FROM event" };

/* The same of events, though those of a batch go to the store together. */
static void test_a_poison_event_takes_no_other_with_it(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct record *records[3];
    for (uint64_t i = 0; i < 3; i++) {
        records[i] = make_events(&bench, i + 1);
    }
    records[1]->events->events[1]->text[0] = (char)0xff; /* no database takes such a text */
    submit_three(&bench, records);
    assert_int_equal(place_count(bench.place, &EVENTS), 4);
    assert_int_equal(place_count(bench.place, &PLACE_UPLOADS), 1);
    bench_deinit(&bench);
}

enum {
    USAGE_ROWS = 4096,
    OWNER_CHARS = 200,
    HUGE_BYTES = 256 * 1024 * 1024 + 1
};

/* Rows of usage of the sandbox "sbx_1". */
static struct record *make_usage(struct bench *bench, uint64_t sequence, uint64_t cpu_us)
{
    AUTO_BUF struct buf payload = BUF_INIT(1024 * 1024);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;

    struct {
        Agentgateway__V1__AgentEvent event;
        Agentgateway__V1__SandboxUsage usage;
    } *rows = mem_alloc_array(USAGE_ROWS, sizeof(*rows));

    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    batch.n_events = USAGE_ROWS;
    batch.events = mem_alloc_array(USAGE_ROWS, sizeof(void *));
    for (size_t i = 0; i < USAGE_ROWS; i++) {
        agentgateway__v1__agent_event__init(&rows[i].event);
        agentgateway__v1__sandbox_usage__init(&rows[i].usage);
        rows[i].event.kind = (char *)(uintptr_t) "sandbox.usage";
        rows[i].event.usage = &rows[i].usage;
        rows[i].usage.sandbox_id = (char *)(uintptr_t) "sbx_1";
        rows[i].usage.boot_id = (char *)(uintptr_t) "boot";
        rows[i].usage.sequence = sequence * USAGE_ROWS + i;
        rows[i].usage.cpu_us = cpu_us;
        batch.events[i] = &rows[i].event;
    }
    wire_pack(&batch.base, &payload);
    mem_free(batch.events);
    mem_free(rows);
    const struct record_source from = { WORKSPACE_DEFAULT, bench->agent, 0 };
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .sequence = sequence,
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
        .is_event_stream = true,
    };
    assert_ok_err(err, record_create(bench->schema, &from, &upload, PLACE_NOW, &record, &err));
    return record;
}

/* The records wait until all of them are there: one batch. */
static void write_in_one_batch(struct bench *bench, struct record *const *records, size_t count)
{
    struct err_info err = ERR_INFO_INIT;
    ingest_stop(bench->ingest);
    assert_ok_err(err, ingest_open(&bench->service, &bench->ingest, &err));
    for (size_t i = 0; i < count; i++) {
        submit(bench, records[i]);
    }
    assert_true(ingest_turn(bench->ingest));
    assert_int_equal(bench->done, count);
}

static const struct sql_statement USAGE_OF_TEST = { "usage_of_test",
                                                    "SELECT COUNT(*) FROM sandbox_usage",
                                                    "SELECT COUNT(*) FROM sandbox_usage" };

/* However many rows of usage are refused, those behind them get through. */
static void test_refused_usage_blocks_nobody(void **state)
{
    struct bench bench;
    struct record *records[7];
    bench_init(&bench, state);
    for (uint64_t i = 0; i < 6; i++) {
        records[i] = make_usage(&bench, i + 1, UINT64_C(1) << 63);
    }
    records[6] = make_record(&bench, 1);
    write_in_one_batch(&bench, records, 7);
    assert_int_equal(bench.stored, 7);
    assert_int_equal(place_count(bench.place, &EVENTS), 6 * USAGE_ROWS);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 1);
    bench_deinit(&bench);
}

/* After an outage a batch is full of it. */
static void test_much_usage_is_stored_in_one_batch(void **state)
{
    struct bench bench;
    struct record *records[2];
    bench_init(&bench, state);
    char *account = mem_printf(
        "INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, "
        "created_at) VALUES (%" PRId64 ", 'sbx_1', 'one', %" PRId64 ", '%0*d', '{}', 0)",
        WORKSPACE_DEFAULT,
        bench.agent,
        OWNER_CHARS,
        0);
    place_script(bench.place, account);
    mem_free(account);
    for (uint64_t i = 0; i < 2; i++) {
        records[i] = make_usage(&bench, i + 1, 5);
    }
    write_in_one_batch(&bench, records, 2);
    assert_int_equal(bench.stored, 2);
    assert_int_equal(place_count(bench.place, &USAGE_OF_TEST), 2 * USAGE_ROWS);
    bench_deinit(&bench);
}

/* What fits into no transaction is its sender's alone; the others get through. */
static void test_a_batch_that_is_too_large_is_divided(void **state)
{
    struct bench bench;
    struct record *records[3];
    bench_init(&bench, state);
    for (uint64_t i = 0; i < 3; i++) {
        records[i] = make_record(&bench, i + 1);
    }
    char *huge = mem_alloc(HUGE_BYTES + 1); /* more than the arguments of a statement may have */
    memset(huge, 'x', HUGE_BYTES);
    records[1]->telemetry->series[0]->metric = huge;
    write_in_one_batch(&bench, records, 3);
    assert_int_equal(bench.failed, 1);
    assert_int_equal(bench.stored, 2);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 2);
    mem_free(huge);
    bench_deinit(&bench);
}

static void test_an_agent_that_is_gone_harms_no_other(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct record *stray = make_record(&bench, 1);
    stray->source.agent_id = 424242;
    submit(&bench, make_record(&bench, 1));
    submit(&bench, stray);
    submit(&bench, make_record(&bench, 2));
    wait_done(&bench, 3);
    assert_int_equal(bench.stored, 2);
    assert_int_equal(bench.failed, 1);
    bench_deinit(&bench);
}

/* A record that failed holds back those its stream sent after it, or the mark would pass over it.
 */
static void test_a_broken_source_stores_nothing_more(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    submit(&bench, make_record(&bench, 1));
    wait_done(&bench, 1);
    atomic_store(&bench.broken, true); /* as its stream says when number 2 was not stored */
    submit(&bench, make_record(&bench, 3));
    submit(&bench, make_record(&bench, 4));
    wait_done(&bench, 3);
    assert_int_equal(bench.failed, 2);
    atomic_store(&bench.broken, false); /* its next stream */
    submit(&bench, make_record(&bench, 2));
    submit(&bench, make_record(&bench, 3));
    wait_done(&bench, 5);
    assert_int_equal(bench.acked, 3);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 3);
    bench_deinit(&bench);
}

static const char cut_others[] =
    "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
    "current_database() AND pid <> pg_backend_pid() AND usename <> current_user; END $$";

/* PostgreSQL: the writer's connection is cut under it; nothing is lost and nothing comes twice. */
static void test_a_lost_connection_loses_nothing(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    struct err_info err = ERR_INFO_INIT;
    uint64_t next = 1;
    size_t submitted = 0;
    bench.breaks = true;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 40; i++) {
            submit(&bench, make_record(&bench, next++));
            submitted++;
        }
        struct sql_conn *super = NULL;
        const struct store_options options = { .url = bench.place->super_url };
        assert_ok_err(err, store_connect(&options, &super, &err));
        assert_ok_err(err, sql_exec_script(super, cut_others, &err));
        sql_close(super);
        wait_done(&bench, submitted);
        /* What was not stored, or stored without an answer, comes again on the next stream. */
        atomic_store(&bench.broken, false);
        next = (uint64_t)bench.acked + 1;
    }
    struct sql_conn *conn = bench.place->conn;
    assert_ok_err(err, sql_reconnect(conn, &err));
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), (int64_t)next - 1);
    bench_deinit(&bench);
}

/* Whoever owns a writer without a thread may end it with records that no turn came for. */
static void test_without_a_thread_turns_write_and_the_rest_is_refused(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    ingest_stop(bench.ingest);
    assert_ok_err(err, ingest_open(&bench.service, &bench.ingest, &err));
    assert_false(ingest_turn(bench.ingest));
    submit(&bench, make_record(&bench, 1));
    submit(&bench, make_record(&bench, 2));
    assert_int_equal(bench.done, 0);
    assert_true(ingest_turn(bench.ingest));
    assert_int_equal(bench.stored, 2);
    submit(&bench, make_record(&bench, 3));
    ingest_stop(STEAL(bench.ingest));
    assert_int_equal(bench.failed, 1);
    assert_int_equal(place_count(bench.place, &PLACE_SAMPLES), 2);
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_records_are_stored_in_order),
        PLACE_BOTH(test_stopping_finishes_what_is_queued),
        PLACE_BOTH(test_a_full_queue_makes_its_streams_wait),
        PLACE_BOTH(test_a_poison_record_blocks_nobody),
        PLACE_BOTH(test_a_poison_event_takes_no_other_with_it),
        PLACE_BOTH(test_refused_usage_blocks_nobody),
        PLACE_BOTH(test_much_usage_is_stored_in_one_batch),
        PLACE_BOTH(test_a_batch_that_is_too_large_is_divided),
        PLACE_BOTH(test_an_agent_that_is_gone_harms_no_other),
        PLACE_BOTH(test_a_broken_source_stores_nothing_more),
        PLACE_BOTH(test_without_a_thread_turns_write_and_the_rest_is_refused),
        cmocka_unit_test_setup_teardown(
            test_a_lost_connection_loses_nothing, place_setup_postgres, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
