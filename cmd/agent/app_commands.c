/* What the server's commands do on this agent. */
#include "cmd/agent/app.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fault.h"

#include <inttypes.h>
#include <stdio.h>

#define ACK(name)       AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name
#define LENT_TEXT       "this agent has lent room on a machine that is another's"
#define REBOOT_DELAY_US (2 * US_PER_SECOND) /* the answer goes first */

static void run_telemetry_now(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    struct host_samples samples;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf payload = BUF_INIT(BATCH_BYTES_MAX);
    (void)command;
    if (app_is_lent(app)) {
        command_finish(run, ACK(FORBIDDEN), LENT_TEXT, STR_NONE);
        return;
    }
    app_sample(app, &samples);
    if (batch_pack_samples(&samples, &payload, &err) != ERR_OK) {
        command_finish(run, ACK(INTERNAL), err.text, STR_NONE);
        return;
    }
    command_finish(run, ACK(OK), "", buf_view(&payload));
}

static enum err_code keep_settings(
    struct app *app, const Agentgateway__V1__SetConfig *set, struct err_info *err)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = { { "sample_interval_ms", set->sample_interval_ms },
                 { "spool_max_bytes", set->spool_max_bytes },
                 { "spool_max_age_s", set->spool_max_age_s },
                 { "upload_batch_bytes", set->upload_batch_bytes } };

    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (rows[i].value != 0) {
            TRY(spool_put_setting(app->spool, rows[i].name, rows[i].value, err));
        }
    }
    return ERR_OK;
}

/* What is wrong with it, or NULL; checked before anything changes. */
static const char *find_fault(const Agentgateway__V1__SetConfig *set)
{
    if (set->sample_interval_ms != 0 && set->sample_interval_ms < 250) {
        return "sample_interval_ms: at least 250";
    }
    if (set->spool_max_bytes != 0
        && (set->spool_max_bytes < APP_SPOOL_MIN_BYTES
            || set->spool_max_bytes > UINT64_C(1) << 40)) {
        return "spool_max_bytes: from 2097152 to 1099511627776";
    }
    if (set->spool_max_age_s != 0 && set->spool_max_age_s < 60) {
        return "spool_max_age_s: at least 60";
    }
    if (set->upload_batch_bytes != 0 && set->upload_batch_bytes < 4096) {
        return "upload_batch_bytes: at least 4096";
    }
    return NULL;
}

static void run_set_config(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    const char *fault = find_fault(command->set_config);
    if (fault != NULL) {
        command_finish(run, ACK(BAD_REQUEST), fault, STR_NONE);
        return;
    }
    if (keep_settings(app, command->set_config, &err) != ERR_OK) {
        command_finish(run, ACK(INTERNAL), err.text, STR_NONE);
        return;
    }
    FAULT_POINT("agent.config.kept");
    app_apply_limits(app);
    app_arm_sampling(app);
    command_finish(run, ACK(OK), "", STR_NONE);
}

/* The old key stays until a handshake with the new one has succeeded. */
static void run_rotate_key(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    const ProtobufCBinaryData *box = &command->rotate_key->sealed_api_key;
    AUTO_SECRET struct secret *key = NULL;
    enum err_code code =
        key_open(state_encryption(app->state), str_from((const char *)box->data, box->len), &key);
    if (code != ERR_OK || secret_peek(key).len < 20 || secret_peek(key).len > 512) {
        command_finish(run, ACK(BAD_REQUEST), "the key is not sealed for this agent", STR_NONE);
        return;
    }
    if (state_save_api_key(app->state, true, key, &err) != ERR_OK) {
        command_finish(run, ACK(INTERNAL), err.text, STR_NONE);
        return;
    }
    FAULT_POINT("agent.key.offered");
    command_finish(run, ACK(OK), "", STR_NONE);
    link_renew(app->link); /* with the new key */
}

static void run_drain(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    int64_t delay_us = (int64_t)command->drain->reconnect_after_ms * US_PER_MS;
    command_finish(run, ACK(OK), "", STR_NONE);
    link_drain(app->link, delay_us);
}

