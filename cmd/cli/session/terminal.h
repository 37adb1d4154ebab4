/*
 * Our terminal in raw mode, and back again whatever happens: a guard process of our own puts it
 * back when we die without having done so (a crash, kill -9).
 */
#ifndef CMD_CLI_SESSION_TERMINAL_H
#define CMD_CLI_SESSION_TERMINAL_H

#include "common/base/err.h"

struct terminal;

/* fd is a terminal and stays the caller's. */
enum err_code terminal_open(int fd, struct terminal **ret_terminal, struct err_info *err)
    MUST_CHECK;
void terminal_close(struct terminal *terminal); /* puts it back; NULL is allowed */

/*
 * Takes the terminal's other screen, without a cursor; what stood there comes back with
 * terminal_close, or by the guard. The terminal must be one that is written to as well.
 */
enum err_code terminal_take_screen(struct terminal *terminal, struct err_info *err) MUST_CHECK;

/* false: fd is no terminal, or has no size. */
bool terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows);

/* The guard itself: waits for the end of in_fd; returns the exit status. */
int terminal_guard(int in_fd, int terminal_fd);

/* The hidden command that is the guard. */
#define TERMINAL_GUARD_COMMAND "terminal-guard"

#endif
