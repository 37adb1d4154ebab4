#include "cmd/server/ingest/usage.h"

#include "cmd/server/store/sandbox/usage.h"

typedef Agentgateway__V1__SandboxUsage message_type;

bool usage_is_in(const Agentgateway__V1__AgentEvent *event)
{
    return event->usage != NULL || str_equal(str_of(event->kind), STR(USAGE_KIND));
}

enum {
    FIRST_LINES = 64,
    PORTION_ROWS = 4096,
    ACCOUNTS_BYTES = 4 * 1024 * 1024 /* of a portion: owners of a kilobyte each */
};

struct line {
    const struct record *record;
    const message_type *usage; /* NULL: refused */
    const char *refusal;
};

struct usages {
    struct sql_conn *conn;
    int64_t workspace_id;
    struct line *lines;
    size_t count;
    size_t room;
    size_t told; /* of which the refusal was asked */
};

struct usages *usages_create(struct sql_conn *conn, int64_t workspace_id)
{
    struct usages *usages = mem_alloc(sizeof(*usages));
    usages->conn = conn;
    usages->workspace_id = workspace_id;
    return usages;
}

void usages_destroy(struct usages *usages)
{
    if (usages != NULL) {
        mem_free(usages->lines);
        mem_free(usages);
    }
}

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

/* What is wrong with it as it stands; NULL: nothing. */
static const char *find_refusal(const Agentgateway__V1__AgentEvent *event)
{
    if (event->usage == NULL) {
        return "usage: an event of the kind " USAGE_KIND " needs it";
    }
    if (!str_equal(str_of(event->kind), STR(USAGE_KIND))) {
        return "usage: only in an event of the kind " USAGE_KIND;
    }
    return find_too_large(event->usage);
}

void usages_add(
    struct usages *usages, const struct record *record, const Agentgateway__V1__AgentEvent *event)
{
    if (usages->count == usages->room) {
        usages->room = usages->room == 0 ? FIRST_LINES : usages->room * 2;
        usages->lines = mem_realloc(usages->lines, usages->room * sizeof(*usages->lines));
    }
    const char *refusal = find_refusal(event);
    usages->lines[usages->count++] = (struct line){
        .record = record,
        .usage = refusal == NULL ? event->usage : NULL,
        .refusal = refusal,
    };
}

static struct usage_record row_of(const struct line *line, const struct usage_account *account)
{
    const message_type *usage = line->usage;
    int64_t until_us = cut(usage->until_us, account->created_at, line->record->received_at);
    return (struct usage_record){
        .sandbox_id = usage->sandbox_id,
        .boot_id = usage->boot_id,
        .sequence = (int64_t)usage->sequence,
        .agent_id = line->record->source.agent_id,
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
}

/* Lines that may become rows, and what is asked for them and made of them, side by side. */
struct portion {
    size_t count;
    size_t room;
    struct line **lines;
    struct usage_account *accounts;
    struct usage_record *rows;
};

/* From the line at `from`; returns where the next portion begins. */
static size_t gather(const struct usages *usages, size_t from, struct portion *portion)
{
    size_t at = from;
    for (portion->count = 0; at < usages->count && portion->count < portion->room; at++) {
        struct line *line = &usages->lines[at];
        if (line->refusal == NULL) {
            portion->accounts[portion->count] = (struct usage_account){
                .sandbox_id = line->usage->sandbox_id,
                .agent_id = line->record->source.agent_id,
            };
            portion->lines[portion->count++] = line;
        }
    }
    return at;
}

static enum err_code write_portion(
    struct usages *usages, struct portion *portion, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ACCOUNTS_BYTES);
    size_t count = 0;
    TRY(store_usage_accounts(
        usages->conn, usages->workspace_id, portion->accounts, portion->count, arena, err));
    for (size_t i = 0; i < portion->count; i++) {
        if (portion->accounts[i].owner == NULL) {
            portion->lines[i]->refusal = "usage.sandbox_id: no sandbox of this agent";
        } else {
            portion->rows[count++] = row_of(portion->lines[i], &portion->accounts[i]);
        }
    }
    return store_usage_add_all(usages->conn, usages->workspace_id, portion->rows, count, err);
}

enum err_code usages_write(struct usages *usages, struct err_info *err)
{
    if (usages->count == 0) {
        return ERR_OK;
    }
    size_t room = usages->count < PORTION_ROWS ? usages->count : PORTION_ROWS;
    AUTO_FREE struct line **lines = mem_alloc_array(room, sizeof(struct line *));
    AUTO_FREE struct usage_account *accounts = mem_alloc_array(room, sizeof(*accounts));
    AUTO_FREE struct usage_record *rows = mem_alloc_array(room, sizeof(*rows));
    struct portion portion = { 0, room, lines, accounts, rows };
    for (size_t at = 0; at < usages->count;) {
        at = gather(usages, at, &portion);
        TRY(write_portion(usages, &portion, err));
    }
    return ERR_OK;
}

const char *usages_next_refusal(struct usages *usages)
{
    return usages->lines[usages->told++].refusal;
}
