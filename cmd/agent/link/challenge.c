#include "cmd/agent/link/challenge.h"

#include "common/base/cleanup.h"
#include "common/crypto/hash.h"

#include <inttypes.h>
#include <stdio.h>

#define DOMAIN "belay.agent.challenge.v1"

void challenge_tag(const char *server_id, int64_t agent_id, uint8_t out[CHALLENGE_TAG_BYTES])
{
    char number[24];
    (void)snprintf(number, sizeof(number), "%" PRId64, agent_id);
    const struct str_view parts[] = { STR(DOMAIN), str_of(server_id), str_of(number) };
    hash_blake2b_parts(parts, ARRAY_LENGTH(parts), out);
}

bool challenge_is_ours(struct str_view challenge, const char *server_id, int64_t agent_id)
{
    uint8_t tag[CHALLENGE_TAG_BYTES];
    challenge_tag(server_id, agent_id, tag);
    return challenge.len == CHALLENGE_BYTES && memcmp(challenge.ptr, tag, sizeof(tag)) == 0;
}
