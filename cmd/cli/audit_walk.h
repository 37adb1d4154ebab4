/*
 * A walk along the chain of a workspace's audit records (common/crypto/audit_chain.h), from the
 * newest to the first, that finds what was taken away, changed or put in. Holds one record at a
 * time. Pure.
 */
#ifndef CMD_CLI_AUDIT_WALK_H
#define CMD_CLI_AUDIT_WALK_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/crypto/audit_chain.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

/* A record as it is known by: where it stands, and its hash. */
struct audit_head {
    int64_t sequence; /* 0: none */
    uint8_t hash[AUDIT_HASH_BYTES];
};

struct audit_walk {
    struct audit_head kept;   /* known from before; in: set it, or leave it zero */
    struct audit_head newest; /* out */
    struct audit_head last;   /* seen; what it says waits for the hash before it */
    struct buf record;
};

#define AUDIT_WALK_INIT                             \
    {                                               \
        .record = BUF_INIT(AUDIT_WALK_RECORD_BYTES) \
    }

enum {
    AUDIT_WALK_RECORD_BYTES = 1024 * 1024
};

void audit_walk_deinit(struct audit_walk *walk);

/* "57:HASH", the hash in 64 hexadecimal digits; ERR_INVALID. */
enum err_code audit_head_parse(const char *text, struct audit_head *ret_head) MUST_CHECK;
void audit_head_write(const struct audit_head *head, struct buf *out);

/* The next older record. ERR_CORRUPT: the chain is broken; err says where and how. */
enum err_code audit_walk_next(
    struct audit_walk *walk,
    const Agentgateway__V1__AuditRecord *record,
    struct err_info *err) MUST_CHECK;

/* There is no older one. ERR_CORRUPT, as above. */
enum err_code audit_walk_end(struct audit_walk *walk, struct err_info *err) MUST_CHECK;

#define AUTO_AUDIT_WALK __attribute__((cleanup(audit_walk_deinit)))

#endif
