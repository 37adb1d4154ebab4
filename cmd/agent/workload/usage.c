#include "cmd/agent/workload/usage.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "common/sandbox/process.h"
#include "common/sandbox/record.h"
#include "common/sys/file.h"

#include <stdio.h>

enum {
    RUN_SHIFT = 32, /* a sample's sequence has the number of its run above these bits */
    MS_PER_SECOND = 1000
};

#define USAGE_FILE   "own.usage.json"
#define NETWORK_FILE "own.network.json"

/* The row that went last, and the sums it ends with. */
struct account {
    char id[SANDBOX_ID_BYTES_MAX + 1];
    char boot[PROCESS_BOOT_ID_BYTES]; /* of the row; "": there was none */
    struct message_sample sums;
    struct egress_count network;
    struct egress_count earlier; /* what agents before this one counted in this run */
    struct egress_count kept;    /* in the file: by all of them */
    uint64_t run;                /* of these two */
    Agentgateway__V1__SandboxUsage row;
    bool is_lost; /* the file cannot be read: how much has been charged is not known */
};

struct usage {
    char boot[PROCESS_BOOT_ID_BYTES];
    const struct usage_ops *ops;
    void *context;
    struct map *accounts;
};

struct usage *usage_create(const char *boot_id, const struct usage_ops *ops, void *context)
{
    struct usage *usage = mem_alloc(sizeof(*usage));
    (void)snprintf(usage->boot, sizeof(usage->boot), "%s", boot_id);
    usage->ops = ops;
    usage->context = context;
    usage->accounts = map_create();
    return usage;
}

static void free_account(void *value)
{
    mem_free(value);
}

void usage_destroy(struct usage *usage)
{
    if (usage != NULL) {
        map_destroy(usage->accounts, free_account);
        mem_free(usage);
    }
}

void usage_forget(struct usage *usage, const char *sandbox_id)
{
    mem_free(map_remove(usage->accounts, str_of(sandbox_id)));
}

/* ---- The file ---- */

#define ROW(member)                                           \
    {                                                         \
        "row_" #member, offsetof(struct account, row.member), \
            sizeof(((struct account *)NULL)->row.member)      \
    }

static const struct {
    const char *name;
    size_t offset;
    size_t bytes;
} fields[] = {
    { "sent", offsetof(struct account, network.sent_bytes), sizeof(uint64_t) },
    { "received", offsetof(struct account, network.received_bytes), sizeof(uint64_t) },
    ROW(sequence),
    ROW(from_us),
    ROW(until_us),
    ROW(cpu_us),
    ROW(memory_byte_seconds),
    ROW(memory_peak_bytes),
    ROW(read_bytes),
    ROW(written_bytes),
    ROW(sent_bytes),
    ROW(received_bytes),
    ROW(disk_bytes),
    ROW(processes_peak),
    ROW(is_final),
};

static uint64_t get(const struct account *account, size_t field)
{
    uint64_t value = 0;
    uint32_t small = 0;
    const char *at = (const char *)account + fields[field].offset;
    if (fields[field].bytes == sizeof(small)) {
        memcpy(&small, at, sizeof(small));
        return small;
    }
    memcpy(&value, at, sizeof(value));
    return value;
}

static void put(struct account *account, size_t field, uint64_t value)
{
    uint32_t small = (uint32_t)value;
    char *at = (char *)account + fields[field].offset;
    if (fields[field].bytes == sizeof(small)) {
        memcpy(at, &small, sizeof(small));
    } else {
        memcpy(at, &value, sizeof(value));
    }
}

static enum err_code load(struct account *account, const char *dir, struct err_info *err)
{
    struct record record;
    AUTO_FREE char *path = mem_printf("%s/" USAGE_FILE, dir);
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    TRY(file_read(path, RECORD_BYTES_MAX, &text, err));
    TRY(record_parse(buf_view(&text), &record, err));
    record_sample(&record, &account->sums);
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        put(account, i, record_number(&record, fields[i].name));
    }
    return str_copy(record_text(&record, "boot"), account->boot, sizeof(account->boot));
}

