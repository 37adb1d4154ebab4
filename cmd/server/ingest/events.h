/*
 * The events of a batch on their way to the store: gathered in order, handed over in portions, so
 * that many cost one statement. One workspace at a time. One thread.
 */
#ifndef SERVER_INGEST_EVENTS_H
#define SERVER_INGEST_EVENTS_H

#include "cmd/server/ingest/record.h"
#include "cmd/server/store/event.h"

struct events;

struct events *events_create(struct sql_conn *conn, int64_t workspace_id);
void events_destroy(
    struct events *events); /* what was not flushed is not stored; NULL is allowed */
AUTO_DEFINE(events, destroy)
#define AUTO_EVENTS AUTO(cleanup_events_destroy)

/*
 * Texts of the event are borrowed until events_flush. May hand a portion over: what the store
 * refuses is told of here or there.
 */
enum err_code events_add(
    struct events *events,
    const struct record *record,
    const Agentgateway__V1__AgentEvent *event,
    struct err_info *err) MUST_CHECK;

/* The same for a row that is made here; its workspace and id are not read. */
enum err_code events_add_row(
    struct events *events, const struct event_record *row, struct err_info *err) MUST_CHECK;

/* Hands over what is left. */
enum err_code events_flush(struct events *events, struct err_info *err) MUST_CHECK;

#endif
