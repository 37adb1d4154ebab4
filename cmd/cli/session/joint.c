/* One accepted connection joined with one ForwardTcp stream. */
#include "cmd/cli/session/forward_private.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    WAITING_MAX = 16 * 1024 * 1024, /* a few messages: reading stops at the first that waits */
    UNSENT_MAX = 4
};

struct joint {
    struct forward *forward;
    struct list link;
    int fd;
    char local[FORWARD_ADDRESS_BYTES];
    uint16_t remote;
    struct forward_token *token;
    struct rpc_client_stream *stream; /* NULL: a token is awaited, or it could not be opened */
    struct loop_watch *watch;
    struct buf waiting; /* for the socket */
    size_t written;     /* of waiting */
    unsigned unsent;
    bool has_read_end; /* the socket sends no more */
    bool is_closed;    /* the stream is over */
    bool is_doomed;    /* ended while its token is awaited */
    char bytes[READ_BYTES];
};

static void end(struct joint *joint)
{
    struct forward *forward = joint->forward;
    list_remove(&joint->link);
    forward->joint_count--;
    loop_watch_remove(joint->watch);
    rpc_client_stream_release(joint->stream);
    forward_token_give(joint->token);
    fd_close(&joint->fd);
    buf_deinit(&joint->waiting);
    mem_free(joint);
    forward_joint_ended(forward);
}

static void fail(struct joint *joint, const struct err_info *err)
{
    output_note(
        joint->forward->cli,
        "belay: %s -> %s:%u: a connection failed: %s",
        joint->local,
        joint->forward->wish->name,
        joint->remote,
        err->text);
    end(joint);
}

static size_t waiting(const struct joint *joint)
{
    return joint->waiting.len - joint->written;
}

/* What is waited for now. */
static void set_events(struct joint *joint)
{
    bool wants_input = !joint->has_read_end && joint->unsent < UNSENT_MAX && joint->stream != NULL;
    uint32_t events = wants_input ? EPOLLIN : 0;
    events |= waiting(joint) > 0 ? EPOLLOUT : 0;
    if (joint->watch != NULL && loop_watch_set(joint->watch, events) != ERR_OK) {
        rpc_client_stream_cancel(joint->stream);
    }
}

/* ---- to the socket ---- */

/* False: the socket takes no more. */
static bool write_waiting(struct joint *joint)
{
    while (waiting(joint) > 0) {
        ssize_t count =
            send(joint->fd, joint->waiting.data + joint->written, waiting(joint), MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return errno == EAGAIN;
        }
        joint->written += (size_t)count;
    }
    buf_clear(&joint->waiting);
    joint->written = 0;
    return true;
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    struct joint *joint = context;
    const Openshell__V1__TcpForwardFrame *frame =
        (const Openshell__V1__TcpForwardFrame *)(const void *)message;
    if (frame->payload_case != OPENSHELL__V1__TCP_FORWARD_FRAME__PAYLOAD_DATA) {
        return;
    }
    buf_append(&joint->waiting, frame->data.data, frame->data.len);
    if (!buf_ok(&joint->waiting) || !write_waiting(joint)) {
        rpc_client_stream_cancel(joint->stream);
        buf_clear(&joint->waiting);
        joint->written = 0;
    }
    if (waiting(joint) > 0) {
        rpc_client_stream_pause(joint->stream, true);
    }
    set_events(joint);
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct joint *joint = context;
    joint->is_closed = true;
    if (code != ERR_OK && code != ERR_CANCELED) {
        fail(joint, err);
    } else if (waiting(joint) == 0) {
        end(joint);
    } else {
        joint->has_read_end = true;
        set_events(joint);
    }
}

/* ---- from the socket ---- */

static void on_writable(void *context)
{
    struct joint *joint = context;
    joint->unsent = 0;
    set_events(joint);
}

