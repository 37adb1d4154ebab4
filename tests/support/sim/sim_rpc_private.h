/*
 * What the files of the simulated network share. A wire is one call or stream. It is owned by
 * everyone who may still ask for it: its client, its server's call, and each event of its own.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_RPC_PRIVATE_H
#define TESTS_SUPPORT_SIM_SIM_RPC_PRIVATE_H

#include "common/base/list.h"
#include "tests/support/sim/sim_rpc.h"

enum sim_way {
    SIM_UP,
    SIM_DOWN
};

enum sim_packet_type {
    SIM_OPEN, /* of a unary call: with the request */
    SIM_MESSAGE,
    SIM_HALF_CLOSE,
    SIM_CANCEL,
    SIM_STATUS /* of a unary call: with the reply */
};

struct sim_packet {
    struct list link;
    struct sim_wire *wire;
    enum sim_way way;
    enum sim_packet_type type;
    char *data; /* packed message or NULL */
    size_t bytes;
    enum err_code code;
    char *text; /* of a status; may be NULL */
};

struct sim_wire {
    struct list link; /* in net->wires */
    struct sim_net *net;
    unsigned refs;
    unsigned host;
    char *path;
    char *authorization;              /* the one header that programs send; NULL: none */
    int64_t deadline_us;              /* of the call, from its arrival; 0: none */
    struct rpc_client_stream *client; /* NULL: wants nothing more */
    struct rpc_call *server;          /* NULL: not there yet, or gone */
    int64_t arrives_at[2];            /* of the last packet of each way */
    bool broken[2];
    unsigned arrived;
    unsigned cut_at; /* breaks when so many packets have come; 0: does not */
};

struct sim_net {
    struct sim *sim;
    const struct wire_schema *schema;
    struct list wires;
    struct sim_faults faults;
    unsigned host; /* of clients to come */
    bool parted[SIM_HOSTS_MAX];
    struct sim_server_options server;
    bool is_serving;
    const char *handling; /* path, or NULL */
    long allocations;     /* that handlers get; -1: all */
    struct list calls;    /* rpc_call */
};

/* The network clients find. */
struct sim_net *sim_net_current(void);

struct sim_packet *sim_packet_create(enum sim_packet_type type, const ProtobufCMessage *message);
void sim_packet_destroy(struct sim_packet *packet);

struct sim_wire *sim_wire_create(struct sim_net *net, unsigned host, const char *path);
void sim_wire_ref(struct sim_wire *wire);
void sim_wire_unref(struct sim_wire *wire);
void sim_wire_send(struct sim_wire *wire, enum sim_way way, struct sim_packet *take_packet);

/* sim_rpc_server.c */
const struct rpc_method *sim_server_find(const struct sim_net *net, const char *path);
void sim_server_receive(struct sim_wire *wire, struct sim_packet *take_packet);
void sim_server_lose(struct sim_wire *wire); /* the connection is gone, as the server sees it */
void sim_server_end(struct sim_net *net);    /* every call ends now */
void sim_server_sent(struct sim_wire *wire, size_t bytes); /* they have left the queue */

/* sim_rpc_client.c */
void sim_client_receive(struct sim_wire *wire, struct sim_packet *take_packet);

#endif
