#include "cmd/server/core/outbox.h"

#include "cmd/server/store/agent.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/crypto/command_signature.h"

enum err_code outbox_sign(
    const struct service *service,
    const struct command_signature_fields *fields,
    uint8_t *ret_signature,
    struct err_info *err)
{
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    command_signature_message(fields, &message);
    if (!buf_ok(&message)) {
        return ERR_SET(err, ERR_LIMIT, "the command is too large to be signed");
    }
    key_sign_message(service->command_key, buf_view(&message), ret_signature);
    return ERR_OK;
}

static enum err_code sign(struct work *work, struct command_record *record, struct err_info *err)
{
    const struct command_signature_fields fields = {
        .server_id = str_of(work->service->server_id),
        .agent_id = record->agent_id,
        .sequence = (uint64_t)record->sequence,
        .command_id = str_of(record->id),
        .actor = str_of(record->actor),
        .issued_at = { record->created_at },
        .expires_at = { record->expires_at },
        .payload = record->payload,
    };
    uint8_t *signature = arena_alloc(work->arena, KEY_SIGNATURE_BYTES);
    if (signature == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the command is too large");
    }
    record->signature = str_from((const char *)signature, KEY_SIGNATURE_BYTES);
    return outbox_sign(work->service, &fields, signature, err);
}

enum err_code outbox_queue(
    struct work *work,
    const struct outbox_order *order,
    struct command_record *ret_record,
    struct err_info *err)
{
    char id[ID_TEXT_BYTES];
    struct command_record record = {
        .workspace_id = order->workspace_id,
        .id = arena_strdup(work->arena, id_create("cmd", work->now, id)),
        .agent_id = order->agent_id,
        .agent_name = order->agent_name,
        .state = COMMAND_QUEUED,
        .kind = order->kind,
        .payload = order->payload,
        .actor = order->actor,
        .created_at = work->now.value,
        .expires_at = work->now.value + order->ttl_us,
        .error_message = "",
        .idempotency_key = order->idempotency_key,
        .workspace = order->workspace,
        .sandbox_id = order->sandbox_id,
    };
    if (record.id == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the command is too large");
    }
    TRY(store_agent_take_command_sequence(
        work->conn, order->workspace_id, order->agent_id, &record.sequence, err));
    TRY(sign(work, &record, err));
    enum err_code code = store_command_add(work->conn, &record, err);
    if (code == ERR_EXISTS) {
        /* Another call with this idempotency key came first: the next attempt finds its command. */
        return ERR_SET(err, ERR_BUSY, "the idempotency key is in use just now; try again");
    }
    TRY(code);
    work_wake(work, HUB_OUTBOX, order->agent_id);
    work_wake(work, HUB_COMMANDS, order->workspace_id);
    *ret_record = record;
    return ERR_OK;
}
