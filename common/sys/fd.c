#include "common/sys/fd.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        (void)close(*fd);
        errno = saved;
        *fd = -1;
    }
}

enum err_code fd_write_all(int fd, const void *data, size_t bytes, struct err_info *err)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t done = write(fd, at, bytes);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return ERR_SET_ERRNO(
                err,
                errno == ENOSPC || errno == EDQUOT ? ERR_LIMIT : ERR_UNAVAILABLE,
                errno,
                "write");
        }
        at += done;
        bytes -= (size_t)done;
    }
    return ERR_OK;
}

enum err_code fd_read_full(
    int fd, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
{
    char *at = data;
    size_t total = 0;
    while (total < bytes) {
        ssize_t got = read(fd, at + total, bytes - total);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "read");
        }
        if (got == 0) {
            break;
        }
        total += (size_t)got;
    }
    *ret_bytes = total;
    return ERR_OK;
}

size_t fd_raise_limit(void)
{
    struct rlimit limit = { 0 };
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return (size_t)(setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before);
}
