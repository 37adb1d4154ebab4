/* belay command send: one kind of command per row, each with the options it takes. */
#include "cmd/cli/commands/cmd_command_view.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "common/base/id.h"

/* ---- kinds ---- */

static enum err_code fill_telemetry_now(struct cli *cli, Agentgateway__V1__AgentCommand *command)
{
    command->command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_TELEMETRY_NOW;
    command->telemetry_now = cli_message(cli, &agentgateway__v1__telemetry_now__descriptor);
    return ERR_OK;
}

static enum err_code fill_set_config(struct cli *cli, Agentgateway__V1__AgentCommand *command)
{
    Agentgateway__V1__SetConfig *config =
        cli_message(cli, &agentgateway__v1__set_config__descriptor);
    config->sample_interval_ms = (uint32_t)(args_number(cli->args, "sample-interval") / US_PER_MS);
    config->spool_max_bytes = (uint64_t)args_number(cli->args, "spool-max");
    config->spool_max_age_s = (uint32_t)(args_number(cli->args, "spool-max-age") / US_PER_SECOND);
    config->upload_batch_bytes = (uint32_t)args_number(cli->args, "upload-batch");
    if (config->sample_interval_ms == 0 && config->spool_max_bytes == 0
        && config->spool_max_age_s == 0 && config->upload_batch_bytes == 0) {
        return cli_usage(
            cli,
            "set-config needs something to set: --sample-interval, --spool-max, --spool-max-age or "
            "--upload-batch");
    }
    command->command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SET_CONFIG;
    command->set_config = config;
    return ERR_OK;
}

static enum err_code fill_drain(struct cli *cli, Agentgateway__V1__AgentCommand *command)
{
    command->command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_DRAIN;
    command->drain = cli_message(cli, &agentgateway__v1__drain__descriptor);
    command->drain->reconnect_after_ms =
        (uint32_t)(args_number(cli->args, "reconnect-after") / US_PER_MS);
    return ERR_OK;
}

static enum err_code fill_device(struct cli *cli, Agentgateway__V1__AgentCommand *command)
{
    Agentgateway__V1__DeviceCommand *device =
        cli_message(cli, &agentgateway__v1__device_command__descriptor);
    if (args_text(cli->args, "action") == NULL) {
        return cli_usage(cli, "device needs --action (identify, reboot, ...)");
    }
    device->action = cli_text(cli, args_text(cli->args, "action"));
    device->device = cli_text(cli, args_text(cli->args, "device"));
    TRY(cli_option_pairs(
        cli,
        "param",
        &agentgateway__v1__device_command__parameters_entry__descriptor,
        &device->n_parameters,
        &device->parameters));
    command->command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_DEVICE_COMMAND;
    command->device_command = device;
    return ERR_OK;
}

struct kind {
    const char *name;
    enum err_code (*fill)(struct cli *cli, Agentgateway__V1__AgentCommand *command);
    const char *options[5]; /* of its own, NULL-terminated */
};

static const struct kind KINDS[] = {
    { "telemetry-now", fill_telemetry_now, { NULL } },
    { "set-config",
      fill_set_config,
      { "sample-interval", "spool-max", "spool-max-age", "upload-batch", NULL } },
    { "drain", fill_drain, { "reconnect-after", NULL } },
    { "device", fill_device, { "action", "device", "param", NULL } },
};

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(KINDS); i++) {
        if (strcmp(KINDS[i].name, name) == 0) {
            return &KINDS[i];
        }
    }
    return NULL;
}

/* An option of another kind would be silently ignored: it is refused instead. */
static enum err_code check_options(struct cli *cli, const struct kind *kind)
{
    for (size_t i = 0; i < ARRAY_LENGTH(KINDS); i++) {
        for (const char *const *option = KINDS[i].options; *option != NULL; option++) {
            if (&KINDS[i] != kind && args_is_set(cli->args, *option)) {
                return cli_usage(
                    cli, "--%s belongs to %s, not to %s", *option, KINDS[i].name, kind->name);
            }
        }
    }
    return ERR_OK;
}

/* ---- sending ---- */

/*
 * Every call carries an idempotency key, so that one whose answer was lost can be sent again: the
 * server then answers with the command it already has.
 */
static char *idempotency_key(struct cli *cli)
{
    char made[ID_TEXT_BYTES];
    const char *given = args_text(cli->args, "idempotency-key");
    return cli_text(cli, given != NULL ? given : id_create("cli", cli_now(cli), made));
}

