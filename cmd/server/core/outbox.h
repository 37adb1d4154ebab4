/* Commands for agents: signed when they are queued, delivered by whichever replica holds the
 * agent's stream. */
#ifndef SERVER_CORE_OUTBOX_H
#define SERVER_CORE_OUTBOX_H

#include "cmd/server/core/work.h"
#include "cmd/server/store/command.h"

struct outbox_order { /* what is to be queued, for whom; borrowed for the call */
    int64_t workspace_id;
    const char *workspace;
    int64_t agent_id;
    const char *agent_name;
    const char *kind;        /* static storage */
    struct str_view payload; /* packed AgentCommand, lives as long as the transaction */
    const char *actor;
    int64_t ttl_us;
    const char *idempotency_key; /* "": none */
    const char *sandbox_id;      /* the one it is about; "": none */
};

/*
 * Inside a transaction: takes the agent's next sequence, signs, stores, and owes the wakes.
 * ERR_BUSY: the idempotency key is in use by a call at the same time; ERR_LIMIT: the arena is full.
 */
enum err_code outbox_queue(
    struct work *work,
    const struct outbox_order *order,
    struct command_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* ed25519 by the server's command key over the fields, into 64 bytes. ERR_LIMIT: too large. */
struct command_signature_fields;
enum err_code outbox_sign(
    const struct service *service,
    const struct command_signature_fields *fields,
    uint8_t *ret_signature,
    struct err_info *err) MUST_CHECK;

#endif
