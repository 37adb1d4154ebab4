#include "common/base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

enum {
    PREFIX_MAX = 8,
    FRACTION_BITS = 10, /* the microseconds of a millisecond */
    RANDOM_BYTES = 9    /* of which the first two bits are not used */
};

/* Five bits a character, most significant first. */
static char *append_bits(char *at, uint64_t value, int characters)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    for (int i = characters - 1; i >= 0; i--) {
        *at++ = digits[(value >> (5 * i)) & 31];
    }
    return at;
}

static char *format(
    const char *prefix, struct wall_us now, const uint8_t random[RANDOM_BYTES], char *out)
{
    size_t length = strnlen(prefix, PREFIX_MAX);
    memcpy(out, prefix, length);
    char *at = out + length;
    *at++ = '_';
    at = append_bits(at, (uint64_t)(now.value / US_PER_MS), 10);
    uint64_t value = (uint64_t)(now.value % US_PER_MS) << (40 - FRACTION_BITS);
    value |= (uint64_t)(random[0] & 0x3f) << 24;
    value |= (uint64_t)random[1] << 16 | (uint64_t)random[2] << 8 | random[3];
    at = append_bits(at, value, 8);
    value = 0;
    for (size_t i = 4; i < RANDOM_BYTES; i++) {
        value = value << 8 | random[i];
    }
    at = append_bits(at, value, 8);
    *at = '\0';
    return out;
}

char *id_create(const char *prefix, struct wall_us now, char out[ID_TEXT_BYTES])
{
    uint8_t random[RANDOM_BYTES];
    id_random(random, sizeof(random));
    return format(prefix, now, random, out);
}

char *id_source_next(
    struct id_source *source, const char *prefix, struct wall_us now, char out[ID_TEXT_BYTES])
{
    if (source->count == 0) {
        id_random(&source->drawn, sizeof(source->drawn));
    }
    source->count++;
    uint8_t bytes[RANDOM_BYTES];
    memcpy(bytes, &source->drawn, 5);
    memcpy(bytes + 5, &source->count, sizeof(source->count));
    return format(prefix, now, bytes, out);
}
