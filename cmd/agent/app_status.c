/* The local view: what `belay-agent status` prints, as JSON and for people. */
#include "cmd/agent/app.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <unistd.h>

enum {
    RECENT_COMMANDS = 10,
    SANDBOXES_SHOWN = 200 /* the answer has a bound: status_socket.h */
};

static const char *const stream_names[] = {
    [SPOOL_TELEMETRY] = "telemetry", [SPOOL_EVENTS] = "events"
};

static const char *const command_states[] = {
    [COMMAND_RUNNING] = "running", [COMMAND_DONE] = "done", [COMMAND_ACKED] = "acknowledged"
};

struct writer {
    struct app *app;
    struct buf *json;
    struct buf *text;
    unsigned count;
};

static void json_text(struct buf *json, const char *name, const char *value)
{
    buf_printf(json, ",\"%s\":", name);
    buf_append_json(json, str_of(value));
}

static void json_time(struct buf *json, const char *name, struct wall_us time)
{
    char text[TIME_TEXT_BYTES];
    if (time.value > 0) {
        json_text(json, name, time_format(time, text));
    }
}

static void write_link(struct writer *writer)
{
    struct link_view view;
    struct buf *json = writer->json;
    char since[32];
    char when[TIME_TEXT_BYTES];
    link_get_view(writer->app->link, &view);
    int64_t seconds_us = view.since_us / US_PER_SECOND * US_PER_SECOND;
    (void)str_format_duration_us(seconds_us, since, sizeof(since));
    buf_printf(
        json,
        "\"link\":{\"state\":\"%s\",\"online\":%s,\"since_ms\":%" PRId64 ",\"agent_id\":\"%" PRId64
        "\",\"uploaded_records\":\"%" PRIu64 "\",\"uploaded_copies\":\"%" PRIu64 "\"",
        view.state,
        view.is_online ? "true" : "false",
        view.since_us / US_PER_MS,
        view.agent_id,
        view.uploaded_records,
        view.uploaded_copies);
    json_text(json, "target", view.target);
    json_text(json, "server_id", view.server_id);
    json_text(json, "name", view.name);
    json_text(json, "last_error", view.last_error);
    json_time(json, "last_error_at", view.last_error_at);
    json_time(json, "last_upload_at", view.last_upload_at);
    buf_append_char(json, '}');
    buf_printf(
        writer->text,
        "Agent      %s (id %" PRId64 ")\nServer     %s (%s)\nLink       %s for %s\n",
        view.name,
        view.agent_id,
        view.target,
        view.server_id,
        view.is_online ? "online" : view.state,
        since);
    if (view.last_error[0] != '\0') {
        buf_printf(
            writer->text,
            "Last error %s %s\n",
            time_format(view.last_error_at, when),
            view.last_error);
    }
}

static void write_spool(struct writer *writer)
{
    struct spool_stats stats;
    struct buf *json = writer->json;
    spool_get_stats(writer->app->spool, &stats);
    buf_printf(
        json,
        ",\"spool\":{\"degraded\":%s,\"waiting_in_memory\":%" PRIu64,
        stats.is_degraded ? "true" : "false",
        stats.ring_records);
    json_text(json, "last_error", stats.last_error);
    json_text(json, "set_aside", stats.set_aside);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        const struct spool_stream_stats *row = &stats.streams[i];
        buf_printf(
            json,
            ",\"%s\":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"next_sequence\":%" PRIu64
            ",\"acked_sequence\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"quarantined\":%" PRIu64 "}",
            stream_names[i],
            row->records,
            row->bytes,
            row->next_sequence,
            row->acked_sequence,
            row->dropped_records,
            row->quarantined);
        buf_printf(
            writer->text,
            "Spool      %s: %" PRIu64 " waiting (%" PRIu64 " bytes), %" PRIu64 " dropped, %" PRIu64
            " quarantined\n",
            stream_names[i],
            row->records,
            row->bytes,
            row->dropped_records,
            row->quarantined);
    }
    buf_append_char(json, '}');
    if (stats.is_degraded) {
        buf_printf(writer->text, "Spool      DEGRADED: %s\n", stats.last_error);
    }
    if (stats.ring_records > 0) {
        buf_printf(
            writer->text, "Spool      %" PRIu64 " records wait in memory\n", stats.ring_records);
    }
}

/* Words of the reports, which the server has too. */
static const char *const sandbox_states[] = { [SANDBOX_STATUS_STARTING] = "starting",
                                              [SANDBOX_STATUS_READY] = "ready",
                                              [SANDBOX_STATUS_ENDED] = "ended",
                                              [SANDBOX_STATUS_LOST] = "lost" };

void app_write_sandboxes(const struct sandboxes *all, struct buf *json, struct buf *text)
{
    size_t cursor = 0;
    struct sandbox_info info;
    char when[TIME_TEXT_BYTES];
    unsigned count = 0;
    buf_printf(json, ",\"sandboxes\":{\"offered\":%s,\"list\":[", all == NULL ? "false" : "true");
    while (all != NULL && sandbox_next(all, &cursor, &info)) {
        if (count++ >= SANDBOXES_SHOWN) {
            continue;
        }
        const char *state = sandbox_states[info.status];
        const char *driver = info.driver == SANDBOX_DRIVER_NATIVE ? "native" : "bwrap";
        buf_printf(
            json,
            "%s{\"id\":\"%s\",\"state\":\"%s\",\"driver\":\"%s\",\"run\":%" PRIu64,
            count == 1 ? "" : ",",
            info.id,
            state,
            driver,
            info.generation);
        json_time(json, "started_at", info.started);
        buf_append_str(json, info.waits ? STR(",\"waits_for_descriptor\":true}") : STR("}"));
        buf_printf(
            text,
            "Sandbox    %s %s%s, %s, run %" PRIu64 ", since %s\n",
            info.id,
            state,
            info.waits ? " (the agent has no file descriptor left for it)" : "",
            driver,
            info.generation,
            info.started.value > 0 ? time_format(info.started, when) : "-");
    }
    buf_printf(json, "],\"count\":%u}", count);
    if (count > SANDBOXES_SHOWN) {
        buf_printf(text, "Sandboxes  %u here, %d of them above\n", count, SANDBOXES_SHOWN);
    }
    if (all != NULL && count == 0) {
        buf_append_str(text, STR("Sandboxes  offered, none here\n"));
    }
}

