/*
 * The floor of bench_agents: a server of the bare gRPC library, which keeps a stream open for each
 * connection, reads what comes on it and answers the first message. With a certificate it does TLS
 * by the library.
 */
#ifndef TOOLS_BENCH_BARE_HOLD_H
#define TOOLS_BENCH_BARE_HOLD_H

#define HOLD_WORD "hold-server"

/* argv: certificate and key file, or two empty words. Prints its port as JSON; until SIGTERM. */
int hold_main(char *const *argv);

#endif
