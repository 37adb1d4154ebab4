#include "cmd/shim/builder/rootfs.h"

#include "cmd/shim/builder/mounts.h"
#include "cmd/shim/builder/workspace.h"
#include "common/base/cleanup.h"
#include "common/sandbox/host_files.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1024) * 1024)

enum {
    TMP_INODES_PER_MIB = 256,
    SHARED_MEMORY_BYTES = 64 * 1024 * 1024,
    TTY_GROUP = 5,
    COPIED_BYTES_MAX = 8192
};

const char *rootfs_passwd(void)
{
    return "root:x:0:0:root:/root:/usr/sbin/nologin\n"
           "sandbox:x:1000:1000:sandbox:/sandbox:/bin/sh\n"
           "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
}

const char *rootfs_group(void)
{
    return "root:x:0:\ntty:x:5:\nsandbox:x:1000:\nnogroup:x:65534:\n";
}

/* A link is made again, anything else is bound; what is not there is left out. */
static int copy_entry(int from, const char *name, int root)
{
    struct stat info;
    char target[4096];
    if (fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? 0 : -1;
    }
    if (S_ISLNK(info.st_mode)) {
        ssize_t bytes = readlinkat(from, name, target, sizeof(target) - 1);
        if (bytes < 0) {
            return -1;
        }
        target[bytes] = '\0';
        return mounts_link(root, name, target);
    }
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) {
        return 0;
    }
    AUTO_FD int source = openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return source < 0 ? -1 : mounts_bind(source, root, name, MOUNTS_READ_ONLY);
}

/*
 * A folder or a large file is bound. A small one is copied, which costs a start less than a mount
 * of its own; like a bound one it stays what it was when the sandbox was started.
 */
static int put_host_file(const char *path, int root)
{
    struct stat info;
    char data[COPIED_BYTES_MAX];
    AUTO_FD int source = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool is_small = source >= 0 && fstat(source, &info) == 0 && S_ISREG(info.st_mode)
        && (info.st_mode & S_IROTH) != 0 && info.st_size <= COPIED_BYTES_MAX;
    if (!is_small || read(source, data, sizeof(data)) != (ssize_t)info.st_size) {
        return mounts_bind_host(path, root, path + 1, MOUNTS_READ_ONLY);
    }
    return mounts_write_file(root, path + 1, str_from(data, (size_t)info.st_size));
}

static int mount_host_etc(int root)
{
    for (size_t i = 0; host_files_etc[i] != NULL; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "/etc/%s", host_files_etc[i]);
        if (put_host_file(path, root) != 0) {
            return -1;
        }
    }
    return mounts_write_file(root, "etc/passwd", str_of(rootfs_passwd())) != 0
            || mounts_write_file(root, "etc/group", str_of(rootfs_group())) != 0
            || mounts_write_file(root, "etc/hosts", STR("")) != 0
        ? -1
        : 0;
}

