#include "cmd/agent/sandbox/spare.h"

#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/sandbox/shim_spawn.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"
#include "common/sys/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

struct spare {
    char *shim_path;
    char *title; /* as long as the name of any sandbox's folder, which takes its place */
    struct lock lock;
    int fd; /* to it, or -1: under the lock */
};

struct spare *spare_create(const char *shim_path, const char *runs, const char *instance)
{
    struct spare *spare = mem_alloc(sizeof(*spare));
    AUTO_FREE char *name = mem_printf(SANDBOX_SPARE " %s", instance);
    int bytes = (int)strlen(runs) + 1 + SANDBOX_ID_BYTES_MAX;
    spare->shim_path = mem_strdup(shim_path);
    spare->title = mem_printf("%-*s", bytes, name);
    spare->fd = -1;
    lock_init(&spare->lock, LOCK_RANK_LEAF);
    return spare;
}

void spare_destroy(struct spare *spare)
{
    if (spare == NULL) {
        return;
    }
    fd_close(&spare->fd);
    lock_deinit(&spare->lock);
    mem_free(spare->title);
    mem_free(spare->shim_path);
    mem_free(spare);
}

static bool has_one(struct spare *spare)
{
    LOCK_GUARD(&spare->lock);
    return spare->fd >= 0;
}

static int take(struct spare *spare)
{
    LOCK_GUARD(&spare->lock);
    return fd_steal(&spare->fd);
}

static enum err_code start(const struct spare *spare, int *ret_fd, struct err_info *err)
{
    int pair[2] = { -1, -1 };
    TRY(channel_pair(pair, err));
    AUTO_FD int ours = pair[0];
    AUTO_FD int theirs = pair[1];
    TRY(channel_set_nonblocking(ours, err));
    const struct shim_spawn spawn = { .path = spare->shim_path,
                                      .name = "belay-shim",
                                      .dir = spare->title,
                                      .fds = { theirs },
                                      .count = 1 };
    TRY(shim_spawn_away(&spawn, err));
    *ret_fd = fd_steal(&ours);
    return ERR_OK;
}

void spare_make(struct spare *spare)
{
    int fd = -1;
    struct err_info err = ERR_INFO_INIT;
    if (has_one(spare)) {
        return;
    }
    if (start(spare, &fd, &err) != ERR_OK) {
        log_warn("sandbox_spare_missing", LOG_ERR(&err));
        return;
    }
    LOCK_GUARD(&spare->lock);
    fd_close(&spare->fd);
    spare->fd = fd;
}

/* With its lock, which goes along: from here on the folder has a shim, however late that comes to
 * its turn. */
static enum err_code open_folder(const char *dir, int *ret_fd, struct err_info *err)
{
    AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", dir);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return ERR_SET_ERRNO(err, ERR_BUSY, errno, "%s: another shim has it", dir);
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

enum err_code spare_order(
    struct spare *spare, const char *dir, int ground, int *ret_fd, struct err_info *err)
{
    const struct message order = { .type = MESSAGE_ORDER, .order = { str_of(dir) } };
    AUTO_FD int folder = -1;
    AUTO_FD int fd = spare == NULL ? -1 : take(spare);
    if (fd < 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "no shim was started ahead");
    }
    TRY(open_folder(dir, &folder, err));
    const struct channel_fds fds = { .fds = { folder, ground }, .count = ground < 0 ? 1 : 2 };
    if (channel_send(fd, &order, &fds, err) != ERR_OK) {
        return ERR_SET(err, ERR_NOT_FOUND, "the shim that was started ahead is gone");
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}
