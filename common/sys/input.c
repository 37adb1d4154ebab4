#include "common/sys/input.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/stat.h>

struct input {
    struct loop *loop;
    int fd;
    bool is_always_ready;
    bool is_running;
    struct loop_watch *watch;
    struct loop_timer *timer; /* stands in for readiness */
    input_fn fn;
    void *context;
};

static void on_readable(void *context, uint32_t events)
{
    struct input *input = context;
    (void)events;
    input->fn(input->context);
}

static void on_turn(void *context)
{
    struct input *input = context;
    if (input->is_running) {
        loop_timer_arm_after(input->timer, 0);
        input->fn(input->context);
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

struct input *input_create(struct loop *loop, int fd, input_fn fn, void *context)
{
    struct input *input = mem_alloc(sizeof(*input));
    input->loop = loop;
    input->fd = fd;
    input->fn = fn;
    input->context = context;
    input->is_always_ready = !is_pollable(fd);
    input->timer = loop_timer_create(loop, on_turn, input);
    return input;
}

void input_destroy(struct input *input)
{
    if (input != NULL) {
        loop_watch_remove(input->watch);
        loop_timer_destroy(input->timer);
        mem_free(input);
    }
}

enum err_code input_pause(struct input *input, bool is_paused, struct err_info *err)
{
    input->is_running = !is_paused;
    if (input->is_always_ready) {
        if (is_paused) {
            loop_timer_disarm(input->timer);
        } else {
            loop_timer_arm_after(input->timer, 0);
        }
        return ERR_OK;
    }
    if (is_paused) {
        loop_watch_remove(input->watch);
        input->watch = NULL;
        return ERR_OK;
    }
    return input->watch != NULL
        ? ERR_OK
        : loop_watch_add(input->loop, input->fd, EPOLLIN, on_readable, input, &input->watch, err);
}
