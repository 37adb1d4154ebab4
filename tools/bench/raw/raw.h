/*
 * Thousands of connections at little cost: TLS by OpenSSL and gRPC from frames.h, on one thread, so
 * that what is measured is the server. A connection is live when its handshake is over or, where a
 * path is given, when the first message of the answer has come on its stream; a dialogue says when.
 */
#ifndef TOOLS_BENCH_RAW_RAW_H
#define TOOLS_BENCH_RAW_RAW_H

#include "common/base/buf.h"

struct raw_fleet;

enum {
    RAW_PORTS_MAX = 8
};

/* What a connection says next, of what its dialogue needs. */
struct raw_said {
    const char *path;
    struct str_view token; /* NULL pointer: none */
    struct buf *message;
    bool ends; /* a unary call; else a stream, left open */
};

/*
 * Instead of one stream: calls one after the other, each made from the answer to the one before.
 * next gets the first message of that answer (STR_NONE at the beginning) and fills *said, whose
 * message is empty; said->path NULL: nothing more, the connection is live. Any error, and an answer
 * without a message, loses the connection.
 */
struct raw_dialogue {
    enum err_code (*next)(
        void *context, unsigned connection, struct str_view answer, struct raw_said *said);
    void *context;
};

struct raw_plan {
    uint16_t ports[RAW_PORTS_MAX]; /* of loopback; connections are dealt out in turn */
    unsigned port_count;
    bool is_tls;
    unsigned count;
    unsigned at_once;              /* connections that may be on their way at a time */
    const char *path;              /* of the stream each opens; NULL: only the handshake */
    const struct str_view *tokens; /* one for each connection; NULL: none */
    struct str_view hello;         /* the first message */
    struct raw_dialogue dialogue;  /* next NULL: none, path and hello are said */
};

/* The plan and what it points at must outlive the fleet. */
enum err_code raw_open(
    const struct raw_plan *plan, struct raw_fleet **ret_fleet, struct err_info *err) MUST_CHECK;
void raw_close(struct raw_fleet *fleet); /* NULL is allowed */

/* Connects all; ret_us: until the last one was live. ERR_UNAVAILABLE: one was refused or lost. */
enum err_code raw_connect(
    struct raw_fleet *fleet, int64_t timeout_us, int64_t *ret_us, struct err_info *err) MUST_CHECK;

struct raw_beat {
    const char *path; /* of a unary call; NULL: a message on the stream, without an answer */
    struct str_view message;
    int64_t every_us; /* of each connection; they are spread evenly over it */
};

/* Sends beats for so long; ret_count: those sent and, if they are calls, answered. */
enum err_code raw_beat(
    struct raw_fleet *fleet,
    const struct raw_beat *beat,
    int64_t for_us,
    uint64_t *ret_count,
    struct err_info *err) MUST_CHECK;

/* Only answers what the server asks for (SETTINGS, PING) for so long. */
enum err_code raw_idle(struct raw_fleet *fleet, int64_t for_us, struct err_info *err) MUST_CHECK;

#endif
