/* What agents say of their sandboxes, and what their silence says (lifecycle.h). */
#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/sandbox/orders.h"
#include "cmd/server/sandbox/transition.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PAGE_ROWS = 500,
    LIFE_BYTES = 32 * 1024, /* of one; older servers kept messages of 16 KiB */
    PAGE_BYTES = PAGE_ROWS * LIFE_BYTES,
    ID_BYTES = 80,
    STRANGERS_MAX = 16,
    HEARTBEATS_OF_GRACE = 3
};

int64_t lifecycle_grace_us(const struct service *service)
{
    return HEARTBEATS_OF_GRACE * service->settings.heartbeat_us;
}

/* Its workspace's audit is this transaction's from then on: nothing else may be waited for. */
static enum err_code audit_gone(const struct lifecycle *self, const char *id, struct err_info *err)
{
    char target[80];
    (void)snprintf(target, sizeof(target), "sandbox/%s", id);
    const struct audit_entry entry = {
        .workspace_id = self->workspace_id,
        .actor = self->actor,
        .action = "sandbox.removed",
        .target = target,
        .decision = "allowed",
        .reason = "nothing is left of it on its agent",
        .request_id = "",
        .source = "",
    };
    return work_audit(self->work, &entry, err);
}

/* What a sandbox was made with is loaded with it, and worth no line of its own. */
static enum err_code settle(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    const struct sandbox_policy_record *settled,
    struct err_info *err)
{
    bool is_new = false;
    TRY(store_sandbox_policy_settle(
        self->work->conn, self->workspace_id, settled, self->work->now, &is_new, err));
    if (is_new && (settled->version > 1 || settled->status == SANDBOX_POLICY_FAILED)) {
        transition_note_policy(self, record, settled);
    }
    return ERR_OK;
}

static enum err_code settle_policy(
    const struct lifecycle *self,
    struct sandbox_record *record,
    const Agentgateway__V1__SandboxReport *report,
    struct err_info *err)
{
    int64_t loaded = report->policy_version == 0 ? 1 : (int64_t)report->policy_version;
    struct sandbox_policy_record settled = { .sandbox_id = record->id, .load_error = "" };
    bool is_running = report->state == AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_READY;
    if (is_running && loaded > record->policy_loaded && loaded <= record->policy_version) {
        settled.version = loaded;
        settled.status = SANDBOX_POLICY_LOADED;
        record->policy_loaded = loaded;
        TRY(settle(self, record, &settled, err));
    }
    if (report->policy_failed_version > 0) {
        settled.version = report->policy_failed_version;
        settled.status = SANDBOX_POLICY_FAILED;
        str_clip_utf8(report->policy_error, LIFECYCLE_MESSAGE_BYTES);
        settled.load_error = report->policy_error;
        return settle(self, record, &settled, err);
    }
    return ERR_OK;
}

/* What it was before its agent was away, as far as that matters to a report: one that has been
 * READY starts again, and is not made anew. */
static enum phase phase_told(const struct sandbox_record *record)
{
    bool was_ready = record->phase == PHASE_UNKNOWN && record->policy_loaded > 0;
    return was_ready ? PHASE_READY : (enum phase)record->phase;
}

static enum err_code apply_report(
    const struct lifecycle *self,
    struct sandbox_record *record,
    const Agentgateway__V1__SandboxReport *report,
    bool *ret_gone,
    struct err_info *err)
{
    enum phase next = phase_after_report(phase_told(record), (enum phase_report)report->state);
    *ret_gone = next == PHASE_GONE;
    if (*ret_gone) {
        return transition_forget(self, record, err);
    }
    TRY(settle_policy(self, record, report, err));
    record->report_sequence = (int64_t)report->sequence;
    str_clip_utf8(report->message, LIFECYCLE_MESSAGE_BYTES);
    bool is_starting = report->state == AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_STARTING;
    record->reason =
        next == PHASE_STOPPING && is_starting ? LIFECYCLE_REASON_STARTING : report->reason;
    record->message = report->message;
    record->instance_id = report->instance_id;
    if (report->has_exit_code_case == AGENTGATEWAY__V1__SANDBOX_REPORT__HAS_EXIT_CODE_EXIT_CODE) {
        record->exit_code = report->exit_code & 0xff;
    }
    return transition_make(self, record, next, err);
}

