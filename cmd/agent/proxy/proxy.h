/*
 * The egress proxy: what sandboxes with network rules reach the outside by, and the only way there
 * is. Each sandbox has a gate: a listener that was made inside its network (nobody else can connect
 * to it, so it says who is asking), its rules, and what went through. One object on the agent's
 * loop; nothing blocks, nothing is unbounded.
 *
 * A request is read whole, judged by its name, the name is resolved here, every address is judged,
 * and one of those very addresses is connected to. Rules may be replaced at any time: what is open
 * and no longer allowed is closed at once. docs/policies.md says what rules mean.
 */
#ifndef CMD_AGENT_PROXY_PROXY_H
#define CMD_AGENT_PROXY_PROXY_H

#include "cmd/agent/proxy/rules.h"
#include "common/sys/loop.h"

struct proxy;

enum {
    PROXY_DESTINATIONS_MAX = 64, /* counted by name in each gate; the rest together */
    PROXY_CONNECTIONS_DEFAULT = 256,
    PROXY_CONNECTIONS_TOTAL = 4096 /* unless descriptors allow fewer */
};

struct proxy_denial {
    const char *host; /* empty: the request was not understood, or there were too many to name */
    unsigned port;
    const char *method; /* CONNECT, or the request's; may be empty */
    const char *path;
    const char *rule; /* that decided; empty: none */
    const char *reason;
    bool audited;   /* it was let through: the rule is there to watch */
    uint64_t count; /* since the last one of its kind was told */
};

/* An op must not call back into the proxy. */
struct proxy_ops {
    /* The first of a kind (destination and reason) at once, then at most one in ten seconds. */
    void (*denied)(void *context, const char *id, const struct proxy_denial *denial);
};

struct proxy_options {
    struct loop *loop;
    const char *resolvers;       /* "address:port,..." [the system's] */
    int64_t head_us;             /* for a request's head, and a TLS hello [15 s] */
    int64_t connect_us;          /* from the name to the connection [15 s] */
    int64_t idle_us;             /* nothing passes either way [10 min] */
    unsigned connections;        /* of one gate; more wait [256] */
    unsigned connections_total;  /* of all gates, two descriptors each [half of what there are] */
    const struct proxy_ops *ops; /* may be NULL */
    void *context;
};

struct proxy_usage {
    uint64_t in_bytes; /* from the outside into the sandbox */
    uint64_t out_bytes;
    uint64_t connections;
    uint64_t denials;
};

struct proxy_destination {
    const char *host; /* empty: all that had no room in the table */
    unsigned port;
    struct proxy_usage usage;
};

/* ERR_INVALID: the resolvers. */
enum err_code proxy_create(
    const struct proxy_options *options, struct proxy **ret_proxy, struct err_info *err) MUST_CHECK;
void proxy_destroy(struct proxy *proxy); /* NULL is allowed */

/* Opens the gate of a sandbox, or gives it a new listener. Without rules it denies all. */
enum err_code proxy_open(
    struct proxy *proxy, const char *id, int take_listener, struct err_info *err) MUST_CHECK;
/* Before or after it opens. In force when this returns. */
void proxy_set_rules(struct proxy *proxy, const char *id, struct rules *take_rules);
/* The listener and all connections; rules and figures stay, for the sandbox's next start. */
void proxy_close(struct proxy *proxy, const char *id);
void proxy_forget(struct proxy *proxy, const char *id); /* all of it */

/* Figures of an earlier life of the agent, to count on from. */
void proxy_restore(struct proxy *proxy, const char *id, const struct proxy_usage *usage);
/* false: there is no such gate. */
bool proxy_get_usage(const struct proxy *proxy, const char *id, struct proxy_usage *ret_usage);
/* Walk of what a gate's sandbox talked to: start with *cursor = 0. */
bool proxy_next_destination(
    const struct proxy *proxy,
    const char *id,
    size_t *cursor,
    struct proxy_destination *ret_destination);

#endif
