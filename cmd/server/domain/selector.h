/* Kubernetes label selectors: "a=b,c!=d,e in (f,g),h notin (i),j,!k". Pure. */
#ifndef SERVER_DOMAIN_SELECTOR_H
#define SERVER_DOMAIN_SELECTOR_H

#include "common/base/arena.h"

struct selector;

/* Empty text matches everything. ERR_INVALID names the place. The selector lives in the arena and
 * borrows text. */
enum err_code selector_parse(
    struct str_view text, struct arena *arena, struct selector **ret_selector, struct err_info *err)
    MUST_CHECK;

/* Value of a label, or STR_NONE. */
typedef struct str_view (*selector_lookup_fn)(const void *labels, struct str_view key);

bool selector_matches(
    const struct selector *selector, selector_lookup_fn lookup, const void *labels);

#endif
