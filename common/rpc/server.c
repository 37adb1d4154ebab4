#include "common/rpc/server.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/rpc/door/address.h"
#include "common/rpc/rpc_private.h"

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>

#include <stdio.h>
#include <unistd.h>

enum {
    ARGS_MAX = 24,
    /* The library closes the connection over this one, so it is above what a call is refused for,
     * and above what the guard lets through of headers that are not compressed. */
    METADATA_CLOSES_BYTES = 24 * 1024,
    AGE_GRACE_MS = 10000,
};

#define GOAWAY_WAIT_US (300 * US_PER_MS)
#define FLUSH_WAIT_US  US_PER_SECOND

static void default_unsigned(unsigned *value, unsigned fallback)
{
    *value = *value == 0 ? fallback : *value;
}

static void default_bytes(size_t *value, size_t fallback)
{
    *value = *value == 0 ? fallback : *value;
}

static void default_us(int64_t *value, int64_t fallback)
{
    *value = *value == 0 ? fallback : *value;
}

static struct rpc_limits limits_of(const struct rpc_limits *given)
{
    struct rpc_limits limits = *given;
    default_unsigned(&limits.connections, 20000);
    default_unsigned(&limits.connections_per_address, 1024);
    default_unsigned(&limits.handshakes_per_second_per_address, 1000);
    default_unsigned(&limits.strangers_per_address, 400);
    default_unsigned(&limits.strangers_per_second_per_address, 20);
    default_unsigned(&limits.streams_per_connection, 100);
    default_unsigned(&limits.calls_in_flight, 4096);
    default_unsigned(&limits.stranger_calls, 32);
    default_unsigned(&limits.stranger_refusals, 32);
    default_bytes(&limits.queued_bytes_per_stream, (size_t)1024 * 1024);
    default_bytes(&limits.stranger_burst_bytes, (size_t)64 * 1024);
    default_bytes(&limits.stranger_bytes_per_second, (size_t)16 * 1024);
    default_bytes(&limits.stranger_call_bytes, (size_t)4 * 1024);
    if (limits.stranger_call_bytes > limits.stranger_burst_bytes) {
        limits.stranger_call_bytes = limits.stranger_burst_bytes; /* else never one */
    }
    default_us(&limits.handshake_timeout_us, 10 * US_PER_SECOND);
    default_us(&limits.first_request_timeout_us, 30 * US_PER_SECOND);
    default_us(&limits.stranger_idle_timeout_us, US_PER_MINUTE);
    default_us(&limits.unread_timeout_us, 2 * US_PER_MINUTE);
    return limits;
}

/* bdp_probe off: else a stalled reader lets a peer park megabytes per stream. Identity encoding
 * only. */
static void create_core(struct rpc_server *server)
{
    static const struct {
        const char *name;
        int value;
    } fixed[] = {
        { GRPC_ARG_MAX_METADATA_SIZE, METADATA_CLOSES_BYTES },
        { GRPC_ARG_HTTP2_BDP_PROBE, 0 },
        { GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 128 * 1024 },
        { GRPC_ARG_KEEPALIVE_TIME_MS, 60000 },
        { GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000 },
        { GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1 },
        { GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000 },
        { GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0 },
        { GRPC_ARG_ALLOW_REUSEPORT, 0 },
        { GRPC_ARG_ENABLE_CHANNELZ, 0 },
        { GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE },
    };

    grpc_arg args[ARGS_MAX];
    size_t count = 0;
    for (; count < ARRAY_LENGTH(fixed); count++) {
        args[count] = rpc_arg_int(fixed[count].name, fixed[count].value);
    }
    args[count++] =
        rpc_arg_int(GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)server->limits.streams_per_connection);
    args[count++] = rpc_arg_int(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)server->largest_message);
    args[count++] = rpc_arg_int(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, RPC_REPLY_MAX);
    if (server->limits.age_us > 0) {
        int64_t age_ms = server->limits.age_us / US_PER_MS;
        args[count++] = rpc_arg_int(
            GRPC_ARG_MAX_CONNECTION_AGE_MS, age_ms < INT32_MAX ? (int)age_ms : INT32_MAX);
        args[count++] = rpc_arg_int(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, AGE_GRACE_MS);
    }
    grpc_channel_args all = { count, args };
    server->core = grpc_server_create(&all, NULL);
}

/* Half the cores: the door, the workers and what they wait for need the others, and with each event
 * the library wakes an idle poller beside the one that takes it. */
static unsigned default_pollers(void)
{
    return (thread_cpu_count() + 1) / 2;
}

static void create_pollers(struct rpc_server *server)
{
    unsigned wanted = server->options.pollers;
    server->poller_count = wanted == 0 ? default_pollers() : wanted;
    server->pollers = mem_alloc_array(server->poller_count, sizeof(*server->pollers));
    for (unsigned i = 0; i < server->poller_count; i++) {
        struct rpc_thread *poller = &server->pollers[i];
        poller->server = server;
        poller->arena = arena_create(RPC_ARENA_BYTES);
        poller->cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server->core, poller->cq, NULL);
    }
}

