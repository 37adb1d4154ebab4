/*
 * What one server shows another when it leads an agent's relay there: the owner of the relay, the
 * relay and the agent, signed by the command key that all servers of an installation share. Good at
 * that one server, for that one relay, which is joined once and soon: so it needs no clock. Pure.
 */
#ifndef SERVER_AUTH_REPLICA_PASS_H
#define SERVER_AUTH_REPLICA_PASS_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/service.h"

#define REPLICA_PASS_PREFIX "blr_"

struct replica_pass {
    struct str_view address; /* of the server it is for, as it gives itself */
    struct str_view relay_id;
    int64_t agent_id;
};

enum {
    REPLICA_PASS_BYTES = 256
};

/* "blr_RELAY.AGENT.SIGNATURE". ERR_LIMIT: a field is too long. */
enum err_code replica_pass_create(
    const struct service *service,
    const struct replica_pass *pass,
    char out[REPLICA_PASS_BYTES],
    struct err_info *err) MUST_CHECK;

/* ERR_UNAUTHENTICATED for anything that was not made for this server. */
enum err_code replica_pass_check(
    const struct service *service,
    struct str_view token,
    struct principal *ret_principal,
    struct err_info *err) MUST_CHECK;

#endif
