/*
 * A stream of the server and the library's batches on its call (stream_io.c). All of these are
 * called with the stream's lock held.
 */
#ifndef COMMON_RPC_STREAM_PRIVATE_H
#define COMMON_RPC_STREAM_PRIVATE_H

#include "common/rpc/rpc_private.h"

struct rpc_stream {
    struct rpc_server *server;
    struct rpc_call *call; /* NULL once it was let go */
    const struct rpc_method *method;
    void *state;
    atomic_uint refs;
    struct rpc_task task;
    struct rpc_tag t_read;
    struct rpc_tag t_write;
    struct rpc_tag t_status;
    struct rpc_tag t_kick;
    struct lock lock; /* guards what follows */
    unsigned pending;
    unsigned batches; /* the library has not completed yet */
    bool scheduled;   /* queued or running */
    bool opened;      /* open returned ERR_OK: closed is due */
    bool reading;
    bool read_ended; /* no further message will come */
    bool in_message;
    bool paused;
    bool left_workers; /* events run on the poller, whatever the row says */
    bool writing;
    bool header_sent;
    bool finishing;
    bool status_started;
    bool dead;                  /* the peer is gone */
    grpc_byte_buffer *arriving; /* the library's while `reading` */
    grpc_byte_buffer *in;
    struct list out;            /* the head is being written while `writing` */
    atomic_size_t queued_bytes; /* written under the lock */
    uint64_t timer_id;
    struct mono_us timer_at; /* INT64_MAX: off */
    uint64_t kill_id;        /* deadline or end of the flush grace */
};

/* Starts a batch and counts it; false: refused, no completion comes. */
bool rpc_stream_batch_locked(
    struct rpc_stream *stream, const grpc_op *ops, size_t count, struct rpc_tag *tag);

/* Each does nothing where the stream's state does not allow it (one is outstanding, the end is
 * near). */
void rpc_stream_start_read_locked(struct rpc_stream *stream);
void rpc_stream_start_write_locked(struct rpc_stream *stream);
void rpc_stream_start_status_locked(struct rpc_stream *stream);

/* Ends it once what is queued has gone; no further write starts but those. */
void rpc_stream_finish_locked(struct rpc_stream *stream, enum rpc_status status, const char *text);

void rpc_stream_drop_first_locked(struct rpc_stream *stream); /* the one just written */
void rpc_stream_drop_queue_locked(struct rpc_stream *stream); /* all but what the library holds */

#endif
