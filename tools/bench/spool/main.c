/*
 * G21: records made durable per second. Ours is spool_append: number, checksum, totals, bounds, one
 * fsynced transaction per batch. The floor is the same rows put into the same tables by prepared
 * statements in as many transactions, with SQLite's own defaults apart from WAL and full sync.
 */
#include "cmd/agent/spool/spool.h"
#include "common/base/cleanup.h"
#include "common/crypto/secret.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"
#include "tools/bench/spool/raw.h"

#include <stdio.h>

enum {
    PAYLOAD_BYTES = 1024, /* a round of samples of a host, compressed */
    BATCH_MAX = 512
};

struct setting {
    struct bench *bench;
    char *folder;
    unsigned batch;   /* records per transaction */
    unsigned batches; /* per round */
    unsigned files;   /* made so far: every measurement begins with an empty one */
    char payload[PAYLOAD_BYTES];
};

static char *next_path(struct setting *setting)
{
    return mem_printf("%s/%u.db", setting->folder, setting->files++);
}

static double rate_of(const struct setting *setting, struct mono_us since)
{
    int64_t took_us = clock_mono(clock_system()).value - since.value;
    return (double)setting->batch * setting->batches * US_PER_SECOND
        / (double)(took_us == 0 ? 1 : took_us);
}

static enum err_code append_all(
    const struct setting *setting, struct spool *spool, double *ret_rate, struct err_info *err)
{
    AUTO_FREE struct spool_input *inputs = mem_alloc_array(setting->batch, sizeof(*inputs));
    for (unsigned i = 0; i < setting->batch; i++) {
        inputs[i] = (struct spool_input){ .stream = SPOOL_TELEMETRY,
                                          .captured_at = clock_wall(clock_system()),
                                          .format = 1,
                                          .payload = str_from(setting->payload, PAYLOAD_BYTES) };
    }
    struct mono_us began = clock_mono(clock_system());
    for (unsigned i = 0; i < setting->batches; i++) {
        TRY(spool_append(spool, inputs, setting->batch, err));
    }
    *ret_rate = rate_of(setting, began);
    return ERR_OK;
}

static enum err_code run_ours(void *context, double *ret_rate, struct err_info *err)
{
    struct setting *setting = context;
    AUTO_FREE char *path = next_path(setting);
    struct spool_options options = { .path = path,
                                     .clock = clock_system(),
                                     .max_bytes = INT64_C(1) << 40,
                                     .max_age_us = US_PER_DAY };
    struct spool *spool = NULL;
    TRY(spool_open(&options, &spool, err));
    enum err_code code = append_all(setting, spool, ret_rate, err);
    spool_close(spool);
    return code;
}

static enum err_code run_floor(void *context, double *ret_rate, struct err_info *err)
{
    struct setting *setting = context;
    AUTO_FREE char *path = next_path(setting);
    struct raw *raw = NULL;
    TRY(raw_open(path, &raw, err));
    enum err_code code = ERR_OK;
    struct mono_us began = clock_mono(clock_system());
    for (unsigned i = 0; i < setting->batches && code == ERR_OK; i++) {
        code = raw_append(raw, setting->payload, PAYLOAD_BYTES, setting->batch, err);
    }
    *ret_rate = rate_of(setting, began);
    raw_close(raw);
    return code;
}

static enum err_code measure(struct setting *setting, unsigned batch, struct err_info *err)
{
    bool is_goal = batch == (unsigned)bench_int(setting->bench, "batch");
    AUTO_FREE char *metric =
        mem_printf("spool append, %u record%s per transaction", batch, batch == 1 ? "" : "s");
    const struct bench_pair pair = {
        .id = is_goal ? "G21" : "",
        .metric = metric,
        .unit = "records/s",
        .sense = BENCH_AT_LEAST,
        .goal = is_goal ? 0.7 : 0,
        .ours = run_ours,
        .floor = run_floor,
        .context = setting,
    };
    setting->batch = batch;
    setting->batches = (unsigned)bench_int(setting->bench, "records") / batch;
    if (bench_is_smoke(setting->bench)) {
        setting->batches = 2;
    } else if (setting->batches > (unsigned)bench_int(setting->bench, "transactions")) {
        setting->batches = (unsigned)bench_int(setting->bench, "transactions");
    }
    return bench_compare(setting->bench, &pair, err);
}

static enum err_code run(struct setting *setting, struct err_info *err)
{
    int64_t batch = bench_int(setting->bench, "batch");
    if (batch < 1 || batch > BATCH_MAX || bench_int(setting->bench, "records") < BATCH_MAX
        || bench_int(setting->bench, "transactions") < 1) {
        return ERR_SET(
            err, ERR_INVALID, "--batch 1 to %d, --records from %d on", BATCH_MAX, BATCH_MAX);
    }
    for (unsigned i = 0; i < PAYLOAD_BYTES; i++) {
        setting->payload[i] = (char)(i * 31U + i / 7U);
    }
    TRY(measure(setting, (unsigned)batch, err));
    TRY(measure(setting, 1, err));
    return measure(setting, BATCH_MAX, err);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "batch", "64", "records per transaction of the figure with the goal" },
        { "records", "20000", "records per measurement" },
        { "transactions", "500", "transactions per measurement, at most" },
        { NULL, NULL, NULL },
    };
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("spool", options, argc, argv) };
    setting.folder = process_folder_make("spool");
    enum err_code code = crypto_start(&err); /* as the agent does: it picks the fast hash */
    code = code == ERR_OK ? run(&setting, &err) : code;
    process_folder_remove(setting.folder);
    mem_free(setting.folder);
    return bench_finish(setting.bench, code, &err);
}
