/*
 * What the files of the server share. Life of a call:
 *
 *     armed -> arrived (poller) -> row found -> gate -> request read -> handler (worker)
 *           -> status sent -> concluded
 *
 * A call has one reference per operation the library has not completed yet, one per task or timer
 * that knows it, and (streams) one of the stream's. At zero it concludes: gate.finished, release.
 */
#ifndef COMMON_RPC_RPC_PRIVATE_H
#define COMMON_RPC_RPC_PRIVATE_H

#include "common/base/id.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/rpc/door/door.h"
#include "common/rpc/runtime.h"
#include "common/rpc/server.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"
#include "common/sys/timer.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

#include <stdatomic.h>

enum {
    RPC_TEXT_MAX = 1024, /* of an error, to a peer */
    RPC_TRAILERS_MAX = 16,
    RPC_METADATA_MAX = 8192, /* of a request, counted as HTTP/2 does */
    RPC_METADATA_EACH = 32,
    RPC_ARMED_PER_POLLER = 64,
    RPC_ARENA_BYTES = 64 * 1024 * 1024, /* cap of one call's or one event's allocations */
    RPC_REPLY_MAX = 64 * 1024 * 1024,
};

/* A poller or a worker. */
struct rpc_thread {
    struct rpc_server *server;
    struct thread thread;
    struct arena *arena;       /* of stream events; empty between them */
    void *worker;              /* what worker_open gave; NULL on pollers */
    grpc_completion_queue *cq; /* pollers only */
    struct id_source ids;      /* of requests that arrive here */
};

/* One completion of the library; embedded in what it belongs to. */
struct rpc_tag {
    void (*done)(void *owner, struct rpc_thread *thread, bool ok);
    void *owner;
    rpc_handoff handoff;
};

/* Work for a worker thread; embedded, so that a push needs no memory. In the queue at most once. */
struct rpc_task {
    struct list node;
    void (*run)(struct rpc_task *task, struct rpc_thread *thread);
};

struct rpc_pool;

struct rpc_pool *rpc_pool_create(struct rpc_server *server, unsigned threads, size_t capacity);
enum err_code rpc_pool_start(struct rpc_pool *pool, struct err_info *err) MUST_CHECK;
void rpc_pool_stop(struct rpc_pool *pool);    /* runs what is queued, then joins */
void rpc_pool_destroy(struct rpc_pool *pool); /* NULL is allowed */
bool rpc_pool_push(struct rpc_pool *pool, struct rpc_task *task)
    MUST_CHECK; /* false: as many new calls wait as may */
void rpc_pool_push_event(
    struct rpc_pool *pool, struct rpc_task *task); /* a stream's; always taken */

struct rpc_trailer {
    char *name;
    grpc_slice value;
};

struct rpc_call {
    struct rpc_server *server;
    const struct rpc_method *method; /* NULL: no such path */
    struct rpc_stream *stream;       /* NULL: unary */
    atomic_uint refs;
    grpc_call *core;
    grpc_completion_queue *cq;
    grpc_call_details details;
    grpc_metadata_array metadata;
    struct rpc_peer *peer;
    struct arena *arena;       /* made on first use */
    struct arena *event_arena; /* streams: while an event runs */
    struct rpc_thread *thread; /* that runs it now */
    char id[ID_TEXT_BYTES];
    struct mono_us started;
    struct mono_us deadline;
    struct mono_us ended;
    atomic_bool canceled;
    int close_canceled; /* written by the library until t_close completes */
    bool is_vouched;    /* the gate accepted a credential */
    bool is_stranger;   /* counted in its peer's stranger_calls */
    struct mono_us admitted;
    void *principal;
    void (*release_principal)(void *principal);
    struct rpc_trailer *trailers; /* RPC_TRAILERS_MAX places, made on first use */
    atomic_uint trailer_count;    /* of those complete: a deadline may send while one is added */
    struct rpc_tag t_new;
    struct rpc_tag t_close;
    struct rpc_tag t_read;
    struct rpc_tag t_status;
    struct rpc_task task;
    /* Unary: guards what follows and starts of batches after the first. A stream has its own lock.
     */
    struct lock lock;
    bool answered;        /* a status was given to the library, or will never be */
    bool watches_close;   /* a batch waits for the end of the call */
    uint64_t timer_id;    /* of the row's own deadline */
    grpc_byte_buffer *in; /* written by the library until t_read completes */
    grpc_byte_buffer *out;
    enum rpc_status status; /* as recorded for the gate */
    char *text;             /* of an error, or NULL */
};

