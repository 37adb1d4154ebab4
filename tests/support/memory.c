#include "tests/support/memory.h"

#include "common/base/mem.h"

#include <sqlite3.h>

#include <malloc.h>
#include <stdlib.h>

static void *take(int bytes)
{
    return bytes <= 0 ? NULL : mem_try_alloc((size_t)bytes);
}

static void *resize(void *pointer, int bytes)
{
    return mem_try_realloc(pointer, (size_t)bytes);
}

static int size_of(void *pointer)
{
    return pointer == NULL ? 0 : (int)malloc_usable_size(pointer);
}

static int round_up(int bytes)
{
    return (bytes + 7) / 8 * 8;
}

static int init(void *context)
{
    (void)context;
    return SQLITE_OK;
}

static void shut_down(void *context)
{
    (void)context;
}

void memory_take_sqlite(void)
{
    const sqlite3_mem_methods methods = { take,     mem_free, resize,    size_of,
                                          round_up, init,     shut_down, NULL };
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK
        || sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK
        || sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK) {
        abort();
    }
}

void memory_pause(bool pauses)
{
    static _Thread_local struct mem_fault paused = { .after = -1 };
    if (pauses) {
        paused = mem_fault_swap(MEM_FAULT_NONE);
    } else {
        (void)mem_fault_swap(paused);
    }
}
