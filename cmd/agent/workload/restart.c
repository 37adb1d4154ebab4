#include "cmd/agent/workload/restart.h"

#include "cmd/agent/workload/duties.h"
#include "cmd/agent/workload/note.h"
#include "cmd/agent/workload/report.h"
#include "cmd/agent/workload/workload_private.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

enum {
    KILLED_STATUS = 128 + SIGKILL, /* of what died as a whole */
    DOUBLINGS_MAX = 6              /* more make it no longer */
};

/* ---- One sandbox ---- */

enum restart_state restart_state(const struct restart *restart, uint64_t generation)
{
    if (restart->generation != generation) {
        return RESTART_RUNNING;
    }
    return restart->due_us == 0 ? RESTART_OVER : RESTART_WAITING;
}

/* A first start that fails is told as it is: what was asked for cannot run. */
static bool is_wanted(uint64_t policy, const struct sandbox_info *info, uint64_t exit_code)
{
    bool is_always = policy == AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_ALWAYS;
    bool is_any =
        is_always || policy == AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_ON_FAILURE;
    switch (info->exit->reason) {
    case SANDBOX_END_MAIN:
        return is_always || (is_any && exit_code != 0);
    case SANDBOX_END_DIED:
        return is_any;
    case SANDBOX_END_FAILED:
        return is_any && info->generation > 1;
    case SANDBOX_END_STOPPED:
    case SANDBOX_END_TIMEOUT:
        break;
    }
    return false;
}

bool restart_decide(struct restart *restart, const struct sandbox_info *info, struct wall_us now)
{
    if (restart->generation == info->generation) {
        return false;
    }
    int64_t pause_us = RESTART_PAUSE_US;
    restart->generation = info->generation;
    restart->exit_code =
        info->exit->has_status ? (uint64_t)report_exit_code(info->exit->status) : KILLED_STATUS;
    restart->due_us = 0;
    if (!is_wanted(restart->policy, info, restart->exit_code)) {
        return true;
    }
    if (info->exit->last.run_us >= (uint64_t)RESTART_HEALTHY_US) {
        restart->quick = 0;
    }
    pause_us <<= restart->quick > DOUBLINGS_MAX ? DOUBLINGS_MAX : restart->quick;
    pause_us = pause_us > RESTART_PAUSE_MOST_US ? RESTART_PAUSE_MOST_US : pause_us;
    restart->quick++;
    restart->count++;
    restart->due_us = (uint64_t)(now.value + pause_us);
    return true;
}

int64_t restart_left_us(const struct restart *restart, struct wall_us now)
{
    int64_t left = (int64_t)restart->due_us - now.value;
    if (left > RESTART_PAUSE_MOST_US) {
        return RESTART_PAUSE_MOST_US;
    }
    return left < 0 ? 0 : left;
}

void restart_describe(
    const struct restart *restart, enum restart_state state, char text[RESTART_TEXT_BYTES])
{
    text[0] = '\0';
    if (restart->count > 0 && state != RESTART_OVER) {
        (void)snprintf(
            text,
            RESTART_TEXT_BYTES,
            state == RESTART_WAITING
                ? "restart %" PRIu64 " follows; its last run ended with exit code %" PRIu64
                : "restarts: %" PRIu64 "; its last run ended with exit code %" PRIu64,
            restart->count,
            restart->exit_code);
    }
}

/* ---- Those that wait ---- */

struct waiting {
    char id[SANDBOX_ID_BYTES_MAX + 1];
    struct mono_us due;
};

struct restarts {
    struct workload *workload;
    struct loop *loop;
    struct loop_timer *timer;
    struct map *waiting; /* by id */
};

static void free_waiting(void *value)
{
    mem_free(value);
}

static void arm(struct restarts *restarts)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    int64_t first = INT64_MAX;
    while (map_next(restarts->waiting, &cursor, &key, &value)) {
        const struct waiting *waiting = value;
        first = waiting->due.value < first ? waiting->due.value : first;
    }
    if (first < INT64_MAX) {
        int64_t left = first - loop_now(restarts->loop).value;
        loop_timer_arm_after(restarts->timer, left < 0 ? 0 : left);
    }
}

static void plan(struct restarts *restarts, const char *id, int64_t after_us)
{
    struct waiting *waiting = map_find(restarts->waiting, str_of(id));
    if (waiting == NULL) {
        waiting = mem_alloc(sizeof(*waiting));
        (void)snprintf(waiting->id, sizeof(waiting->id), "%s", id);
        (void)map_put(restarts->waiting, str_of(waiting->id), waiting);
    }
    waiting->due.value = loop_now(restarts->loop).value + after_us;
    arm(restarts);
}

