/*
 * G7 and G8: telemetry stored once, beside the same rows inserted directly.
 *
 * Ours is everything that follows the network: decompress and decode each record, the queue, the
 * writer's transaction with epochs, high-water marks, series, newest values and the wakes of
 * watchers, the answer. The floor has rows in memory and inserts them. Both get batches of the same
 * size and commit each durably, as the engines are set (PostgreSQL: fsync; SQLite: WAL, FULL).
 *
 * Then events: how many a second, and on PostgreSQL what one costs the database in processor time.
 */
#include "cmd/server/ingest/ingest.h"
#include "common/base/cleanup.h"
#include "common/sys/lock.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"
#include "tools/bench/ingest/direct.h"
#include "tools/bench/ingest/load.h"

enum {
    RECORDS = 4096, /* of a round */
    SMOKE_RECORDS = 128,
    EVENT_RECORDS = 512, /* of LOAD_RECORD_EVENTS each */
    EVENT_ROUNDS = 5,
    WAITING_MAX = 4096 /* below what the queue takes, so that it is never full */
};

#define ROUND_WAIT_US (120 * US_PER_SECOND)

struct setting {
    struct bench *bench;
    struct seed *seed;
    struct ingest *ingest;
    struct direct *direct;
    struct load load;
    struct lock lock;
    struct lock_cond changed;
    size_t waiting; /* records without an answer */
    size_t failed;
};

static void on_done(void *context, const struct batch_result *result)
{
    struct setting *setting = context;
    LOCK_GUARD(&setting->lock);
    setting->waiting--;
    setting->failed += result->code != ERR_OK;
    if (setting->waiting == 0 || setting->waiting == WAITING_MAX - 1) {
        lock_cond_broadcast(&setting->changed);
    }
}

static bool is_broken(void *context)
{
    (void)context;
    return false;
}

/* Until at most `left` records wait; false: not in time. */
static bool wait_for(struct setting *setting, size_t left)
{
    struct mono_us until = { clock_mono(clock_system()).value + ROUND_WAIT_US };
    LOCK_GUARD(&setting->lock);
    while (setting->waiting > left) {
        if (!lock_cond_wait_until(&setting->changed, &setting->lock, until)) {
            return false;
        }
    }
    return true;
}

static enum err_code submit(
    struct setting *setting, const struct load_record *from, struct err_info *err)
{
    static const struct ingest_source source = { on_done, is_broken };
    struct record *record = NULL;
    const struct service *service = &setting->seed->service;
    TRY(record_create(
        service->schema, &from->source, &from->upload, clock_wall(service->clock), &record, err));
    if (!wait_for(setting, WAITING_MAX - 1)) {
        record_destroy(record);
        return ERR_SET(err, ERR_TIMEOUT, "the writer does not get on");
    }
    lock_acquire(&setting->lock);
    setting->waiting++;
    lock_release(&setting->lock);
    return ingest_submit(setting->ingest, record, &source, setting, NULL);
}

static enum err_code store(
    struct setting *setting,
    const struct load_record *records,
    size_t count,
    double *ret_seconds,
    struct err_info *err)
{
    struct mono_us began = clock_mono(clock_system());
    for (size_t i = 0; i < count; i++) {
        TRY(submit(setting, &records[i], err));
    }
    if (!wait_for(setting, 0)) {
        return ERR_SET(err, ERR_TIMEOUT, "records are not answered");
    }
    *ret_seconds = (double)(clock_mono(clock_system()).value - began.value) / 1e6;
    return setting->failed == 0
        ? ERR_OK
        : ERR_SET(err, ERR_INTERNAL, "%zu records were not stored", setting->failed);
}

static size_t count_of(const struct setting *setting)
{
    return bench_is_smoke(setting->bench) ? SMOKE_RECORDS : RECORDS;
}

static enum err_code rate_ours(void *context, double *ret_rate, struct err_info *err)
{
    struct setting *setting = context;
    size_t count = count_of(setting);
    struct load_record *records = load_records_make(&setting->load, count);
    double seconds = 0;
    enum err_code code = store(setting, records, count, &seconds, err);
    load_records_free(records, count);
    *ret_rate = (double)(count * LOAD_RECORD_ROWS) / seconds;
    return code;
}

static const struct sql_statement BACKENDS = {
    "bench_backends",
    "SELECT CAST(pid AS bigint) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    NULL
};

/* Processor time of those that serve this database, the writer's among them; 0 where they run on
 * another machine. */
static enum err_code backends_cpu_us(struct setting *setting, int64_t *ret_us, struct err_info *err)
{
    struct sql_conn *conn = setting->seed->conn;
    struct sql_rows *rows = NULL;
    *ret_us = 0;
    TRY(sql_begin_read(conn, SQL_ALL_WORKSPACES, err));
    enum err_code code = sql_query(conn, &BACKENDS, SQL_NO_ARGS, &rows, err);
    while (code == ERR_OK && sql_rows_next(rows, err) == ERR_OK) {
        *ret_us += process_cpu_us((pid_t)sql_int(rows, 0));
    }
    sql_rows_close(rows);
    sql_rollback(conn);
    return code;
}

