/* One connection of a sandbox: its requests one after the other, each judged by itself. */
#include "cmd/agent/proxy/proxy_private.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    REPLY_BYTES_MAX = 2048
};

#define REPLY_US     (2 * US_PER_SECOND)
#define KEEPALIVE_US US_PER_MINUTE

void conn_arm(struct conn *conn, int64_t delay_us)
{
    conn->active = loop_now(conn->gate->proxy->options.loop);
    loop_timer_arm_after(conn->timer, delay_us);
}

void conn_use(struct conn *conn, size_t bytes)
{
    memmove(conn->in.data, conn->in.data + bytes, conn->in.len - bytes);
    conn->in.len -= bytes;
    if (conn->in.len == 0) {
        buf_deinit(&conn->in);
    }
}

void conn_close(struct conn *conn)
{
    if (conn->stage == CONN_OVER) {
        return;
    }
    conn->stage = CONN_OVER;
    dial_cancel(conn->dial);
    conn->dial = NULL;
    side_close(&conn->client);
    side_close(&conn->server);
    loop_timer_disarm(conn->timer);
    gate_leave(conn->gate, conn);
}

void conn_free(struct conn *conn)
{
    list_remove(&conn->link);
    loop_timer_destroy(conn->timer);
    buf_deinit(&conn->in);
    buf_deinit(&conn->out);
    buf_deinit(&conn->answer);
    mem_free(conn->path);
    mem_free(conn);
}

/* ---- Telling ---- */

void conn_tell(struct conn *conn)
{
    const struct proxy_denial denial = {
        .host = conn->host.name,
        .port = conn->port,
        .method = conn->is_tunnel ? "CONNECT" : conn->method,
        .path = conn->path == NULL ? "" : conn->path,
        .rule = conn->decision.rule,
        .reason = conn->decision.reason,
        .audited = conn->decision.verdict == RULES_ALLOW_AUDITED,
    };
    gate_deny(conn->gate, &denial);
}

void conn_tell_malformed(struct conn *conn, const char *why)
{
    const struct proxy_denial denial = {
        .host = "", .method = "", .path = "", .rule = "", .reason = why
    };
    gate_deny(conn->gate, &denial);
}

static const char *words_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *words;
    } rows[] = { { 400, "Bad Request" },
                 { 403, "Forbidden" },
                 { 431, "Request Header Fields Too Large" },
                 { 502, "Bad Gateway" },
                 { 504, "Gateway Timeout" },
                 { 505, "HTTP Version Not Supported" } };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (rows[i].status == status) {
            return rows[i].words;
        }
    }
    return "Error";
}

void conn_reply(struct conn *conn, unsigned status, const char *text)
{
    AUTO_BUF struct buf reply = BUF_INIT(REPLY_BYTES_MAX);
    side_close(&conn->server);
    conn->stage = CONN_REPLY;
    if (status != 0) {
        buf_printf(
            &reply,
            "HTTP/1.1 %u %s\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: %zu\r\n"
            "Connection: close\r\n\r\n"
            "belay: %s\n",
            status,
            words_of(status),
            strlen(text) + strlen("belay: \n"),
            text);
        if (!side_write(&conn->client, buf_view(&reply))) {
            conn_close(conn);
            return;
        }
    }
    side_end_writing(&conn->client);
    conn_arm(conn, REPLY_US); /* what the client still sends is read, or it would lose the answer */
}

static void refuse(struct conn *conn, unsigned status, const char *why)
{
    conn_tell_malformed(conn, why);
    conn_reply(conn, status, why);
}

static void reply_denied(struct conn *conn)
{
    char text[HOST_NAME_BYTES_MAX + RULES_REASON_BYTES + 64];
    (void)snprintf(
        text,
        sizeof(text),
        "%s:%u is not allowed by the policy of this sandbox: %s",
        conn->host.name,
        conn->port,
        conn->decision.reason);
    conn_reply(conn, 403, text);
}

/* ---- Judging ---- */

static enum rules_verdict decide(
    struct conn *conn, const struct address *addresses, const bool *own, size_t count)
{
    const struct rules_request request = { .host = &conn->host,
                                           .port = conn->port,
                                           .is_tunnel = conn->is_tunnel,
                                           .method = str_of(conn->method),
                                           .path = str_of(conn->path),
                                           .addresses = addresses,
                                           .address_count = count,
                                           .own = own };
    rules_decide(conn->gate->rules, &request, &conn->decision);
    return conn->decision.verdict;
}

