/*
 * Ctrl-C: ends the program quietly with 128 + the signal's number, from any wait. A thread of its
 * own takes SIGINT, SIGTERM and SIGHUP, which main has blocked before any other thread started.
 */
#ifndef CMD_CLI_INTERRUPT_H
#define CMD_CLI_INTERRUPT_H

#include "common/base/err.h"

struct interrupt;

/* Blocks the signals for this thread and all later ones, and ignores SIGPIPE. */
enum err_code interrupt_start(struct interrupt **ret_interrupt, struct err_info *err) MUST_CHECK;
void interrupt_stop(struct interrupt *interrupt); /* joins; NULL is allowed */

#endif
