/*
 * belay telemetry plot: one picture of a range, or with --follow a live one: the range is asked
 * once, then points come by WatchTelemetry and the window moves on.
 */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/cmd_telemetry_query.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "cmd/cli/term/plot.h"
#include "common/rpc/client.h"

enum {
    SERIES_MAX = 64,
    POINTS_MAX = 100000,
    WIDTH_DEFAULT = 80,
    HEIGHT_DEFAULT = 12,
    FRAME_BYTES_MAX = 4 * 1024 * 1024,
    SCREEN_BYTES_MAX = 5 * 1024 * 1024,
    MESSAGE_BYTES_MAX = 1024 * 1024,
    GAP_STEPS = 4
};

#define FRAME_US (500 * US_PER_MS)

struct curve {
    int64_t agent_id;
    char *device;
    char *instance;
    char *label;
    struct plot_point *points;
    size_t count;
    size_t capacity;
};

struct picture {
    struct cli *cli;
    struct curve curves[SERIES_MAX];
    size_t count;
    char *title;
    char *unit;
    int64_t window_us; /* of a live picture */
    unsigned lines;    /* of the frame on the screen */
};

/* ---- points ---- */

static char *label_of(struct cli *cli, const char *agent, const char *device, const char *instance)
{
    AUTO_BUF struct buf text = BUF_INIT(4096);
    const char *const parts[] = { agent, device, instance };
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        if (parts[i][0] != 0) {
            buf_append_str(&text, text.len > 0 ? STR("/") : STR(""));
            text_escape(str_of(parts[i]), &text);
        }
    }
    return cli_text(cli, buf_text(&text));
}

/* What tells curves apart, from a reply's series or a live point. */
struct curve_key {
    int64_t agent_id;
    const char *agent;
    const char *device;
    const char *instance;
    const char *unit;
};

/* NULL: too many curves; the rest is not drawn. */
static struct curve *curve_of(struct picture *picture, const struct curve_key *key)
{
    for (size_t i = 0; i < picture->count; i++) {
        struct curve *curve = &picture->curves[i];
        if (curve->agent_id == key->agent_id && strcmp(curve->device, key->device) == 0
            && strcmp(curve->instance, key->instance) == 0) {
            return curve;
        }
    }
    if (picture->count == SERIES_MAX) {
        return NULL;
    }
    struct curve *curve = &picture->curves[picture->count++];
    curve->agent_id = key->agent_id;
    curve->device = cli_text(picture->cli, key->device);
    curve->instance = cli_text(picture->cli, key->instance);
    curve->label = label_of(picture->cli, key->agent, key->device, key->instance);
    if (picture->unit == NULL) {
        picture->unit = cli_text(picture->cli, key->unit);
    }
    return curve;
}

static void curve_add(struct curve *curve, const Google__Protobuf__Timestamp *time, double value)
{
    int64_t us = 0;
    if (!cells_time_us(time, &us) || curve->count == POINTS_MAX
        || (curve->count > 0 && us <= curve->points[curve->count - 1].time_us)) {
        return; /* late or twice: the window only moves forward */
    }
    if (curve->count == curve->capacity) {
        curve->capacity = curve->capacity == 0 ? 256 : curve->capacity * 2;
        curve->points = mem_realloc(curve->points, curve->capacity * sizeof(*curve->points));
    }
    curve->points[curve->count++] = (struct plot_point){ us, value };
}

static void curve_forget(struct curve *curve, int64_t before_us)
{
    size_t old = 0;
    while (old < curve->count && curve->points[old].time_us < before_us) {
        old++;
    }
    if (old > 0) {
        curve->count -= old;
        memmove(curve->points, curve->points + old, curve->count * sizeof(*curve->points));
    }
}

static void picture_take(
    struct picture *picture, const Agentgateway__V1__QueryTelemetryResponse *reply)
{
    for (size_t i = 0; i < reply->n_series; i++) {
        const Agentgateway__V1__TelemetrySeriesData *series = reply->series[i];
        struct curve *curve = curve_of(
            picture,
            &(struct curve_key){ series->agent_id,
                                 series->agent_name,
                                 series->device,
                                 series->instance,
                                 series->unit });
        for (size_t r = 0; curve != NULL && r < series->n_rows; r++) {
            curve_add(curve, series->rows[r]->time, series->rows[r]->value);
        }
    }
}

static void picture_deinit(struct picture *picture)
{
    for (size_t i = 0; i < picture->count; i++) {
        mem_free(picture->curves[i].points);
    }
}

#define AUTO_PICTURE __attribute__((cleanup(picture_deinit)))

/* ---- drawing ---- */

/* The usual distance of points: the least one seen, so that a missing stretch shows as a gap. */
static int64_t usual_gap(const struct picture *picture)
{
    int64_t least = 0;
    for (size_t i = 0; i < picture->count; i++) {
        const struct curve *curve = &picture->curves[i];
        for (size_t p = 1; p < curve->count; p++) {
            int64_t distance = curve->points[p].time_us - curve->points[p - 1].time_us;
            least = least == 0 || distance < least ? distance : least;
        }
    }
    return least * GAP_STEPS;
}

