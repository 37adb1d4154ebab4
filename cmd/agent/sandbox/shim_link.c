/* The connection to one shim. What it says is decoded here and told on. */
#include "cmd/agent/sandbox/sandbox_private.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PENDING_OVERHEAD = 256 /* of memory, beside the bytes of a message */
};

#define AGAIN_US US_PER_SECOND /* after a want of descriptors */

struct pending {
    struct list link;
    struct buf bytes;
};

static void drop_pending(struct sandbox *sandbox, struct pending *pending)
{
    list_remove(&pending->link);
    sandbox->queued_bytes -= pending->bytes.len + PENDING_OVERHEAD;
    buf_deinit(&pending->bytes);
    mem_free(pending);
}

void shim_link_close(struct sandbox *sandbox)
{
    LIST_FOR_EACH(node, &sandbox->queue)
    {
        drop_pending(sandbox, LIST_ENTRY(node, struct pending, link));
    }
    loop_watch_remove(sandbox->watch);
    sandbox->watch = NULL;
    fd_close(&sandbox->fd);
    channel_buffer_deinit(&sandbox->buffer);
    sandbox->blocked = false;
    sandbox->pauses = false;
    sandbox->waits = false;
}

static enum err_code watch_room(struct sandbox *sandbox, bool blocked)
{
    sandbox->blocked = blocked;
    return loop_watch_set(sandbox->watch, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

enum err_code shim_link_send(
    struct sandbox *sandbox, const struct message *message, struct err_info *err)
{
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    if (sandbox->fd < 0) {
        return ERR_SET(err, ERR_PRECONDITION, "sandbox %s does not run", sandbox->id);
    }
    TRY(message_encode(message, &bytes, err));
    enum err_code code =
        sandbox->blocked ? ERR_BUSY : channel_send_bytes(sandbox->fd, buf_view(&bytes), NULL, err);
    if (code != ERR_BUSY) {
        return code;
    }
    struct pending *pending = mem_alloc(sizeof(*pending));
    pending->bytes = bytes;
    bytes = (struct buf)BUF_INIT(0);
    list_append(&sandbox->queue, &pending->link);
    sandbox->queued_bytes += pending->bytes.len + PENDING_OVERHEAD;
    return watch_room(sandbox, true);
}

static enum err_code flush(struct sandbox *sandbox)
{
    LIST_FOR_EACH(node, &sandbox->queue)
    {
        struct pending *pending = LIST_ENTRY(node, struct pending, link);
        enum err_code code = channel_send_bytes(sandbox->fd, buf_view(&pending->bytes), NULL, NULL);
        if (code != ERR_OK) {
            return code == ERR_BUSY ? ERR_OK : code;
        }
        drop_pending(sandbox, pending);
    }
    return watch_room(sandbox, false);
}

/* What waited until it is ready: its state is written too by now. */
static void keep(const struct sandbox *sandbox)
{
    const struct sandboxes *all = sandbox->all;
    keeper_add(all->keeper, sandbox->dir);
    if (sandbox->spec.disk_bytes > 0) {
        AUTO_FREE char *templates = mem_printf("%s/" SANDBOX_TEMPLATES, all->dir);
        keeper_add_disk(all->keeper, templates, sandbox->spec.disk_bytes);
    }
    keeper_add_shim(all->keeper, all->spare);
}

/*
 * Its listener comes once, with the word that it is ready; one that finds no room among our
 * descriptors stays in the socket until it does. A sandbox that is about to end needs none.
 */
static bool needs_listener(const struct sandbox *sandbox)
{
    return sandbox->status == SANDBOX_STATUS_STARTING
        && sandbox->spec.network == SANDBOX_NETWORK_PROXY && !sandbox->removing
        && !sandbox->stopping;
}

/* This process lacks descriptors: the shim is not heard for a while, and keeps what it has to say.
 */
static void pause_link(struct sandbox *sandbox)
{
    const struct sandboxes *all = sandbox->all;
    bool is_news = needs_listener(sandbox) && !sandbox->waits;
    sandbox->pauses = loop_watch_set(sandbox->watch, 0) == ERR_OK; /* else it is heard in vain */
    loop_timer_arm_after(all->again_timer, AGAIN_US);
    if (is_news) {
        sandbox->waits = true;
        log_error("sandbox_waits_for_descriptor", LOG_STR("sandbox", sandbox->id));
    }
    if (is_news && all->ops->waits != NULL) {
        all->ops->waits(all->context, sandbox->id);
    }
}

void shim_link_resume(struct sandbox *sandbox)
{
    if (!sandbox->pauses) {
        return;
    }
    sandbox->pauses = watch_room(sandbox, sandbox->blocked) != ERR_OK;
    if (sandbox->pauses) {
        loop_timer_arm_after(sandbox->all->again_timer, AGAIN_US);
    }
}

static void on_ready(struct sandbox *sandbox, int take_listener)
{
    const struct sandboxes *all = sandbox->all;
    bool first = sandbox->status != SANDBOX_STATUS_READY;
    sandbox->status = SANDBOX_STATUS_READY;
    sandbox->waits = false;
    if (take_listener >= 0 && all->ops->listening != NULL) {
        all->ops->listening(all->context, sandbox->id, fd_steal(&take_listener));
    }
    fd_close(&take_listener);
    if (first && all->ops->ready != NULL) {
        all->ops->ready(all->context, sandbox->id);
    }
    if (first) {
        keep(sandbox);
    }
}

/* Half a close: the shim's own end answers it. */
void shim_link_settle(struct sandbox *sandbox)
{
    if (sandbox->heard_end && sandbox->fd >= 0
        && (sandbox->removing || map_count(sandbox->execs) == 0)) {
        (void)shutdown(sandbox->fd, SHUT_WR);
    }
}

void shim_link_forget_exec(struct sandbox *sandbox, uint64_t exec)
{
    int64_t key = (int64_t)exec;
    (void)map_remove(sandbox->execs, map_key_of(&key));
    shim_link_settle(sandbox);
}

void shim_link_know_exec(struct sandbox *sandbox, uint64_t exec)
{
    int64_t key = (int64_t)exec;
    if (exec != 0) {
        (void)map_put(sandbox->execs, map_key_of(&key), sandbox);
    }
}

static void on_ended(struct sandbox *sandbox, const struct message_ended *ended)
{
    sandbox->heard_end = true;
    sandbox->exit.reason = (enum sandbox_end)ended->reason;
    sandbox->exit.has_status = ended->has_status != 0;
    sandbox->exit.status = (int)ended->status;
    shim_link_settle(sandbox);
}

static void on_program(struct sandbox *sandbox, const struct message *message)
{
    const struct sandbox_ops *ops = sandbox->all->ops;
    void *context = sandbox->all->context;
    if (message->type == MESSAGE_STARTED && message->started.number == 0) {
        shim_link_know_exec(sandbox, message->id);
    } else if (message->type == MESSAGE_STARTED) {
        shim_link_forget_exec(sandbox, message->id);
    }
    if (message->type == MESSAGE_STARTED && ops->started != NULL) {
        ops->started(context, sandbox->id, message->id, (int)message->started.number);
    } else if (message->type == MESSAGE_OUTPUT && ops->output != NULL) {
        ops->output(context, sandbox->id, message->id, &message->output);
    } else if (message->type == MESSAGE_INPUT_TAKEN && ops->input_taken != NULL) {
        ops->input_taken(context, sandbox->id, message->id, message->taken.offset);
    } else if (message->type == MESSAGE_EXITED && ops->exited != NULL) {
        ops->exited(context, sandbox->id, message->id, &message->exited);
    }
}

static void on_connected(struct sandbox *sandbox, const struct message *message, int take_fd)
{
    const struct sandboxes *all = sandbox->all;
    int number = sandbox->buffer.was_cut ? EMFILE : (int)message->connected.number;
    if (all->ops->connected == NULL || (number == 0) != (take_fd >= 0)) {
        fd_close(&take_fd);
        return;
    }
    all->ops->connected(all->context, sandbox->id, message->id, take_fd, number);
}

static void on_message(struct sandbox *sandbox, const struct message *message, int take_fd)
{
    const struct sandboxes *all = sandbox->all;
    switch (message->type) {
    case MESSAGE_STATE:
        sandbox->init_pid = message->state.init_pid;
        sandbox->started_us = message->state.started_us;
        break;
    case MESSAGE_READY:
        on_ready(sandbox, take_fd);
        return;
    case MESSAGE_CONNECTED:
        on_connected(sandbox, message, take_fd);
        return;
    case MESSAGE_FAILED:
        (void)snprintf(
            sandbox->exit.error,
            sizeof(sandbox->exit.error),
            "%.*s",
            STR_ARG(message->failed.text));
        break;
    case MESSAGE_SAMPLE:
        sandbox->exit.last = message->sample;
        if (all->ops->sample != NULL) {
            all->ops->sample(all->context, sandbox->id, &message->sample);
        }
        break;
    case MESSAGE_ENDED:
        on_ended(sandbox, &message->ended);
        break;
    default:
        on_program(sandbox, message);
        break;
    }
    fd_close(&take_fd);
}

/* The shim is gone, or we let it go: what its folder says is how it ended. */
static void on_gone(struct sandbox *sandbox)
{
    struct record record;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    shim_link_close(sandbox);
    if (sandbox->status == SANDBOX_STATUS_STARTING) {
        keeper_add_shim(sandbox->all->keeper, sandbox->all->spare); /* for the next one */
    }
    if (adopt_exit(sandbox, &text, &record, &err) == ERR_OK) {
        if (!sandbox->removing) {
            adopt_output(sandbox); /* what the window kept from us */
            adopt_keep_taken(sandbox);
        }
        sandbox_ended(sandbox, SANDBOX_STATUS_ENDED);
        return;
    }
    log_warn("sandbox_lost", LOG_STR("sandbox", sandbox->id), LOG_ERR(&err));
    adopt_lost(sandbox, false);
}

static void on_shim(void *context, uint32_t events)
{
    struct sandbox *sandbox = context;
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    enum err_code code = (events & EPOLLOUT) != 0 ? flush(sandbox) : ERR_OK;
    /* A share of the loop's time for each: a sandbox that talks without end stops no other. */
    for (int i = 0; i < 16 && code == ERR_OK && sandbox->fd >= 0; i++) {
        sandbox->buffer.leaves_cut = needs_listener(sandbox) && (events & EPOLLHUP) == 0;
        code = channel_receive(sandbox->fd, &sandbox->buffer, &message, &fds, NULL);
        if (code == ERR_OK) {
            int fd = fds.count > 0 ? fds.fds[0] : -1;
            fds.fds[0] = -1;
            channel_fds_close(&fds);
            on_message(sandbox, &message, fd);
        }
    }
    if (sandbox->fd >= 0 && code == ERR_LIMIT && (events & EPOLLHUP) == 0) {
        pause_link(sandbox);
    } else if (sandbox->fd >= 0 && code != ERR_OK && code != ERR_BUSY) {
        on_gone(sandbox);
    }
}

enum err_code shim_link_open(struct sandbox *sandbox, int take_fd, struct err_info *err)
{
    struct message attach = { .type = MESSAGE_ATTACH, .attach = { sandbox->exit.last.sequence } };
    AUTO_FD int fd = take_fd;
    TRY(loop_watch_add(sandbox->all->loop, fd, EPOLLIN, on_shim, sandbox, &sandbox->watch, err));
    sandbox->fd = fd_steal(&fd);
    sandbox->heard_end = false;
    sandbox->buffer.takes_cut = true; /* our own want of descriptors is no fault of the sandbox's */
    enum err_code code = shim_link_send(sandbox, &attach, err);
    if (code != ERR_OK) {
        shim_link_close(sandbox);
    }
    return code;
}

enum err_code shim_link_connect(struct sandbox *sandbox, struct err_info *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    AUTO_FD int dir = open(sandbox->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)snprintf(
        address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" SANDBOX_FILE_SOCKET, dir);
    if (dir < 0 || fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "the shim of sandbox %s", sandbox->id);
    }
    channel_prepare(fd);
    TRY(channel_check_peer(fd, geteuid(), err));
    return shim_link_open(sandbox, fd_steal(&fd), err);
}
