/*
 * One child process at a time, watched by the loop: started, told to end, reaped. It gets this
 * process's environment, no signal blocked or ignored, and of its descriptors standard output and
 * error, and one as standard input. Loop thread.
 */
#ifndef CMD_AGENT_GUEST_CHILD_H
#define CMD_AGENT_GUEST_CHILD_H

#include "common/sys/loop.h"

#include <sys/types.h>

struct child;

/* It has ended, by this status of wait(2). It may be started again from within. */
typedef void (*child_ended_fn)(void *context, int status);

/* grace_us: from child_stop to SIGKILL. */
struct child *child_create(
    struct loop *loop, int64_t grace_us, child_ended_fn ended, void *context);
/* Kills what still runs. Not from within `ended`; NULL is allowed. */
void child_destroy(struct child *child);

/* None may run. input: becomes its standard input; borrowed. */
enum err_code child_start(
    struct child *child,
    const char *program,
    char *const *arguments,
    int input,
    struct err_info *err) MUST_CHECK;

bool child_is_running(const struct child *child);
pid_t child_pid(const struct child *child); /* 0: it does not run */

/* SIGTERM, and SIGKILL when that does not help. Nothing where none runs. */
void child_stop(struct child *child);

/* For who turns the loop no more: until it has ended, which `ended` is not told. SIGKILL at the
 * deadline. */
void child_wait(struct child *child, struct mono_us deadline);

#endif
