/*
 * A connection to a port on the sandbox's own loopback. The socket was made inside, by the hostile
 * side as far as we know: no call here may wait whatever its flags are.
 */
#include "cmd/agent/relay/relay.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CANDIDATES_MAX = 2,
    OUTPUT_BYTES_MAX = 256 * 1024, /* sent to the server and not on its way yet */
    READS_PER_TURN = 4             /* one connection that talks without end stops no other */
};

#define CONNECT_US (10 * US_PER_SECOND)
#define LOOPBACK   UINT32_C(0x7f000001)

struct tcp_target {
    struct relay *relay;
    struct sandbox_port candidates[CANDIDATES_MAX];
    size_t candidate_count;
    size_t candidate;
    uint64_t asked; /* of execs, not answered yet; 0: nothing */
    int fd;
    bool is_connected;
    bool read_ended;
    bool write_ended;
    size_t unsent;
    uint32_t events; /* watched; 0: none */
    struct loop_watch *watch;
    struct loop_timer *patience;
};

static void on_socket(void *context, uint32_t events);
static void try_next(struct tcp_target *target, int number);

/* A watch without events would still be called for a hang-up, again and again: so there is none. */
static bool watch(struct tcp_target *target)
{
    struct loop *loop = bridges_options_of(target->relay->all)->loop;
    bool writes = !target->is_connected || (target->relay->input.len > 0 && !target->write_ended);
    bool reads = target->is_connected && !target->read_ended && target->unsent < OUTPUT_BYTES_MAX;
    uint32_t events = (writes ? (uint32_t)EPOLLOUT : 0) | (reads ? (uint32_t)EPOLLIN : 0);
    if (events == target->events) {
        return true;
    }
    loop_watch_remove(STEAL(target->watch));
    target->events = events;
    return events == 0
        || loop_watch_add(loop, target->fd, events, on_socket, target, &target->watch, NULL)
        == ERR_OK;
}

static void close_socket(struct tcp_target *target)
{
    loop_watch_remove(STEAL(target->watch));
    target->events = 0;
    fd_close(&target->fd);
}

static void fail(struct tcp_target *target, int ack_code, const char *reason)
{
    const struct sandbox_port *port = &target->candidates[0];
    relay_finish_failure(
        target->relay, ack_code, "port %u of the sandbox: %s", (unsigned)port->port, reason);
}

/* ---- Bytes ---- */

static void end_writing(struct tcp_target *target)
{
    target->write_ended = true;
    (void)shutdown(target->fd, SHUT_WR);
}

/* What a peer does not want any more is taken and dropped, as the kernel would. */
static void write_input(struct tcp_target *target)
{
    struct relay *relay = target->relay;
    while (relay->input.len > 0 && !target->write_ended) {
        ssize_t sent =
            send(target->fd, relay->input.data, relay->input.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            break;
        }
        if (sent < 0 && errno != EINTR) {
            target->write_ended = true;
        } else if (sent > 0) {
            relay_consume(relay, (size_t)sent);
        }
    }
    if (target->write_ended && relay->input.len > 0) {
        relay_consume(relay, relay->input.len);
    }
    if (relay->input_ended && relay->input.len == 0 && !target->write_ended) {
        end_writing(target);
    }
}

/* false: the connection broke, and with it the relay. */
static bool read_output(struct tcp_target *target)
{
    AUTO_FREE char *data = mem_alloc(RELAY_DATA_BYTES);
    for (int i = 0; i < READS_PER_TURN && !target->read_ended && target->unsent < OUTPUT_BYTES_MAX;
         i++) {
        ssize_t got = recv(target->fd, data, RELAY_DATA_BYTES, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (got < 0) {
            fail(target, RELAY_ACK(INTERNAL), strerrordesc_np(errno));
            return false;
        }
        if (got == 0) {
            target->read_ended = true;
            relay_send_end(target->relay);
            break;
        }
        target->unsent += (size_t)got;
        relay_send_output(target->relay, 1, str_from(data, (size_t)got));
    }
    return true;
}

static void go_on(struct tcp_target *target)
{
    if (target->read_ended && target->write_ended) {
        relay_finish(target->relay);
    } else if (!watch(target)) {
        fail(target, RELAY_ACK(INTERNAL), "no more descriptors can be watched");
    }
}

static int socket_error(int fd)
{
    int number = 0;
    socklen_t bytes = sizeof(number);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &bytes) == 0 ? number : errno;
}

