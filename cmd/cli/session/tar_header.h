/* The head of a member: the fields that count, read from and written as ustar with pax records. */
#ifndef CMD_CLI_SESSION_TAR_HEADER_H
#define CMD_CLI_SESSION_TAR_HEADER_H

#include "common/base/buf.h"
#include "common/tar/block.h"

enum {
    TAR_PATH_MAX = 4096, /* with its NUL */
    TAR_RECORDS_MAX = 64 * 1024
};

/* Kinds of members, as their type byte. */
enum tar_kind {
    TAR_FILE = '0',
    TAR_HARD_LINK = '1',
    TAR_SYMLINK = '2',
    TAR_FOLDER = '5',
    TAR_CONTIGUOUS = '7', /* a file */
    TAR_OLD_FILE = 0,
    TAR_PAX = 'x',
    TAR_PAX_GLOBAL = 'g',
    TAR_LONG_NAME = 'L', /* of GNU: the next member's name is this one's content */
    TAR_LONG_LINK = 'K'
};

struct tar_header {
    char kind;
    uint32_t mode;
    uint64_t size;
    int64_t mtime;
    char path[TAR_PATH_MAX];
    char link[TAR_PATH_MAX];
};

/* Appends head and, where ustar has no room for it, the pax records before it. */
enum err_code tar_header_write(
    const struct tar_header *header, struct buf *out, struct err_info *err) MUST_CHECK;

/* One block; is_end: it is all zero. ERR_CORRUPT: not a head. */
enum err_code tar_header_read(
    const char block[TAR_BLOCK_BYTES],
    struct tar_header *ret_header,
    bool *ret_is_end,
    struct err_info *err) MUST_CHECK;

/* Overrides with what the records of a pax head say of path, linkpath, size and mtime. */
enum err_code tar_header_apply(
    struct tar_header *header, struct str_view records, struct err_info *err) MUST_CHECK;

#endif
