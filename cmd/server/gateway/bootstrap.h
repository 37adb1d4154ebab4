/* What the three unauthenticated calls share: limits per source and an audit record of each
 * failure. */
#ifndef SERVER_GATEWAY_BOOTSTRAP_H
#define SERVER_GATEWAY_BOOTSTRAP_H

#include "cmd/server/core/service.h"

/* One identical text for every wrong, used, expired or unknown token. */
#define BOOTSTRAP_REFUSED_TOKEN "the enrollment token is not valid"
#define BOOTSTRAP_REFUSED_KEY   "the agent's credential is not valid"

/* Per source address and per key (a hash of what was presented). ERR_LIMIT. */
enum err_code bootstrap_limit(struct rpc_call *call, struct str_view key, struct err_info *err)
    MUST_CHECK;

/* Writes the refusal down and gives ERR_UNAUTHENTICATED with text. why is for the record only. */
enum err_code bootstrap_refuse(
    struct rpc_call *call,
    const char *target,
    const char *text,
    const char *why,
    struct err_info *err) MUST_CHECK;

#endif
