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

void visit_touch(struct visit *visit)
{
    visit->active = loop_now(visit->gate->proxy->options.loop);
}

void visit_arm(struct visit *visit, int64_t delay_us)
{
    visit_touch(visit);
    loop_timer_arm_after(visit->timer, delay_us);
}

/* The server is done with this answer, and the client is not: it has the time of a transfer. */
static bool is_draining(const struct visit *visit)
{
    return (visit->stage == VISIT_HEAD || visit->stage == VISIT_REPLY)
        && side_has_pending(&visit->client);
}

/* Between two answers, or after the last one. */
static void arm_after_answer(struct visit *visit)
{
    const struct proxy_options *options = &visit->gate->proxy->options;
    int64_t delay_us = is_draining(visit) ? options->idle_us
        : visit->stage == VISIT_REPLY     ? REPLY_US
        : visit->idles                    ? KEEPALIVE_US
                                          : options->head_us;
    visit_arm(visit, delay_us);
}

void visit_use(struct visit *visit, size_t bytes)
{
    memmove(visit->in.data, visit->in.data + bytes, visit->in.len - bytes);
    visit->in.len -= bytes;
    if (visit->in.len == 0) {
        buf_deinit(&visit->in);
    }
}

void visit_close(struct visit *visit)
{
    if (visit->stage == VISIT_OVER) {
        return;
    }
    visit->stage = VISIT_OVER;
    dial_cancel(visit->dial);
    visit->dial = NULL;
    side_close(&visit->client);
    side_close(&visit->server);
    loop_timer_disarm(visit->timer);
    gate_leave(visit->gate, visit);
}

void visit_free(struct visit *visit)
{
    list_remove(&visit->link);
    loop_timer_destroy(visit->timer);
    buf_deinit(&visit->in);
    buf_deinit(&visit->out);
    buf_deinit(&visit->answer);
    mem_free(visit->path);
    mem_free(visit);
}

/* ---- Telling ---- */

void visit_tell(struct visit *visit)
{
    const struct proxy_denial denial = {
        .host = visit->host.name,
        .port = visit->port,
        .method = visit->is_tunnel ? "CONNECT" : visit->method,
        .path = visit->path == NULL ? "" : visit->path,
        .rule = visit->decision.rule,
        .reason = visit->decision.reason,
        .audited = visit->decision.verdict == RULES_ALLOW_AUDITED,
    };
    gate_deny(visit->gate, &denial);
}

void visit_tell_malformed(struct visit *visit, const char *why)
{
    const struct proxy_denial denial = {
        .host = "", .method = "", .path = "", .rule = "", .reason = why
    };
    gate_deny(visit->gate, &denial);
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

void visit_reply(struct visit *visit, unsigned status, const char *text)
{
    AUTO_BUF struct buf reply = BUF_INIT(REPLY_BYTES_MAX);
    side_close(&visit->server);
    visit->stage = VISIT_REPLY;
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
        if (!side_write(&visit->client, buf_view(&reply))) {
            visit_close(visit);
            return;
        }
    }
    side_end_writing(&visit->client);
    arm_after_answer(visit); /* what the client still sends is read, or it would lose the answer */
}

static void refuse(struct visit *visit, unsigned status, const char *why)
{
    visit_tell_malformed(visit, why);
    visit_reply(visit, status, why);
}

static void reply_denied(struct visit *visit)
{
    char text[HOST_NAME_BYTES_MAX + RULES_REASON_BYTES + 64];
    (void)snprintf(
        text,
        sizeof(text),
        "%s:%u is not allowed by the policy of this sandbox: %s",
        visit->host.name,
        visit->port,
        visit->decision.reason);
    visit_reply(visit, 403, text);
}

/* ---- Judging ---- */

static enum rules_verdict decide(
    struct visit *visit, const struct ip_address *addresses, const bool *own, size_t count)
{
    const struct rules_request request = { .host = &visit->host,
                                           .port = visit->port,
                                           .is_tunnel = visit->is_tunnel,
                                           .method = str_of(visit->method),
                                           .path = str_of(visit->path),
                                           .addresses = addresses,
                                           .address_count = count,
                                           .own = own };
    rules_decide(visit->gate->rules, &request, &visit->decision);
    return visit->decision.verdict;
}

static void deny(struct visit *visit)
{
    visit_tell(visit);
    reply_denied(visit);
}

