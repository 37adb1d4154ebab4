/*
 * What every handler of the server can reach: made by app.c, immutable afterwards but for the
 * thread-safe parts behind the pointers. rpc_call_service gives it, rpc_call_worker a struct
 * worker.
 */
#ifndef SERVER_CORE_SERVICE_H
#define SERVER_CORE_SERVICE_H

#include "cmd/server/core/hub.h"
#include "cmd/server/store/store.h"
#include "common/base/time.h"
#include "common/crypto/key.h"
#include "common/metrics/metrics.h"

#include <stdatomic.h>

struct wire_schema;
struct call_metrics; /* auth/call_metrics.h */
struct credentials;  /* auth/credentials.h */
struct ingest;       /* ingest/ingest.h */
struct notifier;     /* core/notifier.h */
struct presence;     /* gateway/presence.h */
struct relay_links;  /* relay/link.h */
struct relays;       /* relay/relay.h */
struct throttle;     /* core/throttle.h */

struct service_settings {
    int64_t heartbeat_us;      /* told to agents */
    int64_t session_us;        /* life of a session token; default 24 h */
    int64_t challenge_us;      /* 30 s */
    int64_t telemetry_keep_us; /* retention */
    int64_t events_keep_us;
    int64_t commands_keep_us;
    int64_t usage_keep_us;
    bool allow_remote_plaintext; /* bearer credentials over plaintext from elsewhere */
};

struct service {
    const struct clock *clock;
    const struct wire_schema *schema;
    struct metrics *metrics;
    struct hub *hub;
    struct call_metrics *calls;
    struct credentials *credentials;
    struct ingest *ingest;
    struct notifier *notifier; /* NULL: every wake goes out with its commit, or there are none */
    struct presence *presence;
    struct relays *relays;
    struct relay_links *links; /* NULL: this server has its database to itself */
    struct throttle *throttle;
    atomic_uint_fast64_t
        lines_left_out; /* of the log, about strangers' calls, since the last one */
    const struct key_sign *command_key;
    struct store_options store;
    enum sql_engine engine;
    struct service_settings settings;
    char server_id[64];
    const char *mode; /* "server", "combined" */
    const char *version;
    char ca_sha256[65];        /* hex; "": no TLS listener for agents */
    char join_target[300];     /* what a join string names: "host:port" or "unix:/path" */
    char replica_address[300]; /* where other servers reach this one; "": nowhere */
    struct wall_us started_at;
    atomic_bool database_away;             /* whoever tried last did not reach it; of any thread */
    atomic_int_fast64_t database_retry_at; /* clock_mono: while it is away nobody tries before */
    atomic_bool draining;                  /* streams say goodbye when they are woken */
    /* Whatever changes a session or an outbox wakes this process: it is alone on its database, or
     * listens for the others. What it remembers holds for longer then. */
    atomic_bool hears_all;
};

/* One per worker thread. */
struct worker {
    struct service *service;
    struct sql_conn *conn;
};

enum err_code worker_open(void *service, void **ret_worker, struct err_info *err) MUST_CHECK;
void worker_close(void *service, void *worker);

#endif
