/* The options of belay-sim, and the load they ask for. Immutable after loading; any thread. */
#ifndef TOOLS_BENCH_SIM_PLAN_H
#define TOOLS_BENCH_SIM_PLAN_H

#include "common/config/config.h"
#include "tools/bench/sim/scenario.h"

enum plan_ack {
    PLAN_ACK_OK,
    PLAN_ACK_FAIL,
    PLAN_ACK_BUSY,
    PLAN_ACK_NONE
};

enum {
    PLAN_TARGETS_MAX = 16,
    PLAN_PROCESSES_MAX = 64
};

struct plan {
    unsigned agents; /* of all processes */
    unsigned processes;
    const char *name;            /* agents are called NAME-RUN-1, ... */
    const char *operator_target; /* "unix:/path" or "host:port" */
    const char *operator_key_file;
    const char *ca_sha256;
    const char *targets[PLAN_TARGETS_MAX]; /* agents are dealt out to them in turn */
    unsigned target_count;                 /* 0: what the join strings name */
    bool plaintext;
    int64_t ramp_us;
    int64_t duration_us; /* 0: until a signal */
    int64_t settle_us;
    int64_t patience_us;
    int64_t heartbeat_us; /* 0: as the server says */
    int64_t telemetry_us; /* 0: none */
    unsigned batch;
    unsigned samples;
    enum plan_ack ack;
    int64_t jitter; /* per mille, as the next two */
    int64_t duplicate;
    int64_t lose_acks;
    struct scenario_step steps[SCENARIO_STEPS_MAX];
    unsigned step_count;
    bool json;
    bool verify;
    char operator_unix[128];
};

extern const struct config_option plan_options[];
extern const size_t plan_option_count;

/* Flags and --config; not the environment, which may be a server's. */
enum err_code plan_load(
    int argc, char *const *argv, struct config **ret_config, struct err_info *err) MUST_CHECK;
enum err_code plan_of(const struct config *config, struct plan *ret_plan, struct err_info *err)
    MUST_CHECK;

void plan_manual(struct buf *buf);

#endif