struct event_cost {
    double rates[EVENT_ROUNDS];
    double database_us[EVENT_ROUNDS]; /* each event's */
};

static enum err_code store_events(
    struct setting *setting, size_t round, struct event_cost *cost, struct err_info *err)
{
    bool is_postgres = setting->seed->service.engine == SQL_POSTGRES;
    size_t count = bench_is_smoke(setting->bench) ? LOAD_AGENTS : EVENT_RECORDS;
    double events = (double)(count * LOAD_RECORD_EVENTS);
    struct load_record *records = load_events_make(&setting->load, count);
    int64_t us[2] = { 0, 0 };
    double seconds = 0;
    enum err_code code = is_postgres ? backends_cpu_us(setting, &us[0], err) : ERR_OK;
    if (code == ERR_OK) {
        code = store(setting, records, count, &seconds, err);
    }
    if (code == ERR_OK && is_postgres) {
        code = backends_cpu_us(setting, &us[1], err);
    }
    load_records_free(records, count);
    cost->rates[round] = events / seconds;
    cost->database_us[round] = (double)(us[1] - us[0]) / events;
    return code;
}

static enum err_code measure_events(struct setting *setting, struct err_info *err)
{
    bool is_postgres = setting->seed->service.engine == SQL_POSTGRES;
    size_t rounds = bench_is_smoke(setting->bench) ? 1 : EVENT_ROUNDS;
    const char *metric =
        is_postgres ? "events stored once, PostgreSQL" : "events stored once, SQLite";
    struct event_cost cost;
    for (size_t i = 0; i < rounds; i++) {
        TRY(store_events(setting, i, &cost, err));
    }
    bench_value(setting->bench, metric, "/s", bench_quantile(cost.rates, rounds, 0.5), 0);
    if (is_postgres) {
        double us = bench_quantile(cost.database_us, rounds, 0.5);
        bench_value(setting->bench, "processor time of PostgreSQL for an event", "us", us, 0);
    }
    return ERR_OK;
}

static enum err_code insert_batches(
    struct direct *direct, const struct sample_columns *rows, struct err_info *err)
{
    size_t batch = LOAD_BATCH_RECORDS * LOAD_RECORD_ROWS;
    for (size_t at = 0; at < rows->count; at += batch) {
        const struct sample_columns part = {
            .count = rows->count - at < batch ? rows->count - at : batch,
            .workspace_ids = rows->workspace_ids + at,
            .series_ids = rows->series_ids + at,
            .times_us = rows->times_us + at,
            .values = rows->values + at,
        };
        TRY(direct_insert(direct, &part, err));
    }
    return ERR_OK;
}

static enum err_code rate_direct(void *context, double *ret_rate, struct err_info *err)
{
    struct setting *setting = context;
    struct sample_columns rows = load_columns_make(&setting->load, count_of(setting));
    struct mono_us began = clock_mono(clock_system());
    enum err_code code = insert_batches(setting->direct, &rows, err);
    double seconds = (double)(clock_mono(clock_system()).value - began.value) / 1e6;
    *ret_rate = (double)rows.count / seconds;
    load_columns_free(&rows);
    return code;
}

static enum err_code prepare(struct setting *setting, struct err_info *err)
{
    double rate = 0;
    TRY(seed_open("ingest", bench_text(setting->bench, "postgres"), &setting->seed, err));
    TRY(load_open(&setting->load, setting->seed, err));
    TRY(ingest_start(&setting->seed->service, &setting->ingest, err));
    const char *super = setting->seed->super_url;
    TRY(direct_open(super != NULL ? super : setting->seed->url, &setting->direct, err));
    TRY(rate_ours(setting, &rate, err)); /* makes the series */
    TRY(load_find_series(&setting->load, setting->seed, err));
    return rate_direct(setting, &rate, err);
}

static enum err_code measure(struct setting *setting, struct err_info *err)
{
    TRY(prepare(setting, err));
    bool is_postgres = setting->seed->service.engine == SQL_POSTGRES;
    const char *metric =
        is_postgres ? "telemetry stored once, PostgreSQL" : "telemetry stored once, SQLite";
    const struct bench_pair pair = {
        .id = is_postgres ? "G7" : "G8",
        .metric = metric,
        .unit = "rows/s",
        .sense = BENCH_AT_LEAST,
        .goal = is_postgres ? 0.7 : 0.6,
        .stretch = is_postgres ? 0.85 : 0.8,
        .ours = rate_ours,
        .floor = rate_direct,
        .context = setting,
    };
    TRY(bench_compare(setting->bench, &pair, err));
    return measure_events(setting, err);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "postgres", "", "URL of a PostgreSQL to make a database in; without: SQLite" },
        { NULL, NULL, NULL },
    };
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("ingest", options, argc, argv) };
    lock_init(&setting.lock, LOCK_RANK_LEAF);
    lock_cond_init(&setting.changed);
    enum err_code code = measure(&setting, &err);
    ingest_stop(setting.ingest);
    direct_close(setting.direct);
    load_close(&setting.load);
    seed_close(setting.seed);
    lock_cond_deinit(&setting.changed);
    lock_deinit(&setting.lock);
    return bench_finish(setting.bench, code, &err);
}