/* On the door's thread: the library takes the descriptor in any case. */
static void on_channel(void *context, int take_fd)
{
    struct rpc_server *server = context;
    if (atomic_load(&server->stopping)) {
        (void)close(take_fd);
        return;
    }
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
    grpc_server_add_channel_from_fd(server->core, take_fd, plain);
    grpc_server_credentials_release(plain);
}

enum err_code rpc_network_check(const char *text, struct err_info *err)
{
    struct network network;
    return network_parse(str_of(text), &network, err);
}

enum err_code rpc_address_check(const char *text, struct err_info *err)
{
    char host[ADDRESS_HOST_BYTES];
    uint16_t port = 0;
    bool is_unix = str_has_prefix(str_of(text), STR("unix:"));
    return is_unix ? ERR_OK : address_parse_listen(text, host, &port, err);
}

static enum err_code create_door(struct rpc_server *server, struct err_info *err)
{
    size_t count = server->options.trusted_proxy_count;
    AUTO_FREE struct network *trusted = mem_alloc_array(count + 1, sizeof(*trusted));
    for (size_t i = 0; i < count; i++) {
        TRY(network_parse(str_of(server->options.trusted_proxies[i]), &trusted[i], err));
    }
    struct door_options door = { .limits = server->limits,
                                 .trusted_proxies = trusted,
                                 .trusted_proxy_count = count,
                                 .on_channel = on_channel,
                                 .context = server };
    return door_create(&door, &server->door, err);
}

static enum err_code build(struct rpc_server *server, struct err_info *err)
{
    TRY(rpc_table_build(server, err));
    sigset_t before;
    rpc_signals_block(&before);
    create_core(server);
    create_pollers(server);
    rpc_signals_restore(&before);
    server->health = rpc_health_create();
    unsigned workers = server->options.workers == 0 ? 4 : server->options.workers;
    server->pool = rpc_pool_create(server, workers, server->limits.calls_in_flight);
    return create_door(server, err);
}

enum err_code rpc_server_create(
    const struct rpc_server_options *options, struct rpc_server **ret_server, struct err_info *err)
{
    if (options->schema == NULL || options->gate.admit == NULL) {
        return ERR_SET(err, ERR_PRECONDITION, "a server needs a schema and a gate");
    }
    struct rpc_server *server = mem_alloc(sizeof(*server));
    server->options = *options;
    server->limits = limits_of(&options->limits);
    lock_init(&server->live_lock, LOCK_RANK_LEAF);
    lock_cond_init(&server->live_changed);
    rpc_runtime_acquire();
    enum err_code code = build(server, err);
    if (code != ERR_OK) {
        rpc_server_destroy(server);
        return code;
    }
    *ret_server = server;
    return ERR_OK;
}

enum err_code rpc_server_listen(
    struct rpc_server *server,
    const struct rpc_listen_options *options,
    uint16_t *ret_port,
    struct err_info *err)
{
    return door_listen(server->door, options, ret_port, err);
}

enum err_code rpc_server_set_tls(
    struct rpc_server *server,
    const char *listener,
    const struct rpc_tls_files *tls,
    struct err_info *err)
{
    return door_set_tls(server->door, listener, tls, err);
}

