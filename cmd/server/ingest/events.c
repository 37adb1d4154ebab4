#include "cmd/server/ingest/events.h"

#include "common/base/buf.h"

enum {
    ATTRIBUTES_BYTES = 8 * 1024 * 1024, /* of one event: 1 MiB of a record, each byte escaped */
    ARENA_BYTES = 2 * ATTRIBUTES_BYTES,
    FIRST_ROWS = 64,
    PORTION_ROWS = 4096,
    PORTION_BYTES = 4 * 1024 * 1024 /* of texts: one event more fits into the arena */
};

struct events {
    struct sql_conn *conn;
    int64_t workspace_id;
    struct event_record *rows;
    size_t count;
    size_t room;
    size_t bytes;
    struct arena *arena; /* attributes of the portion */
    struct buf scratch;
};

struct events *events_create(struct sql_conn *conn, int64_t workspace_id)
{
    struct events *events = mem_alloc(sizeof(*events));
    events->conn = conn;
    events->workspace_id = workspace_id;
    events->arena = arena_create(ARENA_BYTES);
    events->scratch = (struct buf)BUF_INIT(ATTRIBUTES_BYTES);
    return events;
}

void events_destroy(struct events *events)
{
    if (events != NULL) {
        mem_free(events->rows);
        arena_destroy(events->arena);
        buf_deinit(&events->scratch);
        mem_free(events);
    }
}

enum err_code events_flush(struct events *events, struct err_info *err)
{
    TRY(store_event_add_all(events->conn, events->workspace_id, events->rows, events->count, err));
    events->count = 0;
    events->bytes = 0;
    arena_reset(events->arena);
    return ERR_OK;
}

static size_t bytes_of(const struct event_record *row)
{
    return strlen(row->kind) + strlen(row->device) + strlen(row->text) + strlen(row->attributes);
}

enum err_code events_add_row(
    struct events *events, const struct event_record *row, struct err_info *err)
{
    if (events->count == events->room) {
        events->room = events->room == 0 ? FIRST_ROWS : events->room * 2;
        events->rows = mem_realloc(events->rows, events->room * sizeof(*events->rows));
    }
    events->rows[events->count++] = *row;
    events->bytes += bytes_of(row);
    return events->count == PORTION_ROWS || events->bytes >= PORTION_BYTES
        ? events_flush(events, err)
        : ERR_OK;
}

/* As a JSON object, in the portion's arena; NULL: out of memory, as every record fits. */
static const char *format_attributes(
    struct events *events, const Agentgateway__V1__AgentEvent *event)
{
    struct buf *json = &events->scratch;
    if (event->n_attributes == 0) {
        return "{}";
    }
    buf_clear(json);
    buf_append_char(json, '{');
    for (size_t i = 0; i < event->n_attributes; i++) {
        if (i > 0) {
            buf_append_char(json, ',');
        }
        buf_append_json(json, str_of(event->attributes[i]->key));
        buf_append_char(json, ':');
        buf_append_json(json, str_of(event->attributes[i]->value));
    }
    buf_append_char(json, '}');
    return buf_ok(json) ? arena_str_dup(events->arena, buf_view(json)) : NULL;
}

enum err_code events_add(
    struct events *events,
    const struct record *record,
    const Agentgateway__V1__AgentEvent *event,
    struct err_info *err)
{
    const struct event_record row = {
        .agent_id = record->source.agent_id,
        .time_us = event->time_us,
        .received_at = record->received_at,
        .severity = (int64_t)event->severity,
        .kind = event->kind,
        .device = event->device,
        .text = event->text,
        .attributes = format_attributes(events, event),
    };
    if (row.attributes == NULL) {
        return ERR_SET(err, ERR_NOMEM, "the attributes of an event: out of memory");
    }
    return events_add_row(events, &row, err);
}
