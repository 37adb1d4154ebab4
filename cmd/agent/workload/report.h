/* One sandbox in the words of the server. Pure; any thread. */
#ifndef CMD_AGENT_WORKLOAD_REPORT_H
#define CMD_AGENT_WORKLOAD_REPORT_H

#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/workload/note.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

/* Borrows from itself and from what it was filled with: not to be copied. */
struct report {
    Agentgateway__V1__SandboxReport message;
    char instance[32];
    char text[512];
};

/* Everything but the sequence and the boot id. */
void report_fill(
    struct report *report,
    const struct sandbox_info *info,
    const struct note *note,
    struct wall_us now);

/* It ended because it was ordered to: by the note, or, where that was lost, by its exit. */
bool report_was_stopped(const struct sandbox_info *info, const struct note *note);

/* As shells tell it: 128 and the signal's number where one ended it. */
int report_exit_code(int status);

#endif
