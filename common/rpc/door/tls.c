#include "common/rpc/door/tls.h"

#include "common/base/cleanup.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <stdatomic.h>
#include <string.h>

enum {
    VERIFY_DEPTH = 4,
    PEM_BYTES_MAX = 1024 * 1024,
    KEY_UPDATES_MAX = 1024
};

struct tls_context {
    atomic_uint references;
    SSL_CTX *ssl; /* sessions hold it by references of OpenSSL's own */
};

struct tls_session {
    SSL *ssl;
    unsigned key_updates; /* asked for by the peer: each costs us more than it costs him */
};

static const unsigned char alpn_h2[] = { 2, 'h', '2' };

const char *tls_last_error(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);
    ERR_clear_error();
    return text == NULL ? "no detail" : text;
}

static int select_alpn(
    SSL *ssl,
    const unsigned char **out,
    unsigned char *out_len,
    const unsigned char *in,
    unsigned in_len,
    void *context)
{
    (void)ssl;
    (void)context;
    for (unsigned at = 0; at < in_len; at += 1U + in[at]) {
        if (in[at] == 2 && in_len - at >= sizeof(alpn_h2)
            && memcmp(in + at, alpn_h2, sizeof(alpn_h2)) == 0) {
            *out = in + at + 1;
            *out_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Instead of asking for the password of an encrypted key.
 * NOLINTNEXTLINE(readability-non-const-parameter) */
static int refuse_password(char *out, int bytes, int writing, void *context)
{
    (void)out;
    (void)bytes;
    (void)writing;
    (void)context;
    return -1;
}

static BIO *open_pem(const char *pem)
{
    size_t bytes = pem == NULL ? 0 : strlen(pem);
    return bytes == 0 || bytes > PEM_BYTES_MAX ? NULL : BIO_new_mem_buf(pem, (int)bytes);
}

static enum err_code read_failed(const char *what, struct err_info *err)
{
    return ERR_SET(err, ERR_INVALID, "%s: %s", what, tls_last_error());
}

/* Leaf first, then the rest of the chain as it stands. */
static enum err_code use_chain(SSL_CTX *ssl, const char *pem, struct err_info *err)
{
    BIO *bio = open_pem(pem);
    X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
    bool fine = leaf != NULL && SSL_CTX_use_certificate(ssl, leaf) == 1;
    X509_free(leaf);
    while (fine) {
        X509 *next = PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
        if (next == NULL) {
            fine = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            break;
        }
        fine = SSL_CTX_add0_chain_cert(ssl, next) == 1;
        if (!fine) {
            X509_free(next);
        }
    }
    BIO_free(bio);
    if (!fine) {
        return read_failed("certificate chain", err);
    }
    ERR_clear_error();
    return ERR_OK;
}

static enum err_code use_key(SSL_CTX *ssl, const char *pem, struct err_info *err)
{
    BIO *bio = open_pem(pem);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, refuse_password, NULL);
    bool fine =
        key != NULL && SSL_CTX_use_PrivateKey(ssl, key) == 1 && SSL_CTX_check_private_key(ssl) == 1;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return fine ? ERR_OK : read_failed("private key", err);
}

static enum err_code use_client_ca(SSL_CTX *ssl, const char *pem, struct err_info *err)
{
    BIO *bio = open_pem(pem);
    unsigned count = 0;
    bool fine = bio != NULL;
    while (fine) {
        X509 *ca = PEM_read_bio_X509(bio, NULL, refuse_password, NULL);
        if (ca == NULL) {
            fine = count > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            break;
        }
        fine = X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), ca) == 1
            && SSL_CTX_add_client_CA(ssl, ca) == 1;
        X509_free(ca);
        count++;
    }
    BIO_free(bio);
    if (!fine) {
        return read_failed("client CA", err);
    }
    ERR_clear_error();
    return ERR_OK;
}

/* OpenSSL's parameters. NOLINTNEXTLINE(readability-function-size) */
static void count_key_updates(
    int writing, int version, int type, const void *data, size_t bytes, SSL *ssl, void *argument)
{
    (void)version;
    (void)ssl;
    struct tls_session *session = argument;
    const unsigned char *message = data;
    if (!writing && type == SSL3_RT_HANDSHAKE && bytes > 0 && message[0] == SSL3_MT_KEY_UPDATE
        && session != NULL) {
        session->key_updates++;
    }
}

