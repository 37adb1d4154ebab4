#include "cmd/agent/workload/workload.h"

#include "cmd/agent/workload/workload_private.h"
#include "common/base/log.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum {
    POLICY_ARENA_BYTES = 4 * 1024 * 1024,
    ATTRIBUTES_MAX = 16
};

/* ---- Reports ---- */

enum err_code workload_fill_report(
    struct workload *workload,
    const struct sandbox_info *info,
    struct report *report,
    struct note *note,
    struct err_info *err)
{
    TRY(note_load(info->dir, note, err));
    report_fill(report, info, note, clock_wall(workload->options.clock));
    report->message.boot_id = workload->boot_id;
    return sequence_next(&workload->reports, &report->message.sequence, err);
}

void workload_fill_anyway(
    struct workload *workload,
    const struct sandbox_info *info,
    struct report *report,
    struct note *note)
{
    struct err_info err = ERR_INFO_INIT;
    if (workload_fill_report(workload, info, report, note, &err) == ERR_OK) {
        return;
    }
    log_error("sandbox_report_incomplete", LOG_STR("sandbox", info->id), LOG_ERR(&err));
    *note = (struct note){ .stopped = 0 };
    report_fill(report, info, note, clock_wall(workload->options.clock));
    report->message.boot_id = workload->boot_id;
    report->message.sequence = workload->reports.last;
    (void)map_put(workload->missed, str_of(info->id), workload);
}

static enum err_code fill_gone(
    struct workload *workload, const char *id, struct report *report, struct err_info *err)
{
    agentgateway__v1__sandbox_report__init(&report->message);
    report->message.sandbox_id = CONST_CAST(char *, id);
    report->message.state = AGENTGATEWAY__V1__SANDBOX_STATE__SANDBOX_STATE_DELETED;
    report->message.reason = CONST_CAST(char *, "Deleted");
    report->message.time_us = clock_wall(workload->options.clock).value;
    report->message.boot_id = workload->boot_id;
    return sequence_next(&workload->reports, &report->message.sequence, err);
}

void workload_report(struct workload *workload, const char *sandbox_id)
{
    struct sandbox_info info;
    struct report report;
    struct note note;
    struct err_info err = ERR_INFO_INIT;
    bool is_there = sandbox_find(workload->sandboxes, sandbox_id, &info);
    enum err_code code = is_there ? workload_fill_report(workload, &info, &report, &note, &err)
                                  : fill_gone(workload, sandbox_id, &report, &err);
    if (code != ERR_OK) {
        log_error("sandbox_not_reported", LOG_STR("sandbox", sandbox_id), LOG_ERR(&err));
        (void)map_put(workload->missed, str_of(sandbox_id), workload);
        return;
    }
    log_info(
        "sandbox_report",
        LOG_STR("sandbox", sandbox_id),
        LOG_STR("reason", report.message.reason),
        LOG_INT("sequence", report.message.sequence));
    if (workload->options.ops->report(workload->options.context, &report.message)) {
        (void)map_remove(workload->missed, str_of(sandbox_id));
    } else {
        (void)map_put(workload->missed, str_of(sandbox_id), workload);
    }
}

void workload_catch_up(struct workload *workload)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    struct map *missed = workload->missed;
    if (!workload->options.ops->is_online(workload->options.context)) {
        return; /* each try would spend a number and a line of the log */
    }
    workload->missed = map_create();
    while (map_next(missed, &cursor, &key, &value)) {
        char id[SANDBOX_ID_BYTES_MAX + 1];
        if (str_copy(key, id, sizeof(id)) == ERR_OK) {
            workload_report(workload, id);
        }
    }
    map_destroy(missed, NULL);
}

/* What waits in memory for the disk is not lost: to say so beside it would count it twice. */
static enum err_code keep(
    struct workload *workload, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    enum err_code code = workload->options.ops->emit(workload->options.context, batch, err);
    return code == ERR_UNAVAILABLE ? ERR_OK : code;
}

