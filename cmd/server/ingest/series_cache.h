/* Ids of series a writer has used lately, so that a known series costs no query. Owned by one
 * writer. */
#ifndef SERVER_INGEST_SERIES_CACHE_H
#define SERVER_INGEST_SERIES_CACHE_H

#include "cmd/server/store/telemetry.h"

struct series_cache;

struct series_cache *series_cache_create(void);
void series_cache_destroy(struct series_cache *cache);

/*
 * Id of each name of an agent, in order; what is not known is made in the store, inside the
 * caller's transaction. Names made in a transaction that is rolled back must be forgotten
 * (series_cache_clear).
 */
enum err_code series_cache_resolve(
    struct series_cache *cache,
    struct sql_conn *conn,
    const struct series_request *request,
    int64_t *ret_ids,
    struct err_info *err) MUST_CHECK;
void series_cache_clear(struct series_cache *cache);

#endif
