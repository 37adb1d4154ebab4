/*
 * What follows when a main process has ended by itself: nothing, or, where its order says so, a
 * start after a pause. The pause is 1 s, twice as long after each run that ended within ten
 * minutes, 60 s at the most; an ordered start begins with 1 s again. What was decided of a run's
 * end is in the sandbox's note before it is told, so an agent that comes back decides it no second
 * time, and starts when it would have. A disk that takes no note delays the start, and nothing
 * else: whether one follows is seen from the end itself. Loop thread; the functions on struct
 * restart alone are pure.
 *
 *     running -- end --> waiting -- the pause is over --> running (the next generation)
 *        |                  `-- an order to stop (note.stopped) --> stopped
 *        `-- end that nothing follows --> over
 */
#ifndef CMD_AGENT_WORKLOAD_RESTART_H
#define CMD_AGENT_WORKLOAD_RESTART_H

#include "cmd/agent/sandbox/sandbox.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#define RESTART_PAUSE_US      US_PER_SECOND
#define RESTART_PAUSE_MOST_US US_PER_MINUTE
#define RESTART_HEALTHY_US    (10 * US_PER_MINUTE)

enum {
    RESTART_TEXT_BYTES = 128
};

enum restart_state {
    RESTART_RUNNING, /* of this run nothing was decided yet */
    RESTART_WAITING,
    RESTART_OVER
};

/* Part of a note: zero is one that is never started again. */
struct restart {
    uint64_t policy;     /* Agentgateway__V1__SandboxRestart */
    uint64_t count;      /* starts that followed an end, the one that is waited for among them */
    uint64_t quick;      /* runs in a row that ended too soon */
    uint64_t generation; /* the run whose end was decided on; 0: none */
    uint64_t exit_code;  /* of that run */
    uint64_t due_us;     /* wall time of the start that follows; 0: none does */
};

enum restart_state restart_state(const struct restart *restart, uint64_t generation);

/* Decides on the end of a run, which nobody ordered. false: it was decided before. */
bool restart_decide(struct restart *restart, const struct sandbox_info *info, struct wall_us now);

/* How long to wait still, whatever became of the clock: 0 to RESTART_PAUSE_MOST_US. */
int64_t restart_left_us(const struct restart *restart, struct wall_us now);

/* What there is to say of it in this state; "": nothing. */
void restart_describe(
    const struct restart *restart, enum restart_state state, char text[RESTART_TEXT_BYTES]);

struct workload;
struct restarts; /* those that wait */

struct restarts *restarts_create(struct workload *workload, struct loop *loop);
void restarts_destroy(struct restarts *restarts); /* NULL is allowed */
/* It has ended, now or before this agent came: decides what follows, tells it, and sees to it. */
void restarts_ended(struct restarts *restarts, const struct sandbox_info *info);
void restarts_forget(struct restarts *restarts, const char *sandbox_id);

#endif
