/*
 * May this command act, may this relay be opened? Signature by the pinned key, for us, not seen, in
 * time. Pure; any thread.
 */
#ifndef CMD_AGENT_COMMAND_VERIFY_H
#define CMD_AGENT_COMMAND_VERIFY_H

#include "common/base/time.h"
#include "common/crypto/key.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

enum verify_verdict {
    VERIFY_OK,
    VERIFY_MALFORMED, /* a bound broken, a time missing */
    VERIFY_SIGNATURE, /* not by the server's command key, or not for this agent */
    VERIFY_EXPIRED,
    VERIFY_REPLAYED /* a sequence that was passed before */
};

struct verify_context {
    const char *server_id;
    int64_t agent_id;
    const uint8_t *command_pubkey; /* KEY_PUBLIC_BYTES */
    uint64_t last_sequence;
    struct wall_us now; /* by the server's clock, if known */
};

/* The signature alone: enough to answer a repetition. */
enum verify_verdict verify_signature(
    const struct verify_context *context, const Agentgateway__V1__ControlCommand *command);

/* Sequence and time, of a command whose signature is good. */
enum verify_verdict verify_order(
    const struct verify_context *context, const Agentgateway__V1__ControlCommand *command);

/* A relay: bounds of its names, signature, time. Whether its id was seen is for the caller to know.
 */
enum verify_verdict verify_relay(
    const struct verify_context *context, const Agentgateway__V1__ControlRelayOpen *order);

const char *verify_text(enum verify_verdict verdict);

#endif
