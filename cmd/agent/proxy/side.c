#include "cmd/agent/proxy/side.h"

#include "common/sys/fd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void side_open(struct side *side, struct loop *loop, int take_fd, loop_watch_fn fn, void *context)
{
    *side = (struct side){ .fd = take_fd,
                           .loop = loop,
                           .fn = fn,
                           .context = context,
                           .pending = BUF_INIT(SIDE_PENDING_BYTES_MAX) };
}

void side_close(struct side *side)
{
    loop_watch_remove(side->watch);
    side->watch = NULL;
    fd_close(&side->fd);
    buf_deinit(&side->pending);
}

bool side_has_pending(const struct side *side)
{
    return side->sent < side->pending.len;
}

static void finish_writing(struct side *side)
{
    if (side->write_ends && !side->write_ended && !side_has_pending(side)) {
        side->write_ended = true;
        (void)shutdown(side->fd, SHUT_WR);
    }
}

/* How many bytes went out now; false: broken. */
static bool send_some(struct side *side, struct str_view data, size_t *ret_sent)
{
    *ret_sent = 0;
    while (*ret_sent < data.len) {
        ssize_t sent = send(side->fd, data.ptr + *ret_sent, data.len - *ret_sent, MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        *ret_sent += (size_t)sent;
    }
    return true;
}

bool side_flush(struct side *side)
{
    size_t sent = 0;
    struct str_view rest =
        str_from(side->pending.data + side->sent, side->pending.len - side->sent);
    if (rest.len > 0 && !send_some(side, rest, &sent)) {
        return false;
    }
    side->sent += sent;
    if (!side_has_pending(side) && side->pending.len > 0) {
        buf_deinit(&side->pending); /* an idle connection keeps no memory */
        side->sent = 0;
    }
    finish_writing(side);
    return true;
}

bool side_write(struct side *side, struct str_view data)
{
    size_t sent = 0;
    if (side->fd < 0 || side->write_ends) {
        return false;
    }
    if (!side_has_pending(side) && !send_some(side, data, &sent)) {
        return false;
    }
    buf_append(&side->pending, data.ptr + sent, data.len - sent);
    return buf_ok(&side->pending);
}

void side_end_writing(struct side *side)
{
    side->write_ends = true;
    finish_writing(side);
}

bool side_read(struct side *side, char *data, size_t bytes, size_t *ret_bytes)
{
    *ret_bytes = 0;
    ssize_t got = side->read_ended ? 0 : recv(side->fd, data, bytes, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    side->read_ended = side->read_ended || got == 0;
    *ret_bytes = (size_t)got;
    return true;
}

bool side_watch(struct side *side, bool want_read)
{
    uint32_t events = want_read && !side->read_ended ? EPOLLIN : 0U;
    events |= side_has_pending(side) ? EPOLLOUT : 0U;
    if (events == side->events || side->fd < 0) {
        return true;
    }
    side->events = events;
    if (events == 0) {
        loop_watch_remove(side->watch);
        side->watch = NULL;
        return true;
    }
    return (side->watch != NULL
                ? loop_watch_set(side->watch, events)
                : loop_watch_add(
                    side->loop, side->fd, events, side->fn, side->context, &side->watch, NULL))
        == ERR_OK;
}
