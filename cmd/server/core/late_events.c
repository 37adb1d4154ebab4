#include "cmd/server/core/late_events.h"

#include "common/base/cleanup.h"

#include <stdlib.h>

enum {
    FIRST_ITEMS = 8,
    PORTION_ROWS = 1000 /* of one statement: 4 KiB of text each, as reports bound it */
};

struct late_event {
    int64_t workspace_id;
    size_t place;
    struct event_record record;
    char *texts; /* what record points into */
};

static const char *put_text(char **at, const char *text)
{
    size_t bytes = strlen(text) + 1;
    const char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

void late_events_add(
    struct late_events *events, int64_t workspace_id, const struct event_record *record)
{
    if (events->count == events->room) {
        events->room = events->room == 0 ? FIRST_ITEMS : 2 * events->room;
        events->items = mem_realloc(events->items, events->room * sizeof(*events->items));
    }
    struct late_event *item = &events->items[events->count];
    *item = (struct late_event){ workspace_id, events->count, *record, NULL };
    item->texts =
        mem_alloc(strlen(record->device) + strlen(record->text) + strlen(record->attributes) + 3);
    char *at = item->texts;
    item->record.device = put_text(&at, record->device);
    item->record.text = put_text(&at, record->text);
    item->record.attributes = put_text(&at, record->attributes);
    events->count++;
}

static int compare_items(const void *a, const void *b)
{
    const struct late_event *left = a;
    const struct late_event *right = b;
    if (left->workspace_id != right->workspace_id) {
        return left->workspace_id < right->workspace_id ? -1 : 1;
    }
    return left->place < right->place ? -1 : 1;
}

enum err_code late_events_write(
    struct late_events *events, struct sql_conn *conn, struct err_info *err)
{
    if (events->count == 0) {
        return ERR_OK;
    }
    qsort(events->items, events->count, sizeof(*events->items), compare_items);
    AUTO_FREE struct event_record *rows = mem_alloc_array(PORTION_ROWS, sizeof(*rows));
    for (size_t i = 0; i < events->count;) {
        int64_t workspace_id = events->items[i].workspace_id;
        size_t count = 0;
        if (i == 0 || events->items[i - 1].workspace_id != workspace_id) {
            TRY(store_event_lock(conn, workspace_id, err));
        }
        while (count < PORTION_ROWS && i < events->count
               && events->items[i].workspace_id == workspace_id) {
            rows[count++] = events->items[i++].record;
        }
        TRY(store_event_add_all(conn, workspace_id, rows, count, err));
    }
    return ERR_OK;
}

void late_events_clear(struct late_events *events)
{
    for (size_t i = 0; i < events->count; i++) {
        mem_free(events->items[i].texts);
    }
    events->count = 0;
}

void late_events_deinit(struct late_events *events)
{
    late_events_clear(events);
    mem_free(events->items);
    *events = (struct late_events){ NULL, 0, 0 };
}