/* Of what is its agent's. *ret_gone: it has ended and its record is gone, which is to be audited.
 */
static enum err_code take_news(
    const struct lifecycle *self,
    struct sandbox_record *record,
    const Agentgateway__V1__SandboxReport *report,
    bool *ret_gone,
    struct err_info *err)
{
    bool is_news =
        report->sequence <= INT64_MAX && (int64_t)report->sequence > record->report_sequence;
    *ret_gone = false;
    return is_news || record->phase == PHASE_UNKNOWN
        ? apply_report(self, record, report, ret_gone, err)
        : ERR_OK;
}

enum err_code lifecycle_take_report(
    const struct lifecycle *self,
    int64_t agent_id,
    const Agentgateway__V1__SandboxReport *report,
    struct err_info *err)
{
    struct sandbox_record record;
    struct work *work = self->work;
    bool is_gone = false;
    enum err_code code = store_sandbox_life(
        work->conn, self->workspace_id, str_of(report->sandbox_id), work->arena, &record, err);
    if (code == ERR_NOT_FOUND || (code == ERR_OK && record.agent_id != agent_id)) {
        return ERR_OK; /* the next hello has it removed */
    }
    TRY(code);
    TRY(take_news(self, &record, report, &is_gone, err));
    return is_gone ? audit_gone(self, record.id, err) : ERR_OK;
}

/* What the agent once had and has no more; what it never took is still on its way. */
static enum err_code end_missing(
    const struct lifecycle *self,
    struct sandbox_record *record,
    bool *ret_gone,
    struct err_info *err)
{
    *ret_gone = phase_after_missing((enum phase)record->phase) == PHASE_GONE;
    if (*ret_gone) {
        return transition_forget(self, record, err);
    }
    if (record->report_sequence == 0 || record->phase == PHASE_ERROR) {
        return ERR_OK;
    }
    return transition_fail(
        self, record, "ComputeResourceMissing", "its agent no longer has the sandbox", err);
}

/* A report of a hello. */
struct said {
    const Agentgateway__V1__SandboxReport *report;
    bool is_known; /* as one of this agent's */
};

struct gone {
    const char *id;
    struct gone *next;
};

struct hello {
    int64_t agent_id;
    struct said *said; /* by id, the newest report first */
    size_t count;
    struct gone *gone; /* to be audited; in the work's arena */
};

static int compare_said(const void *a, const void *b)
{
    const Agentgateway__V1__SandboxReport *left = ((const struct said *)a)->report;
    const Agentgateway__V1__SandboxReport *right = ((const struct said *)b)->report;
    int order = str_compare(str_of(left->sandbox_id), str_of(right->sandbox_id));
    if (order != 0) {
        return order;
    }
    return left->sequence > right->sequence ? -1 : left->sequence < right->sequence;
}

static struct said *sort_reports(const Agentgateway__V1__ControlHello *hello, size_t *ret_count)
{
    struct said *said = mem_alloc_array(hello->n_sandboxes, sizeof(*said));
    for (size_t i = 0; i < hello->n_sandboxes; i++) {
        said[i].report = hello->sandboxes[i];
    }
    qsort(said, hello->n_sandboxes, sizeof(*said), compare_said);
    size_t count = 0;
    for (size_t i = 0; i < hello->n_sandboxes; i++) {
        bool is_again = count > 0
            && str_equal(str_of(said[i].report->sandbox_id),
                         str_of(said[count - 1].report->sandbox_id));
        if (!is_again) {
            said[count++] = said[i];
        }
    }
    *ret_count = count;
    return said;
}

