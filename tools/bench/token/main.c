/*
 * G14: what it costs to check a credential. From memory: hash, look-up, expiry. From the store: the
 * same beside its floor, a hash, the time, and one bare look-up of all that a principal is made of,
 * prepared, on a connection of its own, each column read as what it is.
 */
#include "cmd/server/auth/credentials.h"
#include "cmd/server/core/work.h"
#include "common/base/cleanup.h"
#include "common/crypto/hash.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"
#include "tools/bench/seed/seed.h"
#include "tools/bench/token/raw.h"

#include <sched.h>
#include <stdio.h>

enum {
    CACHED_CHECKS = 200000,
    STORE_CHECKS = 5000,
    SMOKE_CHECKS = 20,
    WARM_CHECKS = 200
};

struct setting {
    struct bench *bench;
    struct seed *seed;
    struct worker *worker;
    struct raw *raw;
    struct seed_agent agent;
    struct secret *key;
    struct str_view token; /* the one that is checked now */
    bool is_session;
};

static int checks_of(const struct setting *setting, int count)
{
    return bench_is_smoke(setting->bench) ? SMOKE_CHECKS : count;
}

static double elapsed_us(struct mono_us since)
{
    return (double)(clock_mono(clock_system()).value - since.value);
}

/* Microseconds of one check from memory. */
static enum err_code check_cached(
    const struct setting *setting, double *ret_us, struct err_info *err)
{
    struct principal principal;
    struct credentials *credentials = setting->seed->service.credentials;
    int count = checks_of(setting, CACHED_CHECKS);
    TRY(credentials_load(
        &setting->seed->service, setting->worker, setting->token, &principal, err));
    struct mono_us began = clock_mono(clock_system());
    for (int i = 0; i < count; i++) {
        uint8_t hash[HASH_SHA256_BYTES];
        token_hash(setting->token, hash);
        if (!credentials_find(credentials, hash, &principal)) {
            return ERR_SET(err, ERR_INTERNAL, "a check that was cached is not any more");
        }
    }
    *ret_us = elapsed_us(began) / count;
    return ERR_OK;
}

static enum err_code check_stored(void *context, double *ret_us, struct err_info *err)
{
    const struct setting *setting = context;
    struct principal principal;
    int count = checks_of(setting, STORE_CHECKS);
    struct mono_us began = clock_mono(clock_system());
    for (int i = 0; i < count; i++) {
        TRY(credentials_load(
            &setting->seed->service, setting->worker, setting->token, &principal, err));
    }
    *ret_us = elapsed_us(began) / count;
    return ERR_OK;
}

static enum err_code check_raw(void *context, double *ret_us, struct err_info *err)
{
    const struct setting *setting = context;
    int count = checks_of(setting, STORE_CHECKS);
    struct mono_us began = clock_mono(clock_system());
    for (int i = 0; i < count; i++) {
        uint8_t hash[HASH_SHA256_BYTES];
        token_hash(setting->token, hash);
        int64_t now = clock_wall(clock_system()).value;
        if (!raw_find(setting->raw, setting->is_session, hash, now)) {
            return ERR_SET(err, ERR_INTERNAL, "the bare look-up finds nothing");
        }
    }
    *ret_us = elapsed_us(began) / count;
    return ERR_OK;
}

static const struct sql_statement BACKEND = { "bench_backend", "SELECT pg_backend_pid()", NULL };

static enum err_code read_backend(struct work *work, void *context, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(work->conn, &BACKEND, SQL_NO_ARGS, &rows, err));
    TRY(sql_rows_next(rows, err));
    *(int64_t *)context = sql_int(rows, 0);
    return ERR_OK;
}

/* A look-up at PostgreSQL is two processes that wait for each other: where the scheduler puts them
 * makes more of a difference than all they do. So this one and both servers stay on one core. */
static enum err_code keep_together(const struct setting *setting, struct err_info *err)
{
    int64_t ours = 0;
    pid_t floor = raw_backend(setting->raw);
    if (setting->seed->service.engine != SQL_POSTGRES) {
        return ERR_OK;
    }
    TRY(work_lookup(setting->worker, NULL, SQL_ALL_WORKSPACES, read_backend, &ours, err));
    int core = sched_getcpu();
    bool is_kept = floor != 0 && process_keep_on_core(floor, "postgres", core)
        && process_keep_on_core((pid_t)ours, "postgres", core)
        && process_keep_on_core(0, NULL, core);
    if (!is_kept) {
        (void)fprintf(
            stderr,
            "token: not on one core (needs root and a PostgreSQL of this machine): "
            "ratios vary with what the scheduler does\n");
    }
    return ERR_OK;
}

static enum err_code measure_one(struct setting *setting, struct err_info *err)
{
    const char *name = setting->is_session ? "session" : "API key";
    const char *store = setting->seed->service.engine == SQL_POSTGRES ? "PostgreSQL" : "SQLite";
    AUTO_FREE char *cached = mem_printf("%s, from memory", name);
    AUTO_FREE char *stored = mem_printf("%s, from %s", name, store);
    double us = 0;
    TRY(check_cached(setting, &us, err)); /* warm */
    TRY(check_cached(setting, &us, err));
    bench_value(setting->bench, cached, "us", us, 1.0);
    const struct bench_pair pair = {
        .id = "G14",
        .metric = stored,
        .unit = "us",
        .sense = BENCH_AT_MOST,
        .goal = 1.15,
        .ours = check_stored,
        .floor = check_raw,
        .context = setting,
    };
    return bench_compare(setting->bench, &pair, err);
}

static enum err_code measure(struct setting *setting, struct err_info *err)
{
    void *worker = NULL;
    TRY(seed_open("token", bench_text(setting->bench, "postgres"), &setting->seed, err));
    TRY(seed_agent_add(setting->seed, "agent", &setting->agent, err));
    TRY(seed_key_add(setting->seed, "key_bench", &setting->key, err));
    TRY(worker_open(&setting->seed->service, &worker, err));
    setting->worker = worker;
    TRY(raw_open(setting->seed->url, &setting->raw, err));
    TRY(keep_together(setting, err));
    setting->token = secret_peek(setting->agent.token);
    setting->is_session = true;
    TRY(measure_one(setting, err));
    setting->token = secret_peek(setting->key);
    setting->is_session = false;
    return measure_one(setting, err);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "postgres", "", "URL of a PostgreSQL to make a database in; without: SQLite" },
        { NULL, NULL, NULL },
    };
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("token", options, argc, argv) };
    enum err_code code = measure(&setting, &err);
    raw_close(setting.raw);
    if (setting.worker != NULL) {
        worker_close(&setting.seed->service, setting.worker);
    }
    secret_destroy(setting.agent.token);
    secret_destroy(setting.key);
    seed_close(setting.seed);
    return bench_finish(setting.bench, code, &err);
}