void app_write_guests(const struct guests *guests, struct buf *json, struct buf *text)
{
    size_t cursor = 0;
    unsigned count = 0;
    struct guest_view view;
    buf_append_str(json, STR(",\"guests\":["));
    while (guests != NULL && guests_next(guests, &cursor, &view)) {
        const struct room *room = &view.loan->room;
        buf_printf(json, "%s{\"number\":%u", count++ == 0 ? "" : ",", view.number);
        json_text(json, "loan_id", view.loan->id);
        json_text(json, "workspace", view.loan->workspace);
        json_text(json, "name", view.loan->name);
        json_text(json, "phase", view.phase);
        buf_printf(
            json,
            ",\"pid\":%d,\"room\":{\"sandboxes\":%" PRIu64 ",\"cpu_millis\":%" PRIu64
            ",\"memory_bytes\":%" PRIu64 ",\"disk_bytes\":%" PRIu64 "}}",
            (int)view.pid,
            room->sandboxes,
            room->cpu_millis,
            room->memory_bytes,
            room->disk_bytes);
        buf_printf(
            text,
            "Guest      %s %s (pid %d), %s of %s: %" PRIu64 " sandboxes, %" PRIu64
            " cpu thousandths, %" PRIu64 " bytes of memory, %" PRIu64 " of disk\n",
            view.loan->id[0] == '\0' ? "?" : view.loan->id,
            view.phase,
            (int)view.pid,
            view.loan->name,
            view.loan->workspace,
            room->sandboxes,
            room->cpu_millis,
            room->memory_bytes,
            room->disk_bytes);
    }
    buf_append_char(json, ']');
}

static void write_command(void *context, const struct command_line *line)
{
    struct writer *writer = context;
    struct buf *json = writer->json;
    char when[TIME_TEXT_BYTES];
    unsigned status = (unsigned)line->status;
    const char *name = status < ARRAY_LENGTH(command_states) && command_states[status] != NULL
        ? command_states[status]
        : "?";
    buf_printf(json, "%s{\"id\":", writer->count++ == 0 ? "" : ",");
    buf_append_json(json, line->command_id);
    buf_append_str(json, STR(",\"action\":"));
    buf_append_json(json, line->action);
    buf_append_str(json, STR(",\"actor\":"));
    buf_append_json(json, line->actor);
    buf_append_str(json, STR(",\"error\":"));
    buf_append_json(json, line->error);
    json_text(json, "status", name);
    json_time(json, "received_at", line->received_at);
    buf_printf(json, ",\"succeeded\":%s}", line->succeeded ? "true" : "false");
    buf_printf(writer->text, "Command    %s ", time_format(line->received_at, when));
    bool failed = line->status != COMMAND_RUNNING && !line->succeeded;
    buf_printf(writer->text, "%.*s %s", STR_ARG(line->action), name);
    if (failed) {
        buf_append_str(writer->text, STR(", failed: "));
        buf_append_json(writer->text, line->error);
    }
    buf_append_char(writer->text, '\n');
}

static void write_host(struct writer *writer)
{
    struct host_samples samples;
    struct buf *json = writer->json;
    host_sampler_peek_last(writer->app->sampler, &samples);
    buf_append_str(json, STR(",\"host\":["));
    buf_append_str(writer->text, STR("Host\n"));
    for (unsigned i = 0; i < samples.count; i++) {
        const struct host_sample *row = &samples.rows[i];
        buf_printf(json, "%s{\"metric\":\"%s\"", i == 0 ? "" : ",", row->metric);
        json_text(json, "instance", row->instance);
        buf_printf(json, ",\"unit\":\"%s\",\"value\":%.9g}", row->unit, row->value);
        buf_printf(
            writer->text,
            "  %-24s %-16s %12.6g %s\n",
            row->metric,
            row->instance,
            row->value,
            row->unit);
    }
    buf_append_char(json, ']');
}

void app_write_status(void *context, struct buf *json, struct buf *text)
{
    struct app *app = context;
    struct writer writer = { .app = app, .json = json, .text = text };
    int64_t uptime_us = loop_now(app->loop).value - app->started_at.value;
    buf_printf(
        json,
        "{\"version\":\"%s\",\"pid\":%d,\"uptime_ms\":%" PRId64 ",",
        BELAY_VERSION,
        (int)getpid(),
        uptime_us / US_PER_MS);
    write_link(&writer);
    write_spool(&writer);
    app_write_sandboxes(
        app->workload == NULL ? NULL : workload_sandboxes(app->workload), json, text);
    app_write_guests(app->guests, json, text);
    buf_append_str(json, STR(",\"commands\":["));
    (void)!command_log_each_recent(app->spool, RECENT_COMMANDS, write_command, &writer, NULL);
    buf_append_char(json, ']');
    write_host(&writer);
    buf_append_char(json, '}');
}
