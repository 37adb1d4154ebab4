#include "cmd/shim/ring.h"

#include "common/base/cleanup.h"

enum {
    FIRST_BYTES = 16384
};

void ring_deinit(struct ring *ring)
{
    mem_free(ring->data);
    *ring = (struct ring){ .overwrites = ring->overwrites };
}

static size_t held(const struct ring *ring)
{
    return (size_t)(ring->end - ring->start);
}

size_t ring_room(const struct ring *ring)
{
    return ring->overwrites ? RING_BYTES_MAX : RING_BYTES_MAX - held(ring);
}

static void copy_in(struct ring *ring, struct str_view data)
{
    if (data.len == 0 || data.ptr == NULL) {
        return;
    }
    size_t at = (size_t)(ring->end & (ring->capacity - 1));
    size_t first = ring->capacity - at < data.len ? ring->capacity - at : data.len;
    memcpy(ring->data + at, data.ptr, first);
    if (data.len > first) {
        memcpy(ring->data, data.ptr + first, data.len - first);
    }
    ring->end += data.len;
}

/* Moves what is held into a larger one; bytes keep their place modulo the capacity. */
static void grow(struct ring *ring, size_t capacity)
{
    struct ring larger = { .data = mem_alloc(capacity),
                           .capacity = capacity,
                           .start = ring->start,
                           .end = ring->start,
                           .overwrites = ring->overwrites };
    while (ring->data != NULL && larger.end < ring->end) {
        copy_in(&larger, ring_peek(ring, larger.end, RING_BYTES_MAX));
    }
    mem_free(ring->data);
    *ring = larger;
}

void ring_write(struct ring *ring, struct str_view data)
{
    size_t needed = held(ring) + data.len;
    size_t capacity = ring->capacity == 0 ? FIRST_BYTES : ring->capacity;
    if (data.len == 0) {
        return;
    }
    while (capacity < needed && capacity < RING_BYTES_MAX) {
        capacity *= 2;
    }
    if (capacity != ring->capacity) {
        grow(ring, capacity);
    }
    if (needed > ring->capacity) {
        ring->start += needed - ring->capacity; /* only one that overwrites comes here */
    }
    copy_in(ring, data);
}

struct str_view ring_peek(const struct ring *ring, uint64_t offset, size_t max)
{
    if (offset < ring->start || offset >= ring->end) {
        return STR_NONE;
    }
    size_t at = (size_t)(offset & (ring->capacity - 1));
    size_t bytes = (size_t)(ring->end - offset);
    bytes = bytes > ring->capacity - at ? ring->capacity - at : bytes;
    return str_from(ring->data + at, bytes > max ? max : bytes);
}

void ring_release(struct ring *ring, uint64_t offset)
{
    if (offset > ring->start) {
        ring->start = offset > ring->end ? ring->end : offset;
    }
}
