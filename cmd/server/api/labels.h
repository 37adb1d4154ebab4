/* Labels of messages: look-ups for selectors, changes by UpdateAgent. Pure. */
#ifndef SERVER_API_LABELS_H
#define SERVER_API_LABELS_H

#include "cmd/server/domain/selector.h"
#include "common/base/buf.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

/* selector_lookup_fn over an Agentgateway__V1__Agent. */
struct str_view labels_of_agent(const void *message, struct str_view key);

/* Writes the agent's labels as the request changes them, as a JSON object. ERR_LIMIT: more than 64.
 */
enum err_code labels_update(
    const Agentgateway__V1__Agent *agent,
    const Agentgateway__V1__UpdateAgentRequest *request,
    struct buf *out,
    struct err_info *err) MUST_CHECK;

#endif
