/*
 * What every bench shares: options, a thing and its floor measured in turns, medians and spreads,
 * the verdict against a goal, and output as text or JSON. One thread.
 *
 *     --smoke      tiny run: only shows that the bench works; its figures mean nothing
 *     --json       one JSON object on standard output instead of text
 *     --check      exit status 1 when a goal is missed
 *     --rounds N   rounds of each pair (default 5; 1 with --smoke)
 */
#ifndef TOOLS_BENCH_COMMON_BENCH_H
#define TOOLS_BENCH_COMMON_BENCH_H

#include "common/base/str.h"

struct bench;

/* An option of one bench besides those above: --name VALUE. */
struct bench_option {
    const char *name;     /* without the dashes */
    const char *fallback; /* NULL: none */
    const char *help;
};

/* options: ended by a row without a name; NULL: none. Exits with a text on --help and on what it
 * does not know. */
struct bench *bench_create(
    const char *name, const struct bench_option *options, int argc, char *const *argv);

bool bench_is_smoke(const struct bench *bench);

/* Value of an option of the bench's own: given, or its fallback. */
const char *bench_text(const struct bench *bench, const char *option);
int64_t bench_int(
    const struct bench *bench, const char *option); /* exits with a text when it is none */

enum bench_sense {
    BENCH_AT_MOST, /* ours / floor: less is better (costs) */
    BENCH_AT_LEAST /* more is better (rates) */
};

/* One measurement of ours or of the floor: in the pair's unit, over zero. */
typedef enum err_code (*bench_run_fn)(void *context, double *ret_value, struct err_info *err);

struct bench_pair {
    const char *id;     /* of the goal: "G7"; "": none, only shown */
    const char *metric; /* "telemetry stored once, PostgreSQL" */
    const char *unit;   /* of both values: "us", "rows/s" */
    enum bench_sense sense;
    double goal; /* of the ratio; 0 without an id */
    double stretch;
    bench_run_fn ours;
    bench_run_fn floor;
    void *context;
};

/*
 * Measures both in turns (ours first in even rounds, the floor first in odd ones) and keeps the
 * medians, and the median and extremes of the ratios of each round.
 */
enum err_code bench_compare(
    struct bench *bench, const struct bench_pair *pair, struct err_info *err) MUST_CHECK;

/* A figure without a floor: latency, bytes. goal 0: none; else the value's own bound. */
void bench_value(
    struct bench *bench, const char *metric, const char *unit, double value, double goal);

/* Prints everything and frees; the exit status of main. code: how the measuring ended. */
int bench_finish(struct bench *bench, enum err_code code, const struct err_info *err);

/* The value at fraction (0.5: the median) of count values, which it sorts. */
double bench_quantile(double *values, size_t count, double fraction);

#endif
