/*
 * A program in a sandbox as if it ran here: standard input, output and errors are its own, with a
 * terminal also size, keys and signals. One event loop on the calling thread; input and output wait
 * for each other, so that memory stays small however much flows.
 */
#ifndef CMD_CLI_SESSION_SESSION_H
#define CMD_CLI_SESSION_SESSION_H

#include "cmd/cli/cli.h"

#include "proto/openshell/v1/openshell.pb-c.h"

enum {
    SESSION_EXIT_LOST =
        255, /* the connection went, or ~. ended it; the program's status is unknown */
    SESSION_ERRORS_MAX = 4096
};

/* What stands in for standard input, output and errors. */
struct session_files {
    int in_fd;
    FILE *out; /* NULL: what it writes is dropped */
    struct buf
        *errors; /* what it writes there, SESSION_ERRORS_MAX of it: as it came, for no terminal */
};

struct session_wish {
    const char *name;                        /* of the sandbox, for people */
    Openshell__V1__ExecSandboxRequest start; /* tty, cols and rows are filled in by session_run */
    bool has_terminal;                       /* the program gets one; ours goes into raw mode */
    bool has_input; /* ours (or that of files) is handed on; else it gets an end at once */
    const struct session_files *files; /* instead of our own streams; NULL: ours */
    bool is_lost; /* set by session_run: SESSION_EXIT_LOST is not the program's own status */
};

/*
 * Until the program has ended; its exit status becomes the run's. Errors before its first answer
 * are returned, and so is output of ours that cannot be written (ERR_CANCELED: nobody reads it).
 * Whatever ends the stream afterwards is said and gives SESSION_EXIT_LOST.
 */
enum err_code session_run(struct cli *cli, struct session_wish *wish) MUST_CHECK;

#endif
