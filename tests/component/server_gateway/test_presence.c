/* Heartbeats on their way to the store, and which stream is an agent's. Streams are counters here:
 * only what they are asked for counts. */
#include "cmd/server/gateway/presence.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"

#include <stdatomic.h>
#include <stdio.h>

struct rpc_stream {
    atomic_int references;
    atomic_int wakes;
    atomic_int finishes;
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

void rpc_stream_finish(struct rpc_stream *stream, enum err_code code, const char *text)
{
    assert_int_equal(code, ERR_CONFLICT);
    assert_non_null(text);
    atomic_fetch_add(&stream->finishes, 1);
}

static void test_the_newest_stream_wins(void **state)
{
    (void)state;
    struct rpc_stream first = { 0, 0, 0 };
    struct rpc_stream second = { 0, 0, 0 };
    struct presence *presence = presence_create();
    presence_add_stream(presence, 7, &first);
    presence_add_stream(presence, 7, &second);
    assert_int_equal(first.finishes, 1);
    assert_int_equal(first.references, 0);
    assert_int_equal(presence_stream_count(presence), 1);
    presence_remove_stream(presence, 7, &first); /* the older one's end takes nothing away */
    assert_int_equal(presence_stream_count(presence), 1);
    assert_false(presence_is_draining(presence));
    presence_drain(presence);
    assert_true(presence_is_draining(presence));
    assert_int_equal(second.wakes, 1);
    assert_int_equal(first.wakes, 0);
    presence_remove_stream(presence, 7, &second);
    assert_int_equal(second.references, 0);
    presence_add_stream(presence, 8, &first);
    presence_destroy(presence);
    assert_int_equal(first.references, 0);
    presence_destroy(NULL);
}

struct bench {
    struct place *place;
    struct service service;
    struct worker *worker;
    struct presence *presence;
    int64_t agent;
    int64_t epoch;
};

static void bench_init(struct bench *bench, void **state)
{
    struct err_info err = ERR_INFO_INIT;
    void *worker = NULL;
    *bench = (struct bench){ .place = place_of(state), .presence = presence_create() };
    bench->service.clock = clock_system();
    bench->service.engine = sql_engine_of(bench->place->conn);
    bench->service.store.url = bench->place->url;
    bench->service.hub = hub_create();
    assert_ok_err(err, worker_open(&bench->service, &worker, &err));
    bench->worker = worker;
    bench->agent = place_add_agent(bench->place, WORKSPACE_DEFAULT, "edge", 1);
}

static void bench_deinit(struct bench *bench)
{
    worker_close(&bench->service, bench->worker);
    presence_destroy(bench->presence);
    hub_destroy(bench->service.hub);
}

static void beat(struct bench *bench, int64_t after_us, struct str_view status)
{
    const struct agent_beat seen = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = bench->agent,
        .epoch = bench->epoch,
        .at = { PLACE_NOW.value + after_us },
        .status = status,
    };
    presence_beat(bench->presence, &seen);
}

static struct agent_record read_agent(struct bench *bench)
{
    struct err_info err = ERR_INFO_INIT;
    struct agent_record record;
    place_begin(bench->place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err,
        store_agent_get(
            bench->place->conn,
            WORKSPACE_DEFAULT,
            bench->agent,
            bench->place->arena,
            &record,
            &err));
    place_commit(bench->place);
    return record;
}

static void test_beats_are_written_together(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    beat(&bench, 1, STR("busy"));
    beat(&bench, 2, STR_NONE); /* without a status: the one before stays */
    beat(&bench, 3, STR_NONE);
    assert_int_equal(read_agent(&bench).last_seen_at, 0);
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    struct agent_record record = read_agent(&bench);
    assert_int_equal(record.last_seen_at, PLACE_NOW.value + 3);
    assert_true(str_equal(record.status, STR("busy")));
    int64_t revision = record.revision;
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    assert_int_equal(read_agent(&bench).revision, revision); /* nothing left to write */
    bench_deinit(&bench);
}