/* These are the sandbox's own, whatever an image has there. */
static bool is_ours(const char *name)
{
    static const char *const names[] = { ".", "..", "proc", "sys", "dev", "tmp", "sandbox", "run" };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* Opens the image's root: a folder, or a squashfs file mounted on the way. */
static int open_image(const struct build *build)
{
    char device[32];
    AUTO_FREE char *path = mem_printf("%.*s", STR_ARG(build->spec->image));
    AUTO_FREE char *point = mem_printf("%s/" SANDBOX_FILE_IMAGE_ROOT, build->dir);
    struct stat info;
    AUTO_FD int source = mounts_open_source(path);
    if (source < 0 || fstat(source, &info) != 0) {
        return -1;
    }
    if (S_ISDIR(info.st_mode)) {
        return fd_steal(&source);
    }
    AUTO_FD int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FD int loop = file < 0 ? -1 : workspace_loop(file, 1, device);
    if (loop < 0 || mount(device, point, "squashfs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0) {
        return -1;
    }
    return open(point, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int mount_image(const struct build *build, int root)
{
    AUTO_FD int image = open_image(build);
    AUTO_FD int listed = image < 0 ? -1 : openat(image, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = listed < 0 ? NULL : fdopendir(listed);
    int result = entries == NULL ? -1 : 0;
    if (entries == NULL) {
        return -1;
    }
    (void)fd_steal(&listed); /* closed with the stream */
    for (struct dirent *entry = readdir(entries); entry != NULL && result == 0;
         entry = readdir(entries)) {
        if (!is_ours(entry->d_name)) {
            result = copy_entry(image, entry->d_name, root);
        }
    }
    (void)closedir(entries);
    return result;
}

static int mount_programs(const struct build *build, int root)
{
    if (build->spec->image.len > 0) {
        return mount_image(build, root);
    }
    AUTO_FD int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; host_files_programs[i] != NULL; i++) {
        if (copy_entry(host, host_files_programs[i], root) != 0) {
            return -1;
        }
    }
    return mount_host_etc(root);
}

int rootfs_binds_mount(const struct build *build, int root)
{
    size_t cursor = 0;
    struct str_view mode;
    struct str_view source;
    struct str_view destination;
    while (message_list_next(&build->spec->binds, &cursor, &mode)) {
        if (!message_list_next(&build->spec->binds, &cursor, &source)
            || !message_list_next(&build->spec->binds, &cursor, &destination)
            || !str_has_prefix(destination, STR("/"))) {
            errno = EINVAL;
            return -1;
        }
        AUTO_FD int fd = mounts_open_source(source.ptr);
        unsigned flags = str_equal(mode, STR("rw")) ? 0 : MOUNTS_READ_ONLY;
        if (fd < 0 || mounts_bind(fd, root, destination.ptr + 1, flags) != 0) {
            return -1;
        }
    }
    return 0;
}

static int mount_nodes(int root)
{
    static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty" };
    static const char *const links[][2] = { { "dev/ptmx", "pts/ptmx" },
                                            { "dev/fd", "/proc/self/fd" },
                                            { "dev/stdin", "/proc/self/fd/0" },
                                            { "dev/stdout", "/proc/self/fd/1" },
                                            { "dev/stderr", "/proc/self/fd/2" } };
    int result = mounts_new("tmpfs", "mode=755,size=64k,nr_inodes=64", root, "dev", MOUNTS_NO_EXEC);
    for (size_t i = 0; i < ARRAY_LENGTH(nodes) && result == 0; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "/dev/%s", nodes[i]);
        result = mounts_bind_host(path, root, path + 1, MOUNTS_DEVICES);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(links) && result == 0; i++) {
        result = mounts_link(root, links[i][0], links[i][1]);
    }
    if (result != 0 || mounts_make_dir(root, "dev/pts", 0755) != 0
        || mounts_make_dir(root, "dev/shm", 0755) != 0) {
        return -1;
    }
    AUTO_FD int dev = openat(root, "dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return dev < 0 ? -1 : mounts_seal(dev);
}

int rootfs_ground_mount(const struct build *build, int root)
{
    static const char *const points[] = { "proc", "tmp", "run", "sandbox" };
    if (mount_programs(build, root) != 0 || mount_nodes(root) != 0) {
        return -1;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(points); i++) {
        if (mounts_make_dir(root, points[i], 0755) != 0) {
            return -1;
        }
    }
    return 0;
}

/* An image has its own. The file lies in the sandbox's /tmp, where it has no name any more. */
static int mount_hosts(const struct message_spec *spec, int root)
{
    static const char *const path = "tmp/.hosts";
    char hosts[256];
    (void)snprintf(
        hosts, sizeof(hosts), "127.0.0.1 localhost %.*s\n::1 localhost\n", STR_ARG(spec->hostname));
    if (spec->image.len > 0) {
        return 0;
    }
    if (mounts_write_file(root, path, str_of(hosts)) != 0) {
        return -1;
    }
    AUTO_FD int file = openat(root, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0 || mounts_bind(file, root, "etc/hosts", MOUNTS_READ_ONLY) != 0) {
        return -1;
    }
    return unlinkat(root, path, 0);
}

int rootfs_own_mount(const struct build *build, int root)
{
    const struct message_spec *spec = build->spec;
    char tmp[128];
    char pts[96];
    char shm[64];
    (void)snprintf(
        tmp,
        sizeof(tmp),
        "mode=1777,size=%" PRIu64 ",nr_inodes=%" PRIu64,
        spec->tmp_bytes,
        (spec->tmp_bytes / MIB + 1) * TMP_INODES_PER_MIB);
    (void)snprintf(
        pts,
        sizeof(pts),
        "newinstance,ptmxmode=0666,mode=620,max=64,gid=%" PRIu64,
        spec->uid_base + TTY_GROUP);
    (void)snprintf(shm, sizeof(shm), "mode=1777,size=%d,nr_inodes=4096", SHARED_MEMORY_BYTES);
    if (mounts_new("tmpfs", tmp, root, "tmp", 0) != 0
        || mounts_new("devpts", pts, root, "dev/pts", MOUNTS_DEVICES | MOUNTS_NO_EXEC) != 0
        || mounts_new("tmpfs", shm, root, "dev/shm", 0) != 0) {
        return -1;
    }
    return mount_hosts(spec, root);
}

static int bind_over_itself(int root, const char *path)
{
    AUTO_FD int source = openat(root, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (source < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    return mounts_bind(source, root, path, MOUNTS_READ_ONLY);
}

/* A file is covered by /dev/null, a folder by an empty one. */
static int cover(int root, const char *path)
{
    struct stat info;
    if (fstatat(root, path, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? 0 : -1;
    }
    return S_ISDIR(info.st_mode)
        ? mounts_new("tmpfs", "mode=555,size=4k,nr_inodes=2", root, path, MOUNTS_NO_EXEC)
        : mounts_bind_host("/dev/null", root, path, MOUNTS_READ_ONLY | MOUNTS_DEVICES);
}

int rootfs_proc_mount(const struct build *build, int root, int *ret_sysctl)
{
    static const char *const sealed[] = { "proc/sys", "proc/irq", "proc/bus", "proc/fs" };
    static const char *const covered[] = {
        "proc/kcore",         "proc/keys",        "proc/key-users",   "proc/timer_list",
        "proc/sysrq-trigger", "proc/kmsg",        "proc/sched_debug", "proc/latency_stats",
        "proc/kallsyms",      "proc/kpagecount",  "proc/kpageflags",  "proc/kpagecgroup",
        "proc/slabinfo",      "proc/vmallocinfo", "proc/modules",     "proc/config.gz",
        "proc/acpi",          "proc/scsi",        "proc/asound",      "proc/driver"
    };
    (void)build;
    if (mounts_new("proc", NULL, root, "proc", MOUNTS_NO_EXEC) != 0) {
        return -1;
    }
    *ret_sysctl = openat(root, "proc/sys/user", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_LENGTH(sealed); i++) {
        if (bind_over_itself(root, sealed[i]) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(covered); i++) {
        if (cover(root, covered[i]) != 0) {
            return -1;
        }
    }
    return *ret_sysctl < 0 ? -1 : 0;
}
