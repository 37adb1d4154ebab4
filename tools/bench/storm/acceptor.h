/*
 * The floor of bench_storm: a program that accepts connections, does the TLS handshake with each
 * and keeps it, and nothing else.
 */
#ifndef TOOLS_BENCH_STORM_ACCEPTOR_H
#define TOOLS_BENCH_STORM_ACCEPTOR_H

#define ACCEPTOR_WORD "tls-acceptor"

/* argv: certificate and key file. Prints its port as JSON; until SIGTERM. */
int acceptor_main(char *const *argv);

#endif
