/*
 * Files of a careful daemon: modes are checked, symlinks refused, replacements atomic and durable,
 * folders locked against a second process.
 */
#ifndef COMMON_SYS_FILE_H
#define COMMON_SYS_FILE_H

#include "common/base/buf.h"

#include <sys/types.h>

enum {
    FILE_SECTOR_BYTES = 512
};

/*
 * Reads a regular file of at most max_bytes; a symlink as last component is refused. ERR_NOT_FOUND,
 * ERR_LIMIT (too large), ERR_DENIED. buf is appended to.
 */
enum err_code file_read(const char *path, size_t max_bytes, struct buf *buf, struct err_info *err)
    MUST_CHECK;

/* As file_read of what a person has named for a program that ends: links are followed, and a pipe,
 * as a shell makes it for <(COMMAND), is read to its end, however long that takes. */
enum err_code file_read_named(
    const char *path, size_t max_bytes, struct buf *buf, struct err_info *err) MUST_CHECK;

/*
 * As file_read for something secret: owned by us (or root) and no permission for group or others,
 * else ERR_DENIED with the chmod to run.
 */
enum err_code file_read_private(
    const char *path, size_t max_bytes, struct buf *buf, struct err_info *err) MUST_CHECK;

/* Temporary file beside path, fsync, rename, fsync of the folder. Readers see old or new, never
 * half. */
enum err_code file_write_atomic(
    const char *path, const void *data, size_t bytes, mode_t mode, struct err_info *err) MUST_CHECK;

/* As file_write_atomic without a sync: it outlives this process, whatever ends it, but may be gone
 * or empty when the host's power fails before file_sync, or the kernel by itself, has written it.
 */
enum err_code file_replace(
    const char *path, const void *data, size_t bytes, mode_t mode, struct err_info *err) MUST_CHECK;

/* Puts data in place of all that a file has, which must be as long, and on the disk: nothing but
 * its bytes changes, so that the file system's journal is not waited for. At most
 * FILE_SECTOR_BYTES: what lies in one sector is written whole or not at all. ERR_NOT_FOUND: no such
 * file, or of another size; write it with file_write_atomic. */
enum err_code file_overwrite(const char *path, const void *data, size_t bytes, struct err_info *err)
    MUST_CHECK;

/* To the disk with a regular file or a folder; of a folder the names in it, not what they name. */
enum err_code file_sync(const char *path, struct err_info *err) MUST_CHECK;

/* Makes one folder with exactly this mode; an existing one must be ours, a folder, and no looser.
 */
enum err_code file_make_dir(const char *path, mode_t mode, struct err_info *err) MUST_CHECK;

/* Takes an exclusive lock on dir/lock, written with our pid; ERR_BUSY names the holder. Hold ret_fd
 * open. */
enum err_code file_lock_dir(const char *dir, int *ret_fd, struct err_info *err) MUST_CHECK;

bool file_exists(const char *path);

#endif
