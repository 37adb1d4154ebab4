/*
 * What cert.c and cert_store.c share: reading PEM into OpenSSL's objects, and their release by
 * scope. PEM that asks for a passphrase is refused; nothing here ever prompts.
 */
#ifndef COMMON_CRYPTO_CERT_PRIVATE_H
#define COMMON_CRYPTO_CERT_PRIVATE_H

#include "common/base/cleanup.h"
#include "common/crypto/cert.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    CERT_PEM_MAX_BYTES = 65536,
    CERT_CHAIN_MAX = 8
};

/* In every server certificate, so that agents can verify a server they reach by address. */
#define CERT_ALWAYS_NAME "belay-server"

static inline void cert_x509_free_(X509 **certificate)
{
    X509_free(*certificate);
}

static inline void cert_pkey_free_(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static inline void cert_bio_free_(BIO **bio)
{
    BIO_free_all(*bio);
}

#define AUTO_X509 AUTO(cert_x509_free_)
#define AUTO_PKEY AUTO(cert_pkey_free_)
#define AUTO_BIO  AUTO(cert_bio_free_)

/* ERR_CORRUPT with OpenSSL's reason; clears this thread's error queue. */
#define CERT_FAIL(err, text) cert_fail((err), __FILE__, __LINE__, (text))
enum err_code cert_fail(struct err_info *err, const char *file, int line, const char *text);

/* First or last certificate of a PEM text; the caller frees. ERR_CORRUPT. */
enum err_code cert_parse(
    struct str_view pem, bool last, X509 **ret_certificate, struct err_info *err) MUST_CHECK;
enum err_code cert_parse_key(struct str_view pem, EVP_PKEY **ret_key, struct err_info *err)
    MUST_CHECK;

bool cert_carries(const X509 *certificate, const char *const *names, size_t name_count);
enum err_code cert_not_after(
    const X509 *certificate, struct wall_us *ret_not_after, struct err_info *err) MUST_CHECK;

#endif
