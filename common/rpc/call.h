/*
 * One call as its handler sees it, unary or stream. Everything returned lives as long as the call.
 * Owned by the library; a handler runs on one thread at a time.
 */
#ifndef COMMON_RPC_CALL_H
#define COMMON_RPC_CALL_H

#include "common/base/arena.h"
#include "common/base/time.h"
#include "common/rpc/peer.h"
#include "common/rpc/status.h"

#include <protobuf-c/protobuf-c.h>

struct rpc_call;
struct rpc_stream;

enum rpc_kind {
    RPC_UNARY,
    RPC_CLIENT_STREAM,
    RPC_SERVER_STREAM,
    RPC_BIDI
};

/*
 * Unary handler: a worker thread (or a poller when the row says is_inline). request is valid during
 * the call; the reply is built in rpc_call_arena. An error's text goes to the peer.
 */
typedef enum err_code (*rpc_unary_fn)(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);

/*
 * Stream handler: events of one stream never run at the same time. They run on workers where the
 * row says is_blocking, else on pollers and must not block. open always runs on a worker. After
 * rpc_stream_finish no event but closed follows; closed comes exactly once, if open returned
 * ERR_OK.
 */
struct rpc_stream_ops {
    enum err_code (*open)(struct rpc_stream *stream, void **ret_state, struct err_info *err);
    /* One message, valid until the return; the next is read afterwards unless rpc_stream_pause was
     * called. A server stream's request comes here too. */
    void (*message)(struct rpc_stream *stream, void *state, const ProtobufCMessage *message);
    void (*half_closed)(
        struct rpc_stream *stream, void *state); /* the peer sends no more; may be NULL */
    void (*writable)(
        struct rpc_stream *stream,
        void *state); /* the outbound queue is empty again; may be NULL */
    void (*woken)(
        struct rpc_stream *stream, void *state); /* after rpc_stream_wake, coalesced; may be NULL */
    void (*timer)(
        struct rpc_stream *stream, void *state); /* after rpc_stream_set_timer; may be NULL */
    void (*closed)(struct rpc_stream *stream, void *state); /* frees state */
};

/* One row per method; the server refuses to start without a row for each method of its services. */
struct rpc_method {
    const char *path; /* "/package.Service/Method" */
    const ProtobufCMessageDescriptor *input;
    const ProtobufCMessageDescriptor *output;
    enum rpc_kind kind;
    size_t max_request_bytes; /* of one message */
    int64_t deadline_cap_us;  /* a longer or missing deadline is cut to this; 0: none */
    bool is_inline;           /* unary: runs on the poller; must not block */
    bool is_blocking;         /* stream: events run on workers */
    rpc_unary_fn unary;
    const struct rpc_stream_ops *stream;
    const void *policy; /* the gate's own row for this method; never NULL */
};

const struct rpc_method *rpc_call_method(const struct rpc_call *call);
const char *rpc_call_id(const struct rpc_call *call); /* request id: "req_..." */
const struct rpc_peer *rpc_call_peer(const struct rpc_call *call);

/*
 * Capped memory for the request and the reply. Of a unary call, and in a stream's admit and open:
 * as long as the call. In a stream's other events: emptied when the event returns.
 */
struct arena *rpc_call_arena(struct rpc_call *call);
struct mono_us rpc_call_deadline(const struct rpc_call *call); /* INT64_MAX: none */
bool rpc_call_is_canceled(const struct rpc_call *call);

/* Value of request metadata (lower-case name); ret_count tells how often it stands there (0:
 * STR_NONE). */
struct str_view rpc_call_metadata(
    const struct rpc_call *call, const char *name, unsigned *ret_count);

/* Adds trailing metadata; name and value are copied; at most 16. */
void rpc_call_add_trailer(struct rpc_call *call, const char *name, struct str_view value);

/*
 * By the gate, in admit, or by the handler of a call that carries its proof in the request: the
 * caller has shown a credential that holds. Without it the call counts against what strangers may
 * have at once (rpc_limits), and its connection stays a stranger's.
 */
void rpc_call_vouch(struct rpc_call *call);

/* Set by the gate, anew each time it is asked; released with the call. */
void rpc_call_set_principal(
    struct rpc_call *call, void *principal, void (*release)(void *principal));
void *rpc_call_principal(const struct rpc_call *call);

void *rpc_call_service(const struct rpc_call *call); /* rpc_server_options.service */
void *rpc_call_worker(
    const struct rpc_call *call); /* what worker_open gave this thread; NULL on pollers */

/* Streams. All but ref, unref, wake and finish are for the stream's own events only. */
struct rpc_call *rpc_stream_call(struct rpc_stream *stream);
struct rpc_stream *rpc_stream_ref(struct rpc_stream *stream);
void rpc_stream_unref(struct rpc_stream *stream);

/*
 * Packs and queues a message. ERR_LIMIT: the queue holds more than its cap (the message was not
 * taken; wait for writable or end the stream). ERR_CANCELED: the stream is ending.
 */
enum err_code rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message)
    MUST_CHECK;
/* The same and the stream's end with ERR_OK, in one piece if nothing waits before it. After an
 * error it has not ended. */
enum err_code rpc_stream_send_last(struct rpc_stream *stream, const ProtobufCMessage *message)
    MUST_CHECK;
size_t rpc_stream_queued_bytes(const struct rpc_stream *stream);

/* Of a stream whose row says is_blocking: from now on its events run on pollers. */
void rpc_stream_leave_workers(struct rpc_stream *stream);

void rpc_stream_pause(struct rpc_stream *stream); /* no further message until resume */
void rpc_stream_resume(struct rpc_stream *stream);
void rpc_stream_set_timer(
    struct rpc_stream *stream, int64_t delay_us); /* one-shot, replaces the one before; <0: off */

/* Any thread: makes `woken` run soon, once for any number of wakes. */
void rpc_stream_wake(struct rpc_stream *stream);

/* Any thread: ends the stream after what is queued was sent. The first call wins. text may be NULL.
 */
void rpc_stream_finish(struct rpc_stream *stream, enum err_code code, const char *text);

#endif