static void on_socket(void *context, uint32_t events)
{
    struct tcp_target *target = context;
    (void)events;
    if (!target->is_connected) {
        int number = socket_error(target->fd);
        if (number != 0) {
            try_next(target, number);
            return;
        }
        target->is_connected = true;
        loop_timer_disarm(target->patience);
    }
    write_input(target);
    if (read_output(target)) {
        go_on(target);
    }
}

/* ---- Connecting ---- */

static void on_connected(void *context, int take_fd, int number)
{
    struct tcp_target *target = context;
    target->asked = 0;
    target->fd = take_fd;
    if (number != 0) {
        try_next(target, number);
        return;
    }
    go_on(target);
}

static void on_sandbox_ended(void *context, const struct message_exited *exited)
{
    struct tcp_target *target = context;
    (void)exited;
    target->asked = 0;
    fail(target, RELAY_ACK(INTERNAL), "the sandbox has ended");
}

static const struct exec_ops connection_ops = { .connected = on_connected,
                                                .exited = on_sandbox_ended };

static void ask(struct tcp_target *target)
{
    struct err_info err = ERR_INFO_INIT;
    const struct exec_owner owner = { &connection_ops, target };
    enum err_code code = execs_connect(
        bridges_options_of(target->relay->all)->execs,
        target->relay->sandbox_id,
        &target->candidates[target->candidate],
        &owner,
        &target->asked,
        &err);
    if (code != ERR_OK) {
        fail(target, RELAY_ACK(AGENT_INCAPABLE), err.text);
    }
}

static void try_next(struct tcp_target *target, int number)
{
    close_socket(target);
    if (number == ECONNREFUSED && ++target->candidate < target->candidate_count) {
        ask(target);
        return;
    }
    fail(
        target,
        number == EAGAIN ? RELAY_ACK(BUSY) : RELAY_ACK(AGENT_INCAPABLE),
        number == ECONNREFUSED ? "nothing listens there" : strerrordesc_np(number));
}

static void on_patience_over(void *context)
{
    fail(context, RELAY_ACK(INTERNAL), "the connection is not accepted within 10 s");
}

/* ---- What the operator wants ---- */

static void on_input(void *state)
{
    struct tcp_target *target = state;
    if (target->is_connected) {
        write_input(target);
        go_on(target);
    }
}

static void on_writable(void *state)
{
    struct tcp_target *target = state;
    target->unsent = 0;
    if (target->is_connected) {
        go_on(target);
    }
}

static void destroy(void *state)
{
    struct tcp_target *target = state;
    if (target->asked != 0) {
        execs_leave(bridges_options_of(target->relay->all)->execs, target->asked);
    }
    close_socket(target);
    loop_timer_destroy(target->patience);
    mem_free(target);
}

static const struct relay_target_ops target_ops = { .input = on_input,
                                                    .writable = on_writable,
                                                    .destroy = destroy };

static void add_candidate(struct tcp_target *target, uint32_t address, uint32_t port)
{
    target->candidates[target->candidate_count++] =
        (struct sandbox_port){ .address = address, .port = (uint16_t)port };
}

/* "localhost" is either of its addresses: many a program listens on one alone. */
static bool find_candidates(struct tcp_target *target, const Agentgateway__V1__RelayTcp *tcp)
{
    struct str_view host = str_of(tcp->host);
    struct in_addr four;
    if (host.len == 0 || str_equal_fold(host, STR("localhost"))) {
        add_candidate(target, LOOPBACK, tcp->port);
        add_candidate(target, 0, tcp->port);
    } else if (str_equal(host, STR("::1")) || str_equal(host, STR("[::1]"))) {
        add_candidate(target, 0, tcp->port);
    } else if (inet_pton(AF_INET, tcp->host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127) {
        add_candidate(target, ntohl(four.s_addr), tcp->port);
    }
    return target->candidate_count > 0;
}

void tcp_target_start(struct relay *relay, const Agentgateway__V1__RelayTcp *tcp)
{
    if (tcp->port < 1 || tcp->port > UINT16_MAX) {
        relay_finish_failure(relay, RELAY_ACK(BAD_REQUEST), "port: 1 to 65535");
        return;
    }
    struct tcp_target *target = mem_alloc(sizeof(*target));
    target->relay = relay;
    target->fd = -1;
    target->patience =
        loop_timer_create(bridges_options_of(relay->all)->loop, on_patience_over, target);
    relay_set_target(relay, &target_ops, target);
    if (!find_candidates(target, tcp)) {
        relay_finish_failure(
            relay,
            RELAY_ACK(FORBIDDEN),
            "host %.80s: only the sandbox's own loopback can be reached",
            tcp->host);
        return;
    }
    loop_timer_arm_after(target->patience, CONNECT_US);
    ask(target);
}
