/* Confirmation of an agent: its api key is made, hashed into the store and sealed to the agent. */
#ifndef SERVER_GATEWAY_CONFIRM_H
#define SERVER_GATEWAY_CONFIRM_H

#include "cmd/server/core/work.h"
#include "cmd/server/store/agent.h"
#include "common/crypto/secret.h"

/*
 * Inside a transaction: the agent awaits confirmation. ret_revealed NULL: the key travels sealed;
 * else it is given here once and never stored in any readable form.
 */
enum err_code confirm_agent(
    struct work *work,
    struct agent_record *agent,
    struct secret **ret_revealed,
    struct err_info *err) MUST_CHECK;

#endif
