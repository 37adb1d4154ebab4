#include "tools/bench/raw/raw.h"

#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/sys/fd.h"
#include "tools/bench/raw/frames.h"

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_PER_TURN = 256,
    READ_BYTES = 16 * 1024,
    WRITE_BYTES_MAX = 4096,
    WAIT_MS_MAX = 20,
    ANSWER_BYTES_MAX = 64 * 1024,
    PREFIX_BYTES = 5 /* of a gRPC message */
};

enum conn_state {
    CONN_NONE,
    CONN_CONNECTING,
    CONN_SHAKING,
    CONN_OPEN, /* the request was sent */
    CONN_LIVE
};

struct conn {
    struct raw_fleet *fleet;
    enum conn_state state;
    int fd;
    SSL *ssl;
    struct frame_reader reader;
    uint32_t next_stream;
    struct buf answer; /* of a dialogue: what has come on the newest stream */
};

struct raw_fleet {
    const struct raw_plan *plan;
    int epoll;
    SSL_CTX *tls;
    struct conn *conns;
    unsigned started;
    unsigned on_the_way;
    unsigned live;
    unsigned lost;
    uint64_t answered;
    int64_t last_live_us;
    uint8_t in[READ_BYTES];
};

static int64_t now_us(void)
{
    return clock_mono(clock_system()).value;
}

static void lose(struct conn *conn)
{
    struct raw_fleet *fleet = conn->fleet;
    if (conn->state == CONN_NONE) {
        return;
    }
    if (conn->state == CONN_LIVE) {
        fleet->live--;
    } else {
        fleet->on_the_way--;
    }
    conn->state = CONN_NONE;
    SSL_free(STEAL(conn->ssl));
    fd_close(&conn->fd);
    fleet->lost++;
}

static void become_live(struct conn *conn)
{
    struct raw_fleet *fleet = conn->fleet;
    conn->state = CONN_LIVE;
    fleet->on_the_way--;
    fleet->live++;
    fleet->last_live_us = now_us();
}

