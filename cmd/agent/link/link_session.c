/* Handshake and heartbeats: proves who we are, and says how we are. */
#include "cmd/agent/link/challenge.h"
#include "cmd/agent/link/link_private.h"
#include "common/base/log.h"
#include "common/sys/fault.h"
#include "common/wire/timestamp.h"

#include <stdio.h>

enum {
    AUTHORIZATION_BYTES = 8192
};

static enum err_code load_api_key(struct link *link, struct secret **ret_key, struct err_info *err)
{
    struct state *state = link->options.state;
    link->tries_next_key =
        !link->skips_next_key && state_load_api_key(state, true, ret_key, NULL) == ERR_OK;
    return link->tries_next_key ? ERR_OK : state_load_api_key(state, false, ret_key, err);
}

/* An offered key that is not taken must not lock us out: the old one is tried next. */
static void on_refused(
    struct link *link, enum err_code code, const char *what, const struct err_info *err)
{
    bool refused = code == ERR_UNAUTHENTICATED || code == ERR_DENIED;
    link->skips_next_key = refused && link->tries_next_key;
    if (link->skips_next_key) {
        link_report(link, code, what, err);
        link_feed_type(link, LINK_EVENT_FAILED);
        return;
    }
    link_fail(link, code, what, err);
}

static void on_challenge(
    struct link *link,
    enum err_code code,
    const ProtobufCMessage *message,
    const struct err_info *err)
{
    const Agentgateway__V1__BeginAuthHandshakeResponse *reply = (const void *)message;
    const struct state_enrollment *enrollment = &link->enrollment;
    if (code != ERR_OK) {
        on_refused(link, code, "handshake", err);
        return;
    }
    struct str_view challenge = str_from((const char *)reply->challenge.data, reply->challenge.len);
    if (!challenge_is_ours(challenge, enrollment->server_id, enrollment->agent_id)) {
        link_fail(
            link,
            ERR_DENIED,
            "handshake: the challenge is not for this agent and server; nothing was signed",
            NULL);
        return;
    }
    memcpy(link->challenge, challenge.ptr, sizeof(link->challenge));
    FAULT_POINT("agent.challenge.received");
    link_feed_type(link, LINK_EVENT_CHALLENGE);
}

void link_begin(struct link *link)
{
    Agentgateway__V1__BeginAuthHandshakeRequest request;
    AUTO_SECRET struct secret *api_key = NULL;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = load_api_key(link, &api_key, &err);
    agentgateway__v1__begin_auth_handshake_request__init(&request);
    if (code != ERR_OK) {
        link_report(link, code, "handshake", &err);
        link_feed_type(link, LINK_EVENT_REFUSED);
        return;
    }
    secret_destroy(STEAL(link->authorization));
    if (!link_need_channel(link)) {
        return;
    }
    request.api_key = CONST_CAST(char *, secret_peek(api_key).ptr);
    request.identity_pubkey.data =
        CONST_CAST(uint8_t *, key_sign_public(state_identity(link->options.state)));
    request.identity_pubkey.len = KEY_PUBLIC_BYTES;
    link_call(
        link,
        LINK_PATH("BeginAuthHandshake"),
        &request.base,
        &agentgateway__v1__begin_auth_handshake_response__descriptor,
        on_challenge);
}

static void set_authorization(struct link *link, const char *token)
{
    AUTO_BUF struct buf text = BUF_INIT(AUTHORIZATION_BYTES);
    buf_append_str(&text, STR("Bearer "));
    buf_append_str(&text, str_of(token));
    secret_destroy(STEAL(link->authorization));
    link->authorization = secret_create(buf_text(&text), text.len);
    secret_wipe(text.data, text.len);
}

