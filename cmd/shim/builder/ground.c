#include "cmd/shim/builder/ground.h"

#include "cmd/shim/builder/mounts.h"
#include "cmd/shim/builder/rootfs.h"
#include "common/base/cleanup.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum err_code ground_make_points(const struct build *build, struct err_info *err)
{
    static const char *const names[] = { SANDBOX_FILE_ROOT, SANDBOX_FILE_IMAGE_ROOT };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (mkdirat(build->dir_fd, names[i], 0700) != 0 && errno != EEXIST) {
            return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "%s/%s: mkdir", build->dir, names[i]);
        }
    }
    return ERR_OK;
}

int ground_make(const struct build *build)
{
    AUTO_FREE char *point = mem_printf("%s/" SANDBOX_FILE_ROOT, build->dir);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
        || mount("tmpfs", point, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m,nr_inodes=4096")
            != 0) {
        return -1;
    }
    AUTO_FD int root = open(point, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0 || rootfs_ground_mount(build, root) != 0 ? -1 : fd_steal(&root);
}

int ground_enter(int root)
{
    if (fchdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0
        || chdir("/") != 0) {
        return -1;
    }
    return mounts_seal(root);
}

/* The file systems themselves, whatever becomes of a mount of them. */
static int harden(void)
{
    const unsigned long flags = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
    return mount(NULL, "/", NULL, flags, NULL) != 0
        ? -1
        : mount(NULL, "/dev", NULL, flags | MS_NOEXEC, NULL);
}

static int make(const struct build *build)
{
    AUTO_FD int root = -1;
    if (unshare(CLONE_NEWNS) != 0) {
        return -1;
    }
    AUTO_FD int made = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    root = made < 0 ? -1 : ground_make(build);
    return root < 0 || ground_enter(root) != 0 || harden() != 0 ? -1 : fd_steal(&made);
}

int ground_main(const char *dir, int agent)
{
    const struct message_spec spec = { .driver = SANDBOX_DRIVER_NATIVE };
    const struct message message = { .type = MESSAGE_HELLO };
    struct build build = { .spec = &spec, .dir = dir, .dir_fd = -1, .ground = -1 };
    AUTO_FD int opened = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    build.dir_fd = opened;
    (void)umask(022); /* its folders are for sandboxes to read */
    if (opened < 0 || ground_make_points(&build, NULL) != ERR_OK) {
        return 1;
    }
    AUTO_FD int made = make(&build);
    const struct channel_fds fds = { .fds = { made }, .count = 1 };
    return made >= 0 && channel_send(agent, &message, &fds, NULL) == ERR_OK ? 0 : 1;
}
