#include "common/sys/file.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err_code code_of_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case ELOOP:
    case EROFS:
        return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
        return ERR_LIMIT;
    case EEXIST:
        return ERR_EXISTS;
    default:
        return ERR_UNAVAILABLE;
    }
}

/* The rest of an open file, of which nobody says how long it is. */
static enum err_code read_rest(
    int fd, const char *path, size_t max_bytes, struct buf *buf, struct err_info *err)
{
    AUTO_FREE char *data = mem_try_alloc(max_bytes + 1);
    size_t got = 0;
    if (data == NULL) {
        return ERR_SET(err, ERR_NOMEM, "%s: out of memory", path);
    }
    enum err_code code = fd_read_full(fd, data, max_bytes + 1, &got, err);
    if (code != ERR_OK) {
        err_prefix(err, "%s", path);
        return code;
    }
    if (got > max_bytes) {
        return ERR_SET(err, ERR_LIMIT, "%s: larger than %zu bytes", path, max_bytes);
    }
    buf_append(buf, data, got);
    explicit_bzero(data, got);
    return buf_ok(buf) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "%s: does not fit its buffer", path);
}

static enum err_code read_checked(
    const char *path, size_t max_bytes, bool private, struct buf *buf, struct err_info *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        int number = errno;
        if (number == ELOOP) {
            return ERR_SET(err, ERR_DENIED, "%s: is a symbolic link; name the file itself", path);
        }
        return ERR_SET_ERRNO(err, code_of_errno(number), number, "%s", path);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return ERR_SET(err, ERR_INVALID, "%s: not a regular file", path);
    }
    if (private && info.st_uid != geteuid() && info.st_uid != 0) {
        return ERR_SET(err, ERR_DENIED, "%s: belongs to uid %u, not to us", path, info.st_uid);
    }
    if (private && (info.st_mode & 077) != 0) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "%s: mode %04o lets others read or write it; run: chmod 600 %s",
            path,
            (unsigned)info.st_mode & 07777U,
            path);
    }
    if ((uint64_t)info.st_size > max_bytes) {
        return ERR_SET(err, ERR_LIMIT, "%s: larger than %zu bytes", path, max_bytes);
    }
    return read_rest(fd, path, max_bytes, buf, err);
}

enum err_code file_read(const char *path, size_t max_bytes, struct buf *buf, struct err_info *err)
{
    return read_checked(path, max_bytes, false, buf, err);
}

enum err_code file_read_named(
    const char *path, size_t max_bytes, struct buf *buf, struct err_info *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    return read_rest(fd, path, max_bytes, buf, err);
}

enum err_code file_read_private(
    const char *path, size_t max_bytes, struct buf *buf, struct err_info *err)
{
    return read_checked(path, max_bytes, true, buf, err);
}

enum err_code file_overwrite(const char *path, const void *data, size_t bytes, struct err_info *err)
{
    struct stat info;
    AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (bytes > FILE_SECTOR_BYTES) {
        return ERR_SET(err, ERR_INVALID, "%s: at most %d bytes at once", path, FILE_SECTOR_BYTES);
    }
    if (fd < 0 || fstat(fd, &info) != 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    if (!S_ISREG(info.st_mode) || info.st_size != (off_t)bytes) {
        return ERR_SET(err, ERR_NOT_FOUND, "%s: not a file of %zu bytes", path, bytes);
    }
    if (pwrite(fd, data, bytes, 0) != (ssize_t)bytes || fdatasync(fd) != 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    return ERR_OK;
}

enum err_code file_sync(const char *path, struct err_info *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fsync(fd) != 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s: fsync", path);
    }
    return ERR_OK;
}

static enum err_code sync_parent(const char *path, struct err_info *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *parent = slash == NULL ? mem_strdup(".")
        : slash == path                    ? mem_strdup("/")
                                           : mem_printf("%.*s", (int)(slash - path), path);
    AUTO_FD int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s: fsync of its folder", path);
    }
    return ERR_OK;
}

static enum err_code write_new(
    const char *path,
    const void *data,
    size_t bytes,
    mode_t mode,
    bool is_synced,
    struct err_info *err)
{
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    TRY(fd_write_all(fd, data, bytes, err));
    if (fchmod(fd, mode) != 0 || (is_synced && fsync(fd) != 0)) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    return ERR_OK;
}

static enum err_code replace(
    const char *path,
    const void *data,
    size_t bytes,
    mode_t mode,
    bool is_synced,
    struct err_info *err)
{
    uint64_t random = 0;
    id_random(&random, sizeof(random));
    AUTO_FREE char *temporary = mem_printf("%s.%016llx.tmp", path, (unsigned long long)random);
    enum err_code code = write_new(temporary, data, bytes, mode, is_synced, err);
    if (code == ERR_OK && rename(temporary, path) != 0) {
        code = ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s: rename", path);
    }
    if (code != ERR_OK) {
        (void)unlink(temporary);
    }
    return code;
}

enum err_code file_write_atomic(
    const char *path, const void *data, size_t bytes, mode_t mode, struct err_info *err)
{
    TRY(replace(path, data, bytes, mode, true, err));
    return sync_parent(path, err);
}

enum err_code file_replace(
    const char *path, const void *data, size_t bytes, mode_t mode, struct err_info *err)
{
    return replace(path, data, bytes, mode, false, err);
}

enum err_code file_make_dir(const char *path, mode_t mode, struct err_info *err)
{
    if (mkdir(path, mode) == 0) {
        if (chmod(path, mode) != 0) {
            return ERR_SET_ERRNO(err, ERR_DENIED, errno, "%s: chmod", path);
        }
        return ERR_OK;
    }
    if (errno != EEXIST) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s: mkdir", path);
    }
    struct stat info;
    if (lstat(path, &info) != 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    if (!S_ISDIR(info.st_mode)) {
        return ERR_SET(err, ERR_DENIED, "%s: not a folder (symbolic links are refused)", path);
    }
    if (info.st_uid != geteuid()) {
        return ERR_SET(err, ERR_DENIED, "%s: belongs to uid %u, not to us", path, info.st_uid);
    }
    if ((info.st_mode & 07777U & ~mode) != 0) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "%s: mode %04o is looser than %04o; run: chmod %o %s",
            path,
            (unsigned)info.st_mode & 07777U,
            (unsigned)mode,
            (unsigned)mode,
            path);
    }
    return ERR_OK;
}

enum err_code file_lock_dir(const char *dir, int *ret_fd, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/lock", dir);
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        char holder[16] = "";
        ssize_t got = pread(fd, holder, sizeof(holder) - 1, 0);
        holder[got > 0 ? got : 0] = '\0';
        struct str_view pid = str_trim(str_of(holder));
        return ERR_SET(err, ERR_BUSY, "%s: in use by process %.*s", dir, STR_ARG(pid));
    }
    char text[16];
    int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length) {
        return ERR_SET_ERRNO(err, code_of_errno(errno), errno, "%s", path);
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

bool file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}
