/* The hidden command that a session with a terminal starts: see cmd/cli/session/terminal.h. */
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/session/terminal.h"

#include <unistd.h>

static enum err_code run(struct cli *cli)
{
    cli->exit_status = (enum cli_exit)terminal_guard(STDIN_FILENO, STDOUT_FILENO);
    return ERR_OK;
}

const struct cli_command CMD_TERMINAL_GUARD = {
    .name = TERMINAL_GUARD_COMMAND,
    .summary = "Put a terminal back when the session that holds standard input has died",
    .hidden = true,
    .run = run,
};
