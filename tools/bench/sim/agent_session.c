/* Registering, the handshake and heartbeats of a simulated agent. */
#include "cmd/agent/link/challenge.h"
#include "common/base/log.h"
#include "common/wire/timestamp.h"
#include "tools/bench/sim/fleet_private.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>

enum {
    API_KEY_MIN = 20,
    NAME_BYTES = 80
};

static void keep_server(struct fleet *fleet, const Agentgateway__V1__RegisterResponse *reply)
{
    if (fleet->server_id[0] == '\0'
        && str_copy(str_of(reply->server_id), fleet->server_id, SERVER_ID_BYTES) == ERR_OK) {
        memcpy(fleet->command_pubkey, reply->command_pubkey.data, KEY_PUBLIC_BYTES);
    }
}

static enum err_code open_api_key(
    struct agent *agent, const Agentgateway__V1__RegisterResponse *reply)
{
    struct key_box *box = NULL;
    AUTO_SECRET struct secret *api_key = NULL;
    struct str_view sealed =
        str_from((const char *)reply->sealed_api_key.data, reply->sealed_api_key.len);
    TRY(key_box_from_seed(str_from((const char *)agent->encryption_seed, KEY_SEED_BYTES), &box));
    enum err_code code = key_open(box, sealed, &api_key);
    key_box_destroy(box);
    TRY(code);
    return secret_peek(api_key).len < API_KEY_MIN
        ? ERR_INVALID
        : str_copy(secret_peek(api_key), agent->api_key, sizeof(agent->api_key));
}

static void on_registered(struct agent *agent, const ProtobufCMessage *message)
{
    const Agentgateway__V1__RegisterResponse *reply = (const void *)message;
    if (reply->enrollment_status
        != AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_CONFIRMED) {
        struct link_event event = { .type = LINK_EVENT_PENDING,
                                    .delay_us = (int64_t)reply->poll_after_ms * US_PER_MS };
        agent_feed(agent, &event);
        return;
    }
    if (reply->command_pubkey.len != KEY_PUBLIC_BYTES || open_api_key(agent, reply) != ERR_OK) {
        agent_fail(agent, TALLY_REGISTER, ERR_CORRUPT);
        return;
    }
    keep_server(agent->fleet, reply);
    agent->id = reply->agent_id;
    mem_free(STEAL(agent->token));
    fleet_count(agent->fleet, TALLY_REGISTERED, 1);
    agent_feed_type(agent, LINK_EVENT_ENROLLED);
}

void agent_register(struct agent *agent)
{
    Agentgateway__V1__RegisterRequest request = AGENTGATEWAY__V1__REGISTER_REQUEST__INIT;
    Agentgateway__V1__HostFacts host = AGENTGATEWAY__V1__HOST_FACTS__INIT;
    char os[] = "linux";
    char version[] = "belay-sim";
    char name[NAME_BYTES];
    (void)snprintf(
        name,
        sizeof(name),
        "%s-%s-%u",
        agent->fleet->plan->name,
        agent->fleet->board->run,
        agent->fleet->first + agent->number + 1);
    host.os = os;
    request.enrollment_token = agent->token;
    request.name = name;
    request.identity_pubkey.data = agent->identity_public;
    request.identity_pubkey.len = KEY_PUBLIC_BYTES;
    request.encryption_pubkey.data = agent->encryption_public;
    request.encryption_pubkey.len = KEY_PUBLIC_BYTES;
    request.agent_version = version;
    request.host = &host;
    agent_call(
        agent,
        TALLY_REGISTER,
        GATEWAY_PATH("Register"),
        &request.base,
        &agentgateway__v1__register_response__descriptor,
        on_registered);
}

static void on_challenge(struct agent *agent, const ProtobufCMessage *message)
{
    const Agentgateway__V1__BeginAuthHandshakeResponse *reply = (const void *)message;
    struct str_view challenge = str_from((const char *)reply->challenge.data, reply->challenge.len);
    if (!challenge_is_ours(challenge, agent->fleet->server_id, agent->id)) {
        agent_fail(agent, TALLY_BEGIN, ERR_DENIED);
        return;
    }
    memcpy(agent->challenge, challenge.ptr, sizeof(agent->challenge));
    agent_feed_type(agent, LINK_EVENT_CHALLENGE);
}

