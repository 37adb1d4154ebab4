#include "cmd/cli/session/source.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/stat.h>

struct source {
    struct loop *loop;
    int fd;
    bool is_always_ready;
    bool is_running;
    struct loop_watch *watch;
    struct loop_timer *timer; /* stands in for readiness */
    source_fn fn;
    void *context;
};

static void on_readable(void *context, uint32_t events)
{
    struct source *source = context;
    (void)events;
    source->fn(source->context);
}

static void on_turn(void *context)
{
    struct source *source = context;
    if (source->is_running) {
        loop_timer_arm_after(source->timer, 0);
        source->fn(source->context);
    }
}

/* Files and /dev/null are what epoll refuses: no device that waits is among them. */
static bool is_pollable(int fd)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return false;
    }
    int probe = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    bool refused = probe >= 0 && epoll_ctl(probe, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EPERM;
    fd_close(&probe);
    return !refused;
}

struct source *source_create(struct loop *loop, int fd, source_fn fn, void *context)
{
    struct source *source = mem_alloc(sizeof(*source));
    source->loop = loop;
    source->fd = fd;
    source->fn = fn;
    source->context = context;
    source->is_always_ready = !is_pollable(fd);
    source->timer = loop_timer_create(loop, on_turn, source);
    return source;
}

void source_destroy(struct source *source)
{
    if (source != NULL) {
        loop_watch_remove(source->watch);
        loop_timer_destroy(source->timer);
        mem_free(source);
    }
}

enum err_code source_pause(struct source *source, bool is_paused, struct err_info *err)
{
    source->is_running = !is_paused;
    if (source->is_always_ready) {
        if (is_paused) {
            loop_timer_disarm(source->timer);
        } else {
            loop_timer_arm_after(source->timer, 0);
        }
        return ERR_OK;
    }
    if (is_paused) {
        loop_watch_remove(source->watch);
        source->watch = NULL;
        return ERR_OK;
    }
    return source->watch != NULL
        ? ERR_OK
        : loop_watch_add(
            source->loop, source->fd, EPOLLIN, on_readable, source, &source->watch, err);
}
