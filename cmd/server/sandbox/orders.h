/* The commands that sandboxes are moved by. Inside a transaction; each may be given twice: the
 * agent carries out what is not so already. */
#ifndef SERVER_SANDBOX_ORDERS_H
#define SERVER_SANDBOX_ORDERS_H

#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/sandbox/spec.h"

#define ORDERS_CREATE_TTL_US (INT64_C(120) * US_PER_SECOND)

enum err_code orders_create(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    const Openshell__V1__SandboxSpec *spec,
    const struct spec_facts *facts,
    struct err_info *err) MUST_CHECK;

/* What the phase asks of the agent: delete, stop or start; in other phases nothing. */
enum err_code orders_repeat(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    struct err_info *err) MUST_CHECK;

enum err_code orders_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct err_info *err) MUST_CHECK;

/* Delete what an agent has and this workspace does not know. */
enum err_code orders_remove_stranger(
    const struct lifecycle *self, int64_t agent_id, const char *sandbox_id, struct err_info *err)
    MUST_CHECK;

/* Id of the sandbox a packed AgentCommand is about; NULL: about none. Of the arena. */
const char *orders_sandbox_of(struct work *work, struct str_view payload);

#endif
