/*
 * Two replicas: the records of an agent's old session wait at the first, which stands still, while
 * its new session begins at the second. What the first writes when it goes on comes too late.
 */
#include "cmd/server/ingest/ingest.h"
#include "common/base/log.h"
#include "tests/cluster/cluster.h"

#define PATIENCE_US (5 * US_PER_MINUTE)

enum {
    RECORDS = 3
};

static bool is_first_settled(struct cluster *cluster)
{
    return cluster_agent_is_settled(&cluster->agents[0]);
}

static void produce(struct cluster_agent *agent)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        cluster_agent_produce(agent, SPOOL_TELEMETRY);
    }
}

/* From here on the service writes by a writer of its own, as another replica's does. */
static struct ingest *take_over(struct cluster_server *server)
{
    struct err_info err = ERR_INFO_INIT;
    struct ingest *first = server->service.ingest;
    assert_ok_err(err, ingest_open(&server->service, &server->service.ingest, &err));
    return first;
}

/*
 * An agent sends records from memory and dies before they are stored. It comes back at the other
 * replica, hears the mark, and gives the same numbers to new records, since the old ones are gone.
 * Were the late ones stored now, the new ones would be taken for repetitions: acknowledged and
 * lost.
 */
static void test_a_fenced_replicas_late_records_are_not_stored(void **state)
{
    (void)state;
    struct cluster_place place;
    AUTO_FREE struct cluster *cluster = mem_alloc(sizeof(*cluster));
    cluster_place_init(&place, NULL);
    cluster_init(cluster, &place, 1);
    struct cluster_agent *agent = &cluster->agents[0];
    struct cluster_server *server = &cluster->server;
    agent->delay_us = 15 * US_PER_SECOND;
    cluster_server_start(server);
    cluster_order_token(agent, true);
    assert_true(cluster_run(cluster, PATIENCE_US, is_first_settled));

    server->is_writing = false;
    produce(agent);
    (void)cluster_run(cluster, US_PER_SECOND, NULL); /* they lie in the queue of the first */
    cluster_agent_kill(agent);
    struct ingest *first = take_over(server);
    cluster_agent_start(agent);
    (void)cluster_run(cluster, US_PER_SECOND, NULL);
    produce(agent);
    assert_true(ingest_turn(first));
    server->is_writing = true;
    assert_true(cluster_run(cluster, PATIENCE_US, is_first_settled));
    cluster_check_end(cluster);
    assert_int_equal(agent->marks[0], RECORDS);

    ingest_stop(first);
    cluster_deinit(cluster);
    cluster_place_deinit(&place);
}

int main(void)
{
    struct err_info err = ERR_INFO_INIT;
    if (crypto_start(&err) != ERR_OK) {
        return 1;
    }
    log_set_level(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fenced_replicas_late_records_are_not_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
