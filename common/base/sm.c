#include "common/base/sm.h"

#include "common/base/log.h"

#include <stdlib.h>

void sm_init(struct sm *sm, const struct sm_type *type, unsigned initial, struct mono_us now)
{
    sm->type = type;
    sm->state = initial;
    sm->since = now;
}

bool sm_can(const struct sm *sm, unsigned next)
{
    return next < sm->type->state_count
        && (sm->type->states[sm->state].successors & SM_BIT(next)) != 0;
}

void sm_move(struct sm *sm, unsigned next, struct mono_us now)
{
    const char *to = next < sm->type->state_count ? sm->type->states[next].name : "?";
    if (!sm_can(sm, next)) {
        log_error(
            "illegal_transition",
            LOG_STR("machine", sm->type->name),
            LOG_STR("from", sm_name(sm)),
            LOG_STR("to", to));
        abort();
    }
    log_debug(
        "transition",
        LOG_STR("machine", sm->type->name),
        LOG_STR("from", sm_name(sm)),
        LOG_STR("to", to));
    sm->state = next;
    sm->since = now;
}

const char *sm_name(const struct sm *sm)
{
    return sm->type->states[sm->state].name;
}

struct mono_us sm_deadline(const struct sm *sm)
{
    int64_t timeout_us = sm->type->states[sm->state].timeout_us;
    return (struct mono_us){ timeout_us == 0 ? INT64_MAX : sm->since.value + timeout_us };
}
