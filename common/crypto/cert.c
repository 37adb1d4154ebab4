#include "common/crypto/cert.h"

#include "common/crypto/cert_private.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <time.h>

enum {
    SERIAL_BYTES = 16,
    DNS_NAME_MAX = 253
};

/* Clocks of agents that are a little behind must still accept a fresh certificate. */
#define BACKDATE_US (5 * US_PER_MINUTE)

struct extension {
    int nid;
    const char *value;
};

static const struct extension ca_extensions[] = {
    { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
    { NID_key_usage, "critical,keyCertSign,cRLSign" },
    { NID_subject_key_identifier, "hash" },
};

static const struct extension server_extensions[] = {
    { NID_basic_constraints, "critical,CA:FALSE" },
    { NID_key_usage, "critical,digitalSignature" },
    { NID_ext_key_usage, "serverAuth" },
    { NID_subject_key_identifier, "hash" },
    { NID_authority_key_identifier, "keyid:always" },
};

void cert_pair_deinit(struct cert_pair *pair)
{
    mem_free(pair->certificate_pem);
    secret_destroy(pair->key_pem);
    *pair = (struct cert_pair){ 0 };
}

static bool set_serial(X509 *certificate)
{
    uint8_t random[SERIAL_BYTES];
    if (RAND_bytes(random, sizeof(random)) != 1) {
        return false;
    }
    BIGNUM *number = BN_bin2bn(random, sizeof(random), NULL);
    bool done = number != NULL && !BN_is_zero(number)
        && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return done;
}

static bool set_validity(X509 *certificate, struct wall_us now, struct wall_us not_after)
{
    time_t from = (time_t)((now.value - BACKDATE_US) / US_PER_SECOND);
    time_t until = (time_t)(not_after.value / US_PER_SECOND);
    return ASN1_TIME_set(X509_getm_notBefore(certificate), from) != NULL
        && ASN1_TIME_set(X509_getm_notAfter(certificate), until) != NULL;
}

static bool set_common_name(X509 *certificate, const char *name)
{
    return X509_NAME_add_entry_by_txt(
               X509_get_subject_name(certificate),
               "CN",
               MBSTRING_UTF8,
               (const unsigned char *)name,
               -1,
               -1,
               0)
        == 1;
}

static bool add_extensions(
    X509 *certificate, X509 *issuer, const struct extension *list, size_t count)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    for (size_t i = 0; i < count; i++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, list[i].nid, list[i].value);
        bool added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
        X509_EXTENSION_free(extension);
        if (!added) {
            return false;
        }
    }
    return true;
}

/* Everything but extensions and signature. */
static bool fill_certificate(
    X509 *certificate,
    EVP_PKEY *key,
    const char *common_name,
    struct wall_us now,
    struct wall_us until)
{
    return certificate != NULL && X509_set_version(certificate, X509_VERSION_3) == 1
        && set_serial(certificate) && set_validity(certificate, now, until)
        && set_common_name(certificate, common_name) && X509_set_pubkey(certificate, key) == 1;
}

static struct str_view bio_view(BIO *bio)
{
    char *data = NULL;
    long bytes = BIO_get_mem_data(bio, &data);
    return bytes > 0 ? str_from(data, (size_t)bytes) : STR_NONE;
}

static char *pem_of_certificate(X509 *certificate, const char *rest)
{
    AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1) {
        return NULL;
    }
    struct str_view text = bio_view(bio);
    return mem_printf("%.*s%s", STR_ARG(text), rest);
}

static struct secret *pem_of_key(EVP_PKEY *key)
{
    AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        return NULL;
    }
    char *data = NULL;
    long bytes = BIO_get_mem_data(bio, &data);
    if (bytes <= 0) {
        return NULL;
    }
    struct secret *pem = secret_create(data, (size_t)bytes);
    secret_wipe(data, (size_t)bytes);
    return pem;
}

static enum err_code write_pair(
    X509 *certificate,
    EVP_PKEY *key,
    const char *chain,
    struct cert_pair *ret_pair,
    struct err_info *err)
{
    struct cert_pair pair = { pem_of_certificate(certificate, chain), pem_of_key(key) };
    if (pair.certificate_pem == NULL || pair.key_pem == NULL) {
        cert_pair_deinit(&pair);
        return CERT_FAIL(err, "cannot write a certificate as PEM");
    }
    *ret_pair = pair;
    return ERR_OK;
}

enum err_code cert_create_ca(
    const char *common_name, struct wall_us now, struct cert_pair *ret_ca, struct err_info *err)
{
    size_t chars = 0;
    if (!str_is_utf8(str_of(common_name), &chars) || chars == 0 || chars > 64) {
        return ERR_SET(err, ERR_INVALID, "common name of a CA: 1 to 64 characters");
    }
    struct wall_us until = { now.value + CERT_CA_DAYS * US_PER_DAY };
    AUTO_PKEY EVP_PKEY *key = EVP_EC_gen("P-256");
    AUTO_X509 X509 *ca = X509_new();
    if (key == NULL || !fill_certificate(ca, key, common_name, now, until)
        || X509_set_issuer_name(ca, X509_get_subject_name(ca)) != 1
        || !add_extensions(ca, ca, ca_extensions, ARRAY_LENGTH(ca_extensions))
        || X509_sign(ca, key, EVP_sha256()) <= 0) {
        return CERT_FAIL(err, "cannot make a CA certificate");
    }
    return write_pair(ca, key, "", ret_ca, err);
}

