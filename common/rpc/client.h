/*
 * gRPC client over C core: one runtime (completion queue and poller thread) per process, any number
 * of channels. Calls may be blocking (command line, workers) or event-driven (the agent's loop).
 */
#ifndef COMMON_RPC_CLIENT_H
#define COMMON_RPC_CLIENT_H

#include "common/base/arena.h"
#include "common/base/time.h"
#include "common/rpc/status.h"

#include <protobuf-c/protobuf-c.h>

struct rpc_client;
struct rpc_channel;
struct rpc_client_stream;
struct wire_schema;

/* Where events run: post must run fn(argument) later, in order, on one thread (loop_post). */
struct rpc_executor {
    bool (*post)(void *context, void (*fn)(void *argument), void *argument);
    void *context;
};

struct rpc_header {
    const char *name; /* lower case */
    const char *value;
};

enum err_code rpc_client_create(
    const struct wire_schema *schema,
    struct rpc_client **ret_client,
    struct err_info *err) MUST_CHECK;
void rpc_client_destroy(struct rpc_client *client); /* after its channels; joins the poller */

struct rpc_channel_options {
    const char *target;      /* "host:port", "unix:/path" */
    const char *ca_pem;      /* NULL: plaintext */
    const char *server_name; /* name the certificate must carry; NULL: the target's host */
    const char *user_agent;
    int64_t keepalive_us;     /* 0: 30 s */
    int64_t max_reconnect_us; /* 0: 60 s; the library adds jitter */
    size_t max_reply_bytes;   /* 0: 4 MiB */
};

enum err_code rpc_channel_create(
    struct rpc_client *client,
    const struct rpc_channel_options *options,
    struct rpc_channel **ret_channel,
    struct err_info *err) MUST_CHECK;
void rpc_channel_destroy(struct rpc_channel *channel); /* cancels what is open */

struct rpc_call_options {
    int64_t deadline_us; /* from now; 0: 30 s for unary calls, none for streams */
    bool wait_for_ready; /* else an unreachable server fails at once */
    const struct rpc_header *headers;
    size_t header_count;
    bool speaks_first; /* a stream that goes out with its first message, not before it */
};

/*
 * Blocking unary call, any thread. The reply is unpacked (checked like any input) into arena. A
 * status other than OK comes back as rpc_err_of(status) with the server's text in err.
 */
enum err_code rpc_channel_call(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    struct arena *arena,
    ProtobufCMessage **ret_reply,
    struct err_info *err) MUST_CHECK;

/* reply is NULL unless code is ERR_OK, and valid until the return. */
typedef void (*rpc_reply_fn)(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err);

/* Event-driven unary call: done runs exactly once, on the executor. */
void rpc_channel_call_async(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context);

/* Events of one stream, in order, on the executor. closed comes exactly once and last. */
struct rpc_client_stream_ops {
    void (*message)(void *context, const ProtobufCMessage *message); /* valid until the return */
    void (*writable)(
        void *context); /* everything queued was handed to the transport; may be NULL */
    void (*closed)(
        void *context, enum err_code code, const struct err_info *err); /* ERR_OK: status OK */
};

/*
 * Opens a stream of any kind. The stream is the caller's until rpc_client_stream_release, which may
 * be called in or after closed, or before (cancels; no further event).
 */
enum err_code rpc_client_stream_open(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor,
    const struct rpc_client_stream_ops *ops,
    void *context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err) MUST_CHECK;

/* Queues a message; ERR_LIMIT past 4 MiB queued (not taken: wait for writable). Executor's thread
 * or any one thread. */
enum err_code rpc_client_stream_send(
    struct rpc_client_stream *stream, const ProtobufCMessage *message) MUST_CHECK;
/* The same and a half close, in one piece if nothing waits before it. After an error it is not half
 * closed. */
enum err_code rpc_client_stream_send_last(
    struct rpc_client_stream *stream, const ProtobufCMessage *message) MUST_CHECK;
void rpc_client_stream_half_close(struct rpc_client_stream *stream);
/* While paused nothing more is read, and flow control stops the server: after a message that is on
 * its way no event but writable comes, not even the end. */
void rpc_client_stream_pause(struct rpc_client_stream *stream, bool is_paused);
void rpc_client_stream_cancel(struct rpc_client_stream *stream);
void rpc_client_stream_release(struct rpc_client_stream *stream);

/*
 * Blocking reader for command lines: open with executor and ops NULL, then read. ERR_NOT_FOUND: the
 * stream ended with OK. ERR_TIMEOUT: nothing until deadline (the stream stays usable).
 */
enum err_code rpc_client_stream_read(
    struct rpc_client_stream *stream,
    struct mono_us deadline,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err) MUST_CHECK;

/* After a read's ERR_NOT_FOUND: true if the stream ended with OK, false if NOT_FOUND was its
 * status. */
bool rpc_client_stream_ended_ok(struct rpc_client_stream *stream);

/*
 * First contact: dials host:port with TLS, takes the CA certificate whose SHA-256 (of its DER form)
 * equals pin from the chain the server shows, checks that the leaf chains up to it, and returns it
 * as PEM. timeout_us is for all of it, the look-up of the name included. ERR_DENIED: another CA;
 * ERR_UNSUPPORTED: no TLS, or no HTTP/2 (a proxy in between), with a clear text.
 */
enum err_code rpc_fetch_pinned_ca(
    const char *target,
    const uint8_t pin[32],
    int64_t timeout_us,
    char **ret_pem,
    struct err_info *err) MUST_CHECK;

/* The name every certificate of a Belay CA carries besides its own: what a pinned client asks for.
 */
#define RPC_PINNED_SERVER_NAME "belay-server"

#endif
