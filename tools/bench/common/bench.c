#include "tools/bench/common/bench.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    FIGURES_MAX = 512,
    OPTIONS_MAX = 16,
    ROUNDS_MAX = 99,
    ROUNDS_DEFAULT = 5,
    OUTPUT_BYTES = 1024 * 1024,
    EXIT_MISUSE = 64
};

struct figure {
    char *id;
    char *metric;
    char *unit;
    bool is_ratio;
    enum bench_sense sense;
    double goal; /* 0: none */
    double stretch;
    double ours;
    double floor;
    double ratio;
    double least;
    double most;
};

struct bench {
    const char *name;
    const struct bench_option *options;
    const char *values[OPTIONS_MAX];
    bool smoke;
    bool json;
    bool check;
    int64_t rounds;
    struct figure figures[FIGURES_MAX];
    size_t figure_count;
};

static void leave(int status)
{
    exit(status);
}

static void print_help(const struct bench *bench, FILE *out)
{
    (void)fprintf(
        out,
        "bench_%s [options]\n"
        "  --smoke      a tiny run that only shows that the bench works\n"
        "  --json       one JSON object instead of text\n"
        "  --check      exit status 1 when a goal is missed\n"
        "  --rounds N   rounds of each pair (default %d)\n",
        bench->name,
        ROUNDS_DEFAULT);
    for (const struct bench_option *row = bench->options; row != NULL && row->name != NULL; row++) {
        (void)fprintf(out, "  --%s VALUE   %s", row->name, row->help);
        (void)fprintf(out, row->fallback == NULL ? "\n" : " (default %s)\n", row->fallback);
    }
}

static void refuse(const struct bench *bench, const char *argument, const char *why)
{
    (void)fprintf(stderr, "bench_%s: %s: %s\n", bench->name, argument, why);
    print_help(bench, stderr);
    leave(EXIT_MISUSE);
}

static size_t place_of(const struct bench *bench, const char *name)
{
    for (size_t i = 0; bench->options != NULL && bench->options[i].name != NULL; i++) {
        if (strcmp(bench->options[i].name, name) == 0) {
            return i;
        }
    }
    return OPTIONS_MAX;
}

static bool take_flag(struct bench *bench, const char *argument)
{
    if (strcmp(argument, "--smoke") == 0) {
        bench->smoke = true;
    } else if (strcmp(argument, "--json") == 0) {
        bench->json = true;
    } else if (strcmp(argument, "--check") == 0) {
        bench->check = true;
    } else if (strcmp(argument, "--help") == 0) {
        print_help(bench, stdout);
        leave(0);
    } else {
        return false;
    }
    return true;
}

static void take_value(struct bench *bench, const char *argument, const char *value)
{
    bool is_long = strncmp(argument, "--", 2) == 0;
    size_t place = is_long ? place_of(bench, argument + 2) : OPTIONS_MAX;
    bool is_rounds = strcmp(argument, "--rounds") == 0;
    if (place == OPTIONS_MAX && !is_rounds) {
        refuse(bench, argument, "no such option");
    }
    if (value == NULL) {
        refuse(bench, argument, "a value is missing");
    }
    if (!is_rounds) {
        bench->values[place] = value;
    } else if (str_parse_int64(str_of(value), 1, ROUNDS_MAX, &bench->rounds) != ERR_OK) {
        refuse(bench, argument, "a number from 1 to 99");
    }
}

struct bench *bench_create(
    const char *name, const struct bench_option *options, int argc, char *const *argv)
{
    struct bench *bench = mem_alloc(sizeof(*bench));
    bench->name = name;
    bench->options = options;
    for (size_t i = 0; options != NULL && options[i].name != NULL && i < OPTIONS_MAX; i++) {
        bench->values[i] = options[i].fallback;
    }
    for (int i = 1; i < argc; i++) {
        if (!take_flag(bench, argv[i])) {
            take_value(bench, argv[i], argv[i + 1]);
            i++;
        }
    }
    if (bench->rounds == 0) {
        bench->rounds = bench->smoke ? 1 : ROUNDS_DEFAULT;
    }
    log_set_level(LOG_WARN);
    return bench;
}

