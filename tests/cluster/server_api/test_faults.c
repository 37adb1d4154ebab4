/*
 * A server and three agents under everything that can go wrong between and inside them, chosen by a
 * seed. First faults for a few minutes of simulated time, then peace until everything has settled,
 * then the store is held against what was promised.
 *
 *     cluster_server_api_faults [--seed N] [--runs N] [--trace]
 */
#include "common/base/log.h"
#include "tests/cluster/cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TROUBLE_US (45 * US_PER_SECOND)
#define PEACE_US   (20 * US_PER_MINUTE)

enum {
    SQLITE_RUNS = 100,
    POSTGRES_RUNS = 3
};

struct trial { /* what the command line asks for */
    uint64_t seed;
    unsigned runs; /* 0: as many as an ordinary test makes */
    bool trace;
};

struct storm {
    struct cluster *cluster;
    bool is_over;
};

/* ---- what goes wrong ---- */

static struct cluster_agent *any_agent(struct cluster *cluster)
{
    return &cluster->agents[sim_below(cluster->sim, CLUSTER_AGENTS)];
}

static void start_server(void *context)
{
    cluster_server_start(context);
}

static void restart_server(void *context)
{
    struct cluster_server *server = context;
    struct sim *sim = server->cluster->sim;
    cluster_server_kill(server);
    (void)sim_after(sim, sim_between(sim, 0, 20 * US_PER_SECOND), start_server, server);
}

static void kill_server(struct cluster *cluster)
{
    restart_server(&cluster->server);
}

static void drain_server(struct cluster *cluster)
{
    cluster_server_drain(&cluster->server);
    (void)sim_after(cluster->sim, 6 * US_PER_SECOND, restart_server, &cluster->server);
}

static void go_on_writing(void *context)
{
    struct cluster_server *server = context;
    server->is_writing = true;
}

/* What waits to be stored comes late, perhaps for another session than the agent's. */
static void stall_writer(struct cluster *cluster)
{
    sim_note(cluster->sim, "the writer stands still");
    cluster->server.is_writing = false;
    (void)sim_after(
        cluster->sim,
        sim_between(cluster->sim, 0, 20 * US_PER_SECOND),
        go_on_writing,
        &cluster->server);
}

static void start_agent(void *context)
{
    cluster_agent_start(context);
}

static void kill_agent(struct cluster *cluster)
{
    struct cluster_agent *agent = any_agent(cluster);
    cluster_agent_kill(agent);
    (void)sim_after(
        cluster->sim, sim_between(cluster->sim, 0, 30 * US_PER_SECOND), start_agent, agent);
}

static void wake_agent(void *context)
{
    struct cluster_agent *agent = context;
    agent->is_paused = false;
}

static void pause_agent(struct cluster *cluster)
{
    struct cluster_agent *agent = any_agent(cluster);
    sim_note(cluster->sim, "%s is stopped", agent->name);
    agent->is_paused = true;
    (void)sim_after(
        cluster->sim, sim_between(cluster->sim, 0, 2 * US_PER_MINUTE), wake_agent, agent);
}

static void join_agent(void *context)
{
    struct cluster_agent *agent = context;
    sim_net_part(agent->cluster->net, agent->host, false);
}

static void part_agent(struct cluster *cluster)
{
    struct cluster_agent *agent = any_agent(cluster);
    sim_note(cluster->sim, "%s is cut off", agent->name);
    sim_net_part(cluster->net, agent->host, true);
    (void)sim_after(cluster->sim, sim_between(cluster->sim, 0, US_PER_MINUTE), join_agent, agent);
}

static int64_t jump(struct cluster *cluster)
{
    return sim_between(cluster->sim, -10 * US_PER_MINUTE, 10 * US_PER_MINUTE);
}

static void jump_server(struct cluster *cluster)
{
    cluster->server.clock.wall_off_us += jump(cluster);
    sim_note(cluster->sim, "the server's clock jumps");
}

static void jump_agent(struct cluster *cluster)
{
    any_agent(cluster)->clock.wall_off_us += jump(cluster);
}

static void evict(struct cluster *cluster)
{
    cluster_order_evict(any_agent(cluster));
}

static void revoke(struct cluster *cluster)
{
    if (sim_chance(cluster->sim, 100)) { /* it is for ever: seldom */
        cluster_order_revoke(any_agent(cluster));
    }
}

static void rotate(struct cluster *cluster)
{
    cluster_order_rotate(any_agent(cluster));
}

static void order(struct cluster *cluster)
{
    int64_t ttl_s = sim_between(cluster->sim, 20, 120);
    cluster_order_command(any_agent(cluster), ttl_s);
}

static void cancel(struct cluster *cluster)
{
    if (cluster->order_count > 0) {
        cluster_order_cancel(cluster, (unsigned)sim_below(cluster->sim, cluster->order_count));
    }
}

static void produce(struct cluster *cluster)
{
    struct cluster_agent *agent = any_agent(cluster);
    for (uint64_t left = 1 + sim_below(cluster->sim, 6); left > 0; left--) {
        cluster_agent_produce(
            agent, sim_chance(cluster->sim, 500) ? SPOOL_TELEMETRY : SPOOL_EVENTS);
    }
}

static const struct {
    void (*happen)(struct cluster *cluster);
    unsigned weight;
} incidents[] = {
    { produce, 70 },    { order, 14 },       { cancel, 4 },      { kill_agent, 5 },
    { kill_server, 2 }, { drain_server, 1 }, { pause_agent, 3 }, { part_agent, 4 },
    { jump_server, 2 }, { jump_agent, 2 },   { evict, 2 },       { revoke, 2 },
    { rotate, 2 },      { stall_writer, 3 },
};

