/*
 * Preloaded into a program under test: the wall clock is ahead (or behind) by as many seconds as
 * the first eight bytes of the file in CLOCK_SHIFT_FILE say, read anew each time, so that it can
 * jump while the program runs. CLOCK_MONOTONIC and timers stay as they are. Only calls through libc
 * are seen, which is all that our programs and their libraries make.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift; /* set once, before main */

__attribute__((constructor)) static void map_shift(void)
{
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        _exit(70); /* a test without its shift would prove nothing */
    }
    void *page = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (page == MAP_FAILED) {
        _exit(70);
    }
    shift = page;
}

static int read_clock(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && shift != NULL) {
        out->tv_sec += *shift;
    }
    return result;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *out)
{
    return read_clock(id, out);
}

__attribute__((visibility("default"))) int gettimeofday(
    struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int result = read_clock(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return result;
}

__attribute__((visibility("default"))) time_t time(time_t *out)
{
    struct timespec now;
    (void)read_clock(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
