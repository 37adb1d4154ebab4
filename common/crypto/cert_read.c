/*
 * Reading certificates and keys: PEM to OpenSSL's objects, names, expiry and fingerprints. Every
 * function is pure and may run on any thread.
 */
#include "common/crypto/cert_private.h"
#include "common/crypto/hash.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <time.h>

enum err_code cert_fail(struct err_info *err, const char *file, int line, const char *text)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    if (reason == NULL) {
        return err_set_at(err, ERR_CORRUPT, file, line, "%s", text);
    }
    return err_set_at(err, ERR_CORRUPT, file, line, "%s: %s", text, reason);
}

static int refuse_passphrase(char *out, int bytes, int writing, void *context)
{
    if (bytes > 0) {
        out[0] = '\0';
    }
    (void)writing;
    (void)context;
    return -1;
}

enum err_code cert_parse(
    struct str_view pem, bool last, X509 **ret_certificate, struct err_info *err)
{
    if (pem.len == 0 || pem.len > CERT_PEM_MAX_BYTES) {
        return ERR_SET(err, ERR_CORRUPT, "not a certificate: %zu bytes", pem.len);
    }
    AUTO_BIO BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    AUTO_X509 X509 *found = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL);
    if (found == NULL) {
        return CERT_FAIL(err, "not a certificate in PEM form");
    }
    for (int i = 1; last && i < CERT_CHAIN_MAX; i++) {
        X509 *next = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL);
        if (next == NULL) {
            break;
        }
        X509_free(found);
        found = next;
    }
    ERR_clear_error();
    *ret_certificate = STEAL(found);
    return ERR_OK;
}

enum err_code cert_parse_key(struct str_view pem, EVP_PKEY **ret_key, struct err_info *err)
{
    if (pem.len == 0 || pem.len > CERT_PEM_MAX_BYTES) {
        return ERR_SET(err, ERR_CORRUPT, "not a private key: %zu bytes", pem.len);
    }
    AUTO_BIO BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL);
    if (key == NULL) {
        return CERT_FAIL(err, "not a private key in PEM form without a passphrase");
    }
    *ret_key = key;
    return ERR_OK;
}

enum err_code cert_not_after(
    const X509 *certificate, struct wall_us *ret_not_after, struct err_info *err)
{
    struct tm parts = { 0 };
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) {
        return CERT_FAIL(err, "certificate without a readable expiry");
    }
    ret_not_after->value = (int64_t)timegm(&parts) * US_PER_SECOND;
    return ERR_OK;
}

enum err_code cert_expiry(const char *pem, struct wall_us *ret_not_after, struct err_info *err)
{
    AUTO_X509 X509 *certificate = NULL;
    TRY(cert_parse(str_of(pem), false, &certificate, err));
    return cert_not_after(certificate, ret_not_after, err);
}

enum err_code cert_fingerprint(const char *pem, bool last, uint8_t out[32], struct err_info *err)
{
    AUTO_X509 X509 *certificate = NULL;
    TRY(cert_parse(str_of(pem), last, &certificate, err));
    unsigned char *der = NULL;
    int bytes = i2d_X509(certificate, &der);
    if (bytes <= 0) {
        return CERT_FAIL(err, "certificate has no DER form");
    }
    hash_sha256(str_from((const char *)der, (size_t)bytes), out);
    OPENSSL_free(der);
    return ERR_OK;
}

static struct str_view view_of(const ASN1_STRING *text)
{
    return str_from((const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

/* Subject alternative names hold addresses as 4 or 16 bytes. */
static struct str_view address_of(const char *name, uint8_t storage[16])
{
    if (inet_pton(AF_INET, name, storage) == 1) {
        return str_from((const char *)storage, 4);
    }
    if (inet_pton(AF_INET6, name, storage) == 1) {
        return str_from((const char *)storage, 16);
    }
    return STR_NONE;
}

static bool alternatives_hold(const GENERAL_NAMES *alternatives, const char *name)
{
    uint8_t storage[16];
    struct str_view address = address_of(name, storage);
    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
        int type = 0;
        const ASN1_STRING *value =
            GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(alternatives, i), &type);
        if (address.len > 0 && type == GEN_IPADD && str_equal(view_of(value), address)) {
            return true;
        }
        if (address.len == 0 && type == GEN_DNS && str_equal_fold(view_of(value), str_of(name))) {
            return true;
        }
    }
    return false;
}

bool cert_carries(const X509 *certificate, const char *const *names, size_t name_count)
{
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool all = alternatives != NULL || name_count == 0;
    for (size_t i = 0; all && i < name_count; i++) {
        all = alternatives_hold(alternatives, names[i]);
    }
    GENERAL_NAMES_free(alternatives);
    return all;
}

bool cert_has_names(const char *pem, const char *const *names, size_t name_count)
{
    AUTO_X509 X509 *certificate = NULL;
    if (cert_parse(str_of(pem), false, &certificate, NULL) != ERR_OK) {
        return false;
    }
    return cert_carries(certificate, names, name_count);
}
