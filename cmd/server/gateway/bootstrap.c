#include "cmd/server/gateway/bootstrap.h"

#include "cmd/server/auth/gate.h"
#include "cmd/server/core/throttle.h"
#include "common/crypto/hash.h"

enum err_code bootstrap_limit(struct rpc_call *call, struct str_view key, struct err_info *err)
{
    struct service *service = rpc_call_service(call);
    const struct rpc_peer *peer = rpc_call_peer(call);
    if (!peer->is_loopback) {
        TRY(throttle_take(service->throttle, str_of(peer->address), err));
    }
    uint8_t hash[HASH_SHA256_BYTES];
    hash_sha256(key, hash);
    return throttle_take(service->throttle, str_from((const char *)hash, sizeof(hash)), err);
}

enum err_code bootstrap_refuse(
    struct rpc_call *call,
    const char *target,
    const char *text,
    const char *why,
    struct err_info *err)
{
    const struct gate_refusal refusal = { NULL, target, ERR_UNAUTHENTICATED, why };
    TRY(gate_audit_refusal(call, &refusal, err));
    return ERR_SET(err, ERR_UNAUTHENTICATED, "%s", text);
}
