/* What the commands of the program share: exit statuses, and the ways into an enrollment. */
#ifndef CMD_AGENT_OUTCOME_H
#define CMD_AGENT_OUTCOME_H

#include "cmd/agent/host/facts.h"
#include "cmd/agent/state/state.h"
#include "common/config/config.h"

/* Prints "belay-agent: TEXT" on standard error and returns the exit status of the code. */
int outcome_fail(enum err_code code, const struct err_info *err);

/* Path of the status socket; the caller frees it. */
char *outcome_status_path(const struct config *config);

/* Folder of sandboxes, of their images; the caller frees each. */
char *outcome_sandbox_dir(const struct config *config);
char *outcome_image_dir(const struct config *config);

/*
 * Begins an enrollment with a join string or with the private file that holds one, named and
 * labelled as the options say.
 */
enum err_code outcome_begin_join(
    const struct config *config,
    struct state *state,
    const struct host_facts *facts,
    const char *join,
    struct err_info *err) MUST_CHECK;

#endif