/* All of it or nothing: what is written here fits every socket's buffer. */
static void write_all(struct conn *conn, struct str_view bytes)
{
    size_t done = 0;
    if (conn->ssl != NULL) {
        if (SSL_write_ex(conn->ssl, bytes.ptr, bytes.len, &done) != 1) {
            done = 0;
        }
    } else {
        ssize_t sent = send(conn->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        done = sent < 0 ? 0 : (size_t)sent;
    }
    if (done < bytes.len) {
        lose(conn);
    }
}

static unsigned number_of(const struct conn *conn)
{
    return (unsigned)(conn - conn->fleet->conns);
}

/* answer: of the request before; STR_NONE: there was none. */
static void say_next(struct conn *conn, struct str_view answer)
{
    const struct raw_plan *plan = conn->fleet->plan;
    AUTO_BUF struct buf message = BUF_INIT(WRITE_BYTES_MAX);
    AUTO_BUF struct buf out = BUF_INIT(2 * WRITE_BYTES_MAX);
    struct raw_said said = { .message = &message };
    if (plan->dialogue.next(plan->dialogue.context, number_of(conn), answer, &said) != ERR_OK) {
        lose(conn);
        return;
    }
    if (said.path == NULL) {
        become_live(conn);
        return;
    }
    const struct frame_request request = { .path = said.path,
                                           .token = said.token,
                                           .spells_token = true,
                                           .message = buf_view(&message),
                                           .is_tls = plan->is_tls,
                                           .ends = said.ends };
    bool is_first = conn->next_stream == 0;
    conn->next_stream = is_first ? 1 : conn->next_stream + 2;
    if (is_first) {
        frame_preface(&out);
    }
    frame_request(&out, &request, conn->next_stream);
    conn->state = CONN_OPEN;
    write_all(conn, buf_view(&out));
}

/* The message of a dialogue's answer, once it is there as a whole. */
static void take_answer(struct conn *conn)
{
    const uint8_t *head = (const uint8_t *)conn->answer.data;
    if (conn->answer.len < PREFIX_BYTES) {
        return;
    }
    size_t bytes = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    if (conn->answer.len - PREFIX_BYTES < bytes) {
        return;
    }
    struct buf whole = conn->answer;
    conn->answer = (struct buf)BUF_INIT(ANSWER_BYTES_MAX);
    say_next(conn, str_from(whole.data + PREFIX_BYTES, bytes));
    buf_deinit(&whole);
}

/* Of a dialogue: true, the frame was its. What else comes on a stream that was answered is not. */
static bool take_dialogue(struct conn *conn, const struct frame *frame)
{
    if (conn->fleet->plan->dialogue.next == NULL
        || (frame->type != FRAME_DATA && frame->type != FRAME_HEADERS)) {
        return false;
    }
    bool is_due = conn->state == CONN_OPEN && frame->stream == conn->next_stream;
    if (is_due && frame->type == FRAME_DATA) {
        take_answer(conn);
    } else if (is_due && (frame->flags & FRAME_END_STREAM) != 0) {
        lose(conn); /* refused */
    }
    if (conn->state == CONN_LIVE) {
        buf_clear(&conn->answer);
    }
    return true;
}

static void on_frame(struct conn *conn, const struct frame *frame)
{
    AUTO_BUF struct buf out = BUF_INIT(WRITE_BYTES_MAX);
    bool is_ack = (frame->flags & FRAME_ACK) != 0;
    if (take_dialogue(conn, frame)) {
        return;
    }
    switch (frame->type) {
    case FRAME_SETTINGS:
        if (!is_ack) {
            frame_settings_ack(&out);
        }
        break;
    case FRAME_PING:
        if (!is_ack) {
            frame_ping_ack(&out, frame->kept);
        }
        break;
    case FRAME_DATA:
        if (frame->stream == 1 && conn->state == CONN_OPEN) {
            become_live(conn);
        }
        break;
    case FRAME_HEADERS:
        if ((frame->flags & FRAME_END_STREAM) != 0 && frame->stream == 1) {
            lose(conn); /* the stream was refused or has ended */
        } else if ((frame->flags & FRAME_END_STREAM) != 0) {
            conn->fleet->answered++;
        }
        break;
    case FRAME_GOAWAY:
    case FRAME_RESET:
        lose(conn);
        break;
    default: /* WINDOW_UPDATE and others: we send too little to care */
        break;
    }
    if (out.len > 0 && conn->state != CONN_NONE) {
        write_all(conn, buf_view(&out));
    }
}

/* Bytes read, 0: none has come, -1: the end. */
static ssize_t read_some(struct conn *conn, uint8_t *data, size_t bytes)
{
    if (conn->ssl != NULL) {
        size_t got = 0;
        if (SSL_read_ex(conn->ssl, data, bytes, &got) == 1) {
            return (ssize_t)got;
        }
        return SSL_get_error(conn->ssl, 0) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    ssize_t got = recv(conn->fd, data, bytes, 0);
    if (got < 0) {
        return errno == EAGAIN ? 0 : -1;
    }
    return got == 0 ? -1 : got;
}

static void read_frames(struct conn *conn)
{
    ssize_t got = 0;
    while (conn->state != CONN_NONE && (got = read_some(conn, conn->fleet->in, READ_BYTES)) > 0) {
        const uint8_t *data = conn->fleet->in;
        size_t bytes = (size_t)got;
        while (conn->state != CONN_NONE && frame_read(&conn->reader, &data, &bytes)) {
            on_frame(conn, &conn->reader.frame);
        }
    }
    if (got < 0) {
        lose(conn);
    }
}

static struct str_view token_of(const struct conn *conn)
{
    const struct raw_plan *plan = conn->fleet->plan;
    return plan->tokens == NULL ? STR_NONE : plan->tokens[number_of(conn)];
}

static void open_stream(struct conn *conn)
{
    const struct raw_plan *plan = conn->fleet->plan;
    AUTO_BUF struct buf out = BUF_INIT(WRITE_BYTES_MAX);
    if (plan->dialogue.next != NULL) {
        conn->answer = (struct buf)BUF_INIT(ANSWER_BYTES_MAX);
        conn->reader.data = &conn->answer;
        say_next(conn, STR_NONE);
        return;
    }
    if (plan->path == NULL) {
        become_live(conn);
        return;
    }
    const struct frame_request request = {
        .path = plan->path, .token = token_of(conn), .message = plan->hello, .is_tls = plan->is_tls
    };
    frame_preface(&out);
    frame_request(&out, &request, 1);
    conn->next_stream = 3;
    conn->state = CONN_OPEN;
    write_all(conn, buf_view(&out));
}

static void set_events(struct conn *conn, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = conn };
    (void)epoll_ctl(conn->fleet->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static void shake(struct conn *conn)
{
    int result = conn->ssl == NULL ? 1 : SSL_do_handshake(conn->ssl);
    if (result == 1) {
        set_events(conn, EPOLLIN);
        open_stream(conn);
        return;
    }
    int why = SSL_get_error(conn->ssl, result);
    if (why == SSL_ERROR_WANT_READ) {
        set_events(conn, EPOLLIN);
    } else if (why == SSL_ERROR_WANT_WRITE) {
        set_events(conn, EPOLLIN | EPOLLOUT);
    } else {
        lose(conn);
    }
}

static void on_connected(struct conn *conn)
{
    int failed = 0;
    socklen_t bytes = sizeof(failed);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &failed, &bytes) != 0 || failed != 0) {
        lose(conn);
        return;
    }
    if (conn->fleet->tls != NULL) {
        conn->ssl = SSL_new(conn->fleet->tls);
        SSL_set_connect_state(conn->ssl);
        (void)SSL_set_fd(conn->ssl, conn->fd);
    }
    conn->state = CONN_SHAKING;
}

static void on_event(struct conn *conn)
{
    if (conn->state == CONN_CONNECTING) {
        on_connected(conn);
    }
    if (conn->state == CONN_SHAKING) {
        shake(conn);
    }
    if (conn->state == CONN_OPEN || conn->state == CONN_LIVE) {
        read_frames(conn);
    }
}

static void dial(struct conn *conn)
{
    const struct raw_plan *plan = conn->fleet->plan;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(plan->ports[number_of(conn) % plan->port_count]),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    conn->fleet->on_the_way++;
    conn->state = CONN_CONNECTING;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = conn };
    if (conn->fd < 0
        || (connect(conn->fd, (const struct sockaddr *)&address, sizeof(address)) != 0
            && errno != EINPROGRESS)
        || epoll_ctl(conn->fleet->epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0) {
        lose(conn);
        return;
    }
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* One look at what has come; waits at most until `until`. */
static void turn(struct raw_fleet *fleet, int64_t until)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int64_t left_ms = (until - now_us()) / US_PER_MS;
    int wait = left_ms < 0 ? 0 : left_ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int)left_ms;
    int count = epoll_wait(fleet->epoll, events, EVENTS_PER_TURN, wait);
    for (int i = 0; i < count; i++) {
        on_event(events[i].data.ptr);
    }
}

