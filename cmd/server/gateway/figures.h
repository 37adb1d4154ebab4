/*
 * Figures of sandboxes while somebody looks: what an agent is told, and what it answers. One for
 * each control stream of an agent that offers sandboxes. Between one look and the next nothing is
 * sent and nothing written.
 */
#ifndef SERVER_GATEWAY_FIGURES_H
#define SERVER_GATEWAY_FIGURES_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/work.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#define FIGURES_INTERVAL_US (2 * US_PER_SECOND)
/* How often an agent may write, at most: what comes faster is passed over. */
#define FIGURES_LEAST_US (FIGURES_INTERVAL_US / 4)

struct figures {
    bool is_offered;  /* the agent has sandboxes */
    int64_t until_us; /* as the agent was told last; 0: never */
    struct mono_us taken_at;
};

/* In the turn's transaction: until when somebody looks; 0: the agent need not be told. */
enum err_code figures_look(
    struct work *work,
    const struct figures *figures,
    int64_t workspace_id,
    int64_t *ret_until_us,
    struct err_info *err) MUST_CHECK;

/* What to tell; NULL: the arena is full. */
Agentgateway__V1__ControlSandboxWatch *figures_order(
    struct arena *arena, int64_t until_us, struct wall_us now);

/* Whether these are to be stored: somebody looks, and they do not come too often. */
bool figures_are_wanted(struct figures *figures, const struct clock *clock);

struct figures_answer {
    const struct principal *principal;
    const Agentgateway__V1__ControlSandboxReadings *readings;
};

/* A work_fn with a struct figures_answer. */
enum err_code figures_store(struct work *work, void *context, struct err_info *err) MUST_CHECK;

#endif