void workload_tell(struct workload *workload, const struct workload_event *event)
{
    struct err_info err = ERR_INFO_INIT;
    Agentgateway__V1__AgentEvent__AttributesEntry entries[ATTRIBUTES_MAX];
    Agentgateway__V1__AgentEvent__AttributesEntry *pointers[ATTRIBUTES_MAX];
    Agentgateway__V1__AgentEvent message;
    Agentgateway__V1__AgentEvent *events[] = { &message };
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    size_t count = 0;
    const char *const *attributes = event->attributes;
    for (; attributes != NULL && attributes[2 * count] != NULL && count < ATTRIBUTES_MAX; count++) {
        agentgateway__v1__agent_event__attributes_entry__init(&entries[count]);
        entries[count].key = CONST_CAST(char *, attributes[2 * count]);
        entries[count].value = CONST_CAST(char *, attributes[2 * count + 1]);
        pointers[count] = &entries[count];
    }
    agentgateway__v1__agent_event__init(&message);
    message.time_us = clock_wall(workload->options.clock).value;
    message.severity = (Agentgateway__V1__Severity)event->severity;
    message.kind = CONST_CAST(char *, event->kind);
    message.device = CONST_CAST(char *, event->sandbox_id);
    message.text = CONST_CAST(char *, event->text);
    message.attributes = pointers;
    message.n_attributes = count;
    batch.events = events;
    batch.n_events = 1;
    if (keep(workload, &batch, &err) != ERR_OK) {
        log_warn("event_not_stored", LOG_STR("kind", event->kind), LOG_ERR(&err));
    }
}

/* ---- What the sandboxes tell ---- */

static struct egress_count count_of(const struct workload *workload, const char *id)
{
    const struct egress *egress = workload->options.egress;
    struct egress_count count = { 0, 0 };
    if (egress != NULL) {
        egress->count(egress->context, id, &count);
    }
    return count;
}

static void on_ready(void *context, const char *id)
{
    workload_report(context, id);
}

static void on_waits(void *context, const char *id)
{
    struct workload *workload = context;
    const struct workload_event event = {
        .sandbox_id = id,
        .kind = "sandbox.waits",
        .text = REPORT_WAITS,
        .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR,
    };
    workload_report(workload, id);
    workload_tell(workload, &event);
}

static void on_ended(void *context, const struct sandbox_info *info)
{
    struct workload *workload = context;
    const struct egress *egress = workload->options.egress;
    struct egress_count network = count_of(workload, info->id);
    execs_ended(workload->execs, info->id);
    logs_end(workload->logs, info->id);
    if (info->status == SANDBOX_STATUS_ENDED) {
        usage_close(workload->usage, info, &network);
    }
    if (egress != NULL) {
        egress->forget(egress->context, info->id);
    }
    restarts_ended(workload->restarts, info);
    workload_report(workload, info->id);
}

static void on_removed(void *context, const char *id)
{
    struct workload *workload = context;
    const struct egress *egress = workload->options.egress;
    execs_ended(workload->execs, id);
    logs_end(workload->logs, id);
    usage_forget(workload->usage, id);
    figures_forget(workload->figures, id);
    restarts_forget(workload->restarts, id);
    if (egress != NULL) {
        egress->forget(egress->context, id);
    }
    workload_report(workload, id);
}

static void on_started(void *context, const char *id, uint64_t exec, int number)
{
    struct workload *workload = context;
    if (exec != 0) {
        execs_started(workload->execs, id, exec, number);
    }
}

static void on_output(
    void *context, const char *id, uint64_t exec, const struct message_output *output)
{
    struct workload *workload = context;
    const char *program = exec == 0 ? NULL : execs_log_name(workload->execs, exec);
    if (exec == 0) {
        logs_add(workload->logs, id, output);
    } else {
        if (program != NULL) {
            logs_add_exec(workload->logs, id, exec, program, output);
        }
        execs_output(workload->execs, id, exec, output);
    }
}

static void on_input_taken(void *context, const char *id, uint64_t exec, uint64_t offset)
{
    struct workload *workload = context;
    (void)id;
    execs_input_taken(workload->execs, exec, offset);
}

static void on_exited(
    void *context, const char *id, uint64_t exec, const struct message_exited *exited)
{
    struct workload *workload = context;
    if (exec != 0) {
        logs_end_exec(workload->logs, id, exec);
        execs_exited(workload->execs, id, exec, exited);
    }
}

static void on_connected(
    void *context, const char *id, uint64_t connection, int take_fd, int number)
{
    struct workload *workload = context;
    (void)id;
    execs_connected(workload->execs, connection, take_fd, number);
}

static void on_sample(void *context, const char *id, const struct message_sample *sample)
{
    struct workload *workload = context;
    struct sandbox_info info;
    if (sandbox_find(workload->sandboxes, id, &info)) {
        struct egress_count network = count_of(workload, id);
        usage_sample(workload->usage, &info, sample, &network);
        figures_take(workload->figures, id, sample, &network);
    }
}

static void on_listening(void *context, const char *id, int take_fd)
{
    struct workload *workload = context;
    const struct egress *egress = workload->options.egress;
    AUTO_FD int fd = take_fd;
    if (egress != NULL) {
        egress->listen(egress->context, id, fd_steal(&fd));
    }
}

