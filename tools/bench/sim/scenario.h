/*
 * Steps of a scripted load: "30s=drop:50%". Times count from the moment the whole fleet was online
 * for the first time. Pure; any thread.
 *
 *     drop:P%        cuts the connections of P % of the agents; they come back as real agents do
 *     storm:P%       the same, but they dial again at once
 *     slow:P%        P % of the agents stop reading their control streams; slow:0% ends that
 *     command:P%     gives P % of the agents a command through the operators' service
 *     telemetry:T    every agent makes records each T from then on; 0s: none
 *     heartbeat:T    agents send a heartbeat each T, whatever the server says
 *     jitter:P%      heartbeats and records of each agent come up to P % earlier or later
 *     duplicate:P%   from then on P % of acknowledged uploads are sent once more
 *     lose-acks:P%   from then on the answers to P % of uploads and commands are thrown away
 */
#ifndef TOOLS_BENCH_SIM_SCENARIO_H
#define TOOLS_BENCH_SIM_SCENARIO_H

#include "common/base/time.h"

enum scenario_action {
    SCENARIO_DROP,
    SCENARIO_STORM,
    SCENARIO_SLOW,
    SCENARIO_COMMAND,
    SCENARIO_TELEMETRY,
    SCENARIO_HEARTBEAT,
    SCENARIO_JITTER,
    SCENARIO_DUPLICATE,
    SCENARIO_LOSE_ACKS,
    SCENARIO_ACTION_COUNT
};

struct scenario_step {
    int64_t at_us;
    enum scenario_action action;
    int64_t value; /* per mille of a share, microseconds of a time */
};

enum {
    SCENARIO_STEPS_MAX = 64,
    SCENARIO_WHOLE = 1000 /* per mille */
};

enum err_code scenario_parse(
    struct str_view text, struct scenario_step *ret_step, struct err_info *err) MUST_CHECK;

/* "12%" or "0.5%" to per mille. */
enum err_code scenario_parse_share(struct str_view text, int64_t *ret_permille) MUST_CHECK;

/* interval_us, up to that share shorter or longer; random says how much. */
int64_t scenario_vary(int64_t interval_us, int64_t permille, uint64_t random);

const char *scenario_action_name(enum scenario_action action);

/* Agents that reconnect because of this step are waited for. */
bool scenario_cuts(enum scenario_action action);

#endif
