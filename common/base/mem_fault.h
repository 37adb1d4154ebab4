/*
 * Test hook of mem.c: allocations of mem_try_* that fail by number. The state is the thread's.
 */
#ifndef COMMON_BASE_MEM_FAULT_H
#define COMMON_BASE_MEM_FAULT_H

#include <stdbool.h>

struct mem_fault {
    long after;      /* so many succeed before; -1: all do */
    bool is_single;  /* one fails; else every one from there on */
    bool has_failed; /* one has */
};

#define MEM_FAULT_NONE ((struct mem_fault){ .after = -1 })

/* Gives what was in force, as far as it has come: putting that back goes on where it was. */
struct mem_fault mem_fault_swap(struct mem_fault fault);

#endif
