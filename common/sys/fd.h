/* File descriptors: closing by scope, flags, whole reads and writes. */
#ifndef COMMON_SYS_FD_H
#define COMMON_SYS_FD_H

#include "common/base/err.h"

#include <stddef.h>

void fd_close(int *fd); /* closes and sets -1; -1 is allowed; keeps errno */

#define AUTO_FD __attribute__((cleanup(fd_close)))

/* Gives the descriptor away, so that the scope does not close it. */
static inline int fd_steal(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

/* Writes all bytes, repeats after EINTR; for blocking descriptors. */
enum err_code fd_write_all(int fd, const void *data, size_t bytes, struct err_info *err) MUST_CHECK;

/* Reads until bytes or the end; ret_bytes tells how many. */
enum err_code fd_read_full(
    int fd, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err) MUST_CHECK;

/*
 * Raises the soft limit of open descriptors to the hard one (a server needs three per agent);
 * returns the limit in force.
 */
size_t fd_raise_limit(void);

#endif
