/* Enrollment tokens and the confirmation of agents. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "cmd/server/core/enroll_token.h"
#include "cmd/server/gateway/confirm.h"
#include "common/wire/wire.h"

enum {
    TTL_SECONDS = 3600,
    LABELS_BYTES = 64 * 1024
};

static void write_labels(
    Agentgateway__V1__CreateEnrollmentTokenRequest__LabelsEntry *const *labels,
    size_t count,
    struct buf *out)
{
    buf_append_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        buf_append_json(out, str_of(labels[i]->key));
        buf_append_char(out, ':');
        buf_append_json(out, str_of(labels[i]->value));
    }
    buf_append_char(out, '}');
}

enum err_code api_create_enrollment_token(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__CreateEnrollmentTokenRequest *request =
        (const Agentgateway__V1__CreateEnrollmentTokenRequest *)message;
    AUTO_BUF struct buf labels = BUF_INIT(LABELS_BYTES);
    write_labels(request->labels, request->n_labels, &labels);
    int64_t ttl = request->ttl_seconds == 0 ? TTL_SECONDS : request->ttl_seconds;
    const struct enroll_token_order order = {
        .workspace_id = api->workspace_id,
        .workspace = api->workspace,
        .labels = buf_text(&labels),
        .auto_confirm = request->auto_confirm,
        .created_by = api->principal->subject,
        .ttl_us = ttl * US_PER_SECOND,
    };
    AUTO_SECRET struct secret *token = NULL;
    AUTO_SECRET struct secret *join_string = NULL;
    struct enrollment_record record;
    TRY(enroll_token_issue(api->work, &order, &record, &token, &join_string, err));
    api->target = arena_printf(api->arena, "enrollment/%s", record.id);
    Agentgateway__V1__CreateEnrollmentTokenResponse *reply =
        wire_new(api->arena, &agentgateway__v1__create_enrollment_token_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->join_string = arena_str_dup(api->arena, secret_peek(join_string));
    reply->secret = arena_str_dup(api->arena, secret_peek(token));
    const struct map_context context = map_context_of(api);
    reply->token = map_enrollment(&context, &record);
    *ret_reply = &reply->base;
    return reply->secret == NULL || reply->join_string == NULL || reply->token == NULL
        ? API_OUT_OF_MEMORY(err)
        : ERR_OK;
}

PAGE_MAP(enrollment)

enum err_code api_list_enrollment_tokens(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListEnrollmentTokensRequest *request =
        (const Agentgateway__V1__ListEnrollmentTokensRequest *)message;
    struct page page;
    struct store_list list;
    TRY(page_open(api, message, &page, err));
    const struct enrollment_filter filter = {
        .state = (int64_t)request->state,
        .after = page.cursor,
        .limit = page.size + 1,
    };
    TRY(store_enrollment_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListEnrollmentTokensResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_enrollment_tokens_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct enrollment_record),
        .map = map_any_enrollment,
        .cursor_offset = offsetof(struct enrollment_record, id),
        .cursor_is_number = false,
    };
    const struct page_reply filled = { (void ***)&reply->tokens,
                                       &reply->n_tokens,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}

enum err_code api_revoke_enrollment_token(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__RevokeEnrollmentTokenRequest *request =
        (const Agentgateway__V1__RevokeEnrollmentTokenRequest *)message;
    struct enrollment_record record;
    struct str_view id = str_of(request->id);
    api->target = arena_printf(api->arena, "enrollment/%s", request->id);
    enum err_code code =
        store_enrollment_get(api->work->conn, api->workspace_id, id, api->arena, &record, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_NOT_FOUND, "id: no such enrollment");
    }
    TRY(code);
    if (record.state != ENROLLMENT_PENDING && record.state != ENROLLMENT_AWAITING_CONFIRMATION) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "the enrollment is over; to shut an agent out, revoke the agent");
    }
    enum enrollment_state next =
        record.state == ENROLLMENT_PENDING ? ENROLLMENT_CANCELLED : ENROLLMENT_REVOKED;
    const struct enrollment_move move = {
        .id = id,
        .from = (enum enrollment_state)record.state,
        .to = next,
    };
    TRY(store_enrollment_move(api->work->conn, api->workspace_id, &move, err));
    if (next == ENROLLMENT_REVOKED) {
        TRY(store_agent_revoke(api->work->conn, api->workspace_id, record.agent_id, err));
        work_wake(api->work, HUB_AGENTS, api->workspace_id);
    }
    record.state = next;
    const struct map_context context = map_context_of(api);
    Agentgateway__V1__EnrollmentToken *reply = map_enrollment(&context, &record);
    *ret_reply = reply == NULL ? NULL : &reply->base;
    return reply == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

/* The agent that awaits confirmation under an enrollment, if the fingerprint quoted is its own. */
static enum err_code find_awaiting(
    struct api_call *api,
    const Agentgateway__V1__ConfirmAgentRequest *request,
    struct agent_record *ret_agent,
    struct err_info *err)
{
    struct enrollment_record enrollment;
    char fingerprint[KEY_FINGERPRINT_TEXT_BYTES];
    enum err_code code = store_enrollment_get(
        api->work->conn,
        api->workspace_id,
        str_of(request->enrollment_id),
        api->arena,
        &enrollment,
        err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_NOT_FOUND, "enrollment_id: no such enrollment");
    }
    TRY(code);
    if (enrollment.state != ENROLLMENT_AWAITING_CONFIRMATION) {
        return ERR_SET(
            err, ERR_PRECONDITION, "enrollment_id: no agent awaits confirmation under it");
    }
    TRY(store_agent_get(
        api->work->conn, api->workspace_id, enrollment.agent_id, api->arena, ret_agent, err));
    (void)key_fingerprint((const uint8_t *)ret_agent->identity_key.ptr, fingerprint);
    if (!str_equal_fold(str_of(request->fingerprint), str_of(fingerprint))) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "fingerprint: not that of the waiting agent; compare it with what the agent prints");
    }
    return ERR_OK;
}

enum err_code api_confirm_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ConfirmAgentRequest *request =
        (const Agentgateway__V1__ConfirmAgentRequest *)message;
    struct agent_record agent = { .id = 0 };
    AUTO_SECRET struct secret *revealed = NULL;
    api->target = arena_printf(api->arena, "enrollment/%s", request->enrollment_id);
    TRY(find_awaiting(api, request, &agent, err));
    api->target = arena_printf(api->arena, "agent/%lld", (long long)agent.id);
    TRY(confirm_agent(api->work, &agent, request->reveal_api_key ? &revealed : NULL, err));
    TRY(store_agent_get(api->work->conn, api->workspace_id, agent.id, api->arena, &agent, err));
    Agentgateway__V1__ConfirmAgentResponse *reply =
        wire_new(api->arena, &agentgateway__v1__confirm_agent_response__descriptor);
    const struct map_context context = map_context_of(api);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->agent = map_agent(&context, &agent);
    if (revealed != NULL) {
        reply->api_key = arena_str_dup(api->arena, secret_peek(revealed));
    }
    *ret_reply = &reply->base;
    return reply->agent == NULL || reply->api_key == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}
