/*
 * Who is at the other end of an accepted connection, as the door saw it: the only source of a
 * peer's identity. Immutable after the handshake; shared by reference (thread-safe counts). What
 * the server learns about the connection afterwards stands beside it (rpc_peer_state).
 */
#ifndef COMMON_RPC_PEER_H
#define COMMON_RPC_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum rpc_peer_kind {
    RPC_PEER_UNIX,
    RPC_PEER_PLAIN,
    RPC_PEER_TLS
};

struct rpc_peer {
    enum rpc_peer_kind kind;
    const char *listener; /* name given to rpc_server_listen */
    char address[64];     /* "192.0.2.7", "2001:db8::1", "unix"; of whom a trusted proxy names */
    uint16_t port;
    bool is_loopback;        /* 127.0.0.0/8, ::1 or a Unix socket; never whom a proxy names */
    bool is_reached_locally; /* the connection itself came that way, be it from a proxy */
    uid_t uid;               /* Unix sockets, else (uid_t)-1 */
    gid_t gid;
    pid_t pid;
    char tls_subject[256];       /* common name of a verified client certificate, else "" */
    uint8_t tls_fingerprint[32]; /* its SHA-256, else zeros */
};

/* Copies the values and the listener's name; one reference. For the door, and for tests of what
 * reads a peer. */
struct rpc_peer *rpc_peer_create(const struct rpc_peer *values);

struct rpc_peer *rpc_peer_ref(struct rpc_peer *peer);
void rpc_peer_unref(struct rpc_peer *peer); /* NULL is allowed */

/*
 * Of one connection, written by the server's threads and read by the door. A peer on a Unix socket
 * or with a verified certificate is no stranger from the start; any other is one until the gate
 * accepts a credential of it.
 */
struct rpc_peer_state {
    atomic_bool is_known;
    atomic_uint calls;          /* that have not concluded */
    atomic_uint stranger_calls; /* of those, admitted without a credential */
    atomic_uint refusals; /* while it is a stranger's: calls refused since one was answered OK */
};

struct rpc_peer_state *rpc_peer_state(struct rpc_peer *peer);
bool rpc_peer_is_known(const struct rpc_peer *peer);

#endif
