/*
 * The door: accepts every connection, does TLS, checks HTTP/2 frame heads (guard.h), and hands the
 * gRPC library a finished byte stream on a descriptor of its own. Keeps one record (rpc_peer) per
 * connection, found through the number of that descriptor.
 *
 * Threads: one acceptor and pump thread of the door (epoll); on_channel runs on it. door_find_peer
 * and door_get_stats are for any thread.
 */
#ifndef COMMON_RPC_DOOR_DOOR_H
#define COMMON_RPC_DOOR_DOOR_H

#include "common/rpc/door/network.h"
#include "common/rpc/server.h"

struct door;

struct door_options {
    struct rpc_limits limits;              /* no zero fields */
    bool limit_loopback;                   /* the limits per address hold for loopback as well */
    const struct network *trusted_proxies; /* rpc_server_options.trusted_proxies; copied */
    size_t trusted_proxy_count;
    /*
     * A connection passed its preface: fd (take) is a stream socket that carries plain HTTP/2. It
     * is numbered from a rotating range, so that a number is not used again at once.
     */
    void (*on_channel)(void *context, int take_fd);
    void *context;
};

enum err_code door_create(
    const struct door_options *options, struct door **ret_door, struct err_info *err) MUST_CHECK;

/* Rules of rpc_listen_options. A stale Unix socket file of ours is replaced; anything else there is
 * refused. */
enum err_code door_listen(
    struct door *door,
    const struct rpc_listen_options *options,
    uint16_t *ret_port,
    struct err_info *err) MUST_CHECK;
enum err_code door_set_tls(
    struct door *door, const char *listener, const struct rpc_tls_files *tls, struct err_info *err)
    MUST_CHECK;
enum err_code door_start(struct door *door, struct err_info *err) MUST_CHECK;

/* Closes the listeners; open connections go on. */
void door_stop_accepting(struct door *door);

/* After the gRPC server has shut down: waits until clients were sent all of what it had written, or
 * the time is over. */
void door_flush(struct door *door, int64_t timeout_us);

/* Closes everything and joins. After the gRPC server has shut down. NULL is allowed. */
void door_destroy(struct door *door);

/* Record of the connection behind a library descriptor number ("fd:N" of grpc_call_get_peer), with
 * a reference; NULL: closed or unknown. */
struct rpc_peer *door_find_peer(struct door *door, int fd_number);

void door_get_stats(
    const struct door *door,
    struct rpc_server_stats *ret_stats); /* the connection and byte fields */

#endif
