#include "common/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    FIRST_CHUNK_BYTES = 1024,
    LARGEST_CHUNK_BYTES = 256 * 1024,
    ALIGNMENT = ARENA_UNIT_BYTES
};

struct chunk {
    struct chunk *next;
    size_t size;
    size_t used;
    alignas(ALIGNMENT) char data[];
};

struct arena {
    struct chunk *chunks; /* newest first */
    size_t cap;
    size_t used;
};

struct arena *arena_create(size_t cap_bytes)
{
    struct arena *arena = mem_alloc(sizeof(*arena));
    arena->cap = cap_bytes;
    return arena;
}

static void free_chunks(struct chunk *chunk)
{
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

void arena_destroy(struct arena *arena)
{
    if (arena != NULL) {
        free_chunks(arena->chunks);
        mem_free(arena);
    }
}

void arena_reset(struct arena *arena)
{
#ifdef ARENA_EMULATE
    free_chunks(arena->chunks);
    arena->chunks = NULL;
#else
    if (arena->chunks != NULL) {
        free_chunks(arena->chunks->next);
        arena->chunks->next = NULL;
        memset(arena->chunks->data, 0, arena->chunks->used);
        arena->chunks->used = 0;
    }
#endif
    arena->used = 0;
}

static struct chunk *add_chunk(struct arena *arena, size_t bytes)
{
    size_t size = bytes;
#ifndef ARENA_EMULATE
    size_t left = arena_left_bytes(arena) / ALIGNMENT * ALIGNMENT;
    size_t grown = arena->chunks == NULL ? FIRST_CHUNK_BYTES : arena->chunks->size * 2;
    grown = grown > LARGEST_CHUNK_BYTES ? LARGEST_CHUNK_BYTES : grown;
    grown = grown > left ? left : grown; /* more could never be handed out */
    size = grown > bytes ? grown : bytes;
#endif
    struct chunk *chunk = mem_try_alloc(sizeof(*chunk) + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > arena_left_bytes(arena)) { /* also keeps what follows from overflowing */
        return NULL;
    }
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    rounded = rounded == 0 ? ALIGNMENT : rounded;
    if (rounded > arena_left_bytes(arena)) {
        return NULL;
    }
#ifdef ARENA_EMULATE
    size_t taken = bytes == 0 ? 1 : bytes; /* to the byte, so that sanitizers see an overrun */
    struct chunk *chunk = NULL;
#else
    size_t taken = rounded;
    struct chunk *chunk = arena->chunks;
#endif
    if (chunk == NULL || chunk->size - chunk->used < taken) {
        chunk = add_chunk(arena, taken);
        if (chunk == NULL) {
            return NULL;
        }
    }
    void *pointer = chunk->data + chunk->used;
    chunk->used += taken;
    arena->used += rounded;
    return pointer;
}

void *arena_dup(struct arena *arena, const void *data, size_t bytes)
{
    void *copy = arena_alloc(arena, bytes);
    if (copy != NULL && bytes > 0) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return text == NULL ? NULL : arena_dup(arena, text, strlen(text) + 1);
}

char *arena_str_dup(struct arena *arena, struct str_view text)
{
    if (text.len == SIZE_MAX) {
        return NULL;
    }
    char *copy = arena_alloc(arena, text.len + 1);
    if (copy != NULL && text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : arena_alloc(arena, (size_t)length + 1);
    if (text != NULL) {
        va_start(args, format);
        (void)vsnprintf(text, (size_t)length + 1, format, args);
        va_end(args);
    }
    return text;
}

size_t arena_used_bytes(const struct arena *arena)
{
    return arena->used;
}

size_t arena_left_bytes(const struct arena *arena)
{
    return arena->cap - arena->used;
}
