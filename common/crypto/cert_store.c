/*
 * The folder of certificates: loads what is there, makes what is missing, renews the server's.
 * Keys are written before their certificates, so that a certificate on disk always has its key.
 */
#include "common/base/log.h"
#include "common/crypto/cert_private.h"
#include "common/sys/file.h"

#include <openssl/x509v3.h>

#define CA_NAME "Belay CA"

struct store {
    char *ca_pem, *ca_key, *server_pem, *server_key; /* paths */
};

static void store_deinit(struct store *store)
{
    mem_free(store->ca_pem);
    mem_free(store->ca_key);
    mem_free(store->server_pem);
    mem_free(store->server_key);
}

static enum err_code load_pair(
    const char *pem_path, const char *key_path, struct cert_pair *pair, struct err_info *err)
{
    AUTO_BUF struct buf pem = BUF_INIT(CERT_PEM_MAX_BYTES);
    AUTO_BUF struct buf key = BUF_INIT(CERT_PEM_MAX_BYTES);
    TRY(file_read(pem_path, CERT_PEM_MAX_BYTES, &pem, err));
    TRY(file_read_private(key_path, CERT_PEM_MAX_BYTES, &key, err));
    pair->certificate_pem = mem_strdup(buf_text(&pem));
    pair->key_pem = secret_create(key.data, key.len);
    secret_wipe(key.data, key.len);
    return ERR_OK;
}

static enum err_code save_pair(
    const char *pem_path, const char *key_path, const struct cert_pair *pair, struct err_info *err)
{
    struct str_view key = secret_peek(pair->key_pem);
    struct str_view pem = str_of(pair->certificate_pem);
    TRY(file_write_atomic(key_path, key.ptr, key.len, 0600, err));
    return file_write_atomic(pem_path, pem.ptr, pem.len, 0644, err);
}

static enum err_code check_ca(
    const struct store *store, const struct cert_pair *ca, struct wall_us now, struct err_info *err)
{
    AUTO_X509 X509 *certificate = NULL;
    AUTO_PKEY EVP_PKEY *key = NULL;
    struct wall_us end = { 0 };
    enum err_code code = cert_parse(str_of(ca->certificate_pem), false, &certificate, err);
    if (code == ERR_OK) {
        code = cert_not_after(certificate, &end, err);
    }
    if (code != ERR_OK) {
        err_prefix(err, "%s", store->ca_pem);
        return code;
    }
    if (cert_parse_key(secret_peek(ca->key_pem), &key, err) != ERR_OK) {
        err_prefix(err, "%s", store->ca_key);
        return ERR_CORRUPT;
    }
    if (X509_check_ca(certificate) != 1) {
        return ERR_SET(err, ERR_CORRUPT, "%s: not the certificate of a CA", store->ca_pem);
    }
    if (X509_check_private_key(certificate, key) != 1) {
        (void)CERT_FAIL(NULL, "");
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "%s: does not belong to %s; restore both from one backup",
            store->ca_key,
            store->ca_pem);
    }
    if (end.value <= now.value) {
        char text[TIME_TEXT_BYTES];
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "%s: expired %s; move it and its key away to start a new CA, then enroll every agent again",
            store->ca_pem,
            time_format(end, text));
    }
    return ERR_OK;
}

static enum err_code load_ca(
    const struct store *store, struct wall_us now, struct cert_pair *ca, struct err_info *err)
{
    bool has_pem = file_exists(store->ca_pem);
    bool has_key = file_exists(store->ca_key);
    if (!has_pem && !has_key) {
        TRY(cert_create_ca(CA_NAME, now, ca, err));
        return save_pair(store->ca_pem, store->ca_key, ca, err);
    }
    if (!has_pem || !has_key) {
        const char *missing = has_pem ? store->ca_key : store->ca_pem;
        const char *present = has_pem ? store->ca_pem : store->ca_key;
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "%s is missing beside %s; restore it from a backup, or remove the other one too if no "
            "agent has enrolled yet",
            missing,
            present);
    }
    TRY(load_pair(store->ca_pem, store->ca_key, ca, err));
    return check_ca(store, ca, now, err);
}

/* The clock was ahead when this one was made. */
static bool starts_after(const X509 *certificate, struct wall_us now)
{
    time_t moment = (time_t)(now.value / US_PER_SECOND);
    return X509_cmp_time(X509_get0_notBefore(certificate), &moment) > 0;
}

