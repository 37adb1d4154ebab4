#include "tests/component/agent_proxy/fixture.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/support/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PATIENCE_US = 10000000,
    GOT_BYTES_MAX = 256 * 1024 * 1024,
    READ_BYTES = 256 * 1024,
    NARROW_BYTES = 4096
};

#define OUTSIDE "10.77.0.1"

int64_t fixture_now(void)
{
    return clock_mono(clock_system()).value;
}

bool fixture_is_late(const struct fixture *fixture, int64_t since_us)
{
    (void)fixture;
    return fixture_now() - since_us > PATIENCE_US;
}

void fixture_turn(struct fixture *fixture)
{
    loop_step(fixture->loop, 20);
}

void fixture_pass(struct fixture *fixture, int64_t us)
{
    fixture->shift_us += us;
    loop_step(fixture->loop, 0);
}

static struct mono_us mono(const struct clock *clock)
{
    const struct fixture *fixture = (const struct fixture *)(const void *)clock; /* its first */
    return (struct mono_us){ fixture_now() + fixture->shift_us };
}

static struct wall_us wall(const struct clock *clock)
{
    (void)clock;
    return clock_wall(clock_system());
}

static int listen_on(const char *text, unsigned port)
{
    struct ip_address address;
    struct sockaddr_storage to;
    int on = 1;
    assert_true(ip_parse(str_of(text), &address));
    socklen_t bytes = ip_to_socket(&address, port, &to);
    int fd = socket(address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (const struct sockaddr *)&to, bytes), 0);
    assert_int_equal(listen(fd, 512), 0);
    return fd;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage at;
    socklen_t bytes = sizeof(at);
    struct ip_address address;
    unsigned port = 0;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    assert_true(ip_from_socket((const struct sockaddr *)&at, &address, &port));
    return port;
}

/* ---- Peers ---- */

static void on_peer(void *context, uint32_t events);

static struct peer *add_peer(struct fixture *fixture, int fd)
{
    assert_true(fixture->peer_count < FIXTURE_PEERS);
    struct peer *peer = mem_alloc(sizeof(*peer));
    peer->fixture = fixture;
    peer->fd = fd;
    peer->got = (struct buf)BUF_INIT(GOT_BYTES_MAX);
    fixture->peers[fixture->peer_count++] = peer;
    assert_ok(loop_watch_add(fixture->loop, fd, EPOLLIN, on_peer, peer, &peer->watch, NULL));
    return peer;
}

void peer_close(struct peer *peer)
{
    loop_watch_remove(peer->watch);
    peer->watch = NULL;
    fd_close(&peer->fd);
    peer->ended = true;
}

static void stop(struct peer *peer)
{
    peer->ended = true;
    loop_watch_remove(peer->watch);
    peer->watch = NULL;
}

bool peer_has(const struct peer *peer, const char *text)
{
    return peer->got.len > 0 && memmem(peer->got.data, peer->got.len, text, strlen(text)) != NULL;
}

static void react(struct peer *peer, struct str_view data)
{
    const char *answer = peer->fixture->answer;
    if (answer == NULL) {
        peer_send(peer, data);
    } else if (!peer->answered && peer_has(peer, "\r\n\r\n")) {
        peer->answered = true;
        peer_say(peer, answer);
        if (strstr(answer, "Connection: close") != NULL) {
            (void)shutdown(peer->fd, SHUT_WR);
        }
    }
}

static void on_peer(void *context, uint32_t events)
{
    static char data[READ_BYTES];
    struct peer *peer = context;
    (void)events;
    if (peer->deaf) {
        loop_watch_remove(peer->watch);
        peer->watch = NULL;
        return;
    }
    ssize_t got = recv(peer->fd, data, sizeof(data), 0);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        peer->reset = got < 0;
        stop(peer);
        if (peer->is_server && peer->fixture->answer == NULL) {
            (void)shutdown(peer->fd, SHUT_WR);
        }
        return;
    }
    buf_append(&peer->got, data, (size_t)got);
    if (peer->is_server) {
        react(peer, str_from(data, (size_t)got));
    }
}

