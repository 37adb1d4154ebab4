/* The commands of the group "belay sandbox", a row from each cmd_sandbox_<command>.c. */
#ifndef CMD_CLI_SANDBOX_COMMANDS_H
#define CMD_CLI_SANDBOX_COMMANDS_H

#include "cmd/cli/cli.h"

extern const struct cli_command CMD_SANDBOX_CREATE;
extern const struct cli_command CMD_SANDBOX_WATCH;
extern const struct cli_command CMD_SANDBOX_LOGS;
extern const struct cli_command CMD_SANDBOX_POLICY;
extern const struct cli_command CMD_SANDBOX_EXEC;
extern const struct cli_command CMD_SANDBOX_SHELL;
extern const struct cli_command CMD_SANDBOX_FORWARD;
extern const struct cli_command CMD_SANDBOX_CP;
extern const struct cli_command CMD_SANDBOX_TOP;

#endif
