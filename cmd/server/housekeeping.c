#include "cmd/server/housekeeping.h"

#include "cmd/server/auth/credentials.h"
#include "cmd/server/auth/key_uses.h"
#include "cmd/server/core/notifier.h"
#include "cmd/server/core/work.h"
#include "cmd/server/gateway/presence.h"
#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/command.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "cmd/server/store/event.h"
#include "cmd/server/store/sandbox/relay.h"
#include "cmd/server/store/sandbox/sandbox.h"
#include "cmd/server/store/sandbox/usage.h"
#include "cmd/server/store/session.h"
#include "cmd/server/store/task.h"
#include "cmd/server/store/telemetry.h"
#include "common/base/log.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <stdatomic.h>

enum {
    FLUSH_US = 1000000,
    EXPIRE_US = 5000000,
    LISTEN_US = 500000,
    RETAIN_SERIES = 256,
    PARTITION_DAYS_BACK = 2,
    PARTITION_DAYS = 10,
    ARENA_BYTES = 1024 * 1024,
};

/* Retention throws away by the clock, so it does not believe one at once that has just jumped: an
 * operator has a day to put it right. */
#define JUMP_US     US_PER_HOUR
#define SILENCE_US  (7 * US_PER_DAY) /* at the start: since anything was heard of any agent */
#define DISTRUST_US US_PER_DAY

struct task {
    const char *name;
    int64_t every_us; /* of all servers on the database together */
    int64_t look_us;  /* how often this server looks whether it is due: the time of a fail-over */
    work_fn fn;       /* its context is a struct run */
};

struct housekeeping {
    struct service *service;
    struct worker *worker;
    struct lock lock;
    struct lock_cond stop_now;
    bool stopping; /* under the lock; and, for the listener, the atomic below */
    atomic_bool listener_stopping;
    struct thread keeper;
    struct thread listener;
    int64_t retain_cursor;
    struct wall_us seen_wall; /* the clocks as they were a second ago */
    struct mono_us seen_mono;
    struct mono_us retain_after;
    bool is_judged; /* the clock of the start */
};

/* One run of a task, or a portion of it. */
struct run {
    struct housekeeping *self;
    const struct task *task;
    bool goes_on; /* a further portion: due whatever was noted */
    bool is_mine;
    bool has_more; /* another portion, soon */
};

static enum err_code expire(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    int64_t expired = 0;
    TRY(store_enrollment_expire(work->conn, work->now, err));
    TRY(store_challenge_expire(work->conn, work->now, err));
    TRY(store_command_expire(work->conn, work->now, &expired, err));
    TRY(store_sandbox_forward_expire(work->conn, work->now, err));
    TRY(store_relay_expire(work->conn, work->now, err));
    return ERR_OK; /* watches look by themselves: an expiry needs no wake */
}

static enum err_code make_partitions(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    struct wall_us from = { work->now.value - PARTITION_DAYS_BACK * US_PER_DAY };
    bool all = true;
    TRY(store_sample_partitions(work->conn, from, PARTITION_DAYS, &all, err));
    run->has_more = !all;
    return ERR_OK;
}

static void distrust(struct housekeeping *self, int64_t ahead_us)
{
    self->retain_after.value = clock_mono(clock_system()).value + DISTRUST_US;
    log_error(
        "clock_jumped",
        LOG_INT("seconds", ahead_us / US_PER_SECOND),
        LOG_STR("what", "retention waits a day; put the clock right if it is wrong"));
}

static void watch_clock(struct housekeeping *self)
{
    struct wall_us wall = clock_wall(clock_system());
    struct mono_us mono = clock_mono(clock_system());
    int64_t jump_us = (wall.value - self->seen_wall.value) - (mono.value - self->seen_mono.value);
    if (self->seen_wall.value != 0 && (jump_us > JUMP_US || jump_us < -JUMP_US)) {
        distrust(self, jump_us);
    }
    self->seen_wall = wall;
    self->seen_mono = mono;
}

static enum err_code judge_start(struct housekeeping *self, struct work *work, struct err_info *err)
{
    int64_t seen = 0;
    if (self->is_judged) {
        return ERR_OK;
    }
    TRY(store_agent_last_seen(work->conn, &seen, err));
    int64_t since_us = work->now.value - seen;
    if (seen != 0 && (since_us > SILENCE_US || since_us < -JUMP_US)) {
        distrust(self, since_us);
    }
    self->is_judged = true;
    return ERR_OK;
}

/* Whether the clock may decide what is thrown away. */
static enum err_code may_retain(
    struct run *run, struct work *work, bool *ret_may, struct err_info *err)
{
    TRY(judge_start(run->self, work, err));
    *ret_may = clock_mono(clock_system()).value >= run->self->retain_after.value;
    return ERR_OK;
}