static enum err_code save(const struct account *account, const char *dir, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/" USAGE_FILE, dir);
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    record_open(&json);
    record_put_text(&json, "boot", str_of(account->boot));
    record_put_sample(&json, &account->sums);
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        record_put_number(&json, fields[i].name, get(account, i));
    }
    record_close(&json);
    return file_write_atomic(path, json.data, json.len, 0600, err);
}

/* ---- The network, which agents count and none of them alone ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What was counted when the agent before this one read last. Damaged or gone: what its last row
 * had. */
static void load_network(struct account *account, const struct sandbox_info *info)
{
    struct record record;
    AUTO_FREE char *path = mem_printf("%s/" NETWORK_FILE, info->dir);
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    account->run = info->generation;
    if (account->sums.sequence >> RUN_SHIFT == account->run) {
        account->earlier = account->network;
    }
    if (file_read(path, RECORD_BYTES_MAX, &text, NULL) == ERR_OK
        && record_parse(buf_view(&text), &record, NULL) == ERR_OK
        && record_number(&record, "run") == account->run) {
        account->earlier = (struct egress_count){
            larger(account->earlier.sent_bytes, record_number(&record, "sent")),
            larger(account->earlier.received_bytes, record_number(&record, "received")),
        };
    }
    account->kept = account->earlier;
}

/* Not synced: with the power the run ends too. */
static void keep_network(
    struct account *account, const char *dir, const struct egress_count *network)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *path = mem_printf("%s/" NETWORK_FILE, dir);
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    record_open(&json);
    record_put_number(&json, "run", account->run);
    record_put_number(&json, "sent", network->sent_bytes);
    record_put_number(&json, "received", network->received_bytes);
    record_close(&json);
    if (file_replace(path, json.data, json.len, 0600, &err) != ERR_OK) {
        log_warn("sandbox_network_not_kept", LOG_STR("sandbox", account->id), LOG_ERR(&err));
        return;
    }
    account->kept = *network;
}

/* The sums of this run, over all agents that it had. */
static struct egress_count network_of(
    struct account *account, uint64_t run, const struct egress_count *counted)
{
    if (account->run != run) {
        account->run = run;
        account->earlier = (struct egress_count){ 0, 0 };
        account->kept = account->earlier;
    }
    return (struct egress_count){ account->earlier.sent_bytes + counted->sent_bytes,
                                  account->earlier.received_bytes + counted->received_bytes };
}

/* ---- Rows ---- */

static struct account *account_of(struct usage *usage, const struct sandbox_info *info)
{
    struct err_info err = ERR_INFO_INIT;
    struct account *account = map_find(usage->accounts, str_of(info->id));
    if (account != NULL) {
        return account;
    }
    account = mem_alloc(sizeof(*account));
    agentgateway__v1__sandbox_usage__init(&account->row);
    (void)snprintf(account->id, sizeof(account->id), "%s", info->id);
    enum err_code code = load(account, info->dir, &err);
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        log_error("sandbox_usage_lost", LOG_STR("sandbox", info->id), LOG_ERR(&err));
        account->boot[0] = '\0';
        account->is_lost = true;
    }
    (void)map_put(usage->accounts, str_of(account->id), account);
    return account;
}

static void emit(const struct usage *usage, struct account *account)
{
    struct err_info err = ERR_INFO_INIT;
    Agentgateway__V1__AgentEvent event;
    Agentgateway__V1__AgentEvent *events[] = { &event };
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    agentgateway__v1__agent_event__init(&event);
    account->row.sandbox_id = account->id;
    account->row.boot_id = account->boot;
    event.time_us = account->row.until_us;
    event.severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO;
    event.kind = CONST_CAST(char *, "sandbox.usage");
    event.device = account->id;
    event.usage = &account->row;
    batch.events = events;
    batch.n_events = 1;
    if (usage->ops->emit(usage->context, &batch, &err) != ERR_OK) {
        log_warn("sandbox_usage_not_stored", LOG_STR("sandbox", account->id), LOG_ERR(&err));
    }
}

