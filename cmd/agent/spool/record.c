#include "cmd/agent/spool/record.h"

#include "common/base/cleanup.h"
#include "common/crypto/hash.h"

#include <inttypes.h>
#include <stdio.h>

void record_checksum(
    struct wall_us captured_at,
    unsigned format,
    unsigned compression,
    struct str_view payload,
    uint8_t out[RECORD_CHECKSUM_BYTES])
{
    char head[64];
    uint8_t hash[HASH_BLAKE2B_BYTES];
    (void)snprintf(head, sizeof(head), "%" PRId64 " %u %u", captured_at.value, format, compression);
    const struct str_view parts[] = { STR("belay.spool.v1"), str_of(head), payload };
    hash_blake2b_parts(parts, ARRAY_LENGTH(parts), hash);
    memcpy(out, hash, RECORD_CHECKSUM_BYTES);
}

bool record_is_intact(
    struct wall_us captured_at,
    unsigned format,
    unsigned compression,
    struct str_view payload,
    struct str_view checksum)
{
    uint8_t expected[RECORD_CHECKSUM_BYTES];
    record_checksum(captured_at, format, compression, payload, expected);
    return checksum.len == sizeof(expected)
        && memcmp(checksum.ptr, expected, sizeof(expected)) == 0;
}
