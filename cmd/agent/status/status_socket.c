#include "cmd/agent/status/status_socket.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 8,
    ASK_SECONDS = 5
};

struct status_socket {
    int fd;
    char *path;
    struct loop_watch *watch;
    void (*write)(void *context, struct buf *json, struct buf *text);
    void *context;
};

static enum err_code make_address(
    const char *path, struct sockaddr_un *address, struct err_info *err)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (str_copy(str_of(path), address->sun_path, sizeof(address->sun_path)) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "status socket %s: longer than %zu bytes; set --status-socket",
            path,
            sizeof(address->sun_path) - 1);
    }
    return ERR_OK;
}

/* The answer fits the socket's buffer; a reader that takes nothing loses the rest, not our time. */
static void on_connection(void *context, uint32_t events)
{
    struct status_socket *listener = context;
    (void)events;
    AUTO_FD int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    AUTO_BUF struct buf json = BUF_INIT(STATUS_BYTES_MAX / 2);
    AUTO_BUF struct buf text = BUF_INIT(STATUS_BYTES_MAX / 2);
    listener->write(listener->context, &json, &text);
    buf_append_char(&json, '\n');
    buf_append_str(&json, buf_view(&text));
    if (buf_ok(&json)) {
        ssize_t sent = send(fd, json.data, json.len, MSG_NOSIGNAL);
        (void)sent;
    }
}

static void remove_stale(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISSOCK(info.st_mode) && info.st_uid == geteuid()) {
        (void)unlink(path);
    }
}

enum err_code status_socket_open(
    struct loop *loop,
    const char *path,
    void (*write)(void *context, struct buf *json, struct buf *text),
    void *context,
    struct status_socket **ret_socket,
    struct err_info *err)
{
    struct sockaddr_un address;
    TRY(make_address(path, &address, err));
    AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    remove_stale(path);
    mode_t before = umask(0177);
    int failed = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
    int number = errno;
    (void)umask(before);
    if (failed != 0 || listen(fd, BACKLOG) != 0) {
        return ERR_SET_ERRNO(err, ERR_DENIED, number, "status socket %s", path);
    }
    struct status_socket *listener = mem_alloc(sizeof(*listener));
    listener->fd = fd;
    listener->path = mem_strdup(path);
    listener->write = write;
    listener->context = context;
    enum err_code code =
        loop_watch_add(loop, fd, EPOLLIN, on_connection, listener, &listener->watch, err);
    if (code != ERR_OK) {
        mem_free(listener->path);
        mem_free(listener);
        return code;
    }
    (void)fd_steal(&fd);
    *ret_socket = listener;
    return ERR_OK;
}

void status_socket_close(struct status_socket *listener)
{
    if (listener == NULL) {
        return;
    }
    loop_watch_remove(listener->watch);
    fd_close(&listener->fd);
    (void)unlink(listener->path);
    mem_free(listener->path);
    mem_free(listener);
}

enum err_code status_socket_ask(
    const char *path, bool json, struct buf *answer, struct err_info *err)
{
    struct sockaddr_un address;
    struct timeval patience = { .tv_sec = ASK_SECONDS };
    struct str_view line = STR_NONE;
    struct str_view text = STR_NONE;
    size_t got = 0;
    TRY(make_address(path, &address, err));
    AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    AUTO_FREE char *bytes = mem_alloc(STATUS_BYTES_MAX);
    TRY(fd_read_full(fd, bytes, STATUS_BYTES_MAX, &got, err));
    if (!str_cut(str_from(bytes, got), '\n', &line, &text)) {
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: no answer", path);
    }
    buf_append_str(answer, json ? line : text);
    if (json) {
        buf_append_char(answer, '\n');
    }
    return ERR_OK;
}
