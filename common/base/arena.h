/*
 * Arena: allocations that live and die together, with a hard cap. One owner at a time; not
 * thread-safe. arena_alloc returns NULL past the cap, so a peer's sizes can be served from it.
 * Built with ARENA_EMULATE each allocation is a malloc of its own, so that sanitizers see overruns.
 */
#ifndef COMMON_BASE_ARENA_H
#define COMMON_BASE_ARENA_H

#include "common/base/cleanup.h"
#include "common/base/str.h"

struct arena;

enum {
    ARENA_UNIT_BYTES = 16 /* an allocation takes a multiple of it, at least one */
};

/*
 * cap_bytes bounds what all allocations take, each rounded up to ARENA_UNIT_BYTES, so that many
 * tiny ones cannot take more than the cap says. Not counted: one header for each chunk, and what is
 * left over at the end of a chunk when the next allocation does not fit.
 */
struct arena *arena_create(size_t cap_bytes);
void arena_destroy(struct arena *arena); /* NULL is allowed */

/* Frees every allocation and keeps one chunk for reuse. */
void arena_reset(struct arena *arena);

/* Zeroed, aligned for any type; NULL when the cap or memory is reached. */
void *arena_alloc(struct arena *arena, size_t bytes);
void *arena_dup(struct arena *arena, const void *data, size_t bytes);
char *arena_strdup(struct arena *arena, const char *text);      /* NULL in gives NULL out */
char *arena_str_dup(struct arena *arena, struct str_view text); /* NUL-terminated copy */
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

size_t arena_used_bytes(const struct arena *arena);
size_t arena_left_bytes(const struct arena *arena);

AUTO_DEFINE(arena, destroy)
#define AUTO_ARENA AUTO(cleanup_arena_destroy)

#endif
