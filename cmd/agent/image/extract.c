#include "cmd/agent/image/extract.h"

#include "cmd/agent/image/tar.h"
#include "common/base/cleanup.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    COPY_BYTES = 65536,
    OTHERS = 05 /* nobody writes to an image */
};

struct extract {
    struct source *source;
    int root_fd;
    struct tar_reader reader;
    struct extract_sum sum;
    uint64_t made_max;
    uint64_t made; /* entries, and folders that none of them named */
    char *copy;    /* COPY_BYTES */
};

static enum err_code damaged(struct err_info *err)
{
    return ERR_SET(err, ERR_CORRUPT, "tar: the archive breaks off");
}

static enum err_code read_whole(
    struct extract *extract, void *data, size_t bytes, struct err_info *err)
{
    size_t got = 0;
    TRY(source_read(extract->source, data, bytes, &got, err));
    return got == bytes ? ERR_OK : damaged(err);
}

static enum err_code skip(struct extract *extract, uint64_t bytes, struct err_info *err)
{
    while (bytes > 0) {
        size_t part = bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES;
        TRY(read_whole(extract, extract->copy, part, err));
        bytes -= part;
    }
    return ERR_OK;
}

/* ---- Names ---- */

/* "./a//b/" becomes "a/b", in place; what leads out is refused. Empty: the root itself. */
static enum err_code clean(char *path, struct err_info *err)
{
    unsigned depth = 0;
    char *out = path;
    const char *at = path;
    if (path[0] == '/') {
        return ERR_SET(err, ERR_DENIED, "tar: %.200s: an absolute name", path);
    }
    while (*at != '\0') {
        size_t bytes = strcspn(at, "/");
        if (bytes == 2 && memcmp(at, "..", 2) == 0) {
            return ERR_SET(err, ERR_DENIED, "tar: a name with '..' in it");
        }
        if (bytes > NAME_MAX || depth > EXTRACT_DEPTH_MAX) {
            return ERR_SET(err, ERR_LIMIT, "tar: a name that is too long, or too deep");
        }
        if (bytes > 0 && !(bytes == 1 && at[0] == '.')) {
            if (out != path) {
                *out++ = '/';
            }
            memmove(out, at, bytes);
            out += bytes;
            depth++;
        }
        at += bytes;
        at += *at == '/' ? 1 : 0;
    }
    *out = '\0';
    return ERR_OK;
}

static int open_below(int root_fd, const char *path)
{
    struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
    return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

static enum err_code fail(const char *path, struct err_info *err)
{
    int number = errno;
    enum err_code code = number == ENOSPC || number == EDQUOT ? ERR_LIMIT : ERR_UNAVAILABLE;
    return number == ELOOP || number == ENOTDIR || number == EXDEV
        ? ERR_SET(err, ERR_DENIED, "tar: %.200s: a link or a file on its way", path)
        : ERR_SET_ERRNO(err, code, number, "image: %.200s", path);
}

static enum err_code count_one(struct extract *extract, struct err_info *err)
{
    extract->made++;
    return extract->made <= extract->made_max
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_LIMIT,
            "tar: more than %llu entries, with the folders that they lie in",
            (unsigned long long)extract->made_max);
}

/* Folders that the archive did not name before what is in them. */
static enum err_code make_parents(struct extract *extract, const char *path, struct err_info *err)
{
    char part[TAR_PATH_BYTES];
    int root_fd = extract->root_fd;
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        AUTO_FD int parent = -1;
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        char *name = strrchr(part, '/');
        if (name != NULL) {
            *name++ = '\0';
            parent = open_below(root_fd, part);
        } else {
            name = part;
            parent = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
        }
        bool made = parent >= 0 && mkdirat(parent, name, 0755) == 0;
        /* Whatever the umask was: everybody looks through it. */
        if (made ? fchmodat(parent, name, 0755, 0) != 0 : parent < 0 || errno != EEXIST) {
            return fail(path, err);
        }
        TRY(made ? count_one(extract, err) : ERR_OK);
    }
    return ERR_OK;
}

/* The folder that a path lies in, made if it is not there; ret_name is its last part. */
static enum err_code open_parent(
    struct extract *extract,
    const char *path,
    int *ret_fd,
    const char **ret_name,
    struct err_info *err)
{
    char folder[TAR_PATH_BYTES];
    int root_fd = extract->root_fd;
    const char *slash = strrchr(path, '/');
    (void)snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path), path);
    int fd = open_below(root_fd, slash == NULL ? "." : folder);
    if (fd < 0 && errno == ENOENT) {
        TRY(make_parents(extract, path, err));
        fd = open_below(root_fd, folder);
    }
    if (fd < 0) {
        return fail(path, err);
    }
    *ret_fd = fd;
    *ret_name = slash == NULL ? path : slash + 1;
    return ERR_OK;
}

/* ---- Entries ---- */

static mode_t mode_of(const struct tar_entry *entry, mode_t least)
{
    unsigned shift = entry->uid == SANDBOX_UID ? 6 : entry->gid == SANDBOX_UID ? 3 : 0;
    mode_t seen = entry->mode >> shift & OTHERS;
    return (entry->mode & 0700U) | least | seen << 3 | seen;
}

static enum err_code copy_file(
    struct extract *extract, const struct tar_entry *entry, int fd, struct err_info *err)
{
    uint64_t left = entry->bytes;
    while (left > 0) {
        size_t part = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        TRY(read_whole(extract, extract->copy, part, err));
        TRY(fd_write_all(fd, extract->copy, part, err));
        left -= part;
    }
    extract->sum.bytes += entry->bytes;
    return skip(extract, tar_padding(entry->bytes), err);
}

