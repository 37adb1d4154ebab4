#include "cmd/cli/term/plot.h"
#include "cmd/cli/term/plot_scale.h"
#include "cmd/cli/term/text.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>

enum {
    POINTS = 60
};

#define START (INT64_C(1767225600) * US_PER_SECOND)

static struct plot_options small(void)
{
    return (struct plot_options){ .width = 40, .height = 5, .ascii = true };
}

/* No line wider than the plot, every line ended, nothing a terminal would act on. */
static void check_shape(const struct buf *out, unsigned width)
{
    struct str_view rest = buf_view(out);
    struct str_view line = STR_NONE;
    assert_true(buf_ok(out));
    assert_true(out->len > 0 && out->data[out->len - 1] == '\n');
    for (bool legend = false; str_cut(rest, '\n', &line, &rest);) {
        legend = legend || memmem(line.ptr, line.len, "last", 4) != NULL;
        assert_true(legend || text_width(line) <= width + 4);
        assert_null(memchr(line.ptr, 033, line.len));
    }
}

static void render(
    const struct plot_point *points,
    size_t count,
    const struct plot_options *options,
    struct buf *out)
{
    struct plot_series series = { "s", points, count };
    plot_render(&series, 1, options, out);
    check_shape(out, options->width);
}

static bool contains(const struct buf *out, const char *text)
{
    return strstr(buf_text(out), text) != NULL;
}

static void test_a_ramp_in_ascii(void **state)
{
    (void)state;
    struct plot_point points[5];
    for (size_t i = 0; i < 5; i++) {
        points[i] = (struct plot_point){ START + (int64_t)i * 10 * US_PER_SECOND, (double)i };
    }
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct plot_options options = { .width = 24, .height = 5, .ascii = true, .title = "ramp" };
    render(points, 5, &options, &out);
    assert_string_equal(
        buf_text(&out),
        "ramp\n"
        "4 +                  ***\n"
        "  |             *****\n"
        "2 +        *****\n"
        "  |   *****\n"
        "0 +***\n"
        "  ++--------------+-----\n"
        "   00:00:00     00:00:30 UTC\n"
        "   * s  last 4  min 0  max 4\n");
}

static void test_nothing_to_draw_is_said(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct plot_options options = small();
    render(NULL, 0, &options, &out);
    assert_true(contains(&out, "no data"));
    buf_clear(&out);
    struct plot_point nothing[2] = { { START, NAN }, { START + US_PER_SECOND, INFINITY } };
    render(nothing, 2, &options, &out);
    assert_true(contains(&out, "no data"));
    buf_clear(&out);
    plot_render(NULL, 0, &options, &out);
    assert_true(contains(&out, "no data"));
}

static void test_one_point_and_a_constant(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct plot_options options = small();
    struct plot_point one = { START, 3 };
    render(&one, 1, &options, &out);
    assert_true(contains(&out, "*"));
    assert_true(contains(&out, "last 3  min 3  max 3"));
    buf_clear(&out);
    struct plot_point flat[POINTS];
    for (size_t i = 0; i < POINTS; i++) {
        flat[i] = (struct plot_point){ START + (int64_t)i * US_PER_SECOND, 0 };
    }
    render(flat, POINTS, &options, &out);
    assert_true(contains(&out, "*****"));
    assert_true(contains(&out, "max 0"));
}

static void test_negative_values_and_gaps(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct plot_options options = small();
    struct plot_point points[POINTS];
    for (size_t i = 0; i < POINTS; i++) {
        double value = i > 20 && i < 40 ? (double)NAN : -(double)i;
        points[i] = (struct plot_point){ START + (int64_t)i * US_PER_SECOND, value };
    }
    render(points, POINTS, &options, &out);
    assert_true(contains(&out, "min -59"));
    assert_true(contains(&out, "max 0"));
}

static void test_points_out_of_the_window_are_left_out(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct plot_options options = small();
    options.start = (struct wall_us){ START };
    options.end = (struct wall_us){ START + 10 * US_PER_SECOND };
    struct plot_point points[3] = { { START - 5, 1000 },
                                    { START + US_PER_SECOND, 1 },
                                    { START + 60 * US_PER_SECOND, 1000 } };
    render(points, 3, &options, &out);
    assert_true(contains(&out, "max 1"));
    assert_false(contains(&out, "max 1 "));
    assert_false(contains(&out, "1000"));
}

