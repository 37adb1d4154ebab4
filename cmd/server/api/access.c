/* API keys, audit records and the server's own facts. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "common/base/id.h"
#include "common/crypto/hash.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

enum {
    TTL_SECONDS = 90 * 86400,
    SCOPES_BYTES = 4096
};

/* A caller may hand on only what it has itself. */
static enum err_code write_scopes(
    const struct api_call *api,
    const Agentgateway__V1__CreateApiKeyRequest *request,
    struct buf *out,
    struct err_info *err)
{
    for (size_t i = 0; i < request->n_scopes; i++) {
        uint32_t mask = 0;
        if (auth_scope_parse(str_of(request->scopes[i]), &mask) != ERR_OK) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "scopes: \"%.64s\" is no scope; known are agent:read, agent:write, device:read, "
                "device:write, command:read, command:write, telemetry:read, access:read, "
                "access:write, audit:read, usage:read, usage:write, sandbox:read, sandbox:write, "
                "config:read, config:write, "
                "provider:read, provider:write, workspace:read, workspace:write, openshell:all "
                "and *",
                request->scopes[i]);
        }
        if ((mask & ~api->principal->scopes) != 0) {
            return ERR_SET(
                err,
                ERR_DENIED,
                "scopes: \"%.64s\" is not the caller's to give",
                request->scopes[i]);
        }
        if (i > 0) {
            buf_append_char(out, ' ');
        }
        buf_append_str(out, str_of(request->scopes[i]));
    }
    return ERR_OK;
}

enum err_code api_create_api_key(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__CreateApiKeyRequest *request =
        (const Agentgateway__V1__CreateApiKeyRequest *)message;
    char id[ID_TEXT_BYTES];
    uint8_t hash[HASH_SHA256_BYTES];
    AUTO_BUF struct buf scopes = BUF_INIT(SCOPES_BYTES);
    AUTO_SECRET struct secret *key = token_create("blk_");
    TRY(write_scopes(api, request, &scopes, err));
    token_hash(secret_peek(key), hash);
    int64_t ttl = request->ttl_seconds == 0 ? TTL_SECONDS : request->ttl_seconds;
    const struct api_key_record record = {
        .workspace_id = api->workspace_id,
        .id = arena_strdup(api->arena, id_create("key", api->work->now, id)),
        .name = request->name,
        .scopes = arena_strdup(api->arena, buf_text(&scopes)),
        .created_by = api->principal->subject,
        .created_at = api->work->now.value,
        .expires_at = api->work->now.value + ttl * US_PER_SECOND,
        .workspace = api->workspace,
    };
    Agentgateway__V1__CreateApiKeyResponse *reply =
        wire_new(api->arena, &agentgateway__v1__create_api_key_response__descriptor);
    if (reply == NULL || record.id == NULL || record.scopes == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    api->target = arena_printf(api->arena, "api_key/%s", record.id);
    TRY(store_api_key_add(api->work->conn, &record, hash, err));
    const struct map_context context = map_context_of(api);
    reply->key = map_api_key(&context, &record);
    reply->secret = arena_str_dup(api->arena, secret_peek(key));
    *ret_reply = &reply->base;
    return reply->key == NULL || reply->secret == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

PAGE_MAP(api_key)

enum err_code api_list_api_keys(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct page page;
    struct store_list list;
    TRY(page_open(api, message, &page, err));
    const struct api_key_page keys = { .before = page.cursor, .limit = page.size + 1 };
    TRY(store_api_key_list(api->work->conn, api->workspace_id, &keys, api->arena, &list, err));
    Agentgateway__V1__ListApiKeysResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_api_keys_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct api_key_record),
        .map = map_any_api_key,
        .cursor_offset = offsetof(struct api_key_record, id),
    };
    const struct page_reply filled = { (void ***)&reply->keys,
                                       &reply->n_keys,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}

enum err_code api_revoke_api_key(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__RevokeApiKeyRequest *request =
        (const Agentgateway__V1__RevokeApiKeyRequest *)message;
    struct sql_conn *conn = api->work->conn;
    struct str_view id = str_of(request->id);
    struct api_key_record record;
    api->target = arena_printf(api->arena, "api_key/%s", request->id);
    TRY(store_api_key_get(conn, api->workspace_id, id, api->arena, &record, err));
    TRY(store_api_key_revoke(conn, api->workspace_id, id, api->work->now, err));
    work_wake(api->work, HUB_SESSION, 0);
    record.revoked_at = api->work->now.value;
    const struct map_context context = map_context_of(api);
    Agentgateway__V1__ApiKey *reply = map_api_key(&context, &record);
    *ret_reply = reply == NULL ? NULL : &reply->base;
    return reply == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

PAGE_MAP(audit)

enum err_code api_list_audit_records(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListAuditRecordsRequest *request =
        (const Agentgateway__V1__ListAuditRecordsRequest *)message;
    struct page page;
    struct store_list list;
    TRY(page_open(api, message, &page, err));
    const struct audit_filter filter = {
        .start = wire_timestamp_us(request->start, 0),
        .end = wire_timestamp_us(request->end, INT64_MAX),
        .actor_prefix = str_of(request->actor_prefix),
        .action_prefix = str_of(request->action_prefix),
        .before = page.cursor_number,
        .limit = page.size + 1,
    };
    TRY(store_audit_place(api->work->conn, api->workspace_id, err));
    TRY(store_audit_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListAuditRecordsResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_audit_records_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct audit_record),
        .map = map_any_audit,
        .cursor_offset = offsetof(struct audit_record, sequence),
        .cursor_is_number = true,
    };
    const struct page_reply filled = { (void ***)&reply->records,
                                       &reply->n_records,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}

static char **scope_list(const struct api_call *api, size_t *ret_count)
{
    char **scopes = arena_alloc(api->arena, AUTH_SCOPE_COUNT * sizeof(*scopes));
    size_t count = 0;
    for (int i = 1; scopes != NULL && i < AUTH_SCOPE_COUNT; i++) {
        if ((api->principal->scopes & AUTH_SCOPE_BIT(i)) != 0) {
            scopes[count++] = arena_strdup(api->arena, auth_scope_name((enum auth_scope)i));
        }
    }
    *ret_count = count;
    return scopes;
}

enum err_code api_get_server_info(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    (void)message;
    const struct service *service = api->service;
    struct arena *arena = api->arena;
    int64_t total = 0;
    int64_t online = 0;
    TRY(store_agent_count(
        api->work->conn,
        api->workspace_id,
        map_online_since(service, api->work->now),
        &total,
        &online,
        err));
    Agentgateway__V1__ServerInfo *info =
        wire_new(arena, &agentgateway__v1__server_info__descriptor);
    if (info == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    info->server_id = arena_strdup(arena, service->server_id);
    info->version = arena_strdup(arena, service->version);
    info->mode = arena_strdup(arena, service->mode);
    info->database = arena_strdup(arena, service->engine == SQL_POSTGRES ? "postgresql" : "sqlite");
    info->started_at = map_time(arena, service->started_at.value);
    info->now = map_time(arena, api->work->now.value);
    info->principal = arena_strdup(arena, api->principal->subject);
    info->workspace = arena_strdup(arena, api->workspace);
    info->scopes = scope_list(api, &info->n_scopes);
    info->agents = (uint64_t)total;
    info->agents_online = (uint64_t)online;
    info->ca_sha256 = arena_strdup(arena, service->ca_sha256);
    *ret_reply = &info->base;
    return ERR_OK;
}