static void on_session(
    struct link *link,
    enum err_code code,
    const ProtobufCMessage *message,
    const struct err_info *err)
{
    const Agentgateway__V1__CompleteAuthHandshakeResponse *reply = (const void *)message;
    struct err_info local = ERR_INFO_INIT;
    if (code != ERR_OK) {
        on_refused(link, code, "handshake", err);
        return;
    }
    FAULT_POINT("agent.session.received");
    if (link->tries_next_key && state_promote_api_key(link->options.state, &local) != ERR_OK) {
        link_report(link, local.code, "keeping the new key", &local);
    }
    link->skips_next_key = false;
    FAULT_POINT("agent.key.promoted");
    uploader_resume(link->uploaders[SPOOL_TELEMETRY], reply->telemetry_acked_sequence);
    uploader_resume(link->uploaders[SPOOL_EVENTS], reply->events_acked_sequence);
    FAULT_POINT("agent.marks.adopted");
    set_authorization(link, reply->session_token);
    link->takes_copies = reply->takes_copies;
    link->session_expires_at = link_time_of(reply->expires_at);
    struct link_event event = { .type = LINK_EVENT_SESSION,
                                .heartbeat_us = (int64_t)reply->heartbeat_interval_ms * US_PER_MS };
    link_feed(link, &event);
}

void link_complete(struct link *link)
{
    Agentgateway__V1__CompleteAuthHandshakeRequest request =
        AGENTGATEWAY__V1__COMPLETE_AUTH_HANDSHAKE_REQUEST__INIT;
    uint8_t signature[KEY_SIGNATURE_BYTES];
    struct str_view challenge = str_from((const char *)link->challenge, sizeof(link->challenge));
    key_sign_message(state_identity(link->options.state), challenge, signature);
    request.challenge.data = link->challenge;
    request.challenge.len = sizeof(link->challenge);
    request.signature.data = signature;
    request.signature.len = sizeof(signature);
    link_call(
        link,
        LINK_PATH("CompleteAuthHandshake"),
        &request.base,
        &agentgateway__v1__complete_auth_handshake_response__descriptor,
        on_session);
}

static void on_heartbeat(
    struct link *link,
    enum err_code code,
    const ProtobufCMessage *message,
    const struct err_info *err)
{
    const Agentgateway__V1__UploadHeartbeatResponse *reply = (const void *)message;
    if (code == ERR_UNAUTHENTICATED) {
        link_report(link, code, "heartbeat", err);
        link_feed_type(link, LINK_EVENT_FAILED); /* the session is over; a handshake tells why */
        return;
    }
    if (code != ERR_OK) {
        link_report(
            link,
            code,
            "heartbeat",
            err); /* the control stream tells whether the server is there */
        return;
    }
    struct link_event event = { .type = LINK_EVENT_HEARTBEAT,
                                .heartbeat_us = (int64_t)reply->heartbeat_interval_ms * US_PER_MS };
    link_feed(link, &event);
}

static void fill_status(struct link *link, Agentgateway__V1__AgentStatus *message)
{
    struct spool_stats spool = { 0 };
    struct link_status status = { 0 };
    agentgateway__v1__agent_status__init(message);
    if (link->ops->get_status != NULL) {
        link->ops->get_status(link->context, &status);
    }
    if (link->options.spool != NULL) {
        spool_get_stats(link->options.spool, &spool);
    }
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        message->spool_records += spool.streams[i].records;
        message->spool_bytes += spool.streams[i].bytes;
        message->spool_dropped += spool.streams[i].dropped_records;
    }
    message->spool_records += spool.ring_records;
    message->uptime_ms =
        (uint64_t)((loop_now(link->options.loop).value - link->created_at.value) / US_PER_MS);
    message->commands_running = status.commands_running;
    message->state = CONST_CAST(char *, spool.is_degraded ? "degraded" : "ok");
}

void link_heartbeat(struct link *link)
{
    Agentgateway__V1__UploadHeartbeatRequest request =
        AGENTGATEWAY__V1__UPLOAD_HEARTBEAT_REQUEST__INIT;
    Agentgateway__V1__AgentStatus status;
    Google__Protobuf__Timestamp now = wire_timestamp_of(clock_wall(link->options.clock));
    fill_status(link, &status);
    request.sent_at = &now;
    request.status = &status;
    link_call(
        link,
        LINK_PATH("UploadHeartbeat"),
        &request.base,
        &agentgateway__v1__upload_heartbeat_response__descriptor,
        on_heartbeat);
    link_send_capacity(link);
}
