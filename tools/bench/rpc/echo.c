#include "tools/bench/rpc/echo.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/rpc/runtime.h"
#include "common/sys/file.h"
#include "common/sys/thread.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ARMED = 64,
    QUEUES_MAX = 16,
    PEM_BYTES_MAX = 64 * 1024,
    REPLY_BYTES_MAX = 64 * 1024
};

struct queue {
    grpc_server *server;
    grpc_completion_queue *cq;
    struct thread thread;
    grpc_byte_buffer *reply;
};

enum step {
    ARMED_STEP,
    READING,
    ANSWERING
};

/* A call: armed, its request read, answered; one completion at a time. */
struct echo {
    struct queue *queue;
    enum step step;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply; /* sending empties it */
    int cancelled;
};

static void arm(struct queue *queue)
{
    struct echo *echo = mem_alloc(sizeof(*echo));
    echo->queue = queue;
    grpc_call_details_init(&echo->details);
    grpc_metadata_array_init(&echo->metadata);
    (void)grpc_server_request_call(
        queue->server, &echo->call, &echo->details, &echo->metadata, queue->cq, queue->cq, echo);
}

static void run_batch(struct echo *echo, const grpc_op *ops, size_t count, enum step step)
{
    echo->step = step;
    if (grpc_call_start_batch(echo->call, ops, count, echo, NULL) != GRPC_CALL_OK) {
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
    echo->reply = grpc_byte_buffer_copy(echo->queue->reply);
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

static void on_event(struct queue *queue, struct echo *echo, bool ok)
{
    if (!ok || echo->step == ANSWERING) {
        end(echo);
    } else if (echo->step == READING) {
        answer(echo);
    } else {
        arm(queue);
        read_request(echo);
    }
}

static void serve(void *context)
{
    struct queue *queue = context;
    for (int i = 0; i < ARMED; i++) {
        arm(queue);
    }
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(queue->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_OP_COMPLETE) {
            on_event(queue, event.tag, event.success != 0);
        }
    }
}

static grpc_server_credentials *credentials_of(const char *certificate, const char *key)
{
    AUTO_BUF struct buf chain = BUF_INIT(PEM_BYTES_MAX);
    AUTO_BUF struct buf private = BUF_INIT(PEM_BYTES_MAX);
    if (certificate[0] == '\0') {
        return grpc_insecure_server_credentials_create();
    }
    if (file_read(certificate, PEM_BYTES_MAX, &chain, NULL) != ERR_OK
        || file_read(key, PEM_BYTES_MAX, &private, NULL) != ERR_OK) {
        return NULL;
    }
    grpc_ssl_pem_key_cert_pair pair = { buf_text(&private), buf_text(&chain) };
    return grpc_ssl_server_credentials_create_ex(
        NULL, &pair, 1, GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, NULL);
}

/* The channel arguments that Belay sets and that cost or save time. */
static grpc_server *create_server(void)
{
    grpc_arg args[] = {
        rpc_arg_int(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        rpc_arg_int(GRPC_ARG_ENABLE_CHANNELZ, 0),
        rpc_arg_int(GRPC_ARG_ALLOW_REUSEPORT, 0),
    };
    grpc_channel_args all = { ARRAY_LENGTH(args), args };
    return grpc_server_create(&all, NULL);
}

static void wait_signal(void)
{
    sigset_t set;
    int signal = 0;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigwait(&set, &signal);
}

static grpc_byte_buffer *make_reply(size_t bytes)
{
    grpc_slice slice = grpc_slice_malloc(bytes);
    memset(GRPC_SLICE_START_PTR(slice), 0, bytes);
    grpc_byte_buffer *reply = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return reply;
}

static enum err_code start(
    grpc_server *server, size_t reply_bytes, struct queue *queues, struct err_info *err)
{
    unsigned count = thread_cpu_count() < QUEUES_MAX ? thread_cpu_count() : QUEUES_MAX;
    for (unsigned i = 0; i < count; i++) {
        queues[i].server = server;
        queues[i].cq = grpc_completion_queue_create_for_next(NULL);
        queues[i].reply = make_reply(reply_bytes);
        grpc_server_register_completion_queue(server, queues[i].cq, NULL);
    }
    grpc_server_start(server);
    for (unsigned i = 0; i < count; i++) {
        TRY(thread_start(&queues[i].thread, "echo", serve, &queues[i], err));
    }
    return ERR_OK;
}

int echo_main(char *const *argv)
{
    struct err_info err = ERR_INFO_INIT;
    struct queue queues[QUEUES_MAX] = { 0 };
    int64_t reply_bytes = 0;
    rpc_signals_block(NULL);
    rpc_runtime_acquire();
    grpc_server *server = create_server();
    grpc_server_credentials *credentials = credentials_of(argv[1], argv[2]);
    if (credentials == NULL
        || str_parse_int64(str_of(argv[0]), 0, REPLY_BYTES_MAX, &reply_bytes) != ERR_OK) {
        return 1;
    }
    int port = grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
    if (port == 0 || start(server, (size_t)reply_bytes, queues, &err) != ERR_OK) {
        return 1;
    }
    (void)printf("{\"event\":\"ready\",\"port\":%d}\n", port);
    (void)fflush(stdout);
    wait_signal();
    _exit(0);
}
