/*
 * Preloaded into a program under test: its wall clock is ahead (or behind) by as many microseconds
 * as the first eight bytes of the file in BELAY_CLOCK_PAGE say, read anew each time, so that it can
 * jump while the program runs. The monotonic clock and timers stay as they are. Only calls through
 * libc are seen, which is all that our programs and their libraries make.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_S  INT64_C(1000000000)

static const _Atomic int64_t *shift_us; /* set once, before main */

__attribute__((constructor)) static void map_page(void)
{
    const char *name = getenv("BELAY_CLOCK_PAGE");
    int fd = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*shift_us), PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        _exit(70); /* a test without its shift would prove nothing */
    }
    shift_us = page;
    (void)close(fd);
}

static int64_t shift_ns(void)
{
    return shift_us == NULL ? 0 : atomic_load(shift_us) * NS_PER_US;
}

/* The call itself: the library's function of the name is this one. */
static int real_time(clockid_t id, struct timespec *time)
{
    return (int)syscall(SYS_clock_gettime, id, time);
}

int clock_gettime(clockid_t id, struct timespec *time)
{
    int rc = real_time(id, time);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t ns = time->tv_sec * NS_PER_S + time->tv_nsec + shift_ns();
        time->tv_sec = ns / NS_PER_S;
        time->tv_nsec = ns % NS_PER_S;
    }
    return rc;
}

int gettimeofday(struct timeval *restrict value, void *restrict zone)
{
    struct timespec time;
    (void)zone;
    int rc = clock_gettime(CLOCK_REALTIME, &time);
    if (rc == 0) {
        value->tv_sec = time.tv_sec;
        value->tv_usec = time.tv_nsec / NS_PER_US;
    }
    return rc;
}

time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
