#include "tools/bench/bare/hold.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "tools/bench/bare/server.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_BYTES = 24
};

struct held;

struct tag {
    struct bare_tag tag;
    struct held *held;
};

/* A stream: one read is always outstanding, and one notice of its end. */
struct held {
    const struct bare_queue *queue;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *in;
    grpc_byte_buffer *answer;
    int cancelled;
    unsigned outstanding;
    struct tag t_new;
    struct tag t_read;
    struct tag t_answer;
    struct tag t_close;
};

static struct held *held_of(struct bare_tag *tag)
{
    return ((struct tag *)tag)->held; /* its first member */
}

static void release(struct held *held)
{
    if (--held->outstanding > 0) {
        return;
    }
    grpc_byte_buffer_destroy(held->in);
    grpc_byte_buffer_destroy(held->answer);
    grpc_metadata_array_destroy(&held->metadata);
    grpc_call_details_destroy(&held->details);
    if (held->call != NULL) {
        grpc_call_unref(held->call);
    }
    mem_free(held);
}

static void start(struct held *held, const grpc_op *ops, size_t count, struct tag *tag)
{
    held->outstanding++;
    if (grpc_call_start_batch(held->call, ops, count, &tag->tag, NULL) != GRPC_CALL_OK) {
        abort();
    }
}

static void read_next(struct held *held)
{
    grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
    op.data.recv_message.recv_message = &held->in;
    start(held, &op, 1, &held->t_read);
}

static void answer(struct held *held)
{
    grpc_slice slice = grpc_slice_malloc(ANSWER_BYTES);
    memset(GRPC_SLICE_START_PTR(slice), 0, ANSWER_BYTES);
    held->answer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_op ops[2] = { { .op = GRPC_OP_SEND_INITIAL_METADATA }, { .op = GRPC_OP_SEND_MESSAGE } };
    ops[1].data.send_message.send_message = held->answer;
    start(held, ops, ARRAY_LENGTH(ops), &held->t_answer);
}

static void on_read(struct bare_tag *tag, bool ok)
{
    struct held *held = held_of(tag);
    if (ok && held->in != NULL) {
        grpc_byte_buffer_destroy(STEAL(held->in));
        if (held->answer == NULL) {
            answer(held);
        }
        read_next(held);
    }
    release(held);
}

static void on_answered(struct bare_tag *tag, bool ok)
{
    struct held *held = held_of(tag);
    (void)ok;
    release(held);
}

static void on_new(struct bare_tag *tag, bool ok);

static void arm(const struct bare_queue *queue)
{
    struct held *held = mem_alloc(sizeof(*held));
    held->queue = queue;
    held->outstanding = 1;
    held->t_new = (struct tag){ { on_new }, held };
    held->t_read = (struct tag){ { on_read }, held };
    held->t_answer = (struct tag){ { on_answered }, held };
    held->t_close = (struct tag){ { on_answered }, held };
    grpc_call_details_init(&held->details);
    grpc_metadata_array_init(&held->metadata);
    (void)grpc_server_request_call(
        queue->server,
        &held->call,
        &held->details,
        &held->metadata,
        queue->cq,
        queue->cq,
        &held->t_new.tag);
}

static void on_new(struct bare_tag *tag, bool ok)
{
    struct held *held = held_of(tag);
    if (ok) {
        arm(held->queue);
        grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
        op.data.recv_close_on_server.cancelled = &held->cancelled;
        start(held, &op, 1, &held->t_close);
        read_next(held);
    }
    release(held);
}

int hold_main(char *const *argv)
{
    struct bare_options options = { .certificate = argv[0], .key = argv[1], .arm = arm };
    (void)fd_raise_limit();
    return bare_serve(&options);
}
