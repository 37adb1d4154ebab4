/*
 * One connection to a host: its addresses are found, every one is judged, and one of the very
 * addresses that were judged is connected to, in their order. Never blocks. Loop's thread.
 */
#ifndef CMD_AGENT_PROXY_DIAL_H
#define CMD_AGENT_PROXY_DIAL_H

#include "common/sys/host.h"
#include "common/sys/loop.h"

struct dial;

enum dial_failure {
    DIAL_NO_NAME,   /* there is no such host */
    DIAL_NO_ANSWER, /* the resolver does not answer, or with too much */
    DIAL_REFUSED,   /* by the judge: it knows why */
    DIAL_FAILED,    /* no address takes the connection */
    DIAL_TIMEOUT
};

struct dial_ops {
    /* own: for each address, whether it is this host's. false: nothing is connected to. */
    bool (*judge)(void *context, const struct ip_address *addresses, const bool *own, size_t count);
    /* The descriptor is the taker's. Either way the dial is over and gone. */
    void (*connected)(void *context, int take_fd, const struct ip_address *address, bool own);
    void (*failed)(void *context, enum dial_failure failure);
};

struct dial_options {
    struct loop *loop;
    const char *resolvers; /* as resolve_start takes them */
    const struct host *host;
    unsigned port;
    int64_t timeout_us;
    const struct dial_ops *ops;
    void *context;
};

/* No op is called from within. */
struct dial *dial_start(const struct dial_options *options);
void dial_cancel(struct dial *dial); /* no op is called any more; NULL is allowed */

#endif