void peer_send(struct peer *peer, struct str_view data)
{
    int64_t since = fixture_now();
    while (data.len > 0) {
        ssize_t sent = send(peer->fd, data.ptr, data.len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            return; /* the other end has had enough: what it says is what counts */
        }
        size_t part = sent < 0 ? 0 : (size_t)sent;
        data = str_from(data.ptr + part, data.len - part);
        if (sent < 0 && !peer->is_server) {
            fixture_turn(peer->fixture);
        }
        assert_false(fixture_is_late(peer->fixture, since));
    }
}

void peer_say(struct peer *peer, const char *text)
{
    peer_send(peer, str_of(text));
}

struct peer *fixture_connect(struct fixture *fixture)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)fixture->gate_port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int bytes = NARROW_BYTES;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fixture->narrow) {
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
    }
    int failed = connect(fd, (const struct sockaddr *)&to, sizeof(to));
    assert_true(failed == 0 || errno == EINPROGRESS);
    return add_peer(fixture, fd);
}

struct peer *fixture_accepted(struct fixture *fixture, size_t at)
{
    size_t seen = 0;
    for (size_t i = 0; i < fixture->peer_count; i++) {
        if (fixture->peers[i]->is_server && seen++ == at) {
            return fixture->peers[i];
        }
    }
    fail();
    return NULL;
}

struct peer *fixture_ask(struct fixture *fixture, const char *text)
{
    struct peer *peer = fixture_connect(fixture);
    peer_say(peer, text);
    UNTIL(fixture, peer->ended);
    return peer;
}

unsigned peer_status(const struct peer *peer)
{
    unsigned status = 0;
    if (peer->got.len > 12 && str_has_prefix(buf_view(&peer->got), STR("HTTP/1."))) {
        uint64_t value = 0;
        assert_ok(str_parse_uint64(str_from(peer->got.data + 9, 3), 999, &value));
        status = (unsigned)value;
    }
    return status;
}

static void on_server(void *context, uint32_t events)
{
    struct fixture *fixture = context;
    (void)events;
    int fd = accept4(fixture->server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        add_peer(fixture, fd)->is_server = true;
        fixture->accepted++;
    }
}

struct peer *fixture_fill_server(struct fixture *fixture)
{
    struct ip_address address;
    struct sockaddr_storage to;
    loop_watch_remove(fixture->server_watch);
    fixture->server_watch = NULL;
    assert_int_equal(listen(fixture->server, 0), 0);
    assert_true(ip_parse(STR(OUTSIDE), &address));
    socklen_t bytes = ip_to_socket(&address, fixture->port, &to);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, bytes), 0);
    return add_peer(fixture, fd);
}

void fixture_drain_server(struct fixture *fixture)
{
    assert_int_equal(listen(fixture->server, 512), 0);
    assert_ok(loop_watch_add(
        fixture->loop, fixture->server, EPOLLIN, on_server, fixture, &fixture->server_watch, NULL));
}

bool fixture_has_syn_sent(void)
{
    AUTO_BUF struct buf table = BUF_INIT(1024 * 1024);
    assert_ok(file_read("/proc/thread-self/net/tcp", 1024 * 1024, &table, NULL));
    return strstr(buf_text(&table), " 02 ") != NULL; /* a column of its own: the state */
}

void fixture_narrow_gate(struct fixture *fixture)
{
    struct err_info err = ERR_INFO_INIT;
    int bytes = NARROW_BYTES;
    int listener = listen_on("127.0.0.1", 0);
    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    fixture->gate_port = port_of(listener);
    fixture->narrow = true;
    assert_ok_err(err, proxy_open(fixture->proxy, GATE, listener, &err));
}

void fixture_open_gate(struct fixture *fixture, struct proxy *proxy, const char *id)
{
    struct err_info err = ERR_INFO_INIT;
    int listener = listen_on("127.0.0.1", 0);
    fixture->gate_port = port_of(listener);
    assert_ok_err(err, proxy_open(proxy, id, listener, &err));
}

