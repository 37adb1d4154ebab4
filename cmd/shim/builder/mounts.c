#include "cmd/shim/builder/mounts.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PATH_BYTES = 512
};

int mounts_open_source(const char *path)
{
    /* Not O_NOFOLLOW: with it a link as the last name would be opened itself, not refused. */
    struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                            .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

static uint64_t attributes_of(unsigned flags)
{
    uint64_t attributes = MOUNT_ATTR_NOSUID;
    attributes |= (flags & MOUNTS_READ_ONLY) != 0 ? MOUNT_ATTR_RDONLY : 0;
    attributes |= (flags & MOUNTS_DEVICES) != 0 ? 0 : MOUNT_ATTR_NODEV;
    attributes |= (flags & MOUNTS_NO_EXEC) != 0 ? MOUNT_ATTR_NOEXEC : 0;
    return attributes;
}

/* Makes the folders above the last name, and returns that one opened; name gets the rest. */
static int open_parent(int root, const char *path, const char **ret_name)
{
    char part[PATH_BYTES];
    AUTO_FD int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
    const char *slash = NULL;
    while (at >= 0 && (slash = strchr(path, '/')) != NULL) {
        size_t bytes = (size_t)(slash - path);
        if (bytes == 0 || bytes >= sizeof(part)) {
            errno = EINVAL;
            return -1;
        }
        memcpy(part, path, bytes);
        part[bytes] = '\0';
        if (mkdirat(at, part, 0755) != 0 && errno != EEXIST) {
            return -1;
        }
        int next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        fd_close(&at);
        at = next;
        path = slash + 1;
    }
    *ret_name = path;
    return fd_steal(&at);
}

int mounts_make_dir(int root, const char *path, mode_t mode)
{
    const char *name = NULL;
    AUTO_FD int parent = open_parent(root, path, &name);
    if (parent < 0 || (mkdirat(parent, name, mode) != 0 && errno != EEXIST)) {
        return -1;
    }
    return 0;
}

static int make_file(int root, const char *path)
{
    const char *name = NULL;
    AUTO_FD int parent = open_parent(root, path, &name);
    AUTO_FD int file =
        parent < 0 ? -1 : openat(parent, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
    return file < 0 ? -1 : 0;
}

/* The destination itself, opened so that a mount can be put on it. */
static int open_destination(int root, const char *path, bool is_dir)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }
    int made = is_dir ? mounts_make_dir(root, path, 0755) : make_file(root, path);
    return made != 0 ? -1 : (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

int mounts_attach(int tree, int root, const char *destination, bool is_dir)
{
    AUTO_FD int target = open_destination(root, destination, is_dir);
    if (target < 0) {
        return -1;
    }
    return move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int mounts_clone(int source, unsigned flags)
{
    struct mount_attr attributes = { .attr_set = attributes_of(flags) };
    AUTO_FD int tree =
        open_tree(source, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0
        || mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes))
            != 0) {
        return -1;
    }
    return fd_steal(&tree);
}

int mounts_bind(int source, int root, const char *destination, unsigned flags)
{
    struct stat info;
    AUTO_FD int tree = mounts_clone(source, flags);
    if (tree < 0 || fstat(source, &info) != 0) {
        return -1;
    }
    return mounts_attach(tree, root, destination, S_ISDIR(info.st_mode));
}

int mounts_bind_host(const char *path, int root, const char *destination, unsigned flags)
{
    AUTO_FD int source = open(path, O_PATH | O_CLOEXEC);
    if (source < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    return mounts_bind(source, root, destination, flags);
}

/* By path, as mount(2) wants it: the destination is where we are, since there may be no /proc yet
 * to name our descriptor by. */
int mounts_new(
    const char *type, const char *data, int root, const char *destination, unsigned flags)
{
    unsigned long set = MS_NOSUID;
    set |= (flags & MOUNTS_DEVICES) != 0 ? 0U : MS_NODEV;
    set |= (flags & MOUNTS_NO_EXEC) != 0 ? MS_NOEXEC : 0U;
    AUTO_FD int target = open_destination(root, destination, true);
    return target < 0 || fchdir(target) != 0 ? -1 : mount(type, ".", type, set, data);
}

int mounts_seal(int fd)
{
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_RDONLY };
    return mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes));
}

int mounts_write_file(int root, const char *path, struct str_view data)
{
    const char *name = NULL;
    AUTO_FD int parent = open_parent(root, path, &name);
    AUTO_FD int file =
        parent < 0 ? -1 : openat(parent, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0 || fchmod(file, 0644) != 0) {
        return -1;
    }
    return write(file, data.ptr, data.len) == (ssize_t)data.len ? 0 : -1;
}

int mounts_link(int root, const char *path, const char *target)
{
    const char *name = NULL;
    AUTO_FD int parent = open_parent(root, path, &name);
    return parent < 0 ? -1 : symlinkat(target, parent, name);
}
