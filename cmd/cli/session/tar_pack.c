/* Packing: the operator's own files, walked without following links. */
#include "cmd/cli/session/tar.h"
#include "cmd/cli/session/tar_header.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEADS_BYTES = 32 * 1024,
    COPY_BYTES = 256 * 1024
};

struct packer {
    const char *name;
    size_t root_bytes; /* of the path that was asked for */
    int out_fd;
    struct tar_counts *counts;
    struct err_info *err;
    char *bytes; /* COPY_BYTES */
};

static enum err_code put(struct packer *packer, const void *data, size_t bytes)
{
    enum err_code code = fd_write_all(packer->out_fd, data, bytes, packer->err);
    return code == ERR_OK ? ERR_OK
                          : ERR_SET(packer->err, ERR_CANCELED, "the sandbox takes no more");
}

static enum err_code put_header(struct packer *packer, const struct tar_header *header)
{
    AUTO_BUF struct buf heads = BUF_INIT(HEADS_BYTES);
    TRY(tar_header_write(header, &heads, packer->err));
    return put(packer, heads.data, heads.len);
}

static enum err_code put_padding(struct packer *packer, uint64_t size)
{
    static const char zeros[TAR_BLOCK_BYTES];
    size_t over = (size_t)(size % TAR_BLOCK_BYTES);
    return over == 0 ? ERR_OK : put(packer, zeros, TAR_BLOCK_BYTES - over);
}

/* Exactly as many bytes as the head says: a file that changes meanwhile is an error, not a hole. */
static enum err_code put_content(struct packer *packer, int fd, const struct tar_header *header)
{
    for (uint64_t left = header->size; left > 0;) {
        size_t wanted = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        size_t got = 0;
        TRY(fd_read_full(fd, packer->bytes, wanted, &got, packer->err));
        if (got != wanted) {
            return ERR_SET(
                packer->err, ERR_CONFLICT, "%s became shorter while it was read", header->path);
        }
        TRY(put(packer, packer->bytes, wanted));
        left -= wanted;
    }
    packer->counts->files++;
    packer->counts->bytes += header->size;
    return put_padding(packer, header->size);
}

static enum err_code put_file(struct packer *packer, const char *path, struct tar_header *header)
{
    struct stat stat;
    AUTO_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0) {
        return ERR_SET_ERRNO(packer->err, ERR_DENIED, errno, "%s cannot be read", path);
    }
    if (!S_ISREG(stat.st_mode)) {
        return ERR_SET(packer->err, ERR_CONFLICT, "%s is no file any more", path);
    }
    header->size = (uint64_t)stat.st_size;
    TRY(put_header(packer, header));
    return put_content(packer, fd, header);
}

static enum err_code put_link(struct packer *packer, const char *path, struct tar_header *header)
{
    ssize_t length = readlink(path, header->link, sizeof(header->link) - 1);
    if (length < 0) {
        return ERR_SET_ERRNO(packer->err, ERR_DENIED, errno, "%s cannot be read", path);
    }
    header->link[length] = 0;
    packer->counts->links++;
    return put_header(packer, header);
}

static enum err_code put_entry(struct packer *packer, const FTSENT *entry)
{
    struct tar_header header = {
        .mode = entry->fts_statp == NULL ? 0 : entry->fts_statp->st_mode & 07777,
        .mtime = entry->fts_statp == NULL ? 0 : entry->fts_statp->st_mtim.tv_sec,
    };
    const char *rest = entry->fts_path + packer->root_bytes;
    int length = snprintf(header.path, sizeof(header.path), "%s%s", packer->name, rest);
    if (length < 0 || (size_t)length >= sizeof(header.path)) {
        return ERR_SET(packer->err, ERR_LIMIT, "%s: the path is too long", entry->fts_path);
    }
    switch (entry->fts_info) {
    case FTS_D:
        header.kind = TAR_FOLDER;
        packer->counts->folders++;
        return put_header(packer, &header);
    case FTS_F:
        header.kind = TAR_FILE;
        return put_file(packer, entry->fts_path, &header);
    case FTS_SL:
    case FTS_SLNONE:
        header.kind = TAR_SYMLINK;
        return put_link(packer, entry->fts_path, &header);
    case FTS_DP:
        return ERR_OK;
    case FTS_DEFAULT:
        if (packer->counts->refused++ == 0) {
            (void)snprintf(
                packer->counts->first_refused,
                sizeof(packer->counts->first_refused),
                "%.200s",
                entry->fts_path);
        }
        return ERR_OK;
    default:
        return ERR_SET_ERRNO(
            packer->err, ERR_DENIED, entry->fts_errno, "%s cannot be read", entry->fts_path);
    }
}

static enum err_code put_all(struct packer *packer, const char *path)
{
    static const char end[2 * TAR_BLOCK_BYTES];
    char *const paths[] = { CONST_CAST(char *, path), NULL };
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    enum err_code code = ERR_OK;
    if (walk == NULL) {
        return ERR_SET_ERRNO(packer->err, ERR_DENIED, errno, "%s cannot be read", path);
    }
    errno = 0;
    for (FTSENT *entry = fts_read(walk); entry != NULL && code == ERR_OK; entry = fts_read(walk)) {
        code = put_entry(packer, entry);
        errno = 0;
    }
    if (code == ERR_OK && errno != 0) {
        code = ERR_SET_ERRNO(packer->err, ERR_DENIED, errno, "%s cannot be read", path);
    }
    (void)fts_close(walk);
    TRY(code);
    return put(packer, end, sizeof(end));
}

enum err_code tar_pack(
    const char *path, const char *name, int out_fd, struct tar_counts *counts, struct err_info *err)
{
    AUTO_FREE char *bytes = mem_alloc(COPY_BYTES);
    struct packer packer = { .name = name,
                             .root_bytes = strlen(path),
                             .out_fd = out_fd,
                             .counts = counts,
                             .err = err,
                             .bytes = bytes };
    while (packer.root_bytes > 1 && path[packer.root_bytes - 1] == '/') {
        packer.root_bytes--; /* as fts gives it back */
    }
    AUTO_FREE char *trimmed = mem_alloc(packer.root_bytes + 1);
    memcpy(trimmed, path, packer.root_bytes);
    return put_all(&packer, trimmed);
}
