/*
 * The floor: a server that answers every unary call with the same number of bytes, on bare C core.
 * As many completion queues and threads as there are cores, generic calls, armed ahead: the best
 * that was measured for the library. A process of its own.
 */
#ifndef TOOLS_BENCH_RPC_ECHO_H
#define TOOLS_BENCH_RPC_ECHO_H

/*
 * argv: bytes of a reply, certificate file and key file ("": plaintext). Prints
 * {"event":"ready","port":N}. SIGTERM ends it at once.
 */
int echo_main(char *const *argv);

/* The word that makes bench_rpc this server. */
#define ECHO_WORD "--echo-server"

#endif
