#include "cmd/agent/image/tar.h"

enum {
    MODE_MASK = 07777,
    ID_MAX = 0x7fffffff
};

#define ENTRY_BYTES_MAX (INT64_C(1) << 48)
#define TIME_MAX        (INT64_C(1) << 36)

/* A number of the header, in words where it is none. */
static enum err_code number_of(
    const uint8_t *block,
    enum tar_field field,
    uint64_t max,
    uint64_t *ret_value,
    struct err_info *err)
{
    enum err_code code = tar_block_number(block, field, max, ret_value);
    return code == ERR_OK
        ? ERR_OK
        : ERR_SET(
            err, code, "tar: a number in a header is %s", code == ERR_LIMIT ? "too large" : "none");
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
    char joined[TAR_JOINED_BYTES];
    struct tar_entry *entry = &reader->entry;
    if (reader->has_path) {
        memcpy(entry->path, reader->said.path, sizeof(entry->path));
    } else {
        tar_block_path(block, joined);
        TRY(keep_path(str_of(joined), entry->path, err));
    }
    if (reader->has_target) {
        memcpy(entry->target, reader->said.target, sizeof(entry->target));
        return ERR_OK;
    }
    return keep_path(tar_block_text(block, TAR_AT_LINK), entry->target, err);
}

static enum err_code read_numbers(
    struct tar_reader *reader, const uint8_t *block, struct err_info *err)
{
    struct tar_entry *entry = &reader->entry;
    uint64_t mode = 0;
    uint64_t time_s = 0;
    TRY(number_of(block, TAR_AT_MODE, UINT32_MAX, &mode, err));
    TRY(number_of(block, TAR_AT_UID, ID_MAX, &entry->uid, err));
    TRY(number_of(block, TAR_AT_GID, ID_MAX, &entry->gid, err));
    TRY(number_of(block, TAR_AT_SIZE, (uint64_t)ENTRY_BYTES_MAX, &entry->bytes, err));
    /* Before 1970: as negative numbers, whose sign we do not read. */
    if ((uint8_t)tar_block_text(block, TAR_AT_TIME).ptr[0] != 0xff) {
        TRY(number_of(block, TAR_AT_TIME, (uint64_t)TIME_MAX, &time_s, err));
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
    TRY(number_of(block, TAR_AT_SIZE, TAR_META_BYTES_MAX, &bytes, err));
    reader->meta_type = tar_block_type(block);
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
    if (tar_block_is_empty(block)) {
        *ret_step = reader->saw_empty ? TAR_STEP_END : TAR_STEP_EMPTY;
        reader->saw_empty = true;
        return ERR_OK;
    }
    reader->saw_empty = false;
    if (!tar_block_is_sound(block)) {
        return ERR_SET(err, ERR_CORRUPT, "not a tar archive, or a damaged one");
    }
    char type = tar_block_type(block);
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

static enum err_code take_records(
    struct tar_reader *reader, struct str_view rest, struct err_info *err)
{
    struct str_view key = STR_NONE;
    struct str_view value = STR_NONE;
    enum err_code code = ERR_OK;
    while ((code = tar_record_next(&rest, &key, &value)) == ERR_OK) {
        if (reader->meta_type == 'x') {
            TRY(take_record(reader, key, value, err));
        }
    }
    return code == ERR_NOT_FOUND ? ERR_OK
                                 : ERR_SET(err, code, "tar: an extended header is damaged");
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