static enum err_code retain_samples(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    int64_t *cursor = &run->self->retain_cursor;
    bool may = false;
    TRY(may_retain(run, work, &may, err));
    if (!may) {
        return ERR_OK;
    }
    struct wall_us before = { work->now.value - work->service->settings.telemetry_keep_us };
    TRY(store_sample_retain(work->conn, before, RETAIN_SERIES, cursor, err));
    run->has_more = *cursor != 0;
    return ERR_OK;
}

static enum err_code retain_events(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    const struct service_settings *settings = &work->service->settings;
    bool may = false;
    TRY(may_retain(run, work, &may, err));
    if (!may) {
        return ERR_OK;
    }
    struct wall_us uploads_before = { work->now.value - settings->telemetry_keep_us };
    struct wall_us events_before = { work->now.value - settings->events_keep_us };
    bool more_uploads = false;
    TRY(store_upload_remove(work->conn, uploads_before, &more_uploads, err));
    TRY(store_event_remove(work->conn, events_before, &run->has_more, err));
    run->has_more = run->has_more || more_uploads;
    return ERR_OK;
}

static enum err_code retain_commands(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    bool may = false;
    TRY(may_retain(run, work, &may, err));
    if (!may) {
        return ERR_OK;
    }
    struct wall_us before = { work->now.value - work->service->settings.commands_keep_us };
    return store_command_remove(work->conn, before, &run->has_more, err);
}

static enum err_code retain_usage(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    bool may = false;
    TRY(may_retain(run, work, &may, err));
    if (!may) {
        return ERR_OK;
    }
    struct wall_us before = { work->now.value - work->service->settings.usage_keep_us };
    return store_usage_remove(work->conn, before, &run->has_more, err);
}

/* What a server that died had not given its place. */
static enum err_code place_audit(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    int64_t workspace_ids[STORE_AUDIT_UNPLACED_MAX];
    size_t count = 0;
    TRY(store_audit_unplaced(work->conn, workspace_ids, &count, err));
    for (size_t i = 0; i < count; i++) {
        notifier_tell(work->service->notifier, HUB_AUDIT, workspace_ids[i]);
    }
    return ERR_OK;
}

static enum err_code sweep_sandboxes(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    return lifecycle_sweep(work, &run->has_more, err);
}

static const struct task tasks[] = {
    { "partitions", US_PER_HOUR, US_PER_MINUTE, make_partitions },
    { "expire", EXPIRE_US, US_PER_SECOND, expire },
    { "audit", EXPIRE_US, US_PER_SECOND, place_audit },
    { "retain-samples", 10 * US_PER_MINUTE, US_PER_MINUTE, retain_samples },
    { "retain-events", 10 * US_PER_MINUTE, US_PER_MINUTE, retain_events },
    { "retain-commands", 10 * US_PER_MINUTE, US_PER_MINUTE, retain_commands },
    { "retain-usage", 10 * US_PER_MINUTE, US_PER_MINUTE, retain_usage },
    { "sandboxes", EXPIRE_US, US_PER_SECOND, sweep_sandboxes },
};

static enum err_code run_if_due(struct work *work, void *context, struct err_info *err)
{
    struct run *run = context;
    int64_t every_us = run->goes_on ? 0 : run->task->every_us;
    run->has_more = false;
    TRY(store_task_take(work->conn, run->task->name, every_us, work->now, &run->is_mine, err));
    return run->is_mine ? run->task->fn(work, run, err) : ERR_OK;
}

/* Gives whether a portion is left. */
static bool run_task(struct housekeeping *self, const struct task *task, bool goes_on)
{
    struct err_info err = ERR_INFO_INIT;
    struct run run = { .self = self, .task = task, .goes_on = goes_on };
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    enum err_code code = work_run(self->worker, arena, SQL_ALL_WORKSPACES, run_if_due, &run, &err);
    if (code != ERR_OK) {
        log_warn("housekeeping_failed", LOG_STR("task", task->name), LOG_ERR(&err));
        return false;
    }
    if (run.is_mine) {
        log_debug("housekeeping_ran", LOG_STR("task", task->name), LOG_BOOL("more", run.has_more));
    }
    return run.has_more;
}

/*
 * Without notifications a server hears of other servers' commands by looking: one question for all
 * the agents that are here.
 */
