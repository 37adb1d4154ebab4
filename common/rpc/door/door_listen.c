#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/rpc/door/address.h"
#include "common/rpc/door/door_private.h"
#include "common/sys/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    ACCEPTS_PER_TURN = 64,
};

static const int64_t accept_retry_us = 20 * US_PER_MS;

/* ---- Accepting ---- */

union inet_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

/* Fills address and port; ret_address has them as a proxy's header would. */
static void describe_inet(
    const union inet_address *from,
    struct rpc_peer *peer,
    uint8_t ret_address[NETWORK_ADDRESS_BYTES])
{
    bool is_v6 = from->any.sa_family == AF_INET6;
    if (is_v6) {
        memcpy(ret_address, from->v6.sin6_addr.s6_addr, NETWORK_ADDRESS_BYTES);
    } else {
        network_map_ipv4((const uint8_t *)&from->v4.sin_addr.s_addr, ret_address);
    }
    door_describe_client(ret_address, ntohs(is_v6 ? from->v6.sin6_port : from->v4.sin_port), peer);
}

void door_describe_client(
    const uint8_t address[NETWORK_ADDRESS_BYTES], uint16_t port, struct rpc_peer *peer)
{
    bool is_v4 = network_is_ipv4(address);
    (void)inet_ntop(
        is_v4 ? AF_INET : AF_INET6,
        is_v4 ? address + NETWORK_IPV4_AT : address,
        peer->address,
        sizeof(peer->address));
    peer->port = port;
}

static bool is_loopback(const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    return network_is_ipv4(address)
        ? address[NETWORK_IPV4_AT] == 127
        : memcmp(address, &in6addr_loopback, sizeof(in6addr_loopback)) == 0;
}

static bool describe_unix(int fd, struct rpc_peer *peer)
{
    struct ucred credentials;
    socklen_t bytes = sizeof(credentials);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
        return false;
    }
    peer->uid = credentials.uid;
    peer->gid = credentials.gid;
    peer->pid = credentials.pid;
    peer->is_loopback = true;
    peer->is_reached_locally = true;
    (void)snprintf(peer->address, sizeof(peer->address), "unix");
    return true;
}

/* When no more fit, who has been silent the longest before a first request gives way. */
static bool make_room(struct door *door)
{
    static const enum conn_phase phases[] = { CONN_ARRIVING, CONN_QUIET };

    for (size_t i = 0; i < ARRAY_LENGTH(phases); i++) {
        struct list *phase = &door->phases[phases[i]];
        if (!list_is_empty(phase)) {
            conn_evict(LIST_ENTRY(phase->next, struct conn, link));
            return true;
        }
    }
    return false;
}

static bool is_trusted_proxy(const struct door *door, const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    for (size_t i = 0; i < door->options.trusted_proxy_count; i++) {
        if (network_has(&door->options.trusted_proxies[i], address)) {
            return true;
        }
    }
    return false;
}

