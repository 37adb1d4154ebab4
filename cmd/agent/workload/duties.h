/*
 * The server's orders. Each carries out what is not so already, so one that comes twice, or again
 * after the agent was killed in the middle of it, does no more than once. What an order began is
 * reported before this returns; what follows of it is reported as it comes. An error is for the
 * operator who asked: it names the field or says what is in the way.
 */
#ifndef CMD_AGENT_WORKLOAD_DUTIES_H
#define CMD_AGENT_WORKLOAD_DUTIES_H

#include "cmd/agent/workload/workload.h"

/* On disk and being made when this returns. ERR_UNSUPPORTED, ERR_INVALID, ERR_LIMIT,
 * ERR_NOT_FOUND (the image). */
enum err_code duties_create(
    struct workload *workload,
    const Agentgateway__V1__SandboxCreate *order,
    struct err_info *err) MUST_CHECK;
/* ERR_NOT_FOUND: no such sandbox; of the next two as well. */
enum err_code duties_stop(struct workload *workload, const char *sandbox_id, struct err_info *err)
    MUST_CHECK;
/* Starts what was ordered to stop. What ended by itself stays ended, or a second delivery of the
 * order would run its main program once more. */
enum err_code duties_start(struct workload *workload, const char *sandbox_id, struct err_info *err)
    MUST_CHECK;
/* No order, but what a pause before a restart ends with (restart.h). What was ordered meanwhile
 * stands: ERR_OK. */
enum err_code duties_restart(
    struct workload *workload, const char *sandbox_id, struct err_info *err) MUST_CHECK;
/* Never there, or gone already: good. */
enum err_code duties_delete(struct workload *workload, const char *sandbox_id, struct err_info *err)
    MUST_CHECK;
/* An older revision than the one in force changes nothing. */
enum err_code duties_policy(
    struct workload *workload,
    const Agentgateway__V1__SandboxPolicyUpdate *order,
    struct err_info *err) MUST_CHECK;

#endif
