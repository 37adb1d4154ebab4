/*
 * The one writer: uploaded records of all streams come in through a bounded queue and leave in
 * batches, one transaction each. A record is answered only after its commit. When the queue is
 * full, streams stop reading and their agents wait: nothing is dropped.
 *
 * Threads: ingest_submit from any; done runs on the writer's thread and must not block.
 */
#ifndef SERVER_INGEST_INGEST_H
#define SERVER_INGEST_INGEST_H

#include "cmd/server/core/service.h"
#include "cmd/server/ingest/batch.h"

struct ingest;

/* result->code: as batch_result, or ERR_UNAVAILABLE (nothing was stored: send it again). */
typedef void (*ingest_done_fn)(void *context, const struct batch_result *result);

enum err_code ingest_start(
    struct service *service, struct ingest **ret_ingest, struct err_info *err) MUST_CHECK;

/* Finishes what is queued, then joins. NULL is allowed. */
void ingest_stop(struct ingest *ingest);

/*
 * ERR_OK: the record is the writer's now, and done will be called. ERR_BUSY: the queue is full and
 * the record stays the caller's: stop reading; room_stream is woken when there is room again.
 */
enum err_code ingest_submit(
    struct ingest *ingest,
    struct record *record,
    ingest_done_fn done,
    void *context,
    struct rpc_stream *room_stream) MUST_CHECK;

#endif
