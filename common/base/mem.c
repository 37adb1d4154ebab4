#include "common/base/mem.h"

#include "common/base/mem_fault.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct mem_fault in_force = { .after = -1 };

struct mem_fault mem_fault_swap(struct mem_fault fault)
{
    struct mem_fault before = in_force;
    in_force = fault;
    return before;
}

static bool must_fail(void)
{
    if (in_force.after < 0) {
        return false;
    }
    if (in_force.after > 0) {
        in_force.after--;
        return false;
    }
    in_force.has_failed = true;
    in_force.after = in_force.is_single ? -1 : 0;
    return true;
}

void mem_fail_after(long count)
{
    (void)mem_fault_swap((struct mem_fault){ .after = count });
}

static void out_of_memory(size_t bytes)
{
    (void)fprintf(
        stderr, "{\"level\":\"fatal\",\"event\":\"out_of_memory\",\"bytes\":%zu}\n", bytes);
    abort();
}

void *mem_alloc(size_t bytes)
{
    void *pointer = calloc(1, bytes == 0 ? 1 : bytes);
    if (pointer == NULL) {
        out_of_memory(bytes);
    }
    return pointer;
}

void *mem_alloc_array(size_t count, size_t bytes)
{
    void *pointer = calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes);
    if (pointer == NULL) {
        out_of_memory(count);
    }
    return pointer;
}

void *mem_realloc(void *pointer, size_t bytes)
{
    void *moved = realloc(pointer, bytes == 0 ? 1 : bytes);
    if (moved == NULL) {
        out_of_memory(bytes);
    }
    return moved;
}

void *mem_dup(const void *data, size_t bytes)
{
    void *copy = mem_alloc(bytes);
    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text) + 1);
}

char *mem_printf(const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        out_of_memory(0);
    }
    return text;
}

void *mem_try_alloc(size_t bytes)
{
    return must_fail() ? NULL : calloc(1, bytes == 0 ? 1 : bytes);
}

void *mem_try_realloc(void *pointer, size_t bytes)
{
    return must_fail() ? NULL : realloc(pointer, bytes == 0 ? 1 : bytes);
}

void mem_free(void *pointer)
{
    free(pointer);
}
