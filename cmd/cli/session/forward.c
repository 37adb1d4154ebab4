#include "cmd/cli/session/forward.h"

#include "cmd/cli/interrupt.h"
#include "cmd/cli/session/forward_private.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    NAME_BYTES_MAX = 65536
};

struct listener {
    struct forward *forward;
    const struct forward_spec *spec;
    int fd;
    char address[FORWARD_ADDRESS_BYTES];
    struct loop_watch *watch; /* NULL: at the limit, the system holds new ones back */
};

/* ---- accepting ---- */

static void on_connection(void *context, uint32_t events);

static enum err_code listen_again(struct listener *listener, struct err_info *err)
{
    return listener->watch != NULL ? ERR_OK
                                   : loop_watch_add(
                                       listener->forward->loop,
                                       listener->fd,
                                       EPOLLIN,
                                       on_connection,
                                       listener,
                                       &listener->watch,
                                       err);
}

static void pause_all(struct forward *forward)
{
    for (size_t i = 0; i < forward->wish->spec_count; i++) {
        loop_watch_remove(STEAL(forward->listeners[i].watch));
    }
}

void forward_joint_ended(struct forward *forward)
{
    for (size_t i = 0; !forward->is_ending && i < forward->wish->spec_count; i++) {
        struct err_info err = ERR_INFO_INIT;
        if (listen_again(&forward->listeners[i], &err) != ERR_OK) {
            output_note(forward->cli, "belay: %s", err.text);
        }
    }
}

static void on_connection(void *context, uint32_t events)
{
    struct listener *listener = context;
    struct forward *forward = listener->forward;
    (void)events;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    joint_start(forward, fd, listener->address, listener->spec->remote);
    if (forward->joint_count >= FORWARD_CONNECTIONS_MAX) {
        pause_all(forward);
    }
}

/* ---- listening ---- */

static enum err_code say_address(const struct listener *listener)
{
    struct cli *cli = listener->forward->cli;
    const char *name = listener->forward->wish->name;
    unsigned remote = listener->spec->remote;
    AUTO_BUF struct buf line = BUF_INIT(NAME_BYTES_MAX);
    if (!listener->spec->is_loopback) {
        output_note(
            cli, "%s: others on the network can reach it, without a password.", listener->address);
    }
    if (cli->output.format == OUTPUT_NAME) {
        return output_line(cli, str_of(listener->address));
    }
    if (!output_is_structured(cli)) {
        buf_printf(&line, "%s -> %s:%u", listener->address, name, remote);
        return output_line(cli, buf_view(&line));
    }
    buf_printf(&line, "{\"local\":\"%s\",\"sandbox\":", listener->address);
    buf_append_json(&line, str_of(name));
    buf_printf(&line, ",\"remote\":%u}", remote);
    bool is_yaml = cli->output.format == OUTPUT_YAML;
    if (is_yaml) {
        TRY(output_text(cli, STR("---\n")));
    }
    return output_json(cli, buf_view(&line), is_yaml);
}

static enum err_code open_listener(struct listener *listener)
{
    struct err_info *err = &listener->forward->cli->err;
    const struct forward_spec *spec = listener->spec;
    struct sockaddr_storage address = spec->local;
    socklen_t bytes = spec->local_bytes;
    int on = 1;
    listener->fd = socket(spec->local.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool good = listener->fd >= 0
        && setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0
        && bind(listener->fd, (const struct sockaddr *)&spec->local, bytes) == 0
        && listen(listener->fd, BACKLOG) == 0
        && getsockname(listener->fd, (struct sockaddr *)&address, &bytes) == 0;
    int number = errno;
    (void)forward_address_write(&address, listener->address);
    if (!good) {
        return ERR_SET_ERRNO(
            err,
            number == EADDRINUSE ? ERR_EXISTS : ERR_DENIED,
            number,
            "%s cannot be listened at; \":%u\" takes a free port",
            listener->address,
            spec->remote);
    }
    TRY(listen_again(listener, err));
    return say_address(listener);
}

static enum err_code open_all(struct forward *forward)
{
    size_t count = forward->wish->spec_count;
    forward->listeners = arena_alloc(forward->cli->arena, count * sizeof(*forward->listeners));
    for (size_t i = 0; i < count; i++) {
        forward->listeners[i] =
            (struct listener){ .forward = forward, .spec = &forward->wish->specs[i], .fd = -1 };
    }
    for (size_t i = 0; i < count; i++) {
        TRY(open_listener(&forward->listeners[i]));
    }
    return ERR_OK;
}

/* ---- the run ---- */

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

void forward_answered(struct forward *forward)
{
    forward->pending--;
    if (forward->is_ending && forward->pending == 0) {
        loop_stop(forward->loop);
    }
}

/* Nothing new is taken, what is open is ended, the tokens are given back: then the loop stops. */
static void begin_end(void *context)
{
    struct forward *forward = context;
    if (forward->is_ending) {
        return;
    }
    forward->is_ending = true;
    pause_all(forward);
    joints_end(forward);
    forward->pending++; /* of this itself */
    forward_tokens_revoke(forward);
    forward_answered(forward);
}

/* On the interrupt's thread; read again once that cannot run any more. */
static void on_signal(void *context, int signal)
{
    struct forward *forward = context;
    if (signal != SIGWINCH) {
        forward->last_signal = signal;
        (void)!loop_post(forward->loop, begin_end, forward);
    }
}

static void close_all(struct forward *forward)
{
    forward->is_ending = true;
    pause_all(forward);
    for (size_t i = 0; i < forward->wish->spec_count; i++) {
        fd_close(&forward->listeners[i].fd);
    }
    while (loop_turn(forward->loop)) { /* what was posted holds references */
    }
    loop_destroy(forward->loop);
}

enum err_code forward_run(struct cli *cli, const struct forward_wish *wish)
{
    struct forward forward = { .cli = cli, .wish = wish };
    list_init(&forward.joints);
    TRY(connection_open(cli));
    TRY(loop_create(cli->io->clock, &forward.loop, &cli->err));
    forward.executor = (struct rpc_executor){ post, forward.loop };
    enum err_code code = open_all(&forward);
    if (code == ERR_OK) {
        interrupt_claim(cli->io->interrupt, on_signal, &forward);
        loop_run(forward.loop);
        interrupt_release(cli->io->interrupt);
        cli->signal = forward.last_signal;
    }
    close_all(&forward);
    return code;
}
