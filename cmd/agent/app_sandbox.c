/* The agent's sandboxes as the server's: options, hello, reports, records, orders. */
#include "cmd/agent/app.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/proxy/policy.h"
#include "cmd/agent/proxy/summary.h"
#include "cmd/agent/workload/duties.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

enum {
    PERCENT = 100,
    NUMBER_BYTES = 24,
    TEXT_BYTES = 1024,
    KEPT_PERCENT = 80 /* of memory and disk, where the options name no amount */
};

#define ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

/* ---- What goes out ---- */

static bool send_report(void *context, const Agentgateway__V1__SandboxReport *report)
{
    struct app *app = context;
    return app->link != NULL && link_send_report(app->link, report, NULL) == ERR_OK;
}

static bool is_online(void *context)
{
    const struct app *app = context;
    return app->link != NULL && link_is_online(app->link);
}

static void send_readings(void *context, const Agentgateway__V1__ControlSandboxReadings *readings)
{
    struct err_info err = ERR_INFO_INIT;
    struct app *app = context;
    if (app->link != NULL && link_send_readings(app->link, readings, &err) != ERR_OK) {
        log_debug("readings_not_sent", LOG_ERR(&err));
    }
}

/* An agent without sandboxes is not asked. */
void app_sandbox_watch(void *context, const Agentgateway__V1__ControlSandboxWatch *order)
{
    struct app *app = context;
    if (app->workload != NULL) {
        workload_watch(app->workload, order);
    }
}

static enum err_code emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    struct app *app = context;
    AUTO_BUF struct buf payload = BUF_INIT(BATCH_BYTES_MAX);
    wire_pack(&batch->base, &payload);
    return buf_ok(&payload) ? app_keep_events(app, clock_wall(app->clock), &payload, err)
                            : ERR_SET(err, ERR_LIMIT, "a batch over its bound");
}

/* Lines may take a quarter of the spool: the rest is for what nobody can do without. */
static bool has_room(void *context)
{
    struct app *app = context;
    struct spool_stats stats;
    spool_get_stats(app->spool, &stats);
    return !stats.is_degraded && stats.streams[SPOOL_EVENTS].bytes < app->spool_max_bytes / 4;
}

static const struct workload_ops ops = { .report = send_report,
                                         .is_online = is_online,
                                         .readings = send_readings,
                                         .emit = emit,
                                         .has_room = has_room };

/* ---- The network ---- */

typedef Openshell__Sandbox__V1__SandboxPolicy policy_type;

static void on_denied(void *context, const char *id, const struct proxy_denial *denial)
{
    struct app *app = context;
    char port[NUMBER_BYTES];
    char count[NUMBER_BYTES];
    char text[TEXT_BYTES];
    bool is_named = denial->host[0] != '\0';
    (void)snprintf(port, sizeof(port), "%u", denial->port);
    (void)snprintf(count, sizeof(count), "%" PRIu64, denial->count);
    (void)snprintf(
        text,
        sizeof(text),
        "%s%s%s%s%s: %s",
        denial->audited ? "let through, to be watched" : "denied",
        is_named ? ": " : "",
        denial->host,
        is_named ? ":" : "",
        is_named ? port : "",
        denial->reason);
    const char *const attributes[] = { "host",   denial->host,   "port",   port,
                                       "method", denial->method, "path",   denial->path,
                                       "rule",   denial->rule,   "reason", denial->reason,
                                       "count",  count,          NULL };
    const struct workload_event event = {
        .sandbox_id = id,
        .kind = denial->audited ? "sandbox.audited" : "sandbox.denied",
        .text = text,
        .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING,
        .attributes = attributes,
    };
    workload_tell(app->workload, &event);
}

static const struct proxy_ops proxy_ops = { .denied = on_denied };

static enum err_code check(void *context, const policy_type *policy, struct err_info *err)
{
    struct rules *rules = NULL;
    (void)context;
    TRY(policy_compile(policy, &rules, err));
    rules_destroy(rules);
    return ERR_OK;
}

static enum err_code apply(
    void *context, const char *sandbox_id, const policy_type *policy, struct err_info *err)
{
    struct app *app = context;
    struct rules *rules = NULL;
    TRY(policy_compile(policy, &rules, err));
    proxy_set_rules(app->proxy, sandbox_id, rules);
    return ERR_OK;
}

static void take_listener(void *context, const char *sandbox_id, int take_fd)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    if (proxy_open(app->proxy, sandbox_id, take_fd, &err) != ERR_OK) {
        log_error("sandbox_without_network", LOG_STR("sandbox", sandbox_id), LOG_ERR(&err));
    }
}

/* What the run exchanged with whom, at its end or at the agent's: the sums alone are in its usage.
 */
static void tell_network(struct app *app, const char *sandbox_id)
{
    struct summary summary;
    if (!summary_make(app->proxy, sandbox_id, &summary)) {
        return;
    }
    const struct workload_event event = {
        .sandbox_id = sandbox_id,
        .kind = "sandbox.network",
        .text = summary.text,
        .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_INFO,
        .attributes = summary.attributes,
    };
    workload_tell(app->workload, &event);
}

void app_tell_networks(struct app *app)
{
    struct sandbox_info info;
    size_t cursor = 0;
    while (app->workload != NULL
           && sandbox_next(workload_sandboxes(app->workload), &cursor, &info)) {
        tell_network(app, info.id);
    }
}

static void forget(void *context, const char *sandbox_id)
{
    struct app *app = context;
    tell_network(app, sandbox_id);
    proxy_forget(app->proxy, sandbox_id);
}

