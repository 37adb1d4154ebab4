/* Programs started in a sandbox by the commands create, exec, shell and cp. */
#ifndef CMD_CLI_SANDBOX_RUN_H
#define CMD_CLI_SANDBOX_RUN_H

#include "cmd/cli/sandbox/sandbox_view.h"

/* The words of the line from the index on, for a field of a request. */
size_t run_words(struct cli *cli, size_t first, char ***ret_words);

/* The words of the line (none: a login shell) with this terminal. */
enum err_code run_interactive(struct cli *cli, const Openshell__V1__Sandbox *sandbox) MUST_CHECK;

#endif
