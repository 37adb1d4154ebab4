#include "common/sys/lock.h"

#include "common/base/log.h"

#include <stdlib.h>

#ifndef NDEBUG
enum {
    HELD_MAX = 16
};

static _Thread_local const struct lock *held[HELD_MAX];
static _Thread_local unsigned held_count;

static void abort_order(const struct lock *inner, const struct lock *wanted)
{
    log_error(
        "lock_order", LOG_INT("held_rank", inner->rank), LOG_INT("wanted_rank", wanted->rank));
    abort();
}

static void note_acquire(const struct lock *lock)
{
    for (unsigned i = 0; i < held_count; i++) {
        if (held[i]->rank >= lock->rank) {
            abort_order(held[i], lock);
        }
    }
    if (held_count == HELD_MAX) {
        abort();
    }
    held[held_count++] = lock;
}

static void note_release(const struct lock *lock)
{
    for (unsigned i = held_count; i > 0; i--) {
        if (held[i - 1] == lock) {
            held[i - 1] = held[--held_count];
            return;
        }
    }
    abort();
}

void lock_assert_held(const struct lock *lock)
{
    for (unsigned i = 0; i < held_count; i++) {
        if (held[i] == lock) {
            return;
        }
    }
    abort();
}
#else
static void note_acquire(const struct lock *lock)
{
    (void)lock;
}

static void note_release(const struct lock *lock)
{
    (void)lock;
}

void lock_assert_held(const struct lock *lock)
{
    (void)lock;
}
#endif

void lock_init(struct lock *lock, enum lock_rank rank)
{
    (void)pthread_mutex_init(&lock->mutex, NULL);
    lock->rank = rank;
}

void lock_deinit(struct lock *lock)
{
    (void)pthread_mutex_destroy(&lock->mutex);
}

void lock_acquire(struct lock *lock)
{
    note_acquire(lock);
    if (pthread_mutex_lock(&lock->mutex) != 0) {
        abort();
    }
}

void lock_release(struct lock *lock)
{
    note_release(lock);
    if (pthread_mutex_unlock(&lock->mutex) != 0) {
        abort();
    }
}

void lock_cond_init(struct lock_cond *cond)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&cond->cond, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void lock_cond_deinit(struct lock_cond *cond)
{
    (void)pthread_cond_destroy(&cond->cond);
}

void lock_cond_wait(struct lock_cond *cond, struct lock *lock)
{
    lock_assert_held(lock);
    (void)pthread_cond_wait(&cond->cond, &lock->mutex);
}

bool lock_cond_wait_until(struct lock_cond *cond, struct lock *lock, struct mono_us deadline)
{
    lock_assert_held(lock);
    if (deadline.value == INT64_MAX) {
        (void)pthread_cond_wait(&cond->cond, &lock->mutex);
        return true;
    }
    struct timespec until = {
        .tv_sec = (time_t)(deadline.value / US_PER_SECOND),
        .tv_nsec = (long)(deadline.value % US_PER_SECOND * 1000),
    };
    return pthread_cond_timedwait(&cond->cond, &lock->mutex, &until) == 0;
}

void lock_cond_signal(struct lock_cond *cond)
{
    (void)pthread_cond_signal(&cond->cond);
}

void lock_cond_broadcast(struct lock_cond *cond)
{
    (void)pthread_cond_broadcast(&cond->cond);
}
