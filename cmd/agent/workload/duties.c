#include "cmd/agent/workload/duties.h"

#include "cmd/agent/workload/note.h"
#include "cmd/agent/workload/workload_private.h"
#include "common/base/log.h"
#include "common/sys/fault.h"

#include <stdio.h>

enum {
    WISH_BYTES = 4 * 1024 * 1024
};

#define STOP_GRACE_US (10 * US_PER_SECOND)

typedef Openshell__Sandbox__V1__SandboxPolicy policy_type;

static const policy_type nothing = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;

static enum err_code find(
    const struct workload *workload,
    const char *id,
    struct sandbox_info *ret_info,
    struct err_info *err)
{
    return sandbox_find(workload->sandboxes, id, ret_info)
        ? ERR_OK
        : ERR_SET(err, ERR_NOT_FOUND, "there is no sandbox %.64s on this agent", id);
}

/* ---- Creation ---- */

static enum err_code make(
    struct workload *workload,
    const Agentgateway__V1__SandboxCreate *order,
    char missing[WISH_MISSING_BYTES],
    struct err_info *err)
{
    struct sandbox_spec spec;
    struct sandbox_info info;
    const struct egress *egress = workload->options.egress;
    AUTO_ARENA struct arena *arena = arena_create(WISH_BYTES);
    TRY(wish_fill(order, &workload->host, arena, &spec, missing, err));
    if (sandbox_find(workload->sandboxes, order->sandbox_id, &info)) {
        return ERR_OK;
    }
    if (egress != NULL) {
        TRY(egress->check(egress->context, order->policy == NULL ? &nothing : order->policy, err));
    }
    TRY(sandbox_create(workload->sandboxes, &spec, err));
    FAULT_POINT("agent.sandbox.made");
    return ERR_OK;
}

/* What a creation that was cut off did not come to is done here, also the second time. */
static enum err_code settle(
    struct workload *workload,
    const Agentgateway__V1__SandboxCreate *order,
    const char *missing,
    struct err_info *err)
{
    struct sandbox_info info;
    struct note note;
    const struct egress *egress = workload->options.egress;
    const policy_type *policy = order->policy == NULL ? &nothing : order->policy;
    TRY(find(workload, order->sandbox_id, &info, err));
    TRY(note_load(info.dir, &note, err));
    if (note.policy_version > 0) {
        return ERR_OK;
    }
    /* Before it is ready its keeper has not looked yet. */
    enum note_keeping keeping = info.status == SANDBOX_STATUS_STARTING ? NOTE_LATER : NOTE_SYNCED;
    TRY(note_save_policy(info.dir, policy, keeping, err));
    FAULT_POINT("agent.sandbox.policy");
    note.policy_version = order->policy_version == 0 ? 1 : order->policy_version;
    (void)snprintf(note.missing, sizeof(note.missing), "%s", missing);
    note.restart.policy = order->restart;
    if (info.status == SANDBOX_STATUS_ENDED) { /* told as it is, before anybody knew what follows */
        note.restart.generation = info.generation;
    }
    TRY(note_save(info.dir, &note, keeping, err));
    return egress == NULL ? ERR_OK : egress->apply(egress->context, order->sandbox_id, policy, err);
}

enum err_code duties_create(
    struct workload *workload, const Agentgateway__V1__SandboxCreate *order, struct err_info *err)
{
    char missing[WISH_MISSING_BYTES] = "";
    TRY(make(workload, order, missing, err));
    enum err_code code = settle(workload, order, missing, err);
    if (code != ERR_OK) {
        struct err_info ignored = ERR_INFO_INIT;
        if (sandbox_remove(workload->sandboxes, order->sandbox_id, &ignored) != ERR_OK) {
            log_warn("sandbox_not_removed", LOG_STR("sandbox", order->sandbox_id));
        }
        return code;
    }
    workload_report(workload, order->sandbox_id);
    FAULT_POINT("agent.sandbox.reported");
    return ERR_OK;
}

/* ---- Life ---- */

enum err_code duties_stop(struct workload *workload, const char *sandbox_id, struct err_info *err)
{
    struct sandbox_info info;
    struct note note;
    TRY(find(workload, sandbox_id, &info, err));
    TRY(note_load(info.dir, &note, err));
    note.stopped = info.generation;
    TRY(note_save(info.dir, &note, NOTE_SYNCED, err));
    FAULT_POINT("agent.sandbox.stopping");
    bool runs = info.status == SANDBOX_STATUS_STARTING || info.status == SANDBOX_STATUS_READY;
    if (runs) {
        return sandbox_stop(workload->sandboxes, sandbox_id, STOP_GRACE_US, err);
    }
    workload_report(workload, sandbox_id);
    return ERR_OK;
}

