/* What the telemetry commands have in common: their options and the two calls. */
#ifndef CMD_CLI_COMMANDS_CMD_TELEMETRY_QUERY_H
#define CMD_CLI_COMMANDS_CMD_TELEMETRY_QUERY_H

#include "cmd/cli/cli.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

struct rpc_client_stream;

/*
 * QueryTelemetry of METRIC (the first word) with the command's options; fallback_step_s stands in
 * for --step where that is not given.
 */
enum err_code cmd_telemetry_query(
    struct cli *cli,
    uint32_t fallback_step_s,
    Agentgateway__V1__QueryTelemetryResponse **ret_reply) MUST_CHECK;

/* WatchTelemetry of METRIC with --agent, --device, --instance. */
enum err_code cmd_telemetry_watch(struct cli *cli, struct rpc_client_stream **ret_stream)
    MUST_CHECK;

#define ARGUMENT_METRIC                                             \
    {                                                               \
        .name = "METRIC", .complete = CLI_COMPLETE_METRIC,          \
        .help = "Name of a metric; belay telemetry list shows them" \
    }
#define OPTIONS_SERIES                                                                             \
    OPTION_AGENT,                                                                                  \
        { .name = "device", .type = CLI_TEXT, .argument = "NAME", .help = "Only of this device" }, \
    {                                                                                              \
        .name = "instance", .type = CLI_TEXT, .argument = "NAME",                                  \
        .help = "Only of this part (sda1, eth0)"                                                   \
    }
#define OPTION_SINCE(default_text)                                                         \
    {                                                                                      \
        .name = "since", .type = CLI_TIME, .argument = "TIME", .fallback = (default_text), \
        .help = "From this time on: 1h before now, 2026-11-22T04:00:00Z"                   \
    }
#define OPTION_UNTIL                                           \
    {                                                          \
        .name = "until", .type = CLI_TIME, .argument = "TIME", \
        .help = "Before this time; now without it"             \
    }
#define OPTION_STEP(without)                                                            \
    {                                                                                   \
        .name = "step", .type = CLI_DURATION, .argument = "TIME", .min = US_PER_SECOND, \
        .max = 365 * US_PER_DAY, .help = "One value per step; without it " without      \
    }
#define OPTION_AGGREGATE                                                                        \
    {                                                                                           \
        .name = "aggregate", .type = CLI_CHOICE, .argument = "HOW", .fallback = "mean",         \
        .choices = (const char *const[]){ "mean", "min", "max", "sum", "count", "last", NULL }, \
        .help = "How the values of a step become one"                                           \
    }

#endif
