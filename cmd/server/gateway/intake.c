#include "cmd/server/gateway/intake.h"

#include "cmd/server/gateway/stream_number.h"
#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/command.h"
#include "common/wire/wire.h"

#include <stdio.h>

enum {
    HELLO_BYTES = 256 * 1024, /* kept without its reports, which go their own way */
    TARGET_BYTES = 160
};

/* What this stream's session may no longer write is not written. */
static enum err_code fence(struct work *work, const struct intake *from, struct err_info *err)
{
    const struct principal *principal = from->principal;
    return store_agent_fence(
        work->conn, principal->workspace_id, principal->agent_id, principal->epoch, err);
}

static struct lifecycle lifecycle_of(struct work *work, const struct intake *from)
{
    return (struct lifecycle){
        .work = work,
        .workspace_id = from->principal->workspace_id,
        .workspace = from->principal->workspace,
        .actor = from->principal->subject,
    };
}

/* Without its reports. */
static enum err_code store_hello(
    struct work *work,
    const struct intake *from,
    const Agentgateway__V1__ControlHello *hello,
    struct err_info *err)
{
    const struct principal *principal = from->principal;
    AUTO_BUF struct buf packed = BUF_INIT(HELLO_BYTES);
    Agentgateway__V1__ControlHello kept = *hello;
    kept.n_sandboxes = 0;
    TRY(wire_pack_within(&kept.base, "hello", &packed, err));
    const struct agent_hello said = {
        .packed = str_from(buf_text(&packed), packed.len),
        .version = str_of(hello->agent_version),
        .stream = from->stream,
    };
    work_wake(work, HUB_AGENTS, principal->workspace_id);
    return store_agent_hello(
        work->conn, principal->workspace_id, principal->agent_id, &said, work->now, err);
}

enum err_code intake_keep_hello(struct work *work, void *hello, struct err_info *err)
{
    const struct intake_hello *self = hello;
    const struct lifecycle lifecycle = lifecycle_of(work, &self->from);
    const struct principal *principal = self->from.principal;
    const int64_t agent[2] = { principal->workspace_id, principal->agent_id };
    struct agent_marks marks;
    TRY(store_agent_fence_marks(work->conn, agent, principal->epoch, &marks, err));
    if (stream_number_is_older(self->from.stream, marks.stream)) {
        return ERR_SET(err, ERR_CONFLICT, "a newer control stream of this agent took over");
    }
    TRY(lifecycle_take_hello(&lifecycle, principal->agent_id, self->hello, err));
    if (marks.stream != 0) {
        work_wake(work, HUB_SESSION, principal->agent_id); /* for an older stream elsewhere */
    }
    return store_hello(work, &self->from, self->hello, err);
}

enum err_code intake_keep_capacity(struct work *work, void *capacity, struct err_info *err)
{
    const struct intake_capacity *self = capacity;
    const struct principal *principal = self->from.principal;
    const int64_t id[2] = { principal->workspace_id, principal->agent_id };
    struct agent_marks marks;
    struct agent_record agent;
    ProtobufCMessage *kept = NULL;
    TRY(store_agent_fence_marks(work->conn, id, principal->epoch, &marks, err));
    if (marks.stream != self->from.stream) {
        return ERR_OK; /* the newer stream's hello said it all */
    }
    TRY(store_agent_get(work->conn, id[0], id[1], work->arena, &agent, err));
    TRY(wire_unpack_lenient(
        work->service->schema,
        &agentgateway__v1__control_hello__descriptor,
        agent.hello.ptr,
        agent.hello.len,
        work->arena,
        &kept,
        err));
    Agentgateway__V1__ControlHello hello = *(const Agentgateway__V1__ControlHello *)kept;
    hello.capacity = CONST_CAST(Agentgateway__V1__Capacity *, self->capacity);
    return store_hello(work, &self->from, &hello, err);
}

/* A sandbox whose order could not be carried out hears of it. */
static enum err_code refuse_order(
    struct work *work,
    const struct intake *from,
    const struct command_ack *ack,
    struct err_info *err)
{
    struct command_record command;
    const struct lifecycle lifecycle = lifecycle_of(work, from);
    TRY(store_command_get(
        work->conn, ack->workspace_id, str_of(ack->id), work->arena, &command, err));
    if (command.sandbox_id[0] == '\0') {
        return ERR_OK;
    }
    const struct lifecycle_refusal refusal = {
        .kind = command.kind,
        .sandbox_id = command.sandbox_id,
        .message = ack->error_message,
        .is_passing = ack->code == AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_BUSY
            || ack->code == AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_INTERNAL,
    };
    return lifecycle_take_refusal(&lifecycle, ack->agent_id, &refusal, err);
}

static enum err_code audit_ack(
    struct work *work,
    const struct intake *from,
    const struct command_ack *ack,
    struct err_info *err)
{
    char target[TARGET_BYTES];
    (void)snprintf(target, sizeof(target), "command/%s", ack->id);
    const struct audit_entry entry = {
        .workspace_id = ack->workspace_id,
        .actor = from->principal->subject,
        .action = "command.acknowledged",
        .target = target,
        .decision = ack->succeeded ? "allowed" : "failed",
        .reason = ack->error_message,
        .request_id = from->request_id,
        .source = from->principal->source,
    };
    return work_audit(work, &entry, err);
}

enum err_code intake_keep_ack(struct work *work, void *ack, struct err_info *err)
{
    const struct intake_ack *self = ack;
    const Agentgateway__V1__ControlAck *said = self->ack;
    str_clip_utf8(said->error_message, LIFECYCLE_MESSAGE_BYTES);
    const struct command_ack kept = {
        .id = said->command_id,
        .workspace_id = self->from.principal->workspace_id,
        .agent_id = self->from.principal->agent_id,
        .succeeded = said->succeeded,
        .code = (int64_t)said->code,
        .error_message = said->error_message,
        .result = str_from((const char *)said->payload.data, said->payload.len),
    };
    bool changed = false;
    TRY(fence(work, &self->from, err));
    TRY(store_command_finish(work->conn, &kept, work->now, &changed, err));
    if (!changed) {
        return ERR_OK; /* a repeat, or not this agent's: nothing happens */
    }
    if (!kept.succeeded) {
        TRY(refuse_order(work, &self->from, &kept, err));
    }
    work_wake(work, HUB_COMMANDS, kept.workspace_id);
    return audit_ack(work, &self->from, &kept, err);
}

enum err_code intake_keep_report(struct work *work, void *report, struct err_info *err)
{
    const struct intake_report *self = report;
    const struct lifecycle lifecycle = lifecycle_of(work, &self->from);
    TRY(fence(work, &self->from, err));
    return lifecycle_take_report(&lifecycle, self->from.principal->agent_id, self->report, err);
}
