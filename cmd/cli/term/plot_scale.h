/* Axes of a plot: round steps, and values in the units people read. Pure. */
#ifndef CMD_CLI_TERM_PLOT_SCALE_H
#define CMD_CLI_TERM_PLOT_SCALE_H

#include "cmd/cli/term/plot.h"

struct plot_scale {
    double low;  /* of the axis: at or below the least value */
    double high; /* above low, always */
    double step; /* between labels; a round number in the unit's own steps */
};

/* Covers low..high (finite) with at most max_steps round steps; equal ends are widened. */
struct plot_scale plot_scale_create(
    double low, double high, unsigned max_steps, const char *unit_name);

/* A label of the axis, as short as the step allows. */
void plot_scale_label(
    const struct plot_scale *scale, double value, const char *unit_name, struct buf *buf);

/* Round step of time for about `count` labels over span_us, and a label in UTC. */
int64_t plot_time_step(int64_t span_us, unsigned count);
void plot_time_label(int64_t time_us, int64_t step_us, struct buf *buf);

#endif
