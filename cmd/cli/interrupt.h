/*
 * Ctrl-C: ends the program quietly with 128 + the signal's number, from any wait. A thread of its
 * own takes SIGINT, SIGTERM, SIGHUP (but for those that were ignored when the program started) and
 * SIGWINCH, which main has blocked before any other thread started. A command that has something to
 * put back first claims them for a while.
 */
#ifndef CMD_CLI_INTERRUPT_H
#define CMD_CLI_INTERRUPT_H

#include "common/base/err.h"

struct interrupt;

/* On the interrupt's thread: it may only note the signal and wake whoever waits. */
typedef void (*interrupt_fn)(void *context, int signal);

/* Blocks the signals for this thread and all later ones, and ignores SIGPIPE. */
enum err_code interrupt_start(struct interrupt **ret_interrupt, struct err_info *err) MUST_CHECK;
void interrupt_stop(struct interrupt *interrupt); /* joins; NULL is allowed */

/*
 * From now on fn gets the first signal that would end the program (a second one ends it as ever)
 * and every SIGWINCH, which nobody else hears of. One claim at a time; NULL is allowed.
 */
void interrupt_claim(struct interrupt *interrupt, interrupt_fn fn, void *context);
/* When it returns, fn runs no more. */
void interrupt_release(struct interrupt *interrupt);

#endif
