/*
 * Which agents are here: their control streams (the newest wins) and their heartbeats, kept in
 * memory and written to the store in batches by presence_flush. Thread-safe.
 */
#ifndef SERVER_GATEWAY_PRESENCE_H
#define SERVER_GATEWAY_PRESENCE_H

#include "cmd/server/core/service.h"
#include "cmd/server/core/work.h"

struct presence;

struct presence *presence_create(void);
void presence_destroy(struct presence *presence);

/* Notes a stream; an older one of the agent is ended (ERR_CONFLICT). The stream is referenced. */
void presence_add_stream(struct presence *presence, int64_t agent_id, struct rpc_stream *stream);
void presence_remove_stream(struct presence *presence, int64_t agent_id, struct rpc_stream *stream);
size_t presence_stream_count(struct presence *presence);

/* status: packed AgentStatus, copied; STR_NONE: unchanged. */
void presence_beat(
    struct presence *presence, const int64_t owner[2], struct wall_us at, struct str_view status);

/* Writes what has changed since the last flush, in one transaction; on an error it is kept for the
 * next. */
enum err_code presence_flush(struct presence *presence, struct worker *worker, struct err_info *err)
    MUST_CHECK;

/* From now on streams that are woken say goodbye (presence_is_draining); wakes them all. */
void presence_drain(struct presence *presence);
bool presence_is_draining(struct presence *presence);

#endif
