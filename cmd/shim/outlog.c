#include "cmd/shim/outlog.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NAME_BYTES = 64
};

static void open_file(struct outlog *log)
{
    struct stat info;
    log->fd =
        openat(log->dir, log->name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    log->bytes = log->fd >= 0 && fstat(log->fd, &info) == 0 ? (uint64_t)info.st_size : 0;
}

void outlog_open(struct outlog *log, int dir, const char *name, uint64_t cap)
{
    *log = (struct outlog){ .dir = dir, .name = name, .fd = -1, .cap = cap };
    if (cap > 0) {
        open_file(log);
    }
}

void outlog_close(struct outlog *log)
{
    fd_close(&log->fd);
}

static void rotate(struct outlog *log)
{
    char older[NAME_BYTES];
    (void)snprintf(older, sizeof(older), "%s.1", log->name);
    fd_close(&log->fd);
    (void)renameat(log->dir, log->name, log->dir, older);
    open_file(log);
}

void outlog_append(struct outlog *log, struct str_view data)
{
    while (data.len > 0 && log->fd >= 0) {
        if (log->bytes >= log->cap) {
            rotate(log);
            if (log->fd < 0 || log->bytes >= log->cap) {
                break;
            }
        }
        size_t part = log->cap - log->bytes < data.len ? (size_t)(log->cap - log->bytes) : data.len;
        ssize_t written = write(log->fd, data.ptr, part);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            break;
        }
        log->bytes += (uint64_t)written;
        data = str_from(data.ptr + written, data.len - (size_t)written);
    }
    log->dropped += log->cap > 0 ? data.len : 0;
}

/* Of one of the two files, which ends with the stream's byte before `end`. */
static size_t read_file(
    const struct outlog *log, const char *name, uint64_t end, uint64_t *offset, struct buf *into)
{
    struct stat info;
    AUTO_FD int fd = openat(log->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || *offset >= end) {
        return 0;
    }
    uint64_t size = (uint64_t)info.st_size;
    *offset = end > size && *offset < end - size ? end - size : *offset;
    uint64_t left = end - *offset;
    size_t wanted = left < into->cap ? (size_t)left : into->cap;
    char *room = buf_extend(into, wanted);
    ssize_t got = room == NULL ? -1 : pread(fd, room, wanted, (off_t)(size - left));
    into->len = got < 0 ? 0 : (size_t)got;
    return into->len;
}

bool outlog_read(const struct outlog *log, uint64_t end, uint64_t *offset, struct buf *into)
{
    char older[NAME_BYTES];
    uint64_t first = end > log->bytes ? end - log->bytes : 0; /* of the newest file */
    buf_clear(into);
    if (log->cap == 0 || log->dropped > 0) {
        return false;
    }
    (void)snprintf(older, sizeof(older), "%s.1", log->name);
    if (*offset < first && read_file(log, older, first, offset, into) == 0) {
        *offset = first;
    }
    return into->len > 0 || read_file(log, log->name, end, offset, into) > 0;
}
