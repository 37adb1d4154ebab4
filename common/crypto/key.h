/* ed25519 signatures and X25519 sealed boxes (libsodium). */
#ifndef COMMON_CRYPTO_KEY_H
#define COMMON_CRYPTO_KEY_H

#include "common/base/buf.h"
#include "common/crypto/secret.h"

enum {
    KEY_PUBLIC_BYTES = 32,
    KEY_SIGNATURE_BYTES = 64,
    KEY_SEED_BYTES = 32, /* what is stored of a private key */
    KEY_FINGERPRINT_TEXT_BYTES = 48
};

struct key_sign; /* ed25519 key pair */
struct key_box;  /* X25519 key pair */

struct key_sign *key_sign_create(void);
enum err_code key_sign_from_seed(struct str_view seed, struct key_sign **ret_key)
    MUST_CHECK; /* 32 bytes */
void key_sign_destroy(struct key_sign *key);
const uint8_t *key_sign_public(const struct key_sign *key); /* KEY_PUBLIC_BYTES */
struct str_view key_sign_peek_seed(const struct key_sign *key);
void key_sign_message(
    const struct key_sign *key, struct str_view message, uint8_t signature[KEY_SIGNATURE_BYTES]);
bool key_verify(
    const uint8_t public_key[KEY_PUBLIC_BYTES],
    struct str_view message,
    const uint8_t signature[KEY_SIGNATURE_BYTES]);
bool key_sign_public_is_valid(
    const uint8_t public_key[KEY_PUBLIC_BYTES]); /* on the curve, not of small order */

struct key_box *key_box_create(void);
enum err_code key_box_from_seed(struct str_view seed, struct key_box **ret_key)
    MUST_CHECK; /* 32 bytes: the secret scalar */
void key_box_destroy(struct key_box *key);
const uint8_t *key_box_public(const struct key_box *key);
struct str_view key_box_peek_seed(const struct key_box *key);
bool key_box_public_is_valid(const uint8_t public_key[KEY_PUBLIC_BYTES]); /* not of small order */

/* Anyone seals, the owner of the pair opens. The box is 48 bytes longer than the message. */
enum err_code key_seal(
    const uint8_t public_key[KEY_PUBLIC_BYTES],
    struct str_view message,
    struct buf *box) MUST_CHECK;
enum err_code key_open(const struct key_box *key, struct str_view box, struct secret **ret_message)
    MUST_CHECK;

/* First 16 bytes of the SHA-256 of a public key as hex in groups of four: "ab12-cd34-...-ef56";
 * returns out. */
char *key_fingerprint(
    const uint8_t public_key[KEY_PUBLIC_BYTES], char out[KEY_FINGERPRINT_TEXT_BYTES]);

#endif
