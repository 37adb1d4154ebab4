/*
 * Watches the board of a run: says when the load begins, how long the fleet took to come back after
 * a step that cut connections, when everything is over, and what came of it. On the loop's thread
 * of the process that the user started.
 */
#ifndef TOOLS_BENCH_SIM_CONDUCTOR_H
#define TOOLS_BENCH_SIM_CONDUCTOR_H

#include "common/sys/loop.h"
#include "tools/bench/sim/board.h"
#include "tools/bench/sim/plan.h"

struct conductor;

/* Stops the loop when every slot has finished. */
struct conductor *conductor_create(const struct plan *plan, struct board *board, struct loop *loop);
void conductor_destroy(struct conductor *conductor); /* NULL is allowed */

void conductor_stop(struct conductor *conductor); /* ends the load early; twice: at once */

/* Prints the report; true: every agent came online and nothing was lost or stored twice. */
bool conductor_report(struct conductor *conductor);

#endif
