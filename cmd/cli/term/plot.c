#include "cmd/cli/term/plot.h"

#include "cmd/cli/term/plot_scale.h"
#include "common/base/cleanup.h"

#include <math.h>
#include <stdlib.h>

enum {
    WIDTH_MIN = 20,
    HEIGHT_MIN = 3,
    AXIS_WIDTH_MAX = 14,
    LABEL_BYTES = 64,
    LINES_PER_LABEL = 3,
    COLUMNS_PER_TIME = 16,
    TIME_LINE_BYTES_MAX = 4 * PLOT_WIDTH_MAX
};

/* Box drawing characters in UTF-8. */
#define BAR_LEFT    "\xe2\x94\x82"
#define TICK_LEFT   "\xe2\x94\xa4"
#define CORNER      "\xe2\x94\x94"
#define BAR_BOTTOM  "\xe2\x94\x80"
#define TICK_BOTTOM "\xe2\x94\xac"
#define LEGEND      "\xe2\x94\x81\xe2\x94\x81"

/* Dots: a bit set per character for braille, a mark for ASCII; and who drew there last. */
struct canvas {
    unsigned columns;
    unsigned rows;
    unsigned dots_x; /* per character */
    unsigned dots_y;
    uint8_t *bits;
    uint8_t *owner; /* series + 1; 0: nobody */
};

struct drawing {
    const struct plot_options *options;
    struct plot_scale scale;
    int64_t start_us;
    int64_t end_us;
    unsigned axis_width;
    struct canvas canvas;
};

static const char MARKS[PLOT_SERIES_MAX + 1] = "*+xo#@";
static const char *const COLORS[PLOT_SERIES_MAX] = {
    "\033[36m", "\033[33m", "\033[35m", "\033[32m", "\033[34m", "\033[31m",
};

static size_t drawn_count(size_t count)
{
    return count < PLOT_SERIES_MAX ? count : PLOT_SERIES_MAX;
}

/* ---- range ---- */

struct range {
    double low;
    double high;
    int64_t start_us;
    int64_t end_us;
    bool any;
};

static bool in_window(const struct plot_options *options, int64_t time_us)
{
    bool bounded = options->start.value != 0 || options->end.value != 0;
    return !bounded || (time_us >= options->start.value && time_us <= options->end.value);
}

static void range_add(struct range *range, const struct plot_point *point)
{
    if (!range->any) {
        *range = (struct range){ point->value, point->value, point->time_us, point->time_us, true };
        return;
    }
    range->low = fmin(range->low, point->value);
    range->high = fmax(range->high, point->value);
    range->start_us = point->time_us < range->start_us ? point->time_us : range->start_us;
    range->end_us = point->time_us > range->end_us ? point->time_us : range->end_us;
}

static struct range range_of(
    const struct plot_series *series, size_t count, const struct plot_options *options)
{
    struct range range = { .any = false };
    for (size_t s = 0; s < drawn_count(count); s++) {
        for (size_t i = 0; i < series[s].count; i++) {
            const struct plot_point *point = &series[s].points[i];
            if (isfinite(point->value) && in_window(options, point->time_us)) {
                range_add(&range, point);
            }
        }
    }
    if (options->start.value != 0 || options->end.value != 0) {
        range.start_us = options->start.value;
        range.end_us = options->end.value;
    }
    if (range.end_us <= range.start_us) {
        range.start_us -= US_PER_SECOND;
        range.end_us = range.start_us + 2 * US_PER_SECOND;
    }
    return range;
}

/* A ratio that fills a good part of 0..1 is shown on all of it; small positive ranges start at 0.
 */
static void widen(struct range *range, const char *unit)
{
    if (range->low >= 0 && range->low < range->high / 2) {
        range->low = 0;
    }
    if (unit != NULL && strcmp(unit, "ratio") == 0 && range->low >= 0 && range->high <= 1
        && range->high > 0.5) {
        range->low = 0;
        range->high = 1;
    }
}

/* ---- canvas ---- */