/* Whom a proxy brings is counted once it has said who that is. */
static bool admit_inet(
    struct listener *listener,
    const union inet_address *from,
    struct door_arrival *arrival,
    struct rpc_peer *peer)
{
    struct door *door = listener->door;
    uint8_t address[NETWORK_ADDRESS_BYTES];
    int on = 1;
    (void)setsockopt(arrival->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    describe_inet(from, peer, address);
    peer->is_loopback = is_loopback(address);
    peer->is_reached_locally = peer->is_loopback;
    arrival->is_proxied = is_trusted_proxy(door, address);
    if (arrival->is_proxied || (peer->is_loopback && !door->options.limit_loopback)) {
        return true;
    }
    arrival->source = door_enter_source(door, address);
    return arrival->source != NULL;
}

static bool admit(struct listener *listener, int fd, const union inet_address *from)
{
    struct door *door = listener->door;
    struct rpc_peer peer = {
        .kind = listener->kind,
        .listener = listener->name,
        .uid = (uid_t)-1,
        .gid = (gid_t)-1,
        .pid = -1,
    };
    struct door_arrival arrival = { .fd = fd, .peer = &peer };
    if (door->open >= door->open_max && !make_room(door)) {
        return false;
    }
    if (listener->kind == RPC_PEER_UNIX) {
        if (!describe_unix(fd, &peer)) {
            return false;
        }
    } else if (!admit_inet(listener, from, &arrival, &peer)) {
        return false;
    }
    lock_acquire(&door->lock);
    arrival.tls = listener->tls == NULL ? NULL : tls_context_ref(listener->tls);
    lock_release(&door->lock);
    conn_start(door, &arrival);
    tls_context_unref(arrival.tls);
    return true;
}

static void set_listening(struct listener *listener, bool on)
{
    if (listener->watch != NULL
        && loop_watch_set(listener->watch, on ? (uint32_t)EPOLLIN : 0) != ERR_OK) {
        log_error("door_listener_lost", LOG_STR("listener", listener->name));
    }
}

/* No descriptor or memory is left: the listener rests, and what waits in its queue waits on. */
static void pause_listener(struct listener *listener, int number)
{
    struct mono_us now = loop_now(listener->door->loop);
    if (now.value - listener->warned.value >= US_PER_SECOND) {
        listener->warned = now;
        log_warn(
            "door_accept_paused", LOG_STR("listener", listener->name), LOG_INT("errno", number));
    }
    set_listening(listener, false);
    loop_timer_arm_after(listener->retry, accept_retry_us);
}

static bool is_shortage(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

static void on_listener_ready(void *context, uint32_t events)
{
    (void)events;
    struct listener *listener = context;
    struct door *door = listener->door;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        union inet_address from;
        memset(&from, 0, sizeof(from));
        socklen_t bytes = sizeof(from);
        int fd = accept4(listener->fd, &from.any, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (is_shortage(errno)) {
                pause_listener(listener, errno);
                return;
            }
            if (errno == EAGAIN || errno == EINVAL) {
                return;
            }
            continue; /* that connection failed before it was taken */
        }
        (void)atomic_fetch_add(&door->accepted, 1);
        if (!admit(listener, fd, &from)) {
            (void)atomic_fetch_add(&door->refused, 1);
            fd_close(&fd);
        }
    }
}

static void on_retry(void *context)
{
    struct listener *listener = context;
    set_listening(listener, true);
}

/* ---- Listeners ---- */

static bool is_loopback_address(const struct addrinfo *info)
{
    union inet_address bound;
    struct rpc_peer peer = { 0 };
    uint8_t address[NETWORK_ADDRESS_BYTES];
    memset(&bound, 0, sizeof(bound));
    if (info->ai_addrlen > sizeof(bound)) {
        return false;
    }
    memcpy(&bound, info->ai_addr, info->ai_addrlen);
    describe_inet(&bound, &peer, address);
    return is_loopback(address);
}

static enum err_code bind_inet(
    struct listener *listener, const struct addrinfo *info, const char *text, struct err_info *err)
{
    int on = 1;
    listener->fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0 || setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0
        || bind(listener->fd, info->ai_addr, info->ai_addrlen) != 0
        || listen(listener->fd, BACKLOG) != 0) {
        int number = errno;
        enum err_code code = number == EADDRINUSE ? ERR_BUSY
            : number == EACCES                    ? ERR_DENIED
                                                  : ERR_UNAVAILABLE;
        return ERR_SET_ERRNO(err, code, number, "listening on %s", text);
    }
    return ERR_OK;
}

static enum err_code listen_inet(
    struct listener *listener, const struct rpc_listen_options *options, struct err_info *err)
{
    char host[ADDRESS_HOST_BYTES];
    char port_text[8];
    uint16_t port = 0;
    TRY(address_parse_listen(options->address, host, &port, err));
    (void)snprintf(port_text, sizeof(port_text), "%u", port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host, port_text, &hints, &found);
    if (failed != 0) {
        return ERR_SET(err, ERR_INVALID, "address %s: %s", options->address, gai_strerror(failed));
    }
    enum err_code code = ERR_OK;
    if (options->tls == NULL && !options->allow_remote_plaintext && !is_loopback_address(found)) {
        code = ERR_SET(
            err, ERR_DENIED, "%s without TLS is for loopback addresses only", options->address);
    }
    if (code == ERR_OK) {
        code = bind_inet(listener, found, options->address, err);
    }
    freeaddrinfo(found);
    return code;
}

static uint16_t bound_port(int fd)
{
    union inet_address address;
    socklen_t bytes = sizeof(address);
    memset(&address, 0, sizeof(address));
    if (getsockname(fd, &address.any, &bytes) != 0) {
        return 0;
    }
    bool is_v6 = address.any.sa_family == AF_INET6;
    return ntohs(is_v6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* A socket file that nobody listens on and that is ours goes away; anything else is refused. */
static enum err_code clear_stale_socket(const struct sockaddr_un *address, struct err_info *err)
{
    struct stat status;
    const char *path = address->sun_path;
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? ERR_OK : ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return ERR_SET(err, ERR_EXISTS, "%s is there and is not a socket", path);
    }
    if (status.st_uid != geteuid()) {
        return ERR_SET(err, ERR_DENIED, "%s is a socket of another user", path);
    }
    AUTO_FD int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "socket");
    }
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0
        || errno != ECONNREFUSED) {
        return ERR_SET(err, ERR_BUSY, "%s: another process listens there", path);
    }
    if (unlink(path) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "removing %s", path);
    }
    return ERR_OK;
}

static enum err_code listen_unix(
    struct listener *listener, const char *path, mode_t mode, struct err_info *err)
{
    struct sockaddr_un *address = &listener->unix_address;
    address->sun_family = AF_UNIX;
    if (path[0] != '/'
        || str_copy(str_of(path), address->sun_path, sizeof(address->sun_path)) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "unix:%s: an absolute path of at most %zu bytes expected",
            path,
            sizeof(address->sun_path) - 1);
    }
    TRY(clear_stale_socket(address, err));
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct stat status;
    /* Nobody can connect before listen, so the mode is right in time. */
    if (listener->fd < 0
        || bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "listening on %s", path);
    }
    if (lstat(path, &status) == 0) {
        listener->unix_device = status.st_dev;
        listener->unix_inode = status.st_ino;
    }
    if (chmod(path, mode == 0 ? 0600 : mode) != 0 || listen(listener->fd, BACKLOG) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "listening on %s", path);
    }
    return ERR_OK;
}