static enum err_code give_rules(
    struct workload *workload, const struct sandbox_info *info, struct err_info *err)
{
    policy_type *policy = NULL;
    const struct egress *egress = workload->options.egress;
    AUTO_ARENA struct arena *arena = arena_create(WISH_BYTES);
    if (egress == NULL) {
        return ERR_OK;
    }
    TRY(note_load_policy(info->dir, workload->options.schema, arena, &policy, err));
    return egress->apply(egress->context, info->id, policy == NULL ? &nothing : policy, err);
}

enum err_code duties_start(struct workload *workload, const char *sandbox_id, struct err_info *err)
{
    struct sandbox_info info;
    struct note note;
    TRY(find(workload, sandbox_id, &info, err));
    TRY(note_load(info.dir, &note, err));
    if (info.status == SANDBOX_STATUS_LOST) {
        return ERR_SET(
            err, ERR_PRECONDITION, "sandbox %s was lost; create another one", sandbox_id);
    }
    if (report_was_stopped(&info, &note)) {
        if (note.restart.quick > 0) { /* whoever starts it may have mended it */
            note.restart.quick = 0;
            TRY(note_save(info.dir, &note, NOTE_SYNCED, err));
        }
        TRY(give_rules(workload, &info, err));
        TRY(sandbox_start(workload->sandboxes, sandbox_id, err));
        FAULT_POINT("agent.sandbox.started");
    }
    workload_report(workload, sandbox_id);
    return ERR_OK;
}

enum err_code duties_restart(
    struct workload *workload, const char *sandbox_id, struct err_info *err)
{
    struct sandbox_info info;
    struct note note;
    TRY(find(workload, sandbox_id, &info, err));
    TRY(note_load(info.dir, &note, err));
    if (info.status != SANDBOX_STATUS_ENDED || report_was_stopped(&info, &note)) {
        return ERR_OK;
    }
    if (restart_decide(&note.restart, &info, clock_wall(workload->options.clock))) {
        TRY(note_save(info.dir, &note, NOTE_SYNCED, err)); /* which failed when it ended */
    }
    if (restart_state(&note.restart, info.generation) != RESTART_WAITING) {
        return ERR_OK;
    }
    TRY(give_rules(workload, &info, err));
    TRY(sandbox_start(workload->sandboxes, sandbox_id, err));
    FAULT_POINT("agent.sandbox.restarted");
    workload_report(workload, sandbox_id);
    return ERR_OK;
}

enum err_code duties_delete(struct workload *workload, const char *sandbox_id, struct err_info *err)
{
    struct sandbox_info info;
    if (sandbox_is_going(workload->sandboxes, sandbox_id)) {
        return ERR_OK;
    }
    if (!sandbox_find(workload->sandboxes, sandbox_id, &info)) {
        workload_report(workload, sandbox_id);
        return ERR_OK;
    }
    return sandbox_remove(workload->sandboxes, sandbox_id, err);
}

/* ---- Policy ---- */

static enum err_code apply(
    struct workload *workload,
    const struct sandbox_info *info,
    const policy_type *policy,
    struct err_info *err)
{
    const struct egress *egress = workload->options.egress;
    TRY(wish_check_network(policy, egress != NULL, err));
    if (egress != NULL) {
        TRY(egress->check(egress->context, policy, err));
    }
    TRY(note_save_policy(info->dir, policy, NOTE_SYNCED, err));
    FAULT_POINT("agent.sandbox.policy");
    return egress == NULL ? ERR_OK : egress->apply(egress->context, info->id, policy, err);
}

enum err_code duties_policy(
    struct workload *workload,
    const Agentgateway__V1__SandboxPolicyUpdate *order,
    struct err_info *err)
{
    struct sandbox_info info;
    struct note note;
    TRY(find(workload, order->sandbox_id, &info, err));
    TRY(note_load(info.dir, &note, err));
    if (order->policy_version <= note.policy_version) {
        workload_report(workload, order->sandbox_id);
        return ERR_OK;
    }
    enum err_code code = apply(workload, &info, order->policy, err);
    if (code == ERR_OK) {
        note.policy_version = order->policy_version;
        note.failed_version = 0;
        note.policy_error[0] = '\0';
    } else {
        note.failed_version = order->policy_version;
        (void)snprintf(note.policy_error, sizeof(note.policy_error), "%.255s", err->text);
        str_make_utf8(note.policy_error);
    }
    enum err_code saved = note_save(info.dir, &note, NOTE_SYNCED, err);
    workload_report(workload, order->sandbox_id);
    return code == ERR_OK ? saved : code;
}