static void next_incident(void *context)
{
    struct storm *storm = context;
    struct cluster *cluster = storm->cluster;
    unsigned total = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(incidents); i++) {
        total += incidents[i].weight;
    }
    uint64_t left = sim_below(cluster->sim, total);
    for (unsigned i = 0; i < ARRAY_LENGTH(incidents) && !storm->is_over; i++) {
        if (left < incidents[i].weight) {
            incidents[i].happen(cluster);
            break;
        }
        left -= incidents[i].weight;
    }
    if (!storm->is_over) {
        int64_t delay_us = sim_between(cluster->sim, 0, US_PER_SECOND);
        (void)sim_after(cluster->sim, delay_us, next_incident, storm);
    }
}

/* ---- a run ---- */

static bool is_settled(struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        if (!cluster_agent_is_settled(&cluster->agents[i])) {
            return false;
        }
    }
    return cluster_orders_are_over(cluster);
}

static void make_peace(struct cluster *cluster)
{
    sim_note(cluster->sim, "peace");
    sim_net_set_faults(cluster->net, &(struct sim_faults){ 0 });
    start_server(&cluster->server);
    go_on_writing(&cluster->server);
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        join_agent(&cluster->agents[i]);
        wake_agent(&cluster->agents[i]);
        cluster_agent_start(&cluster->agents[i]);
    }
}

static void run_storm(struct cluster *cluster)
{
    struct storm storm = { .cluster = cluster };
    const struct sim_faults faults = { .cut = 100, .late = 10, .duplicate = 60 };
    sim_net_set_faults(cluster->net, &faults);
    cluster_server_start(&cluster->server);
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        cluster_order_token(&cluster->agents[i], sim_chance(cluster->sim, 500));
    }
    next_incident(&storm);
    (void)cluster_run(cluster, TROUBLE_US, NULL);
    storm.is_over = true;
    make_peace(cluster);
    bool settled = cluster_run(cluster, PEACE_US, is_settled);
    if (!settled) {
        fail_msg("not settled after %d minutes of peace", (int)(PEACE_US / US_PER_MINUTE));
    }
    cluster_check_end(cluster);
}

/* The number that stands for all that happened. */
static uint64_t run_seed(struct cluster_place *place, uint64_t seed, bool trace)
{
    AUTO_FREE struct cluster *cluster = mem_alloc(sizeof(*cluster));
    cluster_init(cluster, place, seed);
    sim_print(cluster->sim, trace);
    run_storm(cluster);
    uint64_t trail = sim_trail(cluster->sim);
    cluster_deinit(cluster);
    return trail;
}

static void run_all(struct cluster_place *place, const struct trial *trial, unsigned usual)
{
    unsigned runs = trial->runs == 0 ? usual : trial->runs;
    for (uint64_t seed = trial->seed; seed < trial->seed + runs; seed++) {
        (void)printf("seed %" PRIu64 "\n", seed);
        (void)fflush(stdout);
        (void)run_seed(place, seed, trial->trace);
    }
}

static void test_faults_on_sqlite(void **state)
{
    const struct trial *trial = *state;
    struct cluster_place place;
    cluster_place_init(&place, NULL);
    run_all(&place, trial, SQLITE_RUNS);
    cluster_place_deinit(&place);
}

static void test_faults_on_postgresql(void **state)
{
    const struct trial *trial = *state;
    struct cluster_place place;
    char *url = test_postgres_create();
    if (url == NULL) {
        skip();
    }
    cluster_place_init(&place, url);
    run_all(&place, trial, POSTGRES_RUNS);
    cluster_place_deinit(&place);
}

/* Else a seed that failed would tell nothing. */
static void test_a_seed_repeats_to_the_last_step(void **state)
{
    const struct trial *trial = *state;
    struct cluster_place place;
    cluster_place_init(&place, NULL);
    uint64_t first = run_seed(&place, trial->seed, false);
    assert_true(first == run_seed(&place, trial->seed, false));
    assert_true(first != run_seed(&place, trial->seed + 1, false));
    cluster_place_deinit(&place);
}

static uint64_t number_of(const char *text)
{
    uint64_t number = 0;
    if (text == NULL || str_parse_uint64(str_of(text), UINT32_MAX, &number) != ERR_OK) {
        (void)fprintf(stderr, "usage: [--seed N] [--runs N] [--trace]\n");
        exit(64);
    }
    return number;
}

/* What is freed is kept from use for less long: most of the time of these runs is fresh pages. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

int main(int argc, char **argv)
{
    struct trial trial = { .seed = 1 };
    struct err_info err = ERR_INFO_INIT;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            trial.trace = true;
        } else if (strcmp(argv[i], "--seed") == 0) {
            trial.seed = number_of(argv[++i]);
        } else if (strcmp(argv[i], "--runs") == 0) {
            trial.runs = (unsigned)number_of(argv[++i]);
        } else {
            (void)number_of(NULL);
        }
    }
    if (crypto_start(&err) != ERR_OK) {
        return 1;
    }
    log_set_level(trial.trace ? LOG_WARN : LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_faults_on_sqlite, &trial),
        cmocka_unit_test_prestate(test_faults_on_postgresql, &trial),
        cmocka_unit_test_prestate(test_a_seed_repeats_to_the_last_step, &trial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