void visit_recheck(struct visit *visit)
{
    bool open = visit->stage == VISIT_TUNNEL || visit->stage == VISIT_EXCHANGE;
    if (open && decide(visit, &visit->address, &visit->own, 1) == RULES_DENY) {
        visit_tell(visit);
        visit_close(visit);
    } else if (visit->stage == VISIT_DIAL && decide(visit, NULL, NULL, 0) == RULES_DENY) {
        dial_cancel(visit->dial);
        visit->dial = NULL;
        deny(visit);
        visit_watch(visit);
    }
}

static bool on_judge(
    void *context, const struct ip_address *addresses, const bool *own, size_t count)
{
    struct visit *visit = context;
    enum rules_verdict verdict = decide(visit, addresses, own, count);
    if (verdict != RULES_ALLOW) {
        visit_tell(visit);
    }
    return verdict != RULES_DENY;
}

/* ---- Connecting ---- */

static void on_server(void *context, uint32_t events)
{
    struct visit *visit = context;
    (void)events;
    if (!side_flush(&visit->server)) {
        visit_close(visit);
        return;
    }
    visit_from_server(visit);
    visit_watch(visit);
}

static void on_connected(void *context, int take_fd, const struct ip_address *address, bool own)
{
    struct visit *visit = context;
    struct proxy_usage *total = &visit->gate->usage;
    AUTO_FD int fd = take_fd;
    visit->dial = NULL;
    visit->address = *address;
    visit->own = own;
    if (decide(visit, address, &own, 1) == RULES_DENY) { /* the rules are others by now */
        deny(visit);
        visit_watch(visit);
        return;
    }
    visit->row = tally_row(visit->gate->tally, visit->host.name, visit->port);
    visit->row->connections++;
    total->connections++;
    side_open(&visit->server, visit->gate->proxy->options.loop, fd_steal(&fd), on_server, visit);
    visit->stage = visit->is_tunnel ? VISIT_TUNNEL : VISIT_EXCHANGE;
    visit_arm(visit, visit->gate->proxy->options.idle_us);
    visit_relay(visit);
    visit_watch(visit);
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
    struct visit *visit = context;
    visit->dial = NULL;
    if (failure == DIAL_REFUSED) {
        reply_denied(visit);
    } else {
        visit_reply(visit, answers[failure].status, answers[failure].text);
    }
    visit_watch(visit);
}

static const struct dial_ops dial_ops = { .judge = on_judge,
                                          .connected = on_connected,
                                          .failed = on_failed };

static void dial(struct visit *visit)
{
    const struct proxy_options *options = &visit->gate->proxy->options;
    const struct dial_options to = { .loop = options->loop,
                                     .resolvers = options->resolvers,
                                     .host = &visit->host,
                                     .port = visit->port,
                                     .timeout_us = options->connect_us,
                                     .ops = &dial_ops,
                                     .context = visit };
    visit->stage = VISIT_DIAL;
    loop_timer_disarm(visit->timer); /* the dial has its own */
    visit->dial = dial_start(&to);
}

/* ---- Requests ---- */

static void take_request(struct visit *visit, const struct head *head)
{
    visit->host = head->host;
    visit->port = head->port;
    visit->is_tunnel = head->is_tunnel;
    visit->to_head = str_equal(head->method, STR("HEAD"));
    visit->closes = head->close;
    visit->up_over = head->body.kind != FRAMING_CHUNKED && head->body.length == 0;
    visit->answered = false;
    visit->interims = 0;
    visit->answer_scanned = 0;
    (void)snprintf(visit->method, sizeof(visit->method), "%.*s", STR_ARG(head->method));
    mem_free(visit->path);
    visit->path = mem_printf("%.*s", STR_ARG(head->path));
    body_init(&visit->up, &head->body, false);
    buf_deinit(&visit->out);
    if (!head->is_tunnel) {
        head_forward(head, &visit->out);
    }
}

static void begin_request(struct visit *visit, size_t head_bytes)
{
    struct head head;
    struct head_fault fault;
    if (!head_parse(str_from(visit->in.data, head_bytes), &head, &fault)) {
        refuse(visit, fault.status, fault.why);
        return;
    }
    take_request(visit, &head);
    visit_use(visit, head_bytes);
    visit->scanned = 0;
    if (!buf_ok(&visit->out)) {
        refuse(visit, 431, "the request's head is too large");
    } else if (decide(visit, NULL, NULL, 0) == RULES_DENY) {
        deny(visit);
    } else {
        dial(visit);
    }
}

