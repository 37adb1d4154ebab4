/*
 * Policies of sandboxes: what this system can enforce of openshell.sandbox.v1.SandboxPolicy, how
 * revisions are told apart, and how merge operations change one. Pure; messages live in the
 * caller's arena.
 */
#ifndef SERVER_SANDBOX_POLICY_H
#define SERVER_SANDBOX_POLICY_H

#include "common/base/arena.h"
#include "common/base/err.h"

#include "proto/openshell/sandbox/v1/sandbox.pb-c.h"
#include "proto/openshell/v1/openshell.pb-c.h"

enum {
    POLICY_HASH_TEXT_BYTES = 65,
    POLICY_ENDPOINTS_MAX = 4096 /* of all rules together: so many an agent's proxy takes */
};

typedef Openshell__Sandbox__V1__SandboxPolicy policy_type;

/*
 * ERR_INVALID names the field: malformed, or something no agent can enforce (inspection of TLS,
 * WebSocket, GraphQL, SQL or JSON-RPC; telling programs apart). A policy is refused rather than
 * weakened.
 */
enum err_code policy_check(const policy_type *policy, struct err_info *err) MUST_CHECK;

/* SHA-256 in hex of the policy with its maps in order of their keys, so that equal policies have
 * equal hashes. Sorts the maps of policy in place. */
enum err_code policy_hash(
    policy_type *policy, char out[POLICY_HASH_TEXT_BYTES], struct err_info *err) MUST_CHECK;

/* Whether both say the same about what is fixed when a sandbox is made (filesystem, landlock,
 * process). ERR_INVALID names what differs. */
enum err_code policy_check_fixed(
    const policy_type *before, const policy_type *after, struct err_info *err) MUST_CHECK;

/* Applies the operations in order to policy, in place, in the arena. ERR_INVALID or ERR_NOT_FOUND
 * names the operation. */
enum err_code policy_merge(
    struct arena *arena,
    policy_type *policy,
    Openshell__V1__PolicyMergeOperation *const *operations,
    size_t count,
    struct err_info *err) MUST_CHECK;

#endif
