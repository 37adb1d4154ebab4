/*
 * Allocation. The plain verbs are for small sizes that no peer chooses: they log and abort when
 * memory is out. mem_try_alloc is for everything sized by a peer or by data: it may return NULL.
 * Tests make allocations fail by number through mem_fail_after.
 */
#ifndef COMMON_BASE_MEM_H
#define COMMON_BASE_MEM_H

#include <stddef.h>

/* Zeroed memory; never NULL. */
void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_alloc_array(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));

/* Grows or shrinks; new bytes are not zeroed; never NULL. */
void *mem_realloc(void *pointer, size_t bytes) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
void *mem_dup(const void *data, size_t bytes) __attribute__((malloc, returns_nonnull));
char *mem_printf(const char *format, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

/* Zeroed memory, or NULL when there is none (or when a test asked for a failure). */
void *mem_try_alloc(size_t bytes);
void *mem_try_realloc(void *pointer, size_t bytes);

void mem_free(void *pointer); /* NULL is allowed */

/* Test hook: the calls of mem_try_* after the next `count` ones on this thread fail; -1 turns it
 * off. */
void mem_fail_after(long count);

#endif
