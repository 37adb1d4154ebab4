#include "cmd/agent/workload/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>

enum {
    SIGNAL_STATUS = 128,
    TIMEOUT_STATUS = 124,
    FIELD_BYTES = 6 /* around a text or a message: key and length */
};

#define STATE(name) AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_##name

struct view {
    Agentgateway__V1__SandboxState state;
    const char *reason;
    const char *text;
};

int report_exit_code(int status)
{
    return WIFSIGNALED(status) ? SIGNAL_STATUS + WTERMSIG(status) : WEXITSTATUS(status);
}

static struct view view_of_end(const struct sandbox_info *info, bool was_ordered)
{
    static const struct view ends[] = {
        [SANDBOX_END_MAIN] = { STATE(EXITED), "MainProcessExited", "the main process has ended" },
        [SANDBOX_END_STOPPED] = { STATE(STOPPED), "Stopped", "" },
        [SANDBOX_END_TIMEOUT] = { STATE(EXITED), "TimedOut", "its time was over" },
        [SANDBOX_END_DIED] = { STATE(FAILED),
                               "InitDied",
                               "everything in it was killed from outside, or it ran out of memory "
                               "as a whole" },
        [SANDBOX_END_FAILED] = { STATE(FAILED), "StartFailed", "it could not be started" },
    };
    struct view view = ends[info->exit->reason];
    if (was_ordered && info->exit->reason != SANDBOX_END_FAILED) {
        view = ends[SANDBOX_END_STOPPED];
    }
    view.text = info->exit->error[0] == '\0' ? view.text : info->exit->error;
    return view;
}

bool report_was_stopped(const struct sandbox_info *info, const struct note *note)
{
    return info->status == SANDBOX_STATUS_ENDED
        && (note->stopped == info->generation || info->exit->reason == SANDBOX_END_STOPPED);
}

/* What a disk that takes nothing has kept from being noted is decided here again: what was told to
 * be over must not be started later. */
static struct restart restart_of(
    const struct sandbox_info *info, const struct note *note, struct wall_us now)
{
    struct restart restart = note->restart;
    if (info->status == SANDBOX_STATUS_ENDED && !report_was_stopped(info, note)) {
        (void)restart_decide(&restart, info, now);
    }
    return restart;
}

static bool will_restart(
    const struct sandbox_info *info, const struct note *note, const struct restart *restart)
{
    return info->status == SANDBOX_STATUS_ENDED && !report_was_stopped(info, note)
        && restart_state(restart, info->generation) == RESTART_WAITING;
}

/* Of one that is, or will be, what there is to say of its restarts follows. */
static void fill_text(
    struct report *report,
    const struct sandbox_info *info,
    const struct note *note,
    const struct restart *restart,
    const char *text)
{
    char restarts[RESTART_TEXT_BYTES] = "";
    if (info->status != SANDBOX_STATUS_LOST && !report_was_stopped(info, note)) {
        enum restart_state state = restart_state(restart, info->generation);
        restart_describe(restart, state, restarts);
    }
    const char *between = text[0] != '\0' && restarts[0] != '\0' ? "; " : "";
    (void)snprintf(report->text, sizeof(report->text), "%s%s%s", text, between, restarts);
    str_make_utf8(report->text); /* a shim's words, cut by several on the way */
}

static struct view view_of(
    const struct sandbox_info *info, const struct note *note, const struct restart *restart)
{
    switch (info->status) {
    case SANDBOX_STATUS_STARTING:
        return (struct view){ STATE(STARTING), "Starting", info->waits ? REPORT_WAITS : "" };
    case SANDBOX_STATUS_READY:
        return (struct view){ STATE(READY), "Ready", note->missing };
    case SANDBOX_STATUS_ENDED:
        return will_restart(info, note, restart)
            ? (struct view){ STATE(STARTING), "Restarting", "" }
            : view_of_end(info, report_was_stopped(info, note));
    case SANDBOX_STATUS_LOST:
        break;
    }
    return info->rebooted
        ? (struct view){ STATE(LOST),
                         "HostRestarted",
                         "its host was started anew while it ran; how it ended is not known" }
        : (struct view){ STATE(LOST),
                         "ShimLost",
                         "the process that held it was killed; how it ended is not known" };
}

static void fill_exit(Agentgateway__V1__SandboxReport *message, const struct sandbox_exit *exit)
{
    bool timed_out = exit->reason == SANDBOX_END_TIMEOUT;
    if (exit->has_status || timed_out) {
        message->has_exit_code_case = AGENTGATEWAY__V1__SANDBOX_REPORT__HAS_EXIT_CODE_EXIT_CODE;
        message->exit_code = timed_out ? TIMEOUT_STATUS : report_exit_code(exit->status);
    }
}

void report_fill(
    struct report *report,
    const struct sandbox_info *info,
    const struct note *note,
    struct wall_us now)
{
    Agentgateway__V1__SandboxReport *message = &report->message;
    const struct restart restart = restart_of(info, note, now);
    struct view view = view_of(info, note, &restart);
    agentgateway__v1__sandbox_report__init(message);
    (void)snprintf(report->instance, sizeof(report->instance), "run-%" PRIu64, info->generation);
    fill_text(report, info, note, &restart, view.text);
    message->sandbox_id = CONST_CAST(char *, info->id);
    message->state = view.state;
    message->reason = CONST_CAST(char *, view.reason);
    message->message = report->text;
    message->instance_id = report->instance;
    message->time_us = now.value;
    message->policy_version = (uint32_t)note->policy_version;
    message->policy_failed_version = (uint32_t)note->failed_version;
    message->policy_error = CONST_CAST(char *, note->policy_error);
    if (info->status == SANDBOX_STATUS_ENDED && !will_restart(info, note, &restart)) {
        fill_exit(message, info->exit);
    }
}

static size_t text_bytes(const Agentgateway__V1__SandboxReport *report)
{
    return strlen(report->message) + strlen(report->policy_error);
}

void report_drop_texts(
    Agentgateway__V1__SandboxReport **reports,
    size_t count,
    size_t most_bytes,
    report_drop_fn on_drop,
    void *context)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += protobuf_c_message_get_packed_size(&reports[i]->base) + FIELD_BYTES
            - text_bytes(reports[i]);
    }
    for (size_t i = 0; i < count; i++) {
        size_t text = text_bytes(reports[i]);
        if (bytes + text <= most_bytes) {
            bytes += text;
        } else if (text > 0) {
            reports[i]->message = CONST_CAST(char *, "");
            reports[i]->policy_error = CONST_CAST(char *, "");
            on_drop(context, reports[i]->sandbox_id);
        }
    }
}
