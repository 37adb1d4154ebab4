/* From the agents of a workspace, as they said in their hello, to the one that fits. */
#ifndef SERVER_SANDBOX_PLACE_H
#define SERVER_SANDBOX_PLACE_H

#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/sandbox/spec.h"

/* Inside a transaction, which keeps the agent to itself from then on. ERR_PRECONDITION: none fits,
 * and why; ERR_INVALID: the selector. */
enum err_code place_choose(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    const struct spec_facts *facts,
    int64_t *ret_agent_id,
    struct err_info *err) MUST_CHECK;

/* For one that is stopped and shall run again on its agent. Inside a transaction, as above.
 * ERR_PRECONDITION names what the agent has too little of. */
enum err_code place_again(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    struct err_info *err) MUST_CHECK;

#endif
