/*
 * What peers do that do not behave. A flood is one connection that sends frames without end; a
 * siege is many connections at once.
 */
#ifndef TOOLS_BENCH_HOSTILE_ATTACK_H
#define TOOLS_BENCH_HOSTILE_ATTACK_H

#include "tools/bench/hostile/wire.h"

enum {
    FLOOD_CHUNK_BYTES = 64 * 1024
};

struct flood {
    const char *name;
    bool has_ack; /* of the server's settings, before it begins */
    /* Writes frames into out, at most FLOOD_CHUNK_BYTES; returns how much. wire->stream counts. */
    size_t (*fill)(struct wire *wire, uint8_t *out);
};

extern const struct flood floods[];
extern const size_t flood_count;

struct siege {
    const char *name;
    /* Until stop; gives how many connections it made. */
    unsigned (*run)(uint16_t port, unsigned scale, const volatile bool *stop);
};

extern const struct siege sieges[];
extern const size_t siege_count;

#endif
