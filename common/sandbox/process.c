#include "common/sandbox/process.h"

#include "common/base/cleanup.h"
#include "common/base/str.h"
#include "common/sys/fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STAT_BYTES = 1024,
    START_FIELD = 22 /* of /proc/PID/stat, counted from 1 */
};

enum err_code process_boot_id(char out[PROCESS_BOOT_ID_BYTES], struct err_info *err)
{
    char text[PROCESS_BOOT_ID_BYTES + 1] = { 0 };
    size_t got = 0;
    AUTO_FD int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "/proc/sys/kernel/random/boot_id");
    }
    TRY(fd_read_full(fd, text, sizeof(text) - 1, &got, err));
    return str_copy(str_trim(str_from(text, got)), out, PROCESS_BOOT_ID_BYTES);
}

uint64_t process_boot_number(const char boot[PROCESS_BOOT_ID_BYTES])
{
    char digits[17] = { 0 };
    size_t count = 0;
    for (const char *at = boot; *at != '\0' && count < sizeof(digits) - 1; at++) {
        if (isxdigit((unsigned char)*at)) {
            digits[count++] = *at;
        }
    }
    uint64_t number = strtoull(digits, NULL, 16);
    return number == 0 ? 1 : number;
}

/* The program's name stands in brackets and may hold anything: fields are counted from its end. */
static enum err_code parse_start(struct str_view text, uint64_t *ret_ticks)
{
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != ')') {
        at--;
    }
    struct str_view rest = str_trim(str_from(text.ptr + at, text.len - at));
    struct str_view word = STR_NONE;
    for (int field = 3; field <= START_FIELD; field++) {
        struct str_view tail = STR_NONE;
        if (!str_cut(rest, ' ', &word, &tail)) {
            return ERR_CORRUPT;
        }
        rest = tail;
    }
    return str_parse_uint64(word, UINT64_MAX, ret_ticks);
}

enum err_code process_start_time(pid_t pid, uint64_t *ret_ticks, struct err_info *err)
{
    char path[64];
    char text[STAT_BYTES];
    size_t got = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_NOT_FOUND, errno, "process %d", (int)pid);
    }
    TRY(fd_read_full(fd, text, sizeof(text), &got, err));
    if (parse_start(str_from(text, got), ret_ticks) != ERR_OK) {
        return ERR_SET(err, ERR_NOT_FOUND, "process %d: no start time in %s", (int)pid, path);
    }
    return ERR_OK;
}

enum err_code process_open(pid_t pid, uint64_t start, int *ret_pidfd, struct err_info *err)
{
    uint64_t found = 0;
    AUTO_FD int fd = pid <= 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "process %d is gone", (int)pid);
    }
    /* In this order: the number cannot pass to another process while we hold it. */
    TRY(process_start_time(pid, &found, err));
    if (found != start) {
        return ERR_SET(err, ERR_NOT_FOUND, "process %d is another one by now", (int)pid);
    }
    *ret_pidfd = fd_steal(&fd);
    return ERR_OK;
}

void process_kill(int pidfd, int number)
{
    if (pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
    }
}
