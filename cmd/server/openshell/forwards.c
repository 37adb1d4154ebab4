/* Tokens for forwards: CreateSshSession, RevokeSshSession. */
#include "cmd/server/openshell/handlers.h"
#include "cmd/server/openshell/map.h"
#include "common/crypto/hash.h"
#include "common/wire/wire.h"

#define FORWARD_TTL_US (INT64_C(24) * US_PER_HOUR)

/* Where a client connects: the same place as for every other call. */
static void fill_place(const struct api_call *api, Openshell__V1__CreateSshSessionResponse *reply)
{
    const char *colon = strrchr(api->service->join_target, ':');
    struct str_view host = str_of(api->service->join_target);
    uint64_t port = 0;
    if (colon != NULL && str_parse_uint64(str_of(colon + 1), UINT16_MAX, &port) == ERR_OK) {
        reply->gateway_port = (uint32_t)port;
        host = str_from(host.ptr, (size_t)(colon - api->service->join_target));
    }
    reply->gateway_host = arena_str_dup(api->arena, host);
    reply->gateway_scheme =
        CONST_CAST(char *, api->service->ca_sha256[0] == '\0' ? "http" : "https");
}

OPENSHELL_HANDLER(create_ssh_session)
{
    const Openshell__V1__CreateSshSessionRequest *request =
        (const Openshell__V1__CreateSshSessionRequest *)message;
    struct sandbox_record record;
    enum phase phase = PHASE_GONE;
    uint8_t hash[HASH_SHA256_BYTES];
    api->target = arena_printf(api->arena, "sandbox/%s", request->sandbox_id);
    TRY(store_sandbox_get(
        api->work->conn, api->workspace_id, str_of(request->sandbox_id), api->arena, &record, err));
    TRY(phase_after_order((enum phase)record.phase, PHASE_ORDER_EXEC, &phase, err));
    AUTO_SECRET struct secret *token = token_create("blf_");
    token_hash(secret_peek(token), hash);
    const struct sandbox_forward_record forward = {
        .sandbox_id = record.id,
        .created_by = api->principal->subject,
        .created_at = api->work->now.value,
        .expires_at = api->work->now.value + FORWARD_TTL_US,
    };
    TRY(store_sandbox_forward_add(api->work->conn, api->workspace_id, &forward, hash, err));
    Openshell__V1__CreateSshSessionResponse *reply =
        wire_new(api->arena, &openshell__v1__create_ssh_session_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    fill_place(api, reply);
    reply->sandbox_id = CONST_CAST(char *, record.id);
    reply->token = arena_str_dup(api->arena, secret_peek(token));
    reply->expires_at_ms = forward.expires_at / MAP_US_PER_MS;
    *ret_reply = &reply->base;
    return reply->token == NULL || reply->gateway_host == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

OPENSHELL_HANDLER(revoke_ssh_session)
{
    const Openshell__V1__RevokeSshSessionRequest *request =
        (const Openshell__V1__RevokeSshSessionRequest *)message;
    uint8_t hash[HASH_SHA256_BYTES];
    bool is_removed = false;
    token_hash(str_of(request->token), hash);
    api->target = "sandbox_forward";
    TRY(store_sandbox_forward_remove(api->work->conn, api->workspace_id, hash, &is_removed, err));
    Openshell__V1__RevokeSshSessionResponse *reply =
        wire_new(api->arena, &openshell__v1__revoke_ssh_session_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->revoked = is_removed;
    *ret_reply = &reply->base;
    return ERR_OK;
}