bool bench_is_smoke(const struct bench *bench)
{
    return bench->smoke;
}

const char *bench_text(const struct bench *bench, const char *option)
{
    size_t place = place_of(bench, option);
    if (place == OPTIONS_MAX) {
        refuse(bench, option, "the bench asks for an option that it does not have");
    }
    return bench->values[place];
}

int64_t bench_int(const struct bench *bench, const char *option)
{
    int64_t value = 0;
    const char *text = bench_text(bench, option);
    if (text == NULL || str_parse_int64(str_of(text), 0, INT64_MAX, &value) != ERR_OK) {
        refuse(bench, option, "a number is needed");
    }
    return value;
}

static int compare_values(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

double bench_quantile(double *values, size_t count, double fraction)
{
    qsort(values, count, sizeof(*values), compare_values);
    double place = fraction * (double)(count - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < count ? below + 1 : below;
    return values[below] + (values[above] - values[below]) * (place - (double)below);
}

static struct figure *add_figure(struct bench *bench, const char *metric, const char *unit)
{
    if (bench->figure_count == FIGURES_MAX) {
        refuse(bench, metric, "too many figures");
    }
    struct figure *figure = &bench->figures[bench->figure_count++];
    figure->metric = mem_strdup(metric);
    figure->unit = mem_strdup(unit);
    return figure;
}

static enum err_code run_one(
    bench_run_fn run, const struct bench_pair *pair, double *ret_value, struct err_info *err)
{
    double value = 0;
    TRY(run(pair->context, &value, err));
    if (!(value > 0)) {
        return ERR_SET(err, ERR_INTERNAL, "%s: a measurement gave nothing", pair->metric);
    }
    *ret_value = value;
    return ERR_OK;
}

static enum err_code run_round(
    const struct bench_pair *pair,
    bool floor_first,
    double *ret_ours,
    double *ret_floor,
    struct err_info *err)
{
    if (floor_first) {
        TRY(run_one(pair->floor, pair, ret_floor, err));
    }
    TRY(run_one(pair->ours, pair, ret_ours, err));
    return floor_first ? ERR_OK : run_one(pair->floor, pair, ret_floor, err);
}

enum err_code bench_compare(
    struct bench *bench, const struct bench_pair *pair, struct err_info *err)
{
    double ours[ROUNDS_MAX];
    double floors[ROUNDS_MAX];
    double ratios[ROUNDS_MAX];
    size_t rounds = (size_t)bench->rounds;
    for (size_t i = 0; i < rounds; i++) {
        TRY(run_round(pair, i % 2 == 1, &ours[i], &floors[i], err));
        ratios[i] = ours[i] / floors[i];
    }
    struct figure *figure = add_figure(bench, pair->metric, pair->unit);
    figure->id = pair->id[0] == '\0' ? NULL : mem_strdup(pair->id);
    figure->is_ratio = true;
    figure->sense = pair->sense;
    figure->goal = pair->goal;
    figure->stretch = pair->stretch;
    figure->ours = bench_quantile(ours, rounds, 0.5);
    figure->floor = bench_quantile(floors, rounds, 0.5);
    figure->ratio = bench_quantile(ratios, rounds, 0.5);
    figure->least = ratios[0];
    figure->most = ratios[rounds - 1];
    return ERR_OK;
}

void bench_value(
    struct bench *bench, const char *metric, const char *unit, double value, double goal)
{
    struct figure *figure = add_figure(bench, metric, unit);
    figure->sense = BENCH_AT_MOST;
    figure->goal = goal;
    figure->ours = value;
}

static bool is_met(const struct figure *figure)
{
    double value = figure->is_ratio ? figure->ratio : figure->ours;
    return figure->goal == 0
        || (figure->sense == BENCH_AT_MOST ? value <= figure->goal : value >= figure->goal);
}

static void write_json_figure(const struct figure *figure, struct buf *out)
{
    buf_append_str(out, STR("{\"id\":"));
    buf_append_json(out, str_of(figure->id == NULL ? "" : figure->id));
    buf_append_str(out, STR(",\"metric\":"));
    buf_append_json(out, str_of(figure->metric));
    buf_append_str(out, STR(",\"unit\":"));
    buf_append_json(out, str_of(figure->unit));
    buf_printf(out, ",\"ours\":%.6g", figure->ours);
    if (figure->is_ratio) {
        buf_printf(
            out,
            ",\"floor\":%.6g,\"ratio\":%.4g,\"spread\":[%.4g,%.4g]",
            figure->floor,
            figure->ratio,
            figure->least,
            figure->most);
    }
    if (figure->goal != 0) {
        buf_printf(
            out,
            ",\"sense\":\"%s\",\"goal\":%.4g",
            figure->sense == BENCH_AT_MOST ? "at_most" : "at_least",
            figure->goal);
        if (figure->stretch != 0) {
            buf_printf(out, ",\"stretch\":%.4g", figure->stretch);
        }
        buf_printf(out, ",\"met\":%s", is_met(figure) ? "true" : "false");
    }
    buf_append_char(out, '}');
}

static void write_json(const struct bench *bench, struct buf *out)
{
    struct utsname host = { 0 };
    (void)uname(&host);
    buf_append_str(out, STR("{\"bench\":"));
    buf_append_json(out, str_of(bench->name));
    buf_printf(
        out,
        ",\"smoke\":%s,\"rounds\":%" PRId64 ",\"cores\":%ld,\"kernel\":",
        bench->smoke ? "true" : "false",
        bench->rounds,
        sysconf(_SC_NPROCESSORS_ONLN));
    buf_append_json(out, str_of(host.release));
    buf_append_str(out, STR(",\"figures\":["));
    for (size_t i = 0; i < bench->figure_count; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        write_json_figure(&bench->figures[i], out);
    }
    buf_append_str(out, STR("]}\n"));
}

static void write_text_figure(const struct figure *figure, struct buf *out)
{
    buf_printf(out, "%-4s %s: ", figure->id == NULL ? "" : figure->id, figure->metric);
    if (figure->is_ratio) {
        buf_printf(
            out,
            "%.4g %s, floor %.4g, ratio %.3f (%.3f to %.3f)",
            figure->ours,
            figure->unit,
            figure->floor,
            figure->ratio,
            figure->least,
            figure->most);
    } else {
        buf_printf(out, "%.4g %s", figure->ours, figure->unit);
    }
    if (figure->goal != 0) {
        const char *mark = figure->sense == BENCH_AT_MOST ? "<=" : ">=";
        buf_printf(out, "; goal %s %.3g", mark, figure->goal);
        if (figure->stretch != 0) {
            buf_printf(out, " (stretch %.3g)", figure->stretch);
        }
        buf_append_str(out, is_met(figure) ? STR(": met") : STR(": MISSED"));
    }
    buf_append_char(out, '\n');
}

static void print_figures(const struct bench *bench)
{
    AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
    if (bench->json) {
        write_json(bench, &out);
    } else {
        for (size_t i = 0; i < bench->figure_count; i++) {
            write_text_figure(&bench->figures[i], &out);
        }
    }
    (void)fputs(buf_text(&out), stdout);
    (void)fflush(stdout);
}

int bench_finish(struct bench *bench, enum err_code code, const struct err_info *err)
{
    bool met = true;
    if (code == ERR_OK) {
        print_figures(bench);
    } else {
        (void)fprintf(stderr, "bench_%s: %s\n", bench->name, err->text);
    }
    for (size_t i = 0; i < bench->figure_count; i++) {
        struct figure *figure = &bench->figures[i];
        met = met && is_met(figure);
        mem_free(figure->id);
        mem_free(figure->metric);
        mem_free(figure->unit);
    }
    bool missed = bench->check && !met;
    mem_free(bench);
    return code != ERR_OK || missed ? 1 : 0;
}
