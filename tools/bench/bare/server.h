/*
 * A server of the bare gRPC library: what the floors of the benches run on. As many completion
 * queues and threads as there are cores, calls armed ahead: the best that was measured for it. A
 * process of its own, which ends at once with SIGTERM or SIGINT.
 */
#ifndef TOOLS_BENCH_BARE_SERVER_H
#define TOOLS_BENCH_BARE_SERVER_H

#include <grpc/grpc.h>

#include <stdbool.h>

struct bare_queue {
    grpc_server *server;
    grpc_completion_queue *cq;
    const void *context; /* of the options */
};

/* Every tag given to the library points to one of these. */
struct bare_tag {
    void (*done)(struct bare_tag *tag, bool ok);
};

struct bare_options {
    const char *certificate; /* PEM files; "": plaintext */
    const char *key;
    int max_metadata_bytes; /* 0: the library's own; so below */
    int max_streams;
    void (*arm)(const struct bare_queue *queue); /* asks for one call */
    const void *context;
};

/* Serves on a free port of 127.0.0.1 and prints {"event":"ready","port":N}. Does not return but for
 * a server that did not start: the exit status. */
int bare_serve(const struct bare_options *options);

#endif
