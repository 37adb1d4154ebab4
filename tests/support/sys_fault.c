#include "tests/support/sys_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The calls themselves have no place for a context. */
static _Thread_local struct {
    struct sys_fault fault;
    bool is_armed;
    bool is_paused;
    bool has_failed;
} state;

void sys_fault_arm(const struct sys_fault *fault)
{
    state.fault = *fault;
    state.is_armed = true;
    state.is_paused = false;
    state.has_failed = false;
}

void sys_fault_pause(bool pauses)
{
    state.is_paused = pauses;
}

bool sys_fault_disarm(void)
{
    state.is_armed = false;
    return state.has_failed;
}

static bool must_fail_with(int number)
{
    if (!state.is_armed || state.is_paused) {
        return false;
    }
    if (state.fault.after > 0) {
        state.fault.after--;
        return false;
    }
    if (state.has_failed && !state.fault.persists) {
        return false;
    }
    state.has_failed = true;
    errno = number;
    return true;
}

static bool must_fail(void)
{
    return must_fail_with(state.fault.number);
}

static int read_number(void)
{
    return state.fault.read_number != 0 ? state.fault.read_number : state.fault.number;
}

#define PUBLIC __attribute__((visibility("default")))

static int open_file(const char *path, int flags, va_list more)
{
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
    return must_fail() ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

PUBLIC int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_file(path, flags, more);
    va_end(more);
    return fd;
}

PUBLIC int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_file(path, flags, more);
    va_end(more);
    return fd;
}

PUBLIC ssize_t pread64(int fd, void *data, size_t bytes, off_t at)
{
    return must_fail_with(read_number()) ? -1 : (ssize_t)syscall(SYS_pread64, fd, data, bytes, at);
}

#define DEFINE(type, name, arguments, ...)                    \
    PUBLIC type name arguments                                \
    {                                                         \
        return must_fail() ? -1 : (type)syscall(__VA_ARGS__); \
    }

/* clang-format off */
DEFINE(ssize_t, pwrite64, (int fd, const void *data, size_t bytes, off_t at), SYS_pwrite64, fd, data, bytes, at)
DEFINE(ssize_t, write, (int fd, const void *data, size_t bytes), SYS_write, fd, data, bytes)
DEFINE(int, fsync, (int fd), SYS_fsync, fd)
DEFINE(int, fdatasync, (int fd), SYS_fdatasync, fd)
DEFINE(int, ftruncate64, (int fd, off_t bytes), SYS_ftruncate, fd, bytes)
DEFINE(int, rename, (const char *from, const char *to), SYS_rename, from, to)
DEFINE(int, unlink, (const char *path), SYS_unlink, path)
/* clang-format on */
