#include "common/tar/block.h"

#include <stdio.h>
#include <string.h>

enum {
    TYPE_AT = 156,
    MAGIC_AT = 257
};

/* Offsets and lengths of a header's fields. */
static const struct place {
    size_t at;
    size_t bytes;
} places[] = {
    [TAR_AT_NAME] = { 0, 100 }, [TAR_AT_MODE] = { 100, 8 },   [TAR_AT_UID] = { 108, 8 },
    [TAR_AT_GID] = { 116, 8 },  [TAR_AT_SIZE] = { 124, 12 },  [TAR_AT_TIME] = { 136, 12 },
    [TAR_AT_SUM] = { 148, 8 },  [TAR_AT_LINK] = { 157, 100 }, [TAR_AT_PREFIX] = { 345, 155 },
};

bool tar_block_is_empty(const void *block)
{
    static const char zeros[TAR_BLOCK_BYTES];
    return memcmp(block, zeros, sizeof(zeros)) == 0;
}

/* Of all bytes, those of the sum itself counted as spaces. */
bool tar_block_is_sound(const void *block)
{
    const unsigned char *bytes = block;
    const struct place *own = &places[TAR_AT_SUM];
    uint64_t told = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        sum += i >= own->at && i < own->at + own->bytes ? ' ' : bytes[i];
    }
    return tar_block_number(block, TAR_AT_SUM, UINT32_MAX, &told) == ERR_OK && told == sum;
}

bool tar_block_has_magic(const void *block)
{
    return memcmp((const char *)block + MAGIC_AT, "ustar", 5) == 0;
}

char tar_block_type(const void *block)
{
    return ((const char *)block)[TYPE_AT];
}

struct str_view tar_block_text(const void *block, enum tar_field field)
{
    const char *text = (const char *)block + places[field].at;
    return str_from(text, strnlen(text, places[field].bytes));
}

/* The first bit is the mark; negative ones have more of them and come out as too large. */
static uint64_t binary_number(const unsigned char *field, size_t bytes)
{
    uint64_t value = field[0] & 0x7fU;
    for (size_t i = 1; i < bytes; i++) {
        value = value >> 55 != 0 ? UINT64_MAX : value << 8 | field[i];
    }
    return value;
}

enum err_code tar_block_number(
    const void *block, enum tar_field which, uint64_t max, uint64_t *ret_value)
{
    const unsigned char *field = (const unsigned char *)block + places[which].at;
    size_t bytes = places[which].bytes;
    uint64_t value = 0;
    size_t i = 0;
    if ((field[0] & 0x80U) != 0) {
        value = binary_number(field, bytes);
    } else {
        while (i < bytes && field[i] == ' ') {
            i++;
        }
        for (; i < bytes && field[i] >= '0' && field[i] <= '7'; i++) {
            value = value << 3 | (uint64_t)(field[i] - '0'); /* 12 digits at most: 36 bits */
        }
        if (i < bytes && field[i] != ' ' && field[i] != '\0') {
            return ERR_CORRUPT;
        }
    }
    if (value > max) {
        return ERR_LIMIT;
    }
    *ret_value = value;
    return ERR_OK;
}

void tar_block_path(const void *block, char out[TAR_JOINED_BYTES])
{
    bool is_posix = memcmp((const char *)block + MAGIC_AT, "ustar", 6) == 0; /* with its NUL */
    struct str_view name = tar_block_text(block, TAR_AT_NAME);
    struct str_view prefix = is_posix ? tar_block_text(block, TAR_AT_PREFIX) : STR("");
    (void)snprintf(
        out,
        TAR_JOINED_BYTES,
        "%.*s%s%.*s",
        STR_ARG(prefix),
        prefix.len > 0 ? "/" : "",
        STR_ARG(name));
}

enum err_code tar_record_next(
    struct str_view *rest, struct str_view *ret_key, struct str_view *ret_value)
{
    struct str_view digits = STR_NONE;
    struct str_view after = STR_NONE;
    uint64_t length = 0;
    if (rest->len == 0 || rest->ptr[0] == '\0') {
        return ERR_NOT_FOUND;
    }
    if (!str_cut(*rest, ' ', &digits, &after)
        || str_parse_uint64(digits, rest->len, &length) != ERR_OK || length < digits.len + 3
        || rest->ptr[length - 1] != '\n'
        || !str_cut(
            str_from(after.ptr, (size_t)length - digits.len - 2), '=', ret_key, ret_value)) {
        return ERR_CORRUPT;
    }
    *rest = str_from(rest->ptr + length, rest->len - (size_t)length);
    return ERR_OK;
}

uint64_t tar_padding(uint64_t bytes)
{
    return (TAR_BLOCK_BYTES - bytes % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES;
}
