#include "cmd/shim/fence.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CALL_CREATE = 444, /* landlock_create_ruleset, the same number everywhere */
    CALL_ADD = 445,
    CALL_RESTRICT = 446,
    RULE_PATH_BENEATH = 1,
    CREATE_VERSION = 1
};

struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

#define RIGHT_EXECUTE    (1U << 0)
#define RIGHT_WRITE_FILE (1U << 1)
#define RIGHT_READ_FILE  (1U << 2)
#define RIGHT_READ_DIR   (1U << 3)
#define RIGHTS_ABI_1     0x1fffU
#define RIGHT_REFER      (1U << 13)
#define RIGHT_TRUNCATE   (1U << 14)
#define RIGHT_IOCTL_DEV  (1U << 15)
#define RIGHTS_OF_FILES \
    (RIGHT_EXECUTE | RIGHT_WRITE_FILE | RIGHT_READ_FILE | RIGHT_TRUNCATE | RIGHT_IOCTL_DEV)
#define SCOPES 3U /* abstract sockets and signals stay inside */

unsigned fence_abi(void)
{
    long abi = syscall(CALL_CREATE, NULL, 0, CREATE_VERSION);
    return abi < 0 ? 0 : (unsigned)abi;
}

static uint64_t rights_of(unsigned abi)
{
    uint64_t rights = RIGHTS_ABI_1;
    rights |= abi >= 2 ? RIGHT_REFER : 0;
    rights |= abi >= 3 ? RIGHT_TRUNCATE : 0;
    rights |= abi >= 5 ? RIGHT_IOCTL_DEV : 0;
    return rights;
}

static int allow(int ruleset, const char *path, uint64_t rights)
{
    struct stat info;
    AUTO_FD int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        return errno == ENOENT ? 0 : errno;
    }
    struct path_beneath rule = { .parent = fd,
                                 .allowed =
                                     S_ISDIR(info.st_mode) ? rights : rights & RIGHTS_OF_FILES };
    return syscall(CALL_ADD, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0 ? 0 : errno;
}

static int allow_all(int ruleset, const struct message_list *paths, uint64_t rights)
{
    size_t cursor = 0;
    struct str_view path;
    while (message_list_next(paths, &cursor, &path)) {
        int number = allow(ruleset, path.ptr, rights);
        if (number != 0) {
            return number;
        }
    }
    return 0;
}

int fence_raise(const struct message_list *read_only, const struct message_list *read_write)
{
    unsigned abi = fence_abi();
    if (abi == 0) {
        return ENOSYS;
    }
    struct ruleset wanted = { .fs = rights_of(abi), .scoped = abi >= 6 ? SCOPES : 0 };
    size_t bytes = abi >= 6 ? sizeof(wanted)
        : abi >= 4          ? offsetof(struct ruleset, scoped)
                            : offsetof(struct ruleset, net);
    AUTO_FD int ruleset = (int)syscall(CALL_CREATE, &wanted, bytes, 0);
    if (ruleset < 0) {
        return errno;
    }
    int number = allow_all(ruleset, read_only, RIGHT_EXECUTE | RIGHT_READ_FILE | RIGHT_READ_DIR);
    if (number == 0) {
        number = allow_all(ruleset, read_write, wanted.fs);
    }
    if (number != 0) {
        return number;
    }
    return syscall(CALL_RESTRICT, ruleset, 0) == 0 ? 0 : errno;
}