bool fixture_victim_saw(struct fixture *fixture)
{
    int fd = accept4(fixture->victim, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    bool saw = fd >= 0;
    fd_close(&fd);
    return saw;
}

/* ---- The resolver: one question, answered from the table ---- */

struct question {
    char name[256];
    unsigned type;
    size_t end; /* of the question in the packet */
};

static bool read_question(const uint8_t *packet, size_t bytes, struct question *question)
{
    size_t at = 12;
    size_t length = 0;
    while (at < bytes && packet[at] != 0) {
        size_t label = packet[at];
        if (at + label + 1 >= bytes || length + label + 1 >= sizeof(question->name)) {
            return false;
        }
        memcpy(question->name + length, packet + at + 1, label);
        length += label;
        question->name[length++] = '.';
        at += label + 1;
    }
    question->name[length == 0 ? 0 : length - 1] = '\0';
    question->type = at + 2 < bytes ? (unsigned)packet[at + 1] << 8 | packet[at + 2] : 0;
    question->end = at + 5;
    return question->end <= bytes;
}

static struct name *find_name(struct fixture *fixture, const char *text)
{
    for (size_t i = 0; i < FIXTURE_NAMES; i++) {
        struct name *name = &fixture->names[i];
        const char *star = name->name == NULL || name->name[0] != '*' ? NULL : name->name + 1;
        bool suffix = star != NULL && str_has_suffix(str_of(text), str_of(star));
        if (name->name != NULL && (suffix || strcmp(name->name, text) == 0)) {
            return name;
        }
    }
    return NULL;
}

static size_t put_record(uint8_t *packet, size_t at, const struct ip_address *address)
{
    bool v4 = address->family == AF_INET;
    const uint8_t head[] = { 0xc0, 12, 0, v4 ? 1 : 28, 0, 1, 0, 0, 0, 0, 0, v4 ? 4 : 16 };
    memcpy(packet + at, head, sizeof(head));
    memcpy(packet + at + sizeof(head), address->bytes, v4 ? 4 : 16);
    return at + sizeof(head) + (v4 ? 4 : 16);
}

/* As written: "::ffff:1.2.3.4" stays an IPv6 address. */
static struct ip_address read_address(const char *text)
{
    struct ip_address address = { .family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET };
    assert_int_equal(inet_pton(address.family, text, address.bytes), 1);
    return address;
}

static void on_question(void *context, uint32_t events)
{
    struct fixture *fixture = context;
    uint8_t packet[1024];
    struct sockaddr_storage from;
    socklen_t from_bytes = sizeof(from);
    struct question question;
    (void)events;
    ssize_t got =
        recvfrom(fixture->resolver, packet, 512, 0, (struct sockaddr *)&from, &from_bytes);
    if (got < 12 || !read_question(packet, (size_t)got, &question)) {
        return;
    }
    struct name *name = find_name(fixture, question.name);
    if (name != NULL && (name->silent || (name->is_half && question.type != 1))) {
        return;
    }
    unsigned count = 0;
    size_t at = question.end;
    const char **list = name == NULL                    ? NULL
        : name->questions > 0 && name->later[0] != NULL ? name->later
                                                        : name->addresses;
    for (size_t i = 0; list != NULL && i < 4 && list[i] != NULL; i++) {
        struct ip_address address = read_address(list[i]);
        if (question.type == (address.family == AF_INET ? 1U : 28U)) {
            at = put_record(packet, at, &address);
            count++;
        }
    }
    if (name != NULL && question.type == 1) {
        name->questions++;
    }
    packet[2] = 0x81;
    packet[3] = name == NULL ? 0x83 : 0x80;
    memset(packet + 6, 0, 6);
    packet[7] = (uint8_t)count;
    (void)sendto(fixture->resolver, packet, at, 0, (const struct sockaddr *)&from, from_bytes);
}

static void open_resolver(struct fixture *fixture)
{
    struct ip_address address;
    struct sockaddr_storage to;
    assert_true(ip_parse(STR(OUTSIDE), &address));
    socklen_t bytes = ip_to_socket(&address, 0, &to);
    fixture->resolver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->resolver, (const struct sockaddr *)&to, bytes), 0);
    (void)snprintf(
        fixture->resolvers, sizeof(fixture->resolvers), OUTSIDE ":%u", port_of(fixture->resolver));
    assert_ok(loop_watch_add(
        fixture->loop,
        fixture->resolver,
        EPOLLIN,
        on_question,
        fixture,
        &fixture->resolver_watch,
        NULL));
}

