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
    TURNS = 4,                /* reads in one turn of the loop, so that no connection holds it */
    CHUNKED_READ_BYTES = 8192 /* what follows the last chunk must fit conn.in */
};

static bool is_open(const struct conn *conn)
{
    return conn->stage == CONN_TUNNEL || conn->stage == CONN_EXCHANGE;
}

static void touch(struct conn *conn)
{
    conn->active = loop_now(conn->gate->proxy->options.loop);
}

static void count_out(struct conn *conn, size_t bytes)
{
    conn->gate->usage.out_bytes += bytes;
    conn->row->out_bytes += bytes;
    touch(conn);
}

static void count_in(struct conn *conn, size_t bytes)
{
    conn->gate->usage.in_bytes += bytes;
    conn->row->in_bytes += bytes;
    touch(conn);
}

static void to_server(struct conn *conn, struct str_view data)
{
    count_out(conn, data.len);
    if (!side_write(&conn->server, data)) {
        conn_close(conn);
    }
}

static void to_client(struct conn *conn, struct str_view data)
{
    if (!side_write(&conn->client, data)) {
        conn_close(conn);
    }
}

/* ---- Tunnels ---- */

/* A name that is asked for behind a name that is allowed would be a way around the rules. */
static const char *compare_name(const struct conn *conn, enum hello hello, const char *name)
{
    struct host host;
    if (hello == HELLO_BAD) {
        return "the tunnel's first bytes are a broken TLS hello";
    }
    if (conn->host.is_address || hello == HELLO_OTHER) {
        return NULL;
    }
    if (hello == HELLO_NAMELESS) {
        return "the TLS hello asks for no name";
    }
    if (host_parse(str_of(name), &host) != NULL || strcmp(host.name, conn->host.name) != 0) {
        return "the TLS hello asks for another name";
    }
    return NULL;
}

static void refuse_hello(struct conn *conn, const char *why)
{
    static const char alert[] = { 21, 3, 3, 0, 2, 2, 49 }; /* fatal: access_denied */
    conn->decision.verdict = RULES_DENY;
    (void)snprintf(conn->decision.reason, sizeof(conn->decision.reason), "%s", why);
    conn_tell(conn);
    to_client(conn, str_from(alert, sizeof(alert)));
    if (conn->stage != CONN_OVER) {
        conn_reply(conn, 0, NULL);
    }
}

static void look_at_hello(struct conn *conn)
{
    char name[HELLO_NAME_BYTES_MAX + 1] = "";
    enum hello hello = hello_parse(buf_view(&conn->in), name);
    if (hello == HELLO_MORE && !conn->client.read_ended && conn->in.len < HELLO_BYTES_MAX) {
        return;
    }
    const char *wrong =
        compare_name(conn, hello == HELLO_MORE && conn->in.len > 0 ? HELLO_BAD : hello, name);
    if (wrong != NULL && conn->in.len > 0) {
        refuse_hello(conn, wrong);
        return;
    }
    conn->awaits_hello = false;
    conn_arm(conn, conn->gate->proxy->options.idle_us);
    if (conn->in.len > 0) {
        to_server(conn, buf_view(&conn->in));
        buf_deinit(&conn->in);
    }
}

static void take_hello(struct conn *conn, struct str_view data)
{
    if (conn->in.len == 0 && data.len > 0) {
        conn_arm(conn, conn->gate->proxy->options.head_us);
    }
    buf_append_str(&conn->in, data);
    look_at_hello(conn);
}

static void begin_tunnel(struct conn *conn)
{
    conn->awaits_hello = conn->decision.compare_tls_name;
    to_client(conn, STR("HTTP/1.1 200 Connection established\r\n\r\n"));
    if (conn->in.len > 0 && conn->awaits_hello) {
        conn_arm(conn, conn->gate->proxy->options.head_us);
        look_at_hello(conn);
    } else if (conn->in.len > 0) {
        to_server(conn, buf_view(&conn->in));
        buf_deinit(&conn->in);
    }
}

static void end_tunnel_if_over(struct conn *conn)
{
    bool over = conn->client.read_ended && conn->server.read_ended
        && !side_has_pending(&conn->client) && !side_has_pending(&conn->server);
    if (conn->stage == CONN_TUNNEL && over) {
        conn_close(conn);
    }
}

