/*
 * A server and its agents at work (a session begins anew, telemetry and events are spooled and
 * uploaded, commands are ordered, sent, done and acknowledged) while one system call on a file
 * fails, or every one from some number on, or the allocations do: the first, the second, and so on
 * until the work is over before. SQLite's own allocations count among them. Then both die and begin
 * again with all in order, and the store is held against what was promised. With PostgreSQL below
 * the server the allocations alone are swept: its files are elsewhere.
 *
 *     cluster_server_api_sweeps [--every N]     N: only each N-th call (1: all)
 */
#include "common/base/log.h"
#include "tests/cluster/cluster.h"
#include "tests/support/memory.h"
#include "tests/support/sys_fault.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define JOIN_US  (5 * US_PER_MINUTE)
#define WORK_US  (25 * US_PER_SECOND)
#define PEACE_US (20 * US_PER_MINUTE)

enum {
    CALLS_MAX = 10000000,
    RECORDS = 3,
    SEEDS = 4, /* with and without a spool's delay */
    CALL_STRIDE = 7,
    ALLOCATION_STRIDE = 37,
    POSTGRES_STRIDE = 149
};

struct sweep {   /* what the command line asks for */
    long stride; /* 0: each kind's own */
};

/* How the work is disturbed: begin before it, end after it; false: it was over before. */
struct disturbance {
    void (*begin)(long number);
    bool (*end)(void);
    void (*pause)(bool pauses);
    long stride; /* as many are passed over in an ordinary run */
};

static bool is_settled(struct cluster *cluster)
{
    return cluster_agent_is_settled(&cluster->agents[0]) && cluster_orders_are_over(cluster);
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

static void produce(struct cluster_agent *agent)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        cluster_agent_produce(agent, SPOOL_TELEMETRY);
        cluster_agent_produce(agent, SPOOL_EVENTS);
    }
}

static void work(struct cluster *cluster)
{
    struct cluster_agent *agent = &cluster->agents[0];
    produce(agent);
    cluster_order_command(agent, 600);
    (void)cluster_run(cluster, WORK_US / 5, NULL);
    cluster_order_evict(agent); /* a new handshake, a new stream */
    produce(agent);
    cluster_order_command(agent, 600);
    (void)cluster_run(cluster, WORK_US - WORK_US / 5, NULL);
}

static bool run_once(
    struct cluster_place *place, uint64_t seed, long number, const struct disturbance *disturbance)
{
    AUTO_FREE struct cluster *cluster = mem_alloc(sizeof(*cluster));
    unsigned descriptors = count_descriptors();
    cluster_init(cluster, place, seed);
    struct cluster_agent *agent = &cluster->agents[0];
    cluster_server_start(&cluster->server);
    cluster_order_token(agent, true);
    assert_true(cluster_run(cluster, JOIN_US, is_settled));

    cluster->watch = disturbance->pause;
    cluster->is_disturbed = true;
    disturbance->begin(number);
    work(cluster);
    bool was_hit = disturbance->end();
    cluster->watch = NULL;

    cluster_agent_kill(agent);
    cluster_server_kill(&cluster->server);
    cluster_server_start(&cluster->server);
    cluster_agent_start(agent);
    produce(agent);
    cluster_order_command(agent, 600);
    if (!cluster_run(cluster, PEACE_US, is_settled)) {
        fail_msg("number %ld: not settled in peace", number);
    }
    cluster_check_end(cluster);
    cluster_deinit(cluster);
    assert_int_equal(count_descriptors(), descriptors);
    return was_hit;
}

