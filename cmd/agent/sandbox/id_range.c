#include "cmd/agent/sandbox/id_range.h"

#include "cmd/agent/sandbox/sandbox.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/sandbox/id_use.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
    DIGITS_MAX = 20
};

#define ID_LAST (UINT64_C(4294967295) - 1) /* one less: (uid_t)-1 means "none" to the kernel */

static uint64_t end_of(const struct id_range *range)
{
    return range->base + range->count;
}

static bool fits(const struct id_range *range)
{
    return range->count <= ID_LAST && range->base <= ID_LAST - range->count + 1;
}

/* ERR_BUSY: ret_free is where the ids of whoever holds some of these end. */
static enum err_code lock(const struct id_range *range, uint64_t *ret_free, struct err_info *err)
{
    struct flock area = { .l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)range->base,
                          .l_len = (off_t)range->count };
    *ret_free = end_of(range);
    if (fcntl(range->fd, F_OFD_SETLK, &area) == 0) {
        return ERR_OK;
    }
    if (errno != EAGAIN && errno != EACCES) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, ID_RANGE_FILE ": locking");
    }
    if (fcntl(range->fd, F_OFD_GETLK, &area) == 0 && area.l_type != F_UNLCK) {
        *ret_free = (uint64_t)area.l_start + (uint64_t)area.l_len;
    }
    return ERR_SET(
        err,
        ERR_BUSY,
        "host user ids %" PRIu64 " to %" PRIu64
        " are in part those of another agent of this machine; give each agent its own "
        "(sandbox-uid-base), or none to have them chosen",
        range->base,
        end_of(range) - 1);
}

static void unlock(const struct id_range *range)
{
    struct flock area = { .l_type = F_UNLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)range->base,
                          .l_len = (off_t)range->count };
    (void)fcntl(range->fd, F_OFD_SETLK, &area);
}

/* For an agent that had other ids, or none: neither may another agent have these, nor may a sandbox
 * use them that runs on without one. */
static enum err_code lock_unused(
    const struct id_range *range, uint64_t *ret_free, struct err_info *err)
{
    TRY(lock(range, ret_free, err));
    enum err_code code = id_use_check(range->base, range->count, ret_free, err);
    if (code != ERR_OK) {
        unlock(range);
    }
    return code;
}

/* Those that follow the others' are tried in turn; each step goes up, so it comes to an end. */
static enum err_code lock_free(struct id_range *range, struct err_info *err)
{
    range->base = SANDBOX_UID_BASE;
    while (fits(range)) {
        uint64_t next = 0;
        enum err_code code = lock_unused(range, &next, err);
        if (code != ERR_BUSY) {
            return code;
        }
        next = next <= range->base ? range->base + SANDBOX_UID_COUNT : next;
        uint64_t steps = (next - SANDBOX_UID_BASE + SANDBOX_UID_COUNT - 1) / SANDBOX_UID_COUNT;
        range->base = SANDBOX_UID_BASE + steps * SANDBOX_UID_COUNT;
    }
    return ERR_SET(
        err,
        ERR_LIMIT,
        "there is no room for %" PRIu64 " host user ids beside those of the other agents of this "
        "machine; offer fewer sandbox-slots",
        range->count);
}

/* 0: there is no note, or none that could be used. */
static uint64_t load_noted(const char *path)
{
    AUTO_BUF struct buf text = BUF_INIT(DIGITS_MAX);
    uint64_t base = 0;
    if (file_read(path, DIGITS_MAX, &text, NULL) != ERR_OK
        || str_parse_uint64(buf_view(&text), ID_LAST, &base) != ERR_OK) {
        return 0;
    }
    return base;
}

static enum err_code save_noted(const char *path, uint64_t base, struct err_info *err)
{
    char text[DIGITS_MAX + 1];
    int bytes = snprintf(text, sizeof(text), "%" PRIu64, base);
    return file_write_atomic(path, text, (size_t)bytes, 0600, err);
}

static enum err_code choose(const char *dir, struct id_range *range, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/uid-base", dir);
    uint64_t noted = load_noted(path);
    uint64_t unused = 0;
    range->base = noted;
    if (noted != 0 && fits(range)) {
        enum err_code code = lock(range, &unused, err);
        if (code != ERR_BUSY) {
            return code;
        }
        log_warn("sandbox_ids_of_another_agent", LOG_ERR(err));
    }
    TRY(lock_free(range, err));
    return range->base == noted ? ERR_OK : save_noted(path, range->base, err);
}

enum err_code id_range_claim(
    const char *dir,
    uint64_t wanted,
    uint64_t count,
    struct id_range *ret_range,
    struct err_info *err)
{
    struct id_range range = { .base = wanted == 0 ? SANDBOX_UID_BASE : wanted,
                              .count = count,
                              .fd = -1 };
    uint64_t unused = 0;
    if (!fits(&range)) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "sandbox-uid-base, sandbox-slots: host user ids %" PRIu64 " to %" PRIu64
            " would end above %" PRIu64,
            range.base,
            end_of(&range) - 1,
            ID_LAST);
    }
    if (geteuid() == 0) {
        range.fd = open(ID_RANGE_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (range.fd < 0) {
            return ERR_SET_ERRNO(err, ERR_DENIED, errno, ID_RANGE_FILE);
        }
        enum err_code code = wanted == 0 ? choose(dir, &range, err) : lock(&range, &unused, err);
        if (code != ERR_OK) {
            fd_close(&range.fd);
            return code;
        }
    }
    *ret_range = range;
    return ERR_OK;
}

void id_range_release(struct id_range *range)
{
    fd_close(&range->fd);
}
