#include "tools/bench/storm/acceptor.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    EVENTS_PER_TURN = 256
};

struct acceptor {
    SSL_CTX *tls;
    int listener;
    int epoll;
};

struct conn {
    int fd;
    SSL *ssl;
};

static int select_h2(
    SSL *ssl,
    const unsigned char **out,
    unsigned char *out_bytes,
    const unsigned char *in,
    unsigned in_bytes,
    void *context)
{
    static const unsigned char h2[] = { 2, 'h', '2' };
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)context;
    int found = SSL_select_next_proto(&chosen, out_bytes, h2, sizeof(h2), in, in_bytes);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A handshake of the same kind as the door's: TLS 1.3, no tickets, no cache. */
static bool open_tls(struct acceptor *acceptor, char *const *argv)
{
    acceptor->tls = SSL_CTX_new(TLS_server_method());
    if (acceptor->tls == NULL || SSL_CTX_use_certificate_chain_file(acceptor->tls, argv[0]) != 1
        || SSL_CTX_use_PrivateKey_file(acceptor->tls, argv[1], SSL_FILETYPE_PEM) != 1) {
        return false;
    }
    (void)SSL_CTX_set_min_proto_version(acceptor->tls, TLS1_2_VERSION);
    (void)SSL_CTX_set_mode(acceptor->tls, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(acceptor->tls, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(acceptor->tls, 0);
    SSL_CTX_set_alpn_select_cb(acceptor->tls, select_h2, NULL);
    return true;
}

static bool open_listener(struct acceptor *acceptor, uint16_t *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t bytes = sizeof(address);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    acceptor->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    acceptor->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (acceptor->listener < 0
        || bind(acceptor->listener, (const struct sockaddr *)&address, bytes) != 0
        || listen(acceptor->listener, BACKLOG) != 0
        || getsockname(acceptor->listener, (struct sockaddr *)&address, &bytes) != 0
        || epoll_ctl(acceptor->epoll, EPOLL_CTL_ADD, acceptor->listener, &event) != 0) {
        return false;
    }
    *ret_port = ntohs(address.sin_port);
    return true;
}

static void drop(struct conn *conn)
{
    SSL_free(conn->ssl);
    fd_close(&conn->fd);
    mem_free(conn);
}

static void accept_all(struct acceptor *acceptor)
{
    for (;;) {
        int on = 1;
        int fd = accept4(acceptor->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct conn *conn = mem_alloc(sizeof(*conn));
        conn->fd = fd;
        conn->ssl = SSL_new(acceptor->tls);
        SSL_set_accept_state(conn->ssl);
        (void)SSL_set_fd(conn->ssl, fd);
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };
        if (epoll_ctl(acceptor->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            drop(conn);
        }
    }
}

static void on_readable(struct conn *conn)
{
    char byte = 0;
    size_t got = 0;
    int result = SSL_is_init_finished(conn->ssl) ? SSL_read_ex(conn->ssl, &byte, 1, &got)
                                                 : SSL_do_handshake(conn->ssl);
    if (result != 1 && SSL_get_error(conn->ssl, result) != SSL_ERROR_WANT_READ) {
        drop(conn);
    }
}

int acceptor_main(char *const *argv)
{
    struct acceptor acceptor = { .listener = -1, .epoll = -1 };
    struct epoll_event events[EVENTS_PER_TURN];
    uint16_t port = 0;
    (void)fd_raise_limit();
    if (!open_tls(&acceptor, argv) || !open_listener(&acceptor, &port)) {
        return 1;
    }
    (void)printf("{\"event\":\"ready\",\"port\":%u}\n", (unsigned)port);
    (void)fflush(stdout);
    for (;;) {
        int count = epoll_wait(acceptor.epoll, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accept_all(&acceptor);
            } else {
                on_readable(events[i].data.ptr);
            }
        }
    }
}
