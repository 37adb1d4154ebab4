/*
 * First contact of an agent or a command line that holds nothing but the SHA-256 of its server's
 * CA: one TLS handshake whose chain is checked against that pin, by hand, before anything is sent.
 */
#include "common/base/cleanup.h"
#include "common/rpc/client.h"
#include "common/rpc/door/address.h"
#include "common/sys/fd.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
    HOST_BYTES = 256,
    CHAIN_MAX = 16
};

struct pin_target {
    const char *text;
    char host[ADDRESS_HOST_BYTES];
    char port[8];
    struct mono_us deadline;
};

static void ssl_destroy(SSL **ssl)
{
    SSL_free(*ssl);
    ERR_clear_error();
}

static void ssl_context_destroy(SSL_CTX **context)
{
    SSL_CTX_free(*context);
}

static enum err_code parse_target(const char *text, struct pin_target *target, struct err_info *err)
{
    uint16_t port = 0;
    if (str_has_prefix(str_of(text), STR("unix:"))) {
        return ERR_SET(err, ERR_UNSUPPORTED, "%s: a Unix socket has no certificate", text);
    }
    if (address_parse(str_of(text), target->host, &port) != ERR_OK || port == 0) {
        return ERR_SET(err, ERR_INVALID, "%s: host:port or [v6]:port expected", text);
    }
    (void)snprintf(target->port, sizeof(target->port), "%u", port);
    target->text = text;
    return ERR_OK;
}

/* 0: the deadline has passed. */
static int left_ms(const struct pin_target *target)
{
    int64_t left_us = target->deadline.value - clock_mono(clock_system()).value;
    int64_t ms = (left_us + US_PER_MS - 1) / US_PER_MS;
    return left_us <= 0 ? 0 : ms > 3600000 ? 3600000 : (int)ms;
}

static enum err_code wait_ready(
    const struct pin_target *target, int fd, short events, struct err_info *err)
{
    for (;;) {
        struct pollfd poll_fd = { .fd = fd, .events = events };
        int ms = left_ms(target);
        int count = ms == 0 ? 0 : poll(&poll_fd, 1, ms);
        if (count > 0) {
            return ERR_OK;
        }
        if (count == 0) {
            return ERR_SET(err, ERR_TIMEOUT, "%s did not answer in time", target->text);
        }
        if (errno != EINTR) {
            return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "poll");
        }
    }
}

static enum err_code connect_one(
    const struct pin_target *target, const struct addrinfo *info, int *ret_fd, struct err_info *err)
{
    AUTO_FD int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", target->text);
    }
    if (connect(fd, info->ai_addr, info->ai_addrlen) != 0) {
        if (errno != EINPROGRESS) {
            return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "connecting to %s", target->text);
        }
        TRY(wait_ready(target, fd, POLLOUT, err));
        int number = 0;
        socklen_t bytes = sizeof(number);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &bytes) != 0 || number != 0) {
            return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, number, "connecting to %s", target->text);
        }
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

/*
 * A look-up on a thread of its own, since the resolver knows no deadline but its own: one that
 * comes too late is thrown away by its thread.
 */
struct lookup {
    atomic_uint refs; /* the caller's and the thread's */
    struct thread thread;
    struct lock lock;
    struct lock_cond changed;
    bool done;
    int failed;
    struct addrinfo *found;
    char host[ADDRESS_HOST_BYTES];
    char port[8];
};

static void lookup_unref(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->refs, 1) == 1) {
        if (lookup->found != NULL) {
            freeaddrinfo(lookup->found);
        }
        lock_cond_deinit(&lookup->changed);
        lock_deinit(&lookup->lock);
        mem_free(lookup);
    }
}

static void run_lookup(void *context)
{
    struct lookup *lookup = context;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(lookup->host, lookup->port, &hints, &found);
    lock_acquire(&lookup->lock);
    lookup->failed = failed;
    lookup->found = failed == 0 ? found : NULL;
    lookup->done = true;
    lock_cond_broadcast(&lookup->changed);
    lock_release(&lookup->lock);
    lookup_unref(lookup);
}

static bool wait_lookup(struct lookup *lookup, struct mono_us deadline)
{
    bool in_time = true;
    LOCK_GUARD(&lookup->lock);
    while (!lookup->done && in_time) {
        in_time = lock_cond_wait_until(&lookup->changed, &lookup->lock, deadline);
    }
    return lookup->done;
}

