/*
 * The check at the end: asks the store, through the operators' service, for the numbers of the
 * records of each agent, and counts what is missing of those acknowledged and what is there twice.
 * Blocks the loop's thread, when nothing else is to be done there.
 */
#ifndef BENCH_SIM_VERIFY_H
#define BENCH_SIM_VERIFY_H

struct fleet;

void verify_fleet(struct fleet *fleet);

#endif
