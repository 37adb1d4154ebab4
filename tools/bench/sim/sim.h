/* belay-sim: a fleet of simulated agents against a real server; see docs/load-testing.md. */
#ifndef BENCH_SIM_SIM_H
#define BENCH_SIM_SIM_H

int sim_main(int argc, char **argv);

#endif
