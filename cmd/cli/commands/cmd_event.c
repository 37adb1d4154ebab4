/* belay event: what agents reported. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "common/rpc/client.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

static enum text_style write_severity(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Event *event = cell->item;
    (void)cells_text(
        cli_enum_word(cell->cli, &agentgateway__v1__severity__descriptor, (int)event->severity),
        out);
    bool error = event->severity == AGENTGATEWAY__V1__SEVERITY__SEVERITY_ERROR;
    bool warning = event->severity == AGENTGATEWAY__V1__SEVERITY__SEVERITY_WARNING;
    return error ? TEXT_BAD : warning ? TEXT_WARN : TEXT_PLAIN;
}

CELL_TIME(write_time, Agentgateway__V1__Event, time)
CELL_TEXT(write_agent, Agentgateway__V1__Event, agent_name)
CELL_TEXT(write_kind, Agentgateway__V1__Event, kind)
CELL_TEXT(write_device, Agentgateway__V1__Event, device)
CELL_TEXT(write_text, Agentgateway__V1__Event, text)
CELL_PAIRS(write_attributes, Agentgateway__V1__Event, attributes)
CELL_TIME(write_received, Agentgateway__V1__Event, received_at)

static void name_of(const void *item, struct buf *out)
{
    buf_printf(out, "%lld", (long long)((const Agentgateway__V1__Event *)item)->id);
}

static const struct view_column COLUMNS[] = {
    { { .title = "TIME", .keep = 20, .min_width = 24 }, 0, write_time },
    { { .title = "SEVERITY", .min_width = 8 }, 0, write_severity },
    { { .title = "AGENT", .min_width = 16 }, 0, write_agent },
    { { .title = "DEVICE" }, VIEW_WIDE, write_device },
    { { .title = "KIND", .min_width = 20 }, 0, write_kind },
    { { .title = "RECEIVED" }, VIEW_WIDE, write_received },
    { { .title = "TEXT", .keep = 20 }, 0, write_text },
    { { .title = "ATTRIBUTES" }, VIEW_WIDE, write_attributes },
};
static const struct view VIEW_EVENTS = VIEW(COLUMNS, name_of);

static Agentgateway__V1__Severity severity_of(struct cli *cli)
{
    return (Agentgateway__V1__Severity)cli_enum_value(
        &agentgateway__v1__severity__descriptor, args_text(cli->args, "severity"));
}

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListEventsRequest request = AGENTGATEWAY__V1__LIST_EVENTS_REQUEST__INIT;
    Agentgateway__V1__ListEventsResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.min_severity = severity_of(cli);
    request.kind_prefix = cli_text(cli, args_text(cli->args, "kind"));
    request.start = cli_timestamp(cli, "since");
    request.end = cli_timestamp(cli, "until");
    TRY(connection_list(
        cli,
        "ListEvents",
        &request.base,
        &agentgateway__v1__list_events_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_EVENTS, &reply->base, reply->events, reply->n_events);
}

static enum err_code show_event(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done)
{
    (void)cli;
    *ret_done = false;
    return output_live_row(context, message);
}

static enum err_code watch(struct cli *cli)
{
    Agentgateway__V1__WatchEventsRequest request = AGENTGATEWAY__V1__WATCH_EVENTS_REQUEST__INIT;
    struct rpc_client_stream *stream = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.min_severity = severity_of(cli);
    request.kind_prefix = cli_text(cli, args_text(cli->args, "kind"));
    request.tail = (uint32_t)args_number(cli->args, "tail");
    TRY(connection_stream(
        cli, "WatchEvents", &request.base, &agentgateway__v1__event__descriptor, &stream));
    AUTO_OUTPUT_LIVE struct output_live *live = output_live_create(cli, &VIEW_EVENTS);
    enum err_code code = connection_watch(cli, stream, false, show_event, live);
    rpc_client_stream_release(stream);
    return code;
}

static const char *const SEVERITY_CHOICES[] = { "debug", "info", "warning", "error", NULL };
#define OPTION_SEVERITY                                                                           \
    {                                                                                             \
        .name = "severity", .type = CLI_CHOICE, .argument = "LEVEL", .choices = SEVERITY_CHOICES, \
        .help = "Only this severe or more"                                                        \
    }
#define OPTION_KIND                                             \
    {                                                           \
        .name = "kind", .type = CLI_TEXT, .argument = "PREFIX", \
        .help = "Only kinds that start so (\"spool.\")"         \
    }
static const struct cli_option LIST_OPTIONS[] = {
    OPTION_AGENT,
    OPTION_SEVERITY,
    OPTION_KIND,
    { .name = "since",
      .type = CLI_TIME,
      .argument = "TIME",
      .help = "From this time on: 1h, 2026-11-22T04:00:00Z" },
    { .name = "until", .type = CLI_TIME, .argument = "TIME", .help = "Before this time" },
    OPTION_LIMIT("100"),
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List events, newest first",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};
static const struct cli_option WATCH_OPTIONS[] = {
    OPTION_AGENT, OPTION_SEVERITY, OPTION_KIND, OPTION_TAIL
};
static const struct cli_command WATCH = {
    .name = "watch",
    .summary = "Show events as they come",
    CLI_LIST(option, WATCH_OPTIONS),
    .run = watch,
};
static const struct cli_command *const COMMANDS[] = { &LIST, &WATCH };
const struct cli_command CMD_EVENT = {
    .name = "event",
    .alias = "events",
    .summary = "What the agents reported",
    CLI_LIST(command, COMMANDS),
};
