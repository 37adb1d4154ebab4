#include "common/sys/queue.h"

#include "common/base/mem.h"

struct queue {
    struct lock lock;
    struct lock_cond ready;
    void **items;
    size_t capacity;
    size_t head;
    size_t length;
    unsigned waiting;
    bool closed;
};

struct queue *queue_create(size_t capacity)
{
    struct queue *queue = mem_alloc(sizeof(*queue));
    lock_init(&queue->lock, LOCK_RANK_QUEUE);
    lock_cond_init(&queue->ready);
    queue->items = mem_alloc_array(capacity, sizeof(*queue->items));
    queue->capacity = capacity;
    return queue;
}

void queue_destroy(struct queue *queue)
{
    if (queue != NULL) {
        lock_cond_deinit(&queue->ready);
        lock_deinit(&queue->lock);
        mem_free(queue->items);
        mem_free(queue);
    }
}

bool queue_push(struct queue *queue, void *item)
{
    LOCK_GUARD(&queue->lock);
    if (queue->closed || queue->length == queue->capacity) {
        return false;
    }
    queue->items[(queue->head + queue->length) % queue->capacity] = item;
    queue->length++;
    if (queue->waiting > 0) {
        lock_cond_signal(&queue->ready);
    }
    return true;
}

static void *take_locked(struct queue *queue)
{
    if (queue->length == 0) {
        return NULL;
    }
    void *item = queue->items[queue->head];
    queue->head = (queue->head + 1) % queue->capacity;
    queue->length--;
    return item;
}

void *queue_pop(struct queue *queue, struct mono_us deadline)
{
    LOCK_GUARD(&queue->lock);
    bool in_time = true;
    while (queue->length == 0 && !queue->closed && in_time) {
        queue->waiting++;
        in_time = lock_cond_wait_until(&queue->ready, &queue->lock, deadline);
        queue->waiting--;
    }
    return take_locked(queue);
}

void *queue_try_pop(struct queue *queue)
{
    LOCK_GUARD(&queue->lock);
    return take_locked(queue);
}

void queue_close(struct queue *queue)
{
    LOCK_GUARD(&queue->lock);
    queue->closed = true;
    lock_cond_broadcast(&queue->ready);
}

size_t queue_length(struct queue *queue)
{
    LOCK_GUARD(&queue->lock);
    return queue->length;
}
