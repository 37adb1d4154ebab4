/*
 * What sandboxes use now, for whoever looks: while the server says that somebody does, each is read
 * again and again and what was read goes out at once. Nobody waits for it and nothing is kept.
 * Accounting is usage.h. Loop thread.
 */
#ifndef CMD_AGENT_WORKLOAD_FIGURES_H
#define CMD_AGENT_WORKLOAD_FIGURES_H

#include "cmd/agent/workload/egress.h"
#include "common/sandbox/message.h"
#include "common/sys/loop.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct figures;

struct figures_ops {
    /* Asks every sandbox that runs for a sample; how many were asked. */
    size_t (*measure)(void *context);
    /* One that is lost is lost. */
    void (*send)(void *context, const Agentgateway__V1__ControlSandboxReadings *readings);
};

struct figures *figures_create(struct loop *loop, const struct figures_ops *ops, void *context);
void figures_destroy(struct figures *figures); /* NULL is allowed */

/* From now on, for the duration; both are cut to what is sensible. */
void figures_watch(struct figures *figures, int64_t duration_us, int64_t interval_us);

/* Every sample of every sandbox, whether somebody looks or not: rates need one from before. */
void figures_take(
    struct figures *figures,
    const char *sandbox_id,
    const struct message_sample *sample,
    const struct egress_count *network);
void figures_forget(struct figures *figures, const char *sandbox_id);

#endif