static struct lookup *lookup_create(const struct pin_target *target)
{
    struct lookup *lookup = mem_alloc(sizeof(*lookup));
    atomic_init(&lookup->refs, 2);
    lock_init(&lookup->lock, LOCK_RANK_LEAF);
    lock_cond_init(&lookup->changed);
    memcpy(lookup->host, target->host, sizeof(lookup->host));
    memcpy(lookup->port, target->port, sizeof(lookup->port));
    return lookup;
}

/* ret_found: freeaddrinfo. */
static enum err_code look_up(
    const struct pin_target *target, struct addrinfo **ret_found, struct err_info *err)
{
    struct lookup *lookup = lookup_create(target);
    enum err_code code = thread_start(&lookup->thread, "lookup", run_lookup, lookup, err);
    if (code != ERR_OK) {
        lookup_unref(lookup); /* the thread's */
    } else if (!wait_lookup(lookup, target->deadline)) {
        (void)pthread_detach(lookup->thread.handle);
        code = ERR_SET(err, ERR_TIMEOUT, "looking up %s took too long", target->host);
    } else {
        thread_join(&lookup->thread);
        code = lookup->failed == 0 ? ERR_OK
                                   : ERR_SET(
                                       err,
                                       ERR_UNAVAILABLE,
                                       "looking up %s: %s",
                                       target->host,
                                       gai_strerror(lookup->failed));
        *ret_found = STEAL(lookup->found);
    }
    lookup_unref(lookup);
    return code;
}

/* The first address that answers. */
static enum err_code connect_target(
    const struct pin_target *target, int *ret_fd, struct err_info *err)
{
    struct addrinfo *found = NULL;
    TRY(look_up(target, &found, err));
    enum err_code code = ERR_UNAVAILABLE;
    for (const struct addrinfo *info = found; info != NULL && code == ERR_UNAVAILABLE;
         info = info->ai_next) {
        code = connect_one(target, info, ret_fd, err);
    }
    freeaddrinfo(found);
    return code;
}

static enum err_code no_http2(const struct pin_target *target, struct err_info *err)
{
    return ERR_SET(
        err, ERR_UNSUPPORTED, "%s speaks TLS but not HTTP/2: is a proxy in between?", target->text);
}

static enum err_code explain_failure(const struct pin_target *target, struct err_info *err)
{
    unsigned long code = ERR_peek_error();
    if (ERR_GET_LIB(code) != ERR_LIB_SSL) {
        return ERR_SET(
            err, ERR_UNAVAILABLE, "%s closed the connection during the handshake", target->text);
    }
    switch (ERR_GET_REASON(code)) {
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
        return no_http2(target, err);
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_BAD_RECORD_TYPE:
        return ERR_SET(err, ERR_UNSUPPORTED, "%s does not speak TLS", target->text);
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return ERR_SET(
            err, ERR_UNAVAILABLE, "%s closed the connection during the handshake", target->text);
    default:
        break;
    }
    const char *reason = ERR_reason_error_string(code);
    return ERR_SET(
        err,
        ERR_UNSUPPORTED,
        "TLS with %s failed: %s",
        target->text,
        reason == NULL ? "no detail" : reason);
}

static enum err_code shake_hands(
    const struct pin_target *target, SSL *ssl, int fd, struct err_info *err)
{
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(ssl);
        if (result == 1) {
            break;
        }
        int reason = SSL_get_error(ssl, result);
        if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) {
            return explain_failure(target, err);
        }
        TRY(wait_ready(target, fd, reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, err));
    }
    const unsigned char *protocol = NULL;
    unsigned bytes = 0;
    SSL_get0_alpn_selected(ssl, &protocol, &bytes);
    return bytes == 2 && memcmp(protocol, "h2", 2) == 0 ? ERR_OK : no_http2(target, err);
}

static SSL_CTX *create_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context != NULL) {
        static const unsigned char h2[] = { 2, 'h', '2' };
        /* Nothing is trusted by the handshake: the chain is checked against the pin afterwards. */
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1
            || SSL_CTX_set_alpn_protos(context, h2, sizeof(h2)) != 0) {
            SSL_CTX_free(context);
            context = NULL;
        }
    }
    return context;
}

