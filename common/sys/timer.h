/*
 * Timer thread: runs callbacks at deadlines. Callbacks run on the timer's thread and must not block
 * (hand the work on). Thread-safe.
 */
#ifndef COMMON_SYS_TIMER_H
#define COMMON_SYS_TIMER_H

#include "common/base/time.h"

struct timer_wheel;

enum err_code timer_wheel_start(struct timer_wheel **ret_wheel, struct err_info *err) MUST_CHECK;
void timer_wheel_stop(
    struct timer_wheel *wheel); /* joins; entries that have not run never do; NULL is allowed */

/* Runs fn(context) once after delay_us; the id is never 0. O(log n). */
uint64_t timer_wheel_add(
    struct timer_wheel *wheel, int64_t delay_us, void (*fn)(void *context), void *context);

/* true: it will not run (and has not). false: it ran, runs now, or never was. Does not wait. */
bool timer_wheel_cancel(struct timer_wheel *wheel, uint64_t id);

#endif