/* One that is due, which is taken off the list; false: there is none. */
static bool take_due(struct restarts *restarts, char id[SANDBOX_ID_BYTES_MAX + 1])
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(restarts->waiting, &cursor, &key, &value)) {
        const struct waiting *waiting = value;
        if (waiting->due.value <= loop_now(restarts->loop).value) {
            memcpy(id, waiting->id, sizeof(waiting->id));
            restarts_forget(restarts, id);
            return true;
        }
    }
    return false;
}

/* What cannot be started now, for want of memory or disk, is tried again. */
static void on_due(void *context)
{
    struct restarts *restarts = context;
    char id[SANDBOX_ID_BYTES_MAX + 1];
    while (take_due(restarts, id)) {
        struct err_info err = ERR_INFO_INIT;
        struct sandbox_info info;
        if (duties_restart(restarts->workload, id, &err) == ERR_OK) {
            continue;
        }
        log_error("sandbox_not_restarted", LOG_STR("sandbox", id), LOG_ERR(&err));
        workload_report(restarts->workload, id);
        if (sandbox_find(workload_sandboxes(restarts->workload), id, &info)
            && info.status == SANDBOX_STATUS_ENDED) {
            plan(restarts, id, RESTART_PAUSE_MOST_US);
        }
    }
    arm(restarts);
}

struct restarts *restarts_create(struct workload *workload, struct loop *loop)
{
    struct restarts *restarts = mem_alloc(sizeof(*restarts));
    restarts->workload = workload;
    restarts->loop = loop;
    restarts->timer = loop_timer_create(loop, on_due, restarts);
    restarts->waiting = map_create();
    return restarts;
}

void restarts_destroy(struct restarts *restarts)
{
    if (restarts != NULL) {
        loop_timer_destroy(restarts->timer);
        map_destroy(restarts->waiting, free_waiting);
        mem_free(restarts);
    }
}

void restarts_forget(struct restarts *restarts, const char *sandbox_id)
{
    mem_free(map_remove(restarts->waiting, str_of(sandbox_id)));
}

static void tell(
    struct workload *workload, const char *id, const struct restart *restart, struct wall_us now)
{
    char text[RESTART_TEXT_BYTES];
    char count[24];
    char exit_code[24];
    char pause_ms[24];
    const char *const attributes[] = { "restart",  count,    "exit_code", exit_code,
                                       "pause_ms", pause_ms, NULL };
    restart_describe(restart, RESTART_WAITING, text);
    (void)snprintf(count, sizeof(count), "%" PRIu64, restart->count);
    (void)snprintf(exit_code, sizeof(exit_code), "%" PRIu64, restart->exit_code);
    (void)snprintf(
        pause_ms, sizeof(pause_ms), "%" PRId64, restart_left_us(restart, now) / US_PER_MS);
    const struct workload_event event = {
        .sandbox_id = id,
        .kind = "sandbox.restart",
        .text = text,
        .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING,
        .attributes = attributes,
    };
    workload_tell(workload, &event);
}

void restarts_ended(struct restarts *restarts, const struct sandbox_info *info)
{
    struct workload *workload = restarts->workload;
    struct wall_us now = clock_wall(workload->options.clock);
    struct err_info err = ERR_INFO_INIT;
    struct note note;
    if (info->status != SANDBOX_STATUS_ENDED) {
        return; /* how it ended is not known, so neither is what it left */
    }
    enum err_code code = note_load(info->dir, &note, &err);
    if (code == ERR_OK && note.restart.policy != 0 && !report_was_stopped(info, &note)) {
        bool is_news = restart_decide(&note.restart, info, now);
        bool waits = restart_state(&note.restart, info->generation) == RESTART_WAITING;
        code = is_news ? note_save(info->dir, &note, NOTE_SYNCED, &err) : ERR_OK;
        if (code == ERR_OK && is_news && waits) {
            tell(workload, info->id, &note.restart, now);
        }
        if (waits) { /* also where it could not be noted: duties_restart tries that again */
            plan(restarts, info->id, restart_left_us(&note.restart, now));
        }
    }
    if (code != ERR_OK) {
        log_error("sandbox_restart_not_decided", LOG_STR("sandbox", info->id), LOG_ERR(&err));
    }
}
