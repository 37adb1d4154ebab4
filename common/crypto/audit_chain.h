/*
 * The chain of a workspace's audit records: the hash of each covers its place, what it says and the
 * hash before it, so that a gap, an edit and another order show. Pure; any thread.
 */
#ifndef COMMON_CRYPTO_AUDIT_CHAIN_H
#define COMMON_CRYPTO_AUDIT_CHAIN_H

#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    AUDIT_HASH_BYTES = 32
};

/*
 * SHA-256 over "belay.audit.v2", the hash before it (empty for the first), the sequence as u64 big
 * endian, and the record, each preceded by its length as u64 big endian. belay_audit_add of the
 * migrations, which programs of the version before call, makes the same.
 */
void audit_chain_hash(
    struct str_view previous,
    int64_t sequence,
    struct str_view record,
    uint8_t out[AUDIT_HASH_BYTES]);

/* Whether it is the record's hash. Those from before migration 10 have BLAKE2b-256 over the same,
 * with "belay.audit.v1". */
bool audit_chain_holds(
    struct str_view previous,
    int64_t sequence,
    struct str_view record,
    const uint8_t hash[AUDIT_HASH_BYTES]);

#endif