static const struct sandbox_ops sandbox_ops = { .ready = on_ready,
                                                .waits = on_waits,
                                                .ended = on_ended,
                                                .removed = on_removed,
                                                .started = on_started,
                                                .output = on_output,
                                                .input_taken = on_input_taken,
                                                .exited = on_exited,
                                                .sample = on_sample,
                                                .connected = on_connected,
                                                .listening = on_listening };

/* ---- What goes on from here ---- */

static enum err_code emit(
    void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err)
{
    return keep(context, batch, err);
}

static bool has_room(void *context)
{
    struct workload *workload = context;
    return workload->options.ops->has_room(workload->options.context);
}

static void on_taken(void *context, const char *sandbox_id, unsigned stream, uint64_t offset)
{
    struct workload *workload = context;
    sandbox_taken(workload->sandboxes, sandbox_id, 0, stream, offset);
}

static size_t measure(void *context)
{
    struct workload *workload = context;
    size_t cursor = 0;
    size_t count = 0;
    struct sandbox_info info;
    while (sandbox_next(workload->sandboxes, &cursor, &info)) {
        if (info.status == SANDBOX_STATUS_READY) {
            sandbox_measure(workload->sandboxes, info.id);
            count++;
        }
    }
    return count;
}

static void send_readings(void *context, const Agentgateway__V1__ControlSandboxReadings *readings)
{
    const struct workload *workload = context;
    workload->options.ops->readings(workload->options.context, readings);
}

void workload_watch(struct workload *workload, const Agentgateway__V1__ControlSandboxWatch *order)
{
    figures_watch(
        workload->figures,
        (int64_t)order->duration_ms * US_PER_MS,
        (int64_t)order->interval_ms * US_PER_MS);
}

static const struct figures_ops figures_ops = { .measure = measure, .send = send_readings };
static const struct logs_ops logs_ops = { .emit = emit, .has_room = has_room, .taken = on_taken };
static const struct usage_ops usage_ops = { .emit = emit };

/* ---- Opening and closing ---- */

static bool has_sandboxes(const struct workload *workload)
{
    size_t cursor = 0;
    struct sandbox_info info;
    return sandbox_next(workload->sandboxes, &cursor, &info);
}

static void tell_damage(struct workload *workload, const struct err_info *damage)
{
    const struct workload_event event = {
        .sandbox_id = "",
        .kind = "sandbox.numbers_lost",
        .text = "the file with the number of the last report is damaged; reports go on from a "
                "higher number",
        .severity = AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR,
    };
    log_error("sandbox_numbers_damaged", LOG_ERR(damage));
    workload_tell(workload, &event);
}

/* Whatever became of the file: sandboxes that run are worth more than it is. */
static void open_numbers(struct workload *workload)
{
    struct err_info err = ERR_INFO_INIT;
    struct sequence *reports = &workload->reports;
    AUTO_FREE char *path = mem_printf("%s/reports", workload->options.dir);
    struct wall_us now = clock_wall(workload->options.clock);
    if (sequence_open(reports, path, &err) != ERR_OK) {
        sequence_open_anew(reports, path, now);
        tell_damage(workload, &err);
    } else if (reports->next == 1 && has_sandboxes(workload)) {
        /* It was deleted, or never came to be: some of these may have been reported. */
        sequence_deinit(reports);
        sequence_open_anew(reports, path, now);
        log_warn("sandbox_numbers_missing", LOG_INT("next", reports->next));
    }
}

static enum err_code open_sandboxes(
    struct workload *workload, const struct workload_options *options, struct err_info *err)
{
    const struct sandboxes_options wanted = { .loop = options->loop,
                                              .clock = options->clock,
                                              .dir = options->dir,
                                              .image_dir = workload->image_dir,
                                              .shim_path = options->shim_path,
                                              .cgroup = options->cgroup,
                                              .uid_base = options->uid_base,
                                              .slots = options->offer.slots,
                                              .ops = &sandbox_ops,
                                              .context = workload };
    TRY(sandboxes_open(&wanted, &workload->sandboxes, err));
    execs_set_sandboxes(workload->execs, workload->sandboxes);
    open_numbers(workload);
    return ERR_OK;
}