/* ---- Exchanges: the request's body ---- */

static void take_body(struct conn *conn, struct str_view data, size_t *ret_taken)
{
    enum body_result result = body_take(&conn->up, data, ret_taken);
    if (result == BODY_BAD) {
        conn_tell_malformed(conn, "the chunks of the request's body are broken");
        conn_close(conn);
        return;
    }
    conn->up_over = result == BODY_DONE;
    if (*ret_taken > 0) {
        to_server(conn, str_from(data.ptr, *ret_taken));
    }
}

static size_t body_room(const struct conn *conn)
{
    if (conn->up.kind != FRAMING_LENGTH) {
        return CHUNKED_READ_BYTES;
    }
    return conn->up.left < PROXY_READ_BYTES ? (size_t)conn->up.left : PROXY_READ_BYTES;
}

static void begin_exchange(struct conn *conn)
{
    size_t taken = 0;
    to_server(conn, buf_view(&conn->out));
    buf_deinit(&conn->out);
    if (is_open(conn) && !conn->up_over && conn->in.len > 0) {
        take_body(conn, buf_view(&conn->in), &taken);
    }
    if (is_open(conn) && taken > 0) {
        conn_use(conn, taken);
    }
}

/* ---- Exchanges: the answer ---- */

static void fail_answer(struct conn *conn, const char *why)
{
    if (conn->answered) {
        conn_close(conn); /* cut off, as the client can see by its length */
    } else {
        conn_reply(conn, 502, why);
    }
}

static void end_exchange(struct conn *conn)
{
    if (conn->closes || !conn->up_over) {
        conn_reply(conn, 0, NULL);
    } else {
        conn_next(conn);
    }
}

static void pass_answer_body(struct conn *conn, struct str_view data)
{
    size_t taken = 0;
    enum body_result result = body_take(&conn->down, data, &taken);
    if (result == BODY_BAD) {
        fail_answer(conn, "");
        return;
    }
    if (taken > 0) {
        to_client(conn, str_from(data.ptr, taken));
    }
    if (result == BODY_DONE && is_open(conn)) {
        end_exchange(conn);
    }
}

/* The head is whole. true: it was not the last one (an interim answer, 1xx). */
static bool pass_answer_head(struct conn *conn, size_t head_bytes)
{
    struct head_answer answer;
    AUTO_BUF struct buf head = BUF_INIT((size_t)HEAD_ANSWER_BYTES_MAX * 2);
    const char *why =
        head_answer_parse(str_from(conn->answer.data, head_bytes), conn->to_head, &answer);
    if (why != NULL) {
        fail_answer(conn, "the host's answer is malformed");
        return false;
    }
    bool interim = answer.status < 200;
    conn->closes =
        conn->closes || (!interim && (answer.body.kind == FRAMING_CLOSE || !conn->up_over));
    head_answer_forward(&answer, conn->closes, &head);
    to_client(conn, buf_ok(&head) ? buf_view(&head) : STR_NONE);
    conn->answered = !interim;
    if (answer.bodiless) {
        answer.body.kind = FRAMING_NONE; /* what is told is the length of what is not sent */
    }
    if (!interim) {
        body_init(&conn->down, &answer.body, true);
    }
    return interim;
}

static void take_answer(struct conn *conn, struct str_view data)
{
    bool interim = true;
    buf_append_str(&conn->answer, data);
    while (interim && is_open(conn)) {
        enum head_scan found =
            head_scan(conn->answer.data, conn->answer.len, &conn->answer_scanned);
        if (found == HEAD_BAD || conn->answer_scanned > HEAD_ANSWER_BYTES_MAX
            || !buf_ok(&conn->answer)) {
            fail_answer(conn, "the host's answer is malformed");
            return;
        }
        if (found == HEAD_MORE) {
            return;
        }
        size_t head_bytes = conn->answer_scanned;
        conn->answer_scanned = 0;
        interim = pass_answer_head(conn, head_bytes);
        if (is_open(conn)) {
            conn->answer.len -= head_bytes;
            memmove(conn->answer.data, conn->answer.data + head_bytes, conn->answer.len);
        }
    }
    if (is_open(conn)) {
        AUTO_BUF struct buf rest = conn->answer;
        conn->answer = (struct buf)BUF_INIT(conn->answer.cap);
        pass_answer_body(conn, buf_view(&rest));
    }
}

