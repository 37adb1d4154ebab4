/* belay sandbox logs and watch: what programs in it wrote, and what happens to it. */
#include "cmd/cli/cells.h"
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/follow.h"
#include "common/rpc/client.h"

/* ---- lines ---- */

typedef Openshell__V1__SandboxLogLine line_type;

static void put_ms(int64_t ms, struct buf *out)
{
    char text[TIME_TEXT_BYTES];
    bool is_time = ms >= 0 && ms <= WALL_US_MAX / US_PER_MS;
    struct wall_us time = { is_time ? ms * US_PER_MS : 0 };
    buf_append_str(out, str_of(time_format(time, text)));
}

static enum text_style write_time(const struct view_cell *cell, struct buf *out)
{
    put_ms(((const line_type *)cell->item)->timestamp_ms, out);
    return TEXT_DIM;
}

CELL_TEXT(write_level, line_type, level)
CELL_TEXT(write_source, line_type, source)
CELL_TEXT(write_target, line_type, target)
CELL_TEXT(write_message, line_type, message)

static void name_of_line(const void *item, struct buf *out)
{
    buf_append_str(out, str_of(((const line_type *)item)->message));
}

static const struct view_column LINE_COLUMNS[] = {
    { { .title = "TIME", .keep = 20, .min_width = 24 }, 0, write_time },
    { { .title = "LEVEL", .min_width = 5 }, 0, write_level },
    { { .title = "SOURCE", .min_width = 7 }, 0, write_source },
    { { .title = "TARGET", .min_width = 6 }, 0, write_target },
    { { .title = "MESSAGE", .keep = 20 }, 0, write_message },
};
static const struct view VIEW_LINES = VIEW(LINE_COLUMNS, name_of_line);

/* ---- logs ---- */

static const char *const SOURCE_CHOICES[] = { "sandbox", "gateway", NULL };

/* Lines as they are, unless a table or a structured form was asked for. */
static enum err_code put_line(struct cli *cli, void *context, const line_type *line)
{
    if (args_flag(cli->args, "main") && !follow_is_of_main(line)) {
        return ERR_OK;
    }
    if (context != NULL) {
        return output_live_row(context, &line->base);
    }
    if (args_flag(cli->args, "timestamps")) {
        AUTO_BUF struct buf time = BUF_INIT(TIME_TEXT_BYTES + 1);
        put_ms(line->timestamp_ms, &time);
        buf_append_char(&time, ' ');
        FILE *file = follow_is_error(line) ? cli->io->err : cli->io->out;
        (void)fwrite(buf_text(&time), 1, time.len, file);
    }
    return follow_put_line(cli, NULL, line);
}

/* What programs wrote, unless something else is asked for: their output is not to be mixed up. */
static size_t fill_sources(struct cli *cli, char ***ret_sources)
{
    size_t count = args_count(cli->args, "source");
    *ret_sources = arena_alloc(cli->arena, (count + 1) * sizeof(char *));
    (*ret_sources)[0] = cli_text(cli, SOURCE_CHOICES[0]);
    for (size_t i = 0; i < count; i++) {
        (*ret_sources)[i] = cli_text(cli, args_item(cli->args, "source", i));
    }
    return count == 0 ? 1 : count;
}

static int64_t since_ms(struct cli *cli)
{
    struct wall_us time = { 0 };
    return args_time(cli->args, "since", cli_now(cli), &time) ? time.value / US_PER_MS : 0;
}

static enum err_code follow_log(
    struct cli *cli, const Openshell__V1__Sandbox *sandbox, struct output_live *live)
{
    Openshell__V1__WatchSandboxRequest request = OPENSHELL__V1__WATCH_SANDBOX_REQUEST__INIT;
    AUTO_FOLLOW struct follow *follow = follow_create(cli);
    Openshell__V1__Sandbox *last = NULL;
    request.log_tail_lines = (uint32_t)args_number(cli->args, "tail");
    request.log_since_ms = since_ms(cli);
    request.n_log_sources = fill_sources(cli, &request.log_sources);
    request.log_min_level = cli_text(cli, args_text(cli->args, "level"));
    const struct follow_wish wish = {
        .sandbox = sandbox,
        .until = follow_has_ended,
        .line = put_line,
        .context = live,
        .log = &request,
    };
    enum err_code code = follow_run(follow, &wish, &last);
    if (follow_signal(follow) != 0) {
        cli->signal = follow_signal(follow);
        return ERR_OK;
    }
    return code == ERR_TIMEOUT ? ERR_OK : code;
}

