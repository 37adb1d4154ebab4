/* What a stream sends and receives: its outbound queue and the batches it starts. */
#include "common/base/log.h"
#include "common/rpc/stream_private.h"

struct outgoing {
    struct list node;
    grpc_byte_buffer *buffer;
    size_t bytes;
};

void rpc_stream_drop_first_locked(struct rpc_stream *stream)
{
    struct outgoing *first = LIST_ENTRY(stream->out.next, struct outgoing, node);
    list_remove(&first->node);
    stream->queued_bytes -= first->bytes;
    grpc_byte_buffer_destroy(first->buffer);
    mem_free(first);
}

void rpc_stream_drop_queue_locked(struct rpc_stream *stream)
{
    struct list kept;
    list_init(&kept);
    if (stream->writing) {
        struct list *head = stream->out.next;
        list_remove(head);
        list_append(&kept, head);
    }
    while (!list_is_empty(&stream->out)) {
        rpc_stream_drop_first_locked(stream);
    }
    if (!list_is_empty(&kept)) {
        list_append(&stream->out, list_pop(&kept));
    }
}

bool rpc_stream_batch_locked(
    struct rpc_stream *stream, const grpc_op *ops, size_t count, struct rpc_tag *tag)
{
    if (!rpc_call_batch(stream->call, ops, count, tag)) {
        log_error("rpc_batch_refused", LOG_STR("call", stream->call->id));
        return false;
    }
    stream->batches++;
    return true;
}

void rpc_stream_start_write_locked(struct rpc_stream *stream)
{
    if (stream->writing || stream->dead || list_is_empty(&stream->out)) {
        return;
    }
    struct outgoing *first = LIST_ENTRY(stream->out.next, struct outgoing, node);
    grpc_op ops[3];
    size_t count = 0;
    if (!stream->header_sent) {
        stream->header_sent = true;
        ops[count++] = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
    }
    bool is_last = first->node.next == &stream->out;
    ops[count] =
        (grpc_op){ .op = GRPC_OP_SEND_MESSAGE, .flags = is_last ? 0 : GRPC_WRITE_BUFFER_HINT };
    ops[count++].data.send_message.send_message = first->buffer;
    if (!is_last || !stream->finishing) {
        stream->writing = rpc_stream_batch_locked(stream, ops, count, &stream->t_write);
        return;
    }
    /* The status goes with it: one write, and one wake of the peer. */
    struct rpc_status_op storage;
    stream->status_started = true;
    rpc_call_fill_status(stream->call, &storage, &ops[count++]);
    stream->writing = rpc_stream_batch_locked(stream, ops, count, &stream->t_write);
    if (!stream->writing) {
        (void)grpc_call_cancel(stream->call->core, NULL);
    }
    rpc_status_op_deinit(&storage);
}

void rpc_stream_start_read_locked(struct rpc_stream *stream)
{
    if (stream->reading || stream->read_ended || stream->in != NULL || stream->in_message
        || stream->paused || stream->finishing || stream->dead) {
        return;
    }
    grpc_op ops[2];
    size_t count = 0;
    if (!stream->header_sent) { /* tells proxies and callers at once that the stream is taken */
        stream->header_sent = true;
        ops[count++] = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
    }
    ops[count] = (grpc_op){ .op = GRPC_OP_RECV_MESSAGE };
    ops[count++].data.recv_message.recv_message = &stream->arriving;
    stream->reading = rpc_stream_batch_locked(stream, ops, count, &stream->t_read);
}

void rpc_stream_start_status_locked(struct rpc_stream *stream)
{
    if (stream->status_started || stream->dead) {
        return;
    }
    stream->status_started = true;
    grpc_op ops[2];
    size_t count = 0;
    if (!stream->header_sent) {
        stream->header_sent = true;
        ops[count++] = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
    }
    struct rpc_status_op storage;
    rpc_call_fill_status(stream->call, &storage, &ops[count++]);
    if (!rpc_stream_batch_locked(stream, ops, count, &stream->t_status)) {
        (void)grpc_call_cancel(stream->call->core, NULL);
    }
    rpc_status_op_deinit(&storage);
}

static enum err_code send(struct rpc_stream *stream, const ProtobufCMessage *message, bool is_last)
{
    size_t cap = stream->server->limits.queued_bytes_per_stream;
    grpc_byte_buffer *buffer = rpc_message_pack(message, RPC_REPLY_MAX);
    if (buffer == NULL) {
        return ERR_LIMIT;
    }
    size_t bytes = grpc_byte_buffer_length(buffer) + sizeof(struct outgoing);
    lock_acquire(&stream->lock);
    size_t queued = stream->queued_bytes; /* one message may be larger than the cap, alone */
    enum err_code code = ERR_OK;
    if (stream->finishing || stream->dead) {
        code = ERR_CANCELED;
    } else if (queued > 0 && (queued >= cap || bytes > cap - queued)) {
        code = ERR_LIMIT;
    } else {
        struct outgoing *item = mem_alloc(sizeof(*item));
        item->buffer = STEAL(buffer);
        item->bytes = bytes;
        stream->queued_bytes += bytes;
        list_append(&stream->out, &item->node);
        if (is_last) {
            rpc_stream_finish_locked(stream, RPC_OK, NULL);
        } else {
            rpc_stream_start_write_locked(stream);
        }
    }
    lock_release(&stream->lock);
    grpc_byte_buffer_destroy(buffer);
    return code;
}

enum err_code rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message)
{
    return send(stream, message, false);
}

enum err_code rpc_stream_send_last(struct rpc_stream *stream, const ProtobufCMessage *message)
{
    return send(stream, message, true);
}

size_t rpc_stream_queued_bytes(const struct rpc_stream *stream)
{
    return atomic_load(&stream->queued_bytes);
}
