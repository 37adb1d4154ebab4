/* belay command: what was asked of agents, and what became of it. Sending is in cmd_command_send.c.
 */
#include "cmd/cli/commands/cmd_command_view.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListCommandsRequest request = AGENTGATEWAY__V1__LIST_COMMANDS_REQUEST__INIT;
    Agentgateway__V1__ListCommandsResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.state = (Agentgateway__V1__CommandState)cli_enum_value(
        &agentgateway__v1__command_state__descriptor, args_text(cli->args, "state"));
    TRY(connection_list(
        cli,
        "ListCommands",
        &request.base,
        &agentgateway__v1__list_commands_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_COMMANDS, &reply->base, reply->commands, reply->n_commands);
}

static enum err_code get(struct cli *cli)
{
    Agentgateway__V1__GetCommandRequest request = AGENTGATEWAY__V1__GET_COMMAND_REQUEST__INIT;
    Agentgateway__V1__Command *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.id = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "GetCommand", &request.base, &agentgateway__v1__command__descriptor, &reply));
    return cmd_command_show(cli, reply);
}

static enum err_code watch(struct cli *cli)
{
    Agentgateway__V1__Command *last = NULL;
    AUTO_OUTPUT_LIVE struct output_live *live = output_live_create(cli, &VIEW_COMMANDS);
    return cmd_command_follow(cli, args_word(cli->args, 0), live, &last);
}

static enum err_code cancel(struct cli *cli)
{
    Agentgateway__V1__CancelCommandRequest request = AGENTGATEWAY__V1__CANCEL_COMMAND_REQUEST__INIT;
    Agentgateway__V1__Command *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.id = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "CancelCommand", &request.base, &agentgateway__v1__command__descriptor, &reply));
    return output_row(cli, &VIEW_COMMANDS, &reply->base);
}

static const char *const STATE_CHOICES[] = { "queued",  "sent",      "succeeded", "failed",
                                             "expired", "cancelled", NULL };
static const struct cli_option LIST_OPTIONS[] = {
    OPTION_AGENT,
    { .name = "state",
      .type = CLI_CHOICE,
      .argument = "STATE",
      .choices = STATE_CHOICES,
      .help = "Only those in this state" },
    OPTION_LIMIT("100"),
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List commands, newest first",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};
static const struct cli_argument ID_ARGUMENTS[] = {
    { .name = "ID", .complete = CLI_COMPLETE_COMMAND_ID, .help = "Id of a command (cmd_...)" },
};
static const struct cli_command GET = {
    .name = "get",
    .summary = "Show one command and its answer",
    CLI_LIST(argument, ID_ARGUMENTS),
    .run = get,
};
static const struct cli_command WATCH = {
    .name = "watch",
    .summary = "Show each change of a command until it has finished",
    CLI_LIST(argument, ID_ARGUMENTS),
    .run = watch,
};
static const struct cli_command CANCEL = {
    .name = "cancel",
    .summary = "Take a command back that was not sent yet",
    CLI_LIST(argument, ID_ARGUMENTS),
    .run = cancel,
};
static const struct cli_command *const COMMANDS[] = {
    &CMD_COMMAND_SEND, &LIST, &GET, &WATCH, &CANCEL
};
const struct cli_command CMD_COMMAND = {
    .name = "command",
    .alias = "cmd",
    .summary = "Ask agents to do something",
    CLI_LIST(command, COMMANDS),
};
