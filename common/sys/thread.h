/* Threads with a name and an explicit stack; all signals are blocked in them. */
#ifndef COMMON_SYS_THREAD_H
#define COMMON_SYS_THREAD_H

#include "common/base/err.h"

#include <pthread.h>
#include <stddef.h>

enum {
    THREAD_STACK_BYTES = 1024 * 1024
};

struct thread {
    pthread_t handle;
    bool running;
};

/* name: at most 15 characters. Threads end by returning from run. */
enum err_code thread_start(
    struct thread *thread,
    const char *name,
    void (*run)(void *context),
    void *context,
    struct err_info *err) MUST_CHECK;

void thread_join(struct thread *thread); /* a thread that never started is allowed */

unsigned thread_cpu_count(void); /* cores this process may use, at least 1 */

#endif
