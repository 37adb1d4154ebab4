/*
 * A stream of the client. What happened is noted under the lock; one delivery at a time is posted
 * to the executor, which takes the events off in order. Without an executor the reader waits
 * instead.
 *
 * References: the caller's, one of the stream's own until the library has completed every batch,
 * one per posted delivery.
 */
#include "common/base/log.h"
#include "common/rpc/client_private.h"

#include <grpc/slice.h>

struct outgoing {
    struct list node;
    grpc_byte_buffer *buffer;
    size_t bytes;
};

struct rpc_client_stream {
    struct rpc_operation operation;
    const ProtobufCMessageDescriptor *reply_type;
    struct rpc_executor executor; /* post is NULL: a blocking reader */
    struct rpc_client_stream_ops ops;
    void *context;
    atomic_uint refs;
    struct rpc_client_tag t_header;
    struct rpc_client_tag t_read;
    struct rpc_client_tag t_write;
    struct rpc_client_tag t_half_close;
    struct rpc_client_tag t_status;
    struct lock lock; /* guards what follows */
    struct lock_cond changed;
    unsigned batches;
    bool posted;   /* a delivery is on its way */
    bool released; /* no further event */
    bool reading;
    bool in_message;
    bool read_ended;
    bool paused;
    bool writing;
    bool writable;   /* to be told */
    bool header_due; /* goes with the first write */
    bool half_close_wanted;
    bool half_closed;
    bool has_status;
    bool closed_told;
    grpc_op header;
    grpc_byte_buffer *arriving; /* the library's while `reading` */
    grpc_byte_buffer *in;
    struct list out;
    size_t queued_bytes;
};

static void unref(struct rpc_client_stream *stream)
{
    if (atomic_fetch_sub(&stream->refs, 1) != 1) {
        return;
    }
    while (!list_is_empty(&stream->out)) {
        struct outgoing *item = LIST_ENTRY(list_pop(&stream->out), struct outgoing, node);
        grpc_byte_buffer_destroy(item->buffer);
        mem_free(item);
    }
    grpc_byte_buffer_destroy(stream->in);
    rpc_operation_deinit(&stream->operation);
    lock_cond_deinit(&stream->changed);
    lock_deinit(&stream->lock);
    mem_free(stream);
}

static bool batch_locked(
    struct rpc_client_stream *stream, const grpc_op *ops, size_t count, struct rpc_client_tag *tag)
{
    if (!rpc_client_batch(&stream->operation, ops, count, tag)) {
        return false;
    }
    stream->batches++;
    atomic_fetch_add(&stream->refs, 1);
    return true;
}

static void start_read_locked(struct rpc_client_stream *stream)
{
    if (stream->reading || stream->read_ended || stream->in != NULL || stream->in_message
        || stream->paused) {
        return;
    }
    grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
    op.data.recv_message.recv_message = &stream->arriving;
    stream->reading = batch_locked(stream, &op, 1, &stream->t_read);
    stream->read_ended = !stream->reading;
}

/* One message, or none, with what belongs before it and behind it: less to write, and fewer wakes
 * on the other side, than one by one. */
static void start_write_locked(struct rpc_client_stream *stream)
{
    grpc_op ops[3];
    size_t count = 0;
    bool has_message = !list_is_empty(&stream->out);
    if (stream->writing || stream->half_closed || stream->has_status
        || (!has_message && !stream->half_close_wanted)) {
        return;
    }
    if (stream->header_due) {
        stream->header_due = false;
        ops[count++] = stream->header;
    }
    bool is_last = true;
    if (has_message) {
        struct outgoing *first = LIST_ENTRY(stream->out.next, struct outgoing, node);
        is_last = first->node.next == &stream->out;
        ops[count] =
            (grpc_op){ .op = GRPC_OP_SEND_MESSAGE, .flags = is_last ? 0 : GRPC_WRITE_BUFFER_HINT };
        ops[count++].data.send_message.send_message = first->buffer;
    }
    if (is_last && stream->half_close_wanted) {
        stream->half_closed = true;
        ops[count++] = (grpc_op){ .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT };
    }
    struct rpc_client_tag *tag = has_message ? &stream->t_write : &stream->t_half_close;
    bool started = batch_locked(stream, ops, count, tag);
    stream->writing = started && has_message;
}

/* The status counts once everything before it was read. */
static bool is_over_locked(const struct rpc_client_stream *stream)
{
    return stream->has_status && stream->read_ended && stream->batches == 0 && stream->in == NULL;
}

static void deliver(void *argument);

static void post_locked(struct rpc_client_stream *stream)
{
    bool due =
        stream->in != NULL || stream->writable || (is_over_locked(stream) && !stream->closed_told);
    if (stream->executor.post == NULL) {
        lock_cond_broadcast(&stream->changed);
        return;
    }
    if (!due || stream->posted || stream->released) {
        return;
    }
    stream->posted = true;
    atomic_fetch_add(&stream->refs, 1);
    if (!stream->executor.post(stream->executor.context, deliver, stream)) {
        stream->released = true;            /* the executor has ended */
        atomic_fetch_sub(&stream->refs, 1); /* never the last: the caller of this holds one */
        (void)grpc_call_cancel(stream->operation.core, NULL);
    }
}

