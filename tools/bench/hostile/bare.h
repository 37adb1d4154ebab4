/*
 * The library alone: a bare server with its own TLS listener that answers every call with an empty
 * message, and has the settings that Belay gives the library, as far as they are settings.
 */
#ifndef TOOLS_BENCH_HOSTILE_BARE_H
#define TOOLS_BENCH_HOSTILE_BARE_H

/* Serves with a certificate of its own made in dir, as bare_serve does. The exit status of main. */
int bare_main(const char *dir);

#endif
