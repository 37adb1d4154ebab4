/*
 * Sandboxes from the order to the end: a record before anything starts, the agent's reports move
 * its phase, orders that got lost are given again when the agent is back. Every function runs
 * inside a transaction (a work_fn), owes an event of the kind "sandbox.phase" with each change (of
 * the policy: "sandbox.policy"), and the wakes. So that transactions wait for each other in one
 * order, each takes an agent's row first, then sandboxes by workspace and id, then the audit, then
 * the events.
 */
#ifndef SERVER_SANDBOX_LIFECYCLE_H
#define SERVER_SANDBOX_LIFECYCLE_H

#include "cmd/server/core/work.h"
#include "cmd/server/domain/phase.h"
#include "cmd/server/store/sandbox/sandbox.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"
#include "proto/openshell/v1/openshell.pb-c.h"

struct lifecycle { /* whose sandboxes, on whose behalf */
    struct work *work;
    int64_t workspace_id;
    const char *workspace;
    const char *actor; /* principal's subject */
    bool is_operator;  /* it orders; else it reports */
};

struct lifecycle_wish {
    const char *name;   /* "": one is made up */
    const char *labels; /* JSON objects */
    const char *annotations;
    const char *agent;    /* belay.dev/agent; "": any */
    const char *selector; /* belay.dev/agent-selector; "": any */
    const char *restart;  /* belay.dev/restart; "": never */
    Openshell__V1__SandboxSpec *spec;
};

/* Checks, places, stores and orders. ERR_EXISTS: the name is taken; ERR_PRECONDITION: no agent
 * fits. */
enum err_code lifecycle_create(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    struct sandbox_record *ret_record,
    struct err_info *err) MUST_CHECK;

enum {
    LIFECYCLE_MESSAGE_BYTES = 4096 /* of what an agent says is kept so much; it is UTF-8 */
};

/* The reason of a sandbox that is STOPPING and, as far as is known, had not come up: a stop that
 * its agent cannot do now leaves it STARTING. */
#define LIFECYCLE_REASON_STARTING "StillStarting"

/* Stop or start; the record is as it stands afterwards. ERR_PRECONDITION names the phase, or its
 * agent takes no orders any more. */
enum err_code lifecycle_order(
    const struct lifecycle *self,
    struct sandbox_record *record,
    enum phase_order order,
    struct err_info *err) MUST_CHECK;

/* Gives the agent the policy of record->policy_version, before that is stored: the agent's row is
 * taken before a sandbox's. */
enum err_code lifecycle_send_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct err_info *err) MUST_CHECK;

/* Orders the agent to delete it, once. Forced, or when its agent was revoked, the record goes
 * without waiting for that. */
enum err_code lifecycle_delete(
    const struct lifecycle *self,
    struct sandbox_record *record,
    bool is_forced,
    struct err_info *err) MUST_CHECK;

/* A report of agent_id. One of a sandbox that is not known or not this agent's, or an old one,
 * changes nothing.
 */
enum err_code lifecycle_take_report(
    const struct lifecycle *self,
    int64_t agent_id,
    const Agentgateway__V1__SandboxReport *report,
    struct err_info *err) MUST_CHECK;

/* A new control stream: takes all its reports, tells the agent to remove what is not known here,
 * repeats orders that were lost, and ends what the agent no longer has. */
enum err_code lifecycle_take_hello(
    const struct lifecycle *self,
    int64_t agent_id,
    const Agentgateway__V1__ControlHello *message,
    struct err_info *err) MUST_CHECK;

struct lifecycle_refusal {
    const char *kind; /* of the command */
    const char *sandbox_id;
    const char *message;
    bool is_passing; /* the agent's state, not the order, was in the way: it may do it later */
};

/* The acknowledgement of an order that could not be carried out. A stop or start that may pass
 * later leaves the sandbox as it was, with the agent's words; else it is ERROR. */
enum err_code lifecycle_take_refusal(
    const struct lifecycle *self,
    int64_t agent_id,
    const struct lifecycle_refusal *refusal,
    struct err_info *err) MUST_CHECK;

/* Of every workspace, a portion of what the clock alone changes: sandboxes of agents that are away
 * longer than the grace time, orders that no agent took in theirs. *ret_more: there is more. */
enum err_code lifecycle_sweep(struct work *work, bool *ret_more, struct err_info *err) MUST_CHECK;

/* How long an agent may be away before its sandboxes are UNKNOWN. */
int64_t lifecycle_grace_us(const struct service *service);

#endif