void conn_recheck(struct conn *conn)
{
    bool open = conn->stage == CONN_TUNNEL || conn->stage == CONN_EXCHANGE;
    if (open && decide(conn, &conn->address, &conn->own, 1) == RULES_DENY) {
        conn_tell(conn);
        conn_close(conn);
    }
}

static bool on_judge(void *context, const struct address *addresses, const bool *own, size_t count)
{
    struct conn *conn = context;
    enum rules_verdict verdict = decide(conn, addresses, own, count);
    if (verdict != RULES_ALLOW) {
        conn_tell(conn);
    }
    return verdict != RULES_DENY;
}

/* ---- Connecting ---- */

static void on_server(void *context, uint32_t events)
{
    struct conn *conn = context;
    (void)events;
    if (!side_flush(&conn->server)) {
        conn_close(conn);
        return;
    }
    relay_server(conn);
    relay_watch(conn);
}

static void on_connected(void *context, int take_fd, const struct address *address, bool own)
{
    struct conn *conn = context;
    struct proxy_usage *total = &conn->gate->usage;
    conn->dial = NULL;
    conn->address = *address;
    conn->own = own;
    conn->row = tally_row(conn->gate->tally, conn->host.name, conn->port);
    conn->row->connections++;
    total->connections++;
    side_open(&conn->server, conn->gate->proxy->options.loop, take_fd, on_server, conn);
    conn->stage = conn->is_tunnel ? CONN_TUNNEL : CONN_EXCHANGE;
    conn_arm(conn, conn->gate->proxy->options.idle_us);
    relay_begin(conn);
    relay_watch(conn);
}

static void on_failed(void *context, enum dial_failure failure)
{
    static const struct {
        unsigned status;
        const char *text;
    } answers[] = {
        [DIAL_NO_NAME] = { 502, "there is no such host" },
        [DIAL_NO_ANSWER] = { 502, "the host's name could not be resolved" },
        [DIAL_FAILED] = { 502, "the host does not take the connection" },
        [DIAL_TIMEOUT] = { 504, "the host was not reached in time" },
    };
    struct conn *conn = context;
    conn->dial = NULL;
    if (failure == DIAL_REFUSED) {
        reply_denied(conn);
    } else {
        conn_reply(conn, answers[failure].status, answers[failure].text);
    }
    relay_watch(conn);
}

static const struct dial_ops dial_ops = { .judge = on_judge,
                                          .connected = on_connected,
                                          .failed = on_failed };

static void dial(struct conn *conn)
{
    const struct proxy_options *options = &conn->gate->proxy->options;
    const struct dial_options to = { .loop = options->loop,
                                     .resolvers = options->resolvers,
                                     .host = &conn->host,
                                     .port = conn->port,
                                     .timeout_us = options->connect_us,
                                     .ops = &dial_ops,
                                     .context = conn };
    conn->stage = CONN_DIAL;
    loop_timer_disarm(conn->timer); /* the dial has its own */
    conn->dial = dial_start(&to);
}

/* ---- Requests ---- */

static void take_request(struct conn *conn, const struct head *head)
{
    conn->host = head->host;
    conn->port = head->port;
    conn->is_tunnel = head->is_tunnel;
    conn->to_head = str_equal(head->method, STR("HEAD"));
    conn->closes = head->close;
    conn->up_over = head->body.kind != FRAMING_CHUNKED && head->body.length == 0;
    conn->answered = false;
    conn->answer_scanned = 0;
    (void)snprintf(conn->method, sizeof(conn->method), "%.*s", STR_ARG(head->method));
    mem_free(conn->path);
    conn->path = mem_printf("%.*s", STR_ARG(head->path));
    body_init(&conn->up, &head->body, false);
    buf_deinit(&conn->out);
    if (!head->is_tunnel) {
        head_forward(head, &conn->out);
    }
}

static void begin_request(struct conn *conn, size_t head_bytes)
{
    struct head head;
    struct head_fault fault;
    if (!head_parse(str_from(conn->in.data, head_bytes), &head, &fault)) {
        refuse(conn, fault.status, fault.why);
        return;
    }
    take_request(conn, &head);
    conn_use(conn, head_bytes);
    conn->scanned = 0;
    if (!buf_ok(&conn->out)) {
        refuse(conn, 431, "the request's head is too large");
    } else if (decide(conn, NULL, NULL, 0) == RULES_DENY) {
        conn_tell(conn);
        reply_denied(conn);
    } else {
        dial(conn);
    }
}

