/*
 * Events of a transaction that are written at its end: until it is over no other adds events to
 * their workspaces (store_event_lock), so that it must not wait for anybody's rows after the first.
 * Of a struct work, on its thread.
 */
#ifndef SERVER_CORE_LATE_EVENTS_H
#define SERVER_CORE_LATE_EVENTS_H

#include "cmd/server/store/event.h"

struct late_event;

struct late_events { /* zeroed: none */
    struct late_event *items;
    size_t count;
    size_t room;
};

/* The texts are copied, but for record->kind, which is static. */
void late_events_add(
    struct late_events *events, int64_t workspace_id, const struct event_record *record);

/* By rising workspace, in each in the order they were added. They stay until cleared. */
enum err_code late_events_write(
    struct late_events *events, struct sql_conn *conn, struct err_info *err) MUST_CHECK;

void late_events_clear(struct late_events *events);
void late_events_deinit(struct late_events *events);

#endif
