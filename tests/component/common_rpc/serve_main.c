/* The fixture's server as a program, for clients in other languages: prints its targets, serves
 * until standard input ends. */
#include "tests/component/common_rpc/fixture.h"

#include <stdio.h>
#include <unistd.h>

int main(void)
{
    struct world world;
    struct err_info err = ERR_INFO_INIT;
    uint16_t port = 0;
    world_create(&world, 0);
    const struct rpc_listen_options listen = { .name = "tcp", .address = "127.0.0.1:0" };
    if (rpc_server_listen(world.server, &listen, &port, &err) != ERR_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    rpc_server_set_serving(world.server, true);
    (void)printf("%s\n127.0.0.1:%u\n", world.target, (unsigned)port);
    (void)fflush(stdout);
    char byte = 0;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    rpc_channel_destroy(STEAL(world.channel));
    rpc_server_drain(world.server, US_PER_SECOND);
    struct rpc_server_stats stats;
    rpc_server_get_stats(world.server, &stats);
    (void)fprintf(
        stderr,
        "calls %llu, unknown %llu, guard closes %llu\n",
        (unsigned long long)stats.calls_started,
        (unsigned long long)stats.calls_unknown,
        (unsigned long long)stats.guard_closes);
    world_destroy(&world);
    return 0;
}
