/*
 * The small HTTP listener for machines: /metrics (Prometheus text), /healthz (the process runs) and
 * /readyz (it can serve), plain HTTP/1.1 without bodies. It holds no tenant's data and asks for no
 * credentials: bind it to loopback or to a network that only the monitoring reaches.
 *
 * One thread of its own runs everything, the is_ready callback and the sources of metrics included.
 */
#ifndef CMD_SERVER_HTTP_LISTENER_H
#define CMD_SERVER_HTTP_LISTENER_H

#include "common/metrics/metrics.h"

struct http_listener;

#define HTTP_LISTENER_ADDRESS "127.0.0.1:9090"

struct http_listener_options {
    const char
        *address; /* "127.0.0.1:9090", "[::1]:0", "localhost:0"; NULL: HTTP_LISTENER_ADDRESS */
    struct metrics *metrics; /* borrowed until http_listener_stop */

    /* false: not ready, and why in reason. Must not block. NULL: always ready. */
    bool (*is_ready)(void *context, char *reason, size_t reason_bytes);
    void *context;

    unsigned connection_max;        /* at once; 0: 64 */
    unsigned connection_per_ip_max; /* 0: 16 */
    int64_t request_max_us; /* from connecting (or the last answer) to the answer; 0: 10 s */
};

/* ERR_INVALID: the address; ERR_EXISTS: it is in use; ERR_DENIED, ERR_UNAVAILABLE: it cannot be
 * bound. */
enum err_code http_listener_start(
    const struct http_listener_options *options,
    struct http_listener **ret_listener,
    struct err_info *err) MUST_CHECK;

/* The port that was bound, also when the address asked for port 0. */
uint16_t http_listener_port(const struct http_listener *listener);

/* Closes the socket and every connection, joins the thread, frees; NULL is allowed. */
void http_listener_stop(struct http_listener *listener);

#endif
