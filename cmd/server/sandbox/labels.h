/* Labels as rows hold them (a JSON object of texts), for selectors. */
#ifndef SERVER_SANDBOX_LABELS_H
#define SERVER_SANDBOX_LABELS_H

#include "common/base/arena.h"

struct wire_schema;

/* For labels_find, in the arena; NULL: no labels, or the arena is full. */
const void *labels_read(const struct wire_schema *schema, const char *json, struct arena *arena);

/* A selector_lookup_fn: the value of a key, or STR_NONE. labels may be NULL. */
struct str_view labels_find(const void *labels, struct str_view key);

#endif
