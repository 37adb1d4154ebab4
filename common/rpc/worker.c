/*
 * Worker threads: run unary handlers, stream opens, and the events of blocking streams. New calls
 * are bounded by a capacity; a stream that has events waits here at most once, so needs no bound.
 */
#include "common/base/log.h"
#include "common/rpc/rpc_private.h"

#include <sched.h>
#include <stdio.h>

struct rpc_pool {
    struct rpc_server *server;
    struct rpc_thread *threads;
    unsigned count;
    size_t capacity;
    struct lock lock;
    struct lock_cond ready;
    struct list calls;
    size_t calls_waiting;
    struct list events;
    bool take_event; /* alternates, so that neither list starves the other */
    bool stopping;
    atomic_uint pushing; /* still to signal, perhaps after the task has run */
};

struct rpc_pool *rpc_pool_create(struct rpc_server *server, unsigned threads, size_t capacity)
{
    struct rpc_pool *pool = mem_alloc(sizeof(*pool));
    pool->server = server;
    pool->count = threads;
    pool->capacity = capacity;
    pool->threads = mem_alloc_array(threads, sizeof(*pool->threads));
    lock_init(&pool->lock, LOCK_RANK_POOL);
    lock_cond_init(&pool->ready);
    list_init(&pool->calls);
    list_init(&pool->events);
    return pool;
}

static struct list *pop_locked(struct rpc_pool *pool)
{
    pool->take_event = !pool->take_event;
    struct list *node = pool->take_event ? list_pop(&pool->events) : NULL;
    if (node == NULL) {
        node = list_pop(&pool->calls);
        if (node != NULL) {
            pool->calls_waiting--;
        }
    }
    return node == NULL ? list_pop(&pool->events) : node;
}

static struct rpc_task *wait_task(struct rpc_pool *pool)
{
    LOCK_GUARD(&pool->lock);
    for (;;) {
        struct list *node = pop_locked(pool);
        if (node != NULL) {
            return LIST_ENTRY(node, struct rpc_task, node);
        }
        if (pool->stopping) {
            return NULL;
        }
        lock_cond_wait(&pool->ready, &pool->lock);
    }
}

static void work(void *context)
{
    struct rpc_thread *thread = context;
    struct rpc_pool *pool = thread->server->pool;
    for (struct rpc_task *task = wait_task(pool); task != NULL; task = wait_task(pool)) {
        task->run(task, thread);
    }
}

enum err_code rpc_pool_start(struct rpc_pool *pool, struct err_info *err)
{
    const struct rpc_server_options *options = &pool->server->options;
    for (unsigned i = 0; i < pool->count; i++) {
        struct rpc_thread *thread = &pool->threads[i];
        thread->server = pool->server;
        if (options->worker_open != NULL) {
            TRY(options->worker_open(options->service, &thread->worker, err));
        }
        thread->arena = arena_create(RPC_ARENA_BYTES);
        char name[16];
        (void)snprintf(name, sizeof(name), "rpc-work-%u", i % 1000);
        TRY(thread_start(&thread->thread, name, work, thread, err));
    }
    return ERR_OK;
}

void rpc_pool_stop(struct rpc_pool *pool)
{
    lock_acquire(&pool->lock);
    pool->stopping = true;
    lock_cond_broadcast(&pool->ready);
    lock_release(&pool->lock);
    const struct rpc_server_options *options = &pool->server->options;
    for (unsigned i = 0; i < pool->count; i++) {
        struct rpc_thread *thread = &pool->threads[i];
        thread_join(&thread->thread);
        if (thread->worker != NULL && options->worker_close != NULL) {
            options->worker_close(options->service, thread->worker);
        }
        thread->worker = NULL;
        arena_destroy(STEAL(thread->arena));
    }
}

void rpc_pool_destroy(struct rpc_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    rpc_pool_stop(pool);
    while (atomic_load(&pool->pushing) > 0) {
        (void)sched_yield();
    }
    lock_cond_deinit(&pool->ready);
    lock_deinit(&pool->lock);
    mem_free(pool->threads);
    mem_free(pool);
}

/* Wakes a worker without the lock, which that worker wants first. Consumes the lock. */
static void unlock_and_signal(struct rpc_pool *pool)
{
    atomic_fetch_add(&pool->pushing, 1);
    lock_release(&pool->lock);
    lock_cond_signal(&pool->ready);
    atomic_fetch_sub(&pool->pushing, 1);
}

bool rpc_pool_push(struct rpc_pool *pool, struct rpc_task *task)
{
    lock_acquire(&pool->lock);
    if (pool->calls_waiting >= pool->capacity) {
        lock_release(&pool->lock);
        return false;
    }
    pool->calls_waiting++;
    list_append(&pool->calls, &task->node);
    unlock_and_signal(pool);
    return true;
}

void rpc_pool_push_event(struct rpc_pool *pool, struct rpc_task *task)
{
    lock_acquire(&pool->lock);
    list_append(&pool->events, &task->node);
    unlock_and_signal(pool);
}
