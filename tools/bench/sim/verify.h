/*
 * The check at the end: asks the store, through the operators' service, for the numbers of the
 * records of each agent, and counts what is missing of those acknowledged and what is there twice.
 * Blocks the loop's thread, when nothing else is to be done there.
 */
#ifndef TOOLS_BENCH_SIM_VERIFY_H
#define TOOLS_BENCH_SIM_VERIFY_H

struct fleet;

void verify_fleet(struct fleet *fleet);

#endif
