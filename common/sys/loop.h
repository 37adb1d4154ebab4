/*
 * Event loop: one thread, epoll, timers, and tasks posted by other threads. Everything but
 * loop_post and loop_stop is for the loop's own thread (or before loop_run). Callbacks may remove
 * any watch or timer, their own included.
 */
#ifndef COMMON_SYS_LOOP_H
#define COMMON_SYS_LOOP_H

#include "common/base/time.h"

struct loop;
struct loop_watch;
struct loop_timer;

typedef void (*loop_watch_fn)(
    void *context, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, ... */
typedef void (*loop_timer_fn)(void *context);
typedef void (*loop_task_fn)(void *context);

enum err_code loop_create(const struct clock *clock, struct loop **ret_loop, struct err_info *err)
    MUST_CHECK;
/* Frees the watches and the tasks that never ran; a timer stays its owner's, to destroy before or
 * after. */
void loop_destroy(struct loop *loop);

/* The descriptor stays the caller's and must be open until the watch is removed. */
enum err_code loop_watch_add(
    struct loop *loop,
    int fd,
    uint32_t events,
    loop_watch_fn fn,
    void *context,
    struct loop_watch **ret_watch,
    struct err_info *err) MUST_CHECK;
enum err_code loop_watch_set(struct loop_watch *watch, uint32_t events) MUST_CHECK;
void loop_watch_remove(struct loop_watch *watch); /* NULL is allowed */

/* A timer is made disarmed; it fires once per arming. */
struct loop_timer *loop_timer_create(struct loop *loop, loop_timer_fn fn, void *context);
void loop_timer_arm(struct loop_timer *timer, struct mono_us deadline);
void loop_timer_arm_after(struct loop_timer *timer, int64_t delay_us);
void loop_timer_disarm(struct loop_timer *timer);
void loop_timer_destroy(struct loop_timer *timer); /* NULL is allowed */

/* Any thread: runs fn(context) on the loop's thread, in order. false: the loop has stopped. */
bool loop_post(struct loop *loop, loop_task_fn fn, void *context) MUST_CHECK;

/* SIGINT, SIGTERM and SIGHUP as events: block them first (in main, before any thread). */
enum err_code loop_signals(
    struct loop *loop, void (*fn)(void *context, int signal), void *context, struct err_info *err)
    MUST_CHECK;

/*
 * What loop_run does between its waits: runs the tasks that were posted and the timers that are
 * due. false: there were none. For who brings a clock of his own and waits for nothing.
 */
bool loop_turn(struct loop *loop);
struct mono_us loop_deadline(const struct loop *loop); /* of the next timer; INT64_MAX: none */

/* One wait, at most max_ms (-1: as long as it takes), and what came of it. */
void loop_step(struct loop *loop, int max_ms);

void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* any thread */
struct mono_us loop_now(const struct loop *loop);

#endif
