#include "cmd/server/sandbox/transition.h"

#include <stdio.h>

enum {
    TEXT_BYTES = 8 * 1024, /* of an event: phase and message */
    LONG_BYTES = 32 * 1024 /* with a message of an older server, which did not cut them */
};

void transition_note(
    const struct lifecycle *self, const struct sandbox_record *record, enum phase phase)
{
    struct work *work = self->work;
    AUTO_BUF struct buf text = BUF_INIT(LONG_BYTES);
    work_wake(work, HUB_SANDBOXES, record->workspace_id);
    if (record->agent_id == 0) {
        return;
    }
    char attributes[64];
    (void)snprintf(attributes, sizeof(attributes), "{\"phase\":\"%s\"}", phase_name(phase));
    buf_printf(
        &text,
        "%s%s%s",
        phase_name(phase),
        record->message[0] == '\0' ? "" : ": ",
        record->message);
    if (buf_ok(&text)) {
        str_clip_utf8(text.data, TEXT_BYTES);
    }
    const struct event_record event = {
        .agent_id = record->agent_id,
        .time_us = work->now.value,
        .received_at = work->now.value,
        .severity = phase == PHASE_ERROR ? AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR
                                         : AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO,
        .kind = "sandbox.phase",
        .device = record->id,
        .text = buf_ok(&text) ? buf_text(&text) : phase_name(phase),
        .attributes = attributes,
    };
    work_event(work, record->workspace_id, &event);
}

enum err_code transition_make(
    const struct lifecycle *self,
    struct sandbox_record *record,
    enum phase phase,
    struct err_info *err)
{
    bool is_new_phase = record->phase != (int64_t)phase;
    record->phase = (int64_t)phase;
    record->changed_at = is_new_phase ? self->work->now.value : record->changed_at;
    TRY(store_sandbox_update(self->work->conn, record, err));
    work_wake(self->work, HUB_SANDBOXES, record->workspace_id);
    if (is_new_phase) {
        transition_note(self, record, phase);
    }
    return ERR_OK;
}

enum err_code transition_fail(
    const struct lifecycle *self,
    struct sandbox_record *record,
    const char *reason,
    const char *message,
    struct err_info *err)
{
    record->reason = reason;
    record->message = message;
    return transition_make(self, record, PHASE_ERROR, err);
}

enum err_code transition_forget(
    const struct lifecycle *self, struct sandbox_record *record, struct err_info *err)
{
    transition_note(self, record, PHASE_GONE);
    return store_sandbox_remove(self->work->conn, record->workspace_id, str_of(record->id), err);
}
