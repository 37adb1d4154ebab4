/*
 * grpc.health.v1: Check and Watch of "" and of every service that has rows. One answer for all: the
 * server serves, or it does not.
 */
#include "common/rpc/rpc_private.h"
#include "common/wire/wire.h"

#include "proto/grpc/health/v1/health.pb-c.h"

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;

enum {
    HEALTH_REQUEST_MAX = 1024
};

struct rpc_health {
    struct lock lock;
    struct list watches;
    bool serving;
    bool ended;
};

struct watch {
    struct list node; /* in rpc_health.watches once the request came */
    struct rpc_stream *stream;
    bool known; /* the service asked for exists */
    int sent;   /* last status told, -1: none */
};

struct rpc_health *rpc_health_create(void)
{
    struct rpc_health *health = mem_alloc(sizeof(*health));
    lock_init(&health->lock, LOCK_RANK_REGISTRY);
    list_init(&health->watches);
    return health;
}

void rpc_health_destroy(struct rpc_health *health)
{
    if (health != NULL) {
        lock_deinit(&health->lock);
        mem_free(health);
    }
}

void rpc_health_set(struct rpc_health *health, bool serving)
{
    LOCK_GUARD(&health->lock);
    health->serving = serving && !health->ended;
    LIST_FOR_EACH(node, &health->watches)
    {
        rpc_stream_wake(LIST_ENTRY(node, struct watch, node)->stream);
    }
}

void rpc_health_end(struct rpc_health *health)
{
    LOCK_GUARD(&health->lock);
    health->serving = false;
    health->ended = true;
    LIST_FOR_EACH(node, &health->watches)
    {
        rpc_stream_finish(
            LIST_ENTRY(node, struct watch, node)->stream, ERR_UNAVAILABLE, "the server shuts down");
    }
}

static int status_of(struct rpc_health *health, bool known)
{
    if (!known) {
        return GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    }
    LOCK_GUARD(&health->lock);
    return health->serving ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                           : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

static bool is_known(const struct rpc_call *call, const char *service)
{
    return service[0] == '\0' || rpc_server_has_service(call->server, str_of(service));
}

static enum err_code check(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const char *service = ((const health_request *)request)->service;
    if (!is_known(call, service)) {
        return ERR_SET(err, ERR_NOT_FOUND, "no such service");
    }
    health_response *reply =
        wire_new(rpc_call_arena(call), &grpc__health__v1__health_check_response__descriptor);
    if (reply == NULL) {
        return ERR_SET(err, ERR_NOMEM, "no memory");
    }
    reply->status = (unsigned)status_of(call->server->health, true);
    *ret_reply = &reply->base;
    return ERR_OK;
}

static enum err_code open_watch(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    struct rpc_health *health = rpc_stream_call(stream)->server->health;
    LOCK_GUARD(&health->lock);
    if (health->ended) {
        return ERR_SET(err, ERR_UNAVAILABLE, "the server shuts down");
    }
    struct watch *watch = mem_alloc(sizeof(*watch));
    watch->stream = stream;
    watch->sent = -1;
    list_append(&health->watches, &watch->node);
    *ret_state = watch;
    return ERR_OK;
}

static void tell(struct rpc_stream *stream, void *state)
{
    struct watch *watch = state;
    int status = status_of(rpc_stream_call(stream)->server->health, watch->known);
    if (status == watch->sent) {
        return;
    }
    health_response reply;
    grpc__health__v1__health_check_response__init(&reply);
    reply.status = (unsigned)status;
    enum err_code code = rpc_stream_send(stream, &reply.base);
    if (code == ERR_OK) {
        watch->sent = status;
    } else {
        rpc_stream_finish(stream, code, "the watcher does not read");
    }
}

static void on_request(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct watch *watch = state;
    watch->known = is_known(rpc_stream_call(stream), ((const health_request *)message)->service);
    tell(stream, state);
}

static void on_woken(struct rpc_stream *stream, void *state)
{
    if (((struct watch *)state)->sent >= 0) { /* else the request is still to come */
        tell(stream, state);
    }
}

static void close_watch(struct rpc_stream *stream, void *state)
{
    struct watch *watch = state;
    struct rpc_health *health = rpc_stream_call(stream)->server->health;
    lock_acquire(&health->lock);
    list_remove(&watch->node);
    lock_release(&health->lock);
    mem_free(watch);
}

struct rpc_table rpc_health_table(void)
{
    static const struct rpc_stream_ops watch_ops = {
        .open = open_watch,
        .message = on_request,
        .woken = on_woken,
        .closed = close_watch,
    };
    static const struct rpc_method rows[] = {
        {
            .path = "/grpc.health.v1.Health/Check",
            .input = &grpc__health__v1__health_check_request__descriptor,
            .output = &grpc__health__v1__health_check_response__descriptor,
            .kind = RPC_UNARY,
            .max_request_bytes = HEALTH_REQUEST_MAX,
            .deadline_cap_us = 10 * US_PER_SECOND,
            .is_inline = true,
            .unary = check,
            .policy = &rpc_builtin_policy,
        },
        {
            .path = "/grpc.health.v1.Health/Watch",
            .input = &grpc__health__v1__health_check_request__descriptor,
            .output = &grpc__health__v1__health_check_response__descriptor,
            .kind = RPC_SERVER_STREAM,
            .max_request_bytes = HEALTH_REQUEST_MAX,
            .stream = &watch_ops,
            .policy = &rpc_builtin_policy,
        },
    };
    return (struct rpc_table){ rows, ARRAY_LENGTH(rows) };
}
