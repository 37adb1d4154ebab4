#include "cmd/agent/proxy/proxy_private.h"
#include "cmd/agent/proxy/resolve.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    ACCEPTS_PER_TURN = 16,
    DESCRIPTORS_PER_CONNECTION = 4 /* two, and as many that are left to others */
};

#define DEFAULT_HEAD_US    (15 * US_PER_SECOND)
#define DEFAULT_CONNECT_US (15 * US_PER_SECOND)
#define DEFAULT_IDLE_US    (10 * US_PER_MINUTE)
#define FLUSH_US           (10 * US_PER_SECOND)
#define ACCEPT_PAUSE_US    (200 * US_PER_MS)

/* ---- Denials ---- */

static void tell(void *context, const struct proxy_denial *denial)
{
    const struct gate *gate = context;
    const struct proxy_options *options = &gate->proxy->options;
    if (options->ops != NULL && options->ops->denied != NULL) {
        options->ops->denied(options->context, gate->id, denial);
    }
}

static void on_flush(void *context)
{
    struct proxy *proxy = context;
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    bool again = false;
    while (map_next(proxy->gates, &cursor, &key, &value)) {
        struct gate *gate = value;
        again = tally_flush(gate->tally, tell, gate) || again;
    }
    proxy->flushing = again;
    if (again) {
        loop_timer_arm_after(proxy->flush_timer, FLUSH_US);
    }
}

void gate_deny(struct gate *gate, const struct proxy_denial *denial)
{
    if (!denial->audited) {
        gate->usage.denials++;
        if (denial->host[0] != '\0') {
            tally_row(gate->tally, denial->host, denial->port)->denials++;
        }
    }
    if (!gate->proxy->flushing) {
        gate->proxy->flushing = true;
        loop_timer_arm_after(gate->proxy->flush_timer, FLUSH_US);
    }
    tally_deny(gate->tally, denial, tell, gate);
}

/* ---- Gates ---- */

static void set_accepting(struct gate *gate)
{
    const struct proxy *proxy = gate->proxy;
    bool room = gate->visit_count < proxy->options.connections
        && proxy->connections < proxy->options.connections_total && !proxy->starved;
    if (gate->watch != NULL && room == gate->paused
        && loop_watch_set(gate->watch, room ? EPOLLIN : 0U) == ERR_OK) {
        gate->paused = !room;
    }
}

static void set_all_accepting(struct proxy *proxy)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(proxy->gates, &cursor, &key, &value)) {
        set_accepting(value);
    }
}

static void on_accept_again(void *context)
{
    struct proxy *proxy = context;
    proxy->starved = false;
    set_all_accepting(proxy);
}

static void on_connection(void *context, uint32_t events)
{
    struct gate *gate = context;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && !gate->paused; i++) {
        int fd = accept4(gate->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            visit_accept(gate, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            gate->proxy->starved = true; /* they wait in the backlog meanwhile */
            loop_timer_arm_after(gate->proxy->accept_timer, ACCEPT_PAUSE_US);
        } else {
            return;
        }
        set_accepting(gate);
    }
}

static void on_reap(void *context)
{
    struct proxy *proxy = context;
    LIST_FOR_EACH(node, &proxy->over)
    {
        visit_free(LIST_ENTRY(node, struct visit, link));
    }
}

void gate_leave(struct gate *gate, struct visit *visit)
{
    struct proxy *proxy = gate->proxy;
    bool full = proxy->connections >= proxy->options.connections_total;
    list_remove(&visit->link);
    list_append(&proxy->over, &visit->link);
    gate->visit_count--;
    proxy->connections--;
    loop_timer_arm_after(proxy->reap_timer, 0);
    if (full) {
        set_all_accepting(proxy);
    } else {
        set_accepting(gate);
    }
}

static struct gate *find(const struct proxy *proxy, const char *id)
{
    return map_find(proxy->gates, str_of(id));
}

static struct gate *get(struct proxy *proxy, const char *id)
{
    struct gate *gate = find(proxy, id);
    if (gate == NULL) {
        gate = mem_alloc(sizeof(*gate));
        gate->proxy = proxy;
        gate->id = mem_strdup(id);
        gate->rules = rules_create();
        gate->listener = -1;
        gate->tally = tally_create();
        list_init(&gate->visits);
        (void)map_put(proxy->gates, str_of(id), gate);
    }
    return gate;
}

static void close_gate(struct gate *gate)
{
    loop_watch_remove(gate->watch);
    gate->watch = NULL;
    gate->paused = false;
    fd_close(&gate->listener);
    LIST_FOR_EACH(node, &gate->visits)
    {
        visit_close(LIST_ENTRY(node, struct visit, link));
    }
}

static void destroy_gate(void *value)
{
    struct gate *gate = value;
    close_gate(gate);
    on_reap(gate->proxy); /* they know their gate */
    rules_destroy(gate->rules);
    tally_destroy(gate->tally);
    mem_free(gate->id);
    mem_free(gate);
}