static void deliver_message(struct rpc_client_stream *stream, grpc_byte_buffer *take_in)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    AUTO_ARENA struct arena *arena = arena_create(RPC_CLIENT_ARENA_BYTES);
    enum err_code code = rpc_operation_unpack(
        &stream->operation, stream->reply_type, take_in, arena, &message, &err);
    if (code == ERR_OK) {
        stream->ops.message(stream->context, message);
    } else {
        (void)grpc_call_cancel_with_status(
            stream->operation.core,
            (grpc_status_code)rpc_status_of(code),
            "the server sent a message that cannot be read",
            NULL);
    }
    LOCK_GUARD(&stream->lock);
    stream->in_message = false;
    start_read_locked(stream);
}

enum what {
    NOTHING,
    MESSAGE,
    WRITABLE,
    CLOSED
};

static enum what take(struct rpc_client_stream *stream, grpc_byte_buffer **ret_in)
{
    LOCK_GUARD(&stream->lock);
    if (!stream->released) {
        if (stream->writable) {
            stream->writable = false;
            return WRITABLE;
        }
        if (stream->in != NULL) {
            *ret_in = STEAL(stream->in);
            stream->in_message = true;
            return MESSAGE;
        }
        if (is_over_locked(stream) && !stream->closed_told) {
            stream->closed_told = true;
            return CLOSED;
        }
    }
    stream->posted = false;
    return NOTHING;
}

static void deliver(void *argument)
{
    struct rpc_client_stream *stream = argument;
    struct err_info err = ERR_INFO_INIT;
    grpc_byte_buffer *in = NULL;
    for (enum what what = take(stream, &in); what != NOTHING; what = take(stream, &in)) {
        if (what == MESSAGE) {
            deliver_message(stream, in);
        } else if (what == CLOSED) {
            enum err_code code = rpc_operation_result(&stream->operation, &err);
            stream->ops.closed(stream->context, code, &err);
        } else if (stream->ops.writable != NULL) {
            stream->ops.writable(stream->context);
        }
    }
    unref(stream);
}

static void complete(struct rpc_client_stream *stream)
{
    stream->batches--;
    post_locked(stream);
    lock_release(&stream->lock);
    unref(stream);
}

static void on_read(void *owner, bool ok)
{
    struct rpc_client_stream *stream = owner;
    lock_acquire(&stream->lock);
    stream->reading = false;
    stream->in = STEAL(stream->arriving);
    if (!ok || stream->in == NULL) {
        stream->read_ended = true;
    }
    complete(stream);
}

static void on_write(void *owner, bool ok)
{
    struct rpc_client_stream *stream = owner;
    lock_acquire(&stream->lock);
    stream->writing = false;
    struct outgoing *item = LIST_ENTRY(list_pop(&stream->out), struct outgoing, node);
    stream->queued_bytes -= item->bytes;
    grpc_byte_buffer_destroy(item->buffer);
    mem_free(item);
    if (ok) {
        stream->writable = list_is_empty(&stream->out) && !stream->half_close_wanted;
        start_write_locked(stream);
    }
    complete(stream);
}

static void on_other(void *owner, bool ok)
{
    (void)ok;
    struct rpc_client_stream *stream = owner;
    lock_acquire(&stream->lock);
    complete(stream);
}

static void on_status(void *owner, bool ok)
{
    (void)ok;
    struct rpc_client_stream *stream = owner;
    lock_acquire(&stream->lock);
    stream->has_status = true;
    complete(stream);
}

static bool start_locked(struct rpc_client_stream *stream, const struct rpc_call_options *options)
{
    grpc_op status;
    rpc_operation_fill_status(&stream->operation, &status);
    grpc_op answer = { .op = GRPC_OP_RECV_INITIAL_METADATA };
    answer.data.recv_initial_metadata.recv_initial_metadata = &stream->operation.initial;
    rpc_operation_fill_header(&stream->operation, options, &stream->header);
    if (!batch_locked(stream, &status, 1, &stream->t_status)) {
        return false;
    }
    stream->header_due = options != NULL && options->speaks_first;
    if ((!stream->header_due && !batch_locked(stream, &stream->header, 1, &stream->t_half_close))
        || !batch_locked(stream, &answer, 1, &stream->t_header)) {
        (void)grpc_call_cancel(stream->operation.core, NULL);
    }
    start_read_locked(stream);
    return true;
}

