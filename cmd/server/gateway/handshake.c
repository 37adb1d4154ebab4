/*
 * The handshake: an api key names the agent, a signature over a fresh challenge proves it. The
 * challenge is consumed whatever the signature is worth; its first half tells the agent that it
 * comes from this server for this agent, so that nothing else can be had signed.
 */
#include "cmd/server/auth/gate.h"
#include "cmd/server/core/work.h"
#include "cmd/server/gateway/bootstrap.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/session.h"
#include "common/base/id.h"
#include "common/crypto/hash.h"
#include "common/sys/fault.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    TAG_BYTES = 32,
    CHALLENGE_BYTES = 64
};

static void make_challenge(
    const struct service *service, int64_t agent_id, uint8_t out[CHALLENGE_BYTES])
{
    char id[24];
    (void)snprintf(id, sizeof(id), "%" PRId64, agent_id);
    const struct str_view parts[] = {
        STR("belay.agent.challenge.v1"),
        str_of(service->server_id),
        str_of(id),
    };
    hash_blake2b_parts(parts, ARRAY_LENGTH(parts), out);
    id_random(out + TAG_BYTES, CHALLENGE_BYTES - TAG_BYTES);
}

struct begin {
    const Agentgateway__V1__BeginAuthHandshakeRequest *request;
    uint8_t key_hash[HASH_SHA256_BYTES];
    uint8_t challenge[CHALLENGE_BYTES];
    int64_t expires_at;
    const char *refusal;
};

static enum err_code begin_work(struct work *work, void *context, struct err_info *err)
{
    struct begin *begin = context;
    struct agent_record agent;
    begin->refusal = NULL;
    enum err_code code =
        store_agent_by_api_key(work->conn, begin->key_hash, work->arena, &agent, err);
    if (code == ERR_NOT_FOUND) {
        begin->refusal = "no such api key";
        return ERR_UNAUTHENTICATED;
    }
    TRY(code);
    struct str_view key = str_from((const char *)begin->request->identity_pubkey.data, 32);
    if (!secret_equal(agent.identity_key, key)) {
        begin->refusal = "the api key belongs to another identity key";
        return ERR_UNAUTHENTICATED;
    }
    if (agent.state != AGENT_CONFIRMED && agent.state != AGENT_EVICTED) {
        begin->refusal = "the agent is not confirmed";
        return ERR_UNAUTHENTICATED;
    }
    make_challenge(work->service, agent.id, begin->challenge);
    begin->expires_at = work->now.value + work->service->settings.challenge_us;
    const struct challenge_record record = {
        .workspace_id = agent.workspace_id,
        .agent_id = agent.id,
        .api_key_hash = str_from((const char *)begin->key_hash, sizeof(begin->key_hash)),
        .expires_at = begin->expires_at,
    };
    uint8_t hash[HASH_SHA256_BYTES];
    hash_sha256(str_from((const char *)begin->challenge, CHALLENGE_BYTES), hash);
    return store_challenge_add(work->conn, hash, &record, work->now, err);
}

