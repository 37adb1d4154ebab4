/*
 * Tar archives as they lie: the fields of a header block, and the records of pax that may stand
 * before one. Everything is taken as hostile and nothing is decided: what a kind of entry means,
 * and which bounds its numbers have, is the reader's. Pure.
 */
#ifndef COMMON_TAR_BLOCK_H
#define COMMON_TAR_BLOCK_H

#include "common/base/str.h"

enum {
    TAR_BLOCK_BYTES = 512,
    TAR_JOINED_BYTES = 257 /* prefix, slash and name, with a NUL */
};

enum tar_field {
    TAR_AT_NAME,
    TAR_AT_MODE,
    TAR_AT_UID,
    TAR_AT_GID,
    TAR_AT_SIZE,
    TAR_AT_TIME,
    TAR_AT_SUM,
    TAR_AT_LINK,
    TAR_AT_PREFIX
};

/* All zero: two of them end an archive. */
bool tar_block_is_empty(const void *block);
/* The sum of its bytes is the one that it tells. */
bool tar_block_is_sound(const void *block);
/* Of POSIX or of GNU: an older archive has neither word. */
bool tar_block_has_magic(const void *block);
char tar_block_type(const void *block);

/* Up to the field's end or its first NUL; it lies in the block. */
struct str_view tar_block_text(const void *block, enum tar_field field);

/*
 * Octal digits, or with the top bit set a big-endian number. ERR_CORRUPT: it is none; ERR_LIMIT:
 * above max, which is at most INT64_MAX, or below 0.
 */
enum err_code tar_block_number(
    const void *block, enum tar_field which, uint64_t max, uint64_t *ret_value) MUST_CHECK;

/* The name, behind its prefix where POSIX has one. */
void tar_block_path(const void *block, char out[TAR_JOINED_BYTES]);

/*
 * Takes the first of the records "LENGTH KEY=VALUE\n" off the front of rest, LENGTH being that of
 * all of it. ERR_NOT_FOUND: nothing but zeros is left; ERR_CORRUPT.
 */
enum err_code tar_record_next(
    struct str_view *rest, struct str_view *ret_key, struct str_view *ret_value) MUST_CHECK;

/* Bytes of filling after so many bytes of content. */
uint64_t tar_padding(uint64_t bytes);

#endif
