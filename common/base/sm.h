/*
 * State machine kit: states in a table with the successors each allows; an illegal move aborts at
 * the move (it is a programming error: check input with sm_can first). Every move can be traced.
 */
#ifndef COMMON_BASE_SM_H
#define COMMON_BASE_SM_H

#include "common/base/time.h"

struct sm_state {
    const char *name;
    uint32_t successors; /* mask of SM_BIT(state) */
    int64_t timeout_us;  /* how long one may stay; 0: for ever */
};

#define SM_BIT(state) (UINT32_C(1) << (state))

struct sm_type {
    const char *name;
    const struct sm_state *states;
    unsigned state_count;
};

struct sm {
    const struct sm_type *type;
    unsigned state;
    struct mono_us since;
};

void sm_init(struct sm *sm, const struct sm_type *type, unsigned initial, struct mono_us now);
bool sm_can(const struct sm *sm, unsigned next);
void sm_move(struct sm *sm, unsigned next, struct mono_us now);
const char *sm_name(const struct sm *sm);

/* When the state's time is over; INT64_MAX when it has none. */
struct mono_us sm_deadline(const struct sm *sm);

#endif
