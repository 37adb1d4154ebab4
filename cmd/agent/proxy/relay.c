/*
 * What passes once a connection stands. A tunnel passes bytes, after a look at the name in a TLS
 * hello. An exchange passes one request and one answer, each to its end and no further, so that
 * what follows is a request again, and judged.
 */
#include "cmd/agent/proxy/parse/hello.h"
#include "cmd/agent/proxy/proxy_private.h"
#include "common/base/cleanup.h"

#include <stdio.h>

enum {
    TURNS = 4,                 /* reads in one turn of the loop, so that no connection holds it */
    CHUNKED_READ_BYTES = 8192, /* what follows the last chunk must fit visit.in */
    INTERIM_ANSWERS_MAX = 256  /* to one request: each is a head to read and to pass on */
};

static bool is_open(const struct visit *visit)
{
    return visit->stage == VISIT_TUNNEL || visit->stage == VISIT_EXCHANGE;
}

static void count_out(struct visit *visit, size_t bytes)
{
    visit->gate->usage.out_bytes += bytes;
    visit->row->out_bytes += bytes;
    visit_touch(visit);
}

static void count_in(struct visit *visit, size_t bytes)
{
    visit->gate->usage.in_bytes += bytes;
    visit->row->in_bytes += bytes;
    visit_touch(visit);
}

static void to_server(struct visit *visit, struct str_view data)
{
    count_out(visit, data.len);
    if (!side_write(&visit->server, data)) {
        visit_close(visit);
    }
}

static void to_client(struct visit *visit, struct str_view data)
{
    if (!side_write(&visit->client, data)) {
        visit_close(visit);
    }
}

/* ---- Tunnels ---- */

/* A name that is asked for behind a name that is allowed would be a way around the rules. */
static const char *compare_name(const struct visit *visit, enum hello hello, const char *name)
{
    struct host host;
    if (hello == HELLO_BAD) {
        return "the tunnel's first bytes are a broken TLS hello";
    }
    if (visit->host.is_address || hello == HELLO_OTHER) {
        return NULL;
    }
    if (hello == HELLO_NAMELESS) {
        return "the TLS hello asks for no name";
    }
    if (host_parse(str_of(name), &host) != NULL || strcmp(host.name, visit->host.name) != 0) {
        return "the TLS hello asks for another name";
    }
    return NULL;
}

static void refuse_hello(struct visit *visit, const char *why)
{
    static const char alert[] = { 21, 3, 3, 0, 2, 2, 49 }; /* fatal: access_denied */
    visit->decision.verdict = RULES_DENY;
    (void)snprintf(visit->decision.reason, sizeof(visit->decision.reason), "%s", why);
    visit_tell(visit);
    to_client(visit, str_from(alert, sizeof(alert)));
    if (visit->stage != VISIT_OVER) {
        visit_reply(visit, 0, NULL);
    }
}

static void look_at_hello(struct visit *visit)
{
    char name[HELLO_NAME_BYTES_MAX + 1] = "";
    enum hello hello = hello_parse(buf_view(&visit->in), name);
    if (hello == HELLO_MORE && !visit->client.read_ended && visit->in.len < HELLO_BYTES_MAX) {
        return;
    }
    const char *wrong =
        compare_name(visit, hello == HELLO_MORE && visit->in.len > 0 ? HELLO_BAD : hello, name);
    if (wrong != NULL && visit->in.len > 0) {
        refuse_hello(visit, wrong);
        return;
    }
    visit->awaits_hello = false;
    visit_arm(visit, visit->gate->proxy->options.idle_us);
    if (visit->in.len > 0) {
        to_server(visit, buf_view(&visit->in));
        buf_deinit(&visit->in);
    }
}

static void take_hello(struct visit *visit, struct str_view data)
{
    if (visit->in.len == 0 && data.len > 0) {
        visit_arm(visit, visit->gate->proxy->options.head_us);
    }
    buf_append_str(&visit->in, data);
    look_at_hello(visit);
}

static void begin_tunnel(struct visit *visit)
{
    visit->awaits_hello = visit->decision.compare_tls_name;
    to_client(visit, STR("HTTP/1.1 200 Connection established\r\n\r\n"));
    if (visit->in.len > 0 && visit->awaits_hello) {
        visit_arm(visit, visit->gate->proxy->options.head_us);
        look_at_hello(visit);
    } else if (visit->in.len > 0) {
        to_server(visit, buf_view(&visit->in));
        buf_deinit(&visit->in);
    }
}

