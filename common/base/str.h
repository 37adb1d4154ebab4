/*
 * Text as {pointer, length}; strict parsing (whole input, base 10, explicit bounds, no locale).
 * Views borrow; nothing here allocates.
 */
#ifndef COMMON_BASE_STR_H
#define COMMON_BASE_STR_H

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str_view {
    const char *ptr; /* not NUL-terminated in general */
    size_t len;
};

#define STR(literal)  ((struct str_view){ (literal), sizeof(literal) - 1 })
#define STR_NONE      ((struct str_view){ NULL, 0 })
#define STR_ARG(view) (int)(view).len, (view).ptr /* for "%.*s" */

static inline struct str_view str_of(const char *text)
{
    return (struct str_view){ text, text == NULL ? 0 : strlen(text) };
}

static inline struct str_view str_from(const char *ptr, size_t len)
{
    return (struct str_view){ ptr, len };
}

bool str_equal(struct str_view a, struct str_view b);
bool str_equal_fold(struct str_view a, struct str_view b); /* ASCII case folded */
int str_compare(struct str_view a, struct str_view b);
bool str_has_prefix(struct str_view text, struct str_view prefix);
bool str_has_suffix(struct str_view text, struct str_view suffix);
struct str_view str_trim(struct str_view text); /* spaces, tabs, CR, LF */

/* Cuts at the first separator: head gets what is before it, rest what is after; false: none there.
 */
bool str_cut(struct str_view text, char separator, struct str_view *head, struct str_view *rest);

/* Digits only (one '-' for int64); whole input; ERR_INVALID on anything else, ERR_LIMIT out of
 * range. */
enum err_code str_parse_uint64(struct str_view text, uint64_t max, uint64_t *ret_value) MUST_CHECK;
enum err_code str_parse_int64(struct str_view text, int64_t min, int64_t max, int64_t *ret_value)
    MUST_CHECK;

/* "250ms", "10s", "5m", "24h", "7d" (also "us"; a bare number is refused) to microseconds, >= 0. */
enum err_code str_parse_duration_us(struct str_view text, int64_t *ret_us) MUST_CHECK;

/* "512", "64KiB", "10MiB", "2GiB", "1kB", "1MB", "1GB" to bytes. */
enum err_code str_parse_size_bytes(struct str_view text, uint64_t *ret_bytes) MUST_CHECK;

/* Shortest exact form of a duration ("90s", "250ms"); out holds at least 32 bytes; returns out. */
char *str_format_duration_us(int64_t us, char *out, size_t out_bytes);

/* Decimal, as "%lld" has it; out holds at least STR_INT64_BYTES; returns out. */
enum {
    STR_INT64_BYTES = 21
};

char *str_format_int64(int64_t value, char out[STR_INT64_BYTES]);

/* UTF-8 as in RFC 3629 (no surrogates, no overlongs); the count of code points through ret_chars
 * (may be NULL). */
bool str_is_utf8(struct str_view text, size_t *ret_chars);

/* Each byte that is no part of UTF-8 becomes a '?': what was cut inside a character, or is no text.
 */
void str_make_utf8(char *text);

/* Cuts UTF-8 to at most so many bytes, between two characters. */
void str_clip_utf8(char *text, size_t bytes);

/* Length of the well-formed character at the front of text, which is not empty, and its code point;
 * 0: it is broken. */
size_t str_decode_utf8(struct str_view text, uint32_t *ret_code);

/* A code point that a terminal acts on (C0, DEL, C1), or that changes the direction of what follows
 * or hides in it. */
bool str_is_deceptive(uint32_t code);

/* A word of HTTP (RFC 9110, "token"): a method, a field's name. */
bool str_is_token(struct str_view text);

/* out must hold 2 * bytes + 1. */
void str_hex_encode(const uint8_t *data, size_t bytes, char *out);
/* Exactly 2 * bytes hex digits, either case. */
enum err_code str_hex_decode(struct str_view text, uint8_t *ret_data, size_t bytes) MUST_CHECK;

/*
 * Copies into a fixed array, always NUL-terminated; ERR_LIMIT (and nothing copied) when it does not
 * fit or holds a NUL.
 */
enum err_code str_copy(struct str_view text, char *out, size_t out_bytes) MUST_CHECK;

/* Levenshtein distance capped at 8, for nearest-name hints; texts over 64 bytes count as far. */
unsigned str_distance(struct str_view a, struct str_view b);

#endif
