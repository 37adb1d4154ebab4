/*
 * What a stream has said lately, by its offset since the start. Grows up to RING_BYTES_MAX; then a
 * plain ring takes no more until something is released, and one that overwrites drops the oldest.
 */
#ifndef SHIM_RING_H
#define SHIM_RING_H

#include "common/base/str.h"

enum {
    RING_BYTES_MAX = 1024 * 1024
};

struct ring {
    char *data;
    size_t capacity; /* a power of two */
    uint64_t start;  /* offset of the oldest byte kept */
    uint64_t end;    /* offset of the next byte to come */
    bool overwrites;
};

void ring_deinit(struct ring *ring);
size_t ring_room(
    const struct ring *ring); /* bytes it takes; one that overwrites: all it can hold */
void ring_write(struct ring *ring, struct str_view data); /* at most ring_room bytes */

/* What follows offset, in one piece, at most max bytes; empty: nothing yet. */
struct str_view ring_peek(const struct ring *ring, uint64_t offset, size_t max);
void ring_release(struct ring *ring, uint64_t offset); /* what lies before is not needed any more */

#endif
