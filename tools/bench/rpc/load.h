/*
 * The client of every pair: bare C core, one thread, unary calls over several connections, a fixed
 * number always in flight. It checks the status of every call. One thread.
 */
#ifndef TOOLS_BENCH_RPC_LOAD_H
#define TOOLS_BENCH_RPC_LOAD_H

#include "common/base/str.h"

#include <sys/types.h>

enum {
    LOAD_CONNECTIONS_MAX = 16
};

struct load_target {
    const char *address; /* "127.0.0.1:7443" */
    const char *ca_pem;  /* NULL: plaintext */
    const char *path;    /* "/package.Service/Method" */
    struct str_view request;
    struct str_view tokens[LOAD_CONNECTIONS_MAX]; /* bearer credential of each connection */
    pid_t server;                                 /* whose CPU time counts */
};

struct load_shape {
    unsigned connections;
    unsigned in_flight; /* in all; a multiple of connections, or one */
    int64_t warm_us;
    int64_t measure_us;
};

struct load_result {
    uint64_t calls;
    double seconds;
    double server_cpu_us; /* of one call */
    double p50_us;
    double p99_us;
    size_t reply_bytes; /* of the last one */
};

/* ERR_UNAVAILABLE: a call failed; its status is in the text. */
enum err_code load_run(
    const struct load_target *target,
    const struct load_shape *shape,
    struct load_result *ret_result,
    struct err_info *err) MUST_CHECK;

#endif