static void end_answer(struct conn *conn)
{
    if (conn->answered && conn->down.kind == FRAMING_CLOSE) {
        end_exchange(conn);
    } else {
        fail_answer(conn, "the host closed the connection without an answer");
    }
}

/* ---- Both ---- */

static void take_from_client(struct conn *conn, struct str_view data)
{
    size_t taken = 0;
    if (conn->stage == CONN_TUNNEL) {
        if (conn->awaits_hello) {
            take_hello(conn, data);
        } else {
            to_server(conn, data);
        }
        return;
    }
    take_body(conn, data, &taken);
    if (is_open(conn)) {
        buf_append(&conn->in, data.ptr + taken, data.len - taken);
    }
}

static void client_ended(struct conn *conn)
{
    if (conn->stage == CONN_EXCHANGE) {
        conn_close(conn); /* in the middle of its request */
        return;
    }
    if (conn->awaits_hello) {
        look_at_hello(conn);
    }
    if (is_open(conn)) {
        side_end_writing(&conn->server);
    }
}

static bool wants_client(const struct conn *conn)
{
    return is_open(conn) && !conn->client.read_ended && !side_has_pending(&conn->server)
        && (conn->stage == CONN_TUNNEL || !conn->up_over);
}

static bool wants_server(const struct conn *conn)
{
    return is_open(conn) && !conn->server.read_ended && !side_has_pending(&conn->client);
}

void relay_client(struct conn *conn)
{
    char *scratch = conn->gate->proxy->scratch;
    size_t got = 1;
    for (int turn = 0; turn < TURNS && got > 0 && wants_client(conn); turn++) {
        size_t room = conn->stage == CONN_EXCHANGE ? body_room(conn) : PROXY_READ_BYTES;
        room = conn->awaits_hello ? HELLO_BYTES_MAX - conn->in.len : room;
        if (!side_read(&conn->client, scratch, room, &got)) {
            conn_close(conn);
        } else if (conn->client.read_ended) {
            client_ended(conn);
        } else if (got > 0) {
            take_from_client(conn, str_from(scratch, got));
        }
    }
    end_tunnel_if_over(conn);
}

static void take_from_server(struct conn *conn, struct str_view data)
{
    count_in(conn, data.len);
    if (conn->stage == CONN_TUNNEL) {
        to_client(conn, data);
    } else if (conn->answered) {
        pass_answer_body(conn, data);
    } else {
        take_answer(conn, data);
    }
}

void relay_server(struct conn *conn)
{
    char *scratch = conn->gate->proxy->scratch;
    size_t got = 1;
    for (int turn = 0; turn < TURNS && got > 0 && wants_server(conn); turn++) {
        bool good = side_read(&conn->server, scratch, PROXY_READ_BYTES, &got);
        if (!good && conn->stage == CONN_EXCHANGE) {
            fail_answer(conn, "the connection to the host broke");
        } else if (!good) {
            conn_close(conn);
        } else if (conn->server.read_ended && conn->stage == CONN_EXCHANGE) {
            end_answer(conn);
        } else if (conn->server.read_ended) {
            side_end_writing(&conn->client);
        } else if (got > 0) {
            take_from_server(conn, str_from(scratch, got));
        }
    }
    end_tunnel_if_over(conn);
}

void relay_begin(struct conn *conn)
{
    if (conn->stage == CONN_TUNNEL) {
        begin_tunnel(conn);
    } else {
        begin_exchange(conn);
    }
}

void relay_watch(struct conn *conn)
{
    bool client = wants_client(conn) || conn->stage == CONN_REPLY
        || (conn->stage == CONN_HEAD && !side_has_pending(&conn->client));
    if (conn->stage == CONN_OVER) {
        return;
    }
    if (!side_watch(&conn->client, client) || !side_watch(&conn->server, wants_server(conn))) {
        conn_close(conn);
    }
}
