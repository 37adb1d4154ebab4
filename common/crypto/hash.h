/* Hashes, encodings and tokens. */
#ifndef COMMON_CRYPTO_HASH_H
#define COMMON_CRYPTO_HASH_H

#include "common/base/buf.h"
#include "common/crypto/secret.h"

enum {
    HASH_SHA256_BYTES = 32,
    HASH_SHA512_BYTES = 64,
    HASH_BLAKE2B_BYTES = 32
};

void hash_sha256(struct str_view data, uint8_t out[HASH_SHA256_BYTES]);
/* SHA-256 of what comes piece by piece. */
struct hash_stream;
struct hash_stream *hash_stream_create(void);
void hash_stream_destroy(struct hash_stream *stream); /* NULL is allowed */
void hash_stream_add(struct hash_stream *stream, struct str_view data);
void hash_stream_end(struct hash_stream *stream, uint8_t out[HASH_SHA256_BYTES]); /* once, last */

void hash_sha512(struct str_view data, uint8_t out[HASH_SHA512_BYTES]);

/* SHA-256, or BLAKE2b-256, over the parts, each preceded by its length as u64 big endian. */
void hash_sha256_parts(const struct str_view *parts, size_t count, uint8_t out[HASH_SHA256_BYTES]);
void hash_blake2b_parts(
    const struct str_view *parts, size_t count, uint8_t out[HASH_BLAKE2B_BYTES]);

/* base64url without padding. */
void base64url_encode(struct str_view data, struct buf *buf);
enum err_code base64url_decode(struct str_view text, struct buf *buf)
    MUST_CHECK; /* canonical only, whole input */

/*
 * Tokens: a prefix and 32 random bytes in base64url ("blt_..." enrollment, "blk_..." API key,
 * "bls_..." session, "bla_..." agent key). Only token_hash of one is ever stored. A prefix is given
 * with its underscore ("blt_") and has at most 20 characters.
 */
enum {
    TOKEN_TEXT_BYTES = 64
};

struct secret *token_create(const char *prefix);
void token_hash(struct str_view token, uint8_t out[HASH_SHA256_BYTES]);
bool token_has_form(struct str_view token, const char *prefix);

#endif