static enum err_code choose_driver(struct workload *workload, struct err_info *err)
{
    struct wish_host *host = &workload->host;
    host->report = sandboxes_report(workload->sandboxes);
    host->is_lenient = workload->options.is_lenient;
    host->io_rate = workload->options.io_rate;
    host->has_egress = workload->options.egress != NULL;
    host->fallback = wish_driver_fits(host, SANDBOX_DRIVER_NATIVE) ? SANDBOX_DRIVER_NATIVE
                                                                   : SANDBOX_DRIVER_BWRAP;
    if (wish_driver_fits(host, host->fallback)) {
        return ERR_OK;
    }
    return host->report->native || host->report->bwrap
        ? ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "sandboxes work on this host but their limits cannot be enforced (belay-agent sandbox "
            "probe says which); sandbox-limits: best-effort offers them without")
        : ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "no sandbox works on this host: native: %.200s; bwrap: %.200s",
            host->report->native_reason,
            host->report->bwrap_reason);
}

static void resume_one(struct workload *workload, const struct sandbox_info *info)
{
    struct err_info err = ERR_INFO_INIT;
    Openshell__Sandbox__V1__SandboxPolicy nothing = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;
    Openshell__Sandbox__V1__SandboxPolicy *policy = NULL;
    const struct egress *egress = workload->options.egress;
    AUTO_ARENA struct arena *arena = arena_create(POLICY_ARENA_BYTES);
    usage_resume(workload->usage, info);
    if (egress == NULL || info->status == SANDBOX_STATUS_ENDED
        || info->status == SANDBOX_STATUS_LOST) {
        return;
    }
    enum err_code code =
        note_load_policy(info->dir, workload->options.schema, arena, &policy, &err);
    if (code == ERR_OK) {
        code = egress->apply(egress->context, info->id, policy == NULL ? &nothing : policy, &err);
    }
    if (code != ERR_OK) {
        log_error("sandbox_without_network", LOG_STR("sandbox", info->id), LOG_ERR(&err));
    }
}

static void resume(struct workload *workload)
{
    size_t cursor = 0;
    struct sandbox_info info;
    while (sandbox_next(workload->sandboxes, &cursor, &info)) {
        resume_one(workload, &info);
    }
}

enum err_code workload_open(
    const struct workload_options *options, struct workload **ret_workload, struct err_info *err)
{
    struct workload *workload = mem_alloc(sizeof(*workload));
    workload->options = *options; /* its texts are not kept */
    workload->boot_id = mem_strdup(options->boot_id);
    workload->image_dir = options->image_dir == NULL
        ? mem_printf("%s/" SANDBOXES_IMAGES, options->dir)
        : mem_strdup(options->image_dir);
    workload->execs = execs_create();
    workload->missed = map_create();
    workload->logs = logs_create(options->loop, options->clock, &logs_ops, workload);
    workload->usage = usage_create(options->boot_id, &usage_ops, workload);
    workload->figures = figures_create(options->loop, &figures_ops, workload);
    workload->restarts = restarts_create(workload, options->loop);
    enum err_code code = open_sandboxes(workload, options, err);
    if (code == ERR_OK) {
        code = choose_driver(workload, err);
    }
    if (code != ERR_OK) {
        workload_close(workload);
        return code;
    }
    resume(workload);
    *ret_workload = workload;
    return ERR_OK;
}

void workload_close(struct workload *workload)
{
    if (workload == NULL) {
        return;
    }
    if (workload->sandboxes != NULL) {
        logs_flush(workload->logs);
    }
    sandboxes_close(workload->sandboxes);
    logs_destroy(workload->logs);
    usage_destroy(workload->usage);
    figures_destroy(workload->figures);
    restarts_destroy(workload->restarts);
    execs_destroy(workload->execs);
    map_destroy(workload->missed, NULL);
    sequence_deinit(&workload->reports);
    mem_free(workload->image_dir);
    mem_free(workload->boot_id);
    mem_free(workload);
}

struct sandboxes *workload_sandboxes(struct workload *workload)
{
    return workload->sandboxes;
}

void workload_get_offer(const struct workload *workload, struct workload_offer *ret_offer)
{
    *ret_offer = workload->options.offer;
}

void workload_get_taken(const struct workload *workload, struct workload_offer *ret_taken)
{
    size_t cursor = 0;
    struct sandbox_info info;
    uint64_t cpu_milli = 0;
    struct workload_offer taken = { .slots = 0 };
    while (sandbox_next(workload->sandboxes, &cursor, &info)) {
        taken.slots++;
        taken.memory_bytes += info.memory_bytes;
        taken.disk_bytes += info.disk_bytes;
        cpu_milli += info.cpu_milli;
    }
    taken.cpus = (double)cpu_milli / 1000;
    *ret_taken = taken;
}

void workload_set_lent(struct workload *workload, const struct workload_offer *lent)
{
    workload->lent = *lent;
}

struct execs *workload_execs(struct workload *workload)
{
    return workload->execs;
}
