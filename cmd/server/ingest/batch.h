/*
 * Writes a batch of records of any agents in one transaction: rows and high-water marks together,
 * so that a record is stored exactly once whatever is retried.
 */
#ifndef SERVER_INGEST_BATCH_H
#define SERVER_INGEST_BATCH_H

#include "cmd/server/core/work.h"
#include "cmd/server/ingest/record.h"
#include "cmd/server/ingest/series_cache.h"
#include "cmd/server/store/telemetry.h"

struct batch_result {
    enum err_code code; /* of this record: ERR_OK stored (or a repeat), ERR_UNAUTHENTICATED: fenced
                           by a newer session */
    int64_t acked_sequence; /* the agent's mark after the commit */
};

/* What the writer remembers from batch to batch, to be quicker; nothing depends on it. */
struct batch_memory {
    struct series_cache *cache;
    struct sample_habit habit;
};

/*
 * Inside a transaction over all workspaces. records: sorted by agent, an agent's in the order they
 * came. results: one per record.
 */
enum err_code batch_write(
    struct work *work,
    struct batch_memory *memory,
    struct record *const *records,
    size_t count,
    struct batch_result *results,
    struct err_info *err) MUST_CHECK;

#endif