static enum err_code look_for_commands(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(store_command_waiting(work->conn, work->now, &rows, err));
    enum err_code code = sql_rows_next(rows, err);
    for (; code == ERR_OK; code = sql_rows_next(rows, err)) {
        hub_publish(work->service->hub, HUB_OUTBOX, sql_int(rows, 0));
    }
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static void look_if_deaf(struct housekeeping *self)
{
    struct err_info err = ERR_INFO_INIT;
    if (atomic_load(&self->service->hears_all)) {
        return;
    }
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    enum err_code code =
        work_read(self->worker, arena, SQL_ALL_WORKSPACES, look_for_commands, NULL, &err);
    if (code != ERR_OK) {
        log_debug("outbox_not_looked_at", LOG_ERR(&err));
    }
}

static void flush(struct housekeeping *self, bool is_last)
{
    struct err_info err = ERR_INFO_INIT;
    if (presence_flush(self->service->presence, self->worker, &err) != ERR_OK) {
        log_warn("heartbeats_kept", LOG_ERR(&err));
    }
    struct key_uses *uses = credentials_key_uses(self->service->credentials);
    if (key_uses_flush(uses, self->worker, is_last, &err) != ERR_OK) {
        log_warn("key_uses_kept", LOG_ERR(&err));
    }
}

/* true: go on; false: asked to stop. */
static bool wait_turn(struct housekeeping *self)
{
    struct mono_us until = { clock_mono(clock_system()).value + FLUSH_US };
    LOCK_GUARD(&self->lock);
    while (!self->stopping) {
        if (!lock_cond_wait_until(&self->stop_now, &self->lock, until)) {
            return true;
        }
    }
    return false;
}

static void keep(void *context)
{
    struct housekeeping *self = context;
    int64_t due[ARRAY_LENGTH(tasks)] = { 0 };
    bool goes_on[ARRAY_LENGTH(tasks)] = { false };
    do {
        watch_clock(self);
        flush(self, false);
        look_if_deaf(self);
        int64_t now = clock_mono(clock_system()).value;
        for (size_t i = 0; i < ARRAY_LENGTH(tasks); i++) {
            if (now >= due[i]) {
                goes_on[i] = run_task(self, &tasks[i], goes_on[i]);
                due[i] = goes_on[i] ? now : now + tasks[i].look_us;
            }
        }
    } while (wait_turn(self));
    flush(self, true);
}

static void set_hearing(struct service *service, bool hears_all)
{
    atomic_store(&service->hears_all, hears_all);
    if (hears_all) {
        hub_wake_all(service->hub); /* for what was said while nobody listened */
    } else {
        hub_publish(service->hub, HUB_SESSION, 0);
    }
}

/* One connection that listens, until it is lost or the server stops. */
static void listen_on(struct housekeeping *self, struct sql_conn *conn)
{
    struct err_info err = ERR_INFO_INIT;
    if (sql_listen(conn, WORK_CHANNEL, &err) != ERR_OK) {
        log_warn("listen_failed", LOG_ERR(&err));
        return;
    }
    set_hearing(self->service, true);
    while (!atomic_load(&self->listener_stopping)) {
        char channel[16];
        char payload[48];
        enum hub_topic topic;
        int64_t key = 0;
        enum err_code code = sql_wait_notification(
            conn, LISTEN_US, channel, sizeof(channel), payload, sizeof(payload), &err);
        if (code == ERR_OK && hub_parse(str_of(payload), &topic, &key) == ERR_OK) {
            hub_publish(self->service->hub, topic, key);
        } else if (code != ERR_OK && code != ERR_TIMEOUT) {
            log_warn("listen_lost", LOG_ERR(&err));
            return;
        }
    }
}

static void wait_before_retry(struct housekeeping *self)
{
    struct mono_us until = { clock_mono(clock_system()).value + FLUSH_US };
    LOCK_GUARD(&self->lock);
    while (!self->stopping && lock_cond_wait_until(&self->stop_now, &self->lock, until)) {
    }
}

static void listen(void *context)
{
    struct housekeeping *self = context;
    while (!atomic_load(&self->listener_stopping)) {
        struct sql_conn *conn = NULL;
        struct err_info err = ERR_INFO_INIT;
        if (store_connect(&self->service->store, &conn, &err) == ERR_OK) {
            listen_on(self, conn);
            set_hearing(self->service, false);
            sql_close(conn);
        }
        wait_before_retry(self);
    }
}

enum err_code housekeeping_start(
    struct service *service, struct housekeeping **ret_housekeeping, struct err_info *err)
{
    struct housekeeping *self = mem_alloc(sizeof(*self));
    void *worker = NULL;
    self->service = service;
    lock_init(&self->lock, LOCK_RANK_APP);
    lock_cond_init(&self->stop_now);
    enum err_code code = worker_open(service, &worker, err);
    self->worker = worker;
    if (code == ERR_OK) {
        (void)run_task(self, &tasks[0], false); /* partitions stand before the first sample comes */
        code = thread_start(&self->keeper, "housekeeping", keep, self, err);
    }
    if (code == ERR_OK && store_can_listen(&service->store, service->engine)) {
        code = thread_start(&self->listener, "listener", listen, self, err);
    }
    if (code != ERR_OK) {
        housekeeping_stop(self);
        return code;
    }
    *ret_housekeeping = self;
    return ERR_OK;
}

void housekeeping_stop(struct housekeeping *self)
{
    if (self == NULL) {
        return;
    }
    atomic_store(&self->listener_stopping, true);
    lock_acquire(&self->lock);
    self->stopping = true;
    lock_cond_broadcast(&self->stop_now);
    lock_release(&self->lock);
    thread_join(&self->keeper);
    thread_join(&self->listener);
    worker_close(self->service, self->worker);
    lock_cond_deinit(&self->stop_now);
    lock_deinit(&self->lock);
    mem_free(self);
}
