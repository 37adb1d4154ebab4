/* Bounded queue of pointers between threads; any number of both sides. */
#ifndef COMMON_SYS_QUEUE_H
#define COMMON_SYS_QUEUE_H

#include "common/sys/lock.h"

struct queue;

struct queue *queue_create(size_t capacity);
void queue_destroy(struct queue *queue); /* must be empty of anything owned */

/* false: full or closed; item stays the caller's. */
bool queue_push(struct queue *queue, void *item) MUST_CHECK;

/* Waits for an item; NULL: closed and empty, or the deadline has passed. */
void *queue_pop(struct queue *queue, struct mono_us deadline);
void *queue_try_pop(struct queue *queue);

/* Pushes fail from now on; waiting pops return when the queue is empty. */
void queue_close(struct queue *queue);
size_t queue_length(struct queue *queue);

#define QUEUE_FOREVER ((struct mono_us){ INT64_MAX })

#endif
