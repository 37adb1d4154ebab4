/* Calls through a TLS listener, and how a client says what is wrong with one. */
#include "tests/component/common_rpc/fixture.h"
#include "tests/component/common_rpc/pki.h"

#include <stdio.h>

struct tls_world {
    struct world world;
    struct pki pki;
    struct pki_leaf leaf;
    uint16_t port;
    char target[32];
};

static struct rpc_tls_files files_of(const struct pki_leaf *leaf)
{
    return (struct rpc_tls_files){ .certificate_pem = leaf->chain_pem, .key_pem = leaf->key_pem };
}

static void setup(struct tls_world *tls)
{
    struct err_info err = ERR_INFO_INIT;
    world_create(&tls->world, 0);
    tls->pki = pki_create("test CA");
    tls->leaf = pki_issue(&tls->pki, "server");
    const struct rpc_tls_files files = files_of(&tls->leaf);
    const struct rpc_listen_options listen = {
        .name = "tls",
        .address = "127.0.0.1:0",
        .tls = &files,
    };
    assert_ok_err(err, rpc_server_listen(tls->world.server, &listen, &tls->port, &err));
    (void)snprintf(tls->target, sizeof(tls->target), "127.0.0.1:%u", (unsigned)tls->port);
}

static void teardown(struct tls_world *tls)
{
    world_destroy(&tls->world);
    pki_leaf_destroy(&tls->leaf);
    pki_destroy(&tls->pki);
}

static enum err_code dial(
    struct tls_world *tls, const char *ca_pem, const char *server_name, struct err_info *err)
{
    const struct rpc_channel_options options = {
        .target = tls->target,
        .ca_pem = ca_pem,
        .server_name = server_name,
        .user_agent = "belay-test/1",
    };
    struct world *world = &tls->world;
    rpc_channel_destroy(STEAL(world->channel));
    TRY(rpc_channel_create(world->client, &options, &world->channel, err));
    int64_t id = 0;
    return world_register(world, "agent", NULL, &id, err);
}

static void test_calls_and_streams_over_tls(void **state)
{
    (void)state;
    struct tls_world tls;
    struct err_info err = ERR_INFO_INIT;
    setup(&tls);
    assert_ok_err(err, dial(&tls, tls.pki.ca_pem, RPC_PINNED_SERVER_NAME, &err));
    struct rpc_client_stream *stream = world_control(&tls.world, "flood");
    int count = 0;
    assert_code(ERR_NOT_FOUND, world_read_end(stream, &count, &err));
    assert_int_equal(count, 400);
    rpc_client_stream_release(stream);
    assert_ok_err(err, dial(&tls, tls.pki.ca_pem, NULL, &err)); /* the address stands in it */
    struct rpc_server_stats stats;
    rpc_server_get_stats(tls.world.server, &stats);
    assert_int_equal(stats.connections_accepted, 2);
    assert_true(stats.bytes_sent > 400 * 16 * 1024);
    teardown(&tls);
}

static void test_another_ca_a_wrong_name_and_no_tls_are_told_apart(void **state)
{
    (void)state;
    struct tls_world tls;
    struct err_info err = ERR_INFO_INIT;
    setup(&tls);
    struct pki other = pki_create("other CA");
    assert_code(ERR_UNAVAILABLE, dial(&tls, other.ca_pem, RPC_PINNED_SERVER_NAME, &err));
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "CA"));
    assert_code(ERR_UNAVAILABLE, dial(&tls, tls.pki.ca_pem, "another.name", &err));
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "name"));
    assert_code(ERR_UNAVAILABLE, dial(&tls, NULL, NULL, &err));
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "TLS port"));
    assert_code(ERR_INVALID, dial(&tls, "no certificate", NULL, &err));
    pki_destroy(&other);
    teardown(&tls);
}

static void test_new_connections_use_new_material(void **state)
{
    (void)state;
    struct tls_world tls;
    struct err_info err = ERR_INFO_INIT;
    setup(&tls);
    assert_ok_err(err, dial(&tls, tls.pki.ca_pem, RPC_PINNED_SERVER_NAME, &err));
    struct rpc_client_stream *stream = world_control(&tls.world, "echo");
    assert_ok_err(err, world_read(stream, NULL, &err));
    struct pki other = pki_create("other CA");
    struct pki_leaf leaf = pki_issue(&other, "server");
    const struct rpc_tls_files files = files_of(&leaf);
    assert_ok_err(err, rpc_server_set_tls(tls.world.server, "tls", &files, &err));
    assert_ok(world_say(stream, "echo")); /* the open one goes on */
    assert_ok_err(err, world_read(stream, NULL, &err));
    rpc_client_stream_release(stream);
    assert_ok_err(err, dial(&tls, other.ca_pem, RPC_PINNED_SERVER_NAME, &err));
    teardown(&tls);
    pki_leaf_destroy(&leaf);
    pki_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_and_streams_over_tls),
        cmocka_unit_test(test_another_ca_a_wrong_name_and_no_tls_are_told_apart),
        cmocka_unit_test(test_new_connections_use_new_material),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
