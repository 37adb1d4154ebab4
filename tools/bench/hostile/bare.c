#include "tools/bench/hostile/bare.h"

#include "common/base/cleanup.h"
#include "common/crypto/cert.h"
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
    QUEUES = 2
};

enum step {
    ARRIVING,
    READING,
    ANSWERING
};

struct queue {
    grpc_server *server;
    grpc_completion_queue *cq;
    struct thread thread;
};

/* One completion at a time. */
struct call {
    struct queue *queue;
    enum step step;
    grpc_call *core;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply;
    int canceled;
};

static void arm(struct queue *queue)
{
    struct call *call = mem_alloc(sizeof(*call));
    call->queue = queue;
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    (void)grpc_server_request_call(
        queue->server, &call->core, &call->details, &call->metadata, queue->cq, queue->cq, call);
}

static void start(struct call *call, enum step step, const grpc_op *ops, size_t count)
{
    call->step = step;
    if (grpc_call_start_batch(call->core, ops, count, call, NULL) != GRPC_CALL_OK) {
        abort();
    }
}

static void read_request(struct call *call)
{
    grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
    op.data.recv_message.recv_message = &call->request;
    start(call, READING, &op, 1);
}

static void answer(struct call *call)
{
    grpc_slice text = grpc_slice_from_static_string("");
    grpc_op ops[4] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA },
        { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_STATUS_FROM_SERVER },
        { .op = GRPC_OP_RECV_CLOSE_ON_SERVER },
    };
    call->reply = grpc_raw_byte_buffer_create(NULL, 0);
    ops[1].data.send_message.send_message = call->reply;
    ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
    ops[2].data.send_status_from_server.status_details = &text;
    ops[3].data.recv_close_on_server.cancelled = &call->canceled;
    start(call, ANSWERING, ops, ARRAY_LENGTH(ops));
}

static void end(struct call *call)
{
    grpc_byte_buffer_destroy(call->request);
    grpc_byte_buffer_destroy(call->reply);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->core != NULL) {
        grpc_call_unref(call->core);
    }
    mem_free(call);
}

static void on_completion(struct call *call, bool ok)
{
    if (call->step == ARRIVING && ok) {
        arm(call->queue);
        read_request(call);
    } else if (call->step == READING) {
        answer(call);
    } else {
        end(call);
    }
}

static void poll(void *context)
{
    struct queue *queue = context;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(queue->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return;
        }
        on_completion(event.tag, event.success != 0);
    }
}

static grpc_server *create_server(void)
{
    static char max_metadata[] = GRPC_ARG_MAX_METADATA_SIZE;
    static char streams[] = GRPC_ARG_MAX_CONCURRENT_STREAMS;
    static char probe[] = GRPC_ARG_HTTP2_BDP_PROBE;
    grpc_arg args[] = {
        { .type = GRPC_ARG_INTEGER, .key = max_metadata, .value.integer = 24 * 1024 },
        { .type = GRPC_ARG_INTEGER, .key = streams, .value.integer = 100 },
        { .type = GRPC_ARG_INTEGER, .key = probe, .value.integer = 0 },
    };
    const grpc_channel_args all = { ARRAY_LENGTH(args), args };
    return grpc_server_create(&all, NULL);
}

static enum err_code listen_tls(
    grpc_server *server, const char *dir, int *ret_port, struct err_info *err)
{
    static const char *const names[] = { "localhost" };
    struct cert_pair pair = { 0 };
    AUTO_FREE char *ca = NULL;
    TRY(cert_store_load(dir, names, 1, clock_wall(clock_system()), &pair, &ca, NULL, err));
    grpc_ssl_pem_key_cert_pair pem = { secret_peek(pair.key_pem).ptr, pair.certificate_pem };
    grpc_server_credentials *credentials = grpc_ssl_server_credentials_create_ex(
        NULL, &pem, 1, GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, NULL);
    *ret_port = grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
    grpc_server_credentials_release(credentials);
    cert_pair_deinit(&pair);
    return *ret_port > 0 ? ERR_OK : ERR_SET(err, ERR_UNAVAILABLE, "no port");
}

/* Until SIGTERM; then the process ends, as nothing here has to be kept. */
int bare_serve(const char *dir)
{
    struct err_info err = ERR_INFO_INIT;
    struct queue queues[QUEUES] = { 0 };
    int port = 0;
    sigset_t end_signals;
    int signal_number = 0;
    (void)sigemptyset(&end_signals);
    (void)sigaddset(&end_signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &end_signals, NULL);
    grpc_init();
    grpc_server *server = create_server();
    for (size_t i = 0; i < QUEUES; i++) {
        queues[i].server = server;
        queues[i].cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server, queues[i].cq, NULL);
    }
    enum err_code code = listen_tls(server, dir, &port, &err);
    grpc_server_start(server);
    for (size_t i = 0; code == ERR_OK && i < QUEUES; i++) {
        for (unsigned armed = 0; armed < ARMED; armed++) {
            arm(&queues[i]);
        }
        code = thread_start(&queues[i].thread, "bare", poll, &queues[i], &err);
    }
    if (code != ERR_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    (void)printf("{\"event\":\"ready\",\"tls_port\":%d}\n", port);
    (void)fflush(stdout);
    (void)sigwait(&end_signals, &signal_number);
    _exit(0);
}
