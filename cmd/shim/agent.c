/* The agent's side of the shim: who may connect, what is sent and when. */
#include "cmd/shim/shim.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINGER_US (5 * US_PER_MINUTE)

enum {
    QUEUE_MAX = 1024, /* messages for an agent that does not read; then it is hung up on */
    BACKLOG = 4
};

struct outgoing {
    struct list link;
    struct buf bytes;
    int fd; /* a copy that is ours, or -1 */
};

static void drop_outgoing(struct shim *shim, struct outgoing *outgoing)
{
    list_remove(&outgoing->link);
    shim->queued--;
    buf_deinit(&outgoing->bytes);
    fd_close(&outgoing->fd);
    mem_free(outgoing);
}

static void hang_up(struct shim *shim)
{
    LIST_FOR_EACH(node, &shim->queue)
    {
        drop_outgoing(shim, LIST_ENTRY(node, struct outgoing, link));
    }
    loop_watch_remove(shim->agent_watch);
    shim->agent_watch = NULL;
    shim->attached = false;
    shim->blocked = false;
    if (shim->phase == SANDBOX_OVER && shim->agent >= 0) {
        /* It has heard the end, or never will. The socket closes with us: an agent that waits for
         * that knows the control groups gone. */
        loop_timer_arm_after(shim->linger_timer, 0);
        return;
    }
    fd_close(&shim->agent);
}

static void watch_agent(struct shim *shim)
{
    uint32_t events = shim->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (shim->agent_watch != NULL && loop_watch_set(shim->agent_watch, events) != ERR_OK) {
        hang_up(shim);
    }
}

/* ERR_BUSY leaves it to be sent later. */
static enum err_code transmit(struct shim *shim, struct str_view bytes, int fd)
{
    struct channel_fds fds = { .fds = { fd }, .count = fd >= 0 ? 1 : 0 };
    enum err_code code = channel_send_bytes(shim->agent, bytes, &fds, NULL);
    if (code == ERR_BUSY) {
        shim->blocked = true;
        watch_agent(shim);
    }
    return code;
}

static void enqueue(struct shim *shim, struct buf *take_bytes, int fd)
{
    struct outgoing *outgoing = mem_alloc(sizeof(*outgoing));
    outgoing->bytes = *take_bytes;
    outgoing->fd = fd < 0 ? -1 : dup(fd);
    *take_bytes = (struct buf)BUF_INIT(0);
    list_append(&shim->queue, &outgoing->link);
    shim->queued++;
    if (shim->queued > QUEUE_MAX) {
        hang_up(shim);
    }
}

void shim_send(struct shim *shim, const struct message *message, int fd)
{
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    if (!shim->attached || message_encode(message, &bytes, NULL) != ERR_OK) {
        return;
    }
    enum err_code code = shim->queued > 0 ? ERR_BUSY : transmit(shim, buf_view(&bytes), fd);
    if (code == ERR_BUSY) {
        enqueue(shim, &bytes, fd);
    } else if (code != ERR_OK) {
        hang_up(shim);
    }
}

static void flush(struct shim *shim)
{
    LIST_FOR_EACH(node, &shim->queue)
    {
        struct outgoing *outgoing = LIST_ENTRY(node, struct outgoing, link);
        enum err_code code = transmit(shim, buf_view(&outgoing->bytes), outgoing->fd);
        if (code == ERR_BUSY) {
            return;
        }
        if (code != ERR_OK) {
            hang_up(shim);
            return;
        }
        drop_outgoing(shim, outgoing);
    }
}

/* What follows in a stream: of the ring, or, where that has dropped it, of the main program's log.
 * What is in neither is passed over: the offset tells. */
static struct str_view peek(struct stream *stream, struct buf *held)
{
    const struct ring *ring = &stream->ring;
    uint64_t next = stream->sent;
    bool is_told = next >= ring->start;
    if (!is_told && stream->log != NULL) {
        is_told = outlog_read(stream->log, ring->end, &next, held);
    }
    next = is_told ? next : ring->start;
    if (next > stream->sent) {
        stream->sent = next;
        stream->taken = next; /* nobody can take what came before */
    }
    return held->len > 0 ? buf_view(held) : ring_peek(ring, next, MESSAGE_DATA_BYTES_MAX);
}

/* One piece of a stream; false: nothing to send, or no room. */
static bool pump_stream(struct shim *shim, struct stream *stream)
{
    AUTO_BUF struct buf held = BUF_INIT(MESSAGE_DATA_BYTES_MAX);
    if (stream->sent - stream->taken >= PROGRAM_WINDOW_BYTES) {
        return false;
    }
    struct str_view data = peek(stream, &held);
    if (data.len == 0) {
        return false;
    }
    struct message message = { .type = MESSAGE_OUTPUT, .id = stream->program->id };
    message.output = (struct message_output){ stream->number, stream->sent, data };
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    if (message_encode(&message, &bytes, NULL) != ERR_OK) {
        return false;
    }
    enum err_code code = transmit(shim, buf_view(&bytes), -1);
    if (code == ERR_OK) {
        stream->sent += data.len;
    } else if (code != ERR_BUSY) {
        hang_up(shim);
    }
    return code == ERR_OK;
}

