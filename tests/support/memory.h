/*
 * Allocations that fail by number (common/base/mem_fault.h): SQLite's among them, and what belongs
 * to a test itself, in the middle of what is swept, not.
 */
#ifndef TESTS_SUPPORT_MEMORY_H
#define TESTS_SUPPORT_MEMORY_H

#include "common/base/mem_fault.h"

/* SQLite allocates by mem_try_*, each time anew; before its first use in the process. */
void memory_take_sqlite(void);

static inline void memory_resume(const struct mem_fault *paused)
{
    (void)mem_fault_swap(*paused);
}

/* To the end of the scope nothing fails and nothing counts. */
#define MEMORY_PAUSE()                                                             \
    const struct mem_fault memory_paused __attribute__((cleanup(memory_resume))) = \
        mem_fault_swap(MEM_FAULT_NONE)

/* The same between two calls: memory_pause(true), memory_pause(false). */
void memory_pause(bool pauses);

#endif
