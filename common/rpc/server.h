/*
 * gRPC server over C core: the door accepts, checks and records connections; pollers run streams
 * and hand unary calls to workers; one table of rows decides what exists.
 */
#ifndef COMMON_RPC_SERVER_H
#define COMMON_RPC_SERVER_H

#include "common/rpc/call.h"

struct rpc_server;
struct wire_schema;

struct rpc_table {
    const struct rpc_method *rows;
    size_t count;
};

/*
 * The gate: who may call what. admit has the metadata alone: it runs before the request is read,
 * and once more when the request comes over a second later. On a poller may_block is false: answer
 * from memory or return ERR_BUSY to be asked again on a worker. finished runs once per call,
 * refused ones included, on any thread; it must not block.
 */
struct rpc_gate {
    enum err_code (*admit)(
        void *context, struct rpc_call *call, bool may_block, struct err_info *err);
    void (*finished)(
        void *context,
        const struct rpc_call *call,
        enum rpc_status status,
        const char *text,
        int64_t elapsed_us);
    void *context;
};

/*
 * policy of the rows the server adds by itself (grpc.health.v1, grpc.reflection): the gate compares
 * rpc_call_method(call)->policy with its address and lets them pass, or not.
 */
extern const char rpc_builtin_policy;

/*
 * Besides these: request metadata over 8 KiB (as HTTP/2 counts, 32 bytes for each) is answered
 * RESOURCE_EXHAUSTED; a header block of more than 16 KiB, or of more than 8 KiB from a client that
 * has not acknowledged the server's settings yet, ends its connection.
 */
struct rpc_limits {
    unsigned connections;                       /* of the whole process; default 20000 */
    unsigned connections_per_address;           /* default 1024; loopback and Unix are exempt */
    unsigned handshakes_per_second_per_address; /* default 1000; loopback exempt */
    /* TLS connections of one address that no credential was accepted on yet; the next ones wait
     * before their handshake until one is, or time has taken one off the count. Loopback is exempt.
     */
    unsigned strangers_per_address;            /* default 400 */
    unsigned strangers_per_second_per_address; /* taken off the count; default 20 */
    unsigned streams_per_connection;           /* default 100 */
    unsigned calls_in_flight;                  /* unary calls waiting for a worker; default 4096 */
    size_t queued_bytes_per_stream;            /* outbound; default 1 MiB */
    int64_t handshake_timeout_us;              /* accept to preface; default 10 s */
    int64_t first_request_timeout_us;          /* default 30 s */
    /* What was sent to a client and lies unread for so long cuts it off; default 2 min. */
    int64_t unread_timeout_us;
    int64_t idle_timeout_us; /* a connection without calls; 0: none */
    /* Then it is asked to go, and calls get 10 s to end. It costs about 1 KiB each; 0: none. */
    int64_t age_us;
    /* Of a connection on which no credential was accepted yet (Unix sockets are exempt): */
    int64_t stranger_idle_timeout_us; /* without calls; default 1 min */
    size_t stranger_burst_bytes;      /* read at once; default 64 KiB */
    size_t stranger_bytes_per_second; /* read after that; default 16 KiB */
    size_t stranger_call_bytes; /* each call counts for so many, however small; default 4 KiB */
    unsigned stranger_calls;    /* at once; default 32 */
    unsigned stranger_refusals; /* with no OK between them: it is cut off; default 32 */
};

struct rpc_server_options {
    const struct wire_schema *schema;
    const struct rpc_table *tables;
    size_t table_count;
    struct rpc_gate gate;
    void *service;    /* rpc_call_service */
    unsigned pollers; /* 0: one for every two cores */
    unsigned workers; /* 0: 4 */
    /* Each worker's own context (its database connection); NULL functions: none. */
    enum err_code (*worker_open)(void *service, void **ret_worker, struct err_info *err);
    void (*worker_close)(void *service, void *worker);
    struct rpc_limits limits; /* zero fields: the default */
    /*
     * Networks (rpc_network_check) of proxies that stand before the TCP listeners. A connection
     * from there must begin with a PROXY protocol header, version 2; then the limits per address
     * and rpc_peer speak of the client that it names. From anywhere else none is taken.
     */
    const char *const *trusted_proxies; /* copied */
    size_t trusted_proxy_count;
};

/* "192.0.2.0/24", "2001:db8::/32" or an address; else ERR_INVALID, with what is wrong. */
enum err_code rpc_network_check(const char *text, struct err_info *err) MUST_CHECK;
/* The form of a listener's address, no more; else ERR_INVALID, with what is wrong. */
enum err_code rpc_address_check(const char *text, struct err_info *err) MUST_CHECK;

/*
 * TLS material of a listener. certificate: leaf, intermediates, then the CA (so that a client with
 * only a pin can fetch it). Copied. There are no revocation lists: a client certificate is good
 * until it expires, or until rpc_server_set_tls gives another CA.
 */
struct rpc_tls_files {
    const char *certificate_pem;
    const char *key_pem;
    const char *client_ca_pem; /* NULL: no client certificates */
    bool require_client_certificate;
};

struct rpc_listen_options {
    const char *name;    /* kept in rpc_peer.listener; copied */
    const char *address; /* "unix:/path", "host:port", "[v6]:port"; port 0: a free one */
    const struct rpc_tls_files *tls; /* NULL: plaintext */
    bool allow_remote_plaintext;     /* else plaintext TCP binds loopback only, ERR_DENIED */
    mode_t unix_mode;                /* of the socket file; 0: 0600 */
};

enum err_code rpc_server_create(
    const struct rpc_server_options *options,
    struct rpc_server **ret_server,
    struct err_info *err) MUST_CHECK;

/* Before or after start. ret_port (may be NULL): the bound TCP port. */
enum err_code rpc_server_listen(
    struct rpc_server *server,
    const struct rpc_listen_options *options,
    uint16_t *ret_port,
    struct err_info *err) MUST_CHECK;

/* New connections of the named listener use the new material; open ones stay. */
enum err_code rpc_server_set_tls(
    struct rpc_server *server,
    const char *listener,
    const struct rpc_tls_files *tls,
    struct err_info *err) MUST_CHECK;

enum err_code rpc_server_start(struct rpc_server *server, struct err_info *err) MUST_CHECK;

/* grpc.health.v1: the status of "" and every service. */
void rpc_server_set_serving(struct rpc_server *server, bool serving);

/* Any thread: a drain, under way or to come, waits no longer. */
void rpc_server_hurry(struct rpc_server *server);

/*
 * Graceful end: stops accepting, GOAWAY, lets calls finish until grace_us has passed, then cancels.
 * Streams are told by their owner before (rpc_stream_finish). Blocks until everything has ended.
 */
void rpc_server_drain(struct rpc_server *server, int64_t grace_us);
void rpc_server_destroy(
    struct rpc_server *server); /* drains with no grace if needed; NULL is allowed */

struct rpc_server_stats {
    uint64_t connections_accepted;
    uint64_t connections_refused; /* limits, handshakes, the frame guard */
    uint64_t connections_open;
    uint64_t guard_closes; /* of those, closed by the frame guard */
    uint64_t calls_started;
    uint64_t calls_unknown; /* of those, to a path that has no row */
    uint64_t streams_open;
    uint64_t bytes_received;
    uint64_t bytes_sent;
};

void rpc_server_get_stats(const struct rpc_server *server, struct rpc_server_stats *ret_stats);

#endif
