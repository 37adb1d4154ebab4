#include "cmd/server/ingest/usage.h"

#include "cmd/server/store/sandbox/usage.h"

typedef Agentgateway__V1__SandboxUsage message_type;

bool usage_is_in(const Agentgateway__V1__AgentEvent *event)
{
    return event->usage != NULL || str_equal(str_of(event->kind), STR(USAGE_KIND));
}

enum {
    ACCOUNT_BYTES = 64 * 1024 /* of one row's account, freed with it: a batch has very many rows */
};

#define TOO_LARGE(field) "usage." field ": at most 9223372036854775807"

/* Which field no column can hold; NULL: none. */
static const char *find_too_large(const message_type *usage)
{
    const struct {
        const char *refusal;
        uint64_t value;
    } fields[] = {
        { TOO_LARGE("sequence"), usage->sequence },
        { TOO_LARGE("cpu_us"), usage->cpu_us },
        { TOO_LARGE("memory_byte_seconds"), usage->memory_byte_seconds },
        { TOO_LARGE("memory_peak_bytes"), usage->memory_peak_bytes },
        { TOO_LARGE("read_bytes"), usage->read_bytes },
        { TOO_LARGE("written_bytes"), usage->written_bytes },
        { TOO_LARGE("sent_bytes"), usage->sent_bytes },
        { TOO_LARGE("received_bytes"), usage->received_bytes },
        { TOO_LARGE("disk_bytes"), usage->disk_bytes },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        if (fields[i].value > INT64_MAX) {
            return fields[i].refusal;
        }
    }
    return NULL;
}

static int64_t cut(int64_t time_us, int64_t least, int64_t most)
{
    time_us = time_us > most ? most : time_us;
    return time_us < least ? least : time_us;
}

static enum err_code add(
    struct work *work,
    const struct record *record,
    const message_type *usage,
    const struct usage_account *account,
    struct err_info *err)
{
    int64_t until_us = cut(usage->until_us, account->created_at, record->received_at);
    const struct usage_record row = {
        .workspace_id = record->source.workspace_id,
        .sandbox_id = usage->sandbox_id,
        .boot_id = usage->boot_id,
        .sequence = (int64_t)usage->sequence,
        .agent_id = record->source.agent_id,
        .owner = account->owner,
        .from_us = cut(usage->from_us, account->created_at, until_us),
        .until_us = until_us,
        .cpu_us = (int64_t)usage->cpu_us,
        .memory_byte_seconds = (int64_t)usage->memory_byte_seconds,
        .memory_peak_bytes = (int64_t)usage->memory_peak_bytes,
        .read_bytes = (int64_t)usage->read_bytes,
        .written_bytes = (int64_t)usage->written_bytes,
        .sent_bytes = (int64_t)usage->sent_bytes,
        .received_bytes = (int64_t)usage->received_bytes,
        .disk_bytes = (int64_t)usage->disk_bytes,
        .processes_peak = usage->processes_peak,
        .is_final = usage->is_final,
    };
    return store_usage_add(work->conn, &row, err);
}

enum err_code usage_write(
    struct work *work,
    const struct record *record,
    const Agentgateway__V1__AgentEvent *event,
    const char **ret_refusal,
    struct err_info *err)
{
    const message_type *usage = event->usage;
    struct usage_account account;
    *ret_refusal = NULL;
    if (usage == NULL) {
        *ret_refusal = "usage: an event of the kind " USAGE_KIND " needs it";
        return ERR_OK;
    }
    if (!str_equal(str_of(event->kind), STR(USAGE_KIND))) {
        *ret_refusal = "usage: only in an event of the kind " USAGE_KIND;
        return ERR_OK;
    }
    *ret_refusal = find_too_large(usage);
    if (*ret_refusal != NULL) {
        return ERR_OK;
    }
    AUTO_ARENA struct arena *arena = arena_create(ACCOUNT_BYTES);
    const struct usage_account_filter filter = { usage->sandbox_id, record->source.agent_id };
    enum err_code code = store_usage_account_get(
        work->conn, record->source.workspace_id, &filter, arena, &account, err);
    if (code == ERR_NOT_FOUND) {
        *ret_refusal = "usage.sandbox_id: no sandbox of this agent";
        return ERR_OK;
    }
    TRY(code);
    return add(work, record, usage, &account, err);
}
