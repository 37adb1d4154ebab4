/*
 * The figures of belay sandbox top: what is asked, in which order it is shown, and the columns.
 */
#ifndef CMD_CLI_SANDBOX_TOP_H
#define CMD_CLI_SANDBOX_TOP_H

#include "cmd/cli/cli.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

typedef Agentgateway__V1__SandboxFigures top_row;

enum top_order {
    TOP_CPU,
    TOP_MEMORY,
    TOP_PROCESSES,
    TOP_NETWORK,
    TOP_DISK,
    TOP_NAME,
    TOP_COUNT
};

extern const char *const TOP_ORDERS[]; /* "cpu", ...; NULL-terminated */

/* The request of the command line. Borrows from the run. */
enum err_code top_request(struct cli *cli, Agentgateway__V1__ListSandboxFiguresRequest *ret_request)
    MUST_CHECK;

/* The greatest first, those without figures last; then by name. */
void top_sort(top_row **rows, size_t count, enum top_order order);

/* Ready, on an agent that is there, and without figures of the last seconds. */
bool top_is_awaited(const top_row *row);

const struct view *top_view(const struct cli *cli);

/* Draws on the terminal again and again, until a key, a signal or an error. */
enum err_code top_screen_run(
    struct cli *cli, const Agentgateway__V1__ListSandboxFiguresRequest *request) MUST_CHECK;

#endif
