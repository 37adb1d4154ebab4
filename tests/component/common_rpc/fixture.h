/*
 * A real server with the agents' contract and a client of it, in one process over a Unix socket (or
 * TLS). What the handlers do is told by the requests, so that a test reads in one place.
 */
#ifndef TESTS_COMPONENT_COMMON_RPC_FIXTURE_H
#define TESTS_COMPONENT_COMMON_RPC_FIXTURE_H

#include "common/rpc/client.h"
#include "common/rpc/server.h"
#include "common/sys/lock.h"
#include "common/wire/wire.h"
#include "tests/support/test.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"
#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"

#include <stdatomic.h>

#define GATEWAY "/agentgateway.v1.AgentGatewayService/"

typedef Agentgateway__V1__RegisterRequest register_request;
typedef Agentgateway__V1__RegisterResponse register_response;
typedef Agentgateway__V1__ControlStreamRequest control_request;
typedef Agentgateway__V1__ControlStreamResponse control_response;

enum {
    WORLD_REQUEST_MAX = 64 * 1024,
    WORLD_QUEUE_CAP = 256 * 1024
};

/* Everything the server side notes; waited for with world_wait. */
struct world {
    struct wire_schema *schema;
    struct rpc_server *server;
    struct rpc_client *client;
    struct rpc_channel *channel;
    char *dir;
    char *target;
    struct lock lock; /* guards nothing but the waiting */
    struct lock_cond changed;
    atomic_int admitted;
    atomic_int admitted_on_worker;
    atomic_int let_in; /* calls, each counted once; and those of them that have finished */
    atomic_int left;
    atomic_int finished;
    atomic_int last_status;
    atomic_int principals; /* alive */
    atomic_int handled;    /* unary handlers that ran to the end */
    atomic_int entered;    /* handlers that wait for release */
    atomic_int canceled;   /* of those, that saw the cancellation */
    atomic_bool released;
    atomic_int opened;
    atomic_int closed;
    atomic_int messages;
    atomic_int half_closed;
    atomic_int writable;
    atomic_int woken;
    atomic_int timers;
    atomic_int limits;  /* sends refused with ERR_LIMIT */
    atomic_int overlap; /* events of one stream at the same time: always 0 */
    atomic_int workers_open;
    _Atomic(struct rpc_stream *) stream; /* of the last ControlStream, with a reference */
};

void world_create(struct world *world, unsigned calls_in_flight);
void world_create_limited(struct world *world, const struct rpc_limits *limits);
void world_destroy(struct world *world);

/* Waits until the counter has reached value; fails the test after ten seconds. */
void world_wait(struct world *world, atomic_int *counter, int value);
void world_notify(struct world *world);
void world_release(struct world *world); /* lets waiting handlers go on */

/* Register with name; the reply's agent_id is the name's length. options may be NULL. */
enum err_code world_register(
    struct world *world,
    const char *name,
    const struct rpc_call_options *options,
    int64_t *ret_id,
    struct err_info *err);

/* CompleteAuthHandshake: its handler waits for world_release or the cancellation. */
enum err_code world_slow_call(
    struct world *world, const struct rpc_call_options *options, struct err_info *err);

/* Opens a ControlStream with a blocking reader and says hello with order as its agent_version. */
struct rpc_client_stream *world_control(struct world *world, const char *order);
enum err_code world_say(struct rpc_client_stream *stream, const char *order);
enum err_code world_say_last(struct rpc_client_stream *stream, const char *order);
/* The same stream before anything is said. options: NULL, or of the stream. */
struct rpc_client_stream *world_open_control(
    struct world *world, const struct rpc_call_options *options);

/* Reads one message; ret_epoch (may be NULL) gets accepted.session_epoch or the command's sequence.
 */
enum err_code world_read(
    struct rpc_client_stream *stream, uint64_t *ret_epoch, struct err_info *err);

/* Reads messages until the stream ends, and gives its status (ERR_NOT_FOUND: OK). */
enum err_code world_read_end(
    struct rpc_client_stream *stream, int *ret_count, struct err_info *err);

const struct rpc_table *world_table(void);
struct mono_us world_soon(void); /* ten seconds from now */

#endif
