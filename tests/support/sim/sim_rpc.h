/*
 * common/rpc over a simulated network: these files define what call.h and client.h declare, so that
 * the server's real handlers and the agent's real link, linked with them instead of the library's
 * own, speak to each other in one thread and in the world's time. Messages are packed and unpacked
 * as on the wire; each call and stream is a wire of two ways that delays, breaks and doubles as the
 * faults say. What a connection of HTTP/2 promises holds: what arrives on one way of one wire
 * arrives in order, whole, and until it breaks.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_RPC_H
#define TESTS_SUPPORT_SIM_SIM_RPC_H

#include "common/rpc/client.h"
#include "common/rpc/server.h"
#include "tests/support/sim/sim.h"

struct sim_net;

enum {
    SIM_HOSTS_MAX = 8,
    SIM_OPERATOR = 0 /* the host whose calls come over the operators' local socket */
};

/* All per mille. */
struct sim_faults {
    unsigned cut;       /* of calls and streams: break at some message, on one way or both */
    unsigned late;      /* of messages: take up to 40 s, and all behind them */
    unsigned duplicate; /* of unary calls: reach the server twice */
};

/* One at a time: clients find it by themselves. */
struct sim_net *sim_net_create(struct sim *sim, const struct wire_schema *schema);
void sim_net_destroy(struct sim_net *net); /* after the clients; the server has stopped */

void sim_net_set_faults(struct sim_net *net, const struct sim_faults *faults);

/* Clients made from now on are this host's. */
void sim_net_set_host(struct sim_net *net, unsigned host);

/* Nothing passes between the host and the server while parted. */
void sim_net_part(struct sim_net *net, unsigned host, bool parted);

/* The host's process has died: nothing more leaves or reaches it; the server notices sometime. */
void sim_net_kill(struct sim_net *net, unsigned host);

struct sim_server_options {
    const struct rpc_table *tables;
    size_t table_count;
    struct rpc_gate gate;
    void *service;
    void *worker; /* what rpc_call_worker gives */
};

/* While the server handles a call, or an event of a stream, the mem_try_* calls after the first
 * `count` fail; -1: none does. */
void sim_net_fail_allocations(struct sim_net *net, long count);

/* The server listens; options are copied, the tables borrowed. */
void sim_net_serve(struct sim_net *net, const struct sim_server_options *options);

/* The server's process is gone: every call of it ends here and now. */
void sim_net_unserve(struct sim_net *net);

/* Of the unary call that is handled now; "": none. */
const char *sim_net_handling(const struct sim_net *net);

size_t sim_net_calls(const struct sim_net *net); /* open at the server */

#endif