static void canvas_dot(struct canvas *canvas, int64_t x, int64_t y, size_t series)
{
    static const uint8_t BRAILLE[4][2] = {
        { 0x01, 0x08 }, { 0x02, 0x10 }, { 0x04, 0x20 }, { 0x40, 0x80 }
    };
    int64_t width = (int64_t)canvas->columns * canvas->dots_x;
    int64_t height = (int64_t)canvas->rows * canvas->dots_y;
    if (x < 0 || y < 0 || x >= width || y >= height) {
        return;
    }
    size_t row = (size_t)(height - 1 - y) / canvas->dots_y;
    size_t cell = row * canvas->columns + (size_t)x / canvas->dots_x;
    size_t sub_x = (size_t)x % canvas->dots_x;
    size_t sub_y = (size_t)(height - 1 - y) % canvas->dots_y;
    canvas->bits[cell] |= BRAILLE[sub_y][sub_x];
    canvas->owner[cell] = (uint8_t)(series + 1);
}

static void canvas_line(
    struct canvas *canvas, const int64_t from[2], const int64_t to[2], size_t series)
{
    int64_t dx = to[0] - from[0];
    int64_t dy = to[1] - from[1];
    int64_t steps = llabs(dx) > llabs(dy) ? llabs(dx) : llabs(dy);
    for (int64_t i = 0; i <= steps; i++) {
        int64_t x =
            from[0] + (steps == 0 ? 0 : (dx * i * 2 + (dx < 0 ? -steps : steps)) / (2 * steps));
        int64_t y =
            from[1] + (steps == 0 ? 0 : (dy * i * 2 + (dy < 0 ? -steps : steps)) / (2 * steps));
        canvas_dot(canvas, x, y, series);
    }
}

static void place(const struct drawing *drawing, const struct plot_point *point, int64_t ret_dot[2])
{
    const struct canvas *canvas = &drawing->canvas;
    double span = (double)(drawing->end_us - drawing->start_us);
    double x = (double)(point->time_us - drawing->start_us) / span;
    double half = drawing->scale.high / 2 - drawing->scale.low / 2;
    double y = (point->value / 2 - drawing->scale.low / 2) / half;
    ret_dot[0] = (int64_t)llround(x * (double)(canvas->columns * canvas->dots_x - 1));
    ret_dot[1] = (int64_t)llround(y * (double)(canvas->rows * canvas->dots_y - 1));
}

static void draw_series(struct drawing *drawing, const struct plot_series *series, size_t index)
{
    const struct plot_point *before = NULL;
    int64_t last[2] = { 0, 0 };
    for (size_t i = 0; i < series->count; i++) {
        const struct plot_point *point = &series->points[i];
        if (!isfinite(point->value)) {
            before = NULL;
            continue;
        }
        if (!in_window(drawing->options, point->time_us)) {
            continue;
        }
        int64_t dot[2];
        place(drawing, point, dot);
        int64_t gap = drawing->options->gap_us;
        bool joined = before != NULL && (gap == 0 || point->time_us - before->time_us <= gap);
        canvas_line(&drawing->canvas, joined ? last : dot, dot, index);
        before = point;
        last[0] = dot[0];
        last[1] = dot[1];
    }
}

/* ---- lines ---- */

static void put_cell(const struct drawing *drawing, size_t cell, struct buf *buf)
{
    const struct canvas *canvas = &drawing->canvas;
    uint8_t owner = canvas->owner[cell];
    if (owner == 0) {
        buf_append_char(buf, ' ');
    } else if (drawing->options->ascii) {
        buf_append_char(buf, MARKS[owner - 1]);
    } else {
        unsigned bits = canvas->bits[cell];
        char utf8[3] = { (char)0xe2, (char)(0xa0 | bits >> 6), (char)(0x80 | (bits & 0x3f)) };
        buf_append(buf, utf8, sizeof(utf8));
    }
}

/* Cells first..first + count; a color is switched on and off once per run of its cells. */
static void put_cells(const struct drawing *drawing, size_t first, size_t count, struct buf *buf)
{
    uint8_t current = 0;
    for (size_t cell = first; cell < first + count; cell++) {
        uint8_t owner = drawing->canvas.owner[cell];
        if (drawing->options->color && owner != current) {
            buf_append_str(buf, current != 0 ? STR("\033[0m") : STR(""));
            buf_append_str(buf, owner != 0 ? str_of(COLORS[owner - 1]) : STR(""));
            current = owner;
        }
        put_cell(drawing, cell, buf);
    }
    buf_append_str(buf, current != 0 ? STR("\033[0m") : STR(""));
}

