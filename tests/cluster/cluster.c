#include "tests/cluster/cluster.h"

#include "cmd/server/store/access.h"
#include "cmd/server/store/audit.h"
#include "tests/support/payload.h"

#include <stdio.h>
#include <sys/stat.h>

#define STEP_US (5 * US_PER_SECOND) /* of checks */

static const struct sql_statement LAST_AUDIT = {
    "cluster_last_audit",
    "SELECT COALESCE(MAX(sequence), 0) FROM audit WHERE workspace_id = 1",
    "SELECT COALESCE(MAX(sequence), 0) FROM audit WHERE workspace_id = 1"
};

/* ---- the place ---- */

static struct sql_conn *open_database(const char *url, bool migrate)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    size_t count = 0;
    const struct store_options options = { .url = url };
    assert_ok_err(err, store_connect(&options, &conn, &err));
    if (migrate) {
        const struct sql_migration *migrations = store_migrations(sql_engine_of(conn), &count);
        assert_ok_err(err, sql_migrate_up(conn, migrations, count, NULL, NULL, &err));
    }
    return conn;
}

void cluster_place_init(struct cluster_place *place, char *take_super_url)
{
    *place =
        (struct cluster_place){ .dir = test_dir_create_in_memory(), .super_url = take_super_url };
    place->schema = payload_schema();
    place->command_key = key_sign_create();
    AUTO_FREE char *url = mem_printf("sqlite:%s/empty.db", place->dir);
    sql_close(open_database(take_super_url == NULL ? url : take_super_url, true));
}

void cluster_place_deinit(struct cluster_place *place)
{
    wire_schema_destroy(place->schema);
    key_sign_destroy(place->command_key);
    test_postgres_drop(place->super_url);
    test_dir_remove(place->dir);
}

/* ---- the cluster ---- */

static void init_agent(struct cluster *cluster, unsigned index)
{
    struct cluster_agent *agent = &cluster->agents[index];
    agent->cluster = cluster;
    agent->host = index + 1;
    (void)snprintf(
        agent->name,
        sizeof(agent->name),
        "s%llu-a%u",
        (unsigned long long)cluster->seed,
        agent->host);
    agent->dir = mem_printf("%s/%u", cluster->dir, index);
    assert_int_equal(mkdir(agent->dir, 0700), 0);
    sim_clock_init(&agent->clock, cluster->sim);
    list_init(&agent->runs);
    agent->delay_us =
        sim_chance(cluster->sim, 500) ? 0 : sim_between(cluster->sim, 1, 15) * US_PER_SECOND;
    (void)snprintf(agent->facts.boot_id, sizeof(agent->facts.boot_id), "boot-%u", index);
}

static void init_operator(struct cluster *cluster)
{
    struct err_info err = ERR_INFO_INIT;
    const struct rpc_channel_options options = { .target = "unix:/operator" };
    sim_net_set_host(cluster->net, SIM_OPERATOR);
    assert_ok_err(err, rpc_client_create(cluster->place->schema, &cluster->operator_client, &err));
    assert_ok_err(
        err,
        rpc_channel_create(cluster->operator_client, &options, &cluster->operator_channel, &err));
}

static int64_t last_audit(struct cluster *cluster)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_begin(cluster->observer, SQL_ALL_WORKSPACES, &err));
    assert_ok_err(err, store_audit_place(cluster->observer, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, sql_query(cluster->observer, &LAST_AUDIT, SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    int64_t last = sql_int(rows, 0);
    sql_rows_close(rows);
    assert_ok_err(err, sql_commit(cluster->observer, &err));
    return last;
}

void cluster_init(struct cluster *cluster, struct cluster_place *place, uint64_t seed)
{
    *cluster = (struct cluster){ .place = place, .seed = seed };
    cluster->dir = mem_printf("%s/run", place->dir);
    assert_int_equal(mkdir(cluster->dir, 0700), 0);
    if (place->super_url == NULL) {
        AUTO_FREE char *file = mem_printf("%s/belay.db", cluster->dir);
        AUTO_FREE char *empty = mem_printf("%s/empty.db", place->dir);
        test_copy_file(empty, file);
        cluster->url = mem_printf("sqlite:%s", file);
    } else {
        cluster->url = mem_strdup(place->super_url);
    }
    cluster->observer = open_database(cluster->url, false);
    cluster->audit_before = last_audit(cluster);
    cluster->sim = sim_create(seed);
    cluster->net = sim_net_create(cluster->sim, place->schema);
    cluster->server.cluster = cluster;
    sim_clock_init(&cluster->server.clock, cluster->sim);
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        init_agent(cluster, i);
    }
    init_operator(cluster);
}

void cluster_deinit(struct cluster *cluster)
{
    cluster->is_ending = true;
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        cluster_agent_kill(&cluster->agents[i]);
        mem_free(cluster->agents[i].dir);
    }
    cluster_server_kill(&cluster->server);
    while (sim_next(cluster->sim).value != INT64_MAX) { /* the network's, and the operator's */
        sim_step(cluster->sim, sim_next(cluster->sim));
    }
    rpc_channel_destroy(cluster->operator_channel);
    rpc_client_destroy(cluster->operator_client);
    sim_net_destroy(cluster->net);
    sim_destroy(cluster->sim);
    sql_close(cluster->observer);
    mem_free(cluster->url);
    test_dir_remove(cluster->dir);
}

/* Every agent's loop until none has anything to do at this moment. */
static void turn_agents(struct cluster *cluster)
{
    bool any = true;
    while (any) {
        any = false;
        for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
            any = cluster_agent_turn(&cluster->agents[i]) || any;
        }
    }
}

static struct mono_us next_deadline(const struct cluster *cluster, struct mono_us until)
{
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        const struct cluster_agent *agent = &cluster->agents[i];
        if (agent->is_running && !agent->is_paused
            && loop_deadline(agent->loop).value < until.value) {
            until = loop_deadline(agent->loop);
        }
    }
    return until;
}

static void run_until(struct cluster *cluster, struct mono_us end)
{
    turn_agents(cluster);
    while (sim_now(cluster->sim).value < end.value) {
        sim_step(cluster->sim, next_deadline(cluster, end));
        turn_agents(cluster);
        cluster_server_stir(&cluster->server);
    }
}

static void look(const struct cluster *cluster, bool looks)
{
    if (cluster->watch != NULL) {
        cluster->watch(looks);
    }
}

bool cluster_run(struct cluster *cluster, int64_t us, bool (*until)(struct cluster *cluster))
{
    int64_t end = sim_now(cluster->sim).value + us;
    bool reached = false;
    while (!reached && sim_now(cluster->sim).value < end) {
        int64_t step = sim_now(cluster->sim).value + STEP_US;
        run_until(cluster, (struct mono_us){ step < end ? step : end });
        look(cluster, true);
        cluster_check_marks(cluster);
        look(cluster, false);
        reached = until != NULL && until(cluster);
    }
    return reached;
}
