/*
 * Watches: server streams that look at the store when the hub says something may have changed (and
 * every two seconds by themselves), and send what is new. One engine, one small type per method.
 */
#ifndef SERVER_API_WATCH_H
#define SERVER_API_WATCH_H

#include "cmd/server/api/map.h"

enum {
    WATCH_BATCH = 200
};

struct watch; /* one open stream */

struct api_watch_type {
    uint32_t topics;    /* HUB_BITs: what wakes it, of its workspace */
    size_t state_bytes; /* zeroed, the type's own, watch_state() */
    /* Once, in a transaction: checks the request and sets where to start. May emit. */
    enum err_code (*begin)(
        struct watch *watch,
        struct api_call *api,
        const ProtobufCMessage *request,
        struct err_info *err);
    /* Looks and emits what is new. ret_more: look again at once (a batch was full). */
    enum err_code (*poll)(
        struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err);
    void (*free_state)(void *state); /* may be NULL */
};

void *watch_state(struct watch *watch);

/* Queues a message (of the poll's arena) to go out when the transaction has ended well. */
void watch_emit(struct watch *watch, const ProtobufCMessage *message);

/* No further message fits into this look: note nothing as sent, and ask for more. */
bool watch_is_full(const struct watch *watch);

/* The stream ends with OK after what was emitted. */
void watch_end(struct watch *watch);

extern const struct rpc_stream_ops api_watch_ops;

extern const struct api_watch_type watch_agents_type;
extern const struct api_watch_type watch_command_type;
extern const struct api_watch_type watch_telemetry_type;
extern const struct api_watch_type watch_events_type;
extern const struct api_watch_type watch_audit_type;

#endif
