/*
 * G3, memory per connected agent, and G5, what an idle agent costs: a real belay-server with agents
 * that hold a control stream and send heartbeats, beside a server of the bare gRPC library that
 * holds a stream for each connection and gets a message of the same size, by the same connections.
 *
 * Memory is a slope: the resident size with a fifth of the agents and with all of them, so that
 * what the server needs by itself is not counted. Each measurement has a fresh server.
 */
#include "common/base/cleanup.h"
#include "tools/bench/bare/hold.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/stage/stage.h"

#include <string.h>

enum {
    AT_ONCE = 64,
    SMOKE_AGENTS = 40,
    KB = 1000
};

#define CONNECT_US   (2 * US_PER_MINUTE)
#define HEARTBEAT_US (10 * US_PER_SECOND) /* what the server asks for */

struct setting {
    struct bench *bench;
    struct stage *stage;
    unsigned agents;
    int64_t beat_us; /* how long heartbeats are measured */
    int64_t settle_us;
    bool is_tls;
};

/* The server that is measured, and how its connections speak to it. */
struct subject {
    struct setting *setting;
    bool is_floor;
    struct process floor;
    struct raw_plan plans[2]; /* the first fifth, the rest */
    struct raw_fleet *fleets[2];
    pid_t pid;
};

static enum err_code start_subject(struct subject *subject, struct err_info *err)
{
    const struct setting *setting = subject->setting;
    struct stage *stage = setting->stage;
    unsigned fifth = setting->agents / 5;
    uint16_t port = 0;
    if (subject->is_floor) {
        TRY(stage_start_floor(stage, HOLD_WORD, setting->is_tls, &subject->floor, &port, err));
        subject->pid = subject->floor.pid;
    } else {
        TRY(stage_start(stage, 1, err));
        subject->pid = stage->servers[0].process.pid;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct raw_plan *plan = &subject->plans[i];
        stage_plan(stage, setting->is_tls, i == 0 ? 0 : fifth, plan);
        plan->count = i == 0 ? fifth : setting->agents - fifth;
        plan->at_once = AT_ONCE;
        if (subject->is_floor) {
            plan->ports[0] = port;
            plan->port_count = 1;
        }
        TRY(raw_open(plan, &subject->fleets[i], err));
    }
    return ERR_OK;
}

static void end_subject(struct subject *subject)
{
    raw_close(subject->fleets[0]);
    raw_close(subject->fleets[1]);
    process_stop(&subject->floor);
    stage_stop(subject->setting->stage);
}

static enum err_code beat(
    struct subject *subject,
    unsigned fleet,
    int64_t every_us,
    int64_t for_us,
    uint64_t *ret_count,
    struct err_info *err)
{
    const struct raw_beat beat = {
        .path = subject->is_floor ? NULL : STAGE_HEARTBEAT,
        .message = buf_view(&subject->setting->stage->beat),
        .every_us = every_us,
    };
    return raw_beat(subject->fleets[fleet], &beat, for_us, ret_count, err);
}

/* Connects one part, has each of it beat once or twice, and tells the server's size then. */
static enum err_code grow(
    struct subject *subject, unsigned fleet, int64_t *ret_bytes, struct err_info *err)
{
    int64_t settle_us = subject->setting->settle_us;
    int64_t connect_us = 0;
    uint64_t count = 0;
    TRY(raw_connect(subject->fleets[fleet], CONNECT_US, &connect_us, err));
    TRY(beat(subject, fleet, settle_us / 2, settle_us, &count, err));
    *ret_bytes = process_memory_bytes(subject->pid, "Rss");
    return ERR_OK;
}

static enum err_code measure_memory(struct subject *subject, double *ret_kb, struct err_info *err)
{
    int64_t sizes[2] = { 0, 0 };
    TRY(start_subject(subject, err));
    for (unsigned i = 0; i < 2; i++) {
        TRY(grow(subject, i, &sizes[i], err));
    }
    *ret_kb = (double)(sizes[1] - sizes[0]) / KB / subject->plans[1].count;
    return ERR_OK;
}

