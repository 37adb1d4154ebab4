/*
 * One piece of work on the database: a transaction with the wall of its workspace, retried when it
 * lost a race, the events it owes, which are its last rows, and the wakes it owes, which go out
 * after the commit: to this replica through the hub, to the others through a notification in the
 * same transaction, or soon after it where only watches wait for them (core/notifier.h). On the
 * stack of a worker's thread.
 */
#ifndef SERVER_CORE_WORK_H
#define SERVER_CORE_WORK_H

#include "cmd/server/core/late_events.h"
#include "cmd/server/core/service.h"
#include "cmd/server/store/audit.h"

struct work_wake {
    enum hub_topic topic;
    int64_t key;
};

struct work {
    struct service *service;
    struct sql_conn *conn;
    struct arena *arena; /* results; not reset by a retry */
    struct wall_us now;
    struct work_wake *wakes; /* of this attempt; grows as needed */
    size_t wake_count;
    size_t wake_room;
    struct late_events events; /* of this attempt */
};

/* fn may run several times: it must have no effect but on the database, the arena and ret values.
 */
typedef enum err_code (*work_fn)(struct work *work, void *context, struct err_info *err);

/*
 * Runs fn in a transaction of workspace_id (SQL_ALL_WORKSPACES: the server's own work). A lost
 * connection is opened again first; ERR_UNAVAILABLE says so in words for the peer. ERR_UNCERTAIN:
 * the commit's answer was lost.
 */
enum err_code work_run(
    struct worker *worker,
    struct arena *arena,
    int64_t workspace_id,
    work_fn fn,
    void *context,
    struct err_info *err) MUST_CHECK;

/* As work_run for work that changes nothing. */
enum err_code work_read(
    struct worker *worker,
    struct arena *arena,
    int64_t workspace_id,
    work_fn fn,
    void *context,
    struct err_info *err) MUST_CHECK;

/* As work_read for one query: no transaction is opened for it (sql_begin_lookup, which takes
 * SQL_OWN_WALL too). arena may be NULL. */
enum err_code work_lookup(
    struct worker *worker,
    struct arena *arena,
    int64_t workspace_id,
    work_fn fn,
    void *context,
    struct err_info *err) MUST_CHECK;

/* Inside fn: publish topic and key after the commit; the same pair counts once, and there is no
 * bound: a transaction for many agents or workspaces owes each its wake. */
void work_wake(struct work *work, enum hub_topic topic, int64_t key);

/* Inside fn of work_run: the audit record of what it does, and the wake of who watches them. */
enum err_code work_audit(struct work *work, const struct audit_entry *entry, struct err_info *err)
    MUST_CHECK;

/* Inside fn of work_run: an event, written when fn is done, and its wake. The texts are copied, but
 * for event->kind, which is static. */
void work_event(struct work *work, int64_t workspace_id, const struct event_record *event);

/* Channel of notifications between replicas. */
#define WORK_CHANNEL "belay"

#endif
