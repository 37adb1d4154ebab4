/*
 * G9, the reconnect storm: every agent of a fleet dials at once with the token of the session it
 * has, over TLS, and is live when its control stream is accepted; beside the same connections that
 * only do the handshake, with a program that does nothing else.
 *
 * A server holds three descriptors for an agent: more than one of them share a PostgreSQL where
 * the limit of descriptors asks for it (--servers).
 */
#include "common/base/cleanup.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/stage/stage.h"
#include "tools/bench/storm/acceptor.h"

#include <string.h>

enum {
    SMOKE_AGENTS = 40
};

#define STORM_US (3 * US_PER_MINUTE)

struct setting {
    struct bench *bench;
    struct stage *stage;
    unsigned agents;
    unsigned servers;
    unsigned at_once;
};

/* Seconds until all are live. Any connection that is refused or lost fails the run. */
static enum err_code storm(const struct raw_plan *plan, double *ret_s, struct err_info *err)
{
    struct raw_fleet *fleet = NULL;
    int64_t us = 0;
    TRY(raw_open(plan, &fleet, err));
    enum err_code code = raw_connect(fleet, STORM_US, &us, err);
    if (code == ERR_OK) {
        code = raw_idle(fleet, US_PER_SECOND / 2, err);
    }
    raw_close(fleet);
    *ret_s = (double)us / US_PER_SECOND;
    return code;
}

static enum err_code storm_ours(void *context, double *ret_s, struct err_info *err)
{
    const struct setting *setting = context;
    struct raw_plan plan = { .count = setting->agents, .at_once = setting->at_once };
    enum err_code code = stage_start(setting->stage, setting->servers, err);
    if (code == ERR_OK) {
        stage_plan(setting->stage, true, 0, &plan);
        code = storm(&plan, ret_s, err);
    }
    stage_stop(setting->stage);
    return code;
}

static enum err_code storm_floor(void *context, double *ret_s, struct err_info *err)
{
    const struct setting *setting = context;
    struct raw_plan plan = {
        .count = setting->agents, .at_once = setting->at_once, .is_tls = true, .port_count = 1
    };
    AUTO_PROCESS struct process acceptor = PROCESS_INIT;
    TRY(stage_start_floor(setting->stage, ACCEPTOR_WORD, true, &acceptor, &plan.ports[0], err));
    return storm(&plan, ret_s, err);
}

static enum err_code measure(struct setting *setting, struct err_info *err)
{
    bool is_tiny = bench_is_smoke(setting->bench);
    setting->agents = is_tiny ? SMOKE_AGENTS : (unsigned)bench_int(setting->bench, "agents");
    setting->servers = (unsigned)bench_int(setting->bench, "servers");
    setting->at_once = (unsigned)bench_int(setting->bench, "at-once");
    const char *postgres = bench_text(setting->bench, "postgres");
    TRY(stage_open("storm", postgres, setting->agents, &setting->stage, err));
    TRY(stage_start(setting->stage, 1, err)); /* makes the certificate for the floor too */
    stage_stop(setting->stage);
    const struct bench_pair pair = {
        .id = "G9",
        .metric = "reconnect storm, TLS and session token; floor: TLS handshakes alone",
        .unit = "s",
        .sense = BENCH_AT_MOST,
        .goal = 3.0,
        .stretch = 2.0,
        .ours = storm_ours,
        .floor = storm_floor,
        .context = setting,
    };
    return bench_compare(setting->bench, &pair, err);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "agents", "5000", "connections" },
        { "servers", "1", "servers that share them; more than one with --postgres" },
        { "at-once", "1000", "connections that are on their way at a time" },
        { "postgres", "", "URL of a PostgreSQL, as a superuser; else SQLite" },
        { NULL, NULL, NULL },
    };

    if (argc == 4 && strcmp(argv[1], ACCEPTOR_WORD) == 0) {
        return acceptor_main(argv + 2);
    }
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("storm", options, argc, argv) };
    enum err_code code = measure(&setting, &err);
    stage_close(setting.stage);
    return bench_finish(setting.bench, code, &err);
}
