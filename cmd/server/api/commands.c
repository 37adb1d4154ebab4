/* Commands: signed when they are made, delivered by whichever replica holds the agent's stream. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "cmd/server/core/outbox.h"
#include "common/crypto/hash.h"
#include "common/wire/wire.h"

#include <inttypes.h>

enum {
    TTL_SECONDS = 300,
    ROTATE_TTL_SECONDS = 86400,
    PAYLOAD_BYTES = 1024 * 1024,
    BOX_BYTES = 256
};

static const char *const command_kinds[] = {
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_DEVICE_COMMAND] = "device_command",
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_TELEMETRY_NOW] = "telemetry_now",
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_ROTATE_KEY] = "rotate_key",
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SET_CONFIG] = "set_config",
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_DRAIN] = "drain",
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_LEND] = NULL,
    [AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_RECLAIM] = NULL,
};

static enum err_code pack(
    struct api_call *api,
    const Agentgateway__V1__AgentCommand *command,
    struct str_view *ret,
    struct err_info *err)
{
    AUTO_BUF struct buf packed = BUF_INIT(PAYLOAD_BYTES);
    TRY(wire_pack_within(&command->base, "command", &packed, err));
    *ret = str_from(arena_dup(api->arena, buf_text(&packed), packed.len), packed.len);
    return ret->ptr == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

struct order { /* what is to be queued, for whom */
    const struct agent_record *agent;
    const Agentgateway__V1__AgentCommand *command;
    int64_t ttl_seconds;
    const char *idempotency_key;
};

static enum err_code queue(
    struct api_call *api,
    const struct order *order,
    struct command_record *ret_record,
    struct err_info *err)
{
    struct outbox_order queued = {
        .workspace_id = api->workspace_id,
        .workspace = api->workspace,
        .agent_id = order->agent->id,
        .agent_name = order->agent->name,
        .kind = command_kinds[order->command->command_case],
        .actor = api->principal->subject,
        .ttl_us = (order->ttl_seconds == 0 ? TTL_SECONDS : order->ttl_seconds) * US_PER_SECOND,
        .idempotency_key = order->idempotency_key,
        .sandbox_id = "",
    };
    TRY(pack(api, order->command, &queued.payload, err));
    TRY(outbox_queue(api->work, &queued, ret_record, err));
    api->target = arena_printf(api->arena, "command/%s", ret_record->id);
    return ERR_OK;
}

static enum err_code reply_command(
    struct api_call *api,
    const struct command_record *record,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    Agentgateway__V1__Command *command = map_command(&context, record);
    *ret_reply = command == NULL ? NULL : &command->base;
    return command == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

static enum err_code check_command(
    const Agentgateway__V1__AgentCommand *command, struct err_info *err)
{
    if (command->command_case == AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_ROTATE_KEY) {
        return ERR_SET(err, ERR_INVALID, "command.rotate_key: use RotateAgentKey");
    }
    if (command->command_case == AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_LEND
        || command->command_case == AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_RECLAIM) {
        return ERR_SET(err, ERR_INVALID, "command: use LendAgent and ReclaimAgent");
    }
    if (command_kinds[command->command_case] == NULL) {
        return ERR_SET(
            err, ERR_INVALID, "command: sandboxes are ordered through openshell.v1.OpenShell");
    }
    if (command->command_case == AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SET_CONFIG) {
        uint32_t interval = command->set_config->sample_interval_ms;
        if (interval != 0 && interval < 250) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "command.set_config.sample_interval_ms: %u, at least 250",
                interval);
        }
    }
    return ERR_OK;
}

/* The same key with the same agent and payload gives the same command; with another it is refused.
 */
static enum err_code find_repeat(
    struct api_call *api,
    const struct order *order,
    struct command_record *ret_record,
    struct err_info *err)
{
    if (order->idempotency_key[0] == '\0') {
        return ERR_NOT_FOUND;
    }
    struct str_view payload = STR_NONE;
    TRY(store_command_by_idempotency_key(
        api->work->conn,
        api->workspace_id,
        str_of(order->idempotency_key),
        api->arena,
        ret_record,
        err));
    TRY(pack(api, order->command, &payload, err));
    if (ret_record->agent_id != order->agent->id || !str_equal(ret_record->payload, payload)) {
        return ERR_SET(
            err, ERR_EXISTS, "idempotency_key: was used for another command (%s)", ret_record->id);
    }
    return ERR_OK;
}

