/*
 * Proofs of operators and agents: looked up by hash in the store, kept in memory for a few seconds
 * so that a busy session costs no query, dropped at once when the hub says that one has changed. A
 * look-up is one query and writes nothing; once a minute the name of its workspace is another.
 * Thread-safe.
 */
#ifndef SERVER_AUTH_CREDENTIALS_H
#define SERVER_AUTH_CREDENTIALS_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/service.h"

struct credentials;

struct credentials *credentials_create(const struct clock *clock);
void credentials_destroy(struct credentials *credentials);

/* From memory; false: not there (ask the store). */
bool credentials_find(
    struct credentials *credentials, const uint8_t hash[32], struct principal *ret_principal);

/*
 * From the store: a session token ("bls_...") or an API key ("blk_..."). ERR_UNAUTHENTICATED for
 * anything else, always with the same text.
 */
enum err_code credentials_load(
    struct service *service,
    struct worker *worker,
    struct str_view token,
    struct principal *ret_principal,
    struct err_info *err) MUST_CHECK;

/*
 * Whether the right of an open stream still stands: ERR_UNAUTHENTICATED when its credential was
 * revoked, replaced or has expired; any other error means it could not be found out.
 */
enum err_code credentials_recheck(
    struct service *service,
    struct worker *worker,
    const struct principal *principal,
    struct err_info *err) MUST_CHECK;

/* When keys were last used, to be written by whoever keeps house. */
struct key_uses *credentials_key_uses(struct credentials *credentials);

/* Forgets what is kept of an agent (0: everything). */
void credentials_forget(void *context, int64_t agent_id);

#endif
