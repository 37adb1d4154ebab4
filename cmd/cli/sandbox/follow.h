/*
 * One sandbox watched until something is so: its phases as progress on a terminal, its log lines on
 * standard output and standard error. Signals are noted, so that the caller can tidy up; while a
 * follow lives, the first Ctrl-C only ends the wait.
 */
#ifndef CMD_CLI_SANDBOX_FOLLOW_H
#define CMD_CLI_SANDBOX_FOLLOW_H

#include "cmd/cli/sandbox/sandbox_view.h"

struct follow;

/* What is waited for: the sandbox as it is now. */
typedef bool (*follow_until_fn)(const Openshell__V1__Sandbox *sandbox);

bool follow_is_ready(const Openshell__V1__Sandbox *sandbox);   /* or will not be */
bool follow_is_settled(const Openshell__V1__Sandbox *sandbox); /* in no phase that passes */
bool follow_has_ended(const Openshell__V1__Sandbox *sandbox);  /* its main program */
bool follow_is_gone(const Openshell__V1__Sandbox *sandbox);    /* never: ends with the watch */

struct follow *follow_create(struct cli *cli);
void follow_destroy(struct follow *follow); /* NULL is allowed; the signals are free again */

/* 0, or the signal that came. */
int follow_signal(const struct follow *follow);

/* A line of its log. */
typedef enum err_code (*follow_line_fn)(
    struct cli *cli, void *context, const Openshell__V1__SandboxLogLine *line);

struct follow_wish {
    const Openshell__V1__Sandbox *sandbox;
    follow_until_fn until;
    follow_line_fn line; /* gets the log, the last lines after the end too; NULL: nobody does */
    void *context;
    const Openshell__V1__WatchSandboxRequest *log; /* which lines; NULL: from the first on */
};

/*
 * Waits; at most --timeout when that is given (ERR_TIMEOUT). ret_last: the sandbox as last seen;
 * NULL: it is gone. ERR_CANCELED: a signal came.
 */
enum err_code follow_run(
    struct follow *follow,
    const struct follow_wish *wish,
    Openshell__V1__Sandbox **ret_last) MUST_CHECK;

/* Said by its main program, not by one that was run beside it (exec). */
bool follow_is_of_main(const Openshell__V1__SandboxLogLine *line);
bool follow_is_error(const Openshell__V1__SandboxLogLine *line); /* written to standard error */

/*
 * A follow_line_fn: the line as it is, on standard output or standard error as it was written
 * there, after "[PROGRAM] " if the main program did not say it; what a terminal might act on is
 * escaped where it goes to one.
 */
enum err_code follow_put_line(
    struct cli *cli, void *context, const Openshell__V1__SandboxLogLine *line) MUST_CHECK;

AUTO_DEFINE(follow, destroy)
#define AUTO_FOLLOW AUTO(cleanup_follow_destroy)

#endif
