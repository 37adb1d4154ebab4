/*
 * Which agents are here: their control streams (the newest wins) and their heartbeats, kept in
 * memory and written to the store in batches by presence_flush. Thread-safe.
 */
#ifndef SERVER_GATEWAY_PRESENCE_H
#define SERVER_GATEWAY_PRESENCE_H

#include "cmd/server/core/service.h"
#include "cmd/server/core/work.h"
#include "cmd/server/store/agent.h"

struct presence;

struct presence *presence_create(void);
void presence_destroy(struct presence *presence);

/* Notes a stream; an older one of the agent is ended (ERR_CONFLICT). The stream is referenced. */
void presence_add_stream(struct presence *presence, int64_t agent_id, struct rpc_stream *stream);
void presence_remove_stream(struct presence *presence, int64_t agent_id, struct rpc_stream *stream);
size_t presence_stream_count(struct presence *presence);

/* beat.status is copied. What an older session sends after a newer one is dropped, here and in the
 * store. */
void presence_beat(struct presence *presence, const struct agent_beat *beat);

/* Writes what has changed since the last flush, in one transaction; on an error it is kept for the
 * next. */
enum err_code presence_flush(struct presence *presence, struct worker *worker, struct err_info *err)
    MUST_CHECK;

/* From now on streams that are woken say goodbye (presence_is_draining); wakes them all. */
void presence_drain(struct presence *presence);
bool presence_is_draining(struct presence *presence);

#endif
