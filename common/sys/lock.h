/*
 * Mutexes with a rank: a thread may only take a lock of a higher rank than those it holds; a wrong
 * order aborts in debug builds. No callback runs under a lock.
 */
#ifndef COMMON_SYS_LOCK_H
#define COMMON_SYS_LOCK_H

#include "common/base/time.h"

#include <pthread.h>

/* All ranks of the project, low to high: the order in which locks may nest. */
enum lock_rank {
    LOCK_RANK_APP = 1,
    LOCK_RANK_REGISTRY, /* sessions, streams, watches */
    LOCK_RANK_INGEST,
    LOCK_RANK_STREAM, /* one rpc stream or call */
    LOCK_RANK_CHANNEL,
    LOCK_RANK_DOOR,
    LOCK_RANK_DATABASE,
    LOCK_RANK_POOL,
    LOCK_RANK_QUEUE,
    LOCK_RANK_TIMER,
    LOCK_RANK_METRICS,
    LOCK_RANK_LEAF
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
};

struct lock_cond {
    pthread_cond_t cond; /* on the monotonic clock */
};

void lock_init(struct lock *lock, enum lock_rank rank);
void lock_deinit(struct lock *lock);
void lock_acquire(struct lock *lock);
void lock_release(struct lock *lock);
void lock_assert_held(
    const struct lock *lock); /* aborts in debug builds when this thread does not hold it */

void lock_cond_init(struct lock_cond *cond);
void lock_cond_deinit(struct lock_cond *cond);
void lock_cond_wait(struct lock_cond *cond, struct lock *lock);
/* false: the deadline has passed. */
bool lock_cond_wait_until(struct lock_cond *cond, struct lock *lock, struct mono_us deadline);
void lock_cond_signal(struct lock_cond *cond);
void lock_cond_broadcast(struct lock_cond *cond);

static inline void lock_guard_release_(struct lock **lock)
{
    lock_release(*lock);
}

/* Holds the lock until the end of the scope. */
#define LOCK_GUARD(target)        LOCK_GUARD_AT_((target), __COUNTER__)
#define LOCK_GUARD_AT_(target, n) LOCK_GUARD_NAMED_(target, n)
#define LOCK_GUARD_NAMED_(target, n)                                                            \
    __attribute__((cleanup(lock_guard_release_), unused)) struct lock *guard_##n##_ = (target); \
    lock_acquire(guard_##n##_)

#endif
