/*
 * Register: a single-use token buys a place for an identity key. A lost reply is harmless: the same
 * token with the same key gets the same answer until the agent's first handshake.
 */
#include "cmd/server/auth/gate.h"
#include "cmd/server/gateway/bootstrap.h"
#include "cmd/server/gateway/confirm.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/store/device.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "common/base/log.h"
#include "common/crypto/hash.h"
#include "common/sys/fault.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    POLL_AFTER_MS = 2000,
    LABELS_BYTES = 64 * 1024,
    FACTS_BYTES = 4096,
    HOST_BYTES = 4096
};

typedef Agentgateway__V1__RegisterRequest request_type;

struct registration {
    struct rpc_call *call;
    const request_type *request;
    uint8_t token_hash[HASH_SHA256_BYTES];
    struct enrollment_record enrollment;
    struct agent_record agent;
    const char *refusal; /* why, for the audit record; NULL: none */
};

/* The token's labels win over those the agent claims. */
static enum err_code merge_labels(
    const struct registration *registration, struct buf *out, struct err_info *err)
{
    const char *given = registration->enrollment.labels;
    const request_type *request = registration->request;
    buf_append_char(out, '{');
    for (size_t i = 0; i < request->n_labels; i++) {
        char quoted[512];
        (void)snprintf(quoted, sizeof(quoted), "\"%s\":", request->labels[i]->key);
        if (strstr(given, quoted) != NULL) {
            continue;
        }
        if (out->len > 1) {
            buf_append_char(out, ',');
        }
        buf_append_json(out, str_of(request->labels[i]->key));
        buf_append_char(out, ':');
        buf_append_json(out, str_of(request->labels[i]->value));
    }
    if (strcmp(given, "{}") == 0) {
        buf_append_char(out, '}');
    } else {
        if (out->len > 1) {
            buf_append_char(out, ',');
        }
        buf_append_str(out, str_of(given + 1));
    }
    return buf_ok(out) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "labels: too large");
}

static void write_facts(const Agentgateway__V1__HostFacts *host, struct buf *out)
{
    const struct {
        const char *key;
        const char *value;
    } texts[] = {
        { "os", host->os },
        { "arch", host->arch },
        { "kernel", host->kernel },
        { "hostname", host->hostname },
        { "machine_id", host->machine_id },
    };

    buf_append_char(out, '{');
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        buf_printf(out, "\"%s\":", texts[i].key);
        buf_append_json(out, str_of(texts[i].value));
        buf_append_char(out, ',');
    }
    buf_printf(
        out,
        "\"cpu_count\":\"%" PRIu32 "\",\"memory_bytes\":\"%" PRIu64 "\"}",
        host->cpu_count,
        host->memory_bytes);
}

static enum err_code add_host_device(
    struct work *work, const struct registration *registration, struct err_info *err)
{
    AUTO_BUF struct buf facts = BUF_INIT(FACTS_BYTES);
    if (registration->request->host == NULL) {
        buf_append_str(&facts, STR("{}"));
    } else {
        write_facts(registration->request->host, &facts);
    }
    if (!buf_ok(&facts)) {
        return ERR_SET(err, ERR_LIMIT, "host: too large");
    }
    const struct device_record device = {
        .workspace_id = registration->agent.workspace_id,
        .agent_id = registration->agent.id,
        .name = "host",
        .kind = "host",
        .labels = "{}",
        .facts = buf_text(&facts),
    };
    return store_device_put(work->conn, &device, work->now, err);
}

static enum err_code audit_agent(
    struct work *work,
    const struct registration *registration,
    const char *action,
    struct err_info *err)
{
    char source[GATE_SOURCE_BYTES];
    char target[32];
    (void)snprintf(target, sizeof(target), "agent/%" PRId64, registration->agent.id);
    const struct audit_entry entry = {
        .workspace_id = registration->agent.workspace_id,
        .actor = registration->enrollment.id,
        .action = action,
        .target = target,
        .decision = "allowed",
        .reason = "",
        .request_id = rpc_call_id(registration->call),
        .source = gate_source(registration->call, source),
    };
    return work_audit(work, &entry, err);
}

