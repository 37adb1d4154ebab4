/* How a sandbox is shown, found by its name and waited for: what its commands share. */
#ifndef CMD_CLI_SANDBOX_SANDBOX_VIEW_H
#define CMD_CLI_SANDBOX_SANDBOX_VIEW_H

#include "cmd/cli/cli.h"
#include "cmd/cli/connection.h"

#include "proto/openshell/v1/openshell.pb-c.h"

extern const struct view VIEW_SANDBOXES;

/* The sandbox of an answer; ERR_CORRUPT when parts are missing that every sandbox has. */
enum err_code sandbox_take(
    struct cli *cli,
    Openshell__V1__Sandbox *sandbox,
    Openshell__V1__Sandbox **ret_sandbox) MUST_CHECK;

/* By name, in the workspace of the run. */
enum err_code sandbox_find(struct cli *cli, const char *name, Openshell__V1__Sandbox **ret_sandbox)
    MUST_CHECK;

/* As sandbox_find; ERR_PRECONDITION with the reason unless programs can be started in it now. */
enum err_code sandbox_find_ready(
    struct cli *cli, const char *name, Openshell__V1__Sandbox **ret_sandbox) MUST_CHECK;

/* "ready", "error". */
const char *sandbox_phase_word(struct cli *cli, const Openshell__V1__Sandbox *sandbox);

/* Why it is in its phase, in the server's words; "" when nothing was said. */
const char *sandbox_reason(const Openshell__V1__Sandbox *sandbox);

/* True when its main program has ended; ret_code: how (128 and the signal's number). */
bool sandbox_has_exited(const Openshell__V1__Sandbox *sandbox, int *ret_code);

#define ARGUMENT_SANDBOX                                                                 \
    {                                                                                    \
        .name = "SANDBOX", .complete = CLI_COMPLETE_SANDBOX, .help = "Name of a sandbox" \
    }

#endif
