/* Work on the database: retries, wakes after the commit, a connection that is lost and comes back.
 */
#include "cmd/server/core/identity.h"
#include "cmd/server/core/notifier.h"
#include "cmd/server/core/work.h"
#include "common/sys/file.h"
#include "tests/component/server_store/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct bench {
    struct place *place;
    struct service service;
    struct worker *worker;
    int heard; /* publishes of HUB_SESSION */
    int runs;
    int fail_runs; /* the first so many end with fail_code */
    enum err_code fail_code;
    int heard_inside;
    int64_t agents[2]; /* of the default workspace and the other */
};

static void hear(void *context, int64_t key)
{
    (void)key;
    ((struct bench *)context)->heard++;
}

static void bench_init(struct bench *bench, void **state)
{
    struct err_info err = ERR_INFO_INIT;
    void *worker = NULL;
    *bench = (struct bench){ .place = place_of(state) };
    bench->service.clock = clock_system();
    bench->service.engine = sql_engine_of(bench->place->conn);
    bench->service.store.url = bench->place->url;
    bench->service.hub = hub_create();
    hub_set_listener(bench->service.hub, HUB_SESSION, hear, bench);
    assert_ok_err(err, worker_open(&bench->service, &worker, &err));
    bench->worker = worker;
}

static void bench_deinit(struct bench *bench)
{
    worker_close(&bench->service, bench->worker);
    hub_destroy(bench->service.hub);
}

static enum err_code put_fact(struct work *work, void *context, struct err_info *err)
{
    struct bench *bench = context;
    bench->runs++;
    work_wake(work, HUB_SESSION, 7);
    work_wake(work, HUB_SESSION, 7); /* counts once */
    bench->heard_inside = bench->heard;
    TRY(store_meta_put(work->conn, "fact", STR("here"), err));
    if (bench->runs <= bench->fail_runs) {
        return ERR_SET(err, bench->fail_code, "as asked");
    }
    return ERR_OK;
}

static enum err_code run(struct bench *bench, struct err_info *err)
{
    return work_run(bench->worker, bench->place->arena, SQL_ALL_WORKSPACES, put_fact, bench, err);
}

static bool has_fact(struct bench *bench)
{
    struct err_info err = ERR_INFO_INIT;
    struct str_view value;
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    enum err_code code =
        store_meta_get(bench->place->conn, "fact", bench->place->arena, &value, &err);
    place_commit(bench->place);
    return code == ERR_OK;
}

static void test_wakes_go_out_after_the_commit(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    assert_ok_err(err, run(&bench, &err));
    assert_int_equal(bench.heard_inside, 0);
    assert_int_equal(bench.heard, 1);
    assert_true(has_fact(&bench));
    bench_deinit(&bench);
}

enum {
    MANY_WAKES = 300
};

static enum err_code wake_many(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    (void)err;
    for (int64_t i = 0; i < 2 * MANY_WAKES; i++) {
        work_wake(work, HUB_SESSION, i % MANY_WAKES);
    }
    return ERR_OK;
}

/* A flush for more workspaces than eight used to lose the wakes of the rest. */
static void test_no_wake_is_lost_however_many_there_are(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    assert_ok_err(
        err, work_run(bench.worker, bench.place->arena, SQL_ALL_WORKSPACES, wake_many, NULL, &err));
    assert_int_equal(bench.heard, MANY_WAKES);
    bench_deinit(&bench);
}

static enum err_code owe_events(struct work *work, void *context, struct err_info *err)
{
    struct bench *bench = context;
    static const int64_t workspaces[] = { PLACE_OTHER, WORKSPACE_DEFAULT, PLACE_OTHER };
    for (size_t i = 0; i < ARRAY_LENGTH(workspaces); i++) {
        char text[8] = { (char)('a' + (char)i), '\0' }; /* gone before it is written */
        const struct event_record event = {
            .agent_id = bench->agents[workspaces[i] == PLACE_OTHER],
            .time_us = PLACE_NOW.value,
            .received_at = PLACE_NOW.value,
            .severity = 2,
            .kind = "test.event",
            .device = "",
            .text = text,
            .attributes = "{}",
        };
        work_event(work, workspaces[i], &event);
    }
    return ++bench->runs <= bench->fail_runs ? ERR_SET(err, bench->fail_code, "as asked") : ERR_OK;
}