struct rpc_server {
    struct rpc_server_options options;
    struct rpc_limits limits;
    struct map *rows; /* path -> row */
    size_t largest_message;
    grpc_server *core;
    struct door *door;
    struct rpc_pool *pool;
    struct timer_wheel *wheel;
    struct rpc_thread *pollers;
    unsigned poller_count;
    struct rpc_health *health;
    bool started;
    bool drained;
    atomic_bool stopping;
    atomic_size_t live; /* calls that have not concluded, armed ones included */
    struct lock live_lock;
    struct lock_cond live_changed;
    bool hurries;   /* no grace any more; guarded by live_lock */
    bool shut_down; /* the library's server has ended; guarded by live_lock */
    struct rpc_tag t_shutdown;
    atomic_uint_fast64_t calls_started;
    atomic_uint_fast64_t calls_unknown;
    atomic_uint_fast64_t streams_open;
};

/* call.c */
void rpc_call_arm(struct rpc_server *server, struct rpc_thread *thread);
void rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);

/* Starts a batch whose completion owns a reference; false: the library refused it, no completion
 * comes. */
bool rpc_call_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag)
    MUST_CHECK;

/* Asks the gate, and keeps within bounds what a connection without credentials may have at once. */
enum err_code rpc_call_admit(struct rpc_call *call, bool may_block, struct err_info *err)
    MUST_CHECK;

/* Records how the call ended; the first record stays. text may be NULL. */
void rpc_call_record(struct rpc_call *call, enum rpc_status status, const char *text);

/*
 * Watches for the end of a unary call, under its lock: by a batch of its own, for whoever must know
 * while the call waits or runs on a worker. Else the batch with the status does it too, and the
 * call costs one batch and one completion less.
 */
void rpc_call_watch_close(struct rpc_call *call);

/* Fills the op that sends the recorded status; trailers and text are valid while storage is. */
struct rpc_status_op {
    grpc_metadata trailers[RPC_TRAILERS_MAX];
    unsigned count;
    grpc_slice text;
};

void rpc_call_fill_status(struct rpc_call *call, struct rpc_status_op *storage, grpc_op *op);
void rpc_status_op_deinit(struct rpc_status_op *storage);

/* unary.c */
void rpc_unary_begin(struct rpc_call *call, struct rpc_thread *poller);
void rpc_unary_refuse(struct rpc_call *call, enum rpc_status status, const char *text);
void rpc_unary_closed(struct rpc_call *call);

/* stream.c */
void rpc_stream_begin(
    struct rpc_call *call); /* the call's stream takes over its creator's reference */
void rpc_stream_peer_closed(struct rpc_stream *stream, struct rpc_thread *thread);

/* table.c */
enum err_code rpc_table_build(struct rpc_server *server, struct err_info *err) MUST_CHECK;

/* health.c, reflection.c: the server's own services. */
struct rpc_table rpc_health_table(void);
struct rpc_table rpc_reflection_table(void);
struct rpc_health *rpc_health_create(void);
void rpc_health_destroy(struct rpc_health *health);
void rpc_health_set(struct rpc_health *health, bool serving);
void rpc_health_end(struct rpc_health *health); /* ends every watch, and those to come */

/* Full name of a path's service: "package.Service" of "/package.Service/Method". */
struct str_view rpc_path_service(const char *path);
bool rpc_server_has_service(const struct rpc_server *server, struct str_view name);

#endif
