/*
 * Who is asking: made once at the gate, immutable, an argument of every domain call. Nothing else
 * reads identity from a request.
 */
#ifndef SERVER_AUTH_PRINCIPAL_H
#define SERVER_AUTH_PRINCIPAL_H

#include "cmd/server/auth/rule.h"
#include "common/base/id.h"
#include "common/rpc/call.h"

enum principal_kind {
    PRINCIPAL_NOBODY, /* a public method */
    PRINCIPAL_LOCAL,  /* the local operator socket: platform admin */
    PRINCIPAL_KEY,    /* an API key */
    PRINCIPAL_AGENT,  /* an agent's session */
    PRINCIPAL_REPLICA /* another server with an agent's relay */
};

struct principal {
    enum principal_kind kind;
    char subject[80]; /* "user:local/0", "key:key_...", "agent:7", "nobody" */
    int64_t
        workspace_id; /* the only one of a key or an agent; the default one of a local operator */
    char workspace[24];
    uint32_t scopes; /* AUTH_SCOPE_BIT of each */
    bool is_platform_admin;
    int64_t agent_id; /* agents; replicas: whose relay */
    int64_t epoch;
    int64_t expires_at;           /* wall clock; INT64_MAX: does not */
    uint8_t credential_hash[32];  /* agents and keys: what the proof hashed to */
    char source[80];              /* address of the peer, for audit */
    char relay_id[ID_TEXT_BYTES]; /* replicas: the one relay they come with */
};

/* Never NULL after the gate. */
const struct principal *principal_of(const struct rpc_call *call);

#endif
