/* The floor of bench_rpc and of the sieges: a bare server that answers every unary call with the
 * same number of bytes. */
#ifndef TOOLS_BENCH_BARE_ECHO_H
#define TOOLS_BENCH_BARE_ECHO_H

#include "tools/bench/bare/server.h"

#include <stddef.h>

/* arm and context of the options are not looked at. As bare_serve. */
int echo_serve(size_t reply_bytes, const struct bare_options *where);

/*
 * The same from words. argv: bytes of a reply, certificate file and key file ("": plaintext).
 * Prints
 * {"event":"ready","port":N}. SIGTERM ends it at once.
 */
int echo_main(char *const *argv);

/* The word that makes a bench this server. */
#define ECHO_WORD "--echo-server"

#endif
