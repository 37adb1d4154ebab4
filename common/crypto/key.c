#include "common/crypto/key.h"

#include "common/base/cleanup.h"
#include "common/crypto/hash.h"

#include <sodium.h>

_Static_assert(KEY_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES, "ed25519 public key");
_Static_assert(KEY_PUBLIC_BYTES == crypto_box_PUBLICKEYBYTES, "X25519 public key");
_Static_assert(KEY_SIGNATURE_BYTES == crypto_sign_BYTES, "ed25519 signature");
_Static_assert(KEY_SEED_BYTES == crypto_sign_SEEDBYTES, "ed25519 seed");
_Static_assert(KEY_SEED_BYTES == crypto_box_SECRETKEYBYTES, "X25519 scalar");

struct key_sign {
    uint8_t public_key[KEY_PUBLIC_BYTES];
    struct secret *pair; /* libsodium's form: the seed, then the public key */
};

struct key_box {
    uint8_t public_key[KEY_PUBLIC_BYTES];
    struct secret *scalar;
};

static const unsigned char *bytes_of(struct str_view data)
{
    return (const unsigned char *)(data.ptr == NULL ? "" : data.ptr);
}

struct key_sign *key_sign_create(void)
{
    struct key_sign *key = mem_alloc(sizeof(*key));
    uint8_t *pair = NULL;
    key->pair = secret_create_zeroed(crypto_sign_SECRETKEYBYTES, &pair);
    (void)crypto_sign_keypair(key->public_key, pair);
    return key;
}

enum err_code key_sign_from_seed(struct str_view seed, struct key_sign **ret_key)
{
    if (seed.len != KEY_SEED_BYTES) {
        return ERR_INVALID;
    }
    struct key_sign *key = mem_alloc(sizeof(*key));
    uint8_t *pair = NULL;
    key->pair = secret_create_zeroed(crypto_sign_SECRETKEYBYTES, &pair);
    (void)crypto_sign_seed_keypair(key->public_key, pair, bytes_of(seed));
    *ret_key = key;
    return ERR_OK;
}

void key_sign_destroy(struct key_sign *key)
{
    if (key != NULL) {
        secret_destroy(key->pair);
        mem_free(key);
    }
}

const uint8_t *key_sign_public(const struct key_sign *key)
{
    return key->public_key;
}

struct str_view key_sign_peek_seed(const struct key_sign *key)
{
    return str_from(secret_peek(key->pair).ptr, KEY_SEED_BYTES);
}

void key_sign_message(
    const struct key_sign *key, struct str_view message, uint8_t signature[KEY_SIGNATURE_BYTES])
{
    (void)crypto_sign_detached(
        signature, NULL, bytes_of(message), message.len, bytes_of(secret_peek(key->pair)));
}

bool key_verify(
    const uint8_t public_key[KEY_PUBLIC_BYTES],
    struct str_view message,
    const uint8_t signature[KEY_SIGNATURE_BYTES])
{
    return crypto_sign_verify_detached(signature, bytes_of(message), message.len, public_key) == 0;
}

bool key_sign_public_is_valid(const uint8_t public_key[KEY_PUBLIC_BYTES])
{
    return crypto_core_ed25519_is_valid_point(public_key) == 1;
}

struct key_box *key_box_create(void)
{
    struct key_box *key = mem_alloc(sizeof(*key));
    uint8_t *scalar = NULL;
    key->scalar = secret_create_zeroed(KEY_SEED_BYTES, &scalar);
    (void)crypto_box_keypair(key->public_key, scalar);
    return key;
}

enum err_code key_box_from_seed(struct str_view seed, struct key_box **ret_key)
{
    if (seed.len != KEY_SEED_BYTES) {
        return ERR_INVALID;
    }
    struct key_box *key = mem_alloc(sizeof(*key));
    key->scalar = secret_create(seed.ptr, seed.len);
    (void)crypto_scalarmult_base(key->public_key, bytes_of(seed));
    *ret_key = key;
    return ERR_OK;
}

void key_box_destroy(struct key_box *key)
{
    if (key != NULL) {
        secret_destroy(key->scalar);
        mem_free(key);
    }
}

const uint8_t *key_box_public(const struct key_box *key)
{
    return key->public_key;
}

struct str_view key_box_peek_seed(const struct key_box *key)
{
    return secret_peek(key->scalar);
}

bool key_box_public_is_valid(const uint8_t public_key[KEY_PUBLIC_BYTES])
{
    /* Any clamped scalar is a multiple of the cofactor: a point of small order comes out as zero.
     */
    static const uint8_t one[KEY_SEED_BYTES] = { 1 };
    uint8_t product[crypto_scalarmult_BYTES] = { 0 };
    return crypto_scalarmult(product, one, public_key) == 0
        && sodium_is_zero(product, sizeof(product)) == 0;
}

enum err_code key_seal(
    const uint8_t public_key[KEY_PUBLIC_BYTES], struct str_view message, struct buf *box)
{
    if (message.len > SIZE_MAX - crypto_box_SEALBYTES) {
        return ERR_LIMIT;
    }
    if (!key_box_public_is_valid(public_key)) {
        return ERR_INVALID;
    }
    size_t bytes = message.len + crypto_box_SEALBYTES;
    AUTO_FREE uint8_t *sealed = mem_try_alloc(bytes);
    if (sealed == NULL) {
        return ERR_NOMEM;
    }
    if (crypto_box_seal(sealed, bytes_of(message), message.len, public_key) != 0) {
        return ERR_INVALID;
    }
    buf_append(box, sealed, bytes);
    return buf_ok(box) ? ERR_OK : ERR_LIMIT;
}

enum err_code key_open(const struct key_box *key, struct str_view box, struct secret **ret_message)
{
    if (box.len < crypto_box_SEALBYTES) {
        return ERR_CORRUPT;
    }
    uint8_t *bytes = NULL;
    AUTO_SECRET struct secret *message =
        secret_try_create_zeroed(box.len - crypto_box_SEALBYTES, &bytes);
    if (message == NULL) {
        return ERR_NOMEM;
    }
    const unsigned char *scalar = bytes_of(secret_peek(key->scalar));
    if (crypto_box_seal_open(bytes, bytes_of(box), box.len, key->public_key, scalar) != 0) {
        return ERR_CORRUPT;
    }
    *ret_message = STEAL(message);
    return ERR_OK;
}

char *key_fingerprint(
    const uint8_t public_key[KEY_PUBLIC_BYTES], char out[KEY_FINGERPRINT_TEXT_BYTES])
{
    enum {
        SHOWN_BYTES = 16
    };

    uint8_t hash[HASH_SHA256_BYTES];
    char hex[2 * SHOWN_BYTES + 1];
    hash_sha256(str_from((const char *)public_key, KEY_PUBLIC_BYTES), hash);
    str_hex_encode(hash, SHOWN_BYTES, hex);
    size_t at = 0;
    for (size_t i = 0; i < sizeof(hex) - 1; i++) {
        if (i > 0 && i % 4 == 0) {
            out[at++] = '-';
        }
        out[at++] = hex[i];
    }
    out[at] = '\0';
    return out;
}
