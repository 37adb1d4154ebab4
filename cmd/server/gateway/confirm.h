/* Confirmation of an agent: its api key is made, hashed into the store and sealed to the agent. */
#ifndef SERVER_GATEWAY_CONFIRM_H
#define SERVER_GATEWAY_CONFIRM_H

#include "cmd/server/core/work.h"
#include "cmd/server/store/agent.h"
#include "common/crypto/hash.h"
#include "common/crypto/secret.h"

/* An agent's first api key, as the store has it. */
struct confirm_key {
    uint8_t hash[HASH_SHA256_BYTES];
    struct str_view
        sealed; /* to the agent, in the work's arena; STR_NONE: it is revealed instead */
};

/* ret_revealed NULL: sealed to encryption_key; else given here once, and the caller's. */
enum err_code confirm_make_key(
    struct work *work,
    struct str_view encryption_key,
    struct secret **ret_revealed,
    struct confirm_key *ret_key,
    struct err_info *err) MUST_CHECK;

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
