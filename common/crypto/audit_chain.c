#include "common/crypto/audit_chain.h"

#include "common/crypto/hash.h"

#include <string.h>

enum {
    PARTS = 4,
    NUMBER_BYTES = 8
};

struct content {
    uint8_t number[NUMBER_BYTES];
    struct str_view parts[PARTS];
};

static void fill(
    struct content *content,
    struct str_view previous,
    int64_t sequence,
    struct str_view record,
    struct str_view domain)
{
    uint8_t *number = content->number;
    for (int i = 0; i < NUMBER_BYTES; i++) {
        number[i] = (uint8_t)((uint64_t)sequence >> (56 - 8 * i));
    }
    const struct str_view parts[PARTS] = {
        domain,
        previous,
        str_from((const char *)number, NUMBER_BYTES),
        record,
    };
    memcpy(content->parts, parts, sizeof(parts));
}

void audit_chain_hash(
    struct str_view previous,
    int64_t sequence,
    struct str_view record,
    uint8_t out[AUDIT_HASH_BYTES])
{
    struct content content;
    fill(&content, previous, sequence, record, STR("belay.audit.v2"));
    hash_sha256_parts(content.parts, PARTS, out);
}

bool audit_chain_holds(
    struct str_view previous,
    int64_t sequence,
    struct str_view record,
    const uint8_t hash[AUDIT_HASH_BYTES])
{
    struct content content;
    uint8_t made[AUDIT_HASH_BYTES];
    audit_chain_hash(previous, sequence, record, made);
    if (memcmp(made, hash, sizeof(made)) == 0) {
        return true;
    }
    fill(&content, previous, sequence, record, STR("belay.audit.v1"));
    hash_blake2b_parts(content.parts, PARTS, made);
    return memcmp(made, hash, sizeof(made)) == 0;
}
