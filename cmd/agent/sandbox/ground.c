#include "cmd/agent/sandbox/ground.h"

#include "cmd/agent/sandbox/shim_spawn.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/host_files.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FIRST_MS = 5000
};

struct ground {
    struct loop *loop;
    char *shim_path;
    char *dir;
    int fd;     /* of the ground, or -1 */
    int mounts; /* of the host, watched from before it was made; or -1 */
    struct loop_watch *mounts_watch;
    struct host_files files; /* as they were then */
    pid_t helper;            /* 0: none is being made */
    int socket;              /* to the helper */
    struct loop_watch *watch;
    struct channel_buffer buffer;
};

static void give_up(struct ground *ground)
{
    loop_watch_remove(ground->mounts_watch);
    ground->mounts_watch = NULL;
    fd_close(&ground->fd);
    fd_close(&ground->mounts);
}

/* What it has of the host's file systems would keep them busy. */
static void on_mounts(void *context, uint32_t events)
{
    (void)events;
    give_up(context);
}

/* The helper has said all that it will. */
static void end_helper(struct ground *ground)
{
    loop_watch_remove(ground->watch);
    ground->watch = NULL;
    fd_close(&ground->socket);
    while (ground->helper > 0 && waitpid(ground->helper, NULL, 0) < 0 && errno == EINTR) {
    }
    ground->helper = 0;
}

static void on_helper(void *context, uint32_t events)
{
    struct ground *ground = context;
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    (void)events;
    enum err_code code = channel_receive(ground->socket, &ground->buffer, &message, &fds, NULL);
    if (code == ERR_BUSY) {
        return;
    }
    if (code == ERR_OK && message.type == MESSAGE_HELLO && fds.count == 1) {
        ground->fd = fds.fds[0];
        fds.count = 0;
        if (ground->mounts < 0) {
            give_up(ground); /* of a host that has changed meanwhile */
        }
    } else {
        log_warn("sandbox_ground_missing", LOG_STR("path", ground->dir));
        give_up(ground);
    }
    channel_fds_close(&fds);
    end_helper(ground);
}

/* A change of the host's mounts is told on this descriptor, from its opening on. */
static bool is_current(const struct ground *ground)
{
    struct host_files now;
    struct pollfd watched = { .fd = ground->mounts, .events = POLLPRI };
    if (poll(&watched, 1, 0) != 0) {
        return false;
    }
    host_files_look(&now);
    return host_files_same(&now, &ground->files);
}

static enum err_code begin(struct ground *ground, struct err_info *err)
{
    int pair[2] = { -1, -1 };
    give_up(ground);
    ground->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (ground->mounts < 0) {
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "/proc/self/mountinfo");
    }
    host_files_look(&ground->files);
    TRY(loop_watch_add(
        ground->loop, ground->mounts, EPOLLPRI, on_mounts, ground, &ground->mounts_watch, err));
    TRY(channel_pair(pair, err));
    AUTO_FD int ours = pair[0];
    AUTO_FD int theirs = pair[1];
    TRY(channel_set_nonblocking(ours, err));
    TRY(loop_watch_add(ground->loop, ours, EPOLLIN, on_helper, ground, &ground->watch, err));
    ground->socket = fd_steal(&ours);
    const struct shim_spawn spawn = { .path = ground->shim_path,
                                      .name = "belay-ground",
                                      .dir = ground->dir,
                                      .fds = { theirs },
                                      .count = 1 };
    enum err_code code = shim_spawn(&spawn, &ground->helper, err);
    if (code != ERR_OK) {
        end_helper(ground);
    }
    return code;
}

static void begin_again(struct ground *ground)
{
    struct err_info err = ERR_INFO_INIT;
    if (ground->helper == 0 && begin(ground, &err) != ERR_OK) {
        log_warn("sandbox_ground_missing", LOG_STR("path", ground->dir), LOG_ERR(&err));
        give_up(ground);
    }
}

int ground_get(struct ground *ground)
{
    if (ground == NULL || ground->helper != 0) {
        return -1;
    }
    if (ground->fd < 0 || !is_current(ground)) {
        begin_again(ground);
        return -1;
    }
    return ground->fd;
}

enum err_code ground_create(
    struct loop *loop,
    const char *shim_path,
    const char *dir,
    struct ground **ret_ground,
    struct err_info *err)
{
    *ret_ground = NULL;
    if (prctl(PR_CAPBSET_READ, CAP_SYS_CHROOT) != 1) {
        return ERR_OK;
    }
    TRY(file_make_dir(dir, 0700, err));
    struct ground *ground = mem_alloc(sizeof(*ground));
    *ground = (struct ground){ .loop = loop,
                               .shim_path = mem_strdup(shim_path),
                               .dir = mem_strdup(dir),
                               .fd = -1,
                               .mounts = -1,
                               .socket = -1 };
    begin_again(ground);
    struct pollfd watched = { .fd = ground->socket, .events = POLLIN };
    if (ground->helper != 0 && poll(&watched, 1, FIRST_MS) == 1) {
        on_helper(ground, EPOLLIN);
    }
    *ret_ground = ground;
    return ERR_OK;
}

void ground_destroy(struct ground *ground)
{
    if (ground == NULL) {
        return;
    }
    end_helper(ground);
    give_up(ground);
    channel_buffer_deinit(&ground->buffer);
    mem_free(ground->dir);
    mem_free(ground->shim_path);
    mem_free(ground);
}
