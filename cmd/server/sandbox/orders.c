#include "cmd/server/sandbox/orders.h"

#include "cmd/server/core/outbox.h"
#include "common/wire/wire.h"

enum {
    PAYLOAD_BYTES = 1024 * 1024
};

#define ORDER_TTL_US  (INT64_C(300) * US_PER_SECOND)
#define DELETE_TTL_US (INT64_C(30) * 24 * US_PER_HOUR)

typedef Agentgateway__V1__AgentCommand command_type;

static enum err_code queue(
    const struct lifecycle *self,
    int64_t agent_id,
    const char *kind,
    int64_t ttl_us,
    const command_type *command,
    struct err_info *err)
{
    struct work *work = self->work;
    struct command_record queued;
    AUTO_BUF struct buf packed = BUF_INIT(PAYLOAD_BYTES);
    wire_pack(&command->base, &packed);
    if (!buf_ok(&packed)) {
        return ERR_SET(err, ERR_INVALID, "spec: larger than 1 MiB");
    }
    const struct outbox_order order = {
        .workspace_id = self->workspace_id,
        .workspace = self->workspace,
        .agent_id = agent_id,
        .agent_name = "",
        .kind = kind,
        .payload = str_from(arena_dup(work->arena, packed.data, packed.len), packed.len),
        .actor = self->actor,
        .ttl_us = ttl_us,
        .idempotency_key = "",
    };
    if (order.payload.ptr == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the request is too large");
    }
    return outbox_queue(work, &order, &queued, err);
}

enum err_code orders_create(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    const Openshell__V1__SandboxSpec *spec,
    const struct spec_facts *facts,
    struct err_info *err)
{
    command_type *command = spec_to_command(self->work->arena, spec, facts, record->id);
    if (command == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the request is too large");
    }
    command->sandbox_create->name = CONST_CAST(char *, record->name);
    command->sandbox_create->workspace = CONST_CAST(char *, self->workspace);
    return queue(self, record->agent_id, "sandbox_create", ORDERS_CREATE_TTL_US, command, err);
}

static enum err_code send_delete(
    const struct lifecycle *self,
    int64_t agent_id,
    const char *id,
    int64_t ttl_us,
    struct err_info *err)
{
    command_type command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__SandboxDelete delete = AGENTGATEWAY__V1__SANDBOX_DELETE__INIT;
    delete.sandbox_id = CONST_CAST(char *, id);
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_DELETE;
    command.sandbox_delete = &delete;
    return queue(self, agent_id, "sandbox_delete", ttl_us, &command, err);
}

enum err_code orders_repeat(
    const struct lifecycle *self, const struct sandbox_record *record, struct err_info *err)
{
    command_type command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__SandboxStop stop = AGENTGATEWAY__V1__SANDBOX_STOP__INIT;
    Agentgateway__V1__SandboxStart start = AGENTGATEWAY__V1__SANDBOX_START__INIT;
    if (record->agent_id == 0) {
        return ERR_OK;
    }
    switch (record->phase) {
    case PHASE_DELETING:
        return send_delete(self, record->agent_id, record->id, DELETE_TTL_US, err);
    case PHASE_STOPPING:
        stop.sandbox_id = CONST_CAST(char *, record->id);
        command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_STOP;
        command.sandbox_stop = &stop;
        return queue(self, record->agent_id, "sandbox_stop", ORDER_TTL_US, &command, err);
    case PHASE_STARTING:
        start.sandbox_id = CONST_CAST(char *, record->id);
        command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_START;
        command.sandbox_start = &start;
        return queue(self, record->agent_id, "sandbox_start", ORDER_TTL_US, &command, err);
    default:
        return ERR_OK;
    }
}

enum err_code orders_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct err_info *err)
{
    command_type command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__SandboxPolicyUpdate update = AGENTGATEWAY__V1__SANDBOX_POLICY_UPDATE__INIT;
    update.sandbox_id = CONST_CAST(char *, record->id);
    update.policy = policy;
    update.policy_version = (uint32_t)record->policy_version;
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_POLICY;
    command.sandbox_policy = &update;
    return queue(self, record->agent_id, "sandbox_policy", DELETE_TTL_US, &command, err);
}

enum err_code orders_remove_stranger(
    const struct lifecycle *self, int64_t agent_id, const char *sandbox_id, struct err_info *err)
{
    return send_delete(self, agent_id, sandbox_id, ORDER_TTL_US, err);
}

const char *orders_sandbox_of(struct work *work, struct str_view payload)
{
    ProtobufCMessage *message = NULL;
    if (wire_unpack_lenient(
            work->service->schema,
            &agentgateway__v1__agent_command__descriptor,
            payload.ptr,
            payload.len,
            work->arena,
            &message,
            NULL)
        != ERR_OK) {
        return NULL;
    }
    const command_type *command = (const command_type *)message;
    switch (command->command_case) {
    case AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_CREATE:
        return command->sandbox_create->sandbox_id;
    case AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_STOP:
        return command->sandbox_stop->sandbox_id;
    case AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_START:
        return command->sandbox_start->sandbox_id;
    default:
        return NULL;
    }
}
