/*
 * Tar archives, header by header: ustar, with the long names of pax and GNU. Does no I/O and takes
 * an archive as hostile: every number and name is bounded, what it does not know is refused or left
 * out. The caller hands over each block (common/tar) that is due and learns what follows it.
 */
#ifndef CMD_AGENT_IMAGE_TAR_H
#define CMD_AGENT_IMAGE_TAR_H

#include "common/base/buf.h"
#include "common/tar/block.h"

enum {
    TAR_PATH_BYTES = 4096,      /* with its NUL */
    TAR_META_BYTES_MAX = 131072 /* of one extended header */
};

enum tar_kind {
    TAR_FILE,
    TAR_FOLDER,
    TAR_SYMLINK,
    TAR_HARD_LINK,
    TAR_SPECIAL /* device, fifo: nothing follows */
};

struct tar_entry {
    enum tar_kind kind;
    char path[TAR_PATH_BYTES];
    char target[TAR_PATH_BYTES]; /* of a link */
    unsigned mode;               /* the permission bits, with setuid and the like */
    uint64_t uid;
    uint64_t gid;
    uint64_t bytes; /* of a file, which follow, filled up to whole blocks */
    int64_t time_s;
};

enum tar_step {
    TAR_STEP_ENTRY, /* reader->entry */
    TAR_STEP_META,  /* reader->meta_bytes follow, for tar_meta, filled up to whole blocks */
    TAR_STEP_EMPTY, /* a block of zeros */
    TAR_STEP_END    /* the second one in turn: the archive ends */
};

struct tar_reader {
    struct tar_entry entry;
    uint64_t meta_bytes;
    char meta_type;
    bool saw_empty;
    /* What extended headers said about the next entry. */
    bool has_path;
    bool has_target;
    bool has_bytes;
    bool has_uid;
    bool has_gid;
    struct tar_entry said;
};

/* Starts with a reader of zeros. ERR_CORRUPT, ERR_LIMIT, ERR_UNSUPPORTED (sparse files, parts of a
 * larger archive). */
enum err_code tar_block(
    struct tar_reader *reader,
    const uint8_t block[TAR_BLOCK_BYTES],
    enum tar_step *ret_step,
    struct err_info *err) MUST_CHECK;
enum err_code tar_meta(struct tar_reader *reader, struct str_view data, struct err_info *err)
    MUST_CHECK;

#endif
