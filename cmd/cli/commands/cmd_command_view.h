/* How a command to an agent is shown, and how one waits for its end: for every way to send one. */
#ifndef CMD_CLI_COMMANDS_CMD_COMMAND_VIEW_H
#define CMD_CLI_COMMANDS_CMD_COMMAND_VIEW_H

#include "cmd/cli/cli.h"
#include "cmd/cli/output.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

extern const struct view VIEW_COMMANDS;

/* No further change will come. */
bool cmd_command_is_finished(const Agentgateway__V1__Command *command);

/* Shows a command and what the agent answered; sets the run's exit status to that of the answer. */
enum err_code cmd_command_show(struct cli *cli, const Agentgateway__V1__Command *command)
    MUST_CHECK;

/* After sending: shows the command as it is, or waits for its end first (at most --timeout, when
 * given). */
enum err_code cmd_command_finish(
    struct cli *cli, const Agentgateway__V1__Command *command, bool wait) MUST_CHECK;

/* Opens WatchCommand and hands every change to live (NULL: to nobody) until the end; the last one
 * in ret_last. */
enum err_code cmd_command_follow(
    struct cli *cli, const char *id, struct output_live *live, Agentgateway__V1__Command **ret_last)
    MUST_CHECK;

#endif
