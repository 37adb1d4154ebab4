/*
 * Certificates for the tests of the TLS listeners, made on the spot with OpenSSL: a CA, leaves
 * signed by it (ECDSA P-256), everything as PEM text that the caller frees with mem_free.
 */
#ifndef TESTS_COMPONENT_COMMON_RPC_PKI_H
#define TESTS_COMPONENT_COMMON_RPC_PKI_H

#include "common/base/mem.h"
#include "tests/support/test.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string.h>

struct pki {
    EVP_PKEY *ca_key;
    X509 *ca;
    char *ca_pem;
    long serial;
};

struct pki_leaf {
    EVP_PKEY *key;
    X509 *certificate;
    char *chain_pem; /* leaf, then the CA */
    char *key_pem;
};

static inline char *pki_text(BIO *bio)
{
    char *data = NULL;
    long bytes = BIO_get_mem_data(bio, &data);
    char *text = mem_alloc((size_t)bytes + 1);
    memcpy(text, data, (size_t)bytes);
    BIO_free(bio);
    return text;
}

static inline void pki_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static inline X509 *pki_new_certificate(EVP_PKEY *key, const char *name, long serial)
{
    X509 *certificate = X509_new();
    assert_int_equal(X509_set_version(certificate, 2), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(
        subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    return certificate;
}

static inline struct pki pki_create(const char *name)
{
    struct pki pki = { .ca_key = EVP_EC_gen("P-256"), .serial = 1 };
    assert_non_null(pki.ca_key);
    pki.ca = pki_new_certificate(pki.ca_key, name, pki.serial);
    assert_int_equal(X509_set_issuer_name(pki.ca, X509_get_subject_name(pki.ca)), 1);
    pki_extension(pki.ca, pki.ca, NID_basic_constraints, "critical,CA:TRUE");
    pki_extension(pki.ca, pki.ca, NID_key_usage, "critical,keyCertSign,cRLSign");
    assert_true(X509_sign(pki.ca, pki.ca_key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, pki.ca);
    pki.ca_pem = pki_text(bio);
    return pki;
}

static inline void pki_destroy(struct pki *pki)
{
    EVP_PKEY_free(pki->ca_key);
    X509_free(pki->ca);
    mem_free(pki->ca_pem);
}

static inline struct pki_leaf pki_issue(struct pki *pki, const char *name)
{
    struct pki_leaf leaf = { .key = EVP_EC_gen("P-256") };
    pki->serial++;
    leaf.certificate = pki_new_certificate(leaf.key, name, pki->serial);
    assert_int_equal(X509_set_issuer_name(leaf.certificate, X509_get_subject_name(pki->ca)), 1);
    pki_extension(leaf.certificate, pki->ca, NID_basic_constraints, "critical,CA:FALSE");
    pki_extension(leaf.certificate, pki->ca, NID_subject_alt_name, "DNS:belay-server,IP:127.0.0.1");
    assert_true(X509_sign(leaf.certificate, pki->ca_key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, leaf.certificate);
    PEM_write_bio_X509(bio, pki->ca);
    leaf.chain_pem = pki_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, leaf.key, NULL, NULL, 0, NULL, NULL);
    leaf.key_pem = pki_text(bio);
    return leaf;
}

static inline void pki_leaf_destroy(struct pki_leaf *leaf)
{
    EVP_PKEY_free(leaf->key);
    X509_free(leaf->certificate);
    mem_free(leaf->chain_pem);
    mem_free(leaf->key_pem);
}

#endif
