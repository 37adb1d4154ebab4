#include "cmd/agent/image/tar.h"

#include <stdio.h>

enum {
    MODE_MASK = 07777,
    ID_MAX = 0x7fffffff
};

#define ENTRY_BYTES_MAX (INT64_C(1) << 48)
#define TIME_MAX        (INT64_C(1) << 36)

/* Offsets and lengths of a header's fields. */
static const struct place {
    size_t at;
    size_t bytes;
} name_at = { 0, 100 }, mode_at = { 100, 8 }, uid_at = { 108, 8 }, gid_at = { 116, 8 },
  size_at = { 124, 12 }, time_at = { 136, 12 }, sum_at = { 148, 8 }, target_at = { 157, 100 },
  magic_at = { 257, 6 }, prefix_at = { 345, 155 };

enum {
    TYPE_AT = 156
};

uint64_t tar_padding(uint64_t bytes)
{
    return (TAR_BLOCK_BYTES - bytes % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES;
}

static struct str_view text_of(const uint8_t *block, struct place place)
{
    const char *text = (const char *)block + place.at;
    return str_from(text, strnlen(text, place.bytes));
}

/* Octal digits, or with the top bit set a big-endian number. */
static enum err_code number_of(
    const uint8_t *block,
    struct place place,
    uint64_t max,
    uint64_t *ret_value,
    struct err_info *err)
{
    const uint8_t *field = block + place.at;
    uint64_t value = 0;
    size_t i = 0;
    if (field[0] == 0x80) {
        for (i = 1; i < place.bytes && value <= max; i++) {
            value = value > (UINT64_MAX >> 8) ? UINT64_MAX : value << 8 | field[i];
        }
    } else {
        while (i < place.bytes && field[i] == ' ') {
            i++;
        }
        for (; i < place.bytes && field[i] >= '0' && field[i] <= '7'; i++) {
            value = value << 3 | (uint64_t)(field[i] - '0'); /* 12 digits at most: 36 bits */
        }
        if (i < place.bytes && field[i] != ' ' && field[i] != '\0') {
            return ERR_SET(err, ERR_CORRUPT, "tar: a number in a header is none");
        }
    }
    if (value > max) {
        return ERR_SET(err, ERR_LIMIT, "tar: a number in a header is too large");
    }
    *ret_value = value;
    return ERR_OK;
}

static bool is_empty(const uint8_t *block)
{
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        if (block[i] != 0) {
            return false;
        }
    }
    return true;
}

static enum err_code check_sum(const uint8_t *block, struct err_info *err)
{
    uint64_t wanted = 0;
    uint64_t sum = 0;
    enum err_code code = number_of(block, sum_at, UINT32_MAX, &wanted, NULL);
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        sum += i >= sum_at.at && i < sum_at.at + sum_at.bytes ? ' ' : block[i];
    }
    return code == ERR_OK && sum == wanted
        ? ERR_OK
        : ERR_SET(err, ERR_CORRUPT, "not a tar archive, or a damaged one");
}

static enum err_code keep_path(struct str_view text, char *out, struct err_info *err)
{
    if (memchr(text.ptr, '\0', text.len) != NULL) {
        return ERR_SET(err, ERR_CORRUPT, "tar: a name with a NUL in it");
    }
    return str_copy(text, out, TAR_PATH_BYTES) == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_LIMIT, "tar: a name of more than %d bytes", TAR_PATH_BYTES - 1);
}

static enum err_code read_names(
    struct tar_reader *reader, const uint8_t *block, struct err_info *err)
{
    char joined[TAR_BLOCK_BYTES];
    struct tar_entry *entry = &reader->entry;
    struct str_view prefix = text_of(block, prefix_at);
    struct str_view name = text_of(block, name_at);
    bool is_ustar = memcmp(block + magic_at.at, "ustar", magic_at.bytes) == 0; /* with its NUL */
    if (reader->has_path) {
        memcpy(entry->path, reader->said.path, sizeof(entry->path));
    } else {
        bool both = is_ustar && prefix.len > 0;
        (void)snprintf(
            joined,
            sizeof(joined),
            "%.*s%s%.*s",
            both ? (int)prefix.len : 0,
            prefix.ptr,
            both ? "/" : "",
            STR_ARG(name));
        TRY(keep_path(str_of(joined), entry->path, err));
    }
    if (reader->has_target) {
        memcpy(entry->target, reader->said.target, sizeof(entry->target));
        return ERR_OK;
    }
    return keep_path(text_of(block, target_at), entry->target, err);
}

static enum err_code read_numbers(
    struct tar_reader *reader, const uint8_t *block, struct err_info *err)
{
    struct tar_entry *entry = &reader->entry;
    uint64_t mode = 0;
    uint64_t time_s = 0;
    TRY(number_of(block, mode_at, UINT32_MAX, &mode, err));
    TRY(number_of(block, uid_at, ID_MAX, &entry->uid, err));
    TRY(number_of(block, gid_at, ID_MAX, &entry->gid, err));
    TRY(number_of(block, size_at, (uint64_t)ENTRY_BYTES_MAX, &entry->bytes, err));
    /* Before 1970: as negative numbers, whose sign we do not read. */
    if (block[time_at.at] != 0xff) {
        TRY(number_of(block, time_at, (uint64_t)TIME_MAX, &time_s, err));
    }
    entry->mode = (unsigned)(mode & MODE_MASK);
    entry->time_s = (int64_t)time_s;
    entry->uid = reader->has_uid ? reader->said.uid : entry->uid;
    entry->gid = reader->has_gid ? reader->said.gid : entry->gid;
    entry->bytes = reader->has_bytes ? reader->said.bytes : entry->bytes;
    return ERR_OK;
}