/* take_url: of the PostgreSQL below the server; NULL: SQLite. */
static void run_all(
    const struct sweep *sweep, const struct disturbance *disturbance, char *take_url)
{
    struct cluster_place place;
    uint64_t seeds = 0;
    long number = 0;
    long stride = sweep->stride == 0 ? disturbance->stride : sweep->stride;
    unsigned unhit = 0; /* of the last tries: each seed makes another number of calls */
    cluster_place_init(&place, take_url);
    while (unhit < SEEDS) {
        /* One database serves all runs on PostgreSQL: there the agents' names, made of the seed,
         * are never the same. */
        uint64_t seed = take_url == NULL ? seeds % SEEDS : seeds;
        unhit = run_once(&place, seed + 1, number, disturbance) ? 0 : unhit + 1;
        seeds++;
        number += stride;
        assert_true(number < CALLS_MAX);
    }
    assert_true(number > SEEDS * stride);
    (void)printf("%ld calls, each %ld. tried\n", number, stride);
    cluster_place_deinit(&place);
}

/* ---- system calls ---- */

static void fail_one(long number)
{
    /* SQLite takes EIO of a read for damage: component_agent_spool_sweeps */
    const struct sys_fault fault = { .after = number, .number = EIO, .read_number = ENOMEM };
    sys_fault_arm(&fault);
}

static void fail_from(long number)
{
    const struct sys_fault fault = {
        .after = number, .number = ENOSPC, .read_number = ENOMEM, .persists = true
    };
    sys_fault_arm(&fault);
}

static void test_one_system_call_fails(void **state)
{
    static const struct disturbance disturbance = {
        fail_one, sys_fault_disarm, sys_fault_pause, CALL_STRIDE
    };
    run_all(*state, &disturbance, NULL);
}

static void test_all_system_calls_fail_from_one_on(void **state)
{
    static const struct disturbance disturbance = {
        fail_from, sys_fault_disarm, sys_fault_pause, CALL_STRIDE
    };
    run_all(*state, &disturbance, NULL);
}

/* ---- allocations ---- */

static void fail_one_allocation(long number)
{
    (void)mem_fault_swap((struct mem_fault){ .after = number, .is_single = true });
}

static void fail_allocations_from(long number)
{
    (void)mem_fault_swap((struct mem_fault){ .after = number });
}

static bool end_of_allocations(void)
{
    return mem_fault_swap(MEM_FAULT_NONE).has_failed;
}

static void sweep_with_postgresql(const struct sweep *sweep, const struct disturbance *disturbance)
{
    char *url = test_postgres_create();
    if (url == NULL) {
        skip();
    }
    run_all(sweep, disturbance, url);
}

static void test_one_allocation_fails(void **state)
{
    static const struct disturbance disturbance = {
        fail_one_allocation, end_of_allocations, memory_pause, ALLOCATION_STRIDE
    };
    run_all(*state, &disturbance, NULL);
}

static void test_one_allocation_fails_with_postgresql(void **state)
{
    static const struct disturbance disturbance = {
        fail_one_allocation, end_of_allocations, memory_pause, POSTGRES_STRIDE
    };
    sweep_with_postgresql(*state, &disturbance);
}

static void test_all_allocations_fail_from_one_on(void **state)
{
    static const struct disturbance disturbance = {
        fail_allocations_from, end_of_allocations, memory_pause, ALLOCATION_STRIDE
    };
    run_all(*state, &disturbance, NULL);
}

static void test_all_allocations_fail_from_one_on_with_postgresql(void **state)
{
    static const struct disturbance disturbance = {
        fail_allocations_from, end_of_allocations, memory_pause, POSTGRES_STRIDE
    };
    sweep_with_postgresql(*state, &disturbance);
}

int main(int argc, char **argv)
{
    struct sweep sweep = { test_every(argc, argv) };
    struct err_info err = ERR_INFO_INIT;
    memory_take_sqlite();
    if (crypto_start(&err) != ERR_OK) {
        return 1;
    }
    log_set_level(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_one_system_call_fails, &sweep),
        cmocka_unit_test_prestate(test_all_system_calls_fail_from_one_on, &sweep),
        cmocka_unit_test_prestate(test_one_allocation_fails, &sweep),
        cmocka_unit_test_prestate(test_all_allocations_fail_from_one_on, &sweep),
        cmocka_unit_test_prestate(test_one_allocation_fails_with_postgresql, &sweep),
        cmocka_unit_test_prestate(test_all_allocations_fail_from_one_on_with_postgresql, &sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