static void keep_main(Openshell__V1__GetSandboxLogsResponse *reply)
{
    size_t kept = 0;
    for (size_t i = 0; i < reply->n_logs; i++) {
        if (follow_is_of_main(reply->logs[i])) {
            reply->logs[kept++] = reply->logs[i];
        }
    }
    reply->n_logs = kept;
}

static enum err_code logs(struct cli *cli)
{
    Openshell__V1__GetSandboxLogsRequest request = OPENSHELL__V1__GET_SANDBOX_LOGS_REQUEST__INIT;
    Openshell__V1__GetSandboxLogsResponse *reply = NULL;
    Openshell__V1__Sandbox *sandbox = NULL;
    bool is_shaped = output_is_structured(cli) || cli->output.format == OUTPUT_WIDE;
    TRY(sandbox_find(cli, args_word(cli->args, 0), &sandbox));
    if (args_flag(cli->args, "follow")) {
        AUTO_OUTPUT_LIVE struct output_live *live =
            is_shaped ? output_live_create(cli, &VIEW_LINES) : NULL;
        return follow_log(cli, sandbox, live);
    }
    request.workspace = connection_workspace(cli);
    request.sandbox_id = sandbox->metadata->id;
    request.lines = (uint32_t)args_number(cli->args, "tail");
    request.since_ms = since_ms(cli);
    request.n_sources = fill_sources(cli, &request.sources);
    request.min_level = cli_text(cli, args_text(cli->args, "level"));
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "GetSandboxLogs",
        &request.base,
        &openshell__v1__get_sandbox_logs_response__descriptor,
        &reply));
    if (args_flag(cli->args, "main")) {
        keep_main(reply);
    }
    if (is_shaped) {
        return output_list(cli, &VIEW_LINES, &reply->base, reply->logs, reply->n_logs);
    }
    for (size_t i = 0; i < reply->n_logs; i++) {
        TRY(put_line(cli, NULL, reply->logs[i]));
    }
    return ERR_OK;
}

/* ---- watch ---- */

typedef Openshell__V1__SandboxStreamEvent event_type;

static enum text_style write_event_time(const struct view_cell *cell, struct buf *out)
{
    const event_type *event = cell->item;
    int64_t ms = cell->now.value / US_PER_MS;
    if (event->payload_case == OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_LOG) {
        ms = event->log->timestamp_ms;
    } else if (event->payload_case == OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_EVENT) {
        ms = event->event->timestamp_ms;
    }
    put_ms(ms, out);
    return TEXT_DIM;
}

static enum text_style write_event_kind(const struct view_cell *cell, struct buf *out)
{
    const event_type *event = cell->item;
    switch (event->payload_case) {
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_SANDBOX:
        buf_append_str(out, STR("phase"));
        return TEXT_BOLD;
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_LOG:
        return cells_text(event->log->target, out);
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_EVENT:
        (void)cells_text(event->event->reason, out);
        return strcmp(event->event->type, "Warning") == 0 ? TEXT_WARN : TEXT_PLAIN;
    default:
        buf_append_str(out, STR("warning"));
        return TEXT_WARN;
    }
}

static enum text_style write_event_text(const struct view_cell *cell, struct buf *out)
{
    const event_type *event = cell->item;
    int code = 0;
    switch (event->payload_case) {
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_SANDBOX:
        buf_append_str(out, str_of(sandbox_phase_word(cell->cli, event->sandbox)));
        if (sandbox_has_exited(event->sandbox, &code)) {
            buf_printf(out, ", exit status %d", code);
        }
        if (sandbox_reason(event->sandbox)[0] != 0) {
            buf_printf(out, ": %s", sandbox_reason(event->sandbox));
        }
        return TEXT_PLAIN;
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_LOG:
        return cells_text(event->log->message, out);
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_EVENT:
        return cells_text(event->event->message, out);
    case OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_WARNING:
        return cells_text(event->warning->message, out);
    default:
        return TEXT_PLAIN;
    }
}

static void name_of_event(const void *item, struct buf *out)
{
    const event_type *event = item;
    if (event->payload_case == OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_SANDBOX) {
        buf_append_str(out, str_of(event->sandbox->metadata->name));
    }
}

static const struct view_column EVENT_COLUMNS[] = {
    { { .title = "TIME", .keep = 20, .min_width = 24 }, 0, write_event_time },
    { { .title = "KIND", .min_width = 16 }, 0, write_event_kind },
    { { .title = "TEXT", .keep = 20 }, 0, write_event_text },
};
static const struct view VIEW_EVENTS = VIEW(EVENT_COLUMNS, name_of_event);

