/*
 * Rate limits of what strangers may do (bootstrap calls, credentials that are looked up in vain,
 * refusals that are written down): a token bucket per key (source address, api key). Bounded
 * memory: when too many keys are known the fullest buckets are forgotten first. Thread-safe.
 */
#ifndef SERVER_CORE_THROTTLE_H
#define SERVER_CORE_THROTTLE_H

#include "common/base/time.h"

struct throttle;

/* burst calls at once, then per_second on average. */
struct throttle *throttle_create(const struct clock *clock, unsigned burst, unsigned per_second);
void throttle_destroy(struct throttle *throttle); /* NULL is allowed */

/* ERR_LIMIT: too many; the text says when to come back. */
enum err_code throttle_take(struct throttle *throttle, struct str_view key, struct err_info *err)
    MUST_CHECK;

/* Whether a take would be refused now; takes nothing. */
enum err_code throttle_check(struct throttle *throttle, struct str_view key, struct err_info *err)
    MUST_CHECK;

#endif