/* Columns of a label: every character of one is one column wide (the degree sign has two bytes). */
static unsigned label_width(const struct buf *label)
{
    size_t chars = 0;
    (void)str_is_utf8(buf_view(label), &chars);
    return (unsigned)chars;
}

/* The label whose value falls on this row, if one does. */
static void row_label(const struct drawing *drawing, unsigned row, struct buf *label)
{
    const struct plot_scale *scale = &drawing->scale;
    double rows = (double)drawing->canvas.rows;
    double span = scale->high - scale->low;
    for (unsigned i = 0; isfinite(span) && i <= drawing->canvas.rows; i++) {
        double value = scale->low + scale->step * i;
        if (value > scale->high + scale->step * 1e-6) {
            return;
        }
        long at = lround((scale->high - value) / span * (rows - 1));
        if (at == (long)row) {
            plot_scale_label(scale, value, drawing->options->unit, label);
            return;
        }
    }
}

static void put_rows(const struct drawing *drawing, struct buf *buf)
{
    const struct canvas *canvas = &drawing->canvas;
    for (unsigned row = 0; row < canvas->rows; row++) {
        size_t first = (size_t)row * canvas->columns;
        AUTO_BUF struct buf label = BUF_INIT(LABEL_BYTES);
        row_label(drawing, row, &label);
        unsigned width = label_width(&label);
        unsigned pad = width < drawing->axis_width ? drawing->axis_width - width : 0;
        const char *bar = drawing->options->ascii ? (width > 0 ? " +" : " |")
                                                  : (width > 0 ? " " TICK_LEFT : " " BAR_LEFT);
        buf_printf(buf, "%*s%s%s", (int)pad, "", buf_text(&label), bar);
        size_t last = canvas->columns;
        while (last > 0 && canvas->owner[first + last - 1] == 0) {
            last--;
        }
        put_cells(drawing, first, last, buf);
        buf_append_char(buf, '\n');
    }
}

/* The axis with a tick per label, then the labels below their ticks. */
static void put_time_axis(const struct drawing *drawing, struct buf *buf)
{
    unsigned columns = drawing->canvas.columns;
    int64_t span = drawing->end_us - drawing->start_us;
    int64_t step = plot_time_step(span, columns / COLUMNS_PER_TIME + 1);
    AUTO_BUF struct buf labels = BUF_INIT(TIME_LINE_BYTES_MAX);
    buf_printf(buf, "%*s %s", (int)drawing->axis_width, "", drawing->options->ascii ? "+" : CORNER);
    buf_printf(&labels, "%*s", (int)drawing->axis_width + 2, "");
    int64_t first = (drawing->start_us + step - 1) / step * step;
    for (unsigned column = 0; column < columns; column++) {
        int64_t from = drawing->start_us + span / columns * column;
        int64_t next = first < from ? first + (from - first + step - 1) / step * step : first;
        bool tick = next >= from && next < from + span / columns;
        buf_append_str(
            buf,
            str_of(
                drawing->options->ascii ? (tick ? "+" : "-") : (tick ? TICK_BOTTOM : BAR_BOTTOM)));
        size_t at = drawing->axis_width + 2 + column;
        AUTO_BUF struct buf label = BUF_INIT(LABEL_BYTES);
        plot_time_label(next, step, &label);
        size_t end = drawing->axis_width + 2 + columns;
        at = at + label.len > end ? end - label.len : at;
        if (tick && at >= labels.len) {
            buf_printf(&labels, "%*s%s ", (int)(at - labels.len), "", buf_text(&label));
        }
    }
    buf_printf(buf, "\n%sUTC\n", buf_text(&labels));
}