/* Once, by workspace, and then in the order they came, whatever was tried before. */
static void test_events_are_the_last_rows(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    char order[8] = "";
    bench_init(&bench, state);
    bench.agents[0] = place_add_agent(bench.place, WORKSPACE_DEFAULT, "edge", 1);
    bench.agents[1] = place_add_agent(bench.place, PLACE_OTHER, "edge", 2);
    bench.fail_runs = 2;
    bench.fail_code = ERR_BUSY;
    assert_ok_err(
        err,
        work_run(bench.worker, bench.place->arena, SQL_ALL_WORKSPACES, owe_events, &bench, &err));
    static const struct sql_statement TEXTS = { "texts_of_test",
                                                "SELECT text FROM event ORDER BY id",
                                                "SELECT text FROM event ORDER BY id" };
    struct sql_rows *rows = NULL;
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(bench.place->conn, &TEXTS, SQL_NO_ARGS, &rows, &err));
    for (size_t i = 0; i < 4 && sql_rows_next(rows, &err) == ERR_OK; i++) {
        order[i] = sql_text(rows, 0).ptr[0];
    }
    sql_rows_close(rows);
    place_commit(bench.place);
    assert_string_equal(order, "bac");
    bench_deinit(&bench);
}

static void test_a_lost_race_is_tried_again(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    bench.fail_runs = 3;
    bench.fail_code = ERR_BUSY;
    assert_ok_err(err, run(&bench, &err));
    assert_int_equal(bench.runs, 4);
    assert_int_equal(bench.heard, 1);
    bench.runs = 0;
    bench.fail_runs = 1000;
    assert_code(ERR_BUSY, run(&bench, &err)); /* but not for ever */
    assert_true(bench.runs < 20);
    assert_int_equal(bench.heard, 1);
    bench_deinit(&bench);
}

static void test_a_failure_leaves_nothing_behind(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    bench.fail_runs = 1;
    bench.fail_code = ERR_DENIED;
    assert_code(ERR_DENIED, run(&bench, &err));
    assert_int_equal(bench.runs, 1);
    assert_int_equal(bench.heard, 0);
    assert_false(has_fact(&bench));
    bench_deinit(&bench);
}

static void script_as_super(struct bench *bench, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *super = NULL;
    const struct store_options options = { .url = bench->place->super_url };
    assert_ok_err(err, store_connect(&options, &super, &err));
    assert_ok_err(err, sql_exec_script(super, text, &err));
    sql_close(super);
}

static const char cut_others[] =
    "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
    "current_database() AND pid <> pg_backend_pid() AND usename <> current_user; END $$";

static void test_a_lost_connection_is_opened_again(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    assert_ok_err(err, run(&bench, &err));
    script_as_super(&bench, cut_others);
    assert_ok_err(err, run(&bench, &err));
    assert_true(sql_is_usable(bench.worker->conn));
    bench_deinit(&bench);
}

static void test_a_database_that_is_away_is_said_and_comes_back(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    sql_close(bench.place->conn);
    bench.place->conn = NULL;
    const char *name = strstr(bench.place->super_url, "/t_");
    char text[128];
    (void)snprintf(text, sizeof(text), "ALTER DATABASE %.18s ALLOW_CONNECTIONS false", name + 1);
    /* From another database: this one is about to take no more connections. */
    struct sql_conn *other = NULL;
    const struct store_options options = { .url = getenv("BELAY_TEST_POSTGRES") };
    assert_ok_err(err, store_connect(&options, &other, &err));
    script_as_super(&bench, cut_others);
    assert_ok_err(err, sql_exec_script(other, text, &err));
    assert_code(ERR_UNAVAILABLE, run(&bench, &err));
    assert_string_equal(err.text, "the database is away; nothing was changed, try again");
    assert_code(ERR_UNAVAILABLE, run(&bench, &err));
    (void)snprintf(text, sizeof(text), "ALTER DATABASE %.18s ALLOW_CONNECTIONS true", name + 1);
    assert_ok_err(err, sql_exec_script(other, text, &err));
    sql_close(other);
    /* Nobody tries again before the pause between two tries is over. */
    atomic_store(&bench.service.database_retry_at, INT64_MAX);
    assert_code(ERR_UNAVAILABLE, run(&bench, &err));
    atomic_store(&bench.service.database_retry_at, 0);
    assert_ok_err(err, run(&bench, &err));
    assert_false(atomic_load(&bench.service.database_away));
    bench_deinit(&bench);
}

