#include "tools/bench/bare/server.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/rpc/runtime.h"
#include "common/sys/file.h"
#include "common/sys/thread.h"

#include <grpc/grpc_security.h>

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum {
    ARMED = 64,
    QUEUES_MAX = 16,
    PEM_BYTES_MAX = 64 * 1024,
    ARGS_MAX = 5
};

struct worker {
    struct bare_queue queue;
    const struct bare_options *options;
    struct thread thread;
};

static void work(void *context)
{
    const struct worker *worker = context;
    for (int i = 0; i < ARMED; i++) {
        worker->options->arm(&worker->queue);
    }
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(worker->queue.cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_OP_COMPLETE) {
            struct bare_tag *tag = event.tag;
            tag->done(tag, event.success != 0);
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
static grpc_server *create_server(const struct bare_options *options)
{
    grpc_arg args[ARGS_MAX] = {
        rpc_arg_int(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        rpc_arg_int(GRPC_ARG_ENABLE_CHANNELZ, 0),
        rpc_arg_int(GRPC_ARG_ALLOW_REUSEPORT, 0),
    };
    grpc_channel_args all = { 3, args };
    if (options->max_metadata_bytes > 0) {
        args[all.num_args++] = rpc_arg_int(GRPC_ARG_MAX_METADATA_SIZE, options->max_metadata_bytes);
    }
    if (options->max_streams > 0) {
        args[all.num_args++] = rpc_arg_int(GRPC_ARG_MAX_CONCURRENT_STREAMS, options->max_streams);
    }
    return grpc_server_create(&all, NULL);
}

static int listen_on(grpc_server *server, const struct bare_options *options)
{
    grpc_server_credentials *credentials = credentials_of(options->certificate, options->key);
    if (credentials == NULL) {
        return 0;
    }
    int port = grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
    grpc_server_credentials_release(credentials);
    return port;
}

static enum err_code start(
    grpc_server *server, const struct bare_options *options, struct worker *workers)
{
    unsigned count = thread_cpu_count() < QUEUES_MAX ? thread_cpu_count() : QUEUES_MAX;
    for (unsigned i = 0; i < count; i++) {
        struct bare_queue queue = { server,
                                    grpc_completion_queue_create_for_next(NULL),
                                    options->context };
        workers[i] = (struct worker){ .queue = queue, .options = options };
        grpc_server_register_completion_queue(server, queue.cq, NULL);
    }
    grpc_server_start(server);
    for (unsigned i = 0; i < count; i++) {
        TRY(thread_start(&workers[i].thread, "bare", work, &workers[i], NULL));
    }
    return ERR_OK;
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

int bare_serve(const struct bare_options *options)
{
    struct worker workers[QUEUES_MAX];
    rpc_signals_block(NULL);
    rpc_runtime_acquire();
    grpc_server *server = create_server(options);
    int port = listen_on(server, options);
    if (port == 0 || start(server, options, workers) != ERR_OK) {
        return 1;
    }
    (void)printf("{\"event\":\"ready\",\"port\":%d}\n", port);
    (void)fflush(stdout);
    wait_signal();
    _exit(0);
}
