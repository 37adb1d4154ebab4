/*
 * The simulated agents of one process: tokens, ramp, the steps of the scenario, and the end. All on
 * the loop's thread.
 */
#ifndef TOOLS_BENCH_SIM_FLEET_H
#define TOOLS_BENCH_SIM_FLEET_H

#include "common/sys/loop.h"
#include "tools/bench/sim/board.h"
#include "tools/bench/sim/plan.h"

struct fleet;

struct fleet_options {
    const struct plan *plan;
    struct board *board;
    unsigned slot; /* which share of the agents, and where it counts */
    struct loop *loop;
    void (*finished)(void *context); /* the slot's tally is final */
    void *context;
};

enum err_code fleet_create(
    const struct fleet_options *options, struct fleet **ret_fleet, struct err_info *err) MUST_CHECK;
void fleet_destroy(struct fleet *fleet); /* after loop_run has returned; NULL is allowed */
void fleet_start(struct fleet *fleet);

/* How many agents a slot has, and how many of `count` a share is. */
unsigned fleet_share(const struct plan *plan, unsigned slot, unsigned *ret_first);
unsigned fleet_part(unsigned count, int64_t permille);

#endif
