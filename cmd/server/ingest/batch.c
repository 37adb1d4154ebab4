#include "cmd/server/ingest/batch.h"

#include "cmd/server/ingest/events.h"
#include "cmd/server/ingest/samples.h"
#include "cmd/server/ingest/usage.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/telemetry.h"

/* A sample that is further ahead of our clock is stored, but is not the latest: it would hide all
 * that come after the agent's clock was put right. */
#define AHEAD_US US_PER_HOUR

struct write {
    struct work *work;
    struct batch_memory *memory;
    struct samples *samples;
    const struct record **event_records; /* in the order they came; written last */
    size_t event_count;
};

/* The records of one agent. */
struct group {
    struct record *const *records;
    size_t count;
};

struct groups {
    size_t count;
    struct group *items;
    struct agent_marks *marks; /* and, columns for the store: */
    int64_t *workspace_ids;
    int64_t *agent_ids;
};

static enum err_code add_telemetry(
    struct write *write, const struct record *record, struct err_info *err)
{
    const Agentgateway__V1__TelemetryBatch *batch = record->telemetry;
    AUTO_FREE struct series_name *names = mem_alloc_array(batch->n_series, sizeof(*names));
    AUTO_FREE int64_t *ids = mem_alloc_array(batch->n_series, sizeof(*ids));
    for (size_t i = 0; i < batch->n_series; i++) {
        names[i].metric = str_of(batch->series[i]->metric);
        names[i].device = str_of(batch->series[i]->device);
        names[i].instance = str_of(batch->series[i]->instance);
        names[i].unit = str_of(batch->series[i]->unit);
    }
    const int64_t owner[2] = { record->source.workspace_id, record->source.agent_id };
    const struct series_request request = { owner[0], owner[1], names, batch->n_series };
    TRY(series_cache_resolve(write->memory->cache, write->work->conn, &request, ids, err));
    AUTO_FREE size_t *places = mem_alloc_array(batch->n_series, sizeof(*places));
    for (size_t i = 0; i < batch->n_series; i++) {
        places[i] = samples_series(write->samples, owner[0], ids[i]);
    }
    for (size_t i = 0; i < batch->n_samples; i++) {
        const Agentgateway__V1__TelemetrySample *sample = batch->samples[i];
        const struct sample_row row = { sample->time_us, sample->value };
        samples_add(
            write->samples,
            places[sample->series],
            &row,
            sample->time_us > record->received_at + AHEAD_US);
    }
    work_wake(write->work, HUB_TELEMETRY, owner[0]);
    return ERR_OK;
}

/* What could not become a row of usage is an event that says why. */
static enum err_code add_refusal(
    struct events *events,
    const struct record *record,
    const Agentgateway__V1__AgentEvent *event,
    const char *refusal,
    struct err_info *err)
{
    const struct event_record row = {
        .agent_id = record->source.agent_id,
        .time_us = event->time_us,
        .received_at = record->received_at,
        .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING,
        .kind = USAGE_REFUSED_KIND,
        .device = event->usage == NULL ? event->device : event->usage->sandbox_id,
        .text = refusal,
        .attributes = "{}",
    };
    return events_add_row(events, &row, err);
}

static enum err_code add_record(
    struct write *write, const struct record *record, struct err_info *err)
{
    if (record->telemetry != NULL) {
        return add_telemetry(write, record, err);
    }
    if (record->events != NULL) {
        write->event_records[write->event_count++] = record;
        return ERR_OK;
    }
    if (record->is_copy) {
        return ERR_OK; /* the record itself follows, and is kept then */
    }
    const struct upload_record upload = {
        .workspace_id = record->source.workspace_id,
        .agent_id = record->source.agent_id,
        .events = record->is_event_stream,
        .sequence = record->sequence,
        .captured_at = record->captured_at,
        .received_at = record->received_at,
        .payload = record->opaque,
    };
    return store_upload_add(write->work->conn, &upload, err);
}

/* All records of one agent; moves marks as far as they get. */
static enum err_code write_agent(
    struct write *write,
    const struct group *group,
    struct agent_marks *marks,
    struct batch_result *results,
    struct err_info *err)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct record *record = group->records[i];
        int64_t *mark =
            record->is_event_stream ? &marks->events_sequence : &marks->telemetry_sequence;
        bool fenced = record->source.epoch != marks->session_epoch || !marks->is_confirmed;
        bool repeat = record->sequence != 0 && record->sequence <= *mark;
        results[i].code = fenced ? ERR_UNAUTHENTICATED : ERR_OK;
        if (!fenced && !repeat) {
            TRY(add_record(write, record, err));
            *mark = record->sequence != 0 ? record->sequence : *mark;
        }
        results[i].acked_sequence = *mark;
    }
    return ERR_OK;
}

