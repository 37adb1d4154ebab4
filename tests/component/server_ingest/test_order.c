/*
 * Several servers write events at once, and a watch that asks for "those after the last one" sees
 * each: one that was written first and committed last used to be passed over.
 */
#include "cmd/server/ingest/batch.h"
#include "cmd/server/store/event.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"
#include "tests/support/payload.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

struct replica {
    struct thread thread;
    struct wire_schema *schema;
    struct sql_conn *conn;
    struct record_source source;
    const char *kind;
    atomic_bool has_begun;
    atomic_bool has_ended;
    enum err_code code;
};

static struct record *make_event(const struct replica *replica)
{
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    Agentgateway__V1__AgentEvent event = AGENTGATEWAY__V1__AGENT_EVENT__INIT;
    Agentgateway__V1__AgentEvent *list[] = { &event };
    event.time_us = PLACE_NOW.value;
    event.kind = CONST_CAST(char *, replica->kind);
    batch.n_events = 1;
    batch.events = list;
    wire_pack(&batch.base, &payload);
    const struct record_upload upload = {
        .payload = buf_view(&payload),
        .sequence = 1,
        .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
        .is_event_stream = true,
    };
    assert_ok_err(
        err, record_create(replica->schema, &replica->source, &upload, PLACE_NOW, &record, &err));
    assert_null(record->why_opaque);
    return record;
}

static enum err_code write_event(struct replica *replica)
{
    struct err_info err = ERR_INFO_INIT;
    struct batch_result result;
    struct batch_memory memory = { .cache = series_cache_create() };
    struct service service = { .engine = sql_engine_of(replica->conn) };
    AUTO_ARENA struct arena *arena = arena_create(1024 * 1024);
    struct work work = {
        .service = &service, .conn = replica->conn, .arena = arena, .now = PLACE_NOW
    };
    struct record *record = make_event(replica);
    enum err_code code = batch_write(&work, &memory, &record, 1, &result, &err);
    mem_free(work.wakes);
    record_destroy(record);
    series_cache_destroy(memory.cache);
    return code;
}

static void write_and_commit(void *context)
{
    struct replica *replica = context;
    struct err_info err = ERR_INFO_INIT;
    atomic_store(&replica->has_begun, true);
    replica->code = sql_begin(replica->conn, SQL_ALL_WORKSPACES, &err);
    if (replica->code == ERR_OK) {
        replica->code = write_event(replica);
    }
    if (replica->code == ERR_OK) {
        replica->code = sql_commit(replica->conn, &err);
    }
    atomic_store(&replica->has_ended, true);
}

static const struct sql_statement WAITING = { "waiting_of_test",
                                              "SELECT COUNT(*) FROM pg_locks WHERE NOT granted",
                                              NULL };

/* Until the other is through, or waits for a lock (on SQLite: for the file, which it has not got).
 */
static void wait_for(struct place *place, struct replica *replica)
{
    struct err_info err = ERR_INFO_INIT;
    int64_t waiting = 0;
    while (!atomic_load(&replica->has_begun)
           || (waiting == 0 && !atomic_load(&replica->has_ended))) {
        if (sql_engine_of(place->conn) == SQL_SQLITE) {
            waiting = atomic_load(&replica->has_begun) ? 1 : 0;
        } else {
            place_begin(place, SQL_ALL_WORKSPACES);
            struct sql_rows *rows = NULL;
            assert_ok_err(err, sql_query(place->conn, &WAITING, SQL_NO_ARGS, &rows, &err));
            assert_ok(sql_rows_next(rows, &err));
            waiting = sql_int(rows, 0);
            sql_rows_close(rows);
            sql_rollback(place->conn);
        }
        (void)poll(NULL, 0, 1);
    }
}

/* What a watch does: all after the last one it saw. */
static size_t follow(struct place *place, int64_t *after_id)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    const struct event_filter filter = { .after_id = *after_id, .limit = 10 };
    assert_ok_err(err, sql_begin_read(place->conn, WORKSPACE_DEFAULT, &err));
    assert_ok_err(
        err, store_event_newer(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    sql_rollback(place->conn);
    const struct event_record *records = list.records;
    *after_id = list.count == 0 ? *after_id : records[list.count - 1].id;
    return list.count;
}

static void replica_init(struct replica *replica, struct place *place, const char *name)
{
    *replica = (struct replica){ .kind = name };
    replica->conn = place_connect(place);
    replica->schema = payload_schema();
    replica->source.workspace_id = WORKSPACE_DEFAULT;
    replica->source.agent_id = place_add_agent(place, WORKSPACE_DEFAULT, name, (uint8_t)name[0]);
}

static void replica_deinit(struct replica *replica)
{
    sql_close(replica->conn);
    wire_schema_destroy(replica->schema);
}

static void test_an_event_committed_late_is_not_missed(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct replica first;
    struct replica second;
    int64_t after_id = 0;
    replica_init(&first, place, "first");
    replica_init(&second, place, "second");
    assert_ok_err(err, sql_begin(first.conn, SQL_ALL_WORKSPACES, &err));
    assert_ok(write_event(&first));
    assert_ok_err(err, thread_start(&second.thread, "second", write_and_commit, &second, &err));
    wait_for(place, &second);
    size_t seen = follow(place, &after_id);
    assert_ok_err(err, sql_commit(first.conn, &err));
    seen += follow(place, &after_id);
    thread_join(&second.thread);
    assert_ok(second.code);
    seen += follow(place, &after_id);
    assert_int_equal(seen, 2);
    replica_deinit(&first);
    replica_deinit(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_an_event_committed_late_is_not_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
