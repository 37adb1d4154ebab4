#include "common/base/id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void id_random(void *out, size_t bytes)
{
    uint8_t *at = out;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno != EINTR) {
            abort();
        }
        if (got > 0) {
            at += got;
            bytes -= (size_t)got;
        }
    }
}

uint64_t id_random_below(uint64_t bound)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t value = 0;
    do {
        id_random(&value, sizeof(value));
    } while (value >= limit);
    return value % bound;
}

char *id_create(const char *prefix, struct wall_us now, char out[ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint8_t random[10];
    id_random(random, sizeof(random));
    uint64_t ms = (uint64_t)(now.value / US_PER_MS);
    int used = snprintf(out, ID_TEXT_BYTES, "%.8s_", prefix);
    char *at = out + used;
    for (int i = 9; i >= 0; i--) {
        *at++ = digits[(ms >> (5 * i)) & 31];
    }
    unsigned bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < sizeof(random); i++) {
        bits = (bits << 8) | random[i];
        held += 8;
        while (held >= 5) {
            held -= 5;
            *at++ = digits[(bits >> held) & 31];
        }
    }
    *at = '\0';
    return out;
}
