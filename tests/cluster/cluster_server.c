/* The server's program without its threads: what app.c and housekeeping.c make and do. */
#include "cmd/server/api/api.h"
#include "cmd/server/auth/call_metrics.h"
#include "cmd/server/auth/credentials.h"
#include "cmd/server/auth/gate.h"
#include "cmd/server/core/identity.h"
#include "cmd/server/core/throttle.h"
#include "cmd/server/gateway/methods.h"
#include "cmd/server/gateway/presence.h"
#include "cmd/server/ingest/ingest.h"
#include "cmd/server/store/command.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "cmd/server/store/session.h"
#include "cmd/server/store/telemetry.h"
#include "tests/cluster/cluster.h"

#define KEEP_US  (10 * US_PER_SECOND)
#define WRITE_US (20 * US_PER_MS)
#define BUSY_US  (5 * US_PER_SECOND) /* seldom: the database has much to do */

enum {
    THROTTLE_BURST = 100000, /* all agents are one address to it, and they come back often here */
    ARENA_BYTES = 1024 * 1024
};

static enum err_code expire(struct work *work, void *context, struct err_info *err)
{
    int64_t expired = 0;
    (void)context;
    TRY(store_enrollment_expire(work->conn, work->now, err));
    TRY(store_challenge_expire(work->conn, work->now, err));
    return store_command_expire(work->conn, work->now, &expired, err);
}

static enum err_code make_partitions(struct work *work, void *context, struct err_info *err)
{
    (void)context;
    bool all = false;
    return store_sample_partitions(
        work->conn, (struct wall_us){ work->now.value - 2 * US_PER_DAY }, 10, &all, err);
}

static enum err_code do_work(struct cluster_server *server, work_fn fn, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    return work_run(server->worker, arena, SQL_ALL_WORKSPACES, fn, NULL, err);
}

static void keep(void *context)
{
    struct cluster_server *server = context;
    struct err_info err = ERR_INFO_INIT;
    enum err_code flushed = presence_flush(server->service.presence, server->worker, &err);
    enum err_code expired = do_work(server, expire, &err);
    if (server->cluster->watch == NULL) { /* else it is tried again the next time, as ever */
        assert_ok_err(err, flushed);
        assert_ok_err(err, expired);
    }
    server->keeping = sim_after(server->cluster->sim, KEEP_US, keep, server);
}

static void write_turn(void *context)
{
    struct cluster_server *server = context;
    server->writing = 0;
    if (server->is_writing && ingest_turn(server->service.ingest)) {
        cluster_server_stir(server);
    }
}

void cluster_server_stir(struct cluster_server *server)
{
    struct sim *sim = server->cluster->sim;
    if (server->is_running && server->is_writing && server->writing == 0) {
        int64_t most = sim_chance(sim, 20) ? BUSY_US : WRITE_US;
        server->writing = sim_after(sim, sim_between(sim, 0, most), write_turn, server);
    }
}

/* Between the two transactions of the handshake's end the writer may have its turn. */
static void meanwhile(void *context)
{
    struct cluster_server *server = context;
    const char *path = sim_net_handling(server->cluster->net);
    if (strstr(path, "CompleteAuthHandshake") != NULL && sim_chance(server->cluster->sim, 500)) {
        (void)ingest_turn(server->service.ingest);
    }
}

static void make_service(struct cluster_server *server)
{
    const struct cluster *cluster = server->cluster;
    struct service *service = &server->service;
    *service = (struct service){
        .clock = &server->clock.clock,
        .schema = cluster->place->schema,
        .metrics = metrics_create(),
        .hub = hub_create(),
        .credentials = credentials_create(&server->clock.clock),
        .presence = presence_create(),
        .throttle = throttle_create(&server->clock.clock, THROTTLE_BURST, THROTTLE_BURST),
        .command_key = cluster->place->command_key,
        .store = { .url = cluster->url },
        .engine = cluster->place->super_url == NULL ? SQL_SQLITE : SQL_POSTGRES,
        .settings = { .heartbeat_us = 10 * US_PER_SECOND,
                      .session_us = 100 * US_PER_SECOND,
                      .challenge_us = 30 * US_PER_SECOND,
                      .telemetry_keep_us = 365 * US_PER_DAY,
                      .events_keep_us = 365 * US_PER_DAY,
                      .commands_keep_us = 365 * US_PER_DAY },
        .mode = "server",
        .version = "test",
        .join_target = "unix:/cluster",
    };
    hub_set_listener(service->hub, HUB_SESSION, credentials_forget, service->credentials);
}

void cluster_server_start(struct cluster_server *server)
{
    struct err_info err = ERR_INFO_INIT;
    void *worker = NULL;
    if (server->is_running || server->cluster->is_ending) {
        return;
    }
    make_service(server);
    struct service *service = &server->service;
    assert_ok_err(err, worker_open(service, &worker, &err));
    server->worker = worker;
    assert_ok_err(
        err,
        identity_load_server_id(
            server->worker->conn,
            clock_wall(service->clock),
            service->server_id,
            sizeof(service->server_id),
            &err));
    assert_ok_err(err, ingest_open(service, &service->ingest, &err));
    assert_ok_err(err, do_work(server, make_partitions, &err));
    server->tables[0] = gateway_methods();
    server->tables[1] = api_methods();
    service->calls =
        call_metrics_create(service->metrics, server->tables, ARRAY_LENGTH(server->tables));
    const struct sim_server_options options = { .tables = server->tables,
                                                .table_count = ARRAY_LENGTH(server->tables),
                                                .gate = gate_create(service),
                                                .service = service,
                                                .worker = server->worker };
    sim_net_serve(server->cluster->net, &options);
    server->keeping = sim_after(server->cluster->sim, KEEP_US, keep, server);
    sim_set_meanwhile(server->cluster->sim, meanwhile, server);
    server->is_running = true;
    server->is_writing = true;
    sim_note(server->cluster->sim, "server starts");
}

void cluster_server_drain(struct cluster_server *server)
{
    if (server->is_running) {
        sim_note(server->cluster->sim, "server drains");
        presence_drain(server->service.presence);
    }
}

void cluster_server_kill(struct cluster_server *server)
{
    struct service *service = &server->service;
    if (!server->is_running) {
        return;
    }
    sim_note(server->cluster->sim, "server dies");
    server->is_running = false;
    sim_set_meanwhile(server->cluster->sim, NULL, NULL);
    sim_net_unserve(server->cluster->net);
    sim_cancel(server->cluster->sim, server->keeping);
    sim_cancel(server->cluster->sim, server->writing);
    server->writing = 0;
    ingest_stop(service->ingest);
    worker_close(service, server->worker);
    throttle_destroy(service->throttle);
    presence_destroy(service->presence);
    credentials_destroy(service->credentials);
    call_metrics_destroy(service->calls);
    hub_destroy(service->hub);
    metrics_destroy(service->metrics);
}
