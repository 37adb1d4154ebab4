#include "common/sys/loop.h"

#include "common/base/list.h"
#include "common/sys/fd.h"
#include "common/sys/lock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    EVENTS_PER_TURN = 64
};

struct loop_watch {
    struct list link; /* in loop.watches or loop.removed */
    struct loop *loop;
    int fd;
    loop_watch_fn fn;
    void *context;
    bool removed; /* freed at the end of the turn, since events of it may be pending */
};

struct loop_timer {
    struct list link; /* in loop.timers while armed, sorted by deadline */
    struct loop *loop;
    struct mono_us deadline;
    loop_timer_fn fn;
    void *context;
};

struct task {
    struct list link;
    loop_task_fn fn;
    void *context;
};

struct loop {
    const struct clock *clock;
    int epoll_fd;
    int wake_fd;
    int signal_fd;
    struct list watches;
    struct list removed;
    struct list timers;
    struct lock lock; /* guards tasks and closed */
    struct list tasks;
    bool closed;
    atomic_bool stopping;
    void (*on_signal)(void *context, int signal);
    void *signal_context;
};

enum err_code loop_create(const struct clock *clock, struct loop **ret_loop, struct err_info *err)
{
    struct loop *loop = mem_alloc(sizeof(*loop));
    loop->clock = clock;
    loop->signal_fd = -1;
    list_init(&loop->watches);
    list_init(&loop->removed);
    list_init(&loop->timers);
    list_init(&loop->tasks);
    lock_init(&loop->lock, LOCK_RANK_QUEUE);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    if (loop->epoll_fd < 0 || loop->wake_fd < 0
        || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0) {
        int number = errno;
        loop_destroy(loop);
        return ERR_SET_ERRNO(err, ERR_LIMIT, number, "event loop");
    }
    *ret_loop = loop;
    return ERR_OK;
}

static void free_watches(struct list *head)
{
    LIST_FOR_EACH(node, head)
    {
        list_remove(node);
        mem_free(LIST_ENTRY(node, struct loop_watch, link));
    }
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    free_watches(&loop->watches);
    free_watches(&loop->removed);
    LIST_FOR_EACH(node, &loop->timers)
    {
        list_remove(node);
    }
    LIST_FOR_EACH(node, &loop->tasks)
    {
        list_remove(node);
        mem_free(LIST_ENTRY(node, struct task, link));
    }
    lock_deinit(&loop->lock);
    fd_close(&loop->signal_fd);
    fd_close(&loop->wake_fd);
    fd_close(&loop->epoll_fd);
    mem_free(loop);
}

/* Two of the seven are results. NOLINTNEXTLINE(readability-function-size) */
enum err_code loop_watch_add(
    struct loop *loop,
    int fd,
    uint32_t events,
    loop_watch_fn fn,
    void *context,
    struct loop_watch **ret_watch,
    struct err_info *err)
{
    struct loop_watch *watch = mem_alloc(sizeof(*watch));
    watch->loop = loop;
    watch->fd = fd;
    watch->fn = fn;
    watch->context = context;
    struct epoll_event event = { .events = events, .data.ptr = watch };
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        mem_free(watch);
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "epoll");
    }
    list_append(&loop->watches, &watch->link);
    *ret_watch = watch;
    return ERR_OK;
}

enum err_code loop_watch_set(struct loop_watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };
    return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0 ? ERR_OK
                                                                                   : ERR_INTERNAL;
}

void loop_watch_remove(struct loop_watch *watch)
{
    if (watch != NULL && !watch->removed) {
        (void)epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        watch->removed = true;
        list_remove(&watch->link);
        list_append(&watch->loop->removed, &watch->link);
    }
}

struct loop_timer *loop_timer_create(struct loop *loop, loop_timer_fn fn, void *context)
{
    struct loop_timer *timer = mem_alloc(sizeof(*timer));
    list_init(&timer->link);
    timer->loop = loop;
    timer->fn = fn;
    timer->context = context;
    return timer;
}

void loop_timer_arm(struct loop_timer *timer, struct mono_us deadline)
{
    list_remove(&timer->link);
    timer->deadline = deadline;
    struct list *at = timer->loop->timers.prev;
    while (at != &timer->loop->timers
           && LIST_ENTRY(at, struct loop_timer, link)->deadline.value > deadline.value) {
        at = at->prev;
    }
    list_prepend(at, &timer->link);
}

void loop_timer_arm_after(struct loop_timer *timer, int64_t delay_us)
{
    loop_timer_arm(timer, (struct mono_us){ loop_now(timer->loop).value + delay_us });
}

void loop_timer_disarm(struct loop_timer *timer)
{
    list_remove(&timer->link);
}