enum err_code proxy_open(
    struct proxy *proxy, const char *id, int take_listener, struct err_info *err)
{
    struct gate *gate = get(proxy, id);
    AUTO_FD int listener = take_listener;
    close_gate(gate);
    if (fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
        return ERR_SET_ERRNO(err, ERR_INVALID, errno, "the listener of sandbox %s", id);
    }
    TRY(loop_watch_add(
        proxy->options.loop, listener, EPOLLIN, on_connection, gate, &gate->watch, err));
    gate->listener = fd_steal(&listener);
    set_accepting(gate);
    return ERR_OK;
}

void proxy_set_rules(struct proxy *proxy, const char *id, struct rules *take_rules)
{
    struct gate *gate = get(proxy, id);
    rules_destroy(gate->rules);
    gate->rules = take_rules;
    LIST_FOR_EACH(node, &gate->visits)
    {
        visit_recheck(LIST_ENTRY(node, struct visit, link));
    }
}

void proxy_close(struct proxy *proxy, const char *id)
{
    struct gate *gate = find(proxy, id);
    if (gate != NULL) {
        close_gate(gate);
        (void)tally_flush(gate->tally, tell, gate);
    }
}

void proxy_forget(struct proxy *proxy, const char *id)
{
    struct gate *gate = map_remove(proxy->gates, str_of(id));
    if (gate != NULL) {
        close_gate(gate);
        (void)tally_flush(gate->tally, tell, gate);
        destroy_gate(gate);
    }
}

/* ---- Figures ---- */

void proxy_restore(struct proxy *proxy, const char *id, const struct proxy_usage *usage)
{
    struct proxy_usage *now = &get(proxy, id)->usage;
    now->in_bytes += usage->in_bytes;
    now->out_bytes += usage->out_bytes;
    now->connections += usage->connections;
    now->denials += usage->denials;
}

bool proxy_get_usage(const struct proxy *proxy, const char *id, struct proxy_usage *ret_usage)
{
    const struct gate *gate = find(proxy, id);
    if (gate != NULL) {
        *ret_usage = gate->usage;
    }
    return gate != NULL;
}

bool proxy_next_destination(
    const struct proxy *proxy,
    const char *id,
    size_t *cursor,
    struct proxy_destination *ret_destination)
{
    const struct gate *gate = find(proxy, id);
    return gate != NULL && tally_next(gate->tally, cursor, ret_destination);
}

/* ---- The proxy ---- */

/* The rest of the descriptors is for everything else that this process does. */
static unsigned total_of_descriptors(void)
{
    struct rlimit limit = { 0 };
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0
        || limit.rlim_cur / DESCRIPTORS_PER_CONNECTION > PROXY_CONNECTIONS_TOTAL) {
        return PROXY_CONNECTIONS_TOTAL;
    }
    return (unsigned)(limit.rlim_cur / DESCRIPTORS_PER_CONNECTION);
}

static int64_t or_else(int64_t value, int64_t fallback)
{
    return value == 0 ? fallback : value;
}

enum err_code proxy_create(
    const struct proxy_options *options, struct proxy **ret_proxy, struct err_info *err)
{
    TRY(resolve_open(err));
    if (options->resolvers != NULL && !resolve_is_servers(options->resolvers)) {
        resolve_close();
        return ERR_SET(
            err,
            ERR_INVALID,
            "\"%.128s\": addresses, each with a port or without, and commas between them",
            options->resolvers);
    }
    struct proxy *proxy = mem_alloc(sizeof(*proxy));
    proxy->options = *options;
    proxy->options.resolvers = options->resolvers == NULL ? NULL : mem_strdup(options->resolvers);
    proxy->options.head_us = or_else(options->head_us, DEFAULT_HEAD_US);
    proxy->options.connect_us = or_else(options->connect_us, DEFAULT_CONNECT_US);
    proxy->options.idle_us = or_else(options->idle_us, DEFAULT_IDLE_US);
    if (proxy->options.connections == 0) {
        proxy->options.connections = PROXY_CONNECTIONS_DEFAULT;
    }
    if (options->connections_total == 0) {
        proxy->options.connections_total = total_of_descriptors();
    }
    proxy->gates = map_create();
    proxy->scratch = mem_alloc(PROXY_READ_BYTES);
    proxy->flush_timer = loop_timer_create(options->loop, on_flush, proxy);
    proxy->accept_timer = loop_timer_create(options->loop, on_accept_again, proxy);
    proxy->reap_timer = loop_timer_create(options->loop, on_reap, proxy);
    list_init(&proxy->over);
    *ret_proxy = proxy;
    return ERR_OK;
}

void proxy_destroy(struct proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    /* All are closed before one is freed: room that a connection leaves is room for any gate. */
    size_t cursor = 0;
    struct str_view key;
    void *gate = NULL;
    while (map_next(proxy->gates, &cursor, &key, &gate)) {
        close_gate(gate);
    }
    map_destroy(proxy->gates, destroy_gate);
    loop_timer_destroy(proxy->flush_timer);
    loop_timer_destroy(proxy->accept_timer);
    loop_timer_destroy(proxy->reap_timer);
    mem_free(CONST_CAST(char *, proxy->options.resolvers));
    mem_free(proxy->scratch);
    mem_free(proxy);
    resolve_close();
}