/* The record as it is to stand; host and labels in the work's arena. */
static enum err_code make_agent(
    struct work *work, struct registration *registration, struct err_info *err)
{
    const request_type *request = registration->request;
    AUTO_BUF struct buf labels = BUF_INIT(LABELS_BYTES);
    AUTO_BUF struct buf host = BUF_INIT(HOST_BYTES);
    TRY(merge_labels(registration, &labels, err));
    if (request->host != NULL) {
        wire_pack(&request->host->base, &host);
    }
    registration->agent = (struct agent_record){
        .workspace_id = registration->enrollment.workspace_id,
        .id = registration->enrollment.agent_id,
        .name = request->name,
        .state = AGENT_AWAITING_CONFIRMATION,
        .labels = arena_strdup(work->arena, buf_text(&labels)),
        .identity_key = str_from((const char *)request->identity_pubkey.data, 32),
        .encryption_key = str_from((const char *)request->encryption_pubkey.data, 32),
        .version = request->agent_version,
        .host = str_from(arena_dup(work->arena, buf_text(&host), host.len), host.len),
        .enrollment_id = registration->enrollment.id,
        .created_at = work->now.value,
        .created_by = registration->enrollment.created_by,
    };
    return registration->agent.labels == NULL || registration->agent.host.ptr == NULL
            || !buf_ok(&host)
        ? ERR_SET(err, ERR_LIMIT, "host: too large")
        : ERR_OK;
}

/* Of a token that confirms by itself the agent has its key from the beginning. */
static enum err_code add_agent(
    struct work *work, struct registration *registration, struct err_info *err)
{
    struct agent_record *agent = &registration->agent;
    struct confirm_key key;
    TRY(make_agent(work, registration, err));
    if (!registration->enrollment.auto_confirm) {
        return store_agent_enroll(work->conn, agent, NULL, err);
    }
    TRY(confirm_make_key(work, agent->encryption_key, NULL, &key, err));
    agent->state = AGENT_CONFIRMED;
    agent->sealed_api_key = key.sealed;
    return store_agent_enroll(work->conn, agent, key.hash, err);
}

/*
 * The token is this transaction's alone: of many at once, one wins. Nothing from here to the commit
 * needs an answer, so on PostgreSQL all of it is one round trip, and an agent that stands already
 * is told of with the commit (ERR_EXISTS of work_run).
 */
static enum err_code enroll(
    struct work *work, struct registration *registration, struct err_info *err)
{
    const struct enrollment_record *enrollment = &registration->enrollment;
    bool confirms = enrollment->auto_confirm;
    TRY(add_agent(work, registration, err));
    TRY(add_host_device(work, registration, err));
    TRY(store_enrollment_settle(
        work->conn,
        enrollment,
        confirms ? ENROLLMENT_CONFIRMED : ENROLLMENT_AWAITING_CONFIRMATION,
        err));
    work_wake(work, HUB_AGENTS, enrollment->workspace_id);
    return audit_agent(
        work, registration, confirms ? "agent.registered_and_confirmed" : "agent.registered", err);
}

/* A token that is spent answers its own key, and nobody else, until the first handshake. */
static enum err_code answer_again(
    struct work *work, struct registration *registration, struct err_info *err)
{
    const struct enrollment_record *enrollment = &registration->enrollment;
    if (enrollment->state != ENROLLMENT_AWAITING_CONFIRMATION
        && enrollment->state != ENROLLMENT_CONFIRMED) {
        registration->refusal = "the token is expired, cancelled or revoked";
        return ERR_UNAUTHENTICATED;
    }
    struct str_view key = str_from((const char *)registration->request->identity_pubkey.data, 32);
    if (enrollment->agent_id == 0 || !secret_equal(enrollment->identity_key, key)) {
        registration->refusal = "the token was used with another identity key";
        return ERR_UNAUTHENTICATED;
    }
    TRY(store_agent_get(
        work->conn,
        enrollment->workspace_id,
        enrollment->agent_id,
        work->arena,
        &registration->agent,
        err));
    if (registration->agent.handshaken || registration->agent.state == AGENT_REVOKED) {
        registration->refusal =
            "the token was used and its agent has begun a session or is revoked";
        return ERR_UNAUTHENTICATED;
    }
    return ERR_OK;
}