static bool is_address(const char *host)
{
    struct in6_addr any;
    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

/* The CA certificate in the chain that has this fingerprint; borrowed; NULL: none. */
static X509 *find_pinned(const STACK_OF(X509) * chain, const uint8_t pin[32])
{
    for (int i = 0; i < sk_X509_num(chain) && i < CHAIN_MAX; i++) {
        X509 *certificate = sk_X509_value(chain, i);
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned bytes = 0;
        if (X509_digest(certificate, EVP_sha256(), digest, &bytes) == 1 && bytes == 32
            && memcmp(digest, pin, 32) == 0) {
            return X509_check_ca(certificate) == 1 ? certificate : NULL;
        }
    }
    return NULL;
}

/* The text of what is wrong with the chain up to ca; NULL: nothing. */
static const char *verify_chain(STACK_OF(X509) * chain, X509 *ca)
{
    const char *problem = "out of memory";
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    if (store != NULL && context != NULL && X509_STORE_add_cert(store, ca) == 1
        && X509_STORE_CTX_init(context, store, sk_X509_value(chain, 0), chain) == 1
        && X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER) == 1) {
        problem = X509_verify_cert(context) == 1
            ? NULL
            : X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return problem;
}

static enum err_code format_pem(X509 *certificate, char **ret_pem, struct err_info *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    long bytes = 0;
    if (bio != NULL && PEM_write_bio_X509(bio, certificate) == 1) {
        bytes = BIO_get_mem_data(bio, &data);
    }
    if (bytes > 0) {
        *ret_pem = mem_printf("%.*s", (int)bytes, data);
    }
    BIO_free(bio);
    return bytes > 0 ? ERR_OK : ERR_SET(err, ERR_NOMEM, "writing a certificate");
}

static enum err_code take_ca(
    const struct pin_target *target,
    SSL *ssl,
    const uint8_t pin[32],
    char **ret_pem,
    struct err_info *err)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    X509 *ca = chain == NULL ? NULL : find_pinned(chain, pin);
    if (ca == NULL) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "%s shows certificates of another CA than the one expected",
            target->text);
    }
    const char *problem = verify_chain(chain, ca);
    if (problem != NULL) {
        return ERR_SET(
            err, ERR_DENIED, "the certificate of %s is not valid: %s", target->text, problem);
    }
    return format_pem(ca, ret_pem, err);
}

static enum err_code fetch(
    struct pin_target *target, const uint8_t pin[32], char **ret_pem, struct err_info *err)
{
    AUTO_FD int fd = -1;
    TRY(connect_target(target, &fd, err));
    AUTO(ssl_context_destroy) SSL_CTX *context = create_context();
    AUTO(ssl_destroy) SSL *ssl = context == NULL ? NULL : SSL_new(context);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        return ERR_SET(err, ERR_NOMEM, "TLS session");
    }
    if (!is_address(target->host) && SSL_set_tlsext_host_name(ssl, target->host) != 1) {
        return ERR_SET(err, ERR_INVALID, "%s: not a host name", target->host);
    }
    TRY(shake_hands(target, ssl, fd, err));
    return take_ca(target, ssl, pin, ret_pem, err);
}

/* Takes away a SIGPIPE that came while it was blocked, and restores the mask. */
static void restore_signals(const sigset_t *pipe_only, const sigset_t *before)
{
    const struct timespec at_once = { 0 };
    if (sigismember(before, SIGPIPE) == 0) {
        (void)sigtimedwait(pipe_only, NULL, &at_once);
    }
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

enum err_code rpc_fetch_pinned_ca(
    const char *target,
    const uint8_t pin[32],
    int64_t timeout_us,
    char **ret_pem,
    struct err_info *err)
{
    struct pin_target peer = { 0 };
    TRY(parse_target(target, &peer, err));
    peer.deadline.value = clock_mono(clock_system()).value + timeout_us;
    /* OpenSSL writes to sockets without MSG_NOSIGNAL, and the caller may not ignore the signal. */
    sigset_t pipe_only;
    sigset_t before;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    enum err_code code = fetch(&peer, pin, ret_pem, err);
    restore_signals(&pipe_only, &before);
    return code;
}
