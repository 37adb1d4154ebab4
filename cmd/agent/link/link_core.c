#include "cmd/agent/link/link_core.h"

#include "common/base/cleanup.h"

#include <assert.h>

#define NEVER ((struct mono_us){ INT64_MAX })

static const struct sm_state states[] = {
    [LINK_DISCONNECTED] = { "disconnected",
                            SM_BIT(LINK_ENROLLING) | SM_BIT(LINK_HANDSHAKING)
                                | SM_BIT(LINK_STREAMING),
                            0 },
    [LINK_ENROLLING] = { "enrolling", SM_BIT(LINK_DISCONNECTED) | SM_BIT(LINK_HANDSHAKING), 0 },
    [LINK_HANDSHAKING] = { "handshaking", SM_BIT(LINK_DISCONNECTED) | SM_BIT(LINK_STREAMING), 0 },
    [LINK_STREAMING] = { "streaming",
                         SM_BIT(LINK_DISCONNECTED) | SM_BIT(LINK_DRAINING)
                             | SM_BIT(LINK_HANDSHAKING),
                         0 },
    [LINK_DRAINING] = { "draining",
                        SM_BIT(LINK_DISCONNECTED) | SM_BIT(LINK_HANDSHAKING)
                            | SM_BIT(LINK_STREAMING),
                        0 },
};

static_assert(ARRAY_LENGTH(states) == LINK_STATE_COUNT, "a row for each state");

static const struct sm_type type = { "link", states, LINK_STATE_COUNT };

static const char *const event_names[] = {
    [LINK_EVENT_START] = "start",         [LINK_EVENT_TIMER] = "timer",
    [LINK_EVENT_PENDING] = "pending",     [LINK_EVENT_ENROLLED] = "enrolled",
    [LINK_EVENT_CHALLENGE] = "challenge", [LINK_EVENT_SESSION] = "session",
    [LINK_EVENT_ACCEPTED] = "accepted",   [LINK_EVENT_ALIVE] = "alive",
    [LINK_EVENT_HEARTBEAT] = "heartbeat", [LINK_EVENT_DRAIN] = "drain",
    [LINK_EVENT_CLOSED] = "closed",       [LINK_EVENT_LOST] = "lost",
    [LINK_EVENT_FAILED] = "failed",       [LINK_EVENT_REFUSED] = "refused",
    [LINK_EVENT_STOP] = "stop",
};

static_assert(ARRAY_LENGTH(event_names) == LINK_EVENT_TYPE_COUNT, "a name for each event");

const char *link_event_name(enum link_event_type event)
{
    return event_names[event];
}