static enum err_code show_event(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done)
{
    const event_type *event = (const event_type *)(const void *)message;
    Openshell__V1__Sandbox *whole = NULL;
    *ret_done = false;
    if (event->payload_case == OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_SANDBOX) {
        TRY(sandbox_take(cli, event->sandbox, &whole));
    }
    return output_live_row(context, message);
}

static enum err_code watch(struct cli *cli)
{
    Openshell__V1__WatchSandboxRequest request = OPENSHELL__V1__WATCH_SANDBOX_REQUEST__INIT;
    struct rpc_client_stream *stream = NULL;
    Openshell__V1__Sandbox *sandbox = NULL;
    char *programs = cli_text(cli, SOURCE_CHOICES[0]);
    TRY(sandbox_find(cli, args_word(cli->args, 0), &sandbox));
    request.id = sandbox->metadata->id;
    request.follow_status = true;
    request.follow_events = true;
    request.follow_logs = args_flag(cli->args, "logs");
    request.event_tail = (uint32_t)args_number(cli->args, "tail");
    request.log_tail_lines = request.event_tail;
    request.log_sources = &programs; /* what else there is, is among the events */
    request.n_log_sources = 1;
    TRY(connection_stream(
        cli,
        CONNECTION_OPENSHELL "WatchSandbox",
        &request.base,
        &openshell__v1__sandbox_stream_event__descriptor,
        &stream));
    AUTO_OUTPUT_LIVE struct output_live *live = output_live_create(cli, &VIEW_EVENTS);
    enum err_code code = connection_watch(cli, stream, true, show_event, live);
    rpc_client_stream_release(stream);
    return code;
}

/* ---- table ---- */

static const char *const LEVEL_CHOICES[] = { "trace", "debug", "info", "warn", "error", NULL };
static const struct cli_argument ARGUMENTS[] = { ARGUMENT_SANDBOX };
static const struct cli_option LOGS_OPTIONS[] = {
    { .name = "follow",
      .letter = 'f',
      .type = CLI_FLAG,
      .help = "Go on with new lines until its main program has ended" },
    { .name = "tail",
      .letter = 'n',
      .type = CLI_INT,
      .argument = "N",
      .fallback = "2000",
      .min = 1,
      .max = 10000,
      .help = "The last N lines; with --follow at most 2000" },
    { .name = "since",
      .type = CLI_TIME,
      .argument = "TIME",
      .help = "From this time on: 1h, 2026-11-22T04:00:00Z" },
    { .name = "level",
      .type = CLI_CHOICE,
      .argument = "LEVEL",
      .choices = LEVEL_CHOICES,
      .help = "Only this severe or more" },
    { .name = "source",
      .type = CLI_CHOICE,
      .flags = CLI_REPEAT,
      .argument = "SOURCE",
      .choices = SOURCE_CHOICES,
      .help =
          "Lines of its programs (the default), or what became of it: phases, orders, denials" },
    { .name = "main",
      .type = CLI_FLAG,
      .help = "Only what its main program wrote; --tail counts the other lines too" },
    { .name = "timestamps", .type = CLI_FLAG, .help = "The time before each line" },
};
static const struct cli_example LOGS_EXAMPLES[] = {
    { "belay sandbox logs -f web", "What it writes, as it comes" },
    { "belay sandbox logs web --source gateway",
      "Where it was placed, what it was ordered and denied" },
    { "belay sandbox logs web --since 10m --level error -o json", "For a script" },
};
const struct cli_command CMD_SANDBOX_LOGS = {
    .name = "logs",
    .summary = "Show what its main program wrote, and programs run by exec",
    .description =
        "Lines go to standard output and standard error as the program wrote them, those of a program "
        "run by exec without a terminal after [PROGRAM], those of the source gateway after [gateway]. "
        "What a terminal would act on is escaped when output is a terminal; -o wide adds time, level, "
        "source and target.",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, LOGS_OPTIONS),
    CLI_LIST(example, LOGS_EXAMPLES),
    .run = logs,
};

static const struct cli_option WATCH_OPTIONS[] = {
    { .name = "logs", .type = CLI_FLAG, .help = "Its log lines too" },
    { .name = "tail",
      .type = CLI_INT,
      .argument = "N",
      .fallback = "10",
      .min = 0,
      .max = 500,
      .help = "Show the last N events first" },
};
const struct cli_command CMD_SANDBOX_WATCH = {
    .name = "watch",
    .summary = "Show its phase and each change and event, until it is gone",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, WATCH_OPTIONS),
    .run = watch,
};
