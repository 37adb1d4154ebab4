#include "cmd/agent/proxy/resolve.h"

#include "common/base/cleanup.h"

#include <ares.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/time.h>

enum {
    TRY_MS = 2000,
    TRIES = 3
};

struct watched {
    struct resolve *resolve;
    int fd;
    struct loop_watch *watch; /* NULL: the place is free */
};

struct resolve {
    struct loop *loop;
    ares_channel channel;
    struct watched sockets[ARES_GETSOCK_MAXNUM];
    struct loop_timer *retry; /* when the library wants to be called again */
    struct loop_timer *tell;  /* the answer is there */
    resolve_fn fn;
    void *context;
    bool answered;
    enum err_code code;
    struct ip_address addresses[RESOLVE_ADDRESSES_MAX];
    size_t count;
};

enum err_code resolve_open(struct err_info *err)
{
    return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS
        ? ERR_OK
        : ERR_SET(err, ERR_UNAVAILABLE, "the resolver library did not start");
}

void resolve_close(void)
{
    ares_library_cleanup();
}

bool resolve_is_servers(const char *text)
{
    ares_channel channel = NULL;
    bool good = ares_init(&channel) == ARES_SUCCESS
        && ares_set_servers_ports_csv(channel, text) == ARES_SUCCESS;
    if (channel != NULL) {
        ares_destroy(channel);
    }
    return good && text[0] != '\0';
}

static void schedule(struct resolve *resolve)
{
    struct timeval room;
    const struct timeval *wait = ares_timeout(resolve->channel, NULL, &room);
    if (wait != NULL && !resolve->answered) {
        loop_timer_arm_after(resolve->retry, wait->tv_sec * US_PER_SECOND + wait->tv_usec);
    }
}

static void on_retry(void *context)
{
    struct resolve *resolve = context;
    ares_process_fd(resolve->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    schedule(resolve);
}

static void on_socket(void *context, uint32_t events)
{
    struct watched *watched = context;
    struct resolve *resolve = watched->resolve;
    bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
    ares_process_fd(
        resolve->channel,
        broken || (events & EPOLLIN) != 0 ? watched->fd : ARES_SOCKET_BAD,
        (events & EPOLLOUT) != 0 ? watched->fd : ARES_SOCKET_BAD);
    schedule(resolve);
}

static struct watched *find_place(struct resolve *resolve, int fd)
{
    struct watched *place = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(resolve->sockets); i++) {
        struct watched *watched = &resolve->sockets[i];
        if (watched->watch != NULL && watched->fd == fd) {
            return watched;
        }
        if (watched->watch == NULL) {
            place = watched;
        }
    }
    return place;
}

/* The library tells what it waits for on each of its sockets; nothing: it is about to close it. */
static void on_state(void *context, ares_socket_t fd, int readable, int writable)
{
    struct resolve *resolve = context;
    struct watched *place = find_place(resolve, fd);
    uint32_t events = (readable != 0 ? EPOLLIN : 0U) | (writable != 0 ? EPOLLOUT : 0U);
    enum err_code code = ERR_OK;
    if (place == NULL) {
        return; /* more sockets than servers times protocols: it asks again over another */
    }
    if (events == 0) {
        loop_watch_remove(place->watch);
        place->watch = NULL;
    } else if (place->watch != NULL) {
        code = loop_watch_set(place->watch, events);
    } else {
        place->resolve = resolve;
        place->fd = fd;
        code = loop_watch_add(resolve->loop, fd, events, on_socket, place, &place->watch, NULL);
    }
    (void)code; /* the timeout of the question covers what cannot be watched */
}

static enum err_code code_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return ERR_OK;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
        return ERR_NOT_FOUND;
    default:
        return ERR_UNAVAILABLE;
    }
}

static void take_addresses(struct resolve *resolve, const struct ares_addrinfo *result)
{
    const struct ares_addrinfo_node *node = result == NULL ? NULL : result->nodes;
    for (; node != NULL && resolve->code == ERR_OK; node = node->ai_next) {
        unsigned port = 0;
        if (resolve->count == RESOLVE_ADDRESSES_MAX) {
            resolve->code = ERR_LIMIT;
        } else if (ip_from_socket(node->ai_addr, &resolve->addresses[resolve->count], &port)) {
            resolve->count++;
        }
    }
    if (resolve->code == ERR_OK && resolve->count == 0) {
        resolve->code = ERR_NOT_FOUND;
    }
}

/* The result is ours, also when the question is given up: what was answered until then is in it. */
static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *result)
{
    struct resolve *resolve = context;
    (void)timeouts;
    if (!resolve->answered) { /* else: canceled */
        resolve->code = code_of(status);
        take_addresses(resolve, result);
        resolve->answered = true;
        loop_timer_arm_after(resolve->tell, 0);
    }
    if (result != NULL) {
        ares_freeaddrinfo(result);
    }
}

static void destroy(struct resolve *resolve)
{
    resolve->answered = true;
    if (resolve->channel != NULL) {
        ares_destroy(resolve->channel);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(resolve->sockets); i++) {
        loop_watch_remove(resolve->sockets[i].watch);
    }
    loop_timer_destroy(resolve->retry);
    loop_timer_destroy(resolve->tell);
    mem_free(resolve);
}

/* From the loop, not from within the library: its channel can go now. */
static void on_tell(void *context)
{
    struct resolve *resolve = context;
    resolve->fn(resolve->context, resolve->code, resolve->addresses, resolve->count);
    destroy(resolve);
}

static int open_channel(struct resolve *resolve, const char *servers)
{
    struct ares_options options = { .flags = ARES_FLAG_NOSEARCH,
                                    .timeout = TRY_MS,
                                    .tries = TRIES,
                                    .sock_state_cb = on_state,
                                    .sock_state_cb_data = resolve };
    int status = ares_init_options(
        &resolve->channel,
        &options,
        ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS && servers != NULL) {
        status = ares_set_servers_ports_csv(resolve->channel, servers);
    }
    return status;
}

enum err_code resolve_start(
    struct loop *loop,
    const char *servers,
    const char *name,
    resolve_fn fn,
    void *context,
    struct resolve **ret_resolve)
{
    struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC };
    struct resolve *resolve = mem_alloc(sizeof(*resolve));
    resolve->loop = loop;
    resolve->fn = fn;
    resolve->context = context;
    resolve->retry = loop_timer_create(loop, on_retry, resolve);
    resolve->tell = loop_timer_create(loop, on_tell, resolve);
    if (open_channel(resolve, servers) != ARES_SUCCESS) {
        destroy(resolve);
        return ERR_UNAVAILABLE;
    }
    ares_getaddrinfo(resolve->channel, name, NULL, &hints, on_answer, resolve);
    schedule(resolve);
    *ret_resolve = resolve;
    return ERR_OK;
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve != NULL) {
        destroy(resolve);
    }
}