static void set_options(SSL_CTX *ssl)
{
    SSL_CTX_set_options(
        ssl,
        SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
            | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(
        ssl,
        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
            | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Else one read call goes on for as long as a peer sends records without data (KeyUpdate). */
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_msg_callback(ssl, count_key_updates);
    SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
}

static bool set_versions(SSL_CTX *ssl)
{
    static const unsigned char session_context[] = "belay";
    char groups[] = "X25519:P-256:P-384"; /* the macro takes no const text */
    return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1
        && SSL_CTX_set_num_tickets(ssl, 0) == 1
        && SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1
        && SSL_CTX_set1_groups_list(ssl, groups) == 1
        && SSL_CTX_set_session_id_context(ssl, session_context, sizeof(session_context) - 1) == 1;
}

static enum err_code fill_context(
    SSL_CTX *ssl, const struct rpc_tls_files *files, struct err_info *err)
{
    set_options(ssl);
    if (!set_versions(ssl)) {
        return ERR_SET(err, ERR_INTERNAL, "TLS settings: %s", tls_last_error());
    }
    TRY(use_chain(ssl, files->certificate_pem, err));
    TRY(use_key(ssl, files->key_pem, err));
    if (files->client_ca_pem == NULL) {
        if (files->require_client_certificate) {
            return ERR_SET(err, ERR_INVALID, "client certificates need a client CA");
        }
        return ERR_OK;
    }
    TRY(use_client_ca(ssl, files->client_ca_pem, err));
    int mode = SSL_VERIFY_PEER;
    if (files->require_client_certificate) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(ssl, mode, NULL);
    SSL_CTX_set_verify_depth(ssl, VERIFY_DEPTH);
    return ERR_OK;
}

enum err_code tls_context_create(
    const struct rpc_tls_files *files, struct tls_context **ret_context, struct err_info *err)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (ssl == NULL) {
        return ERR_SET(err, ERR_NOMEM, "TLS context: %s", tls_last_error());
    }
    enum err_code code = fill_context(ssl, files, err);
    if (code != ERR_OK) {
        SSL_CTX_free(ssl);
        return code;
    }
    struct tls_context *context = mem_alloc(sizeof(*context));
    atomic_init(&context->references, 1);
    context->ssl = ssl;
    *ret_context = context;
    return ERR_OK;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    (void)atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context != NULL
        && atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) == 1) {
        SSL_CTX_free(context->ssl);
        mem_free(context);
    }
}

struct tls_session *tls_session_create(struct tls_context *context, int fd)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(context->ssl);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    struct tls_session *session = mem_alloc(sizeof(*session));
    session->ssl = ssl;
    SSL_set_msg_callback_arg(ssl, session);
    SSL_set_accept_state(ssl);
    return session;
}

void tls_session_destroy(struct tls_session *session)
{
    if (session != NULL) {
        SSL_free(session->ssl);
        mem_free(session);
    }
}

static enum tls_result result_of(struct tls_session *session, int returned)
{
    switch (SSL_get_error(session->ssl, returned)) {
    case SSL_ERROR_NONE:
        return TLS_DONE;
    case SSL_ERROR_WANT_READ:
        return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        return TLS_FAILED;
    }
}

enum tls_result tls_session_handshake(struct tls_session *session)
{
    ERR_clear_error();
    enum tls_result result = result_of(session, SSL_do_handshake(session->ssl));
    if (result != TLS_DONE) {
        return result;
    }
    const unsigned char *protocol = NULL;
    unsigned bytes = 0;
    SSL_get0_alpn_selected(session->ssl, &protocol, &bytes);
    return bytes == 2 && memcmp(protocol, "h2", 2) == 0 ? TLS_DONE : TLS_FAILED;
}

void tls_session_identify(const struct tls_session *session, struct rpc_peer *peer)
{
    X509 *certificate = SSL_get0_peer_certificate(session->ssl);
    if (certificate == NULL || SSL_get_verify_result(session->ssl) != X509_V_OK) {
        return;
    }
    unsigned bytes = 0;
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (X509_digest(certificate, EVP_sha256(), digest, &bytes) == 1
        && bytes == sizeof(peer->tls_fingerprint)) {
        memcpy(peer->tls_fingerprint, digest, bytes);
    }
    X509_NAME *name = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    ASN1_STRING *value = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    unsigned char *text = NULL;
    int length = value == NULL ? -1 : ASN1_STRING_to_UTF8(&text, value);
    /* A name that is too long, or holds a NUL, is no name. */
    if (length > 0
        && str_copy(
               str_from((const char *)text, (size_t)length),
               peer->tls_subject,
               sizeof(peer->tls_subject))
            != ERR_OK) {
        peer->tls_subject[0] = '\0';
    }
    OPENSSL_free(text);
    ERR_clear_error();
}

enum tls_result tls_session_read(
    struct tls_session *session, uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    ERR_clear_error();
    int returned = SSL_read_ex(session->ssl, data, bytes, ret_bytes);
    if (session->key_updates > KEY_UPDATES_MAX) {
        return TLS_FAILED;
    }
    return returned == 1 ? TLS_DONE : result_of(session, returned);
}

enum tls_result tls_session_write(
    struct tls_session *session, const uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    ERR_clear_error();
    int returned = SSL_write_ex(session->ssl, data, bytes, ret_bytes);
    return returned == 1 ? TLS_DONE : result_of(session, returned);
}

void tls_session_close(struct tls_session *session)
{
    ERR_clear_error();
    (void)SSL_shutdown(session->ssl);
    ERR_clear_error();
}