/* Sums start anew with each run; within one they never fall. */
static void add_row(
    struct account *account,
    const struct message_sample *now,
    const struct egress_count *network,
    bool is_final)
{
    static const struct message_sample no_sums = { .sequence = 0 };
    static const struct egress_count no_network = { 0, 0 };
    bool is_same_run = account->sums.sequence >> RUN_SHIFT == now->sequence >> RUN_SHIFT;
    const struct message_sample *then = is_same_run ? &account->sums : &no_sums;
    const struct egress_count *before = is_same_run ? &account->network : &no_network;
    Agentgateway__V1__SandboxUsage *row = &account->row;
    row->sequence = now->sequence;
    row->from_us = is_same_run ? row->until_us : (int64_t)(now->time_us - now->run_us);
    row->until_us = (int64_t)now->time_us;
    row->cpu_us = now->cpu_us - then->cpu_us;
    row->memory_byte_seconds =
        now->memory_byte_ms / MS_PER_SECOND - then->memory_byte_ms / MS_PER_SECOND;
    row->memory_peak_bytes = now->memory_peak_bytes;
    row->read_bytes = now->read_bytes - then->read_bytes;
    row->written_bytes = now->write_bytes - then->write_bytes;
    row->sent_bytes = network->sent_bytes - before->sent_bytes;
    row->received_bytes = network->received_bytes - before->received_bytes;
    row->disk_bytes = now->disk_bytes;
    row->processes_peak = (uint32_t)now->pids_peak;
    row->is_final = is_final;
    account->sums = *now;
    account->network = *network;
}

static void write_row(
    struct usage *usage,
    const struct sandbox_info *info,
    const struct message_sample *sample,
    const struct egress_count *network,
    bool is_final)
{
    struct err_info err = ERR_INFO_INIT;
    struct account *account = account_of(usage, info);
    const struct account before = *account;
    add_row(account, sample, network, is_final);
    (void)snprintf(account->boot, sizeof(account->boot), "%s", usage->boot);
    if (save(account, info->dir, &err) != ERR_OK) {
        log_warn("sandbox_usage_not_kept", LOG_STR("sandbox", info->id), LOG_ERR(&err));
        *account = before; /* the next row covers it */
        return;
    }
    emit(usage, account);
}

/* The sums count from here on: what came before may have been charged, and nothing is charged
 * twice. */
static void begin_anew(
    struct account *account, const struct message_sample *now, const struct egress_count *network)
{
    account->is_lost = false;
    account->sums = *now;
    account->network = *network;
    account->row.until_us = (int64_t)now->time_us;
}

void usage_resume(struct usage *usage, const struct sandbox_info *info)
{
    struct account *account = account_of(usage, info);
    load_network(account, info); /* this agent has counted nothing yet */
    if (account->boot[0] != '\0') {
        emit(usage, account);
    }
}

void usage_sample(
    struct usage *usage,
    const struct sandbox_info *info,
    const struct message_sample *sample,
    const struct egress_count *counted)
{
    struct account *account = account_of(usage, info);
    struct egress_count network = network_of(account, sample->sequence >> RUN_SHIFT, counted);
    if (memcmp(&network, &account->kept, sizeof(network)) != 0) {
        keep_network(account, info->dir, &network);
    }
    if (account->is_lost) {
        begin_anew(account, sample, &network);
        return;
    }
    bool is_same_run = account->sums.sequence >> RUN_SHIFT == sample->sequence >> RUN_SHIFT;
    uint64_t since_us = is_same_run ? sample->time_us - account->sums.time_us : sample->run_us;
    if (sample->sequence > account->sums.sequence && since_us >= (uint64_t)USAGE_INTERVAL_US) {
        write_row(usage, info, sample, &network, false);
    }
}

void usage_close(
    struct usage *usage, const struct sandbox_info *info, const struct egress_count *counted)
{
    const struct message_sample *last = &info->exit->last;
    struct account *account = account_of(usage, info);
    struct egress_count network = network_of(account, last->sequence >> RUN_SHIFT, counted);
    bool is_lost = account->is_lost;
    if (is_lost) {
        begin_anew(account, last, &network);
    }
    if (last->sequence > account->sums.sequence || (is_lost && last->sequence > 0)) {
        write_row(usage, info, last, &network, true);
    }
}
