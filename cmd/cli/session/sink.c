#include "cmd/cli/session/sink.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WAITING_MAX = 16 * 1024 * 1024 /* a few messages: the owner stops at the first that waits */
};

struct sink {
    struct loop *loop;
    FILE *file; /* NULL: everything is dropped */
    int fd;     /* -1: the file is no descriptor */
    bool is_own;
    bool is_socket;
    bool is_broken;
    struct loop_watch *watch; /* while bytes wait */
    struct buf waiting;
    size_t written; /* of waiting */
    sink_drained_fn drained;
    void *context;
};

/*
 * The same pipe or terminal opened once more: O_NONBLOCK is a property of the open file, which our
 * own descriptor shares with whoever started us.
 */
static int reopen(int fd)
{
    char path[40];
    struct stat stat;
    if (fstat(fd, &stat) != 0 || (!S_ISFIFO(stat.st_mode) && isatty(fd) != 1)) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static bool is_socket(int fd)
{
    struct stat stat;
    return fd >= 0 && fstat(fd, &stat) == 0 && S_ISSOCK(stat.st_mode);
}

struct sink *sink_create(struct loop *loop, FILE *file, sink_drained_fn drained, void *context)
{
    struct sink *sink = mem_alloc(sizeof(*sink));
    if (file != NULL) {
        (void)fflush(file);
    }
    sink->loop = loop;
    sink->file = file;
    sink->fd = file == NULL ? -1 : fileno(file);
    sink->is_socket = is_socket(sink->fd);
    sink->waiting = (struct buf)BUF_INIT(WAITING_MAX);
    sink->drained = drained;
    sink->context = context;
    int own = sink->fd < 0 ? -1 : reopen(sink->fd);
    if (own >= 0) {
        sink->fd = own;
        sink->is_own = true;
    }
    return sink;
}

void sink_destroy(struct sink *sink)
{
    if (sink != NULL) {
        loop_watch_remove(sink->watch);
        if (sink->is_own) {
            fd_close(&sink->fd);
        }
        buf_deinit(&sink->waiting);
        mem_free(sink);
    }
}

size_t sink_waiting(const struct sink *sink)
{
    return sink->waiting.len - sink->written;
}

bool sink_is_broken(const struct sink *sink)
{
    return sink->is_broken;
}

static ssize_t write_some(const struct sink *sink, struct str_view bytes)
{
    if (sink->file == NULL) {
        return (ssize_t)bytes.len;
    }
    if (sink->fd < 0) {
        size_t taken = fwrite(bytes.ptr, 1, bytes.len, sink->file);
        return taken == 0 ? -1 : (ssize_t)taken;
    }
    if (sink->is_socket) {
        return send(sink->fd, bytes.ptr, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return write(sink->fd, bytes.ptr, bytes.len);
}

/* Takes from the front what can be written now. */
static enum err_code write_now(struct sink *sink, struct str_view *bytes, struct err_info *err)
{
    while (bytes->len > 0) {
        ssize_t taken = write_some(sink, *bytes);
        if (taken < 0 && errno == EINTR) {
            continue;
        }
        if (taken < 0 && errno == EAGAIN) {
            return ERR_OK;
        }
        if (taken < 0) {
            sink->is_broken = true;
            return errno == EPIPE || errno == ECONNRESET
                ? ERR_SET(err, ERR_CANCELED, "nobody reads the output")
                : ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "cannot write the output");
        }
        *bytes = str_from(bytes->ptr + taken, bytes->len - (size_t)taken);
    }
    return ERR_OK;
}

static void on_writable(void *context, uint32_t events)
{
    struct sink *sink = context;
    struct err_info err = ERR_INFO_INIT;
    struct str_view rest = str_from(sink->waiting.data + sink->written, sink_waiting(sink));
    (void)events;
    enum err_code code = write_now(sink, &rest, &err);
    sink->written = sink->waiting.len - rest.len;
    if (code == ERR_OK && rest.len > 0) {
        return;
    }
    buf_clear(&sink->waiting);
    sink->written = 0;
    loop_watch_remove(sink->watch);
    sink->watch = NULL;
    sink->drained(sink->context);
}

static enum err_code wait_writable(struct sink *sink, struct err_info *err)
{
    return sink->watch != NULL
        ? ERR_OK
        : loop_watch_add(sink->loop, sink->fd, EPOLLOUT, on_writable, sink, &sink->watch, err);
}

enum err_code sink_put(struct sink *sink, struct str_view bytes, struct err_info *err)
{
    if (sink->is_broken) {
        return ERR_OK;
    }
    if (sink_waiting(sink) == 0) {
        TRY(write_now(sink, &bytes, err));
    }
    if (bytes.len == 0) {
        return ERR_OK;
    }
    buf_append_str(&sink->waiting, bytes);
    if (!buf_ok(&sink->waiting)) {
        return ERR_SET(err, ERR_LIMIT, "more output than fits");
    }
    return wait_writable(sink, err);
}
