#include "tools/bench/agents/hold.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/rpc/runtime.h"
#include "common/sys/fd.h"
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
    ANSWER_BYTES = 24
};

struct queue {
    grpc_server *server;
    grpc_completion_queue *cq;
    struct thread thread;
};

struct held;

struct tag {
    void (*done)(struct held *held, bool ok);
    struct held *held;
};

/* A stream: one read is always outstanding, and one notice of its end. */
struct held {
    struct queue *queue;
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
    if (grpc_call_start_batch(held->call, ops, count, tag, NULL) != GRPC_CALL_OK) {
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

static void on_read(struct held *held, bool ok)
{
    if (ok && held->in != NULL) {
        grpc_byte_buffer_destroy(STEAL(held->in));
        if (held->answer == NULL) {
            answer(held);
        }
        read_next(held);
    }
    release(held);
}

static void on_answered(struct held *held, bool ok)
{
    (void)ok;
    release(held);
}

static void on_new(struct held *held, bool ok);

static void arm(struct queue *queue)
{
    struct held *held = mem_alloc(sizeof(*held));
    held->queue = queue;
    held->outstanding = 1;
    held->t_new = (struct tag){ on_new, held };
    held->t_read = (struct tag){ on_read, held };
    held->t_answer = (struct tag){ on_answered, held };
    held->t_close = (struct tag){ on_answered, held };
    grpc_call_details_init(&held->details);
    grpc_metadata_array_init(&held->metadata);
    (void)grpc_server_request_call(
        queue->server,
        &held->call,
        &held->details,
        &held->metadata,
        queue->cq,
        queue->cq,
        &held->t_new);
}

static void on_new(struct held *held, bool ok)
{
    if (ok) {
        arm(held->queue);
        grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
        op.data.recv_close_on_server.cancelled = &held->cancelled;
        start(held, &op, 1, &held->t_close);
        read_next(held);
    }
    release(held);
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
            struct tag *tag = event.tag;
            tag->done(tag->held, event.success != 0);
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
    int number = 0;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigwait(&set, &number);
}

int hold_main(char *const *argv)
{
    struct err_info err = ERR_INFO_INIT;
    struct queue queues[QUEUES_MAX] = { 0 };
    unsigned count = thread_cpu_count() < QUEUES_MAX ? thread_cpu_count() : QUEUES_MAX;
    rpc_signals_block(NULL);
    (void)fd_raise_limit();
    rpc_runtime_acquire();
    grpc_server *server = create_server();
    grpc_server_credentials *credentials = credentials_of(argv[0], argv[1]);
    int port =
        credentials == NULL ? 0 : grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
    if (port == 0) {
        return 1;
    }
    for (unsigned i = 0; i < count; i++) {
        queues[i].server = server;
        queues[i].cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server, queues[i].cq, NULL);
    }
    grpc_server_start(server);
    for (unsigned i = 0; i < count; i++) {
        if (thread_start(&queues[i].thread, "hold", serve, &queues[i], &err) != ERR_OK) {
            return 1;
        }
    }
    (void)printf("{\"event\":\"ready\",\"port\":%d}\n", port);
    (void)fflush(stdout);
    wait_signal();
    _exit(0);
}
