/* Names for sandboxes that were given none: two short words joined by a hyphen. Pure. */
#ifndef SERVER_DOMAIN_MONIKER_H
#define SERVER_DOMAIN_MONIKER_H

#include <stdint.h>

enum {
    MONIKER_BYTES = 20
};

/* random decides which; the same number gives the same name. Returns out. */
char *moniker_create(uint64_t random, char out[MONIKER_BYTES]);

#endif
