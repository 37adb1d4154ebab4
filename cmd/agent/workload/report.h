/* One sandbox in the words of the server. Pure; any thread. */
#ifndef CMD_AGENT_WORKLOAD_REPORT_H
#define CMD_AGENT_WORKLOAD_REPORT_H

#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/workload/note.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#define REPORT_WAITS "its start waits for a file descriptor: the agent has none left"

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

typedef void (*report_drop_fn)(void *context, const char *sandbox_id);

/* The texts (message, policy error) of those are left out, and told to on_drop, with which the
 * reports together would be longer than so many bytes of a message. */
void report_drop_texts(
    Agentgateway__V1__SandboxReport **reports,
    size_t count,
    size_t most_bytes,
    report_drop_fn on_drop,
    void *context);

/* It ended because it was ordered to: by the note, or, where that was lost, by its exit. */
bool report_was_stopped(const struct sandbox_info *info, const struct note *note);

/* As shells tell it: 128 and the signal's number where one ended it. */
int report_exit_code(int status);

#endif
