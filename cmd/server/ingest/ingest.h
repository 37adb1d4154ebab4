/*
 * The one writer: uploaded records of all streams come in through a bounded queue and leave in
 * batches, one transaction each. A record is answered only after its commit. When the queue is
 * full, streams stop reading and their agents wait: nothing is dropped.
 *
 * Threads: ingest_submit from any.
 */
#ifndef SERVER_INGEST_INGEST_H
#define SERVER_INGEST_INGEST_H

#include "cmd/server/core/service.h"
#include "cmd/server/ingest/batch.h"

struct ingest;

/* Who hands in records: a stream, for one. Its functions run on the writer's thread and must not
 * block. */
struct ingest_source {
    /* result->code: as batch_result, or ERR_UNAVAILABLE (nothing was stored: send it again). */
    void (*done)(void *context, const struct batch_result *result);
    /*
     * Asked before a record is written. true: a record of this source that came before was not
     * stored, so this one must not be either: the agent's mark would pass over the one that is
     * missing. It is answered with ERR_UNAVAILABLE.
     */
    bool (*is_broken)(void *context);
};

/*
 * The writer without a thread: whoever owns it writes a batch with each ingest_turn (false: nothing
 * was queued). ingest_start gives it a thread that does nothing else.
 */
enum err_code ingest_open(struct service *service, struct ingest **ret_ingest, struct err_info *err)
    MUST_CHECK;
bool ingest_turn(struct ingest *ingest);

enum err_code ingest_start(
    struct service *service, struct ingest **ret_ingest, struct err_info *err) MUST_CHECK;

/* The thread finishes what is queued and is joined; what is queued without a thread is answered as
 * not stored. NULL is allowed. */
void ingest_stop(struct ingest *ingest);

/*
 * ERR_OK: the record is the writer's now, and source->done will be called. ERR_BUSY: the queue is
 * full and the record stays the caller's: stop reading; room_stream is woken when there is room
 * again.
 */
enum err_code ingest_submit(
    struct ingest *ingest,
    struct record *record,
    const struct ingest_source *source,
    void *context,
    struct rpc_stream *room_stream) MUST_CHECK;

#endif
