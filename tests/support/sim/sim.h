/*
 * A world with a time and a chance of its own: what happens next is taken from a queue of events,
 * time passes only between them, and every draw comes from one seed, so that a run can be repeated
 * to the last step. One thread. There is one world at a time, since the system calls it stands in
 * for (getrandom) have no argument to find it by.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_H
#define TESTS_SUPPORT_SIM_SIM_H

#include "common/base/time.h"

struct sim;

typedef void (*sim_fn)(void *context);

struct sim *sim_create(uint64_t seed);
void sim_destroy(struct sim *sim); /* events that have not run never do */

struct mono_us sim_now(const struct sim *sim);

/* Runs fn(context) after delay_us, among equals in the order of asking; the id is never 0. */
uint64_t sim_after(struct sim *sim, int64_t delay_us, sim_fn fn, void *context);
void sim_cancel(struct sim *sim, uint64_t id); /* 0, or one that has run: nothing happens */

/* When the next event is due; INT64_MAX: never. */
struct mono_us sim_next(const struct sim *sim);

/* Passes time to `until`, or to the next event if that is due before, and runs it (one). */
void sim_step(struct sim *sim, struct mono_us until);

/* Chance. */
uint64_t sim_below(struct sim *sim, uint64_t bound);               /* uniform in [0, bound) */
int64_t sim_between(struct sim *sim, int64_t least, int64_t most); /* both included */
bool sim_chance(struct sim *sim, unsigned per_mille);

/*
 * Handlers run in one step here, where threads would come between their transactions. fn(context)
 * runs whenever a program makes a secret (keys, tokens), which is such a moment: it may do, or not,
 * what another thread could have done then. It is not asked while it runs.
 */
void sim_set_meanwhile(struct sim *sim, sim_fn fn, void *context);

/* A machine's clocks: the monotonic one is the world's, the wall clock may be off. */
struct sim_clock {
    struct clock clock; /* first, so that &sim_clock.clock leads back */
    const struct sim *sim;
    int64_t wall_off_us;
};

void sim_clock_init(struct sim_clock *clock, const struct sim *sim);

/*
 * The trail: what has happened, as a number that two runs of one seed share. With printing on each
 * step is a line on standard output.
 */
void sim_note(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_trail(const struct sim *sim);
void sim_print(struct sim *sim, bool on);

#endif