enum err_code api_send_command(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__SendCommandRequest *request =
        (const Agentgateway__V1__SendCommandRequest *)message;
    struct agent_record agent;
    struct command_record record;
    api->target = arena_printf(api->arena, "agent/%s", request->agent);
    TRY(check_command(request->command, err));
    TRY(store_agent_find(
        api->work->conn, api->workspace_id, str_of(request->agent), api->arena, &agent, err));
    const struct order order = {
        .agent = &agent,
        .command = request->command,
        .ttl_seconds = request->ttl_seconds,
        .idempotency_key = request->idempotency_key,
    };
    enum err_code code = find_repeat(api, &order, &record, err);
    if (code == ERR_NOT_FOUND) {
        code = queue(api, &order, &record, err);
    }
    TRY(code);
    return reply_command(api, &record, ret_reply, err);
}

enum err_code api_rotate_agent_key(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__RotateAgentKeyRequest *request =
        (const Agentgateway__V1__RotateAgentKeyRequest *)message;
    struct agent_record agent;
    struct command_record record;
    uint8_t hash[HASH_SHA256_BYTES];
    AUTO_SECRET struct secret *key = token_create("bla_");
    AUTO_BUF struct buf box = BUF_INIT(BOX_BYTES);
    api->target = arena_printf(api->arena, "agent/%s", request->agent);
    TRY(store_agent_find(
        api->work->conn, api->workspace_id, str_of(request->agent), api->arena, &agent, err));
    token_hash(secret_peek(key), hash);
    TRY(store_agent_offer_key(api->work->conn, api->workspace_id, agent.id, hash, err));
    TRY(key_seal((const uint8_t *)agent.encryption_key.ptr, secret_peek(key), &box));
    Agentgateway__V1__RotateKey rotate = AGENTGATEWAY__V1__ROTATE_KEY__INIT;
    Agentgateway__V1__AgentCommand command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    rotate.sealed_api_key.data = (uint8_t *)box.data;
    rotate.sealed_api_key.len = box.len;
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_ROTATE_KEY;
    command.rotate_key = &rotate;
    const struct order order = { .agent = &agent,
                                 .command = &command,
                                 .ttl_seconds = ROTATE_TTL_SECONDS,
                                 .idempotency_key = "" };
    TRY(queue(api, &order, &record, err));
    return reply_command(api, &record, ret_reply, err);
}

enum err_code api_get_command(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__GetCommandRequest *request =
        (const Agentgateway__V1__GetCommandRequest *)message;
    struct command_record record;
    TRY(store_command_get(
        api->work->conn, api->workspace_id, str_of(request->id), api->arena, &record, err));
    return reply_command(api, &record, ret_reply, err);
}

enum err_code api_cancel_command(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__CancelCommandRequest *request =
        (const Agentgateway__V1__CancelCommandRequest *)message;
    struct command_record record;
    struct str_view id = str_of(request->id);
    struct sql_conn *conn = api->work->conn;
    api->target = arena_printf(api->arena, "command/%s", request->id);
    TRY(store_command_get(conn, api->workspace_id, id, api->arena, &record, err));
    TRY(store_command_cancel(conn, api->workspace_id, id, api->work->now, err));
    TRY(store_command_get(conn, api->workspace_id, id, api->arena, &record, err));
    work_wake(api->work, HUB_COMMANDS, api->workspace_id);
    return reply_command(api, &record, ret_reply, err);
}

PAGE_MAP(command)

enum err_code api_list_commands(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListCommandsRequest *request =
        (const Agentgateway__V1__ListCommandsRequest *)message;
    struct page page;
    struct store_list list;
    struct command_filter filter = { .state = (int64_t)request->state };
    TRY(page_open(api, message, &page, err));
    TRY(api_agent_id(api, request->agent, &filter.agent_id, err));
    filter.before = page.cursor;
    filter.limit = page.size + 1;
    TRY(store_command_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListCommandsResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_commands_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct command_record),
        .map = map_any_command,
        .cursor_offset = offsetof(struct command_record, id),
        .cursor_is_number = false,
    };
    const struct page_reply filled = { (void ***)&reply->commands,
                                       &reply->n_commands,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}