/* Two of the nine are results. NOLINTNEXTLINE(readability-function-size) */
enum err_code rpc_client_stream_open(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor,
    const struct rpc_client_stream_ops *ops,
    void *context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    struct rpc_client_stream *stream = mem_alloc(sizeof(*stream));
    enum err_code code = rpc_operation_init(&stream->operation, channel, path, options, 0, err);
    if (code != ERR_OK) {
        mem_free(stream);
        return code;
    }
    stream->reply_type = reply_type;
    if (executor != NULL) {
        stream->executor = *executor;
        stream->ops = *ops;
    }
    stream->context = context;
    atomic_init(&stream->refs, 1);
    stream->t_header = (struct rpc_client_tag){ .done = on_other, .owner = stream };
    stream->t_read = (struct rpc_client_tag){ .done = on_read, .owner = stream };
    stream->t_write = (struct rpc_client_tag){ .done = on_write, .owner = stream };
    stream->t_half_close = (struct rpc_client_tag){ .done = on_other, .owner = stream };
    stream->t_status = (struct rpc_client_tag){ .done = on_status, .owner = stream };
    lock_init(&stream->lock, LOCK_RANK_STREAM);
    lock_cond_init(&stream->changed);
    list_init(&stream->out);
    lock_acquire(&stream->lock);
    bool started = start_locked(stream, options);
    lock_release(&stream->lock);
    if (!started) {
        unref(stream);
        return ERR_SET(err, ERR_INTERNAL, "%s: the stream could not start", path);
    }
    *ret_stream = stream;
    return ERR_OK;
}

static enum err_code queue_message(
    struct rpc_client_stream *stream, const ProtobufCMessage *message, bool is_last)
{
    grpc_byte_buffer *buffer = rpc_message_pack(message, RPC_CLIENT_SEND_MAX);
    if (buffer == NULL) {
        return ERR_LIMIT;
    }
    size_t bytes = grpc_byte_buffer_length(buffer) + sizeof(struct outgoing);
    enum err_code code = ERR_OK;
    lock_acquire(&stream->lock);
    if (stream->has_status || stream->half_close_wanted || stream->released) {
        code = ERR_CANCELED;
    } else if (stream->queued_bytes > 0 && bytes + stream->queued_bytes > RPC_CLIENT_QUEUE_MAX) {
        code = ERR_LIMIT;
    } else {
        struct outgoing *item = mem_alloc(sizeof(*item));
        item->buffer = STEAL(buffer);
        item->bytes = bytes;
        stream->queued_bytes += bytes;
        list_append(&stream->out, &item->node);
        stream->half_close_wanted = is_last;
        start_write_locked(stream);
    }
    lock_release(&stream->lock);
    grpc_byte_buffer_destroy(buffer);
    return code;
}

enum err_code rpc_client_stream_send(
    struct rpc_client_stream *stream, const ProtobufCMessage *message)
{
    return queue_message(stream, message, false);
}

enum err_code rpc_client_stream_send_last(
    struct rpc_client_stream *stream, const ProtobufCMessage *message)
{
    return queue_message(stream, message, true);
}

void rpc_client_stream_half_close(struct rpc_client_stream *stream)
{
    LOCK_GUARD(&stream->lock);
    stream->half_close_wanted = true;
    start_write_locked(stream);
}

void rpc_client_stream_pause(struct rpc_client_stream *stream, bool is_paused)
{
    LOCK_GUARD(&stream->lock);
    stream->paused = is_paused;
    start_read_locked(stream);
}

void rpc_client_stream_cancel(struct rpc_client_stream *stream)
{
    (void)grpc_call_cancel(stream->operation.core, NULL);
}

void rpc_client_stream_release(struct rpc_client_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    lock_acquire(&stream->lock);
    stream->released = true;
    lock_release(&stream->lock);
    (void)grpc_call_cancel(stream->operation.core, NULL);
    unref(stream);
}

enum err_code rpc_client_stream_read(
    struct rpc_client_stream *stream,
    struct mono_us deadline,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    lock_acquire(&stream->lock);
    bool in_time = true;
    while (stream->in == NULL && !is_over_locked(stream) && in_time) {
        in_time = lock_cond_wait_until(&stream->changed, &stream->lock, deadline);
    }
    grpc_byte_buffer *in = STEAL(stream->in);
    bool over = in == NULL && is_over_locked(stream);
    if (in != NULL) {
        start_read_locked(stream);
    }
    lock_release(&stream->lock);
    if (in != NULL) {
        return rpc_operation_unpack(
            &stream->operation, stream->reply_type, in, arena, ret_message, err);
    }
    if (!over) {
        return ERR_SET(err, ERR_TIMEOUT, "nothing came in time");
    }
    TRY(rpc_operation_result(&stream->operation, err));
    return ERR_SET(err, ERR_NOT_FOUND, "the stream has ended");
}

bool rpc_client_stream_ended_ok(struct rpc_client_stream *stream)
{
    LOCK_GUARD(&stream->lock);
    return is_over_locked(stream) && rpc_operation_result(&stream->operation, NULL) == ERR_OK;
}