enum err_code gateway_begin_handshake(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct begin begin = { .request =
                               (const Agentgateway__V1__BeginAuthHandshakeRequest *)request };
    struct str_view api_key = str_of(begin.request->api_key);
    struct arena *arena = rpc_call_arena(call);
    TRY(bootstrap_limit(call, api_key, err));
    token_hash(api_key, begin.key_hash);
    enum err_code code =
        work_run(rpc_call_worker(call), arena, SQL_ALL_WORKSPACES, begin_work, &begin, err);
    if (begin.refusal != NULL) {
        return bootstrap_refuse(call, "agent", BOOTSTRAP_REFUSED_KEY, begin.refusal, err);
    }
    TRY(code);
    FAULT_POINT("server.challenge.stored");
    Agentgateway__V1__BeginAuthHandshakeResponse *reply =
        wire_new(arena, &agentgateway__v1__begin_auth_handshake_response__descriptor);
    if (reply == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    reply->challenge.data = arena_dup(arena, begin.challenge, CHALLENGE_BYTES);
    reply->challenge.len = CHALLENGE_BYTES;
    reply->expires_at = wire_timestamp_new(arena, (struct wall_us){ begin.expires_at });
    if (reply->challenge.data == NULL || reply->expires_at == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    *ret_reply = &reply->base;
    return ERR_OK;
}

struct complete {
    struct rpc_call *call;
    const Agentgateway__V1__CompleteAuthHandshakeRequest *request;
    struct challenge_taken taken;
    struct secret *token;
    int64_t expires_at;
    const char *refusal;
};

static enum err_code take_challenge(
    struct work *work, struct complete *complete, struct err_info *err)
{
    uint8_t hash[HASH_SHA256_BYTES];
    const struct challenge_taken *taken = &complete->taken;
    struct str_view challenge =
        str_from((const char *)complete->request->challenge.data, complete->request->challenge.len);
    hash_sha256(challenge, hash);
    enum err_code code = store_challenge_take(work->conn, hash, work->arena, &complete->taken, err);
    if (code == ERR_NOT_FOUND) {
        complete->refusal = "no such challenge";
        return ERR_OK;
    }
    TRY(code);
    FAULT_POINT("server.challenge.taken");
    if (taken->expires_at <= work->now.value) {
        complete->refusal = "the challenge has expired";
    } else if (!key_verify(
                   (const uint8_t *)taken->identity_key.ptr,
                   challenge,
                   complete->request->signature.data)) {
        complete->refusal = "the signature is wrong";
    } else if (taken->agent_state != AGENT_CONFIRMED && taken->agent_state != AGENT_EVICTED) {
        complete->refusal = "the agent is not confirmed";
    }
    return ERR_OK;
}

static enum err_code audit_session(
    struct work *work, const struct complete *complete, struct err_info *err)
{
    char source[GATE_SOURCE_BYTES];
    char actor[32];
    char target[32];
    (void)snprintf(actor, sizeof(actor), "agent:%" PRId64, complete->taken.agent_id);
    (void)snprintf(target, sizeof(target), "agent/%" PRId64, complete->taken.agent_id);
    const struct audit_entry entry = {
        .workspace_id = complete->taken.workspace_id,
        .actor = actor,
        .action = "agent.session_begun",
        .target = target,
        .decision = "allowed",
        .reason = "",
        .request_id = rpc_call_id(complete->call),
        .source = gate_source(complete->call, source),
    };
    return work_audit(work, &entry, err);
}

/*
 * The agent is locked since its challenge was taken: its epoch and its marks are what they were
 * read as, and older sessions store nothing once this is committed.
 */
static enum err_code begin_session(
    struct work *work, struct complete *complete, struct err_info *err)
{
    const struct challenge_taken *taken = &complete->taken;
    uint8_t hash[HASH_SHA256_BYTES];
    token_hash(secret_peek(complete->token), hash);
    TRY(store_agent_raise_epoch(work->conn, taken->workspace_id, taken->agent_id, work->now, err));
    if (taken->is_offered_key) {
        TRY(store_agent_take_key(
            work->conn, taken->workspace_id, taken->agent_id, taken->api_key_hash, err));
    }
    complete->expires_at = work->now.value + work->service->settings.session_us;
    const struct session_record session = {
        .workspace_id = taken->workspace_id,
        .agent_id = taken->agent_id,
        .epoch = taken->session_epoch + 1,
        .expires_at = complete->expires_at,
    };
    TRY(store_session_put(work->conn, &session, hash, work->now, err));
    if (taken->session_epoch > 0) { /* the first of all ends none, and nobody remembers one */
        work_wake(work, HUB_SESSION, taken->agent_id);
    }
    work_wake(work, HUB_AGENTS, taken->workspace_id);
    return audit_session(work, complete, err);
}

/* Committed whatever comes of it: a challenge is good for one try. */
static enum err_code complete_work(struct work *work, void *context, struct err_info *err)
{
    struct complete *complete = context;
    complete->refusal = NULL;
    TRY(take_challenge(work, complete, err));
    return complete->refusal != NULL ? ERR_OK : begin_session(work, complete, err);
}

static enum err_code make_complete_reply(
    const struct complete *complete,
    const struct service *service,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct arena *arena = rpc_call_arena(complete->call);
    Agentgateway__V1__CompleteAuthHandshakeResponse *reply =
        wire_new(arena, &agentgateway__v1__complete_auth_handshake_response__descriptor);
    if (reply == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    reply->session_token = arena_str_dup(arena, secret_peek(complete->token));
    reply->expires_at = wire_timestamp_new(arena, (struct wall_us){ complete->expires_at });
    reply->heartbeat_interval_ms = (uint32_t)(service->settings.heartbeat_us / US_PER_MS);
    reply->telemetry_acked_sequence = (uint64_t)complete->taken.telemetry_sequence;
    reply->events_acked_sequence = (uint64_t)complete->taken.events_sequence;
    reply->session_epoch = (uint64_t)complete->taken.session_epoch + 1;
    reply->takes_copies = true;
    if (reply->session_token == NULL || reply->expires_at == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    *ret_reply = &reply->base;
    return ERR_OK;
}

enum err_code gateway_complete_handshake(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct service *service = rpc_call_service(call);
    struct complete complete = {
        .call = call,
        .request = (const Agentgateway__V1__CompleteAuthHandshakeRequest *)request,
    };
    struct str_view challenge =
        str_from((const char *)complete.request->challenge.data, complete.request->challenge.len);
    TRY(bootstrap_limit(call, challenge, err));
    AUTO_SECRET struct secret *token = token_create("bls_");
    complete.token = token;
    TRY(work_run(
        rpc_call_worker(call),
        rpc_call_arena(call),
        SQL_ALL_WORKSPACES,
        complete_work,
        &complete,
        err));
    if (complete.refusal != NULL) {
        return bootstrap_refuse(call, "agent", BOOTSTRAP_REFUSED_KEY, complete.refusal, err);
    }
    rpc_call_vouch(call); /* it has proved its key */
    FAULT_POINT("server.session.stored");
    return make_complete_reply(&complete, service, ret_reply, err);
}