static enum err_code read_kind(char type, struct tar_entry *entry, struct err_info *err)
{
    size_t length = strlen(entry->path);
    switch (type) {
    case '\0':
    case '0':
    case '7': /* contiguous: a file */
        entry->kind = length > 0 && entry->path[length - 1] == '/' ? TAR_FOLDER : TAR_FILE;
        return ERR_OK;
    case '1':
        entry->kind = TAR_HARD_LINK;
        entry->bytes = 0; /* some writers say the size of what is linked to; nothing follows */
        return ERR_OK;
    case '2':
        entry->kind = TAR_SYMLINK;
        break;
    case '5':
        entry->kind = TAR_FOLDER;
        break;
    case '3':
    case '4':
    case '6':
        entry->kind = TAR_SPECIAL;
        break;
    case 'S':
        return ERR_SET(
            err, ERR_UNSUPPORTED, "tar: %.200s is sparse; write it without --sparse", entry->path);
    default:
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "tar: %.200s is of a kind (0x%02x) that is not known",
            entry->path,
            (unsigned)(uint8_t)type);
    }
    entry->bytes = 0;
    return ERR_OK;
}

/* Long names of pax ('x', 'g') and GNU ('L', 'K') stand before the entry they belong to. */
static enum err_code read_meta_head(
    struct tar_reader *reader, const uint8_t *block, struct err_info *err)
{
    uint64_t bytes = 0;
    TRY(number_of(block, size_at, TAR_META_BYTES_MAX, &bytes, err));
    reader->meta_type = (char)block[TYPE_AT];
    reader->meta_bytes = bytes;
    return ERR_OK;
}

static void forget(struct tar_reader *reader)
{
    reader->has_path = false;
    reader->has_target = false;
    reader->has_bytes = false;
    reader->has_uid = false;
    reader->has_gid = false;
}

enum err_code tar_block(
    struct tar_reader *reader,
    const uint8_t block[TAR_BLOCK_BYTES],
    enum tar_step *ret_step,
    struct err_info *err)
{
    if (is_empty(block)) {
        *ret_step = reader->saw_empty ? TAR_STEP_END : TAR_STEP_EMPTY;
        reader->saw_empty = true;
        return ERR_OK;
    }
    reader->saw_empty = false;
    TRY(check_sum(block, err));
    char type = (char)block[TYPE_AT];
    if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
        *ret_step = TAR_STEP_META;
        return read_meta_head(reader, block, err);
    }
    *ret_step = TAR_STEP_ENTRY;
    TRY(read_names(reader, block, err));
    TRY(read_numbers(reader, block, err));
    forget(reader);
    return read_kind(type, &reader->entry, err);
}

static enum err_code take_number(
    struct str_view text, uint64_t max, uint64_t *ret_value, bool *ret_has, struct err_info *err)
{
    *ret_has = true;
    return str_parse_uint64(text, max, ret_value) == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_CORRUPT, "tar: a number in an extended header is none, or too large");
}

static enum err_code take_record(
    struct tar_reader *reader, struct str_view key, struct str_view value, struct err_info *err)
{
    struct tar_entry *said = &reader->said;
    if (str_equal(key, STR("path"))) {
        reader->has_path = true;
        return keep_path(value, said->path, err);
    }
    if (str_equal(key, STR("linkpath"))) {
        reader->has_target = true;
        return keep_path(value, said->target, err);
    }
    if (str_equal(key, STR("size"))) {
        return take_number(value, (uint64_t)ENTRY_BYTES_MAX, &said->bytes, &reader->has_bytes, err);
    }
    if (str_equal(key, STR("uid"))) {
        return take_number(value, ID_MAX, &said->uid, &reader->has_uid, err);
    }
    if (str_equal(key, STR("gid"))) {
        return take_number(value, ID_MAX, &said->gid, &reader->has_gid, err);
    }
    if (str_has_prefix(key, STR("GNU.sparse."))) {
        return ERR_SET(err, ERR_UNSUPPORTED, "tar: a sparse file; write it without --sparse");
    }
    return ERR_OK; /* times, names of owners, attributes: left out */
}

/* "LENGTH KEY=VALUE\n", LENGTH being that of all of it. */
static enum err_code take_records(
    struct tar_reader *reader, struct str_view rest, struct err_info *err)
{
    while (rest.len > 0 && rest.ptr[0] != '\0') {
        struct str_view digits = STR_NONE;
        struct str_view after = STR_NONE;
        struct str_view key = STR_NONE;
        struct str_view value = STR_NONE;
        uint64_t length = 0;
        if (!str_cut(rest, ' ', &digits, &after)
            || str_parse_uint64(digits, rest.len, &length) != ERR_OK || length < digits.len + 3
            || rest.ptr[length - 1] != '\n'
            || !str_cut(str_from(after.ptr, (size_t)length - digits.len - 2), '=', &key, &value)) {
            return ERR_SET(err, ERR_CORRUPT, "tar: an extended header is damaged");
        }
        if (reader->meta_type == 'x') {
            TRY(take_record(reader, key, value, err));
        }
        rest = str_from(rest.ptr + length, rest.len - (size_t)length);
    }
    return ERR_OK;
}

enum err_code tar_meta(struct tar_reader *reader, struct str_view data, struct err_info *err)
{
    if (reader->meta_type == 'L' || reader->meta_type == 'K') {
        bool is_path = reader->meta_type == 'L';
        *(is_path ? &reader->has_path : &reader->has_target) = true;
        return keep_path(
            str_from(data.ptr, strnlen(data.ptr, data.len)),
            is_path ? reader->said.path : reader->said.target,
            err);
    }
    return take_records(reader, data, err);
}