static enum err_code read_and_note(struct work *work, void *context, struct err_info *err)
{
    struct bench *bench = context;
    struct str_view value;
    bench->runs++;
    work_wake(work, HUB_SESSION, 7);
    return store_meta_get(work->conn, "fact", work->arena, &value, err);
}

static enum err_code write_in_read(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    return store_meta_put(work->conn, "fact", STR("no"), err);
}

static enum err_code do_read(struct bench *bench, work_fn fn, struct err_info *err)
{
    return work_read(bench->worker, bench->place->arena, WORKSPACE_DEFAULT, fn, bench, err);
}

static void test_reads_change_nothing(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    assert_ok_err(err, run(&bench, &err));
    bench.runs = 0;
    assert_ok_err(err, do_read(&bench, read_and_note, &err));
    assert_int_equal(bench.runs, 1);
    assert_code(ERR_DENIED, do_read(&bench, write_in_read, &err));
    assert_ok_err(err, do_read(&bench, read_and_note, &err)); /* and the connection is well */
    bench_deinit(&bench);
}

/* Wakes that may come a moment after their commit. */

enum {
    RUSH = 40,
    LAST_KEY = 99
};

#define HEAR_US (10 * US_PER_SECOND)

static enum err_code wake_watches(struct work *work, void *context, struct err_info *err)
{
    const struct bench *bench = context;
    work_wake(work, HUB_AUDIT, WORKSPACE_DEFAULT);
    work_wake(work, HUB_SESSION, 7);
    return bench->fail_code == ERR_OK ? ERR_OK : ERR_SET(err, bench->fail_code, "as asked");
}

struct heard {
    int audits;
    int sessions;
    bool has_last; /* HUB_AGENTS of LAST_KEY */
};

/* One more notification, which must come. */
static void hear_one(struct sql_conn *ear, struct heard *heard)
{
    struct err_info err = ERR_INFO_INIT;
    enum hub_topic topic = HUB_TOPIC_COUNT;
    int64_t key = 0;
    char channel[16];
    char payload[48];
    assert_ok_err(
        err,
        sql_wait_notification(
            ear, HEAR_US, channel, sizeof(channel), payload, sizeof(payload), &err));
    assert_ok(hub_parse(str_of(payload), &topic, &key));
    heard->audits += topic == HUB_AUDIT ? 1 : 0;
    heard->sessions += topic == HUB_SESSION ? 1 : 0;
    heard->has_last = heard->has_last || (topic == HUB_AGENTS && key == LAST_KEY);
}

static struct sql_conn *open_ear(const struct bench *bench)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *ear = NULL;
    assert_ok_err(err, store_connect(&bench->service.store, &ear, &err));
    assert_ok_err(err, sql_listen(ear, WORK_CHANNEL, &err));
    return ear;
}

static enum err_code wake(struct bench *bench, struct err_info *err)
{
    return work_run(
        bench->worker, bench->place->arena, SQL_ALL_WORKSPACES, wake_watches, bench, err);
}