void listener_attach(struct listener *listener)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = loop_watch_add(
        listener->door->loop,
        listener->fd,
        EPOLLIN,
        on_listener_ready,
        listener,
        &listener->watch,
        &err);
    if (code != ERR_OK) {
        log_error("door_listener_lost", LOG_STR("listener", listener->name), LOG_ERR(&err));
    }
}

void listener_destroy(struct listener *listener)
{
    loop_watch_remove(listener->watch);
    loop_timer_destroy(listener->retry);
    fd_close(&listener->fd);
    struct stat status;
    const char *path = listener->unix_address.sun_path;
    if (listener->unix_inode != 0 && lstat(path, &status) == 0
        && status.st_dev == listener->unix_device && status.st_ino == listener->unix_inode) {
        (void)unlink(path);
    }
    tls_context_unref(listener->tls);
    mem_free(listener);
}

static struct listener *find_listener(struct door *door, const char *name)
{
    LIST_FOR_EACH(node, &door->listeners)
    {
        struct listener *listener = LIST_ENTRY(node, struct listener, link);
        if (strcmp(listener->name, name) == 0) {
            return listener;
        }
    }
    return NULL;
}

static void run_attach(void *context)
{
    listener_attach(context);
}

/* Under one lock, so that door_stop_accepting comes wholly before or wholly after. */
static enum err_code publish(struct listener *listener, struct err_info *err)
{
    struct door *door = listener->door;
    LOCK_GUARD(&door->lock);
    if (door->is_closed) {
        return ERR_SET(err, ERR_PRECONDITION, "the door accepts no more");
    }
    if (find_listener(door, listener->name) != NULL) {
        return ERR_SET(err, ERR_EXISTS, "a listener named %s is there", listener->name);
    }
    if (!door->is_started) {
        listener_attach(listener);
    } else if (!loop_post(door->loop, run_attach, listener)) {
        return ERR_SET(err, ERR_PRECONDITION, "the door has stopped");
    }
    list_append(&door->listeners, &listener->link);
    return ERR_OK;
}

static enum err_code open_listener(
    struct listener *listener, const struct rpc_listen_options *options, struct err_info *err)
{
    struct str_view address = str_of(options->address);
    if (str_copy(str_of(options->name), listener->name, sizeof(listener->name)) != ERR_OK) {
        return ERR_SET(
            err, ERR_INVALID, "name of a listener: at most %d bytes", DOOR_NAME_BYTES - 1);
    }
    if (str_has_prefix(address, STR("unix:"))) {
        listener->kind = RPC_PEER_UNIX;
        return options->tls != NULL
            ? ERR_SET(err, ERR_UNSUPPORTED, "%s: TLS on a Unix socket", options->address)
            : listen_unix(listener, options->address + 5, options->unix_mode, err);
    }
    listener->kind = options->tls == NULL ? RPC_PEER_PLAIN : RPC_PEER_TLS;
    if (options->tls != NULL) {
        TRY(tls_context_create(options->tls, &listener->tls, err));
    }
    return listen_inet(listener, options, err);
}

enum err_code door_listen(
    struct door *door,
    const struct rpc_listen_options *options,
    uint16_t *ret_port,
    struct err_info *err)
{
    struct listener *listener = mem_alloc(sizeof(*listener));
    list_init(&listener->link);
    listener->door = door;
    listener->fd = -1;
    listener->retry = loop_timer_create(door->loop, on_retry, listener);
    enum err_code code = open_listener(listener, options, err);
    uint16_t port =
        code == ERR_OK && listener->kind != RPC_PEER_UNIX ? bound_port(listener->fd) : 0;
    if (code == ERR_OK) {
        code = publish(listener, err);
    }
    if (code != ERR_OK) {
        listener_destroy(listener);
        return code;
    }
    if (ret_port != NULL) {
        *ret_port = port;
    }
    return ERR_OK;
}

enum err_code door_set_tls(
    struct door *door, const char *listener, const struct rpc_tls_files *tls, struct err_info *err)
{
    struct tls_context *context = NULL;
    TRY(tls_context_create(tls, &context, err));
    lock_acquire(&door->lock);
    struct listener *found = find_listener(door, listener);
    bool fits = found != NULL && found->kind == RPC_PEER_TLS;
    if (fits) {
        struct tls_context *before = found->tls;
        found->tls = context;
        context = before;
    }
    lock_release(&door->lock);
    tls_context_unref(context);
    return fits ? ERR_OK : ERR_SET(err, ERR_NOT_FOUND, "no TLS listener is named %s", listener);
}