static void tell_action(struct app *app, const char *action, const char *text, int severity)
{
    const struct batch_attribute attributes[] = { { "action", action } };
    struct batch_event event = { .time = clock_wall(app->clock),
                                 .severity = severity,
                                 .kind = "device.action",
                                 .text = text,
                                 .attributes = attributes,
                                 .attribute_count = 1 };
    app_event(app, &event);
}

static void identify(struct app *app, struct command_run *run)
{
    AUTO_BUF struct buf json = BUF_INIT(8192);
    device_identify(&app->facts, &json);
    log_info("identify", LOG_STR("hostname", app->facts.hostname));
    tell_action(
        app, "identify", "the host identified itself", AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO);
    command_finish(run, ACK(OK), "", buf_view(&json));
}

static unsigned code_of(enum device_verdict verdict)
{
    switch (verdict) {
    case DEVICE_OK:
        return ACK(OK);
    case DEVICE_REFUSED:
        return ACK(FORBIDDEN);
    case DEVICE_UNKNOWN_DEVICE:
        return ACK(BAD_REQUEST);
    case DEVICE_UNKNOWN_ACTION:
        return ACK(UNIMPLEMENTED);
    case DEVICE_FAILED:
        return ACK(INTERNAL);
    }
    return ACK(INTERNAL);
}

static void run_device_command(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    const Agentgateway__V1__DeviceCommand *what = command->device_command;
    struct err_info err = ERR_INFO_INIT;
    enum device_action action = DEVICE_IDENTIFY;
    if (app_is_lent(app)) {
        command_finish(run, ACK(FORBIDDEN), LENT_TEXT, STR_NONE);
        return;
    }
    enum device_verdict verdict =
        device_check(&app->policy, what->device, what->action, &action, &err);
    if (verdict != DEVICE_OK) {
        tell_action(app, what->action, err.text, AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING);
        command_finish(run, code_of(verdict), err.text, STR_NONE);
        return;
    }
    switch (action) {
    case DEVICE_IDENTIFY:
        identify(app, run);
        return;
    case DEVICE_REBOOT:
        tell_action(
            app,
            "reboot",
            "the host restarts by command",
            AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING);
        command_finish(run, ACK(OK), "", STR_NONE);
        loop_timer_arm_after(app->reboot_timer, REBOOT_DELAY_US);
        return;
    case DEVICE_ACTION_COUNT:
        break;
    }
    command_finish(run, ACK(UNIMPLEMENTED), "no such action", STR_NONE);
}

static enum err_code send_ack(
    void *context, struct str_view command_id, const struct command_outcome *outcome)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    return link_send_ack(app->link, command_id, outcome, &err);
}

static void on_refused(void *context, const char *command_id, const char *actor, const char *reason)
{
    struct app *app = context;
    AUTO_FREE char *id = mem_printf("%.128s", command_id);
    AUTO_FREE char *who = mem_printf("%.256s", actor);
    const struct batch_attribute attributes[] = { { "command_id", id }, { "actor", who } };
    struct batch_event event = { .time = clock_wall(app->clock),
                                 .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING,
                                 .kind = "command.refused",
                                 .text = reason,
                                 .attributes = attributes,
                                 .attribute_count =
                                     str_is_utf8(str_of(id), NULL) && str_is_utf8(str_of(who), NULL)
                                     ? ARRAY_LENGTH(attributes)
                                     : 0 };
    app_event(app, &event);
}

const struct command_ops app_command_ops = { .telemetry_now = run_telemetry_now,
                                             .set_config = run_set_config,
                                             .rotate_key = run_rotate_key,
                                             .drain = run_drain,
                                             .device_command = run_device_command,
                                             .sandbox_create = app_sandbox_create,
                                             .sandbox_start = app_sandbox_start,
                                             .sandbox_stop = app_sandbox_stop,
                                             .sandbox_delete = app_sandbox_delete,
                                             .sandbox_policy = app_sandbox_policy,
                                             .lend = app_lend,
                                             .reclaim = app_reclaim,
                                             .send_ack = send_ack,
                                             .refused = on_refused };
