#include "cmd/agent/app.h"

#include "belay_descriptors.h"
#include "cmd/agent/agent.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/pending.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/file.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#define TICK_MAX_US   (10 * US_PER_SECOND)
#define TICK_MIN_US   (250 * US_PER_MS)
#define TELL_DROPS_US US_PER_MINUTE

enum err_code app_keep_events(
    struct app *app, struct wall_us time, struct buf *payload, struct err_info *err)
{
    unsigned compression = batch_compress(payload);
    struct spool_input input = { .stream = SPOOL_EVENTS,
                                 .captured_at = time,
                                 .format =
                                     AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
                                 .compression = compression,
                                 .payload = buf_view(payload) };
    TRY(spool_append(app->spool, &input, 1, err));
    if (app->link != NULL) {
        link_poke(app->link);
    }
    return ERR_OK;
}

void app_event(struct app *app, const struct batch_event *event)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf payload = BUF_INIT(BATCH_BYTES_MAX);
    enum err_code code = batch_pack_event(event, &payload, &err);
    if (code == ERR_OK) {
        code = app_keep_events(app, event->time, &payload, &err);
    }
    if (code != ERR_OK) {
        log_warn("event_not_stored", LOG_STR("kind", event->kind), LOG_ERR(&err));
    }
}

static void tell(struct app *app, int severity, const char *kind, const char *text)
{
    struct batch_event event = {
        .time = clock_wall(app->clock), .severity = severity, .kind = kind, .text = text
    };
    app_event(app, &event);
}

void app_sample(struct app *app, struct host_samples *ret_samples)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf payload = BUF_INIT(BATCH_BYTES_MAX);
    if (app_is_lent(app)) {
        ret_samples->count = 0;
        return;
    }
    host_sampler_take(app->sampler, ret_samples);
    if (ret_samples->count == 0) {
        return;
    }
    enum err_code code = batch_pack_samples(ret_samples, &payload, &err);
    if (code == ERR_OK) {
        struct spool_input input = {
            .stream = SPOOL_TELEMETRY,
            .captured_at = ret_samples->time,
            .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH,
            .compression = batch_compress(&payload),
            .payload = buf_view(&payload)
        };
        code = spool_append(app->spool, &input, 1, &err);
        link_offer(app->link, &input); /* also while the disk refuses: the server may have it */
    }
    if (code != ERR_OK) {
        log_warn("samples_not_stored", LOG_ERR(&err));
    }
}

static void on_sample(void *context)
{
    struct app *app = context;
    struct host_samples samples;
    app_sample(app, &samples);
    app_arm_sampling(app);
}

void app_arm_sampling(struct app *app)
{
    if (!app_is_lent(app)) {
        loop_timer_arm_after(app->sample_timer, app->sample_interval_us);
    }
}

/* Drops are told as events, at most once a minute, with what was lost since the last one. */
static void tell_drops(struct app *app)
{
    static const char *const names[] = {
        [SPOOL_TELEMETRY] = "telemetry", [SPOOL_EVENTS] = "events"
    };
    struct spool_stats stats;
    struct mono_us now = loop_now(app->loop);
    spool_get_stats(app->spool, &stats);
    if (now.value - app->told_at.value < TELL_DROPS_US) {
        return;
    }
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uint64_t dropped = stats.streams[i].dropped_records - app->told.streams[i].dropped_records;
        uint64_t quarantined = stats.streams[i].quarantined - app->told.streams[i].quarantined;
        char text[160];
        if (dropped == 0 && quarantined == 0) {
            continue;
        }
        (void)snprintf(
            text,
            sizeof(text),
            "%s: %" PRIu64 " records dropped, %" PRIu64 " quarantined",
            names[i],
            dropped,
            quarantined);
        tell(app, AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING, "spool.dropped", text);
        app->told_at = now;
    }
    if (stats.set_aside_count != app->told.set_aside_count) {
        tell(app, AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR, "spool.set_aside", stats.set_aside);
    }
    app->told = stats;
}

static void on_tick(void *context)
{
    struct app *app = context;
    spool_tick(app->spool);
    tell_drops(app);
    link_poke(app->link);
    if (app->workload != NULL) {
        workload_catch_up(app->workload);
    }
    loop_timer_arm_after(app->tick_timer, app->tick_us);
}

static void on_reboot(void *context)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    if (device_reboot(&err) != ERR_OK) {
        log_error("reboot_failed", LOG_ERR(&err));
        tell(app, AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR, "device.reboot_failed", err.text);
    }
}

void app_apply_limits(struct app *app)
{
    const struct config *config = app->config;
    struct spool *spool = app->spool;
    uint64_t interval_ms = spool_get_setting(spool, "sample_interval_ms", 0);
    uint64_t age_s = spool_get_setting(spool, "spool_max_age_s", 0);
    uint64_t upload = spool_get_setting(
        spool, "upload_batch_bytes", (uint64_t)config_int(config, "upload-bytes"));
    app->sample_interval_us =
        interval_ms == 0 ? config_int(config, "sample-interval") : (int64_t)interval_ms * US_PER_MS;
    app->spool_max_bytes = spool_get_setting(
        spool, "spool_max_bytes", (uint64_t)config_int(config, "spool-max-bytes"));
    app->spool_max_age_us =
        age_s == 0 ? config_int(config, "spool-max-age") : (int64_t)age_s * US_PER_SECOND;
    spool_set_bounds(spool, app->spool_max_bytes, app->spool_max_age_us);
    if (app->link != NULL) {
        link_set_upload_bytes(app->link, (size_t)upload);
    }
}

