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
enum err_code orders_give(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    struct err_info *err) MUST_CHECK;

/* The same to an agent that is back, unless the order is under way yet: that one comes again by
 * itself. */
enum err_code orders_repeat(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    struct err_info *err) MUST_CHECK;

enum err_code orders_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct err_info *err) MUST_CHECK;

/* How many deletes are under way at an agent. */
enum err_code orders_count_deletes(
    const struct lifecycle *self, int64_t agent_id, int64_t *ret_count, struct err_info *err)
    MUST_CHECK;

/* Delete what an agent has and this workspace does not know; *ret_given: false, it is under way. */
enum err_code orders_remove_stranger(
    const struct lifecycle *self,
    int64_t agent_id,
    const char *sandbox_id,
    bool *ret_given,
    struct err_info *err) MUST_CHECK;

#endif
