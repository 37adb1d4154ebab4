#include "cmd/cli/commands/cmd_telemetry_query.h"

#include "cmd/cli/connection.h"

enum err_code cmd_telemetry_query(
    struct cli *cli, uint32_t fallback_step_s, Agentgateway__V1__QueryTelemetryResponse **ret_reply)
{
    Agentgateway__V1__QueryTelemetryRequest request =
        AGENTGATEWAY__V1__QUERY_TELEMETRY_REQUEST__INIT;
    request.workspace = connection_workspace(cli);
    request.metric = cli_text(cli, args_word(cli->args, 0));
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.device = cli_text(cli, args_text(cli->args, "device"));
    request.instance = cli_text(cli, args_text(cli->args, "instance"));
    request.start = cli_timestamp(cli, "since");
    request.end = cli_timestamp(cli, "until");
    request.step_seconds = (uint32_t)(args_number(cli->args, "step") / US_PER_SECOND);
    if (!args_is_set(cli->args, "step")) {
        request.step_seconds = fallback_step_s;
    }
    request.aggregate = (Agentgateway__V1__Aggregate)cli_enum_value(
        &agentgateway__v1__aggregate__descriptor, args_text(cli->args, "aggregate"));
    request.max_points = (uint32_t)args_number(cli->args, "max-points");
    return connection_call(
        cli,
        "QueryTelemetry",
        &request.base,
        &agentgateway__v1__query_telemetry_response__descriptor,
        ret_reply);
}

enum err_code cmd_telemetry_watch(struct cli *cli, struct rpc_client_stream **ret_stream)
{
    Agentgateway__V1__WatchTelemetryRequest request =
        AGENTGATEWAY__V1__WATCH_TELEMETRY_REQUEST__INIT;
    request.workspace = connection_workspace(cli);
    request.metric = cli_text(cli, args_word(cli->args, 0));
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.device = cli_text(cli, args_text(cli->args, "device"));
    request.instance = cli_text(cli, args_text(cli->args, "instance"));
    return connection_stream(
        cli,
        "WatchTelemetry",
        &request.base,
        &agentgateway__v1__telemetry_point__descriptor,
        ret_stream);
}
