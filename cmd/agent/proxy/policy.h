/*
 * From a policy as it comes from the server (openshell.sandbox.v1.SandboxPolicy) to rules. What the
 * proxy cannot enforce is refused, never left out: the server refuses the same, and is not
 * believed.
 */
#ifndef CMD_AGENT_PROXY_POLICY_H
#define CMD_AGENT_PROXY_POLICY_H

#include "cmd/agent/proxy/rules.h"

#include "proto/openshell/sandbox/v1/sandbox.pb-c.h"

/* policy may be NULL: no rule. ERR_INVALID and ERR_UNSUPPORTED name the field. */
enum err_code policy_compile(
    const Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct rules **ret_rules,
    struct err_info *err) MUST_CHECK;

#endif
