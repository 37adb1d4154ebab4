/*
 * A shim that waits for the next sandbox (cmd/shim/spare.h): at most one, started when a sandbox
 * has come up or failed to, never by an agent that has had none. It is no sandbox's yet: it has a
 * socket to this agent and nothing else, and ends when that closes, whatever ends the agent. A
 * sandbox that finds none starts a shim of its own, and loses two milliseconds and nothing else.
 *
 * Any thread.
 */
#ifndef CMD_AGENT_SANDBOX_SPARE_H
#define CMD_AGENT_SANDBOX_SPARE_H

#include "common/base/err.h"

struct spare;

/* runs: the folder of all sandboxes, absolute; instance tells the agent's processes from others'.
 */
struct spare *spare_create(const char *shim_path, const char *runs, const char *instance);
void spare_destroy(struct spare *spare); /* NULL is allowed */

/* Starts one if there is none, and waits for that. */
void spare_make(struct spare *spare);

/* Makes it the shim of this folder, which must be there, with its spec. ground: -1, or given along;
 * borrowed. ret_fd: our end of its socket, from which on it is as one that was started for it.
 * ERR_NOT_FOUND: there is none. ERR_BUSY: another shim has the folder. */
enum err_code spare_order(
    struct spare *spare, const char *dir, int ground, int *ret_fd, struct err_info *err) MUST_CHECK;

#endif
