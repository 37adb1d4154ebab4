/*
 * From the server's order to what is made here. Everything that the order asks for and that this
 * host or this agent cannot give is refused with the field's name; a lenient agent leaves limits
 * out that cannot be enforced, and says which. Pure; any thread.
 */
#ifndef CMD_AGENT_WORKLOAD_WISH_H
#define CMD_AGENT_WORKLOAD_WISH_H

#include "cmd/agent/sandbox/sandbox.h"
#include "common/base/arena.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

enum {
    WISH_PROCESSES = 1024,   /* where the order names no number */
    WISH_MISSING_BYTES = 128 /* of the words for what is left out */
};

struct wish_host {
    const struct sandbox_report *report;
    enum sandbox_driver fallback; /* where the order names none */
    uint64_t io_rate;             /* of each sandbox, bytes a second; 0: no bound */
    bool is_lenient;
    bool has_egress;
};

/* Borrows from the order and the arena. ret_missing: what is left out, "" if nothing.
 * ERR_INVALID, ERR_UNSUPPORTED, ERR_LIMIT. */
enum err_code wish_fill(
    const Agentgateway__V1__SandboxCreate *order,
    const struct wish_host *host,
    struct arena *arena,
    struct sandbox_spec *ret_spec,
    char ret_missing[WISH_MISSING_BYTES],
    struct err_info *err) MUST_CHECK;

/* Whether the driver works here; for limits of every kind also under an agent that is not lenient.
 */
bool wish_driver_fits(const struct wish_host *host, enum sandbox_driver driver);

const char *wish_driver_name(enum sandbox_driver driver);

/* A policy that asks for a network where there is no proxy: ERR_UNSUPPORTED. */
enum err_code wish_check_network(
    const Openshell__Sandbox__V1__SandboxPolicy *policy,
    bool has_egress,
    struct err_info *err) MUST_CHECK;

#endif
