#include "common/sys/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/*
 * Mapped anew each time, so that nothing has to be remembered: steps stand where the disk is waited
 * for, and only the processes of a fault test have a page.
 */
static struct fault_page *map_page(void)
{
    const char *path = getenv("BELAY_FAULT_PAGE");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    void *mapped = mmap(NULL, sizeof(struct fault_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return mapped == MAP_FAILED ? NULL : mapped;
}

/* Polled: who releases it is a script that writes the page, and a page wakes nobody. */
static void hold(const struct fault_page *page)
{
    const struct timespec turn = { .tv_nsec = 1000000 };
    for (int i = 0; i < FAULT_HOLD_MAX_MS && atomic_load(&page->released) == 0; i++) {
        (void)nanosleep(&turn, NULL);
    }
}

/* Of several threads at the step one fires: the one that takes the action away. */
static void reach(struct fault_page *page, const char *name)
{
    uint32_t action = atomic_load(&page->action);
    if (action == FAULT_NONE || strncmp(page->name, name, sizeof(page->name)) != 0) {
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
        hold(page);
    }
}

void fault_reach(const char *name)
{
    int before = errno;
    struct fault_page *page = map_page();
    if (page != NULL) {
        reach(page, name);
        (void)munmap(page, sizeof(*page));
    }
    errno = before;
}
