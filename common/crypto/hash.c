#include "common/crypto/hash.h"

#include "common/base/mem.h"

#include <sodium.h>

#include <stdlib.h>

enum {
    BYTES_PER_STEP = 192, /* a multiple of 3, so that steps join without padding */
    CHARS_PER_STEP = 256,
    TOKEN_BYTES = 32,
    TOKEN_CHARS = 43,
    TOKEN_PREFIX_MAX = 20
};

static const unsigned char *bytes_of(struct str_view data)
{
    return (const unsigned char *)(data.ptr == NULL ? "" : data.ptr);
}

void hash_sha256(struct str_view data, uint8_t out[HASH_SHA256_BYTES])
{
    (void)crypto_hash_sha256(out, bytes_of(data), data.len);
}

struct hash_stream {
    crypto_hash_sha256_state state;
};

struct hash_stream *hash_stream_create(void)
{
    struct hash_stream *stream = mem_alloc(sizeof(*stream));
    (void)crypto_hash_sha256_init(&stream->state);
    return stream;
}

void hash_stream_destroy(struct hash_stream *stream)
{
    mem_free(stream);
}

void hash_stream_add(struct hash_stream *stream, struct str_view data)
{
    (void)crypto_hash_sha256_update(&stream->state, bytes_of(data), data.len);
}

void hash_stream_end(struct hash_stream *stream, uint8_t out[HASH_SHA256_BYTES])
{
    (void)crypto_hash_sha256_final(&stream->state, out);
}

void hash_sha512(struct str_view data, uint8_t out[HASH_SHA512_BYTES])
{
    (void)crypto_hash_sha512(out, bytes_of(data), data.len);
}

static void write_length(size_t length, uint8_t out[8])
{
    for (unsigned byte = 0; byte < 8; byte++) {
        out[byte] = (uint8_t)((uint64_t)length >> (56U - 8U * byte));
    }
}

void hash_sha256_parts(const struct str_view *parts, size_t count, uint8_t out[HASH_SHA256_BYTES])
{
    crypto_hash_sha256_state state;
    (void)crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < count; i++) {
        uint8_t length[8];
        write_length(parts[i].len, length);
        (void)crypto_hash_sha256_update(&state, length, sizeof(length));
        (void)crypto_hash_sha256_update(&state, bytes_of(parts[i]), parts[i].len);
    }
    (void)crypto_hash_sha256_final(&state, out);
}

void hash_blake2b_parts(const struct str_view *parts, size_t count, uint8_t out[HASH_BLAKE2B_BYTES])
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, HASH_BLAKE2B_BYTES);
    for (size_t i = 0; i < count; i++) {
        uint8_t length[8];
        write_length(parts[i].len, length);
        (void)crypto_generichash_update(&state, length, sizeof(length));
        (void)crypto_generichash_update(&state, bytes_of(parts[i]), parts[i].len);
    }
    (void)crypto_generichash_final(&state, out, HASH_BLAKE2B_BYTES);
}

void base64url_encode(struct str_view data, struct buf *buf)
{
    char text[CHARS_PER_STEP + 1];
    for (size_t at = 0; at < data.len; at += BYTES_PER_STEP) {
        size_t part = data.len - at < BYTES_PER_STEP ? data.len - at : BYTES_PER_STEP;
        (void)sodium_bin2base64(
            text,
            sizeof(text),
            bytes_of(data) + at,
            part,
            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        buf_append_str(buf, str_of(text));
    }
    sodium_memzero(text, sizeof(text));
}

/*
 * libsodium 1.0.18 takes some bytes from 0x80 on for characters of the alphabet (found by fuzzing),
 * so that one value had many spellings. No branch depends on the text, which may be a secret.
 */
static bool is_alphabet(struct str_view text)
{
    unsigned bad = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned c = (unsigned char)text.ptr[i];
        unsigned letter = (unsigned)((c | 0x20U) - 'a' < 26U);
        unsigned digit = (unsigned)(c - '0' < 10U);
        bad |= 1U ^ (letter | digit | (unsigned)(c == '-') | (unsigned)(c == '_'));
    }
    return bad == 0;
}

static bool decode_part(
    struct str_view text, unsigned char *bytes, size_t capacity, size_t *ret_bytes)
{
    return is_alphabet(text)
        && sodium_base642bin(
               bytes,
               capacity,
               text.ptr,
               text.len,
               NULL,
               ret_bytes,
               NULL,
               sodium_base64_VARIANT_URLSAFE_NO_PADDING)
        == 0;
}

enum err_code base64url_decode(struct str_view text, struct buf *buf)
{
    unsigned char bytes[BYTES_PER_STEP];
    size_t before = buf->len;
    bool valid = true;
    for (size_t at = 0; valid && at < text.len; at += CHARS_PER_STEP) {
        size_t part = text.len - at < CHARS_PER_STEP ? text.len - at : CHARS_PER_STEP;
        size_t got = 0;
        /* Stray characters, left-over bits that are not zero and a lone last character are refused.
         */
        valid = decode_part(str_from(text.ptr + at, part), bytes, sizeof(bytes), &got);
        if (valid) {
            buf_append(buf, bytes, got);
        }
    }
    sodium_memzero(bytes, sizeof(bytes));
    if (!buf_ok(buf)) {
        return ERR_LIMIT;
    }
    if (!valid) {
        if (buf->data != NULL) {
            buf->len = before;
            buf->data[before] = '\0';
        }
        return ERR_INVALID;
    }
    return ERR_OK;
}

struct secret *token_create(const char *prefix)
{
    size_t prefix_len = strlen(prefix);
    if (prefix_len > TOKEN_PREFIX_MAX) {
        abort();
    }
    uint8_t random[TOKEN_BYTES];
    uint8_t *text = NULL;
    struct secret *token = secret_create_zeroed(prefix_len + TOKEN_CHARS, &text);
    randombytes_buf(random, sizeof(random));
    for (size_t i = 0; i < prefix_len; i++) {
        text[i] = (uint8_t)prefix[i];
    }
    (void)sodium_bin2base64(
        (char *)text + prefix_len,
        TOKEN_CHARS + 1,
        random,
        sizeof(random),
        sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof(random));
    return token;
}

void token_hash(struct str_view token, uint8_t out[HASH_SHA256_BYTES])
{
    hash_sha256(token, out);
}

/* Of base64url. What a peer sends as its own token is no secret to it: no constant time is needed
 * to tell whether it has the form of one. */
static const uint8_t token_chars[UINT8_MAX + 1] = {
    ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,
    ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
    ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1,
    ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
    ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,
    ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1,
    ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1, ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1,
    ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['-'] = 1, ['_'] = 1,
};

bool token_has_form(struct str_view token, const char *prefix)
{
    static const char last_chars[] = "AEIMQUYcgkosw048"; /* the last has two bits of padding: 0 */
    struct str_view start = str_of(prefix);
    if (token.len != start.len + TOKEN_CHARS || !str_has_prefix(token, start)) {
        return false;
    }
    uint8_t all = 1;
    for (size_t i = start.len; i < token.len; i++) {
        all &= token_chars[(uint8_t)token.ptr[i]];
    }
    return all != 0 && strchr(last_chars, token.ptr[token.len - 1]) != NULL;
}
