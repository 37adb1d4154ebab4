#include "tools/bench/bare/echo.h"

#include "common/base/cleanup.h"
#include "common/rpc/runtime.h"
#include "tools/bench/bare/server.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include <stdlib.h>
#include <string.h>

enum {
    REPLY_BYTES_MAX = 64 * 1024
};

enum step {
    ARMED_STEP,
    READING,
    ANSWERING
};

/* A call: armed, its request read, answered; one completion at a time. */
struct echo {
    struct bare_tag tag;
    const struct bare_queue *queue;
    enum step step;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply; /* sending empties it */
    int cancelled;
};

static void on_event(struct bare_tag *tag, bool ok);

static void arm(const struct bare_queue *queue)
{
    struct echo *echo = mem_alloc(sizeof(*echo));
    echo->tag.done = on_event;
    echo->queue = queue;
    grpc_call_details_init(&echo->details);
    grpc_metadata_array_init(&echo->metadata);
    (void)grpc_server_request_call(
        queue->server,
        &echo->call,
        &echo->details,
        &echo->metadata,
        queue->cq,
        queue->cq,
        &echo->tag);
}

static void run_batch(struct echo *echo, const grpc_op *ops, size_t count, enum step step)
{
    echo->step = step;
    if (grpc_call_start_batch(echo->call, ops, count, &echo->tag, NULL) != GRPC_CALL_OK) {
        abort();
    }
}

static void read_request(struct echo *echo)
{
    grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
    op.data.recv_message.recv_message = &echo->request;
    run_batch(echo, &op, 1, READING);
}

static void answer(struct echo *echo)
{
    grpc_slice text = grpc_slice_from_static_string("");
    grpc_op ops[4] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA },
        { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_STATUS_FROM_SERVER },
        { .op = GRPC_OP_RECV_CLOSE_ON_SERVER },
    };
    echo->reply = grpc_byte_buffer_copy(CONST_CAST(grpc_byte_buffer *, echo->queue->context));
    ops[1].data.send_message.send_message = echo->reply;
    ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
    ops[2].data.send_status_from_server.status_details = &text;
    ops[3].data.recv_close_on_server.cancelled = &echo->cancelled;
    run_batch(echo, ops, ARRAY_LENGTH(ops), ANSWERING);
}

static void end(struct echo *echo)
{
    grpc_byte_buffer_destroy(echo->request);
    grpc_byte_buffer_destroy(echo->reply);
    grpc_metadata_array_destroy(&echo->metadata);
    grpc_call_details_destroy(&echo->details);
    if (echo->call != NULL) {
        grpc_call_unref(echo->call);
    }
    mem_free(echo);
}

static void on_event(struct bare_tag *tag, bool ok)
{
    struct echo *echo = (struct echo *)tag; /* its first member */
    if (!ok || echo->step == ANSWERING) {
        end(echo);
    } else if (echo->step == READING) {
        answer(echo);
    } else {
        arm(echo->queue);
        read_request(echo);
    }
}

static grpc_byte_buffer *make_reply(size_t bytes)
{
    grpc_slice slice = grpc_slice_malloc(bytes);
    memset(GRPC_SLICE_START_PTR(slice), 0, bytes);
    grpc_byte_buffer *reply = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return reply;
}

int echo_serve(size_t reply_bytes, const struct bare_options *where)
{
    struct bare_options options = *where;
    rpc_runtime_acquire();
    options.arm = arm;
    options.context = make_reply(reply_bytes);
    return bare_serve(&options);
}

int echo_main(char *const *argv)
{
    struct bare_options options = { .certificate = argv[1], .key = argv[2] };
    int64_t reply_bytes = 0;
    return str_parse_int64(str_of(argv[0]), 0, REPLY_BYTES_MAX, &reply_bytes) == ERR_OK
        ? echo_serve((size_t)reply_bytes, &options)
        : 1;
}