enum link_event_type link_event_of_end(enum err_code code)
{
    bool is_over = code == ERR_UNAUTHENTICATED || code == ERR_DENIED;
    return is_over                ? LINK_EVENT_FAILED
        : code == ERR_UNAVAILABLE ? LINK_EVENT_LOST
                                  : LINK_EVENT_CLOSED;
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static struct mono_us after(struct mono_us now, int64_t delay_us)
{
    return (struct mono_us){ now.value + delay_us };
}

static void clear_times(struct link_core *core)
{
    core->wake_at = NEVER;
    core->heartbeat_at = NEVER;
    core->renew_at = NEVER;
    core->liveness_at = NEVER;
}

void link_core_init(struct link_core *core, bool is_enrolled, struct mono_us now)
{
    memset(core, 0, sizeof(*core));
    core->is_enrolled = is_enrolled;
    core->heartbeat_us = LINK_HEARTBEAT_US;
    clear_times(core);
    sm_init(&core->sm, &type, LINK_DISCONNECTED, now);
}

enum link_state link_core_state(const struct link_core *core)
{
    return (enum link_state)core->sm.state;
}

struct mono_us link_core_deadline(const struct link_core *core)
{
    const struct mono_us times[] = {
        core->wake_at, core->heartbeat_at, core->renew_at, core->liveness_at
    };
    struct mono_us first = NEVER;
    for (unsigned i = 0; i < ARRAY_LENGTH(times); i++) {
        if (times[i].value < first.value) {
            first = times[i];
        }
    }
    return first;
}

static void move(struct link_core *core, enum link_state next, struct mono_us now)
{
    clear_times(core);
    core->is_accepted = false;
    core->is_resuming = false;
    sm_move(&core->sm, next, now);
}

/* Doubles from the least to the most; half of it is jitter, so that a fleet does not come back at
 * once. */
static int64_t backoff_us(unsigned failures, uint64_t random)
{
    int64_t full = LINK_BACKOFF_MIN_US;
    for (unsigned i = 1; i < failures && full < LINK_BACKOFF_MAX_US; i++) {
        full *= 2;
    }
    full = clamp(full, LINK_BACKOFF_MIN_US, LINK_BACKOFF_MAX_US);
    return full / 2 + (int64_t)(random % (uint64_t)(full / 2 + 1));
}

static unsigned disconnect_for(struct link_core *core, int64_t delay_us, struct mono_us now)
{
    if (link_core_state(core) != LINK_DISCONNECTED) {
        move(core, LINK_DISCONNECTED, now);
    }
    core->wake_at = core->is_stopping ? NEVER : after(now, delay_us);
    return LINK_DO_DISCARD | (core->is_stopping ? LINK_DO_STOPPED : 0U);
}

static void forget_session(struct link_core *core)
{
    core->session_until = (struct mono_us){ 0 };
    core->unaccepted = 0;
}

static unsigned begin(struct link_core *core, struct mono_us now)
{
    bool resumes = core->is_enrolled && now.value < core->session_until.value;
    if (resumes) {
        move(core, LINK_STREAMING, now);
        core->is_resuming = true;
    } else {
        forget_session(core);
        move(core, core->is_enrolled ? LINK_HANDSHAKING : LINK_ENROLLING, now);
    }
    core->wake_at = after(now, LINK_PATIENCE_US);
    return resumes ? LINK_DO_OPEN : core->is_enrolled ? LINK_DO_BEGIN : LINK_DO_REGISTER;
}

static unsigned fail(struct link_core *core, const struct link_event *event, struct mono_us now)
{
    bool was_resuming = core->is_resuming;
    core->unaccepted += was_resuming && event->type != LINK_EVENT_LOST ? 1 : 0;
    if (event->type == LINK_EVENT_FAILED || core->unaccepted == LINK_UNACCEPTED_MAX) {
        forget_session(core);
    }
    if (was_resuming && event->type == LINK_EVENT_FAILED) {
        return LINK_DO_DISCARD | begin(core, now); /* the handshake that was to be saved */
    }
    core->failures++;
    return disconnect_for(core, backoff_us(core->failures, event->random), now);
}

/* Trying again soon would not help: a person has to act. */
static unsigned refuse(struct link_core *core, const struct link_event *event, struct mono_us now)
{
    enum {
        LONGEST = 16
    };

    forget_session(core);
    core->failures = core->failures < LONGEST ? LONGEST : core->failures;
    return disconnect_for(core, backoff_us(core->failures, event->random), now);
}

static unsigned drain(struct link_core *core, int64_t resume_after_us, struct mono_us now)
{
    move(core, LINK_DRAINING, now);
    core->keeps_relays = false;
    core->resume_after_us = clamp(resume_after_us, 0, LINK_DELAY_MAX_US);
    core->wake_at = after(now, LINK_DRAIN_US);
    return LINK_DO_HALF_CLOSE;
}

static unsigned drain_to_renew(struct link_core *core, struct mono_us now)
{
    unsigned actions = drain(core, 0, now);
    core->keeps_relays = true;
    return actions;
}

static unsigned end_drain(struct link_core *core, struct mono_us now)
{
    if (!core->is_stopping && core->resume_after_us == 0) {
        return (core->keeps_relays ? LINK_DO_RELEASE : LINK_DO_DISCARD) | begin(core, now);
    }
    return disconnect_for(core, core->resume_after_us, now);
}

static void set_heartbeat(struct link_core *core, int64_t heartbeat_us)
{
    if (heartbeat_us > 0) {
        core->heartbeat_us = clamp(heartbeat_us, LINK_HEARTBEAT_MIN_US, LINK_HEARTBEAT_MAX_US);
    }
}

static unsigned accept(struct link_core *core, const struct link_event *event, struct mono_us now)
{
    set_heartbeat(core, event->heartbeat_us);
    core->liveness_at = after(now, LINK_LIVENESS_US);
    if (core->is_accepted) {
        return 0;
    }
    core->is_accepted = true;
    core->failures = 0;
    core->unaccepted = 0;
    core->wake_at = NEVER;
    core->heartbeat_at = after(now, core->heartbeat_us);
    if (event->lifetime_us > 0 && !core->is_resuming) {
        int64_t lifetime_us = clamp(event->lifetime_us, 60 * US_PER_SECOND, 30 * US_PER_DAY);
        core->session_until = after(now, lifetime_us / 5 * 4);
    }
    core->is_resuming = false;
    if (core->session_until.value > 0) {
        core->renew_at = core->session_until;
    }
    return LINK_DO_UPLOAD | LINK_DO_HEARTBEAT;
}

static enum err_code step_disconnected(
    struct link_core *core, const struct link_event *event, struct mono_us now, unsigned *actions)
{
    bool begins = event->type == LINK_EVENT_START && !core->is_started;
    if (begins || (event->type == LINK_EVENT_TIMER && now.value >= core->wake_at.value)) {
        core->is_started = true;
        *actions = begin(core, now);
        return ERR_OK;
    }
    return event->type == LINK_EVENT_TIMER ? ERR_OK : ERR_PRECONDITION;
}

static enum err_code step_enrolling(
    struct link_core *core, const struct link_event *event, struct mono_us now, unsigned *actions)
{
    if (event->type == LINK_EVENT_PENDING) {
        core->failures = 0;
        *actions =
            disconnect_for(core, clamp(event->delay_us, US_PER_SECOND, LINK_BACKOFF_MAX_US), now);
        return ERR_OK;
    }
    if (event->type == LINK_EVENT_ENROLLED) {
        core->is_enrolled = true;
        core->failures = 0;
        *actions = begin(core, now);
        return ERR_OK;
    }
    return ERR_PRECONDITION;
}

static enum err_code step_handshaking(
    struct link_core *core, const struct link_event *event, struct mono_us now, unsigned *actions)
{
    if (event->type == LINK_EVENT_CHALLENGE) {
        core->wake_at = after(now, LINK_PATIENCE_US);
        *actions = LINK_DO_COMPLETE;
        return ERR_OK;
    }
    if (event->type == LINK_EVENT_SESSION) {
        move(core, LINK_STREAMING, now);
        set_heartbeat(core, event->heartbeat_us);
        core->wake_at = after(now, LINK_PATIENCE_US);
        *actions = LINK_DO_OPEN;
        return ERR_OK;
    }
    return ERR_PRECONDITION;
}

static unsigned tick_streaming(
    struct link_core *core, const struct link_event *event, struct mono_us now)
{
    if (now.value >= core->liveness_at.value || now.value >= core->wake_at.value) {
        return fail(core, event, now);
    }
    if (now.value >= core->renew_at.value) {
        return drain_to_renew(core, now);
    }
    if (now.value >= core->heartbeat_at.value) {
        core->heartbeat_at = after(now, core->heartbeat_us);
        return LINK_DO_HEARTBEAT;
    }
    return 0;
}

static enum err_code step_streaming(
    struct link_core *core, const struct link_event *event, struct mono_us now, unsigned *actions)
{
    switch (event->type) {
    case LINK_EVENT_TIMER:
        *actions = tick_streaming(core, event, now);
        return ERR_OK;
    case LINK_EVENT_ACCEPTED:
        *actions = accept(core, event, now);
        return ERR_OK;
    case LINK_EVENT_ALIVE:
    case LINK_EVENT_HEARTBEAT:
        if (!core->is_accepted) {
            return ERR_PRECONDITION; /* the server must accept before anything else */
        }
        if (event->type == LINK_EVENT_ALIVE) {
            core->liveness_at = after(now, LINK_LIVENESS_US);
        }
        set_heartbeat(core, event->heartbeat_us);
        return ERR_OK;
    case LINK_EVENT_DRAIN:
        if (event->renews) {
            forget_session(core);
        }
        *actions = event->renews ? drain_to_renew(core, now) : drain(core, event->delay_us, now);
        return ERR_OK;
    case LINK_EVENT_START:
    case LINK_EVENT_PENDING:
    case LINK_EVENT_ENROLLED:
    case LINK_EVENT_CHALLENGE:
    case LINK_EVENT_SESSION:
    case LINK_EVENT_CLOSED:
    case LINK_EVENT_LOST:
    case LINK_EVENT_FAILED:
    case LINK_EVENT_REFUSED:
    case LINK_EVENT_STOP:
    case LINK_EVENT_TYPE_COUNT:
        break;
    }
    return ERR_PRECONDITION;
}

/* What still arrives while the streams end is let through without effect. */
static enum err_code step_draining(
    struct link_core *core, const struct link_event *event, struct mono_us now, unsigned *actions)
{
    switch (event->type) {
    case LINK_EVENT_TIMER:
        *actions = now.value >= core->wake_at.value ? end_drain(core, now) : 0;
        return ERR_OK;
    case LINK_EVENT_FAILED:
    case LINK_EVENT_REFUSED:
        forget_session(core);
        core->keeps_relays = false;
        *actions = end_drain(core, now);
        return ERR_OK;
    case LINK_EVENT_LOST:
        core->keeps_relays = false;
        *actions = end_drain(core, now);
        return ERR_OK;
    case LINK_EVENT_CLOSED:
        *actions = end_drain(core, now);
        return ERR_OK;
    case LINK_EVENT_DRAIN:
        if (event->renews) {
            forget_session(core);
        } else {
            core->keeps_relays = false; /* the server goes: so does what runs over it */
        }
        return ERR_OK;
    case LINK_EVENT_ACCEPTED:
    case LINK_EVENT_ALIVE:
    case LINK_EVENT_HEARTBEAT:
        return ERR_OK;
    case LINK_EVENT_START:
    case LINK_EVENT_PENDING:
    case LINK_EVENT_ENROLLED:
    case LINK_EVENT_CHALLENGE:
    case LINK_EVENT_SESSION:
    case LINK_EVENT_STOP:
    case LINK_EVENT_TYPE_COUNT:
        break;
    }
    return ERR_PRECONDITION;
}

static unsigned stop(struct link_core *core, struct mono_us now)
{
    core->is_stopping = true;
    if (link_core_state(core) == LINK_STREAMING) {
        return drain(core, 0, now);
    }
    return link_core_state(core) == LINK_DRAINING ? 0U : disconnect_for(core, 0, now);
}

/* Events that mean the same in every state; true: done. */
static bool step_common(
    struct link_core *core, const struct link_event *event, struct mono_us now, unsigned *actions)
{
    enum link_state state = link_core_state(core);
    bool is_live = state != LINK_DISCONNECTED && state != LINK_DRAINING;
    if (event->type == LINK_EVENT_STOP && !core->is_stopping) {
        *actions = stop(core, now);
        return true;
    }
    if (!is_live) {
        return false;
    }
    if (event->type == LINK_EVENT_REFUSED) {
        *actions = refuse(core, event, now);
        return true;
    }
    bool out_of_patience = event->type == LINK_EVENT_TIMER && state != LINK_STREAMING
        && now.value >= core->wake_at.value;
    bool is_end = event->type == LINK_EVENT_FAILED || event->type == LINK_EVENT_CLOSED
        || event->type == LINK_EVENT_LOST;
    if (is_end || out_of_patience) {
        *actions = fail(core, event, now);
        return true;
    }
    return false;
}

enum err_code link_step(
    struct link_core *core,
    const struct link_event *event,
    struct mono_us now,
    unsigned *ret_actions)
{
    *ret_actions = 0;
    if (step_common(core, event, now, ret_actions)) {
        return ERR_OK;
    }
    if (event->type == LINK_EVENT_TIMER && core->is_stopping
        && link_core_state(core) == LINK_DISCONNECTED) {
        return ERR_OK;
    }
    switch (link_core_state(core)) {
    case LINK_DISCONNECTED:
        return step_disconnected(core, event, now, ret_actions);
    case LINK_ENROLLING:
        return event->type == LINK_EVENT_TIMER ? ERR_OK
                                               : step_enrolling(core, event, now, ret_actions);
    case LINK_HANDSHAKING:
        return event->type == LINK_EVENT_TIMER ? ERR_OK
                                               : step_handshaking(core, event, now, ret_actions);
    case LINK_STREAMING:
        return step_streaming(core, event, now, ret_actions);
    case LINK_DRAINING:
        return step_draining(core, event, now, ret_actions);
    case LINK_STATE_COUNT:
        break;
    }
    return ERR_PRECONDITION;
}
