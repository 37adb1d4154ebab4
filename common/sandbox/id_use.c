#include "common/sandbox/id_use.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/types.h>

static struct flock area_of(short type, uint64_t base, uint64_t count)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)base, .l_len = (off_t)count
    };
}

static enum err_code open_file(int *ret_fd, struct err_info *err)
{
    int fd = open(ID_USE_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_DENIED, errno, ID_USE_FILE);
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err_code id_use_hold(uint64_t base, uint64_t count, int *ret_fd, struct err_info *err)
{
    AUTO_FD int fd = -1;
    struct flock area = area_of(F_RDLCK, base, count);
    TRY(open_file(&fd, err));
    if (fcntl(fd, F_OFD_SETLK, &area) != 0) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, ID_USE_FILE ": locking");
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

enum err_code id_use_check(uint64_t base, uint64_t count, uint64_t *ret_free, struct err_info *err)
{
    AUTO_FD int fd = -1;
    struct flock area = area_of(F_WRLCK, base, count);
    TRY(open_file(&fd, err));
    if (fcntl(fd, F_OFD_GETLK, &area) != 0) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, ID_USE_FILE ": asking for locks");
    }
    if (area.l_type == F_UNLCK) {
        return ERR_OK;
    }
    *ret_free = (uint64_t)area.l_start + (uint64_t)area.l_len;
    return ERR_SET(
        err,
        ERR_BUSY,
        "host user ids %" PRIu64 " to %" PRIu64 " are in part those of a sandbox that runs",
        base,
        base + count - 1);
}
