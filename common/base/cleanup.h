/* Scope-bound release (gcc and clang): declare with an initialiser, hand over with STEAL. */
#ifndef COMMON_BASE_CLEANUP_H
#define COMMON_BASE_CLEANUP_H

#include "common/base/mem.h"

static inline void cleanup_mem_free(void *pointer)
{
    mem_free(*(void **)pointer);
}

#define AUTO(function) __attribute__((cleanup(function)))
#define AUTO_FREE      AUTO(cleanup_mem_free)

/* Gives the value away and leaves NULL, so that the scope does not release it. */
#define STEAL(variable)                            \
    __extension__({                                \
        __typeof__(variable) stolen_ = (variable); \
        (variable) = NULL;                         \
        stolen_;                                   \
    })

/* Defines cleanup_<noun>_<verb>(T **) for AUTO(): AUTO_DEFINE(arena, destroy) for struct arena. */
#define AUTO_DEFINE(noun, verb)                                                               \
    __attribute__((unused)) static inline void cleanup_##noun##_##verb(struct noun **pointer) \
    {                                                                                         \
        if (*pointer != NULL) {                                                               \
            noun##_##verb(*pointer);                                                          \
        }                                                                                     \
    }

/*
 * The same pointer without const, for interfaces that take what they only read (argument lists,
 * generated messages). Through a union, so that the one place where const is dropped can be found.
 */
#define CONST_CAST(type, pointer) \
    (((union {                    \
         const void *held;        \
         type given;              \
     }){ .held = (pointer) })     \
         .given)

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
