#include "cmd/server/core/work.h"

#include "cmd/server/core/notifier.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/sys/fault.h"

enum {
    ATTEMPTS = 8,
    WAKES_FIRST = 8,
    RETRY_US = 500000,   /* between two tries of a database that is away */
    TRYING_US = 10000000 /* the longest one of them may take */
};

/* The others may hear of it a moment after the commit. */
static bool may_pass(const struct service *service, enum hub_topic topic)
{
    return service->notifier != NULL && notifier_takes(topic);
}

static enum err_code notify_replicas(struct work *work, struct err_info *err)
{
    if (work->service->engine != SQL_POSTGRES) {
        return ERR_OK;
    }
    for (size_t i = 0; i < work->wake_count; i++) {
        char payload[48];
        if (may_pass(work->service, work->wakes[i].topic)) {
            continue;
        }
        hub_format(work->wakes[i].topic, work->wakes[i].key, payload, sizeof(payload));
        TRY(sql_notify(work->conn, WORK_CHANNEL, str_of(payload), err));
    }
    return ERR_OK;
}

/* How a transaction begins: sql_begin, sql_begin_read, sql_begin_lookup. */
typedef enum err_code (*begin_fn)(
    struct sql_conn *conn, int64_t workspace_id, struct err_info *err);

/* What is asked for, and how: the arguments of work_run and its kin. */
struct ask {
    struct worker *worker;
    struct arena *arena;
    int64_t workspace_id;
    begin_fn begin;
    work_fn fn;
    void *context;
};

static enum err_code attempt(struct work *work, const struct ask *ask, struct err_info *err)
{
    bool read_only = ask->begin != sql_begin;
    work->wake_count = 0;
    late_events_clear(&work->events);
    TRY(ask->begin(work->conn, ask->workspace_id, err));
    enum err_code code = ask->fn(work, ask->context, err);
    if (code == ERR_OK && !read_only) {
        code = late_events_write(&work->events, work->conn, err);
    }
    if (code == ERR_OK && !read_only) {
        code = notify_replicas(work, err);
    }
    if (code == ERR_OK && !read_only) {
        FAULT_POINT("server.work.uncommitted");
        TRY(sql_commit(work->conn, err));
        FAULT_POINT("server.work.committed");
        return ERR_OK;
    }
    /* What was read was read: how its transaction ends changes nothing, and a second run of fn
     * might pass over what the first has noted. */
    sql_rollback(work->conn);
    return code;
}

/* While the database is away one thread at a time tries it, and the others need not wait for that:
 * a database that hangs would take each of them five seconds. */
static bool may_try(struct service *service)
{
    int64_t now = clock_mono(clock_system()).value;
    int64_t at = atomic_load(&service->database_retry_at);
    return !atomic_load(&service->database_away)
        || (now >= at
            && atomic_compare_exchange_strong(&service->database_retry_at, &at, now + TRYING_US));
}

static void note_away(struct service *service, const struct err_info *why)
{
    log_warn("database_away", LOG_ERR(why));
    atomic_store(&service->database_retry_at, clock_mono(clock_system()).value + RETRY_US);
    atomic_store(&service->database_away, true);
}

static enum err_code make_usable(
    struct service *service, struct sql_conn *conn, struct err_info *err)
{
    if (sql_is_usable(conn)) {
        return ERR_OK;
    }
    struct err_info detail = ERR_INFO_INIT;
    if (may_try(service)) {
        if (sql_reconnect(conn, &detail) == ERR_OK) {
            log_info("database_back");
            atomic_store(&service->database_away, false);
            return ERR_OK;
        }
        note_away(service, &detail);
    }
    return ERR_SET(err, ERR_UNAVAILABLE, "the database is away; nothing was changed, try again");
}

static enum err_code run(const struct ask *ask, struct err_info *err)
{
    struct service *service = ask->worker->service;
    struct sql_conn *conn = ask->worker->conn;
    struct work work = { .service = service, .conn = conn, .arena = ask->arena };
    enum err_code code = ERR_BUSY;
    bool has_lost = false;
    for (int i = 0; i < ATTEMPTS; i++) {
        code = make_usable(service, conn, err);
        if (code != ERR_OK) {
            break;
        }
        work.now = clock_wall(service->clock);
        code = attempt(&work, ask, err);
        /* A connection may have been dead for long; a second one that dies is the database's. One
         * that fell silent has cost the caller time enough. */
        bool loses = code == ERR_UNAVAILABLE && !sql_is_usable(conn);
        if (loses && sql_is_silent(conn)) {
            note_away(service, err);
            break;
        }
        if (code != ERR_BUSY && (!loses || has_lost)) {
            break;
        }
        has_lost = has_lost || loses;
    }
    if (code == ERR_OK && atomic_load(&service->database_away)) {
        atomic_store(&service->database_away, false);
    }
    for (size_t i = 0; code == ERR_OK && i < work.wake_count; i++) {
        bool passes = may_pass(service, work.wakes[i].topic);
        if (!passes || work.wakes[i].topic != HUB_AUDIT) { /* that one has nothing to see yet */
            hub_publish(service->hub, work.wakes[i].topic, work.wakes[i].key);
        }
        if (passes) {
            notifier_tell(service->notifier, work.wakes[i].topic, work.wakes[i].key);
        }
    }
    mem_free(work.wakes);
    late_events_deinit(&work.events);
    return code;
}

enum err_code work_run(
    struct worker *worker,
    struct arena *arena,
    int64_t workspace_id,
    work_fn fn,
    void *context,
    struct err_info *err)
{
    const struct ask ask = { worker, arena, workspace_id, sql_begin, fn, context };
    return run(&ask, err);
}

enum err_code work_read(
    struct worker *worker,
    struct arena *arena,
    int64_t workspace_id,
    work_fn fn,
    void *context,
    struct err_info *err)
{
    const struct ask ask = { worker, arena, workspace_id, sql_begin_read, fn, context };
    return run(&ask, err);
}

enum err_code work_lookup(
    struct worker *worker,
    struct arena *arena,
    int64_t workspace_id,
    work_fn fn,
    void *context,
    struct err_info *err)
{
    const struct ask ask = { worker, arena, workspace_id, sql_begin_lookup, fn, context };
    return run(&ask, err);
}

void work_wake(struct work *work, enum hub_topic topic, int64_t key)
{
    for (size_t i = 0; i < work->wake_count; i++) {
        if (work->wakes[i].topic == topic && work->wakes[i].key == key) {
            return;
        }
    }
    if (work->wake_count == work->wake_room) {
        work->wake_room = work->wake_room == 0 ? WAKES_FIRST : 2 * work->wake_room;
        work->wakes = mem_realloc(work->wakes, work->wake_room * sizeof(*work->wakes));
    }
    work->wakes[work->wake_count++] = (struct work_wake){ topic, key };
}

enum err_code work_audit(struct work *work, const struct audit_entry *entry, struct err_info *err)
{
    work_wake(work, HUB_AUDIT, entry->workspace_id);
    return store_audit_add(work->conn, entry, work->now, err);
}

void work_event(struct work *work, int64_t workspace_id, const struct event_record *event)
{
    late_events_add(&work->events, workspace_id, event);
    work_wake(work, HUB_EVENTS, workspace_id);
}
