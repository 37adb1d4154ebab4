#include "cmd/server/sandbox/transition.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    TEXT_BYTES = 8 * 1024, /* of an event: phase and message */
    LONG_BYTES = 32 * 1024 /* with a message of an older server, which did not cut them */
};

struct news {
    const char *kind; /* static */
    int64_t severity;
    const char *key; /* of the attribute that says what is new */
    const char *value;
    const char *reason; /* "": none */
    const char *message;
};

static void write_attributes(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    const struct news *news,
    struct buf *out)
{
    const char *const pairs[][2] = {
        { news->key, news->value },
        { "reason", news->reason },
        { "agent", record->agent_name },
        { "by", self->actor },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        if (pairs[i][1] != NULL && pairs[i][1][0] != '\0') {
            buf_append_char(out, i == 0 ? '{' : ',');
            buf_append_json(out, str_of(pairs[i][0]));
            buf_append_char(out, ':');
            buf_append_json(out, str_of(pairs[i][1]));
        }
    }
    buf_append_char(out, '}');
}

static void tell(
    const struct lifecycle *self, const struct sandbox_record *record, const struct news *news)
{
    struct work *work = self->work;
    AUTO_BUF struct buf text = BUF_INIT(LONG_BYTES);
    AUTO_BUF struct buf attributes = BUF_INIT(LONG_BYTES);
    work_wake(work, HUB_SANDBOXES, record->workspace_id);
    if (record->agent_id == 0) {
        return;
    }
    buf_append_str(&text, str_of(news->value));
    if (news->message[0] != '\0') {
        buf_printf(&text, ": %s", news->message);
    }
    if (self->is_operator) {
        buf_printf(&text, ", ordered by %s", self->actor);
    }
    if (buf_ok(&text)) {
        str_clip_utf8(text.data, TEXT_BYTES);
    }
    write_attributes(self, record, news, &attributes);
    const struct event_record event = {
        .agent_id = record->agent_id,
        .time_us = work->now.value,
        .received_at = work->now.value,
        .severity = news->severity,
        .kind = news->kind,
        .device = record->id,
        .text = buf_ok(&text) ? buf_text(&text) : news->value,
        .attributes = buf_ok(&attributes) ? buf_text(&attributes) : "{}",
    };
    work_event(work, record->workspace_id, &event);
}

static int64_t severity_of(const struct sandbox_record *record, enum phase phase)
{
    if (phase == PHASE_ERROR) {
        return AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR;
    }
    return phase == PHASE_UNKNOWN || str_equal(str_of(record->reason), STR("OrderRefused"))
        ? AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING
        : AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO;
}

void transition_note(
    const struct lifecycle *self, const struct sandbox_record *record, enum phase phase)
{
    tell(
        self,
        record,
        &(struct news){ .kind = "sandbox.phase",
                        .severity = severity_of(record, phase),
                        .key = "phase",
                        .value = phase_name(phase),
                        .reason = record->reason,
                        .message = record->message });
}

void transition_note_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    const struct sandbox_policy_record *policy)
{
    bool has_failed = policy->status == SANDBOX_POLICY_FAILED;
    bool is_loaded = policy->status == SANDBOX_POLICY_LOADED;
    char value[80];
    (void)snprintf(
        value,
        sizeof(value),
        "version %" PRId64 " of the policy%s",
        policy->version,
        is_loaded        ? " is in force"
            : has_failed ? " could not be loaded"
                         : "");
    tell(
        self,
        record,
        &(struct news){ .kind = "sandbox.policy",
                        .severity = has_failed ? AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR
                                               : AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO,
                        .key = "policy",
                        .value = value,
                        .reason = "",
                        .message = has_failed ? policy->load_error : "" });
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
