#include "common/sys/thread.h"

#include "common/base/mem.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>

struct start {
    void (*run)(void *context);
    void *context;
    char name[16];
};

static void *enter(void *argument)
{
    struct start start = *(struct start *)argument;
    mem_free(argument);
    (void)pthread_setname_np(pthread_self(), start.name);
    start.run(start.context);
    return NULL;
}

enum err_code thread_start(
    struct thread *thread,
    const char *name,
    void (*run)(void *context),
    void *context,
    struct err_info *err)
{
    struct start *start = mem_alloc(sizeof(*start));
    start->run = run;
    start->context = context;
    (void)snprintf(start->name, sizeof(start->name), "%s", name);
    pthread_attr_t attributes;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread->handle, &attributes, enter, start);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (failed != 0) {
        mem_free(start);
        return ERR_SET_ERRNO(err, ERR_LIMIT, failed, "thread %s", name);
    }
    thread->running = true;
    return ERR_OK;
}

void thread_join(struct thread *thread)
{
    if (thread->running) {
        (void)pthread_join(thread->handle, NULL);
        thread->running = false;
    }
}

unsigned thread_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1) {
        return 1;
    }
    return (unsigned)CPU_COUNT(&set);
}