/* Parts the records by agent. */
static void divide(struct groups *groups, struct record *const *records, size_t count)
{
    groups->items = mem_alloc_array(count, sizeof(*groups->items));
    groups->marks = mem_alloc_array(count, sizeof(*groups->marks));
    groups->workspace_ids = mem_alloc_array(count, sizeof(*groups->workspace_ids));
    groups->agent_ids = mem_alloc_array(count, sizeof(*groups->agent_ids));
    for (size_t i = 0; i < count; i++) {
        const struct record_source *source = &records[i]->source;
        if (groups->count == 0 || groups->agent_ids[groups->count - 1] != source->agent_id) {
            groups->items[groups->count].records = records + i;
            groups->workspace_ids[groups->count] = source->workspace_id;
            groups->agent_ids[groups->count++] = source->agent_id;
        }
        groups->items[groups->count - 1].count++;
    }
}

static void groups_deinit(struct groups *groups)
{
    mem_free(groups->items);
    mem_free(groups->marks);
    mem_free(groups->workspace_ids);
    mem_free(groups->agent_ids);
}

static void add_usages(struct usages *usages, const struct record *record)
{
    for (size_t i = 0; i < record->events->n_events; i++) {
        const Agentgateway__V1__AgentEvent *event = record->events->events[i];
        if (usage_is_in(event)) {
            usages_add(usages, record, event);
        }
    }
}

/* usages: written, and in the same order. */
static enum err_code add_events(
    struct events *events, struct usages *usages, const struct record *record, struct err_info *err)
{
    for (size_t i = 0; i < record->events->n_events; i++) {
        const Agentgateway__V1__AgentEvent *event = record->events->events[i];
        if (!usage_is_in(event)) {
            TRY(events_add(events, record, event, err));
            continue;
        }
        const char *refusal = usages_next_refusal(usages);
        if (refusal != NULL) {
            TRY(add_refusal(events, record, event, refusal, err));
        }
    }
    return ERR_OK;
}

/* Usage first, all of it at once: its refusals are events, in their places among the others. */
static enum err_code write_events_of(
    struct write *write, int64_t workspace_id, struct err_info *err)
{
    AUTO_EVENTS struct events *events = events_create(write->work->conn, workspace_id);
    AUTO_USAGES struct usages *usages = usages_create(write->work->conn, workspace_id);
    TRY(store_event_lock(write->work->conn, workspace_id, err));
    for (size_t i = 0; i < write->event_count; i++) {
        if (write->event_records[i]->source.workspace_id == workspace_id) {
            add_usages(usages, write->event_records[i]);
        }
    }
    TRY(usages_write(usages, err));
    for (size_t i = 0; i < write->event_count; i++) {
        if (write->event_records[i]->source.workspace_id == workspace_id) {
            TRY(add_events(events, usages, write->event_records[i], err));
        }
    }
    work_wake(write->work, HUB_EVENTS, workspace_id);
    return events_flush(events, err);
}

/* The lowest workspace above `after` that has events; false: none is left. */
static bool next_workspace(const struct write *write, int64_t after, int64_t *ret_workspace)
{
    bool found = false;
    for (size_t i = 0; i < write->event_count; i++) {
        int64_t id = write->event_records[i]->source.workspace_id;
        if (id > after && (!found || id < *ret_workspace)) {
            *ret_workspace = id;
            found = true;
        }
    }
    return found;
}

/* Last, by rising workspace: see store_event_lock. */
static enum err_code write_events(struct write *write, struct err_info *err)
{
    int64_t workspace_id = INT64_MIN;
    while (next_workspace(write, workspace_id, &workspace_id)) {
        TRY(write_events_of(write, workspace_id, err));
    }
    return ERR_OK;
}

/* The marks of all agents are locked first, so that replicas take turns. */
static enum err_code write_all(
    struct write *write, struct groups *groups, struct batch_result *results, struct err_info *err)
{
    struct sql_conn *conn = write->work->conn;
    const struct agent_columns agents = { groups->count, groups->workspace_ids, groups->agent_ids };
    TRY(store_agent_marks_all(conn, &agents, groups->marks, err));
    for (size_t i = 0; i < groups->count; i++) {
        TRY(write_agent(write, &groups->items[i], &groups->marks[i], results, err));
        results += groups->items[i].count;
    }
    TRY(store_agent_mark_all(conn, &agents, groups->marks, err));
    struct sample_runs runs;
    struct sample_columns newest;
    samples_sort(write->samples, &runs, &newest);
    TRY(store_sample_put(conn, &runs, &write->memory->habit, err));
    TRY(store_series_latest(conn, &newest, write->work->now, err));
    return write_events(write, err);
}

enum err_code batch_write(
    struct work *work,
    struct batch_memory *memory,
    struct record *const *records,
    size_t count,
    struct batch_result *results,
    struct err_info *err)
{
    AUTO_FREE const struct record **event_records = mem_alloc_array(count, sizeof(void *));
    struct write write = {
        .work = work, .memory = memory, .samples = samples_create(), .event_records = event_records
    };
    struct groups groups = { .count = 0 };
    divide(&groups, records, count);
    enum err_code code = write_all(&write, &groups, results, err);
    groups_deinit(&groups);
    samples_destroy(write.samples);
    return code;
}