/* A terminal that cannot move its cursor. */
static bool is_dumb(const struct cli *cli)
{
    const char *term = cli_env(cli, "TERM");
    return cli->output.is_tty && (term == NULL || strcmp(term, "dumb") == 0);
}

static bool is_screen(const struct cli *cli)
{
    return cli->output.is_tty && !is_dumb(cli);
}

static struct plot_options plot_options_of(
    const struct picture *picture, struct wall_us start, struct wall_us end)
{
    struct cli *cli = picture->cli;
    unsigned width = (unsigned)args_number(cli->args, "width");
    unsigned height = (unsigned)args_number(cli->args, "height");
    const char *term = cli_env(cli, "TERM");
    bool console = cli->output.is_tty && term != NULL && strcmp(term, "linux") == 0;
    int64_t gap = usual_gap(picture);
    return (struct plot_options){
        .title = picture->title,
        .unit = picture->unit,
        .width = width > 0          ? width
            : cli->output.width > 0 ? cli->output.width
                                    : WIDTH_DEFAULT,
        .height = height > 0 ? height : HEIGHT_DEFAULT,
        .ascii = args_flag(cli->args, "ascii") || console || is_dumb(cli),
        .color = cli->output.color,
        .start = start,
        .end = end,
        .gap_us = gap < 15 * US_PER_SECOND ? 15 * US_PER_SECOND : gap,
    };
}

static void picture_render(
    const struct picture *picture, struct wall_us start, struct wall_us end, struct buf *out)
{
    struct plot_series series[SERIES_MAX];
    for (size_t i = 0; i < picture->count; i++) {
        series[i] = (struct plot_series){ picture->curves[i].label,
                                          picture->curves[i].points,
                                          picture->curves[i].count };
    }
    struct plot_options options = plot_options_of(picture, start, end);
    plot_render(series, picture->count, &options, out);
}

static unsigned count_lines(const struct buf *text)
{
    unsigned lines = 0;
    for (size_t i = 0; i < text->len; i++) {
        lines += text->data[i] == '\n';
    }
    return lines;
}

/* Draws over the frame before; the cursor is hidden meanwhile (interrupt.c shows it again). */
static enum err_code picture_show(struct picture *picture)
{
    struct wall_us end = cli_now(picture->cli);
    struct wall_us start = { end.value - picture->window_us };
    AUTO_BUF struct buf frame = BUF_INIT(FRAME_BYTES_MAX);
    AUTO_BUF struct buf out = BUF_INIT(SCREEN_BYTES_MAX);
    picture_render(picture, start, end, &frame);
    if (picture->lines > 0) {
        buf_printf(&out, "\033[%uA\033[J", picture->lines);
    } else if (is_screen(picture->cli)) {
        buf_append_str(&out, STR("\033[?25l"));
    }
    buf_append_str(&out, buf_view(&frame));
    picture->lines = count_lines(&frame);
    return output_text(picture->cli, buf_view(&out));
}

/* ---- live ---- */

static void take_point(struct picture *picture, const Agentgateway__V1__TelemetryPoint *point)
{
    struct curve *curve = curve_of(
        picture,
        &(struct curve_key){
            point->agent_id, point->agent_name, point->device, point->instance, point->unit });
    if (curve != NULL) {
        curve_add(curve, point->time, point->value);
    }
    int64_t before = cli_now(picture->cli).value - picture->window_us - US_PER_MINUTE;
    for (size_t i = 0; i < picture->count; i++) {
        curve_forget(&picture->curves[i], before);
    }
}

static int64_t mono_now(const struct cli *cli)
{
    return clock_mono(cli->io->clock).value;
}

/* Takes points until the time of the next frame. */
static enum err_code take_until(
    struct picture *picture, struct rpc_client_stream *stream, struct mono_us deadline)
{
    struct cli *cli = picture->cli;
    AUTO_ARENA struct arena *arena = arena_create(MESSAGE_BYTES_MAX);
    while (mono_now(cli) < deadline.value) {
        ProtobufCMessage *message = NULL;
        arena_reset(arena);
        enum err_code code = rpc_client_stream_read(stream, deadline, arena, &message, &cli->err);
        if (code == ERR_TIMEOUT) {
            cli->err = (struct err_info)ERR_INFO_INIT;
            return ERR_OK;
        }
        if (connection_is_stream_end(stream, code)) {
            return ERR_SET(&cli->err, ERR_UNAVAILABLE, "the server ended the watch");
        }
        TRY(code);
        take_point(picture, (const Agentgateway__V1__TelemetryPoint *)(const void *)message);
    }
    return ERR_OK;
}

static enum err_code follow_stream(struct picture *picture, struct rpc_client_stream *stream)
{
    struct cli *cli = picture->cli;
    bool screen = is_screen(cli);
    int64_t duration = args_number(cli->args, "duration");
    int64_t end = duration > 0 ? mono_now(cli) + duration : INT64_MAX;
    while (mono_now(cli) < end) {
        if (screen) {
            TRY(picture_show(picture));
        }
        int64_t next = mono_now(cli) + FRAME_US;
        TRY(take_until(picture, stream, (struct mono_us){ next < end ? next : end }));
    }
    TRY(picture_show(picture));
    return output_text(cli, screen ? STR("\033[?25h") : STR(""));
}

