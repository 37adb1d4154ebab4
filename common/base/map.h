/*
 * Hash map from bytes to a pointer: seeded SipHash, open addressing, copies of keys. Not
 * thread-safe. Iteration order is unspecified.
 */
#ifndef COMMON_BASE_MAP_H
#define COMMON_BASE_MAP_H

#include "common/base/str.h"

struct map;

struct map *map_create(void);
/* free_value may be NULL; it is called for every value still in the map. */
void map_destroy(struct map *map, void (*free_value)(void *value));

void *map_find(const struct map *map, struct str_view key); /* NULL: not there */

/* Stores value (not NULL) and returns the value it replaced, or NULL. */
void *map_put(struct map *map, struct str_view key, void *value);
void *map_remove(struct map *map, struct str_view key); /* the value, or NULL */
size_t map_count(const struct map *map);

/* Walk: start with *cursor = 0; false at the end. The map must not change meanwhile, but for
 * map_remove of the current key. */
bool map_next(const struct map *map, size_t *cursor, struct str_view *ret_key, void **ret_value);

/* Key of an integer, valid as long as *storage. */
static inline struct str_view map_key_of(const int64_t *storage)
{
    return str_from((const char *)storage, sizeof(*storage));
}

#endif
