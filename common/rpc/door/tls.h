/*
 * TLS of the door: server contexts (TLS 1.2 and 1.3, HTTP/2 by ALPN only, no tickets, no
 * renegotiation, buffers released while idle, client certificates as asked) and sessions on
 * non-blocking sockets. A context is shared by reference: sessions keep the one they began with, so
 * a listener swaps its context live. Contexts may be used from any thread, a session from one.
 */
#ifndef COMMON_RPC_DOOR_TLS_H
#define COMMON_RPC_DOOR_TLS_H

#include "common/rpc/peer.h"
#include "common/rpc/server.h"

struct tls_context;
struct tls_session;

/* ERR_INVALID: the certificate, key or CA cannot be read, or do not belong together. */
enum err_code tls_context_create(
    const struct rpc_tls_files *files,
    struct tls_context **ret_context,
    struct err_info *err) MUST_CHECK;
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* NULL is allowed */

enum tls_result {
    TLS_DONE,
    TLS_WANT_READ,
    TLS_WANT_WRITE,
    TLS_CLOSED, /* the peer said so */
    TLS_FAILED
};

/* fd stays the caller's and must outlive the session; NULL: out of memory. */
struct tls_session *tls_session_create(struct tls_context *context, int fd);
void tls_session_destroy(struct tls_session *session); /* NULL is allowed */

/* TLS_DONE: finished, and HTTP/2 was agreed (without it the result is TLS_FAILED). */
enum tls_result tls_session_handshake(struct tls_session *session);

/* Puts the name and fingerprint of a verified client certificate into peer. */
void tls_session_identify(const struct tls_session *session, struct rpc_peer *peer);

/* TLS_DONE with at least one byte. Read until another result: epoll does not see bytes held inside.
 */
enum tls_result tls_session_read(
    struct tls_session *session, uint8_t *data, size_t bytes, size_t *ret_bytes) MUST_CHECK;

/* TLS_DONE: some bytes were taken. After a WANT the same bytes (or more behind them) must come
 * again. */
enum tls_result tls_session_write(
    struct tls_session *session, const uint8_t *data, size_t bytes, size_t *ret_bytes) MUST_CHECK;

void tls_session_close(struct tls_session *session); /* sends close_notify if the socket takes it */

/* Text of the last failure on this thread; clears it. */
const char *tls_last_error(void);

#endif
