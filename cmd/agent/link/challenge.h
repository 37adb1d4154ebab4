/* The challenge an agent may sign: 32 bytes of tag that only it and its server compute, 32 of
 * nonce. Pure. */
#ifndef CMD_AGENT_LINK_CHALLENGE_H
#define CMD_AGENT_LINK_CHALLENGE_H

#include "common/base/str.h"

enum {
    CHALLENGE_TAG_BYTES = 32,
    CHALLENGE_BYTES = 64
};

/* BLAKE2b-256 over the domain, the server's id and the agent's id in decimal. */
void challenge_tag(const char *server_id, int64_t agent_id, uint8_t out[CHALLENGE_TAG_BYTES]);

/* Nothing else is ever signed with the identity key, so that nobody can have it sign what is
 * theirs. */
bool challenge_is_ours(struct str_view challenge, const char *server_id, int64_t agent_id);

#endif
