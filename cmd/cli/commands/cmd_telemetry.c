/* belay telemetry: figures as lists and rows. Plots are in cmd_telemetry_plot.c. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/cmd_telemetry_query.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "cmd/cli/term/plot.h"
#include "common/rpc/client.h"

/* ---- list ---- */

static enum text_style write_last(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Metric *metric = cell->item;
    plot_format_value(metric->last_value, metric->unit, out);
    return TEXT_PLAIN;
}

CELL_TEXT(write_metric, Agentgateway__V1__Metric, metric)
CELL_TEXT(write_agent, Agentgateway__V1__Metric, agent_name)
CELL_TEXT(write_device, Agentgateway__V1__Metric, device)
CELL_TEXT(write_instance, Agentgateway__V1__Metric, instance)
CELL_TEXT(write_unit, Agentgateway__V1__Metric, unit)
CELL_AGE(write_time, Agentgateway__V1__Metric, last_time)
CELL_NAME(metric_name, Agentgateway__V1__Metric, metric)

static const struct view_column METRIC_COLUMNS[] = {
    { { .title = "METRIC", .keep = 16 }, 0, write_metric },
    { { .title = "AGENT" }, 0, write_agent },
    { { .title = "DEVICE" }, 0, write_device },
    { { .title = "INSTANCE" }, 0, write_instance },
    { { .title = "LAST", .right = true }, 0, write_last },
    { { .title = "AGE", .right = true, .keep = 4 }, 0, write_time },
    { { .title = "UNIT" }, VIEW_WIDE, write_unit },
};
static const struct view VIEW_METRICS = VIEW(METRIC_COLUMNS, metric_name);

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListMetricsRequest request = AGENTGATEWAY__V1__LIST_METRICS_REQUEST__INIT;
    Agentgateway__V1__ListMetricsResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.metric_prefix = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_list(
        cli,
        "ListMetrics",
        &request.base,
        &agentgateway__v1__list_metrics_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_METRICS, &reply->base, reply->metrics, reply->n_metrics);
}

/* ---- query ---- */

/* One row of the table: a value with the series it belongs to. */
struct sample {
    const Agentgateway__V1__TelemetrySeriesData *series;
    const Agentgateway__V1__TelemetryRow *row;
};

static enum text_style write_sample_time(const struct view_cell *cell, struct buf *out)
{
    return cells_time(cell, ((const struct sample *)cell->item)->row->time, out);
}

static enum text_style write_sample_value(const struct view_cell *cell, struct buf *out)
{
    const struct sample *sample = cell->item;
    plot_format_value(sample->row->value, sample->series->unit, out);
    return TEXT_PLAIN;
}

static enum text_style write_sample_raw(const struct view_cell *cell, struct buf *out)
{
    buf_printf(out, "%.17g", ((const struct sample *)cell->item)->row->value);
    return TEXT_PLAIN;
}

static void sample_name(const void *item, struct buf *out)
{
    buf_printf(out, "%.17g", ((const struct sample *)item)->row->value);
}

CELL_TEXT(write_sample_agent, struct sample, series->agent_name)
CELL_TEXT(write_sample_device, struct sample, series->device)
CELL_TEXT(write_sample_instance, struct sample, series->instance)

static const struct view_column SAMPLE_COLUMNS[] = {
    { { .title = "TIME", .keep = 20 }, 0, write_sample_time },
    { { .title = "AGENT" }, 0, write_sample_agent },
    { { .title = "DEVICE" }, 0, write_sample_device },
    { { .title = "INSTANCE" }, 0, write_sample_instance },
    { { .title = "VALUE", .right = true }, 0, write_sample_value },
    { { .title = "RAW", .right = true }, VIEW_WIDE, write_sample_raw },
};
static const struct view VIEW_SAMPLES = VIEW(SAMPLE_COLUMNS, sample_name);

static size_t count_rows(const Agentgateway__V1__QueryTelemetryResponse *reply)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->n_series; i++) {
        count += reply->series[i]->n_rows;
    }
    return count;
}

static enum err_code query(struct cli *cli)
{
    Agentgateway__V1__QueryTelemetryResponse *reply = NULL;
    TRY(cmd_telemetry_query(cli, 0, &reply));
    size_t count = count_rows(reply);
    struct sample *samples = arena_alloc(cli->arena, (count + 1) * sizeof(*samples));
    const void **items = arena_alloc(cli->arena, (count + 1) * sizeof(*items));
    if (samples == NULL || items == NULL) {
        return ERR_SET(&cli->err, ERR_LIMIT, "too many samples; use --step or a shorter --since");
    }
    size_t at = 0;
    for (size_t i = 0; i < reply->n_series; i++) {
        for (size_t r = 0; r < reply->series[i]->n_rows; r++) {
            samples[at] = (struct sample){ reply->series[i], reply->series[i]->rows[r] };
            items[at] = &samples[at];
            at++;
        }
    }
    if (count == 0 && !output_is_structured(cli)) {
        output_note(cli, "No samples in this range. What there is: belay telemetry list");
    }
    return output_list(cli, &VIEW_SAMPLES, &reply->base, items, count);
}

