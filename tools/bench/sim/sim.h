/* belay-sim: a fleet of simulated agents against a real server; see docs/load-testing.md. */
#ifndef TOOLS_BENCH_SIM_SIM_H
#define TOOLS_BENCH_SIM_SIM_H

int sim_main(int argc, char **argv);

#endif
