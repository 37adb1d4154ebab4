/* What a handshake tells an agent, when other threads work between its two transactions. */
#include "cmd/server/ingest/ingest.h"
#include "common/base/log.h"
#include "tests/cluster/cluster.h"

#define PATIENCE_US (5 * US_PER_MINUTE)

static bool is_first_settled(struct cluster *cluster)
{
    return cluster_agent_is_settled(&cluster->agents[0]);
}

static void write_now(void *context)
{
    struct cluster *cluster = context;
    if (strstr(sim_net_handling(cluster->net), "CompleteAuthHandshake") != NULL) {
        (void)ingest_turn(cluster->server.service.ingest);
    }
}

/*
 * An agent sent a record from memory and died; the record lies in the writer's queue when the agent
 * comes back, and is stored while the handshake ends. The mark it is told must be the one after
 * that: else it gives the number again, and the record that bears it is taken for a repetition.
 */
static void test_the_mark_of_a_handshake_is_that_of_the_fenced_session(void **state)
{
    (void)state;
    struct cluster_place place;
    AUTO_FREE struct cluster *cluster = mem_alloc(sizeof(*cluster));
    cluster_place_init(&place, NULL);
    cluster_init(cluster, &place, 1);
    struct cluster_agent *agent = &cluster->agents[0];
    agent->delay_us = 15 * US_PER_SECOND;
    cluster_server_start(&cluster->server);
    cluster_order_token(agent, true);
    assert_true(cluster_run(cluster, PATIENCE_US, is_first_settled));

    cluster->server.is_writing = false;
    cluster_agent_produce(agent, SPOOL_TELEMETRY);
    (void)cluster_run(cluster, US_PER_SECOND, NULL);
    cluster_agent_kill(agent);
    sim_set_meanwhile(cluster->sim, write_now, cluster);
    cluster_agent_start(agent);
    (void)cluster_run(cluster, US_PER_SECOND, NULL);
    assert_int_equal(agent->marks[0], 1); /* it was stored meanwhile */

    cluster->server.is_writing = true;
    cluster_agent_produce(agent, SPOOL_TELEMETRY);
    assert_true(cluster_run(cluster, PATIENCE_US, is_first_settled));
    cluster_check_end(cluster);
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
        cmocka_unit_test(test_the_mark_of_a_handshake_is_that_of_the_fenced_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
