/*
 * The operator's half of a relay, shared by exec and forward: opens it, queues what the operator
 * sends, sends on what the agent brings, ends with either side, when the right to it ends, when its
 * time is over, or when the agent does not come. Events of one stream only.
 */
#ifndef SERVER_OPENSHELL_OPERATOR_HALF_H
#define SERVER_OPENSHELL_OPERATOR_HALF_H

#include "cmd/server/core/service.h"
#include "cmd/server/relay/relay.h"

struct operator_half;

/* Sends one frame of the agent as the method's message. ERR_LIMIT: later, the same again.
 * *ret_last: the stream is to end well after it. */
typedef enum err_code (*operator_send_fn)(
    struct rpc_stream *stream, const struct relay_frame *frame, bool *ret_last);

struct operator_half *operator_half_create(struct rpc_stream *stream, operator_send_fn send);
void operator_half_destroy(struct operator_half *half); /* the stream's closed */

/* The workspace of the sandbox that the request, the stream's first message, names. Blocks. */
enum err_code operator_half_find_workspace(
    const struct operator_half *half,
    const ProtobufCMessage *request,
    int64_t *ret_workspace_id,
    struct err_info *err) MUST_CHECK;

/* Ends the stream on an error, which then needs no more from the caller. */
void operator_half_open(
    struct operator_half *half, const struct relay_wish *wish, struct arena *arena);
/* A command that has not ended by then, and a little over, ends with the exit 124. 0: no limit. */
void operator_half_limit(struct operator_half *half, uint32_t timeout_seconds);
bool operator_half_is_open(const struct operator_half *half);
void operator_half_put(struct operator_half *half, const struct relay_frame *frame);
void operator_half_end(struct operator_half *half, enum err_code code, const char *text);
/* The same for what a caller asked for and does not get: with an audit record. Blocks. */
void operator_half_refuse(
    struct operator_half *half, const char *sandbox_id, const struct err_info *why);

/* The stream's woken and writable, and timer. */
void operator_half_pump(struct operator_half *half);
void operator_half_tick(struct operator_half *half);

#endif