static struct said *find_said(const struct hello *hello, const char *id)
{
    size_t low = 0;
    size_t high = hello->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_compare(str_of(hello->said[middle].report->sandbox_id), str_of(id));
        if (order == 0) {
            return &hello->said[middle];
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

static enum err_code note_gone(
    const struct lifecycle *self, struct hello *hello, const char *id, struct err_info *err)
{
    struct gone *gone = arena_alloc(self->work->arena, sizeof(*gone));
    if (gone == NULL || (gone->id = arena_strdup(self->work->arena, id)) == NULL) {
        return ERR_SET(err, ERR_LIMIT, "too many sandboxes have ended at once");
    }
    gone->next = hello->gone;
    hello->gone = gone;
    return ERR_OK;
}

/* It comes up, be it by an order or, after it ended, by itself: nobody need tell the agent again.
 */
static bool is_under_way(
    const struct sandbox_record *record, const Agentgateway__V1__SandboxReport *report)
{
    return record->phase == PHASE_STARTING
        && report->state == AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_STARTING;
}

static enum err_code meet(
    const struct lifecycle *self,
    struct hello *hello,
    struct sandbox_record *record,
    struct err_info *err)
{
    struct said *said = find_said(hello, record->id);
    bool is_gone = false;
    if (said == NULL) {
        TRY(end_missing(self, record, &is_gone, err));
    } else {
        said->is_known = true;
        TRY(take_news(self, record, said->report, &is_gone, err));
    }
    if (is_gone) {
        return note_gone(self, hello, record->id, err);
    }
    return said == NULL || is_under_way(record, said->report) ? ERR_OK
                                                              : orders_repeat(self, record, err);
}

/* All of the agent's sandboxes, by id, as the sweep goes through them. */
static enum err_code meet_all(
    const struct lifecycle *self, struct hello *hello, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(PAGE_BYTES);
    char after[ID_BYTES] = "";
    struct store_list list;
    do {
        arena_reset(arena);
        const struct sandbox_life_filter filter = { .agent_id = hello->agent_id,
                                                    .after_id = str_of(after),
                                                    .limit = PAGE_ROWS };
        TRY(store_sandbox_life_list(
            self->work->conn, self->workspace_id, &filter, arena, &list, err));
        struct sandbox_record *records = list.records;
        for (size_t i = 0; i < list.count; i++) {
            TRY(meet(self, hello, &records[i], err));
        }
        if (list.count > 0) {
            TRY(str_copy(str_of(records[list.count - 1].id), after, sizeof(after)));
        }
    } while (list.count == PAGE_ROWS);
    return ERR_OK;
}

/* Whether the workspace has it, be it with another agent. */
static enum err_code is_known(
    const struct lifecycle *self, const char *id, bool *ret_known, struct err_info *err)
{
    struct sandbox_record record;
    struct work *work = self->work;
    enum err_code code =
        store_sandbox_life(work->conn, self->workspace_id, str_of(id), work->arena, &record, err);
    *ret_known = code == ERR_OK;
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* What the workspace does not know. Few at a time: an agent that makes them up fills no table. */
static enum err_code remove_strangers(
    const struct lifecycle *self, const struct hello *hello, struct err_info *err)
{
    int64_t under_way = 0;
    if (hello->count > 0) { /* most agents have none */
        TRY(orders_count_deletes(self, hello->agent_id, &under_way, err));
    }
    for (size_t i = 0; i < hello->count && under_way < STRANGERS_MAX; i++) {
        const Agentgateway__V1__SandboxReport *report = hello->said[i].report;
        bool is_left = report->state != AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_DELETED;
        bool known = hello->said[i].is_known || !is_left;
        bool is_new = false;
        if (!known) {
            TRY(is_known(self, report->sandbox_id, &known, err));
        }
        if (!known) {
            TRY(orders_remove_stranger(self, hello->agent_id, report->sandbox_id, &is_new, err));
        }
        under_way += is_new ? 1 : 0;
    }
    return ERR_OK;
}

enum err_code lifecycle_take_hello(
    const struct lifecycle *self,
    int64_t agent_id,
    const Agentgateway__V1__ControlHello *message,
    struct err_info *err)
{
    size_t count = 0;
    AUTO_FREE struct said *said = sort_reports(message, &count);
    struct hello hello = { .agent_id = agent_id, .said = said, .count = count };
    TRY(meet_all(self, &hello, err));
    TRY(remove_strangers(self, &hello, err));
    for (const struct gone *gone = hello.gone; gone != NULL; gone = gone->next) {
        TRY(audit_gone(self, gone->id, err));
    }
    return ERR_OK;
}

/* What awaits an order's outcome, and what it was before. */
static const struct refused {
    const char *kind;
    enum phase awaiting;
    enum phase before; /* PHASE_ERROR: there is nothing to go back to */
} refused[] = {
    { "sandbox_create", PHASE_PROVISIONING, PHASE_ERROR },
    { "sandbox_stop", PHASE_STOPPING, PHASE_READY },
    { "sandbox_start", PHASE_STARTING, PHASE_STOPPED },
};

static const struct refused *find_refused(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        if (str_equal(str_of(refused[i].kind), str_of(kind))) {
            return &refused[i];
        }
    }
    return NULL;
}

/* Where a passing refusal leaves it: a stop may have been ordered before it had come up. */
static enum phase phase_before(const struct refused *order, const struct sandbox_record *record)
{
    bool was_starting = order->awaiting == PHASE_STOPPING
        && str_equal(str_of(record->reason), STR(LIFECYCLE_REASON_STARTING));
    return was_starting ? PHASE_STARTING : order->before;
}

enum err_code lifecycle_take_refusal(
    const struct lifecycle *self,
    int64_t agent_id,
    const struct lifecycle_refusal *refusal,
    struct err_info *err)
{
    struct work *work = self->work;
    struct sandbox_record record;
    const struct refused *order = find_refused(refusal->kind);
    if (order == NULL) {
        return ERR_OK;
    }
    enum err_code code = store_sandbox_life(
        work->conn, self->workspace_id, str_of(refusal->sandbox_id), work->arena, &record, err);
    if (code == ERR_NOT_FOUND
        || (code == ERR_OK
            && (record.agent_id != agent_id || record.phase != (int64_t)order->awaiting))) {
        return ERR_OK;
    }
    TRY(code);
    enum phase next = refusal->is_passing ? phase_before(order, &record) : PHASE_ERROR;
    record.reason = "OrderRefused";
    record.message = refusal->message;
    return transition_make(self, &record, next, err);
}

static enum err_code sweep_one(
    const struct lifecycle *self, struct sandbox_record *record, struct err_info *err)
{
    if (record->report_sequence == 0) {
        return transition_fail(
            self, record, "NotTaken", "its agent did not take the order in time", err);
    }
    record->reason = "AgentAway";
    record->message = "its agent has not been heard of";
    return transition_make(self, record, phase_after_absence((enum phase)record->phase), err);
}

enum err_code lifecycle_sweep(struct work *work, bool *ret_more, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(PAGE_BYTES);
    struct store_list list;
    int64_t grace_us = lifecycle_grace_us(work->service);
    const struct sandbox_overdue_filter filter = {
        .seen_before = { work->now.value - grace_us },
        .created_before = { work->now.value - ORDERS_CREATE_TTL_US - grace_us },
        .limit = PAGE_ROWS,
    };
    TRY(store_sandbox_life_overdue(work->conn, &filter, arena, &list, err));
    struct sandbox_record *records = list.records;
    bool has_left = false;
    for (size_t i = 0; i < list.count; i++) {
        const struct lifecycle self = {
            .work = work,
            .workspace_id = records[i].workspace_id,
            .workspace = records[i].workspace,
            .actor = "server",
        };
        enum err_code code = sweep_one(&self, &records[i], err);
        has_left = has_left || code == ERR_BUSY; /* its agent is heard of just now */
        TRY(code == ERR_BUSY ? ERR_OK : code);
    }
    *ret_more = list.count == PAGE_ROWS || has_left;
    return ERR_OK;
}
