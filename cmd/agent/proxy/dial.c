#include "cmd/agent/proxy/dial.h"

#include "cmd/agent/proxy/resolve.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    TRIES_MAX = 6 /* addresses that are tried */
};

struct dial {
    struct dial_options options;
    struct host host;
    struct resolve *resolve;
    struct loop_timer *begin; /* for an address, which needs no question */
    struct loop_timer *limit;
    struct ip_address addresses[RESOLVE_ADDRESSES_MAX];
    bool own[RESOLVE_ADDRESSES_MAX];
    size_t count;
    size_t next;
    int fd;
    struct loop_watch *watch;
};

static void destroy(struct dial *dial)
{
    resolve_cancel(dial->resolve);
    loop_watch_remove(dial->watch);
    fd_close(&dial->fd);
    loop_timer_destroy(dial->begin);
    loop_timer_destroy(dial->limit);
    mem_free(dial);
}

static void fail(struct dial *dial, enum dial_failure failure)
{
    struct dial_options options = dial->options;
    destroy(dial);
    options.ops->failed(options.context, failure);
}

static void succeed(struct dial *dial)
{
    struct dial_options options = dial->options;
    struct ip_address address = dial->addresses[dial->next - 1];
    bool own = dial->own[dial->next - 1];
    loop_watch_remove(dial->watch);
    dial->watch = NULL;
    int fd = fd_steal(&dial->fd);
    destroy(dial);
    options.ops->connected(options.context, fd, &address, own);
}

/* Which of the addresses are on this host's interfaces. */
static void find_own(const struct ip_address *addresses, size_t count, bool *ret_own)
{
    struct ifaddrs *all = NULL;
    memset(ret_own, 0, count * sizeof(*ret_own));
    if (getifaddrs(&all) != 0) {
        memset(ret_own, 1, count * sizeof(*ret_own)); /* not known: named ones alone may pass */
        return;
    }
    for (const struct ifaddrs *item = all; item != NULL; item = item->ifa_next) {
        struct ip_address address;
        unsigned port = 0;
        if (item->ifa_addr == NULL || !ip_from_socket(item->ifa_addr, &address, &port)) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            ret_own[i] = ret_own[i] || ip_equal(&addresses[i], &address);
        }
    }
    freeifaddrs(all);
}

static void try_next(struct dial *dial);

static void on_writable(void *context, uint32_t events)
{
    struct dial *dial = context;
    int number = 0;
    socklen_t bytes = sizeof(number);
    (void)events;
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &number, &bytes) == 0 && number == 0) {
        succeed(dial);
        return;
    }
    try_next(dial);
}

/* true: on its way. */
static bool connect_to(struct dial *dial, const struct ip_address *address)
{
    struct sockaddr_storage to;
    int on = 1;
    socklen_t bytes = ip_to_socket(address, dial->options.port, &to);
    dial->fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (dial->fd < 0) {
        return false;
    }
    (void)setsockopt(dial->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(dial->fd, (const struct sockaddr *)&to, bytes) != 0 && errno != EINPROGRESS) {
        return false;
    }
    return loop_watch_add(
               dial->options.loop, dial->fd, EPOLLOUT, on_writable, dial, &dial->watch, NULL)
        == ERR_OK;
}

static void try_next(struct dial *dial)
{
    size_t most = dial->count < TRIES_MAX ? dial->count : TRIES_MAX;
    loop_watch_remove(dial->watch);
    dial->watch = NULL;
    fd_close(&dial->fd);
    while (dial->next < most) {
        if (connect_to(dial, &dial->addresses[dial->next++])) {
            return;
        }
        fd_close(&dial->fd);
    }
    fail(dial, DIAL_FAILED);
}

static void take_addresses(struct dial *dial)
{
    find_own(dial->addresses, dial->count, dial->own);
    if (!dial->options.ops->judge(dial->options.context, dial->addresses, dial->own, dial->count)) {
        fail(dial, DIAL_REFUSED);
        return;
    }
    try_next(dial);
}

static void on_resolved(
    void *context, enum err_code code, const struct ip_address *addresses, size_t count)
{
    struct dial *dial = context;
    dial->resolve = NULL; /* it is over, and frees itself */
    if (code != ERR_OK) {
        fail(dial, code == ERR_NOT_FOUND ? DIAL_NO_NAME : DIAL_NO_ANSWER);
        return;
    }
    memcpy(dial->addresses, addresses, count * sizeof(*addresses));
    dial->count = count;
    take_addresses(dial);
}

static void on_begin(void *context)
{
    struct dial *dial = context;
    if (!dial->host.is_address) {
        fail(dial, DIAL_NO_ANSWER); /* the resolver could not even be asked */
        return;
    }
    dial->addresses[0] = dial->host.address;
    dial->count = 1;
    take_addresses(dial);
}

static void on_limit(void *context)
{
    fail(context, DIAL_TIMEOUT);
}

struct dial *dial_start(const struct dial_options *options)
{
    struct dial *dial = mem_alloc(sizeof(*dial));
    dial->options = *options;
    dial->host = *options->host;
    dial->fd = -1;
    dial->begin = loop_timer_create(options->loop, on_begin, dial);
    dial->limit = loop_timer_create(options->loop, on_limit, dial);
    loop_timer_arm_after(dial->limit, options->timeout_us);
    if (dial->host.is_address
        || resolve_start(
               options->loop,
               options->resolvers,
               dial->host.name,
               on_resolved,
               dial,
               &dial->resolve)
            != ERR_OK) {
        loop_timer_arm_after(dial->begin, 0);
    }
    return dial;
}

void dial_cancel(struct dial *dial)
{
    if (dial != NULL) {
        destroy(dial);
    }
}