void loop_timer_destroy(struct loop_timer *timer)
{
    if (timer != NULL) {
        list_remove(&timer->link);
        mem_free(timer);
    }
}

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof(one));
    (void)written; /* EAGAIN: it is awake already */
}

bool loop_post(struct loop *loop, loop_task_fn fn, void *context)
{
    struct task *task = mem_alloc(sizeof(*task));
    task->fn = fn;
    task->context = context;
    lock_acquire(&loop->lock);
    bool open = !loop->closed;
    if (open) {
        list_append(&loop->tasks, &task->link);
    }
    lock_release(&loop->lock);
    if (!open) {
        mem_free(task);
        return false;
    }
    wake(loop);
    return true;
}

static void on_signal_ready(void *context, uint32_t events)
{
    (void)events;
    struct loop *loop = context;
    struct signalfd_siginfo info;
    while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        loop->on_signal(loop->signal_context, (int)info.ssi_signo);
    }
}

enum err_code loop_signals(
    struct loop *loop, void (*fn)(void *context, int signal), void *context, struct err_info *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    loop->on_signal = fn;
    loop->signal_context = context;
    loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (loop->signal_fd < 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "signalfd");
    }
    struct loop_watch *watch = NULL;
    return loop_watch_add(loop, loop->signal_fd, EPOLLIN, on_signal_ready, loop, &watch, err);
}

static bool run_tasks(struct loop *loop)
{
    struct list batch;
    list_init(&batch);
    lock_acquire(&loop->lock);
    for (struct list *node = list_pop(&loop->tasks); node != NULL; node = list_pop(&loop->tasks)) {
        list_append(&batch, node);
    }
    lock_release(&loop->lock);
    bool any = !list_is_empty(&batch);
    for (struct list *node = list_pop(&batch); node != NULL; node = list_pop(&batch)) {
        struct task task = *LIST_ENTRY(node, struct task, link);
        mem_free(LIST_ENTRY(node, struct task, link));
        task.fn(task.context);
    }
    return any;
}

static bool run_timers(struct loop *loop)
{
    /* What is due is taken off first: a timer armed by a callback waits for the next turn. */
    struct mono_us now = loop_now(loop);
    struct list due;
    list_init(&due);
    while (loop_deadline(loop).value <= now.value) {
        list_append(&due, list_pop(&loop->timers));
    }
    bool any = !list_is_empty(&due);
    for (struct list *node = list_pop(&due); node != NULL; node = list_pop(&due)) {
        struct loop_timer *timer = LIST_ENTRY(node, struct loop_timer, link);
        timer->fn(timer->context);
    }
    return any;
}

struct mono_us loop_deadline(const struct loop *loop)
{
    bool none = list_is_empty(&loop->timers);
    return none ? (struct mono_us){ INT64_MAX }
                : LIST_ENTRY(loop->timers.next, struct loop_timer, link)->deadline;
}

bool loop_turn(struct loop *loop)
{
    bool ran_tasks = run_tasks(loop);
    bool ran_timers = run_timers(loop);
    return ran_tasks || ran_timers;
}

/* Milliseconds until the next timer, at most max_ms (-1: any time). */
static int wait_ms(struct loop *loop, int max_ms)
{
    int64_t deadline = loop_deadline(loop).value;
    if (deadline == INT64_MAX) {
        return max_ms;
    }
    int64_t left_us = deadline - loop_now(loop).value;
    int64_t ms = left_us <= 0 ? 0 : (left_us + US_PER_MS - 1) / US_PER_MS;
    int64_t most = max_ms < 0 || max_ms > 60000 ? 60000 : max_ms;
    return (int)(ms > most ? most : ms);
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
    struct loop_watch *watch = event->data.ptr;
    if (watch == NULL) {
        uint64_t count = 0;
        ssize_t got = read(loop->wake_fd, &count, sizeof(count));
        (void)got;
    } else if (!watch->removed) {
        watch->fn(watch->context, event->events);
    }
}

void loop_step(struct loop *loop, int max_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, wait_ms(loop, max_ms));
    for (int i = 0; i < count; i++) {
        dispatch(loop, &events[i]);
    }
    (void)loop_turn(loop);
    free_watches(&loop->removed);
}

void loop_run(struct loop *loop)
{
    while (!atomic_load(&loop->stopping)) {
        loop_step(loop, -1);
    }
    lock_acquire(&loop->lock);
    loop->closed = true;
    lock_release(&loop->lock);
    (void)run_tasks(loop);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    wake(loop);
}

struct mono_us loop_now(const struct loop *loop)
{
    return clock_mono(loop->clock);
}