static void on_online(void *context)
{
    struct app *app = context;
    if (app->workload != NULL) {
        workload_catch_up(app->workload); /* before the answers: a creation is reported first */
    }
    commands_redeliver(app->commands);
}

struct verify_context app_server(const struct app *app)
{
    const struct state_enrollment *enrollment = link_enrollment(app->link);
    return (struct verify_context){ .server_id = enrollment->server_id,
                                    .agent_id = enrollment->agent_id,
                                    .command_pubkey = enrollment->command_pubkey,
                                    .now = link_server_time(app->link) };
}

static void on_command(void *context, const Agentgateway__V1__ControlCommand *command)
{
    struct app *app = context;
    const struct verify_context who = app_server(app);
    commands_handle(app->commands, &who, command);
}

static void on_status(void *context, struct link_status *ret_status)
{
    struct app *app = context;
    ret_status->commands_running = commands_running(app->commands);
    ret_status->last_command_sequence = commands_last_sequence(app->commands);
}

static enum err_code on_capacity(
    void *context, struct arena *arena, Agentgateway__V1__Capacity *capacity, struct err_info *err)
{
    struct app *app = context;
    return app->workload == NULL ? ERR_OK
                                 : workload_fill_capacity(app->workload, arena, capacity, err);
}

static enum err_code on_hello(
    void *context, struct arena *arena, Agentgateway__V1__ControlHello *hello, struct err_info *err)
{
    struct app *app = context;
    return app->workload == NULL ? ERR_OK : workload_fill_hello(app->workload, arena, hello, err);
}

static void on_enrolled(void *context)
{
    struct app *app = context;
    app->ends_refused = false;
}

/* A name that is taken, a token that is spent: the server's own agent says so by its end, and the
 * server knows what to do. Others wait for a person to act. */
static void on_problem(void *context, enum err_code code, const char *text)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    if (!app->ends_refused || app->is_stopping
        || (code != ERR_EXISTS && code != ERR_UNAUTHENTICATED)) {
        return;
    }
    (void)ERR_SET(&err, code, "%.500s", text);
    app->exit_status = outcome_fail(code, &err);
    app->is_stopping = true;
    state_drop_pending(app->state);
    link_stop(app->link);
}

static void on_stopped(void *context)
{
    struct app *app = context;
    loop_stop(app->loop);
}

static const struct link_ops link_ops = { .online = on_online,
                                          .enrolled = on_enrolled,
                                          .problem = on_problem,
                                          .command = on_command,
                                          .relay_open = app_relay_open,
                                          .sandbox_watch = app_sandbox_watch,
                                          .has_relays = app_has_relays,
                                          .get_status = on_status,
                                          .fill_capacity = on_capacity,
                                          .fill_hello = on_hello,
                                          .stopped = on_stopped };

void app_stop(struct app *app)
{
    if (app->is_stopping) {
        loop_stop(app->loop);
        return;
    }
    app->is_stopping = true;
    guests_stop(app->guests);
    tell(app, AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO, "agent.stopping", "the agent stops");
    link_stop(app->link);
}

static void on_signal(void *context, int number)
{
    struct app *app = context;
    if (number == SIGHUP) {
        log_info("reload_ignored", LOG_STR("reason", "options are read at start"));
        return;
    }
    log_info("stopping", LOG_INT("signal", number));
    app_stop(app);
}

/* Enrolled, or at least on the way: from an earlier start, or from --join. */
static enum err_code find_join(
    struct app *app, struct pending *pending, bool *ret_pending, struct err_info *err)
{
    struct state_enrollment enrollment;
    const char *join = config_text(app->config, "join");
    enum err_code code = state_load_enrollment(app->state, &enrollment, err);
    *ret_pending = false;
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    code = pending_load(app->state, pending, err);
    if (code == ERR_NOT_FOUND && join != NULL) {
        TRY(outcome_begin_join(app->config, app->state, &app->facts, join, err));
        code = pending_load(app->state, pending, err);
    }
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "not enrolled; ask the operator of the server for a join string ('belay enroll token') "
            "and run: belay-agent enroll JOIN-STRING --state-dir %s",
            state_dir(app->state));
    }
    *ret_pending = code == ERR_OK;
    return code;
}

