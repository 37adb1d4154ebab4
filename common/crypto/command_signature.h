/*
 * What the server signs of a command and the agent checks: every field that decides what a command
 * does, for whom and until when, each with its length, so that no two commands share a message.
 * Signed with ed25519 by the server's command key (common/crypto/key.h). Pure; any thread.
 */
#ifndef COMMON_CRYPTO_COMMAND_SIGNATURE_H
#define COMMON_CRYPTO_COMMAND_SIGNATURE_H

#include "common/base/buf.h"
#include "common/base/time.h"

#define COMMAND_SIGNATURE_DOMAIN "belay.command.v1"

struct command_signature_fields {
    struct str_view server_id;
    int64_t agent_id;
    uint64_t sequence;
    struct str_view command_id;
    struct str_view actor;
    struct wall_us issued_at;
    struct wall_us expires_at;
    struct str_view payload; /* the packed AgentCommand */
};

/* Enough for every command whose texts keep the contract's bounds. */
enum {
    COMMAND_SIGNATURE_MESSAGE_BYTES = 32768
};

/*
 * Appends to message, each as u64 big endian length and bytes: the domain, server_id, agent_id,
 * sequence, command_id, actor, issued_at, expires_at (numbers in decimal, times in microseconds)
 * and the 64 raw bytes of SHA-512(payload). Check buf_ok afterwards.
 */
void command_signature_message(const struct command_signature_fields *fields, struct buf *message);

#endif