static void end_tunnel_if_over(struct visit *visit)
{
    bool over = visit->client.read_ended && visit->server.read_ended
        && !side_has_pending(&visit->client) && !side_has_pending(&visit->server);
    if (visit->stage == VISIT_TUNNEL && over) {
        visit_close(visit);
    }
}

/* ---- Exchanges: the request's body ---- */

static void take_body(struct visit *visit, struct str_view data, size_t *ret_taken)
{
    enum body_result result = body_take(&visit->up, data, ret_taken);
    if (result == BODY_BAD) {
        visit_tell_malformed(visit, "the chunks of the request's body are broken");
        visit_close(visit);
        return;
    }
    visit->up_over = result == BODY_DONE;
    if (*ret_taken > 0) {
        to_server(visit, str_from(data.ptr, *ret_taken));
    }
}

static size_t body_room(const struct visit *visit)
{
    if (visit->up.kind != FRAMING_LENGTH) {
        return CHUNKED_READ_BYTES;
    }
    return visit->up.left < PROXY_READ_BYTES ? (size_t)visit->up.left : PROXY_READ_BYTES;
}

static void begin_exchange(struct visit *visit)
{
    size_t taken = 0;
    to_server(visit, buf_view(&visit->out));
    buf_deinit(&visit->out);
    if (is_open(visit) && !visit->up_over && visit->in.len > 0) {
        take_body(visit, buf_view(&visit->in), &taken);
    }
    if (is_open(visit) && taken > 0) {
        visit_use(visit, taken);
    }
}

/* ---- Exchanges: the answer ---- */

static void fail_answer(struct visit *visit, const char *why)
{
    if (visit->answered) {
        visit_close(visit); /* cut off, as the client can see by its length */
    } else {
        visit_reply(visit, 502, why);
    }
}

static void end_exchange(struct visit *visit)
{
    if (visit->closes || !visit->up_over) {
        visit_reply(visit, 0, NULL);
    } else {
        visit_next(visit);
    }
}

static void pass_answer_body(struct visit *visit, struct str_view data)
{
    size_t taken = 0;
    enum body_result result = body_take(&visit->down, data, &taken);
    if (result == BODY_BAD) {
        fail_answer(visit, "");
        return;
    }
    if (taken > 0) {
        to_client(visit, str_from(data.ptr, taken));
    }
    if (result == BODY_DONE && is_open(visit)) {
        end_exchange(visit);
    }
}

/* The head is whole. true: it was not the last one (an interim answer, 1xx). */
static bool pass_answer_head(struct visit *visit, size_t head_bytes)
{
    struct head_answer answer;
    AUTO_BUF struct buf head = BUF_INIT((size_t)HEAD_ANSWER_BYTES_MAX * 2);
    const char *why =
        head_answer_parse(str_from(visit->answer.data, head_bytes), visit->to_head, &answer);
    if (why != NULL) {
        fail_answer(visit, "the host's answer is malformed");
        return false;
    }
    bool interim = answer.status < 200;
    if (interim && ++visit->interims > INTERIM_ANSWERS_MAX) {
        fail_answer(visit, "the host's interim answers do not end");
        return false;
    }
    visit->closes =
        visit->closes || (!interim && (answer.body.kind == FRAMING_CLOSE || !visit->up_over));
    head_answer_forward(&answer, visit->closes, &head);
    to_client(visit, buf_ok(&head) ? buf_view(&head) : STR_NONE);
    visit->answered = !interim;
    if (answer.bodiless) {
        answer.body.kind = FRAMING_NONE; /* what is told is the length of what is not sent */
    }
    if (!interim) {
        body_init(&visit->down, &answer.body, true);
    }
    return interim;
}

static void take_answer(struct visit *visit, struct str_view data)
{
    bool interim = true;
    buf_append_str(&visit->answer, data);
    while (interim && is_open(visit)) {
        enum head_scan found =
            head_scan(visit->answer.data, visit->answer.len, &visit->answer_scanned);
        if (found == HEAD_BAD || visit->answer_scanned > HEAD_ANSWER_BYTES_MAX
            || !buf_ok(&visit->answer)) {
            fail_answer(visit, "the host's answer is malformed");
            return;
        }
        if (found == HEAD_MORE) {
            return;
        }
        size_t head_bytes = visit->answer_scanned;
        visit->answer_scanned = 0;
        interim = pass_answer_head(visit, head_bytes);
        if (is_open(visit)) {
            visit->answer.len -= head_bytes;
            memmove(visit->answer.data, visit->answer.data + head_bytes, visit->answer.len);
        }
    }
    if (is_open(visit)) {
        AUTO_BUF struct buf rest = visit->answer;
        visit->answer = (struct buf)BUF_INIT(visit->answer.cap);
        pass_answer_body(visit, buf_view(&rest));
    }
}