/* ---- watch ---- */

static enum text_style write_point_value(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__TelemetryPoint *point = cell->item;
    plot_format_value(point->value, point->unit, out);
    return TEXT_PLAIN;
}

static void point_name(const void *item, struct buf *out)
{
    buf_printf(out, "%.17g", ((const Agentgateway__V1__TelemetryPoint *)item)->value);
}

CELL_TIME(write_point_time, Agentgateway__V1__TelemetryPoint, time)
CELL_TEXT(write_point_agent, Agentgateway__V1__TelemetryPoint, agent_name)
CELL_TEXT(write_point_metric, Agentgateway__V1__TelemetryPoint, metric)
CELL_TEXT(write_point_device, Agentgateway__V1__TelemetryPoint, device)
CELL_TEXT(write_point_instance, Agentgateway__V1__TelemetryPoint, instance)

static const struct view_column POINT_COLUMNS[] = {
    { { .title = "TIME", .keep = 20, .min_width = 24 }, 0, write_point_time },
    { { .title = "AGENT", .min_width = 16 }, 0, write_point_agent },
    { { .title = "METRIC", .min_width = 20 }, 0, write_point_metric },
    { { .title = "DEVICE" }, VIEW_WIDE, write_point_device },
    { { .title = "INSTANCE", .min_width = 10 }, 0, write_point_instance },
    { { .title = "VALUE", .right = true, .min_width = 10 }, 0, write_point_value },
};
static const struct view VIEW_POINTS = VIEW(POINT_COLUMNS, point_name);

static enum err_code show_point(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done)
{
    (void)cli;
    *ret_done = false;
    return output_live_row(context, message);
}

static enum err_code watch(struct cli *cli)
{
    struct rpc_client_stream *stream = NULL;
    TRY(cmd_telemetry_watch(cli, &stream));
    AUTO_OUTPUT_LIVE struct output_live *live = output_live_create(cli, &VIEW_POINTS);
    enum err_code code = connection_watch(cli, stream, false, show_point, live);
    rpc_client_stream_release(stream);
    return code;
}

/* ---- table ---- */

static const struct cli_argument PREFIX_ARGUMENTS[] = {
    { .name = "PREFIX",
      .flags = CLI_OPTIONAL,
      .complete = CLI_COMPLETE_METRIC,
      .help = "Only metrics that start so (\"host.cpu.\")" },
};
static const struct cli_option LIST_OPTIONS[] = { OPTION_AGENT, OPTION_LIMIT("0") };
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List metrics with their last value",
    CLI_LIST(argument, PREFIX_ARGUMENTS),
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};

static const struct cli_argument METRIC_ARGUMENTS[] = { ARGUMENT_METRIC };
static const struct cli_option QUERY_OPTIONS[] = {
    OPTIONS_SERIES,
    OPTION_SINCE("1h"),
    OPTION_UNTIL,
    OPTION_STEP("raw samples"),
    OPTION_AGGREGATE,
    { .name = "max-points",
      .type = CLI_INT,
      .argument = "N",
      .min = 1,
      .max = 100000,
      .help = "Fail rather than return more" },
};
static const struct cli_example QUERY_EXAMPLES[] = {
    { "belay telemetry query host.cpu.busy --agent node-7 --since 1h --step 1m",
      "An hour by the minute" },
    { "belay telemetry query host.temperature --aggregate max --step 1h --since 7d -o json",
      "For a script" },
};
static const struct cli_command QUERY = {
    .name = "query",
    .summary = "Show the values of a metric over time",
    CLI_LIST(argument, METRIC_ARGUMENTS),
    CLI_LIST(option, QUERY_OPTIONS),
    CLI_LIST(example, QUERY_EXAMPLES),
    .run = query,
};

static const struct cli_argument WATCH_ARGUMENTS[] = {
    { .name = "METRIC",
      .complete = CLI_COMPLETE_METRIC,
      .help = "Name of a metric, or a prefix that ends in a dot (\"host.\")" },
};
static const struct cli_option WATCH_OPTIONS[] = { OPTIONS_SERIES };
static const struct cli_command WATCH = {
    .name = "watch",
    .summary = "Show values as they come",
    CLI_LIST(argument, WATCH_ARGUMENTS),
    CLI_LIST(option, WATCH_OPTIONS),
    .run = watch,
};

static const struct cli_command *const COMMANDS[] = { &LIST, &QUERY, &CMD_TELEMETRY_PLOT, &WATCH };
const struct cli_command CMD_TELEMETRY = {
    .name = "telemetry",
    .alias = "tm",
    .summary = "Figures of agents and devices: list, query, plot, watch",
    CLI_LIST(command, COMMANDS),
};