/* One completion; false: the queue has ended. */
static bool poll_once(struct rpc_thread *poller)
{
    grpc_event event =
        grpc_completion_queue_next(poller->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    if (event.type == GRPC_OP_COMPLETE) {
        struct rpc_tag *tag = event.tag;
        rpc_handoff_take(&tag->handoff);
        tag->done(tag->owner, poller, event.success != 0);
    }
    return event.type != GRPC_QUEUE_SHUTDOWN;
}

static void poll(void *context)
{
    struct rpc_thread *poller = context;
    for (unsigned i = 0; i < RPC_ARMED_PER_POLLER; i++) {
        rpc_call_arm(poller->server, poller);
    }
    while (poll_once(poller)) {
    }
}

static enum err_code start_pollers(struct rpc_server *server, struct err_info *err)
{
    for (unsigned i = 0; i < server->poller_count; i++) {
        struct rpc_thread *poller = &server->pollers[i];
        char name[16];
        (void)snprintf(name, sizeof(name), "rpc-poll-%u", i % 1000);
        TRY(thread_start(&poller->thread, name, poll, poller, err));
    }
    return ERR_OK;
}

enum err_code rpc_server_start(struct rpc_server *server, struct err_info *err)
{
    TRY(timer_wheel_start(&server->wheel, err));
    TRY(rpc_pool_start(server->pool, err));
    sigset_t before;
    rpc_signals_block(&before);
    grpc_server_start(server->core);
    rpc_signals_restore(&before);
    server->started = true;
    TRY(start_pollers(server, err));
    TRY(door_start(server->door, err));
    log_debug("rpc_server_started", LOG_STR("grpc", grpc_version_string()));
    return ERR_OK;
}

void rpc_server_set_serving(struct rpc_server *server, bool serving)
{
    rpc_health_set(server->health, serving);
}

static void on_shutdown(void *owner, struct rpc_thread *thread, bool ok)
{
    (void)thread;
    (void)ok;
    struct rpc_server *server = owner;
    LOCK_GUARD(&server->live_lock);
    server->shut_down = true;
    lock_cond_broadcast(&server->live_changed);
}

/* Until the library's server has ended, with calls_too also until no call lives; false: the
 * deadline came first, or somebody is in a hurry. */
static bool wait_end(struct rpc_server *server, bool calls_too, struct mono_us deadline)
{
    while (!server->pollers[0].thread.running && !server->shut_down) { /* its start had failed */
        (void)poll_once(&server->pollers[0]);
    }
    bool in_time = true;
    LOCK_GUARD(&server->live_lock);
    while (!server->shut_down && !(calls_too && atomic_load(&server->live) == 0) && in_time
           && !(server->hurries && deadline.value != INT64_MAX)) {
        in_time = lock_cond_wait_until(&server->live_changed, &server->live_lock, deadline);
    }
    return server->shut_down;
}

static void wait_concluded(struct rpc_server *server)
{
    LOCK_GUARD(&server->live_lock);
    while (atomic_load(&server->live) > 0) {
        lock_cond_wait(&server->live_changed, &server->live_lock);
    }
}

/* Calls get the whole grace; then idle connections get a moment to answer their GOAWAY. */
static void wait_grace(struct rpc_server *server, int64_t grace_us)
{
    struct mono_us deadline = { rpc_now().value + grace_us };
    (void)wait_end(server, true, deadline);
    int64_t moment = rpc_now().value + GOAWAY_WAIT_US;
    (void)wait_end(
        server, false, (struct mono_us){ moment < deadline.value ? moment : deadline.value });
}

void rpc_server_hurry(struct rpc_server *server)
{
    LOCK_GUARD(&server->live_lock);
    server->hurries = true;
    lock_cond_broadcast(&server->live_changed);
}

void rpc_server_drain(struct rpc_server *server, int64_t grace_us)
{
    if (server->drained || !server->started) {
        return;
    }
    server->drained = true;
    door_stop_accepting(server->door);
    rpc_health_end(server->health);
    atomic_store(&server->stopping, true);
    server->t_shutdown = (struct rpc_tag){ .done = on_shutdown, .owner = server };
    rpc_handoff_give(&server->t_shutdown.handoff);
    grpc_server_shutdown_and_notify(server->core, server->pollers[0].cq, &server->t_shutdown);
    if (grace_us > 0) {
        wait_grace(server, grace_us);
    }
    grpc_server_cancel_all_calls(server->core);
    (void)wait_end(server, false, (struct mono_us){ INT64_MAX });
    wait_concluded(server);
    door_flush(server->door, FLUSH_WAIT_US);
}

/* Without a thread of its own (the server never started) a queue is emptied here. */
static void destroy_pollers(struct rpc_server *server)
{
    for (unsigned i = 0; i < server->poller_count; i++) {
        struct rpc_thread *poller = &server->pollers[i];
        grpc_completion_queue_shutdown(poller->cq);
        if (poller->thread.running) {
            thread_join(&poller->thread);
        } else {
            while (poll_once(poller)) {
            }
        }
        arena_destroy(poller->arena);
    }
    if (server->core != NULL) {
        grpc_server_destroy(server->core);
    }
    for (unsigned i = 0; i < server->poller_count; i++) {
        grpc_completion_queue_destroy(server->pollers[i].cq);
    }
    mem_free(server->pollers);
}

void rpc_server_destroy(struct rpc_server *server)
{
    if (server == NULL) {
        return;
    }
    rpc_server_drain(server, 0);
    door_destroy(server->door);
    rpc_pool_destroy(server->pool);
    timer_wheel_stop(server->wheel);
    destroy_pollers(server);
    rpc_health_destroy(server->health);
    if (server->rows != NULL) {
        map_destroy(server->rows, NULL);
    }
    lock_cond_deinit(&server->live_changed);
    lock_deinit(&server->live_lock);
    mem_free(server);
    rpc_runtime_release();
}

void rpc_server_get_stats(const struct rpc_server *server, struct rpc_server_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof(*ret_stats));
    door_get_stats(server->door, ret_stats);
    ret_stats->calls_started = atomic_load(&server->calls_started);
    ret_stats->calls_unknown = atomic_load(&server->calls_unknown);
    ret_stats->streams_open = atomic_load(&server->streams_open);
}