static enum err_code send(struct cli *cli)
{
    Agentgateway__V1__SendCommandRequest request = AGENTGATEWAY__V1__SEND_COMMAND_REQUEST__INIT;
    Agentgateway__V1__AgentCommand command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__Command *reply = NULL;
    const struct kind *kind = kind_of(args_word(cli->args, 1));
    if (kind == NULL) {
        return cli_usage(cli, "KIND: \"%s\" is unknown", args_word(cli->args, 1));
    }
    TRY(check_options(cli, kind));
    TRY(kind->fill(cli, &command));
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_word(cli->args, 0));
    request.command = &command;
    request.ttl_seconds = (uint32_t)(args_number(cli->args, "ttl") / US_PER_SECOND);
    request.idempotency_key = idempotency_key(cli);
    enum err_code code = connection_call(
        cli, "SendCommand", &request.base, &agentgateway__v1__command__descriptor, &reply);
    if (code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_UNCERTAIN) {
        output_note(
            cli,
            "To send it again without doing it twice: --idempotency-key %s",
            request.idempotency_key);
    }
    TRY(code);
    return cmd_command_finish(cli, reply, args_flag(cli->args, "wait"));
}

/* ---- table ---- */

static const char *const KIND_CHOICES[] = {
    "telemetry-now", "set-config", "drain", "device", NULL
};
static const struct cli_argument ARGUMENTS[] = {
    ARGUMENT_AGENT,
    { .name = "KIND",
      .choices = KIND_CHOICES,
      .help = "telemetry-now (sample everything), set-config, drain (reconnect), device (an action "
              "of a device)" },
};
static const struct cli_option OPTIONS[] = {
    { .name = "ttl",
      .type = CLI_DURATION,
      .argument = "TIME",
      .fallback = "5m",
      .min = US_PER_SECOND,
      .max = 7 * US_PER_DAY,
      .help = "How long the command waits for an agent that is offline" },
    { .name = "wait",
      .type = CLI_FLAG,
      .help = "Wait for the agent's answer; at most --timeout, when that is given" },
    { .name = "idempotency-key",
      .type = CLI_TEXT,
      .argument = "KEY",
      .min = 1,
      .max = 128,
      .help = "The same key gives the same command again instead of a second one" },
    { .name = "action",
      .type = CLI_TEXT,
      .argument = "ACTION",
      .help = "device: what to do (identify, reboot)" },
    { .name = "device",
      .type = CLI_TEXT,
      .argument = "NAME",
      .help = "device: which one; the agent's host without it" },
    { .name = "param",
      .type = CLI_PAIR,
      .flags = CLI_REPEAT,
      .argument = "KEY=VALUE",
      .help = "device: parameter of the action" },
    { .name = "sample-interval",
      .type = CLI_DURATION,
      .argument = "TIME",
      .min = 250 * US_PER_MS,
      .max = US_PER_DAY,
      .help = "set-config: time between samples" },
    { .name = "spool-max",
      .type = CLI_SIZE,
      .argument = "SIZE",
      .min = 1,
      .max = INT64_MAX,
      .help = "set-config: bytes the spool may take" },
    { .name = "spool-max-age",
      .type = CLI_DURATION,
      .argument = "TIME",
      .min = US_PER_SECOND,
      .max = INT64_C(3650) * US_PER_DAY,
      .help = "set-config: how long the spool keeps what it cannot deliver" },
    { .name = "upload-batch",
      .type = CLI_SIZE,
      .argument = "SIZE",
      .min = 1,
      .max = 1048576,
      .help = "set-config: bytes per upload" },
    { .name = "reconnect-after",
      .type = CLI_DURATION,
      .argument = "TIME",
      .min = US_PER_MS,
      .max = US_PER_HOUR,
      .help = "drain: when the agent comes back" },
};
static const struct cli_example EXAMPLES[] = {
    { "belay command send node-7 telemetry-now --wait", "Sample now and show the figures" },
    { "belay command send node-7 set-config --sample-interval 2s", "Sample more often" },
    { "belay command send node-7 device --action identify --wait", "Ask the host to show itself" },
    { "belay command send node-7 drain --reconnect-after 30s",
      "Close its stream for half a minute" },
};
const struct cli_command CMD_COMMAND_SEND = {
    .name = "send",
    .summary = "Send a command to an agent",
    .description =
        "The server keeps the command until the agent has answered or the time to live is "
        "over; an agent that is offline gets it when it comes back.",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, EXAMPLES),
    .run = send,
};