static void test_many_agents_beat(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    for (int64_t i = 0; i < 1200; i++) { /* more than one flush takes; most are long gone */
        const struct agent_beat gone = { .workspace_id = WORKSPACE_DEFAULT,
                                         .id = 100000 + i,
                                         .at = PLACE_NOW };
        presence_beat(bench.presence, &gone);
    }
    beat(&bench, 9, STR_NONE);
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    assert_int_equal(read_agent(&bench).last_seen_at, PLACE_NOW.value + 9);
    bench_deinit(&bench);
}

/* More than a flush takes, of two workspaces, with and without a status: each gets its own. */
static void test_each_agent_gets_its_own_beat(void **state)
{
    enum {
        AGENTS = 40
    };

    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    int64_t ids[AGENTS];
    bench_init(&bench, state);
    for (int i = 0; i < AGENTS; i++) {
        char name[16];
        char status[16];
        (void)snprintf(name, sizeof(name), "many-%d", i);
        (void)snprintf(status, sizeof(status), "status %d", i);
        int64_t workspace = i % 2 == 0 ? WORKSPACE_DEFAULT : PLACE_OTHER;
        ids[i] = place_add_agent(bench.place, workspace, name, (uint8_t)(10 + i));
        const struct agent_beat seen = {
            .workspace_id = i == 5 ? WORKSPACE_DEFAULT : workspace, /* one that names the other's */
            .id = ids[i],
            .at = { PLACE_NOW.value + i },
            .status = i % 3 == 0 ? STR_NONE : str_of(status),
        };
        presence_beat(bench.presence, &seen);
    }
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    for (int i = 0; i < AGENTS; i++) {
        struct agent_record record;
        char status[16] = "";
        if (i % 3 != 0 && i != 5) {
            (void)snprintf(status, sizeof(status), "status %d", i);
        }
        assert_ok_err(
            err,
            store_agent_get(
                bench.place->conn,
                i % 2 == 0 ? WORKSPACE_DEFAULT : PLACE_OTHER,
                ids[i],
                bench.place->arena,
                &record,
                &err));
        assert_int_equal(record.last_seen_at, i == 5 ? 0 : PLACE_NOW.value + i);
        assert_true(str_equal(record.status, str_of(status)));
    }
    place_commit(bench.place);
    bench_deinit(&bench);
}

/* A replica that was stopped while its agent went elsewhere must not speak for it any more. */
static void test_an_older_session_does_not_beat(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    beat(&bench, 1, STR("old"));
    place_begin(bench.place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err,
        store_agent_begin_session(
            bench.place->conn, WORKSPACE_DEFAULT, bench.agent, PLACE_NOW, &bench.epoch, &err));
    place_commit(bench.place);
    int64_t revision = read_agent(&bench).revision;
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    assert_int_equal(read_agent(&bench).revision, revision);
    beat(&bench, 5, STR("new"));
    bench.epoch--;
    beat(&bench, 9, STR("old")); /* after the new one, on the same replica */
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    struct agent_record record = read_agent(&bench);
    assert_int_equal(record.last_seen_at, PLACE_NOW.value + 5);
    assert_true(str_equal(record.status, STR("new")));
    bench_deinit(&bench);
}

static void beat_much(void *context)
{
    struct bench *bench = context;
    struct rpc_stream stream = { 0, 0, 0 };
    for (int64_t i = 0; i < 500; i++) {
        beat(bench, i, STR("status"));
        presence_add_stream(bench->presence, i % 5, &stream);
        presence_remove_stream(bench->presence, i % 5, &stream);
    }
    assert_int_equal(stream.references, 0);
}

static void test_threads_beat_while_flushing(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    struct thread threads[2] = { { .running = false } };
    bench_init(&bench, state);
    assert_ok_err(err, thread_start(&threads[0], "beat", beat_much, &bench, &err));
    for (int i = 0; i < 10; i++) {
        assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    }
    thread_join(&threads[0]);
    assert_ok_err(err, presence_flush(bench.presence, bench.worker, &err));
    assert_int_equal(read_agent(&bench).last_seen_at, PLACE_NOW.value + 499);
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_stream_wins),
        PLACE_BOTH(test_beats_are_written_together),
        PLACE_BOTH(test_many_agents_beat),
        PLACE_BOTH(test_each_agent_gets_its_own_beat),
        PLACE_BOTH(test_an_older_session_does_not_beat),
        PLACE_BOTH(test_threads_beat_while_flushing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
