#include "cmd/cli/session/tar_header.h"

#include <stdio.h>

enum {
    NAME_BYTES = 100,
    CHECKSUM_BYTES = 8,
    CHECKSUM_AT = 148,
    SIZE_BYTES = 12,
    RECORDS_BYTES = 4 * (TAR_PATH_MAX + 64)
};

#define OCTAL_SIZE_MAX ((UINT64_C(1) << 33) - 1)

struct block {
    char name[NAME_BYTES];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[SIZE_BYTES];
    char mtime[SIZE_BYTES];
    char checksum[CHECKSUM_BYTES];
    char type;
    char link[NAME_BYTES];
    char magic[8];
    char user[32];
    char group[32];
    char device_major[8];
    char device_minor[8];
    char prefix[155];
    char rest[12];
};

_Static_assert(sizeof(struct block) == TAR_BLOCK_BYTES, "a block");

/* Of all bytes, those of the sum itself counted as spaces. */
static unsigned checksum_of(const char block[TAR_BLOCK_BYTES])
{
    unsigned sum = 0;
    for (unsigned i = 0; i < TAR_BLOCK_BYTES; i++) {
        bool is_sum = i >= CHECKSUM_AT && i < CHECKSUM_AT + CHECKSUM_BYTES;
        sum += is_sum ? ' ' : (unsigned char)block[i];
    }
    return sum;
}

/* ---- writing ---- */

static void put_octal(char *field, size_t bytes, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%0*llo", (int)bytes - 1, (unsigned long long)value);
    memcpy(field, text, bytes);
}

/* What has no room in a field is cut there: the record before it holds the whole. */
static void put_text(char *field, size_t bytes, const char *text)
{
    size_t length = strlen(text);
    memcpy(field, text, length < bytes ? length : bytes);
}

static void put_block(const struct tar_header *header, struct buf *out)
{
    struct block block;
    memset(&block, 0, sizeof(block));
    put_text(block.name, sizeof(block.name), header->path);
    put_octal(block.mode, sizeof(block.mode), header->mode & 07777);
    put_octal(block.uid, sizeof(block.uid), 0);
    put_octal(block.gid, sizeof(block.gid), 0);
    put_octal(block.size, sizeof(block.size), header->size > OCTAL_SIZE_MAX ? 0 : header->size);
    bool has_octal_time = header->mtime >= 0 && (uint64_t)header->mtime <= OCTAL_SIZE_MAX;
    put_octal(block.mtime, sizeof(block.mtime), has_octal_time ? (uint64_t)header->mtime : 0);
    block.type = header->kind;
    put_text(block.link, sizeof(block.link), header->link);
    memcpy(block.magic, "ustar\00000", sizeof(block.magic));
    unsigned sum = checksum_of((const char *)&block);
    (void)snprintf(block.checksum, sizeof(block.checksum), "%06o", sum);
    block.checksum[CHECKSUM_BYTES - 1] = ' ';
    buf_append(out, &block, sizeof(block));
}

/* "27 path=a/b\n": the number counts the whole line, its own digits too. */
static void put_record(struct buf *out, const char *key, const char *value)
{
    size_t body = strlen(key) + strlen(value) + 3;
    size_t length = body + 1;
    for (size_t round = 0; round < 3; round++) {
        char digits[24];
        length = body + (size_t)snprintf(digits, sizeof(digits), "%zu", length);
    }
    buf_printf(out, "%zu %s=%s\n", length, key, value);
}

static void put_records(const struct tar_header *header, struct buf *records)
{
    char number[32];
    if (strlen(header->path) > NAME_BYTES) {
        put_record(records, "path", header->path);
    }
    if (strlen(header->link) > NAME_BYTES) {
        put_record(records, "linkpath", header->link);
    }
    if (header->size > OCTAL_SIZE_MAX) {
        (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)header->size);
        put_record(records, "size", number);
    }
}

static void pad(struct buf *out)
{
    static const char zeros[TAR_BLOCK_BYTES];
    if (out->len % TAR_BLOCK_BYTES != 0) {
        buf_append(out, zeros, TAR_BLOCK_BYTES - out->len % TAR_BLOCK_BYTES);
    }
}

enum err_code tar_header_write(
    const struct tar_header *header, struct buf *out, struct err_info *err)
{
    struct buf records __attribute__((cleanup(buf_deinit))) = BUF_INIT(RECORDS_BYTES);
    put_records(header, &records);
    if (records.len > 0) {
        struct tar_header pax = { .kind = TAR_PAX, .mode = 0600, .size = records.len };
        (void)snprintf(pax.path, sizeof(pax.path), "PaxHeader");
        put_block(&pax, out);
        buf_append_str(out, buf_view(&records));
        pad(out);
    }
    put_block(header, out);
    return buf_ok(&records) && buf_ok(out) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "a path is too long");
}

/* ---- reading ---- */

enum err_code tar_header_read(
    const char block[TAR_BLOCK_BYTES],
    struct tar_header *ret_header,
    bool *ret_is_end,
    struct err_info *err)
{
    struct tar_header header;
    uint64_t mode = 0;
    uint64_t mtime = 0;
    *ret_is_end = tar_block_is_empty(block);
    if (*ret_is_end) {
        return ERR_OK;
    }
    memset(&header, 0, sizeof(header));
    bool good = tar_block_has_magic(block) && tar_block_is_sound(block)
        && tar_block_number(block, TAR_AT_MODE, INT64_MAX, &mode) == ERR_OK
        && tar_block_number(block, TAR_AT_SIZE, INT64_MAX, &header.size) == ERR_OK
        && tar_block_number(block, TAR_AT_TIME, INT64_MAX, &mtime) == ERR_OK;
    if (!good) {
        return ERR_SET(err, ERR_CORRUPT, "what comes is no archive");
    }
    header.kind = tar_block_type(block);
    header.mode = (uint32_t)mode & 07777;
    header.mtime = (int64_t)mtime;
    tar_block_path(block, header.path);
    (void)!str_copy(tar_block_text(block, TAR_AT_LINK), header.link, sizeof(header.link));
    *ret_header = header;
    return ERR_OK;
}

static enum err_code apply_one(
    struct tar_header *header, struct str_view key, struct str_view value, struct err_info *err)
{
    enum err_code code = ERR_OK;
    if (str_equal(key, STR("path"))) {
        code = str_copy(value, header->path, sizeof(header->path));
    } else if (str_equal(key, STR("linkpath"))) {
        code = str_copy(value, header->link, sizeof(header->link));
    } else if (str_equal(key, STR("size"))) {
        code = str_parse_uint64(value, INT64_MAX, &header->size);
    } else if (str_equal(key, STR("mtime"))) {
        struct str_view whole = value;
        struct str_view part = STR_NONE;
        (void)str_cut(value, '.', &whole, &part);
        code = str_parse_int64(whole, INT32_MIN, INT64_MAX / 2, &header->mtime);
    }
    return code == ERR_OK ? ERR_OK
                          : ERR_SET(err, ERR_CORRUPT, "a record of the archive is out of bounds");
}

enum err_code tar_header_apply(
    struct tar_header *header, struct str_view records, struct err_info *err)
{
    struct str_view key = STR_NONE;
    struct str_view value = STR_NONE;
    enum err_code code = ERR_OK;
    while ((code = tar_record_next(&records, &key, &value)) == ERR_OK) {
        TRY(apply_one(header, key, value, err));
    }
    return code == ERR_NOT_FOUND ? ERR_OK
                                 : ERR_SET(err, code, "a record of the archive cannot be read");
}
