/*
 * The server as a whole: makes every part in order, runs until a signal, takes them down in
 * reverse. One of the three files that see everything (with main.c and config.c).
 */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include "common/config/config.h"

#define BELAY_VERSION_TEXT "0.1.0"

/* Exit statuses, as in sysexits.h. */
enum server_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69,
    EXIT_TEMPORARY = 75, /* in use, busy: try again */
    EXIT_NO_PERMISSION = 77,
    EXIT_CONFIG = 78
};

int server_run(const struct config *config);

/* `belay-server migrate plan|up|status`. */
int server_migrate(const struct config *config, const char *verb);

/* URL of the database, and how it is used; the caller frees with mem_free. */
char *server_database_url(const struct config *config);

/* Exit status of an error at start. */
int server_exit_of(int code);

#endif
