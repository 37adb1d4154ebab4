/*
 * The server's own certificate authority: an ECDSA P-256 CA and server certificates made on first
 * start and renewed before they expire.
 */
#ifndef COMMON_CRYPTO_CERT_H
#define COMMON_CRYPTO_CERT_H

#include "common/base/time.h"
#include "common/crypto/secret.h"

enum {
    CERT_CA_DAYS = 3650,
    CERT_SERVER_DAYS = 90,
    CERT_RENEW_BEFORE_DAYS = 30
};

struct cert_pair {
    char *certificate_pem; /* leaf first, then the CA when it is not the leaf itself */
    struct secret *key_pem;
};

void cert_pair_deinit(struct cert_pair *pair);

/* Self-signed CA with the given common name. */
enum err_code cert_create_ca(
    const char *common_name, struct wall_us now, struct cert_pair *ret_ca, struct err_info *err)
    MUST_CHECK;

/* Server certificate (serverAuth) for DNS names and IP addresses; always carries "belay-server"
 * too. */
enum err_code cert_create_server(
    const struct cert_pair *ca,
    const char *const *names,
    size_t name_count,
    struct wall_us now,
    struct cert_pair *ret_server,
    struct err_info *err) MUST_CHECK;

/* SHA-256 over the DER form of the first (or, for a chain, the last) certificate. */
enum err_code cert_fingerprint(const char *pem, bool last, uint8_t out[32], struct err_info *err)
    MUST_CHECK;
enum err_code cert_expiry(const char *pem, struct wall_us *ret_not_after, struct err_info *err)
    MUST_CHECK;

/* true if the (first) certificate carries every one of the names. */
bool cert_has_names(const char *pem, const char *const *names, size_t name_count);

/*
 * Loads ca.pem, ca.key, server.pem, server.key of folder dir, making what is missing and renewing a
 * server certificate that expires within CERT_RENEW_BEFORE_DAYS or lacks a name. Keys have mode
 * 0600. A CA that is damaged, expired or half gone is refused, never replaced: agents pin its
 * fingerprint. A server pair whose two files do not belong together (a renewal cut short) is made
 * anew; one that is damaged or of another CA is refused. One process at a time: hold the folder's
 * lock. ret_renewed (may be NULL) tells whether the server certificate is new. ret_ca_pem:
 * mem_free.
 */
enum err_code cert_store_load(
    const char *dir,
    const char *const *names,
    size_t name_count,
    struct wall_us now,
    struct cert_pair *ret_server,
    char **ret_ca_pem,
    bool *ret_renewed,
    struct err_info *err) MUST_CHECK;

#endif
