/*
 * What stands between sandboxes and the network, as the rest of the agent sees it. Without one a
 * sandbox has a loopback and nothing else, and rules that would open more are refused. Loop thread.
 */
#ifndef CMD_AGENT_WORKLOAD_EGRESS_H
#define CMD_AGENT_WORKLOAD_EGRESS_H

#include "common/base/err.h"

#include "proto/openshell/sandbox/v1/sandbox.pb-c.h"

struct egress_count {
    uint64_t sent_bytes; /* by the sandbox, since its start */
    uint64_t received_bytes;
};

struct egress {
    void *context;
    /* Whether the rules of a policy can be enforced here. ERR_INVALID, ERR_UNSUPPORTED: which not.
     */
    enum err_code (*check)(
        void *context, const Openshell__Sandbox__V1__SandboxPolicy *policy, struct err_info *err);
    /* These from now on, for a new sandbox, one that was adopted, and at each new revision; at once
     * for connections to come. The policy is valid during the call. */
    enum err_code (*apply)(
        void *context,
        const char *sandbox_id,
        const Openshell__Sandbox__V1__SandboxPolicy *policy,
        struct err_info *err);
    /* The socket that listens inside: at each start, and again after a restart of the agent. */
    void (*listen)(void *context, const char *sandbox_id, int take_fd);
    /* No process of it is left, or it is gone as a whole: its rules are given again if it starts.
     */
    void (*forget)(void *context, const char *sandbox_id);
    void (*count)(void *context, const char *sandbox_id, struct egress_count *ret_count);
};

#endif
