/*
 * Ports of this machine joined with ports on the loopback of a sandbox: each connection is a
 * ForwardTcp stream of its own. One event loop on the calling thread; a side that does not read
 * stops the other.
 */
#ifndef CMD_CLI_SESSION_FORWARD_H
#define CMD_CLI_SESSION_FORWARD_H

#include "cmd/cli/cli.h"
#include "cmd/cli/session/forward_spec.h"

struct forward_wish {
    char *sandbox_id;
    const char *name; /* of the sandbox, for people */
    const struct forward_spec *specs;
    size_t spec_count;
};

/* Says each address once it listens; until a signal, whose status becomes the run's. */
enum err_code forward_run(struct cli *cli, const struct forward_wish *wish) MUST_CHECK;

#endif