/* ---- The proxy ---- */

static void on_denied(void *context, const char *id, const struct proxy_denial *denial)
{
    struct fixture *fixture = context;
    assert_string_equal(id, GATE);
    struct denial *kept = &fixture->denials[fixture->denial_count++ % FIXTURE_DENIALS];
    (void)snprintf(kept->host, sizeof(kept->host), "%s", denial->host);
    (void)snprintf(kept->reason, sizeof(kept->reason), "%s", denial->reason);
    (void)snprintf(kept->rule, sizeof(kept->rule), "%.60s", denial->rule);
    (void)snprintf(kept->path, sizeof(kept->path), "%.60s", denial->path);
    kept->port = denial->port;
    kept->audited = denial->audited;
    kept->count = denial->count;
}

static const struct proxy_ops ops = { .denied = on_denied };

void fixture_add(
    const struct fixture *fixture, struct rules *rules, const struct rules_endpoint *endpoint)
{
    static const struct str_view outside[] = { { OUTSIDE, sizeof(OUTSIDE) - 1 }, { "fd77::1", 7 } };
    const uint32_t ports[] = { fixture->port };
    struct err_info err = ERR_INFO_INIT;
    struct rules_endpoint added = *endpoint;
    added.ports = ports;
    added.port_count = 1;
    if (added.addresses == NULL) {
        added.addresses = outside;
        added.address_count = 2;
    }
    assert_ok_err(err, rules_add(rules, &added, &err));
}

struct rules *fixture_rules(const struct fixture *fixture, const char *host)
{
    struct rules *rules = rules_create();
    fixture_add(
        fixture, rules, &(struct rules_endpoint){ .rule = STR("test"), .host = str_of(host) });
    return rules;
}

void fixture_allow(struct fixture *fixture, const char *host)
{
    proxy_set_rules(fixture->proxy, GATE, fixture_rules(fixture, host));
}

struct fixture *fixture_create(void)
{
    struct err_info err = ERR_INFO_INIT;
    test_netns_enter();
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->clock = (struct clock){ mono, wall };
    assert_ok_err(err, loop_create(&fixture->clock, &fixture->loop, &err));
    fixture->server = listen_on(OUTSIDE, 0);
    fixture->port = port_of(fixture->server);
    fixture->victim = listen_on("127.0.0.1", fixture->port);
    assert_ok(loop_watch_add(
        fixture->loop, fixture->server, EPOLLIN, on_server, fixture, &fixture->server_watch, NULL));
    open_resolver(fixture);
    fixture->names[0] = (struct name){ .name = "good.test", .addresses = { OUTSIDE } };
    const struct proxy_options options = { .loop = fixture->loop,
                                           .resolvers = fixture->resolvers,
                                           .connections = 32,
                                           .ops = &ops,
                                           .context = fixture };
    assert_ok_err(err, proxy_create(&options, &fixture->proxy, &err));
    int listener = listen_on("127.0.0.1", 0);
    fixture->gate_port = port_of(listener);
    assert_ok_err(err, proxy_open(fixture->proxy, GATE, listener, &err));
    return fixture;
}

void fixture_destroy(struct fixture *fixture)
{
    for (size_t i = 0; i < fixture->peer_count; i++) {
        peer_close(fixture->peers[i]);
        buf_deinit(&fixture->peers[i]->got);
        mem_free(fixture->peers[i]);
    }
    proxy_destroy(fixture->proxy);
    loop_destroy(fixture->loop);
    fd_close(&fixture->server);
    fd_close(&fixture->victim);
    fd_close(&fixture->resolver);
    mem_free(fixture);
}
