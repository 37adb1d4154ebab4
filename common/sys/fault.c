#include "common/sys/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct fault_page *page;

static void map_page(void)
{
    const char *path = getenv("BELAY_FAULT_PAGE");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *mapped = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    page = mapped == MAP_FAILED ? NULL : mapped;
    (void)close(fd);
}

static void hold(void)
{
    const struct timespec turn = { .tv_nsec = 1000000 };
    for (int i = 0; i < FAULT_HOLD_MAX_MS && atomic_load(&page->released) == 0; i++) {
        (void)nanosleep(&turn, NULL);
    }
}

/* Of several threads at the step one fires: the one that takes the action away. */
void fault_reach(const char *name)
{
    int before = errno;
    (void)pthread_once(&once, map_page);
    uint32_t action = page == NULL ? FAULT_NONE : atomic_load(&page->action);
    if (action == FAULT_NONE || strncmp(page->name, name, sizeof(page->name)) != 0) {
        errno = before;
        return;
    }
    uint32_t skip = atomic_load(&page->skip);
    while (skip > 0 && !atomic_compare_exchange_weak(&page->skip, &skip, skip - 1)) {
    }
    if (skip == 0 && atomic_compare_exchange_strong(&page->action, &action, FAULT_NONE)) {
        atomic_store(&page->fired, 1);
        if (action == FAULT_KILL) {
            (void)kill(getpid(), SIGKILL);
        }
        hold();
    }
    errno = before;
}