static enum err_code check_lost(const struct raw_fleet *fleet, struct err_info *err)
{
    return fleet->lost == 0
        ? ERR_OK
        : ERR_SET(err, ERR_UNAVAILABLE, "%u connections were refused or lost", fleet->lost);
}

enum err_code raw_connect(
    struct raw_fleet *fleet, int64_t timeout_us, int64_t *ret_us, struct err_info *err)
{
    const struct raw_plan *plan = fleet->plan;
    int64_t began = now_us();
    int64_t until = began + timeout_us;
    while (fleet->live < plan->count && fleet->lost == 0 && now_us() < until) {
        while (fleet->started < plan->count && fleet->on_the_way < plan->at_once) {
            dial(&fleet->conns[fleet->started++]);
        }
        turn(fleet, until);
    }
    TRY(check_lost(fleet, err));
    if (fleet->live < plan->count) {
        return ERR_SET(err, ERR_TIMEOUT, "%u of %u connections in time", fleet->live, plan->count);
    }
    *ret_us = fleet->last_live_us - began;
    return ERR_OK;
}

static void send_beat(struct conn *conn, const struct raw_beat *beat)
{
    AUTO_BUF struct buf out = BUF_INIT(WRITE_BYTES_MAX);
    if (conn->state != CONN_LIVE) {
        return;
    }
    if (beat->path == NULL) {
        frame_message(&out, 1, beat->message, false);
    } else {
        const struct frame_request request = { .path = beat->path,
                                               .token = token_of(conn),
                                               .message = beat->message,
                                               .is_tls = conn->fleet->plan->is_tls,
                                               .ends = true };
        frame_request(&out, &request, conn->next_stream);
        conn->next_stream += 2;
    }
    write_all(conn, buf_view(&out));
}

