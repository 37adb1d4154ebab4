/* What an agent says its sandboxes used, into rows for accounting. */
#ifndef SERVER_INGEST_USAGE_H
#define SERVER_INGEST_USAGE_H

#include "cmd/server/core/work.h"
#include "cmd/server/ingest/record.h"

/* Whether the event is one of usage, and no event to keep. */
bool usage_is_in(const Agentgateway__V1__AgentEvent *event);

/*
 * Inside the ingest's transaction: one row, once. An agent writes of its own sandboxes alone, those
 * that are gone included. Times are cut to the sandbox's life by this server's clock: an agent's
 * clock moves no cost out of the account. *ret_refusal: why there is no row, static text; NULL: it
 * is there.
 */
enum err_code usage_write(
    struct work *work,
    const struct record *record,
    const Agentgateway__V1__AgentEvent *event,
    const char **ret_refusal,
    struct err_info *err) MUST_CHECK;

#define USAGE_KIND         "sandbox.usage"
#define USAGE_REFUSED_KIND "sandbox.usage_refused"

#endif
