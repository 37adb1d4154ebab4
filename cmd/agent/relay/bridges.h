/*
 * Bridges, the agent's half of relays: what an operator has run in a sandbox, or whom he talks to
 * on its loopback, joined with the stream that the server asked for. An order acts only with the
 * server's signature, once, in its time, and for a sandbox that is ready.
 *
 * Nothing is kept without bound: input waits up to RELAY_INPUT_WINDOW_BYTES here (the server sends
 * no more), output up to what the sandbox's own window lets through, and what the server does not
 * take is not taken from the sandbox, so that the program stops in write(2). When the stream ends,
 * for whatever cause, the program is killed and the connection closed. Loop thread.
 */
#ifndef CMD_AGENT_RELAY_BRIDGES_H
#define CMD_AGENT_RELAY_BRIDGES_H

#include "cmd/agent/command/verify.h"
#include "cmd/agent/workload/execs.h"
#include "common/rpc/client.h"

struct bridges;

enum {
    RELAYS_MAX = 64, /* at once; the connection has 100 streams */
    RELAY_INPUT_WINDOW_BYTES = 256 * 1024
};

struct bridges_options {
    struct loop *loop;
    struct sandboxes *sandboxes;
    struct execs *execs;
    /* Opens a RelayStream of the session under way. ERR_UNAVAILABLE: there is none. */
    enum err_code (*open_stream)(
        void *context,
        const struct rpc_client_stream_ops *ops,
        void *stream_context,
        struct rpc_client_stream **ret_stream,
        struct err_info *err);
    /* The last relay has ended; may be NULL. */
    void (*idle)(void *context);
    void *context;
};

struct bridges *bridges_create(const struct bridges_options *options);
/* Ends what is under way; before its sandboxes and its streams' channels go. NULL is allowed. */
void bridges_destroy(struct bridges *bridges);

/* What the control stream brought. A refusal is told to the operator by a stream of its own. */
void bridges_open(
    struct bridges *bridges,
    const struct verify_context *who,
    const Agentgateway__V1__ControlRelayOpen *order);

size_t bridges_count(const struct bridges *bridges);

#endif
