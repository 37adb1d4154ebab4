/* What the parts of this folder share: gates, and the connections through them. */
#ifndef CMD_AGENT_PROXY_PROXY_PRIVATE_H
#define CMD_AGENT_PROXY_PROXY_PRIVATE_H

#include "cmd/agent/proxy/dial.h"
#include "cmd/agent/proxy/parse/body.h"
#include "cmd/agent/proxy/parse/head.h"
#include "cmd/agent/proxy/proxy.h"
#include "cmd/agent/proxy/side.h"
#include "cmd/agent/proxy/tally.h"
#include "common/base/list.h"
#include "common/base/map.h"

enum {
    PROXY_READ_BYTES = 64 * 1024,  /* at once, into the proxy's one buffer */
    PROXY_IN_BYTES_MAX = 32 * 1024 /* of a client, read and not used: a head, or a TLS hello */
};

struct proxy {
    struct proxy_options options;
    struct map *gates; /* struct gate by the sandbox's id */
    size_t connections;
    char *scratch; /* PROXY_READ_BYTES, valid within a callback */
    struct loop_timer *flush_timer;
    struct loop_timer *accept_timer; /* when descriptors have run out */
    struct loop_timer *reap_timer;
    struct list over; /* connections to free */
    bool starved;     /* of descriptors */
    bool flushing;    /* denials are held back, and the timer runs */
};

struct gate {
    struct proxy *proxy;
    char *id;
    struct rules *rules;
    int listener;
    struct loop_watch *watch;
    bool paused; /* enough connections */
    struct list visits;
    size_t visit_count;
    struct proxy_usage usage;
    struct tally *tally;
};

enum visit_stage {
    VISIT_HEAD,     /* a request is awaited, or being read */
    VISIT_DIAL,     /* it was allowed by its name */
    VISIT_TUNNEL,   /* bytes pass both ways */
    VISIT_EXCHANGE, /* one request and its answer pass */
    VISIT_REPLY,    /* our own last words; then it closes */
    VISIT_OVER      /* closed; freed between two turns of the loop, never in a callback */
};

struct visit {
    struct list link;
    struct gate *gate;
    enum visit_stage stage;
    struct side client;
    struct side server;
    struct loop_timer *timer;
    struct mono_us active; /* something passed last */
    struct buf in;         /* of the client: not used yet */
    size_t scanned;        /* of in, by head_scan */
    struct dial *dial;
    bool idles; /* between two requests */

    /* The request, as the rules judge it. */
    struct host host;
    unsigned port;
    bool is_tunnel;
    char method[HEAD_METHOD_BYTES_MAX + 1];
    char *path;
    struct ip_address address; /* connected to */
    bool own;                  /* it is this host's */
    struct proxy_usage *row;
    struct rules_decision decision; /* the last one */

    /* Of a tunnel. */
    bool awaits_hello; /* the first bytes are not sent on yet */

    /* Of an exchange. */
    struct buf out; /* the head to send, once connected */
    struct body up;
    struct body down;
    bool up_over;
    bool to_head; /* the request is a HEAD */
    bool closes;  /* no further request after it */
    bool answered;
    unsigned interims; /* answers before it (1xx) */
    struct buf answer; /* its head, while it comes */
    size_t answer_scanned;
};

/* ---- visit.c ---- */

void visit_accept(struct gate *gate, int take_fd);
void visit_close(struct visit *visit);
void visit_free(struct visit *visit); /* after visit_close */
/* New rules: what they do not allow any more is closed. */
void visit_recheck(struct visit *visit);

/* What was wrong with the bytes themselves. */
void visit_tell_malformed(struct visit *visit, const char *why);
/* Tells the decision as a denial. */
void visit_tell(struct visit *visit);
/* An answer of our own (status 0: none), and then the end. */
void visit_reply(struct visit *visit, unsigned status, const char *text);
/* The next request, which may be there already. */
void visit_next(struct visit *visit);
void visit_arm(struct visit *visit, int64_t delay_us);
void visit_touch(struct visit *visit); /* something passed */
/* The first bytes of what the client has sent and nobody used. */
void visit_use(struct visit *visit, size_t bytes);

/* ---- relay.c: connected; from here on bytes pass ---- */

void visit_relay(struct visit *visit);
void visit_from_client(struct visit *visit);
void visit_from_server(struct visit *visit);
/* Sets what both sides wait for. */
void visit_watch(struct visit *visit);

/* ---- proxy.c ---- */

void gate_deny(struct gate *gate, const struct proxy_denial *denial);
/* A connection is over: it is freed soon, and there is room for another. */
void gate_leave(struct gate *gate, struct visit *visit);

#endif
