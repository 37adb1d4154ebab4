/*
 * Identifiers: a prefix and 26 characters of Crockford base32 (48 bits of milliseconds, 10 bits of
 * the microseconds within, 70 random bits), so that they sort by time: "cmd_01JD...". Thread-safe.
 *
 * A ULID's time ends at the millisecond, in which one caller's calls, one after the other, can have
 * several: lists sorted by id would mix them.
 */
#ifndef COMMON_BASE_ID_H
#define COMMON_BASE_ID_H

#include "common/base/time.h"

enum {
    ID_TEXT_BYTES = 40
};

/* prefix: at most 8 characters, without the underscore; returns out. */
char *id_create(const char *prefix, struct wall_us now, char out[ID_TEXT_BYTES]);

/*
 * Ids without a system call each, for what must be unique but need not be hard to guess (requests):
 * 38 bits drawn once, 32 bits counted. Of one thread.
 */
struct id_source {
    uint64_t drawn;
    uint32_t count; /* 0: draw anew */
};

#define ID_SOURCE_INIT \
    {                  \
        .count = 0     \
    }

/* As id_create. */
char *id_source_next(
    struct id_source *source, const char *prefix, struct wall_us now, char out[ID_TEXT_BYTES]);

/* Random bytes for anything that is not a secret key; never fails (aborts when the kernel has
 * none). */
void id_random(void *out, size_t bytes);

/* Uniform in [0, bound); bound > 0. For jitter. */
uint64_t id_random_below(uint64_t bound);

#endif