enum err_code raw_beat(
    struct raw_fleet *fleet,
    const struct raw_beat *beat,
    int64_t for_us,
    uint64_t *ret_count,
    struct err_info *err)
{
    uint64_t sent = 0;
    int64_t began = now_us();
    fleet->answered = 0;
    for (int64_t passed = 0; passed < for_us; passed = now_us() - began) {
        uint64_t wanted = (uint64_t)passed * fleet->plan->count / (uint64_t)beat->every_us;
        for (; sent < wanted; sent++) {
            send_beat(&fleet->conns[sent % fleet->plan->count], beat);
        }
        turn(fleet, now_us() + US_PER_MS);
    }
    TRY(raw_idle(fleet, US_PER_SECOND / 2, err));
    *ret_count = beat->path == NULL ? sent : fleet->answered;
    return ERR_OK;
}

enum err_code raw_idle(struct raw_fleet *fleet, int64_t for_us, struct err_info *err)
{
    int64_t until = now_us() + for_us;
    while (now_us() < until) {
        turn(fleet, until);
    }
    return check_lost(fleet, err);
}

static enum err_code open_tls(struct raw_fleet *fleet, struct err_info *err)
{
    static const unsigned char h2[] = { 2, 'h', '2' };

    fleet->tls = SSL_CTX_new(TLS_client_method());
    if (fleet->tls == NULL || SSL_CTX_set_alpn_protos(fleet->tls, h2, sizeof(h2)) != 0) {
        return ERR_SET(err, ERR_NOMEM, "TLS");
    }
    SSL_CTX_set_verify(fleet->tls, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_mode(fleet->tls, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(fleet->tls, SSL_SESS_CACHE_OFF);
    return ERR_OK;
}

enum err_code raw_open(
    const struct raw_plan *plan, struct raw_fleet **ret_fleet, struct err_info *err)
{
    struct raw_fleet *fleet = mem_alloc(sizeof(*fleet));
    fleet->plan = plan;
    fleet->conns = mem_alloc_array(plan->count, sizeof(*fleet->conns));
    for (unsigned i = 0; i < plan->count; i++) {
        fleet->conns[i].fleet = fleet;
        fleet->conns[i].fd = -1;
    }
    fleet->epoll = epoll_create1(EPOLL_CLOEXEC);
    enum err_code code = ERR_OK;
    if (fleet->epoll < 0 || fd_raise_limit() < plan->count + 64) {
        code = ERR_SET(err, ERR_LIMIT, "%u connections need more descriptors", plan->count);
    } else if (plan->is_tls) {
        code = open_tls(fleet, err);
    }
    if (code != ERR_OK) {
        raw_close(fleet);
        return code;
    }
    *ret_fleet = fleet;
    return ERR_OK;
}

void raw_close(struct raw_fleet *fleet)
{
    if (fleet == NULL) {
        return;
    }
    for (unsigned i = 0; i < fleet->plan->count; i++) {
        SSL_free(fleet->conns[i].ssl);
        fd_close(&fleet->conns[i].fd);
        buf_deinit(&fleet->conns[i].answer);
    }
    SSL_CTX_free(fleet->tls);
    fd_close(&fleet->epoll);
    mem_free(fleet->conns);
    mem_free(fleet);
}
