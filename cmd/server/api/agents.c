/* Agents: list, get, labels, evict, revoke. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/labels.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "cmd/server/store/session.h"
#include "common/wire/wire.h"

#include <inttypes.h>

enum {
    SCAN_ROUNDS = 32,
    LABELS_BYTES = 64 * 1024
};

static enum err_code reply_agent(
    struct api_call *api, int64_t id, ProtobufCMessage **ret_reply, struct err_info *err)
{
    struct agent_record record;
    TRY(store_agent_get(api->work->conn, api->workspace_id, id, api->arena, &record, err));
    const struct map_context context = map_context_of(api);
    Agentgateway__V1__Agent *agent = map_agent(&context, &record);
    *ret_reply = agent == NULL ? NULL : &agent->base;
    return agent == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

static enum err_code find(
    struct api_call *api,
    const char *id_or_name,
    struct agent_record *ret_record,
    struct err_info *err)
{
    api->target = arena_printf(api->arena, "agent/%s", id_or_name);
    TRY(store_agent_find(
        api->work->conn, api->workspace_id, str_of(id_or_name), api->arena, ret_record, err));
    api->target = arena_printf(api->arena, "agent/%" PRId64, ret_record->id);
    return ERR_OK;
}

/* Fills the page with what the selector lets through; ret_next: id to go on after, 0: the end. */
static enum err_code scan(
    struct api_call *api,
    struct agent_filter *filter,
    const struct selector *selector,
    Agentgateway__V1__ListAgentsResponse *reply,
    int64_t *ret_next,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    size_t size = (size_t)filter->limit;
    reply->agents = arena_alloc(api->arena, size * sizeof(void *));
    *ret_next = 0;
    for (int round = 0; round < SCAN_ROUNDS; round++) {
        struct store_list list;
        TRY(store_agent_list(api->work->conn, api->workspace_id, filter, api->arena, &list, err));
        const struct agent_record *records = list.records;
        for (size_t i = 0; i < list.count; i++) {
            Agentgateway__V1__Agent *agent = map_agent(&context, &records[i]);
            if (agent == NULL || reply->agents == NULL) {
                return API_OUT_OF_MEMORY(err);
            }
            filter->after_id = records[i].id;
            if (selector_matches(selector, labels_of_agent, agent)) {
                reply->agents[reply->n_agents++] = agent;
            }
            if (reply->n_agents == size) {
                *ret_next = filter->after_id;
                return ERR_OK;
            }
        }
        if (list.count < size) {
            return ERR_OK;
        }
    }
    *ret_next = filter->after_id; /* much was passed over: the caller may go on from here */
    return ERR_OK;
}

enum err_code api_list_agents(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListAgentsRequest *request =
        (const Agentgateway__V1__ListAgentsRequest *)message;
    struct page page;
    struct selector *selector = NULL;
    int64_t next = 0;
    TRY(page_open(api, message, &page, err));
    TRY(selector_parse(str_of(request->label_selector), api->arena, &selector, err));
    struct agent_filter filter = {
        .state = request->only_online ? AGENT_CONFIRMED : (int64_t)request->state,
        .name_prefix = str_of(request->name_prefix),
        .after_id = page.cursor_number,
        .seen_since = request->only_online ? map_online_since(api->service, api->work->now) : 0,
        .limit = page.size,
    };
    Agentgateway__V1__ListAgentsResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_agents_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY(scan(api, &filter, selector, reply, &next, err));
    if (next != 0) {
        reply->next_page_token = page_next_number(api, message, next);
    }
    *ret_reply = &reply->base;
    return reply->next_page_token == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

enum err_code api_get_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__GetAgentRequest *request =
        (const Agentgateway__V1__GetAgentRequest *)message;
    struct agent_record record;
    TRY(find(api, request->agent, &record, err));
    return reply_agent(api, record.id, ret_reply, err);
}

enum err_code api_update_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__UpdateAgentRequest *request =
        (const Agentgateway__V1__UpdateAgentRequest *)message;
    struct agent_record record;
    AUTO_BUF struct buf labels = BUF_INIT(LABELS_BYTES);
    TRY(find(api, request->agent, &record, err));
    const struct map_context context = map_context_of(api);
    const Agentgateway__V1__Agent *agent = map_agent(&context, &record);
    if (agent == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY(labels_update(agent, request, &labels, err));
    bool cordoned =
        request->_cordoned_case == AGENTGATEWAY__V1__UPDATE_AGENT_REQUEST___CORDONED_CORDONED
        ? request->cordoned
        : record.cordoned;
    TRY(store_agent_update(
        api->work->conn, api->workspace_id, record.id, buf_text(&labels), cordoned, err));
    work_wake(api->work, HUB_AGENTS, api->workspace_id);
    return reply_agent(api, record.id, ret_reply, err);
}

static void wake_session(struct api_call *api, int64_t agent_id)
{
    work_wake(api->work, HUB_SESSION, agent_id);
    work_wake(api->work, HUB_AGENTS, api->workspace_id);
}

enum err_code api_evict_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__EvictAgentRequest *request =
        (const Agentgateway__V1__EvictAgentRequest *)message;
    struct agent_record record;
    TRY(find(api, request->agent, &record, err));
    if (record.state != AGENT_CONFIRMED) {
        return ERR_SET(err, ERR_PRECONDITION, "only a confirmed agent can be evicted");
    }
    TRY(store_agent_set_state(api->work->conn, api->workspace_id, record.id, AGENT_EVICTED, err));
    TRY(store_session_remove(api->work->conn, api->workspace_id, record.id, err));
    wake_session(api, record.id);
    return reply_agent(api, record.id, ret_reply, err);
}

enum err_code api_revoke_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__RevokeAgentRequest *request =
        (const Agentgateway__V1__RevokeAgentRequest *)message;
    struct agent_record record;
    TRY(find(api, request->agent, &record, err));
    if (record.state == AGENT_REVOKED) {
        return ERR_SET(err, ERR_PRECONDITION, "the agent is revoked already");
    }
    TRY(store_agent_revoke(api->work->conn, api->workspace_id, record.id, err));
    wake_session(api, record.id);
    return reply_agent(api, record.id, ret_reply, err);
}
