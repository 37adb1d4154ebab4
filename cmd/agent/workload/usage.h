/*
 * What sandboxes use, as rows for the server: what was used between two readings, about one a
 * minute and one at the end. A row is on disk in the sandbox's folder before it goes to the spool,
 * and goes there once more when the agent is started again: its key (boot id, sandbox, sequence)
 * makes that one row, so that none is lost and none counted twice. The bytes of the network, which
 * the agent alone counts, are written down with each reading, so an agent that is killed loses
 * those since the last one. Loop thread.
 */
#ifndef CMD_AGENT_WORKLOAD_USAGE_H
#define CMD_AGENT_WORKLOAD_USAGE_H

#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/workload/egress.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct usage;

#define USAGE_INTERVAL_US US_PER_MINUTE

struct usage_ops {
    enum err_code (*emit)(
        void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err);
};

struct usage *usage_create(const char *boot_id, const struct usage_ops *ops, void *context);
void usage_destroy(struct usage *usage); /* NULL is allowed */

/* One the agent already had when it was started: its last row again. */
void usage_resume(struct usage *usage, const struct sandbox_info *info);
/* counted: by this agent, since it came or the run began. */
void usage_sample(
    struct usage *usage,
    const struct sandbox_info *info,
    const struct message_sample *sample,
    const struct egress_count *counted);
/* The run is over, with the figures of its exit record. Once more: changes nothing. */
void usage_close(
    struct usage *usage, const struct sandbox_info *info, const struct egress_count *counted);
void usage_forget(struct usage *usage, const char *sandbox_id);

#endif
