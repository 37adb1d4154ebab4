/*
 * Brings what describes a sandbox to the disk, on a thread of its own, so that neither a start nor
 * the loop waits for it. What it guards against is the failure of the host's power alone: files
 * outlive agent and shim without it. Those of a new sandbox are worth little then, since none lives
 * on; they say that it was there, and in which boot of the host it ran.
 *
 * In a sandbox's folder: its spec, its state, and the caller's files, which begin with "own.".
 *
 * It also makes the workspace image that the next sandbox takes (common/sandbox/template.h), and
 * starts the next one's shim.
 */
#ifndef CMD_AGENT_SANDBOX_KEEPER_H
#define CMD_AGENT_SANDBOX_KEEPER_H

#include "cmd/agent/sandbox/spare.h"
#include "common/base/err.h"

#include <stdint.h>

struct keeper;

enum err_code keeper_create(struct keeper **ret_keeper, struct err_info *err) MUST_CHECK;
void keeper_destroy(struct keeper *keeper); /* after all that was added; NULL is allowed */

/* The folder of one sandbox, absolute. */
void keeper_add(struct keeper *keeper, const char *dir);
/* A spare of this size, in the folder of the templates. */
void keeper_add_disk(struct keeper *keeper, const char *templates, uint64_t bytes);
/* A shim ahead, unless there is one; spare outlives the keeper. */
void keeper_add_shim(struct keeper *keeper, struct spare *spare);
/* It is about to go: what was not begun is left. The one call that may wait for the disk, and with
 * it the caller's loop: for the sync of a file of this very folder that is under way, and no other.
 */
void keeper_forget(struct keeper *keeper, const char *dir);
void keeper_wait(struct keeper *keeper); /* until all that was added is done */

#endif