/* False: the connection is over and joint is gone. */
static bool read_some(struct joint *joint)
{
    Openshell__V1__TcpForwardFrame frame = OPENSHELL__V1__TCP_FORWARD_FRAME__INIT;
    ssize_t count = recv(joint->fd, joint->bytes, READ_BYTES, 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    if (count < 0) {
        end(joint);
        return false;
    }
    if (count == 0) {
        joint->has_read_end = true;
        rpc_client_stream_half_close(joint->stream);
        return true;
    }
    frame.payload_case = OPENSHELL__V1__TCP_FORWARD_FRAME__PAYLOAD_DATA;
    frame.data = (ProtobufCBinaryData){ (size_t)count, (uint8_t *)joint->bytes };
    if (rpc_client_stream_send(joint->stream, &frame.base) != ERR_OK) {
        joint->has_read_end = true; /* the stream's end is on its way and says why */
    }
    joint->unsent++;
    return true;
}

static void on_socket(void *context, uint32_t events)
{
    struct joint *joint = context;
    if ((events & EPOLLOUT) != 0 && waiting(joint) > 0) {
        bool good = write_waiting(joint);
        if (!good || (joint->is_closed && waiting(joint) == 0)) {
            end(joint);
            return;
        }
        if (waiting(joint) == 0) {
            rpc_client_stream_pause(joint->stream, false);
        }
    }
    bool is_broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
    if ((events & EPOLLIN) != 0 && !joint->has_read_end && joint->unsent < UNSENT_MAX) {
        if (!read_some(joint)) {
            return;
        }
    } else if (is_broken) {
        end(joint); /* nothing more can be read or written */
        return;
    }
    set_events(joint);
}

/* ---- opening ---- */

static enum err_code open_stream(struct joint *joint, struct err_info *err)
{
    static const struct rpc_client_stream_ops OPS = { .message = on_message,
                                                      .writable = on_writable,
                                                      .closed = on_closed };
    struct forward *forward = joint->forward;
    const struct connection_listener listener = { &forward->executor, &OPS, joint };
    Openshell__V1__TcpForwardFrame frame = OPENSHELL__V1__TCP_FORWARD_FRAME__INIT;
    Openshell__V1__TcpForwardInit init = OPENSHELL__V1__TCP_FORWARD_INIT__INIT;
    Openshell__V1__TcpRelayTarget target = OPENSHELL__V1__TCP_RELAY_TARGET__INIT;
    enum err_code code = connection_events(
        forward->cli,
        CONNECTION_OPENSHELL "ForwardTcp",
        &openshell__v1__tcp_forward_frame__descriptor,
        &listener,
        &joint->stream);
    if (code != ERR_OK) {
        *err = forward->cli->err;
        return code;
    }
    target.port = joint->remote;
    init.sandbox_id = forward->wish->sandbox_id;
    init.target_case = OPENSHELL__V1__TCP_FORWARD_INIT__TARGET_TCP;
    init.tcp = &target;
    init.authorization_token = joint->token->text;
    frame.payload_case = OPENSHELL__V1__TCP_FORWARD_FRAME__PAYLOAD_INIT;
    frame.init = &init;
    TRY(rpc_client_stream_send(joint->stream, &frame.base));
    return loop_watch_add(forward->loop, joint->fd, EPOLLIN, on_socket, joint, &joint->watch, err);
}

static void on_token(void *context, struct forward_token *token, const struct err_info *err)
{
    struct joint *joint = context;
    struct err_info failed = ERR_INFO_INIT;
    joint->token = token;
    if (token == NULL && !joint->is_doomed) {
        fail(joint, err);
    } else if (joint->is_doomed) {
        end(joint);
    } else if (open_stream(joint, &failed) != ERR_OK) {
        fail(joint, &failed);
    }
}

void joint_start(struct forward *forward, int take_fd, const char *local, uint16_t remote)
{
    struct joint *joint = mem_alloc(sizeof(*joint));
    joint->forward = forward;
    joint->fd = take_fd;
    joint->remote = remote;
    joint->waiting = (struct buf)BUF_INIT(WAITING_MAX);
    (void)!str_copy(str_of(local), joint->local, sizeof(joint->local));
    list_append(&forward->joints, &joint->link);
    forward->joint_count++;
    forward_token_take(forward, on_token, joint);
}

/* Those whose token is awaited end when it comes. */
void joints_end(struct forward *forward)
{
    struct list *node = forward->joints.next;
    while (node != &forward->joints) {
        struct joint *joint = LIST_ENTRY(node, struct joint, link);
        node = node->next;
        if (joint->token == NULL) {
            joint->is_doomed = true;
        } else {
            end(joint);
        }
    }
}