static void end_answer(struct visit *visit)
{
    if (visit->answered && visit->down.kind == FRAMING_CLOSE) {
        end_exchange(visit);
    } else {
        fail_answer(visit, "the host closed the connection without an answer");
    }
}

/* ---- Both ---- */

static void take_from_client(struct visit *visit, struct str_view data)
{
    size_t taken = 0;
    if (visit->stage == VISIT_TUNNEL) {
        if (visit->awaits_hello) {
            take_hello(visit, data);
        } else {
            to_server(visit, data);
        }
        return;
    }
    take_body(visit, data, &taken);
    if (is_open(visit)) {
        buf_append(&visit->in, data.ptr + taken, data.len - taken);
    }
}

static void client_ended(struct visit *visit)
{
    if (visit->stage == VISIT_EXCHANGE) {
        visit_close(visit); /* in the middle of its request */
        return;
    }
    if (visit->awaits_hello) {
        look_at_hello(visit);
    }
    if (is_open(visit)) {
        side_end_writing(&visit->server);
    }
}

static bool wants_client(const struct visit *visit)
{
    return is_open(visit) && !visit->client.read_ended && !side_has_pending(&visit->server)
        && (visit->stage == VISIT_TUNNEL || !visit->up_over);
}

static bool wants_server(const struct visit *visit)
{
    return is_open(visit) && !visit->server.read_ended && !side_has_pending(&visit->client);
}

void visit_from_client(struct visit *visit)
{
    char *scratch = visit->gate->proxy->scratch;
    size_t got = 1;
    for (int turn = 0; turn < TURNS && got > 0 && wants_client(visit); turn++) {
        size_t room = visit->stage == VISIT_EXCHANGE ? body_room(visit) : PROXY_READ_BYTES;
        room = visit->awaits_hello ? HELLO_BYTES_MAX - visit->in.len : room;
        if (!side_read(&visit->client, scratch, room, &got)) {
            visit_close(visit);
        } else if (visit->client.read_ended) {
            client_ended(visit);
        } else if (got > 0) {
            take_from_client(visit, str_from(scratch, got));
        }
    }
    end_tunnel_if_over(visit);
}

static void take_from_server(struct visit *visit, struct str_view data)
{
    count_in(visit, data.len);
    if (visit->stage == VISIT_TUNNEL) {
        to_client(visit, data);
    } else if (visit->answered) {
        pass_answer_body(visit, data);
    } else {
        take_answer(visit, data);
    }
}

void visit_from_server(struct visit *visit)
{
    char *scratch = visit->gate->proxy->scratch;
    size_t got = 1;
    for (int turn = 0; turn < TURNS && got > 0 && wants_server(visit); turn++) {
        bool good = side_read(&visit->server, scratch, PROXY_READ_BYTES, &got);
        if (!good && visit->stage == VISIT_EXCHANGE) {
            fail_answer(visit, "the connection to the host broke");
        } else if (!good) {
            visit_close(visit);
        } else if (visit->server.read_ended && visit->stage == VISIT_EXCHANGE) {
            end_answer(visit);
        } else if (visit->server.read_ended) {
            side_end_writing(&visit->client);
        } else if (got > 0) {
            take_from_server(visit, str_from(scratch, got));
        }
    }
    end_tunnel_if_over(visit);
}

void visit_relay(struct visit *visit)
{
    if (visit->stage == VISIT_TUNNEL) {
        begin_tunnel(visit);
    } else {
        begin_exchange(visit);
    }
}

void visit_watch(struct visit *visit)
{
    bool client = wants_client(visit) || visit->stage == VISIT_REPLY
        || (visit->stage == VISIT_HEAD && !side_has_pending(&visit->client));
    if (visit->stage == VISIT_OVER) {
        return;
    }
    if (!side_watch(&visit->client, client) || !side_watch(&visit->server, wants_server(visit))) {
        visit_close(visit);
    }
}
