#include "cmd/cli/commands/commands.h"

static const char *const FORMAT_CHOICES[] = { "table", "wide", "json", "yaml", "name", NULL };
static const char *const COLOR_CHOICES[] = { "auto", "always", "never", NULL };

static const struct cli_option GLOBALS[] = {
    { .name = "output",
      .letter = 'o',
      .type = CLI_CHOICE,
      .argument = "FORMAT",
      .env = "BELAY_OUTPUT",
      .fallback = "table",
      .choices = FORMAT_CHOICES,
      .help = "What to print" },
    { .name = "no-headers", .type = CLI_FLAG, .help = "Tables without their header line" },
    { .name = "gateway",
      .letter = 'g',
      .type = CLI_TEXT,
      .argument = "NAME",
      .env = "BELAY_GATEWAY",
      .complete = CLI_COMPLETE_GATEWAY,
      .help = "The server to talk to, by the name given to \"belay gateway add\"; \"local\" is the "
              "operator socket of this machine" },
    { .name = "workspace",
      .letter = 'w',
      .type = CLI_TEXT,
      .argument = "NAME",
      .env = "BELAY_WORKSPACE",
      .help = "The workspace to work in; the default is the caller's own" },
    { .name = "timeout",
      .type = CLI_DURATION,
      .argument = "TIME",
      .env = "BELAY_TIMEOUT",
      .fallback = "30s",
      .min = 1000,
      .max = 7 * US_PER_DAY,
      .help =
          "How long a call may take; a watch, and a program that sandbox exec or shell started, ends "
          "after it when it is given" },
    { .name = "verbose",
      .letter = 'v',
      .type = CLI_FLAG,
      .help = "Say on standard error which server is used and why" },
    { .name = "color",
      .type = CLI_CHOICE,
      .argument = "WHEN",
      .fallback = "auto",
      .choices = COLOR_CHOICES,
      .help = "Colored output; auto: on a terminal, unless NO_COLOR is set or TERM is dumb" },
};

static const struct cli_note EXITS[] = {
    { "0", "Done" },
    { "1", "Failed, or the answer is a failure (a command that an agent refused)" },
    { "2", "The named thing does not exist" },
    { "3", "Not allowed, or the server does not know who is calling" },
    { "4", "The server refused the input; the message names the field and its bound" },
    { "5", "Conflict: it exists already, or is not in a state that allows this" },
    { "64", "The command line is wrong" },
    { "69", "The server cannot be reached, or went away" },
    { "75", "Too slow, too busy or over a limit: try again later" },
    { "130", "Interrupted by Ctrl-C" },
    { "other",
      "sandbox create -- CMD, exec and shell end with the program's own status; 124: its time was "
      "over; 128 and more: a signal; 255: the connection was lost while it ran" },
};

static const struct cli_note FILES[] = {
    { "~/.config/belay/gateways.json",
      "The gateways, with their CA certificates and API keys: mode 0600 in a folder of mode 0700; "
      "looser modes are refused. $XDG_CONFIG_HOME/belay when that is set" },
    { "BELAY_SOCKET", "Path of the operator socket; goes before the gateway in use" },
    { "./var/operator.sock, /run/belay/operator.sock",
      "Where the operator socket is looked for when no gateway is in use" },
    { "BELAY_API_KEY", "API key that stands in for the stored one of a gateway" },
    { "NO_COLOR", "When set, no colors" },
};

static const struct cli_example ROOT_EXAMPLES[] = {
    { "belay status", "The server, the caller and the fleet in short" },
    { "belay enroll token --label site=north", "A join string for a new agent" },
    { "belay agent list", "Every agent, and whether it is online" },
    { "belay sandbox create --rm -- python3 -c 'print(6*7)'",
      "A program, isolated on an agent's machine" },
    { "belay telemetry plot host.cpu.busy --since 10m", "A plot in the terminal" },
    { "belay command send node-7 telemetry-now --wait", "Ask an agent for a sample now" },
};

static const struct cli_command *const ROOT_COMMANDS[] = {
    &CMD_STATUS,  &CMD_GATEWAY,   &CMD_ENROLL,         &CMD_AGENT,   &CMD_LOAN,       &CMD_DEVICE,
    &CMD_SANDBOX, &CMD_TELEMETRY, &CMD_EVENT,          &CMD_COMMAND, &CMD_IMAGE,      &CMD_USAGE,
    &CMD_QUOTA,   &CMD_APIKEY,    &CMD_AUDIT,          &CMD_CONFIG,  &CMD_COMPLETION, &CMD_VERSION,
    &CMD_MAN,     &CMD_REFERENCE, &CMD_TERMINAL_GUARD,
};

static const struct cli_command ROOT = {
    .name = "belay",
    .summary = "Operate a fleet of edge agents",
    .description =
        "belay talks to a belay-server: through the operator socket of the machine it runs on, or "
        "through a gateway added with \"belay gateway add\". Every list and object can be printed "
        "as a table, as JSON (the server's answer in ProtoJSON, stable) or as YAML.",
    CLI_LIST(command, ROOT_COMMANDS),
    CLI_LIST(example, ROOT_EXAMPLES),
};

static const struct cli_grammar GRAMMAR = {
    .program = "belay",
    .version = BELAY_VERSION,
    .root = &ROOT,
    CLI_LIST(global, GLOBALS),
    CLI_LIST(exit, EXITS),
    CLI_LIST(file, FILES),
};

const struct cli_grammar *commands_grammar(void)
{
    return &GRAMMAR;
}