static void look_for_head(struct conn *conn)
{
    enum head_scan found = head_scan(conn->in.data, conn->in.len, &conn->scanned);
    if (found == HEAD_BAD) {
        refuse(conn, 400, "not a request of HTTP/1 with CRLF at the end of each line");
    } else if (conn->scanned > HEAD_BYTES_MAX) {
        refuse(conn, 431, "a request's head has at most 8 KiB");
    } else if (found == HEAD_WHOLE) {
        begin_request(conn, conn->scanned);
    } else if (conn->client.read_ended) {
        conn_close(conn);
    }
}

void conn_next(struct conn *conn)
{
    side_close(&conn->server);
    conn->stage = CONN_HEAD;
    conn->scanned = 0;
    conn->idles = conn->in.len == 0;
    conn_arm(conn, conn->idles ? KEEPALIVE_US : conn->gate->proxy->options.head_us);
    look_for_head(conn);
}

static void read_head(struct conn *conn)
{
    struct proxy *proxy = conn->gate->proxy;
    size_t got = 0;
    size_t room = conn->in.len > HEAD_BYTES_MAX ? 0 : HEAD_BYTES_MAX + 1 - conn->in.len;
    if (side_has_pending(&conn->client)) {
        return; /* the answer before is not out yet */
    }
    if (!side_read(&conn->client, proxy->scratch, room, &got)) {
        conn_close(conn);
        return;
    }
    if (got > 0 && conn->idles) {
        conn->idles = false;
        conn_arm(conn, proxy->options.head_us);
    }
    buf_append(&conn->in, proxy->scratch, got);
    look_for_head(conn);
}

/* Reads what nobody wants, so that our last words arrive before the connection is gone. */
static void linger(struct conn *conn)
{
    size_t got = 0;
    bool good = side_read(&conn->client, conn->gate->proxy->scratch, PROXY_READ_BYTES, &got);
    if (!good || (conn->client.read_ended && conn->client.write_ended)) {
        conn_close(conn);
    }
}

static void on_client(void *context, uint32_t events)
{
    struct conn *conn = context;
    (void)events;
    if (!side_flush(&conn->client)) {
        conn_close(conn);
        return;
    }
    switch (conn->stage) {
    case CONN_HEAD:
        read_head(conn);
        break;
    case CONN_REPLY:
        linger(conn);
        break;
    case CONN_TUNNEL:
    case CONN_EXCHANGE:
        relay_client(conn);
        break;
    case CONN_DIAL:
    case CONN_OVER:
        break;
    }
    relay_watch(conn);
}

static void on_timer(void *context)
{
    struct conn *conn = context;
    int64_t idle_us = conn->gate->proxy->options.idle_us;
    int64_t passed = loop_now(conn->gate->proxy->options.loop).value - conn->active.value;
    bool relays = conn->stage == CONN_TUNNEL || conn->stage == CONN_EXCHANGE;
    bool stalls = conn->awaits_hello && conn->in.len > 0;
    if (relays && !stalls && passed < idle_us) {
        loop_timer_arm_after(conn->timer, idle_us - passed);
        return;
    }
    if (conn->stage == CONN_HEAD && conn->in.len > 0) {
        conn_tell_malformed(conn, "the request's head was not sent in time");
    }
    conn_close(conn);
}

void conn_accept(struct gate *gate, int take_fd)
{
    int on = 1;
    struct proxy *proxy = gate->proxy;
    struct conn *conn = mem_alloc(sizeof(*conn));
    (void)setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    conn->gate = gate;
    conn->stage = CONN_HEAD;
    conn->server.fd = -1;
    conn->in = (struct buf)BUF_INIT(PROXY_IN_BYTES_MAX);
    conn->out = (struct buf)BUF_INIT((size_t)HEAD_BYTES_MAX * 2);
    conn->answer = (struct buf)BUF_INIT(HEAD_ANSWER_BYTES_MAX + PROXY_READ_BYTES);
    conn->timer = loop_timer_create(proxy->options.loop, on_timer, conn);
    side_open(&conn->client, proxy->options.loop, take_fd, on_client, conn);
    list_append(&gate->conns, &conn->link);
    gate->conn_count++;
    proxy->connections++;
    conn_arm(conn, proxy->options.head_us);
    relay_watch(conn);
}
