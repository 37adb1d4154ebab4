/* The command table of belay: one row per group from its cmd_<group>.c, and the whole grammar. */
#ifndef CMD_CLI_COMMANDS_COMMANDS_H
#define CMD_CLI_COMMANDS_COMMANDS_H

#include "cmd/cli/cli.h"

extern const struct cli_command CMD_GATEWAY;
extern const struct cli_command CMD_STATUS;
extern const struct cli_command CMD_ENROLL;
extern const struct cli_command CMD_AGENT;
extern const struct cli_command CMD_LOAN;
extern const struct cli_command CMD_DEVICE;
extern const struct cli_command CMD_TELEMETRY;
extern const struct cli_command CMD_TELEMETRY_PLOT; /* of telemetry, in a file of its own */
extern const struct cli_command CMD_EVENT;
extern const struct cli_command CMD_COMMAND;
extern const struct cli_command CMD_COMMAND_SEND; /* of command, in a file of its own */
extern const struct cli_command CMD_SANDBOX;      /* in cmd/cli/sandbox */
extern const struct cli_command CMD_IMAGE;
extern const struct cli_command CMD_USAGE;
extern const struct cli_command CMD_QUOTA;
extern const struct cli_command CMD_APIKEY;
extern const struct cli_command CMD_AUDIT;
extern const struct cli_command CMD_AUDIT_VERIFY; /* of audit, in a file of its own */
extern const struct cli_command CMD_CONFIG;
extern const struct cli_command CMD_COMPLETION;
extern const struct cli_command CMD_VERSION;
extern const struct cli_command CMD_MAN;            /* hidden: made by the build */
extern const struct cli_command CMD_REFERENCE;      /* hidden: makes docs/cli.md */
extern const struct cli_command CMD_TERMINAL_GUARD; /* hidden: started by a session */

const struct cli_grammar *commands_grammar(void);

/* The option every list has. */
#define OPTION_LIMIT(default_text)                                                               \
    {                                                                                            \
        .name = "limit", .type = CLI_INT, .argument = "N", .fallback = (default_text), .min = 0, \
        .max = 1000000, .help = "Show at most N; 0: all"                                         \
    }
#define OPTION_AGENT                                                                \
    {                                                                               \
        .name = "agent", .letter = 'a', .type = CLI_TEXT, .argument = "AGENT",      \
        .complete = CLI_COMPLETE_AGENT, .help = "Only of this agent, by name or id" \
    }
#define OPTION_TAIL                                                                                \
    {                                                                                              \
        .name = "tail", .type = CLI_INT, .argument = "N", .fallback = "10", .min = 0, .max = 1000, \
        .help = "Show the last N first"                                                            \
    }
#define ARGUMENT_AGENT                                                                    \
    {                                                                                     \
        .name = "AGENT", .complete = CLI_COMPLETE_AGENT, .help = "Name or id of an agent" \
    }

#endif