/* Why the server certificate on disk must be made anew; NULL: it need not. */
static enum err_code judge_server(
    const struct store *store,
    const struct cert_pair *ca,
    const struct cert_pair *server,
    struct wall_us now,
    const char **ret_reason,
    struct err_info *err)
{
    AUTO_X509 X509 *issuer = NULL;
    AUTO_X509 X509 *certificate = NULL;
    AUTO_PKEY EVP_PKEY *key = NULL;
    struct wall_us end = { 0 };
    TRY(cert_parse(str_of(ca->certificate_pem), false, &issuer, err));
    enum err_code code = cert_parse(str_of(server->certificate_pem), false, &certificate, err);
    if (code == ERR_OK) {
        code = cert_not_after(certificate, &end, err);
    }
    if (code != ERR_OK) {
        err_prefix(err, "%s", store->server_pem);
        return code;
    }
    if (cert_parse_key(secret_peek(server->key_pem), &key, err) != ERR_OK) {
        err_prefix(err, "%s", store->server_key);
        return ERR_CORRUPT;
    }
    if (X509_verify(certificate, X509_get0_pubkey(issuer)) != 1) {
        (void)CERT_FAIL(NULL, "");
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "%s: not issued by %s; move it and its key away to get a new one",
            store->server_pem,
            store->ca_pem);
    }
    if (X509_check_private_key(certificate, key) != 1) {
        (void)CERT_FAIL(NULL, "");
        *ret_reason = "key_of_another_certificate";
    } else if (end.value - now.value < CERT_RENEW_BEFORE_DAYS * US_PER_DAY) {
        *ret_reason = "expires_soon";
    } else if (starts_after(certificate, now)) {
        *ret_reason = "not_valid_yet";
    }
    return ERR_OK;
}

static bool server_lacks_name(const char *pem, const char *const *names, size_t name_count)
{
    const char *const always[] = { CERT_ALWAYS_NAME };
    return !cert_has_names(pem, names, name_count) || !cert_has_names(pem, always, 1);
}

static enum err_code load_server(
    const struct store *store,
    const struct cert_pair *ca,
    struct wall_us now,
    struct cert_pair *server,
    const char **ret_reason,
    struct err_info *err)
{
    if (!file_exists(store->server_pem) || !file_exists(store->server_key)) {
        *ret_reason = "missing";
        return ERR_OK;
    }
    TRY(load_pair(store->server_pem, store->server_key, server, err));
    return judge_server(store, ca, server, now, ret_reason, err);
}

static enum err_code open_folder(const char *dir, struct err_info *err)
{
    /* An existing folder may be readable by others: only its keys are secret. */
    return file_make_dir(dir, file_exists(dir) ? 0755 : 0700, err);
}

/* Two of the eight are results. NOLINTNEXTLINE(readability-function-size) */
enum err_code cert_store_load(
    const char *dir,
    const char *const *names,
    size_t name_count,
    struct wall_us now,
    struct cert_pair *ret_server,
    char **ret_ca_pem,
    bool *ret_renewed,
    struct err_info *err)
{
    AUTO(store_deinit)
    struct store store = { mem_printf("%s/ca.pem", dir),
                           mem_printf("%s/ca.key", dir),
                           mem_printf("%s/server.pem", dir),
                           mem_printf("%s/server.key", dir) };
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair server = { 0 };
    const char *reason = NULL;
    TRY(open_folder(dir, err));
    TRY(load_ca(&store, now, &ca, err));
    TRY(load_server(&store, &ca, now, &server, &reason, err));
    if (reason == NULL && server_lacks_name(server.certificate_pem, names, name_count)) {
        reason = "lacks_a_name";
    }
    if (reason != NULL) {
        cert_pair_deinit(&server);
        TRY(cert_create_server(&ca, names, name_count, now, &server, err));
        TRY(save_pair(store.server_pem, store.server_key, &server, err));
        log_info("server_certificate_made", LOG_STR("reason", reason));
    }
    *ret_server = server;
    server = (struct cert_pair){ 0 };
    *ret_ca_pem = STEAL(ca.certificate_pem);
    if (ret_renewed != NULL) {
        *ret_renewed = reason != NULL;
    }
    return ERR_OK;
}