static void test_braille_and_more_series_than_colors(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(1 << 20);
    struct plot_point points[2] = { { START, 0 }, { START + US_PER_MINUTE, 1 } };
    struct plot_series series[PLOT_SERIES_MAX + 2];
    for (size_t i = 0; i < PLOT_SERIES_MAX + 2; i++) {
        series[i] = (struct plot_series){ "x", points, 2 };
    }
    struct plot_options options = { .width = 60, .height = 8, .unit = "ratio" };
    plot_render(series, PLOT_SERIES_MAX + 2, &options, &out);
    assert_true(contains(&out, "100%"));
    assert_true(contains(&out, "and 2 more series"));
    assert_true(
        contains(&out, "\xe2\xa1") || contains(&out, "\xe2\xa0") || contains(&out, "\xe2\xa2"));
}

/* Whatever comes in, the picture keeps its shape. */
static void test_extreme_input_keeps_its_shape(void **state)
{
    (void)state;
    static const double VALUES[] = { 0,    -0.0,     1e308, -1e308, 1e-308, 5e-324,
                                     NAN,  INFINITY, 1e15,  -1e-9,  0.1,    1.0000000000001,
                                     1024, 1e6,      -1,    3 };
    static const char *const UNITS[] = { NULL, "ratio", "bytes", "celsius", "bytes/s", "strange" };
    for (size_t a = 0; a < ARRAY_LENGTH(VALUES); a++) {
        for (size_t b = 0; b < ARRAY_LENGTH(VALUES); b++) {
            struct plot_point points[2] = { { START, VALUES[a] },
                                            { START + (int64_t)(b * b) * US_PER_HOUR, VALUES[b] } };
            struct plot_options options = { .width = (unsigned)(a * 7),
                                            .height = (unsigned)(b * 3),
                                            .ascii = (a + b) % 2 == 0,
                                            .unit = UNITS[(a + b) % ARRAY_LENGTH(UNITS)] };
            struct plot_series series = { "s", points, 2 };
            AUTO_BUF struct buf out = BUF_INIT(1 << 20);
            plot_render(&series, 1, &options, &out);
            check_shape(&out, options.width < 20 ? 20 : options.width);
        }
    }
}

static void check_value(double value, const char *unit, const char *expected)
{
    AUTO_BUF struct buf out = BUF_INIT(128);
    plot_format_value(value, unit, &out);
    assert_string_equal(buf_text(&out), expected);
}

static void test_values_in_units(void **state)
{
    (void)state;
    check_value(0.425, "ratio", "42.50%");
    check_value(1, "ratio", "100%");
    check_value(1536, "bytes", "1.50 KiB");
    check_value(17179869184.0, "bytes", "16 GiB");
    check_value(
        61,
        "celsius",
        "61 \xc2\xb0"
        "C");
    check_value(61, "seconds", "61s");
    check_value(5464.2, "seconds", "1h 31m");
    check_value(90000, "seconds", "1d 1h");
    check_value(0, NULL, "0");
    check_value(1234567, NULL, "1.23M");
    check_value(-2.5, "x", "-2.50");
    check_value(NAN, "bytes", "-");
    check_value(-INFINITY, "bytes", "-inf");
}

static void test_scales_have_round_steps(void **state)
{
    (void)state;
    struct plot_scale scale = plot_scale_create(0, 97, 5, NULL);
    assert_true(scale.step == 20 && scale.low == 0 && scale.high == 100);
    scale = plot_scale_create(-3, 3, 4, NULL);
    assert_true(scale.step == 2 && scale.low == -4 && scale.high == 4);
    scale = plot_scale_create(5, 5, 4, NULL);
    assert_true(scale.low < 5 && scale.high > 5);
    scale = plot_scale_create(0, 3.0 * 1024 * 1024, 4, "bytes");
    assert_true(scale.step == 1024 * 1024);
}

static void test_time_labels(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(64);
    assert_true(plot_time_step(10 * US_PER_MINUTE, 5) == 2 * US_PER_MINUTE);
    assert_true(plot_time_step(3 * US_PER_DAY, 4) == US_PER_DAY);
    plot_time_label(START + 90 * US_PER_SECOND, 30 * US_PER_SECOND, &out);
    assert_string_equal(buf_text(&out), "00:01:30");
    buf_clear(&out);
    plot_time_label(START, US_PER_DAY, &out);
    assert_string_equal(buf_text(&out), "01-01");
}

int main(void)
{
    text_use_utf8();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ramp_in_ascii),
        cmocka_unit_test(test_nothing_to_draw_is_said),
        cmocka_unit_test(test_one_point_and_a_constant),
        cmocka_unit_test(test_negative_values_and_gaps),
        cmocka_unit_test(test_points_out_of_the_window_are_left_out),
        cmocka_unit_test(test_braille_and_more_series_than_colors),
        cmocka_unit_test(test_extreme_input_keeps_its_shape),
        cmocka_unit_test(test_values_in_units),
        cmocka_unit_test(test_scales_have_round_steps),
        cmocka_unit_test(test_time_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