static enum err_code follow(struct cli *cli, struct picture *picture)
{
    struct rpc_client_stream *stream = NULL;
    struct wall_us start = { 0 };
    if (args_is_set(cli->args, "until")) {
        return cli_usage(cli, "--follow ends now: --until has no place beside it");
    }
    if (!is_screen(cli) && !args_is_set(cli->args, "duration")) {
        return cli_usage(cli, "--follow draws on a terminal; elsewhere it needs --duration");
    }
    if (output_is_structured(cli)) {
        return cli_usage(cli, "--follow draws; for data use belay telemetry watch -o json");
    }
    (void)args_time(cli->args, "since", cli_now(cli), &start);
    picture->window_us = cli_now(cli).value - start.value;
    TRY(cmd_telemetry_watch(cli, &stream));
    enum err_code code = follow_stream(picture, stream);
    rpc_client_stream_release(stream);
    if (code != ERR_OK && is_screen(cli)) {
        (void)fputs("\033[?25h", cli->io->out);
    }
    return code;
}

/* ---- command ---- */

static struct wall_us time_or_now(struct cli *cli, const char *option)
{
    struct wall_us time = cli_now(cli);
    (void)args_time(cli->args, option, time, &time);
    return time;
}

/* About two values per column is all that braille can show. */
static uint32_t step_for(struct cli *cli, struct wall_us start, struct wall_us end)
{
    int64_t width = args_number(cli->args, "width");
    width = width > 0 ? width : cli->output.width > 0 ? cli->output.width : WIDTH_DEFAULT;
    int64_t seconds = (end.value - start.value) / US_PER_SECOND / (width * 2);
    return seconds < 1 ? 0 : (uint32_t)(seconds > 31536000 ? 31536000 : seconds);
}

static enum err_code plot(struct cli *cli)
{
    AUTO_PICTURE struct picture picture = { .cli = cli };
    Agentgateway__V1__QueryTelemetryResponse *reply = NULL;
    struct wall_us start = time_or_now(cli, "since");
    struct wall_us end = time_or_now(cli, "until");
    if (start.value >= end.value) {
        return cli_usage(cli, "--since is not before --until");
    }
    TRY(cmd_telemetry_query(cli, step_for(cli, start, end), &reply));
    if (output_is_structured(cli) && !args_flag(cli->args, "follow")) {
        return output_message(cli, &reply->base, 0);
    }
    picture_take(&picture, reply);
    AUTO_BUF struct buf title = BUF_INIT(4096);
    text_escape(str_of(args_word(cli->args, 0)), &title);
    picture.title = cli_text(cli, buf_text(&title));
    if (args_flag(cli->args, "follow")) {
        return follow(cli, &picture);
    }
    AUTO_BUF struct buf text = BUF_INIT(FRAME_BYTES_MAX);
    picture_render(&picture, start, end, &text);
    TRY(output_text(cli, buf_view(&text)));
    if (picture.count == 0) {
        output_note(cli, "Metrics there are: belay telemetry list");
    }
    return ERR_OK;
}

static const struct cli_argument ARGUMENTS[] = { ARGUMENT_METRIC };
static const struct cli_option OPTIONS[] = {
    OPTIONS_SERIES,
    OPTION_SINCE("1h"),
    OPTION_UNTIL,
    OPTION_STEP("as fine as the width shows"),
    OPTION_AGGREGATE,
    { .name = "max-points",
      .type = CLI_INT,
      .argument = "N",
      .min = 1,
      .max = 100000,
      .help = "Fail rather than draw more" },
    { .name = "follow",
      .letter = 'f',
      .type = CLI_FLAG,
      .help = "Go on live; the window is --since long" },
    { .name = "duration",
      .type = CLI_DURATION,
      .argument = "TIME",
      .min = US_PER_MS,
      .max = US_PER_DAY,
      .help = "End --follow after this time" },
    { .name = "width",
      .type = CLI_INT,
      .argument = "COLUMNS",
      .min = 20,
      .max = PLOT_WIDTH_MAX,
      .help = "Width; the terminal's without it" },
    { .name = "height",
      .type = CLI_INT,
      .argument = "LINES",
      .min = 3,
      .max = PLOT_HEIGHT_MAX,
      .help = "Lines of the drawing; 12 without it" },
    { .name = "ascii",
      .type = CLI_FLAG,
      .help = "Draw with plain characters instead of braille dots" },
};
static const struct cli_example EXAMPLES[] = {
    { "belay telemetry plot host.cpu.busy --since 10m", "The last ten minutes of every agent" },
    { "belay telemetry plot host.cpu.busy -a node-7 --since 2m --follow", "Live, until Ctrl-C" },
};
const struct cli_command CMD_TELEMETRY_PLOT = {
    .name = "plot",
    .summary = "Draw a metric in the terminal",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, EXAMPLES),
    .run = plot,
};