static bool is_dns_name(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > DNS_NAME_MAX || name[0] == '.' || name[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
            || c == '-' || c == '_' || c == '.';
        bool wildcard = c == '*' && i == 0 && name[1] == '.';
        if (!plain && !wildcard) {
            return false;
        }
    }
    return true;
}

static bool push_name(GENERAL_NAMES *list, int type, const void *data, size_t bytes)
{
    GENERAL_NAME *entry = GENERAL_NAME_new();
    ASN1_STRING *value =
        ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
    if (entry == NULL || value == NULL || ASN1_STRING_set(value, data, (int)bytes) != 1) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(entry);
        return false;
    }
    GENERAL_NAME_set0_value(entry, type, value);
    if (sk_GENERAL_NAME_push(list, entry) == 0) {
        GENERAL_NAME_free(entry);
        return false;
    }
    return true;
}

static enum err_code add_name(GENERAL_NAMES *list, const char *name, struct err_info *err)
{
    uint8_t address[16];
    bool added = false;
    if (inet_pton(AF_INET, name, address) == 1) {
        added = push_name(list, GEN_IPADD, address, 4);
    } else if (inet_pton(AF_INET6, name, address) == 1) {
        added = push_name(list, GEN_IPADD, address, 16);
    } else if (is_dns_name(name)) {
        added = push_name(list, GEN_DNS, name, strlen(name));
    } else {
        return ERR_SET(err, ERR_INVALID, "\"%.80s\" is neither a DNS name nor an IP address", name);
    }
    return added ? ERR_OK : CERT_FAIL(err, "cannot add a name to a certificate");
}

static void names_free(GENERAL_NAMES **list)
{
    GENERAL_NAMES_free(*list);
}

static enum err_code add_names(
    X509 *certificate, const char *const *names, size_t name_count, struct err_info *err)
{
    AUTO(names_free) GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    if (list == NULL) {
        return CERT_FAIL(err, "cannot make a list of names");
    }
    TRY(add_name(list, CERT_ALWAYS_NAME, err));
    for (size_t i = 0; i < name_count; i++) {
        if (!str_equal_fold(str_of(names[i]), STR(CERT_ALWAYS_NAME))) {
            TRY(add_name(list, names[i], err));
        }
    }
    if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) != 1) {
        return CERT_FAIL(err, "cannot add names to a certificate");
    }
    return ERR_OK;
}

/* A certificate that outlives its issuer is refused by every verifier from then on: end together.
 */
static enum err_code server_end(
    const X509 *ca, struct wall_us now, struct wall_us *ret_until, struct err_info *err)
{
    struct wall_us ca_end = { 0 };
    TRY(cert_not_after(ca, &ca_end, err));
    if (ca_end.value <= now.value) {
        return ERR_SET(err, ERR_PRECONDITION, "the CA certificate has expired");
    }
    int64_t wanted = now.value + CERT_SERVER_DAYS * US_PER_DAY;
    ret_until->value = wanted < ca_end.value ? wanted : ca_end.value;
    return ERR_OK;
}

enum err_code cert_create_server(
    const struct cert_pair *ca,
    const char *const *names,
    size_t name_count,
    struct wall_us now,
    struct cert_pair *ret_server,
    struct err_info *err)
{
    AUTO_X509 X509 *issuer = NULL;
    AUTO_PKEY EVP_PKEY *issuer_key = NULL;
    struct wall_us until = { 0 };
    TRY(cert_parse(str_of(ca->certificate_pem), false, &issuer, err));
    TRY(cert_parse_key(secret_peek(ca->key_pem), &issuer_key, err));
    TRY(server_end(issuer, now, &until, err));
    if (X509_check_private_key(issuer, issuer_key) != 1) {
        return CERT_FAIL(err, "the CA's key does not belong to its certificate");
    }
    AUTO_PKEY EVP_PKEY *key = EVP_EC_gen("P-256");
    AUTO_X509 X509 *server = X509_new();
    if (key == NULL || !fill_certificate(server, key, CERT_ALWAYS_NAME, now, until)
        || X509_set_issuer_name(server, X509_get_subject_name(issuer)) != 1
        || !add_extensions(server, issuer, server_extensions, ARRAY_LENGTH(server_extensions))) {
        return CERT_FAIL(err, "cannot make a server certificate");
    }
    TRY(add_names(server, names, name_count, err));
    if (X509_sign(server, issuer_key, EVP_sha256()) <= 0) {
        return CERT_FAIL(err, "cannot sign a server certificate");
    }
    return write_pair(server, key, ca->certificate_pem, ret_server, err);
}
