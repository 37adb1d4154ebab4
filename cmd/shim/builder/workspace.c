#include "cmd/shim/builder/workspace.h"

#include "cmd/shim/builder/mounts.h"
#include "common/base/cleanup.h"
#include "common/sandbox/spec.h"
#include "common/sandbox/template.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LOOP_TRIES = 64,
    IMAGE_NAME_FD = 3
};

#define IMAGE_NEW SANDBOX_FILE_IMAGE ".new"

static const char *const mkfs_paths[] = { "/usr/sbin/mkfs.ext4",
                                          "/sbin/mkfs.ext4",
                                          "/usr/bin/mkfs.ext4" };

/* In the child: mkfs gets the image as descriptor 3 and nothing else. No journal: it is for a host
 * whose power fails, and a sandbox that ran then is lost; every other end unmounts the image. */
static void run_mkfs(int image)
{
    char *environment[] = { NULL };
    sigset_t none;
    char *arguments[] = { CONST_CAST(char *, "mkfs.ext4"),
                          CONST_CAST(char *, "-q"),
                          CONST_CAST(char *, "-F"),
                          CONST_CAST(char *, "-m"),
                          CONST_CAST(char *, "0"),
                          CONST_CAST(char *, "-O"),
                          CONST_CAST(char *, "^has_journal"),
                          CONST_CAST(char *, "-E"),
                          CONST_CAST(char *, "root_owner=0:0,nodiscard"),
                          CONST_CAST(char *, "/proc/self/fd/3"),
                          NULL };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(image, IMAGE_NAME_FD) < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0
        || dup2(null, 2) < 0) {
        _exit(126);
    }
    (void)fcntl(IMAGE_NAME_FD, F_SETFD, 0); /* it may have been this number before */
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(mkfs_paths); i++) {
        (void)execve(mkfs_paths[i], arguments, environment);
    }
    _exit(127);
}

static enum err_code format_image(int image, struct err_info *err)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        run_mkfs(image);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "workspace image: mkfs.ext4");
    }
    if (status != 0) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "workspace image: mkfs.ext4 %s",
            WIFEXITED(status) && WEXITSTATUS(status) == 127
                ? "is not installed (package e2fsprogs)"
                : "failed; is the disk full, or the size below 1 MiB?");
    }
    return ERR_OK;
}

static enum err_code make_image(int dir, uint64_t bytes, struct err_info *err)
{
    if (faccessat(dir, SANDBOX_FILE_IMAGE, F_OK, 0) == 0
        || template_take(dir, bytes, SANDBOX_FILE_IMAGE)) {
        return ERR_OK;
    }
    (void)unlinkat(dir, IMAGE_NEW, 0); /* of an attempt that was cut off */
    AUTO_FD int image = openat(dir, IMAGE_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (image < 0 || ftruncate(image, (off_t)bytes) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "workspace image of %" PRIu64 " bytes", bytes);
    }
    if (!template_copy(dir, bytes, image)) {
        TRY(format_image(image, err));
        template_keep(dir, bytes, image);
    }
    /* What has the name is taken as it is from then on, also after the host has crashed. */
    if (fsync(image) != 0 || renameat(dir, IMAGE_NEW, dir, SANDBOX_FILE_IMAGE) != 0
        || fsync(dir) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "workspace image");
    }
    return ERR_OK;
}

enum err_code workspace_prepare(int dir, uint64_t disk_bytes, uid_t uid, struct err_info *err)
{
    if (disk_bytes > 0) {
        return make_image(dir, disk_bytes, err);
    }
    if (mkdirat(dir, SANDBOX_FILE_WORKSPACE, 0755) != 0 && errno != EEXIST) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "workspace: mkdir");
    }
    AUTO_FD int folder =
        openat(dir, SANDBOX_FILE_WORKSPACE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* Who is not root has one user for all: the sandbox is that one, in a namespace. */
    if (folder < 0 || fchmod(folder, 0755) != 0
        || (geteuid() == 0 && fchown(folder, uid, uid) != 0)) {
        return ERR_SET_ERRNO(err, ERR_DENIED, errno, "workspace: chown to %u", uid);
    }
    return ERR_OK;
}

int workspace_loop(int file, int read_only, char ret_path[32])
{
    AUTO_FD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (int i = 0; control >= 0 && i < LOOP_TRIES; i++) {
        struct loop_config config = { .fd = (unsigned)file,
                                      .info = { .lo_flags = LO_FLAGS_AUTOCLEAR
                                                    | (read_only != 0 ? (unsigned)LO_FLAGS_READ_ONLY
                                                                      : 0U) } };
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) {
            return -1;
        }
        (void)snprintf(ret_path, 32, "/dev/loop%d", number);
        AUTO_FD int device = open(ret_path, (read_only != 0 ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (device < 0 && (errno == ENXIO || errno == ENOENT)) {
            continue; /* it went away between the question and the opening */
        }
        if (device < 0) {
            return -1;
        }
        if (ioctl(device, LOOP_CONFIGURE, &config) == 0) {
            return fd_steal(&device);
        }
        if (errno != EBUSY) {
            return -1;
        }
    }
    return -1;
}

/* A new image is the host's root's, who can be nobody inside. */
static int give_away(int image, uid_t uid)
{
    struct stat info;
    if (fstat(image, &info) != 0) {
        return -1;
    }
    if (info.st_uid != 0) {
        return 0; /* it has been used before */
    }
    (void)unlinkat(image, "lost+found", AT_REMOVEDIR);
    return fchownat(image, "", uid, uid, AT_EMPTY_PATH);
}

/* It and its loop device are in use by the mount, and go with it. */
static int mount_image(int dir, uid_t uid)
{
    char device[32];
    AUTO_FD int file = openat(dir, SANDBOX_FILE_IMAGE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FD int loop = file < 0 ? -1 : workspace_loop(file, 0, device);
    AUTO_FD int fs = loop < 0 ? -1 : fsopen("ext4", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) != 0
        || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0) {
        return -1;
    }
    AUTO_FD int image = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return image < 0 || give_away(image, uid) != 0 ? -1 : fd_steal(&image);
}

int workspace_mount(int dir, uint64_t disk_bytes, uid_t uid)
{
    if (disk_bytes > 0) {
        return mount_image(dir, uid);
    }
    AUTO_FD int folder =
        openat(dir, SANDBOX_FILE_WORKSPACE, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return folder < 0 ? -1 : mounts_clone(folder, 0);
}

uint64_t workspace_bytes(int dir)
{
    struct stat info;
    if (fstatat(dir, SANDBOX_FILE_IMAGE, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return 0;
    }
    return (uint64_t)info.st_blocks * 512;
}