/* A later entry of the same name takes the place of the earlier one, which is never written into:
 * it may be a link. */
static enum err_code put_file(
    struct extract *extract,
    const struct tar_entry *entry,
    int parent,
    const char *name,
    struct err_info *err)
{
    struct timespec times[2] = { { .tv_sec = entry->time_s }, { .tv_sec = entry->time_s } };
    if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
        return fail(entry->path, err);
    }
    AUTO_FD int fd =
        openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(entry->path, err);
    }
    TRY(copy_file(extract, entry, fd, err));
    return fchmod(fd, mode_of(entry, 0400)) == 0 && futimens(fd, times) == 0
        ? ERR_OK
        : fail(entry->path, err);
}

static enum err_code put_folder(
    const struct tar_entry *entry, int parent, const char *name, struct err_info *err)
{
    if (mkdirat(parent, name, 0755) != 0 && errno != EEXIST) {
        return fail(entry->path, err);
    }
    AUTO_FD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && fchmod(fd, mode_of(entry, 0700)) == 0 ? ERR_OK : fail(entry->path, err);
}

/* Where it leads is the sandbox's business: only there it is followed. */
static enum err_code put_symlink(
    const struct tar_entry *entry, int parent, const char *name, struct err_info *err)
{
    if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
        return fail(entry->path, err);
    }
    return symlinkat(entry->target, parent, name) == 0 ? ERR_OK : fail(entry->path, err);
}

/* To a file of this archive alone. */
static enum err_code put_hard_link(
    struct extract *extract,
    struct tar_entry *entry,
    int parent,
    const char *name,
    struct err_info *err)
{
    struct stat info;
    const char *target = entry->target;
    AUTO_FD int folder = -1;
    TRY(clean(entry->target, err));
    if (entry->target[0] == '\0') {
        return ERR_SET(err, ERR_DENIED, "tar: %.200s: a link to no file", entry->path);
    }
    TRY(open_parent(extract, entry->target, &folder, &target, err));
    if (fstatat(folder, target, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) {
        return ERR_SET(
            err, ERR_DENIED, "tar: %.200s: a link to what is no file of the archive", entry->path);
    }
    if (strcmp(entry->path, entry->target) == 0) {
        return ERR_OK;
    }
    if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
        return fail(entry->path, err);
    }
    return linkat(folder, target, parent, name, 0) == 0 ? ERR_OK : fail(entry->path, err);
}

static enum err_code put_entry(struct extract *extract, struct err_info *err)
{
    struct tar_entry *entry = &extract->reader.entry;
    const char *name = entry->path;
    AUTO_FD int parent = -1;
    extract->sum.entries++;
    TRY(count_one(extract, err));
    TRY(clean(entry->path, err));
    if (entry->path[0] == '\0' || entry->kind == TAR_SPECIAL) {
        extract->sum.skipped += entry->kind == TAR_SPECIAL ? 1 : 0;
        return skip(extract, entry->bytes + tar_padding(entry->bytes), err);
    }
    TRY(open_parent(extract, entry->path, &parent, &name, err));
    switch (entry->kind) {
    case TAR_FILE:
        return put_file(extract, entry, parent, name, err);
    case TAR_FOLDER:
        return put_folder(entry, parent, name, err);
    case TAR_SYMLINK:
        return put_symlink(entry, parent, name, err);
    case TAR_HARD_LINK:
        return put_hard_link(extract, entry, parent, name, err);
    case TAR_SPECIAL:
        break;
    }
    return ERR_OK;
}

static enum err_code take_meta(struct extract *extract, struct err_info *err)
{
    size_t bytes = (size_t)extract->reader.meta_bytes;
    AUTO_FREE char *meta = mem_alloc(bytes + 1);
    TRY(read_whole(extract, meta, bytes, err));
    TRY(skip(extract, tar_padding(bytes), err));
    return tar_meta(&extract->reader, str_from(meta, bytes), err);
}

static enum err_code run(struct extract *extract, struct err_info *err)
{
    uint8_t block[TAR_BLOCK_BYTES];
    enum tar_step step = TAR_STEP_EMPTY;
    while (step != TAR_STEP_END) {
        size_t got = 0;
        TRY(source_read(extract->source, block, sizeof(block), &got, err));
        if (got == 0 && extract->sum.entries > 0) {
            return ERR_OK; /* without the two empty blocks: some writers leave them out */
        }
        if (got != sizeof(block)) {
            return damaged(err);
        }
        TRY(tar_block(&extract->reader, block, &step, err));
        if (step == TAR_STEP_META) {
            TRY(take_meta(extract, err));
        } else if (step == TAR_STEP_ENTRY) {
            TRY(put_entry(extract, err));
        }
    }
    return extract->sum.entries > 0 ? ERR_OK
                                    : ERR_SET(err, ERR_INVALID, "tar: the archive is empty");
}

enum err_code extract_tar(
    struct source *source,
    int root_fd,
    uint64_t entries_max,
    struct extract_sum *ret_sum,
    struct err_info *err)
{
    AUTO_FREE char *copy = mem_alloc(COPY_BYTES);
    AUTO_FREE struct extract *extract = mem_alloc(sizeof(*extract));
    extract->source = source;
    extract->root_fd = root_fd;
    extract->made_max = entries_max;
    extract->copy = copy;
    TRY(run(extract, err));
    *ret_sum = extract->sum;
    return ERR_OK;
}
