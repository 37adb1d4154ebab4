#include "cmd/agent/command/verify.h"

#include "common/base/cleanup.h"
#include "common/crypto/command_signature.h"
#include "common/wire/timestamp.h"

enum {
    ID_MAX = 512,
    ACTOR_MAX = 1024,
    PAYLOAD_MAX = 1048576
};

static struct wall_us time_of(const Google__Protobuf__Timestamp *timestamp)
{
    return (struct wall_us){ wire_timestamp_us(timestamp, 0) };
}

static bool has_time(const Google__Protobuf__Timestamp *timestamp)
{
    return timestamp != NULL && timestamp->seconds >= 0
        && timestamp->seconds <= WALL_US_MAX / 1000000 && timestamp->nanos >= 0
        && timestamp->nanos < 1000000000;
}

static bool is_well_formed(const Agentgateway__V1__ControlCommand *command)
{
    size_t id_bytes = strlen(command->command_id);
    return id_bytes >= 1 && id_bytes <= ID_MAX && strlen(command->actor) <= ACTOR_MAX
        && command->payload.len <= PAYLOAD_MAX && command->sequence >= 1
        && command->sequence <= INT64_MAX && command->signature.len == KEY_SIGNATURE_BYTES
        && has_time(command->issued_at) && has_time(command->expires_at);
}

enum verify_verdict verify_signature(
    const struct verify_context *context, const Agentgateway__V1__ControlCommand *command)
{
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    if (!is_well_formed(command)) {
        return VERIFY_MALFORMED;
    }
    struct command_signature_fields fields = {
        .server_id = str_of(context->server_id),
        .agent_id = context->agent_id,
        .sequence = command->sequence,
        .command_id = str_of(command->command_id),
        .actor = str_of(command->actor),
        .issued_at = time_of(command->issued_at),
        .expires_at = time_of(command->expires_at),
        .payload = str_from((const char *)command->payload.data, command->payload.len),
    };
    command_signature_message(&fields, &message);
    bool good = buf_ok(&message)
        && key_verify(context->command_pubkey, buf_view(&message), command->signature.data);
    return good ? VERIFY_OK : VERIFY_SIGNATURE;
}

enum verify_verdict verify_order(
    const struct verify_context *context, const Agentgateway__V1__ControlCommand *command)
{
    if (command->sequence <= context->last_sequence) {
        return VERIFY_REPLAYED;
    }
    return context->now.value >= time_of(command->expires_at).value ? VERIFY_EXPIRED : VERIFY_OK;
}

const char *verify_text(enum verify_verdict verdict)
{
    switch (verdict) {
    case VERIFY_OK:
        return "accepted";
    case VERIFY_MALFORMED:
        return "the command breaks the contract's bounds";
    case VERIFY_SIGNATURE:
        return "the signature is not the server's, or not for this agent";
    case VERIFY_EXPIRED:
        return "the command has expired";
    case VERIFY_REPLAYED:
        return "the sequence number was passed before";
    }
    return "refused";
}
