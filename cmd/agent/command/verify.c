#include "cmd/agent/command/verify.h"

#include "common/base/cleanup.h"
#include "common/crypto/command_signature.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

enum {
    ID_MAX = 512,
    ACTOR_MAX = 1024,
    PAYLOAD_MAX = 1048576,
    RELAY_ID_MIN = 16,
    RELAY_ID_MAX = 64,
    SANDBOX_ID_MAX = 64
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

static enum verify_verdict check_signature(
    const struct verify_context *context,
    const struct command_signature_fields *fields,
    const ProtobufCBinaryData *signature)
{
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    command_signature_message(fields, &message);
    bool good = buf_ok(&message)
        && key_verify(context->command_pubkey, buf_view(&message), signature->data);
    return good ? VERIFY_OK : VERIFY_SIGNATURE;
}

enum verify_verdict verify_signature(
    const struct verify_context *context, const Agentgateway__V1__ControlCommand *command)
{
    if (!is_well_formed(command)) {
        return VERIFY_MALFORMED;
    }
    const struct command_signature_fields fields = {
        .server_id = str_of(context->server_id),
        .agent_id = context->agent_id,
        .sequence = command->sequence,
        .command_id = str_of(command->command_id),
        .actor = str_of(command->actor),
        .issued_at = time_of(command->issued_at),
        .expires_at = time_of(command->expires_at),
        .payload = str_from((const char *)command->payload.data, command->payload.len),
    };
    return check_signature(context, &fields, &command->signature);
}

enum verify_verdict verify_order(
    const struct verify_context *context, const Agentgateway__V1__ControlCommand *command)
{
    if (command->sequence <= context->last_sequence) {
        return VERIFY_REPLAYED;
    }
    return context->now.value >= time_of(command->expires_at).value ? VERIFY_EXPIRED : VERIFY_OK;
}

static bool is_relay_well_formed(const Agentgateway__V1__ControlRelayOpen *order)
{
    size_t id_bytes = strlen(order->relay_id);
    size_t sandbox_bytes = strlen(order->sandbox_id);
    return id_bytes >= RELAY_ID_MIN && id_bytes <= RELAY_ID_MAX && sandbox_bytes >= 1
        && sandbox_bytes <= SANDBOX_ID_MAX && strlen(order->actor) <= ACTOR_MAX
        && order->signature.len == KEY_SIGNATURE_BYTES && has_time(order->expires_at);
}

enum verify_verdict verify_relay(
    const struct verify_context *context, const Agentgateway__V1__ControlRelayOpen *order)
{
    AUTO_BUF struct buf payload = BUF_INIT(PAYLOAD_MAX);
    Agentgateway__V1__ControlRelayOpen bare = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    if (!is_relay_well_formed(order)) {
        return VERIFY_MALFORMED;
    }
    bare.sandbox_id = order->sandbox_id;
    bare.target_case = order->target_case;
    bare.exec = order->exec; /* or tcp: they share their place */
    wire_pack(&bare.base, &payload);
    const struct command_signature_fields fields = {
        .server_id = str_of(context->server_id),
        .agent_id = context->agent_id,
        .command_id = str_of(order->relay_id),
        .actor = str_of(order->actor),
        .expires_at = time_of(order->expires_at),
        .payload = buf_view(&payload),
    };
    enum verify_verdict verdict =
        buf_ok(&payload) ? check_signature(context, &fields, &order->signature) : VERIFY_MALFORMED;
    bool is_late = context->now.value >= time_of(order->expires_at).value;
    return verdict == VERIFY_OK && is_late ? VERIFY_EXPIRED : verdict;
}

const char *verify_text(enum verify_verdict verdict)
{
    switch (verdict) {
    case VERIFY_OK:
        return "accepted";
    case VERIFY_MALFORMED:
        return "it breaks the contract's bounds";
    case VERIFY_SIGNATURE:
        return "the signature is not the server's, or not for this agent";
    case VERIFY_EXPIRED:
        return "it has expired";
    case VERIFY_REPLAYED:
        return "the sequence number was passed before";
    }
    return "refused";
}
