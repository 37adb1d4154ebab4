#include "cmd/server/sandbox/orders.h"

#include "cmd/server/core/outbox.h"
#include "common/wire/wire.h"

enum {
    PAYLOAD_BYTES = 1024 * 1024
};

#define ORDER_TTL_US  (INT64_C(300) * US_PER_SECOND)
#define DELETE_TTL_US (INT64_C(30) * 24 * US_PER_HOUR)

typedef Agentgateway__V1__AgentCommand command_type;

struct subject { /* of an order */
    int64_t agent_id;
    const char *sandbox_id;
};

static enum err_code queue(
    const struct lifecycle *self,
    const struct subject *subject,
    const char *kind,
    int64_t ttl_us,
    const command_type *command,
    struct err_info *err)
{
    struct work *work = self->work;
    struct command_record queued;
    AUTO_BUF struct buf packed = BUF_INIT(PAYLOAD_BYTES);
    TRY(wire_pack_within(&command->base, "spec", &packed, err));
    const struct outbox_order order = {
        .workspace_id = self->workspace_id,
        .workspace = self->workspace,
        .agent_id = subject->agent_id,
        .agent_name = "",
        .kind = kind,
        .payload = str_from(arena_dup(work->arena, packed.data, packed.len), packed.len),
        .actor = self->actor,
        .ttl_us = ttl_us,
        .idempotency_key = "",
        .sandbox_id = subject->sandbox_id,
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
    const struct subject subject = { record->agent_id, record->id };
    return queue(self, &subject, "sandbox_create", ORDERS_CREATE_TTL_US, command, err);
}

static enum err_code send_delete(
    const struct lifecycle *self,
    const struct subject *subject,
    int64_t ttl_us,
    struct err_info *err)
{
    command_type command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__SandboxDelete delete = AGENTGATEWAY__V1__SANDBOX_DELETE__INIT;
    delete.sandbox_id = CONST_CAST(char *, subject->sandbox_id);
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_DELETE;
    command.sandbox_delete = &delete;
    return queue(self, subject, "sandbox_delete", ttl_us, &command, err);
}

/* The kind of order that a phase asks for; NULL: none. */
static const char *kind_of(enum phase phase)
{
    switch (phase) {
    case PHASE_DELETING:
        return "sandbox_delete";
    case PHASE_STOPPING:
        return "sandbox_stop";
    case PHASE_STARTING:
        return "sandbox_start";
    default:
        return NULL;
    }
}

enum err_code orders_give(
    const struct lifecycle *self, const struct sandbox_record *record, struct err_info *err)
{
    command_type command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__SandboxStop stop = AGENTGATEWAY__V1__SANDBOX_STOP__INIT;
    Agentgateway__V1__SandboxStart start = AGENTGATEWAY__V1__SANDBOX_START__INIT;
    const struct subject subject = { record->agent_id, record->id };
    const char *kind = kind_of((enum phase)record->phase);
    if (record->agent_id == 0 || kind == NULL) {
        return ERR_OK;
    }
    if (record->phase == PHASE_DELETING) {
        return send_delete(self, &subject, DELETE_TTL_US, err);
    }
    if (record->phase == PHASE_STOPPING) {
        stop.sandbox_id = CONST_CAST(char *, record->id);
        command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_STOP;
        command.sandbox_stop = &stop;
    } else {
        start.sandbox_id = CONST_CAST(char *, record->id);
        command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_START;
        command.sandbox_start = &start;
    }
    return queue(self, &subject, kind, ORDER_TTL_US, &command, err);
}

static enum err_code count_open(
    const struct lifecycle *self,
    const struct subject *subject,
    const char *kind,
    int64_t *ret_count,
    struct err_info *err)
{
    const struct command_open_filter filter = { .agent_id = subject->agent_id,
                                                .kind = kind,
                                                .sandbox_id = subject->sandbox_id,
                                                .now = self->work->now };
    return store_command_open_count(self->work->conn, self->workspace_id, &filter, ret_count, err);
}

enum err_code orders_repeat(
    const struct lifecycle *self, const struct sandbox_record *record, struct err_info *err)
{
    const struct subject subject = { record->agent_id, record->id };
    const char *kind = kind_of((enum phase)record->phase);
    int64_t open = 0;
    if (kind != NULL) {
        TRY(count_open(self, &subject, kind, &open, err));
    }
    return open > 0 ? ERR_OK : orders_give(self, record, err);
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
    const struct subject subject = { record->agent_id, record->id };
    return queue(self, &subject, "sandbox_policy", DELETE_TTL_US, &command, err);
}

enum err_code orders_count_deletes(
    const struct lifecycle *self, int64_t agent_id, int64_t *ret_count, struct err_info *err)
{
    const struct subject any = { agent_id, "" };
    return count_open(self, &any, "sandbox_delete", ret_count, err);
}

enum err_code orders_remove_stranger(
    const struct lifecycle *self,
    int64_t agent_id,
    const char *sandbox_id,
    bool *ret_given,
    struct err_info *err)
{
    const struct subject subject = { agent_id, sandbox_id };
    int64_t open = 0;
    TRY(count_open(self, &subject, "sandbox_delete", &open, err));
    *ret_given = open == 0;
    return open > 0 ? ERR_OK : send_delete(self, &subject, ORDER_TTL_US, err);
}