static void count(void *context, const char *sandbox_id, struct egress_count *ret_count)
{
    const struct app *app = context;
    struct proxy_usage usage = { .in_bytes = 0 };
    if (proxy_get_usage(app->proxy, sandbox_id, &usage)) {
        *ret_count = (struct egress_count){ usage.out_bytes, usage.in_bytes };
    }
}

static enum err_code open_egress(struct app *app, struct err_info *err)
{
    const struct proxy_options options = { .loop = app->loop,
                                           .resolvers =
                                               config_text(app->config, "sandbox-resolvers"),
                                           .ops = &proxy_ops,
                                           .context = app };
    app->egress = (struct egress){ .context = app,
                                   .check = check,
                                   .apply = apply,
                                   .listen = take_listener,
                                   .forget = forget,
                                   .count = count };
    enum err_code code = proxy_create(&options, &app->proxy, err);
    if (code == ERR_INVALID) {
        err_prefix(err, "sandbox-resolvers");
    }
    return code;
}

/* ---- Options ---- */

static uint64_t or_share(const struct config *config, const char *name, uint64_t whole)
{
    uint64_t given = (uint64_t)config_int(config, name);
    return given != 0 ? given : whole / PERCENT * KEPT_PERCENT;
}

static uint64_t free_bytes(const char *dir)
{
    struct statvfs info;
    return statvfs(dir, &info) == 0 ? (uint64_t)info.f_bavail * info.f_frsize : 0;
}

static struct workload_offer offer_of(const struct app *app)
{
    const struct config *config = app->config;
    uint64_t milli = (uint64_t)config_int(config, "sandbox-cpu");
    return (struct workload_offer){
        .cpus = milli == 0 ? app->facts.cpu_count : (double)milli / 1000,
        .memory_bytes = or_share(config, "sandbox-memory", app->facts.memory_bytes),
        .disk_bytes = or_share(config, "sandbox-disk", free_bytes(state_dir(app->state))),
        .slots = (uint64_t)config_int(config, "sandbox-slots"),
    };
}

static enum err_code open_workload(struct app *app, struct err_info *err)
{
    const struct config *config = app->config;
    AUTO_FREE char *dir = outcome_sandbox_dir(config);
    AUTO_FREE char *images = outcome_image_dir(config);
    const struct workload_options options = {
        .loop = app->loop,
        .clock = app->clock,
        .schema = app->schema,
        .dir = dir,
        .image_dir = images,
        .boot_id = app->facts.boot_id,
        .cgroup = config_text(config, "sandbox-cgroup"),
        .uid_base = app_is_lent(app) ? 0 : (uint64_t)config_int(config, "sandbox-uid-base"),
        .offer = offer_of(app),
        .io_rate = (uint64_t)config_int(config, "sandbox-io-rate"),
        .is_lenient = strcmp(config_text(config, "sandbox-limits"), "best-effort") == 0,
        .ops = &ops,
        .context = app,
        .egress = &app->egress,
    };
    TRY(open_egress(app, err));
    return workload_open(&options, &app->workload, err);
}

enum err_code app_open_sandboxes(struct app *app, struct err_info *err)
{
    const char *wanted = config_text(app->config, "sandboxes");
    struct err_info local = ERR_INFO_INIT;
    if (strcmp(wanted, "off") == 0) {
        return ERR_OK;
    }
    if (strcmp(wanted, "on") == 0) {
        enum err_code code = open_workload(app, err);
        err_prefix(err, "sandboxes: on");
        return code;
    }
    if (open_workload(app, &local) != ERR_OK) {
        log_warn("no_sandboxes", LOG_ERR(&local));
    }
    return ERR_OK;
}

/* ---- Orders ---- */

static unsigned ack_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return ACK(OK);
    case ERR_INVALID:
        return ACK(BAD_REQUEST);
    case ERR_UNSUPPORTED:
    case ERR_NOT_FOUND:
    case ERR_PRECONDITION:
    case ERR_DENIED:
        return ACK(AGENT_INCAPABLE);
    case ERR_LIMIT:
    case ERR_BUSY:
        return ACK(BUSY);
    default:
        return ACK(INTERNAL);
    }
}

typedef enum err_code (*order_fn)(
    struct workload *workload, const Agentgateway__V1__AgentCommand *command, struct err_info *err);

static void obey(
    struct app *app,
    struct command_run *run,
    const Agentgateway__V1__AgentCommand *command,
    order_fn order)
{
    struct err_info err = ERR_INFO_INIT;
    if (app->workload == NULL) {
        command_finish(
            run,
            ACK(AGENT_INCAPABLE),
            "this agent offers no sandboxes (its option 'sandboxes')",
            STR_NONE);
        return;
    }
    enum err_code code = order(app->workload, command, &err);
    command_finish(run, ack_of(code), code == ERR_OK ? "" : err.text, STR_NONE);
}

#define ORDER(name, call)                                                                      \
    static enum err_code order_##name(                                                         \
        struct workload *workload,                                                             \
        const Agentgateway__V1__AgentCommand *command,                                         \
        struct err_info *err)                                                                  \
    {                                                                                          \
        return call;                                                                           \
    }                                                                                          \
    void app_sandbox_##name(                                                                   \
        void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command) \
    {                                                                                          \
        obey(context, run, command, order_##name);                                             \
    }

ORDER(create, duties_create(workload, command->sandbox_create, err))
ORDER(start, duties_start(workload, command->sandbox_start->sandbox_id, err))
ORDER(stop, duties_stop(workload, command->sandbox_stop->sandbox_id, err))
ORDER(delete, duties_delete(workload, command->sandbox_delete->sandbox_id, err))
ORDER(policy, duties_policy(workload, command->sandbox_policy, err))