/* Not there to be taken: it was never given out, or it was used. */
static enum err_code find_spent(
    struct work *work, struct registration *registration, struct err_info *err)
{
    enum err_code code = store_enrollment_by_token(
        work->conn, registration->token_hash, work->arena, &registration->enrollment, err);
    if (code == ERR_NOT_FOUND) {
        registration->refusal = "no such token";
        return ERR_UNAUTHENTICATED;
    }
    TRY(code);
    return answer_again(work, registration, err);
}

static enum err_code run(struct work *work, void *context, struct err_info *err)
{
    struct registration *registration = context;
    registration->refusal = NULL;
    enum err_code code = store_enrollment_take(
        work->conn, registration->token_hash, work->arena, &registration->enrollment, err);
    if (code == ERR_NOT_FOUND) {
        return find_spent(work, registration, err);
    }
    TRY(code);
    if (registration->enrollment.expires_at <= work->now.value) {
        registration->refusal = "the token has expired";
        return ERR_UNAUTHENTICATED;
    }
    return enroll(work, registration, err);
}

static enum err_code check_keys(const request_type *request, struct err_info *err)
{
    if (!key_sign_public_is_valid(request->identity_pubkey.data)) {
        return ERR_SET(err, ERR_INVALID, "identity_pubkey: not a usable ed25519 key");
    }
    if (!key_box_public_is_valid(request->encryption_pubkey.data)) {
        return ERR_SET(err, ERR_INVALID, "encryption_pubkey: not a usable X25519 key");
    }
    return ERR_OK;
}

static ProtobufCMessage *make_reply(
    const struct service *service, struct arena *arena, const struct agent_record *agent)
{
    Agentgateway__V1__RegisterResponse *reply =
        wire_new(arena, &agentgateway__v1__register_response__descriptor);
    char fingerprint[KEY_FINGERPRINT_TEXT_BYTES];
    bool confirmed = agent->state == AGENT_CONFIRMED;
    if (reply == NULL) {
        return NULL;
    }
    reply->agent_id = agent->id;
    reply->enrollment_status = confirmed
        ? AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_CONFIRMED
        : AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_PENDING;
    reply->identity_fingerprint =
        arena_strdup(arena, key_fingerprint((const uint8_t *)agent->identity_key.ptr, fingerprint));
    reply->server_id = arena_strdup(arena, service->server_id);
    reply->command_pubkey.data =
        arena_dup(arena, key_sign_public(service->command_key), KEY_PUBLIC_BYTES);
    reply->command_pubkey.len = KEY_PUBLIC_BYTES;
    reply->poll_after_ms = confirmed ? 0 : POLL_AFTER_MS;
    if (confirmed && agent->sealed_api_key.len > 0) {
        reply->sealed_api_key.data =
            arena_dup(arena, agent->sealed_api_key.ptr, agent->sealed_api_key.len);
        reply->sealed_api_key.len = agent->sealed_api_key.len;
    }
    /* A field that memory had no room for must not go out as an empty one. */
    bool is_whole = reply->identity_fingerprint != NULL && reply->server_id != NULL
        && reply->command_pubkey.data != NULL
        && (reply->sealed_api_key.len == 0 || reply->sealed_api_key.data != NULL);
    return is_whole ? &reply->base : NULL;
}

enum err_code gateway_register(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct service *service = rpc_call_service(call);
    struct registration registration = { .call = call, .request = (const request_type *)request };
    struct str_view token = str_of(registration.request->enrollment_token);
    TRY(bootstrap_limit(call, token, err));
    TRY(check_keys(registration.request, err));
    token_hash(token, registration.token_hash);
    enum err_code code = work_run(
        rpc_call_worker(call), rpc_call_arena(call), SQL_ALL_WORKSPACES, run, &registration, err);
    if (registration.refusal != NULL) {
        return bootstrap_refuse(
            call, "enrollment", BOOTSTRAP_REFUSED_TOKEN, registration.refusal, err);
    }
    if (code == ERR_EXISTS) {
        return store_agent_exists(err);
    }
    TRY(code);
    rpc_call_vouch(call); /* its token was good */
    FAULT_POINT("server.registration.stored");
    *ret_reply = make_reply(service, rpc_call_arena(call), &registration.agent);
    return *ret_reply == NULL ? ERR_SET(err, ERR_NOMEM, "out of memory") : ERR_OK;
}
