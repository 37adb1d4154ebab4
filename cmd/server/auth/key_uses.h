/*
 * When API keys were last used: noted in memory by the calls, written later by whoever keeps house,
 * each key at most once a minute. What was noted is lost with the process; it is a hint for
 * operators and decides nothing. Thread-safe.
 */
#ifndef SERVER_AUTH_KEY_USES_H
#define SERVER_AUTH_KEY_USES_H

#include "cmd/server/core/service.h"

struct key_uses;

struct key_uses *key_uses_create(void);
void key_uses_destroy(struct key_uses *uses); /* NULL is allowed */

/* Of a key that was found: strangers' guesses must not come here. */
void key_uses_note(
    struct key_uses *uses, int64_t workspace_id, struct str_view id, struct wall_us at);

/* Writes what is due, and with is_last what is not; on an error it stays due. */
enum err_code key_uses_flush(
    struct key_uses *uses, struct worker *worker, bool is_last, struct err_info *err) MUST_CHECK;

#endif
