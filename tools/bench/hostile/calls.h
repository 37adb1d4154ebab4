/*
 * Floods of calls that are refused, or need no credential: as many as the server answers, on one
 * connection, each a few bytes long since its headers stand in the table after the first.
 */
#ifndef TOOLS_BENCH_HOSTILE_CALLS_H
#define TOOLS_BENCH_HOSTILE_CALLS_H

#include "tools/bench/hostile/wire.h"

struct call_flood {
    const char *name;
    const char *path;
    bool has_token;   /* well-formed, and of nobody */
    bool has_request; /* an empty one; else the call is refused before it is sent */
};

extern const struct call_flood call_floods[];
extern const size_t call_flood_count;

struct call_tally {
    unsigned answered;
    size_t sent_bytes;
    bool is_cut; /* the server has closed, or said that it will */
};

/* Adds to the tally, until the time is over or the connection is cut. */
void calls_flood(
    struct wire *wire,
    const struct call_flood *flood,
    int64_t duration_us,
    struct call_tally *tally);

#endif