static enum err_code open_link(struct app *app, struct err_info *err)
{
    struct pending pending = { .label_count = 0 };
    struct link_join join;
    bool is_pending = false;
    TRY(find_join(app, &pending, &is_pending, err));
    pending_fill(&pending, &join);
    struct link_options options = { .loop = app->loop,
                                    .clock = app->clock,
                                    .schema = app->schema,
                                    .state = app->state,
                                    .spool = app->spool,
                                    .facts = &app->facts,
                                    .agent_version = BELAY_VERSION,
                                    .ops = &link_ops,
                                    .context = app,
                                    .join = is_pending ? &join : NULL };
    enum err_code code = link_create(&options, &app->link, err);
    app->ends_refused = is_pending && str_has_prefix(str_of(pending.join.target), STR("unix:"));
    pending_deinit(&pending);
    return code;
}

/* Often enough that nothing waits much longer than the delay. */
static int64_t tick_of(int64_t delay_us)
{
    int64_t tick_us = delay_us == 0 ? TICK_MAX_US : delay_us / 2;
    tick_us = tick_us > TICK_MAX_US ? TICK_MAX_US : tick_us;
    return tick_us < TICK_MIN_US ? TICK_MIN_US : tick_us;
}

static enum err_code open_spool(struct app *app, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/spool.db", state_dir(app->state));
    struct spool_options options = { .path = path,
                                     .clock = app->clock,
                                     .max_bytes =
                                         (uint64_t)config_int(app->config, "spool-max-bytes"),
                                     .max_age_us = config_int(app->config, "spool-max-age"),
                                     .delay_us = config_int(app->config, "spool-delay") };
    app->tick_us = tick_of(options.delay_us);
    return spool_open(&options, &app->spool, err);
}

static enum err_code set_policy(struct app *app, struct err_info *err)
{
    device_policy_init(&app->policy);
    for (size_t i = 0; i < config_list_count(app->config, "allow-actions"); i++) {
        TRY(device_policy_allow(
            &app->policy, config_list_item(app->config, "allow-actions", i), err));
    }
    return ERR_OK;
}

/* What stands by itself: policy, contracts, loop, state, facts. */
static enum err_code open_ground(struct app *app, struct err_info *err)
{
    TRY(set_policy(app, err));
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &app->schema, err));
    TRY(loop_create(app->clock, &app->loop, err));
    TRY(loop_signals(app->loop, on_signal, app, err));
    TRY(state_open(config_text(app->config, "state-dir"), &app->state, err));
    TRY(state_load_keys(app->state, err));
    host_facts_read("", &app->facts);
    return app_be_lent(app, err);
}

static enum err_code open_all(struct app *app, struct err_info *err)
{
    AUTO_FREE char *socket_path = outcome_status_path(app->config);
    struct host_sampler_options sampling = { .root = "",
                                             .clock = app->clock,
                                             .per_core = config_bool(app->config, "per-core") };
    TRY(open_ground(app, err));
    TRY(open_spool(app, err));
    TRY(app_open_sandboxes(app, err));
    TRY(app_open_guests(app, err));
    TRY(open_link(app, err));
    app_open_relays(app);
    struct commands_options options = { .spool = app->spool,
                                        .state = app->state,
                                        .schema = app->schema,
                                        .ops = &app_command_ops,
                                        .context = app };
    TRY(commands_create(&options, &app->commands, err));
    app->sampler = host_sampler_create(&sampling);
    app->sample_timer = loop_timer_create(app->loop, on_sample, app);
    app->tick_timer = loop_timer_create(app->loop, on_tick, app);
    app->reboot_timer = loop_timer_create(app->loop, on_reboot, app);
    return status_socket_open(app->loop, socket_path, app_write_status, app, &app->status, err);
}

static void close_all(struct app *app)
{
    status_socket_close(app->status);
    app_close_guests(app);
    bridges_destroy(app->bridges);
    link_destroy(STEAL(app->link));
    workload_close(app->workload);
    proxy_destroy(app->proxy);
    commands_destroy(app->commands);
    loop_timer_destroy(app->reboot_timer);
    loop_timer_destroy(app->tick_timer);
    loop_timer_destroy(app->sample_timer);
    host_sampler_destroy(app->sampler);
    spool_close(app->spool);
    state_close(app->state);
    loop_destroy(app->loop);
    wire_schema_destroy(app->schema);
}

int app_run(const struct config *config)
{
    struct app app = { .config = config, .clock = clock_system() };
    struct err_info err = ERR_INFO_INIT;
    struct host_samples samples;
    agent_hold_signals();
    enum err_code code = open_all(&app, &err);
    if (code != ERR_OK) {
        close_all(&app);
        return outcome_fail(code, &err);
    }
    app.started_at = loop_now(app.loop);
    app.told_at.value = app.started_at.value - TELL_DROPS_US;
    spool_get_stats(app.spool, &app.told);
    app.told.set_aside_count = 0;
    app_apply_limits(&app);
    log_info(
        "agent_started", LOG_STR("version", BELAY_VERSION), LOG_STR("state", state_dir(app.state)));
    tell(&app, AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO, "agent.started", "the agent started");
    app_sample(&app, &samples);
    app_arm_sampling(&app);
    loop_timer_arm_after(app.tick_timer, 0);
    link_start(app.link);
    loop_run(app.loop);
    app_tell_networks(&app);
    log_info("agent_stopped", LOG_STR("state", state_dir(app.state)));
    close_all(&app);
    return app.exit_status;
}