static void pump_program(struct shim *shim, struct program *program)
{
    for (size_t i = 0; i < 2; i++) {
        while (shim->attached && !shim->blocked && pump_stream(shim, &program->streams[i])) {
        }
    }
    bool said_all = program->streams[0].sent == program->streams[0].ring.end
        && program->streams[1].sent == program->streams[1].ring.end;
    if (program->ended && said_all && !program->told && shim->attached) {
        struct message message = { .type = MESSAGE_EXITED,
                                   .id = program->id,
                                   .exited = program->exited };
        program->told = true;
        shim_send(shim, &message, -1);
    }
}

void shim_pump(struct shim *shim)
{
    if (!shim->attached || shim->queued > 0) {
        return;
    }
    LIST_FOR_EACH(node, &shim->programs)
    {
        pump_program(shim, LIST_ENTRY(node, struct program, link));
    }
}

static void send_state(struct shim *shim)
{
    struct message state = { .type = MESSAGE_STATE };
    state.state = (struct message_state){ .phase = shim->phase,
                                          .init_pid = (uint64_t)shim->built.pid,
                                          .init_start = shim->init_start,
                                          .started_us = (uint64_t)shim->started.value,
                                          .has_main = shim->main != NULL ? 1 : 0 };
    shim_send(shim, &state, -1);
    if (shim->phase == SANDBOX_RUNNING) {
        struct message ready = { .type = MESSAGE_READY };
        shim_send(shim, &ready, shim->listener);
    }
}

/* What is said again to an agent that is new, or has come back. */
static void replay(struct shim *shim)
{
    LIST_FOR_EACH(node, &shim->programs)
    {
        struct program *program = LIST_ENTRY(node, struct program, link);
        struct message started = { .type = MESSAGE_STARTED, .id = program->id };
        started.started = (struct message_started){ program->pid, 0, program->tty ? 1 : 0 };
        program->told = false;
        program->streams[0].sent = program->streams[0].taken;
        program->streams[1].sent = program->streams[1].taken;
        if (program->pid != 0) {
            shim_send(shim, &started, -1);
        }
    }
}

static void attach(struct shim *shim)
{
    shim->attached = true;
    send_state(shim);
    replay(shim);
    if (shim->phase == SANDBOX_OVER) {
        shim_tell_end(shim); /* it was over before it could be told */
    }
    shim_pump(shim);
}

static void on_agent(void *context, uint32_t events)
{
    struct shim *shim = context;
    struct message message;
    enum err_code code = ERR_OK;
    if ((events & EPOLLOUT) != 0) {
        shim->blocked = false;
        watch_agent(shim);
        flush(shim);
        shim_pump(shim);
    }
    while (shim->agent_watch != NULL && code == ERR_OK) {
        code = channel_receive(shim->agent, &shim->from_agent, &message, NULL, NULL);
        if (code == ERR_OK && message.type == MESSAGE_ATTACH) {
            attach(shim);
        } else if (code == ERR_OK) {
            shim_obey(shim, &message);
        }
    }
    if (shim->agent_watch != NULL && code != ERR_BUSY) {
        hang_up(shim);
    }
}

/* The newest agent is the right one: an older connection is of one that is gone or going. */
static enum err_code take_agent(struct shim *shim, int take_fd, struct err_info *err)
{
    AUTO_FD int fd = take_fd;
    TRY(channel_check_peer(fd, geteuid(), err));
    TRY(channel_set_nonblocking(fd, err));
    channel_prepare(fd);
    hang_up(shim);
    fd_close(&shim->agent);
    TRY(loop_watch_add(shim->loop, fd, EPOLLIN, on_agent, shim, &shim->agent_watch, err));
    shim->agent = fd_steal(&fd);
    if (shim->phase == SANDBOX_OVER) {
        loop_timer_arm_after(shim->linger_timer, LINGER_US);
    }
    return ERR_OK;
}

static void on_connection(void *context, uint32_t events)
{
    struct shim *shim = context;
    struct err_info err = ERR_INFO_INIT;
    (void)events;
    int fd = accept4(shim->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && take_agent(shim, fd, &err) != ERR_OK) {
        return; /* a stranger; there is nobody to tell */
    }
}

/* By way of /proc/self/fd, since the folder's path may be longer than a socket address. */
static enum err_code open_socket(struct shim *shim, struct err_info *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)snprintf(
        address.sun_path,
        sizeof(address.sun_path),
        "/proc/self/fd/%d/" SANDBOX_FILE_SOCKET,
        shim->dir_fd);
    (void)unlinkat(shim->dir_fd, SANDBOX_FILE_SOCKET, 0);
    mode_t before = umask(0177);
    int failed = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
    int number = errno;
    (void)umask(before);
    if (failed != 0 || listen(fd, BACKLOG) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, number, "%s/" SANDBOX_FILE_SOCKET, shim->dir);
    }
    TRY(loop_watch_add(shim->loop, fd, EPOLLIN, on_connection, shim, &shim->socket_watch, err));
    shim->socket = fd_steal(&fd);
    return ERR_OK;
}

enum err_code shim_agent_open(struct shim *shim, int agent, struct err_info *err)
{
    list_init(&shim->queue);
    TRY(open_socket(shim, err));
    return agent < 0 ? ERR_OK : take_agent(shim, agent, err);
}

void shim_agent_close(struct shim *shim)
{
    hang_up(shim);
    fd_close(&shim->agent);
    loop_watch_remove(shim->socket_watch);
    shim->socket_watch = NULL;
    fd_close(&shim->socket);
    (void)unlinkat(shim->dir_fd, SANDBOX_FILE_SOCKET, 0);
    channel_buffer_deinit(&shim->from_agent);
}
