/*
 * Line plots in a terminal: data in, lines out. Braille dots (2 by 4 per character) or plain ASCII;
 * axes with round numbers, units people read, times in UTC. Pure.
 */
#ifndef CMD_CLI_TERM_PLOT_H
#define CMD_CLI_TERM_PLOT_H

#include "common/base/buf.h"
#include "common/base/time.h"

enum {
    PLOT_SERIES_MAX = 6,
    PLOT_WIDTH_MAX = 400,
    PLOT_HEIGHT_MAX = 100
};

struct plot_point {
    int64_t time_us;
    double value; /* NaN and infinities are gaps */
};

struct plot_series {
    const char *label;
    const struct plot_point *points; /* by time */
    size_t count;
};

struct plot_options {
    const char *title; /* NULL: none */
    const char
        *unit; /* "ratio" (as percent), "bytes", "bytes/s", "celsius", "seconds", ...; NULL: none */
    unsigned width;  /* columns of the whole plot; 20..PLOT_WIDTH_MAX, else moved there */
    unsigned height; /* lines of the drawing; 3..PLOT_HEIGHT_MAX, else moved there */
    bool ascii;
    bool color;
    struct wall_us start; /* both 0: from the data */
    struct wall_us end;
    int64_t gap_us; /* points further apart are not joined; 0: always joined */
};

/*
 * Appends lines, each ended by a newline: title, drawing with its axes, one legend line per series
 * with last, least and greatest value. Series past PLOT_SERIES_MAX are counted, not drawn. Without
 * a finite point in range the drawing says so.
 */
void plot_render(
    const struct plot_series *series,
    size_t count,
    const struct plot_options *options,
    struct buf *buf);

/* A value the way the plot shows it: "42.5%", "1.5 GiB", "61 C" with its degree sign; for tables
 * too. */
void plot_format_value(double value, const char *unit_name, struct buf *buf);

#endif