static enum err_code measure_cost(struct subject *subject, double *ret_us, struct err_info *err)
{
    const struct setting *setting = subject->setting;
    int64_t connect_us = 0;
    uint64_t count = 0;
    TRY(start_subject(subject, err));
    TRY(raw_connect(subject->fleets[1], CONNECT_US, &connect_us, err));
    TRY(beat(subject, 1, setting->settle_us, setting->settle_us, &count, err));
    int64_t cpu_us = process_cpu_us(subject->pid);
    TRY(beat(subject, 1, HEARTBEAT_US, setting->beat_us, &count, err));
    cpu_us = process_cpu_us(subject->pid) - cpu_us;
    *ret_us = count == 0 ? 0 : (double)cpu_us / (double)count;
    return ERR_OK;
}

static enum err_code run(
    void *context,
    bool is_floor,
    enum err_code (*measure)(struct subject *subject, double *ret_value, struct err_info *err),
    double *ret_value,
    struct err_info *err)
{
    struct subject subject = { .setting = context, .is_floor = is_floor, .floor = PROCESS_INIT };
    enum err_code code = measure(&subject, ret_value, err);
    end_subject(&subject);
    return code;
}

static enum err_code memory_ours(void *context, double *ret_value, struct err_info *err)
{
    return run(context, false, measure_memory, ret_value, err);
}

static enum err_code memory_floor(void *context, double *ret_value, struct err_info *err)
{
    return run(context, true, measure_memory, ret_value, err);
}

static enum err_code cost_ours(void *context, double *ret_value, struct err_info *err)
{
    return run(context, false, measure_cost, ret_value, err);
}

static enum err_code cost_floor(void *context, double *ret_value, struct err_info *err)
{
    return run(context, true, measure_cost, ret_value, err);
}

/* Goals are kilobytes in the list of goals; as ratios: 36 (29) beside 29, 56 (46) beside 94. */
static enum err_code measure(struct setting *setting, struct err_info *err)
{
    struct bench_pair pair = {
        .id = "G3",
        .metric = "memory per connected agent, plaintext",
        .unit = "kB",
        .sense = BENCH_AT_MOST,
        .goal = 1.24,
        .stretch = 1.0,
        .ours = memory_ours,
        .floor = memory_floor,
        .context = setting,
    };
    TRY(bench_compare(setting->bench, &pair, err));
    setting->is_tls = true;
    pair.metric = "memory per connected agent, TLS";
    pair.goal = 0.6;
    pair.stretch = 0.49;
    TRY(bench_compare(setting->bench, &pair, err));
    pair = (struct bench_pair){
        .id = "G5",
        .metric = "CPU of an idle agent per heartbeat of 10 s, TLS; floor: a one-way message",
        .unit = "us",
        .sense = BENCH_AT_MOST,
        .goal = 3.0,
        .ours = cost_ours,
        .floor = cost_floor,
        .context = setting,
    };
    return bench_compare(setting->bench, &pair, err);
}

static enum err_code open_stage(struct setting *setting, struct err_info *err)
{
    bool is_tiny = bench_is_smoke(setting->bench);
    setting->agents = is_tiny ? SMOKE_AGENTS : (unsigned)bench_int(setting->bench, "agents");
    setting->beat_us =
        is_tiny ? US_PER_SECOND : bench_int(setting->bench, "seconds") * US_PER_SECOND;
    setting->settle_us = is_tiny ? US_PER_SECOND / 10 : 4 * US_PER_SECOND;
    const char *postgres = bench_text(setting->bench, "postgres");
    TRY(stage_open("agents", postgres, setting->agents, &setting->stage, err));
    /* the first start makes the certificate that the floor shows too */
    TRY(stage_start(setting->stage, 1, err));
    stage_stop(setting->stage);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "agents", "2000", "connections; a server may have about 6600 with 20000 descriptors" },
        { "seconds", "30", "how long heartbeats are measured" },
        { "postgres", "", "URL of a PostgreSQL, as a superuser; else SQLite" },
        { NULL, NULL, NULL },
    };

    if (argc == 4 && strcmp(argv[1], HOLD_WORD) == 0) {
        return hold_main(argv + 2);
    }
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("agents", options, argc, argv) };
    enum err_code code = open_stage(&setting, &err);
    if (code == ERR_OK) {
        code = measure(&setting, &err);
    }
    stage_close(setting.stage);
    return bench_finish(setting.bench, code, &err);
}