static void put_legend_line(
    const struct drawing *drawing, const struct plot_series *series, size_t index, struct buf *buf)
{
    const struct plot_options *options = drawing->options;
    struct range range = { .any = false };
    double last = (double)NAN;
    for (size_t i = 0; i < series->count; i++) {
        if (isfinite(series->points[i].value) && in_window(options, series->points[i].time_us)) {
            range_add(&range, &series->points[i]);
            last = series->points[i].value;
        }
    }
    char mark[2] = { MARKS[index], 0 };
    buf_printf(
        buf,
        "%*s%s%s%s %s",
        (int)drawing->axis_width + 2,
        "",
        options->color ? COLORS[index] : "",
        options->ascii ? mark : LEGEND,
        options->color ? "\033[0m" : "",
        series->label == NULL ? "" : series->label);
    if (!range.any) {
        buf_append_str(buf, STR("  no data\n"));
        return;
    }
    buf_append_str(buf, STR("  last "));
    plot_format_value(last, options->unit, buf);
    buf_append_str(buf, STR("  min "));
    plot_format_value(range.low, options->unit, buf);
    buf_append_str(buf, STR("  max "));
    plot_format_value(range.high, options->unit, buf);
    buf_append_char(buf, '\n');
}

static unsigned clamp(unsigned value, unsigned low, unsigned high)
{
    return value < low ? low : value > high ? high : value;
}

/* Wide enough for the widest label any row may get. */
static unsigned axis_width_of(const struct plot_scale *scale, const char *unit)
{
    unsigned width = 0;
    for (unsigned i = 0; i <= PLOT_HEIGHT_MAX; i++) {
        double value = scale->low + scale->step * i;
        if (value > scale->high + scale->step * 1e-6) {
            break;
        }
        AUTO_BUF struct buf label = BUF_INIT(LABEL_BYTES);
        plot_scale_label(scale, value, unit, &label);
        width = label_width(&label) > width ? label_width(&label) : width;
    }
    return width > AXIS_WIDTH_MAX ? AXIS_WIDTH_MAX : width;
}

static void draw(
    struct drawing *drawing,
    const struct plot_series *series,
    size_t count,
    struct range *range,
    struct buf *buf)
{
    const struct plot_options *options = drawing->options;
    unsigned width = clamp(options->width, WIDTH_MIN, PLOT_WIDTH_MAX);
    unsigned height = clamp(options->height, HEIGHT_MIN, PLOT_HEIGHT_MAX);
    widen(range, options->unit);
    drawing->scale =
        plot_scale_create(range->low, range->high, height / LINES_PER_LABEL + 1, options->unit);
    drawing->start_us = range->start_us;
    drawing->end_us = range->end_us;
    drawing->axis_width = axis_width_of(&drawing->scale, options->unit);
    AUTO_FREE uint8_t *bits = mem_alloc((size_t)width * height);
    AUTO_FREE uint8_t *owner = mem_alloc((size_t)width * height);
    drawing->canvas = (struct canvas){
        .columns = width - drawing->axis_width - 2,
        .rows = height,
        .dots_x = options->ascii ? 1 : 2,
        .dots_y = options->ascii ? 1 : 4,
        .bits = bits,
        .owner = owner,
    };
    for (size_t s = 0; s < drawn_count(count); s++) {
        draw_series(drawing, &series[s], s);
    }
    put_rows(drawing, buf);
    put_time_axis(drawing, buf);
    for (size_t s = 0; s < drawn_count(count); s++) {
        put_legend_line(drawing, &series[s], s, buf);
    }
    drawing->canvas.bits = NULL;
    drawing->canvas.owner = NULL;
}

void plot_render(
    const struct plot_series *series,
    size_t count,
    const struct plot_options *options,
    struct buf *buf)
{
    if (options->title != NULL) {
        buf_printf(buf, "%s\n", options->title);
    }
    struct range range = range_of(series, count, options);
    if (!range.any) {
        buf_append_str(buf, STR("  no data in this range\n"));
        return;
    }
    struct drawing drawing = { .options = options };
    draw(&drawing, series, count, &range, buf);
    if (count > PLOT_SERIES_MAX) {
        buf_printf(
            buf,
            "  and %zu more series: narrow them with --device or --instance\n",
            count - PLOT_SERIES_MAX);
    }
}