static void look_for_head(struct visit *visit)
{
    enum head_scan found = head_scan(visit->in.data, visit->in.len, &visit->scanned);
    if (found == HEAD_BAD) {
        refuse(visit, 400, "not a request of HTTP/1 with CRLF at the end of each line");
    } else if (visit->scanned > HEAD_BYTES_MAX) {
        refuse(visit, 431, "a request's head has at most 8 KiB");
    } else if (found == HEAD_WHOLE) {
        begin_request(visit, visit->scanned);
    } else if (visit->client.read_ended) {
        visit_close(visit);
    }
}

void visit_next(struct visit *visit)
{
    side_close(&visit->server);
    visit->stage = VISIT_HEAD;
    visit->scanned = 0;
    visit->idles = visit->in.len == 0;
    arm_after_answer(visit);
    look_for_head(visit);
}

static void read_head(struct visit *visit)
{
    struct proxy *proxy = visit->gate->proxy;
    size_t got = 0;
    size_t room = visit->in.len > HEAD_BYTES_MAX ? 0 : HEAD_BYTES_MAX + 1 - visit->in.len;
    if (side_has_pending(&visit->client)) {
        return; /* the answer before is not out yet */
    }
    if (!side_read(&visit->client, proxy->scratch, room, &got)) {
        visit_close(visit);
        return;
    }
    if (got > 0 && visit->idles) {
        visit->idles = false;
        visit_arm(visit, proxy->options.head_us);
    }
    buf_append(&visit->in, proxy->scratch, got);
    look_for_head(visit);
}

/* Reads what nobody wants, so that our last words arrive before the connection is gone. */
static void linger(struct visit *visit)
{
    size_t got = 0;
    bool good = side_read(&visit->client, visit->gate->proxy->scratch, PROXY_READ_BYTES, &got);
    if (!good || (visit->client.read_ended && visit->client.write_ended)) {
        visit_close(visit);
    }
}

static void on_client(void *context, uint32_t events)
{
    struct visit *visit = context;
    bool drains = is_draining(visit);
    (void)events;
    if (!side_flush(&visit->client)) {
        visit_close(visit);
        return;
    }
    if (drains) {
        arm_after_answer(visit); /* it took some of it */
    }
    switch (visit->stage) {
    case VISIT_HEAD:
        read_head(visit);
        break;
    case VISIT_REPLY:
        linger(visit);
        break;
    case VISIT_TUNNEL:
    case VISIT_EXCHANGE:
        visit_from_client(visit);
        break;
    case VISIT_DIAL:
    case VISIT_OVER:
        break;
    }
    visit_watch(visit);
}

static void on_timer(void *context)
{
    struct visit *visit = context;
    int64_t idle_us = visit->gate->proxy->options.idle_us;
    int64_t passed = loop_now(visit->gate->proxy->options.loop).value - visit->active.value;
    bool relays = visit->stage == VISIT_TUNNEL || visit->stage == VISIT_EXCHANGE;
    bool stalls = visit->awaits_hello && visit->in.len > 0;
    if (((relays && !stalls) || is_draining(visit)) && passed < idle_us) {
        loop_timer_arm_after(visit->timer, idle_us - passed);
        return;
    }
    if (visit->stage == VISIT_HEAD && visit->in.len > 0) {
        visit_tell_malformed(visit, "the request's head was not sent in time");
    }
    visit_close(visit);
}

void visit_accept(struct gate *gate, int take_fd)
{
    int on = 1;
    struct proxy *proxy = gate->proxy;
    struct visit *visit = mem_alloc(sizeof(*visit));
    (void)setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    visit->gate = gate;
    visit->stage = VISIT_HEAD;
    visit->server.fd = -1;
    visit->in = (struct buf)BUF_INIT(PROXY_IN_BYTES_MAX);
    visit->out = (struct buf)BUF_INIT((size_t)HEAD_BYTES_MAX * 2);
    visit->answer = (struct buf)BUF_INIT(HEAD_ANSWER_BYTES_MAX + PROXY_READ_BYTES);
    visit->timer = loop_timer_create(proxy->options.loop, on_timer, visit);
    side_open(&visit->client, proxy->options.loop, take_fd, on_client, visit);
    list_append(&gate->visits, &visit->link);
    gate->visit_count++;
    proxy->connections++;
    visit_arm(visit, proxy->options.head_us);
    visit_watch(visit);
}