void agent_begin(struct agent *agent)
{
    Agentgateway__V1__BeginAuthHandshakeRequest request =
        AGENTGATEWAY__V1__BEGIN_AUTH_HANDSHAKE_REQUEST__INIT;
    request.api_key = agent->api_key;
    request.identity_pubkey.data = agent->identity_public;
    request.identity_pubkey.len = KEY_PUBLIC_BYTES;
    agent_call(
        agent,
        TALLY_BEGIN,
        GATEWAY_PATH("BeginAuthHandshake"),
        &request.base,
        &agentgateway__v1__begin_auth_handshake_response__descriptor,
        on_challenge);
}

static void on_session(struct agent *agent, const ProtobufCMessage *message)
{
    const Agentgateway__V1__CompleteAuthHandshakeResponse *reply = (const void *)message;
    (void)snprintf(
        agent->authorization, sizeof(agent->authorization), "Bearer %s", reply->session_token);
    agent->session_expires_at = wire_timestamp_us(reply->expires_at, 0);
    agent_note_acked(agent, reply->telemetry_acked_sequence);
    fleet_count(agent->fleet, TALLY_SESSIONS, 1);
    struct link_event event = { .type = LINK_EVENT_SESSION,
                                .heartbeat_us = (int64_t)reply->heartbeat_interval_ms * US_PER_MS };
    agent_feed(agent, &event);
}

void agent_complete(struct agent *agent)
{
    Agentgateway__V1__CompleteAuthHandshakeRequest request =
        AGENTGATEWAY__V1__COMPLETE_AUTH_HANDSHAKE_REQUEST__INIT;
    uint8_t signature[KEY_SIGNATURE_BYTES];
    struct key_sign *identity = NULL;
    struct str_view seed = str_from((const char *)agent->identity_seed, KEY_SEED_BYTES);
    if (key_sign_from_seed(seed, &identity) != ERR_OK) {
        agent_fail(agent, TALLY_COMPLETE, ERR_INTERNAL);
        return;
    }
    struct str_view challenge = str_from((const char *)agent->challenge, sizeof(agent->challenge));
    key_sign_message(identity, challenge, signature);
    key_sign_destroy(identity);
    request.challenge.data = agent->challenge;
    request.challenge.len = sizeof(agent->challenge);
    request.signature.data = signature;
    request.signature.len = sizeof(signature);
    agent_call(
        agent,
        TALLY_COMPLETE,
        GATEWAY_PATH("CompleteAuthHandshake"),
        &request.base,
        &agentgateway__v1__complete_auth_handshake_response__descriptor,
        on_session);
}

static void on_heartbeat(struct agent *agent, const ProtobufCMessage *message)
{
    const Agentgateway__V1__UploadHeartbeatResponse *reply = (const void *)message;
    fleet_count(agent->fleet, TALLY_HEARTBEATS, 1);
    struct link_event event = { .type = LINK_EVENT_HEARTBEAT,
                                .heartbeat_us = (int64_t)reply->heartbeat_interval_ms * US_PER_MS };
    agent_feed(agent, &event);
}

void agent_heartbeat(struct agent *agent)
{
    Agentgateway__V1__UploadHeartbeatRequest request =
        AGENTGATEWAY__V1__UPLOAD_HEARTBEAT_REQUEST__INIT;
    Agentgateway__V1__AgentStatus status = AGENTGATEWAY__V1__AGENT_STATUS__INIT;
    Google__Protobuf__Timestamp now = wire_timestamp_of(clock_wall(clock_system()));
    char state[] = "ok";
    status.spool_records = agent->made - agent->acked;
    status.state = state;
    request.sent_at = &now;
    request.status = &status;
    agent_call(
        agent,
        TALLY_HEARTBEAT,
        GATEWAY_PATH("UploadHeartbeat"),
        &request.base,
        &agentgateway__v1__upload_heartbeat_response__descriptor,
        on_heartbeat);
}