/* One for many commits; and what must not be lost still comes with each of them. */
static void test_wakes_of_watches_are_said_together(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    struct sql_conn *ear = open_ear(&bench);
    assert_ok_err(
        err,
        notifier_start(&bench.service.store, bench.service.hub, &bench.service.notifier, &err));
    bench.fail_code = ERR_INVALID; /* says nothing: it was not committed */
    assert_code(ERR_INVALID, wake(&bench, &err));
    bench.fail_code = ERR_OK;
    for (int i = 0; i < RUSH; i++) {
        assert_ok_err(err, wake(&bench, &err));
    }
    notifier_tell(bench.service.notifier, HUB_AGENTS, LAST_KEY);
    notifier_stop(bench.service.notifier); /* says the rest */
    struct heard heard = { .has_last = false };
    while (!heard.has_last || heard.sessions < RUSH || heard.audits == 0) {
        hear_one(ear, &heard);
    }
    assert_int_equal(heard.sessions, RUSH);
    assert_in_range(heard.audits, 1, RUSH);
    assert_int_equal(bench.heard, RUSH); /* here at once */
    sql_close(ear);
    bench_deinit(&bench);
}

/* What could not be said is said once the database is back. */
static void test_wakes_of_watches_outlive_their_connection(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    struct heard heard = { .has_last = false };
    bench_init(&bench, state);
    struct sql_conn *ear = open_ear(&bench);
    assert_ok_err(
        err,
        notifier_start(&bench.service.store, bench.service.hub, &bench.service.notifier, &err));
    notifier_tell(bench.service.notifier, HUB_AUDIT, WORKSPACE_DEFAULT);
    hear_one(ear, &heard);
    assert_int_equal(heard.audits, 1);
    script_as_super(&bench, cut_others);
    sql_close(ear);
    ear = open_ear(&bench);
    notifier_tell(bench.service.notifier, HUB_AGENTS, LAST_KEY);
    while (!heard.has_last) {
        hear_one(ear, &heard);
    }
    notifier_stop(bench.service.notifier);
    sql_close(ear);
    bench_deinit(&bench);
}

/* The server's identity. */

static void test_the_server_id_is_made_once(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    char first[64];
    char second[64];
    bench_init(&bench, state);
    struct sql_conn *conn = bench.worker->conn;
    assert_ok_err(err, identity_load_server_id(conn, PLACE_NOW, first, sizeof(first), &err));
    assert_ok_err(err, identity_load_server_id(conn, PLACE_NOW, second, sizeof(second), &err));
    assert_string_equal(first, second);
    assert_int_equal(strncmp(first, "srv_", 4), 0);
    bench_deinit(&bench);
}

static void test_the_command_key_is_kept_and_guarded(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    struct key_sign *first = NULL;
    struct key_sign *second = NULL;
    struct stat stat_of;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/command.key", dir);
    assert_ok_err(err, identity_load_command_key(dir, &first, &err));
    assert_int_equal(stat(path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
    assert_ok_err(err, identity_load_command_key(dir, &second, &err));
    assert_memory_equal(key_sign_public(first), key_sign_public(second), KEY_PUBLIC_BYTES);
    key_sign_destroy(second);
    second = NULL;
    assert_int_equal(chmod(path, 0644), 0);
    assert_code(ERR_DENIED, identity_load_command_key(dir, &second, &err));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 31), 0);
    assert_code(ERR_CORRUPT, identity_load_command_key(dir, &second, &err));
    assert_non_null(strstr(err.text, "restore it from a backup"));
    assert_null(second);
    key_sign_destroy(first);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_wakes_go_out_after_the_commit),
        PLACE_BOTH(test_no_wake_is_lost_however_many_there_are),
        PLACE_BOTH(test_events_are_the_last_rows),
        PLACE_BOTH(test_a_lost_race_is_tried_again),
        PLACE_BOTH(test_a_failure_leaves_nothing_behind),
        PLACE_BOTH(test_reads_change_nothing),
        PLACE_BOTH(test_the_server_id_is_made_once),
        PLACE_POSTGRES(test_wakes_of_watches_are_said_together),
        PLACE_POSTGRES(test_wakes_of_watches_outlive_their_connection),
        PLACE_POSTGRES(test_a_lost_connection_is_opened_again),
        PLACE_POSTGRES(test_a_database_that_is_away_is_said_and_comes_back),
        cmocka_unit_test(test_the_command_key_is_kept_and_guarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
