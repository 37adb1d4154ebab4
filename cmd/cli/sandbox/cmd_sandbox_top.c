/* belay sandbox top: what sandboxes use now; once, or again and again on a terminal. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/sandbox_view.h"
#include "cmd/cli/sandbox/top.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    FRESH_MS = 3000, /* older figures are of somebody who looked before */
    POLL_MS = 300,
    STALE_MS = 10000,
    MILLIS_PER_PERCENT = 10
};

/* How long the agents may take to read their sandboxes; then what is there is shown. */
#define PATIENCE_US (5 * US_PER_SECOND)

typedef Agentgateway__V1__ListSandboxFiguresRequest request_type;
typedef Agentgateway__V1__ListSandboxFiguresResponse reply_type;

/* ---- columns ---- */

static bool has_figures(const top_row *row)
{
    return row->taken_at != NULL;
}

static enum text_style put_nothing(struct buf *out)
{
    buf_append_char(out, '-');
    return TEXT_DIM;
}

static enum text_style put_rate(const top_row *row, uint64_t bytes, struct buf *out)
{
    if (!has_figures(row) || row->interval_us == 0) {
        return put_nothing(out);
    }
    double rate = (double)bytes * (double)US_PER_SECOND / (double)row->interval_us;
    return cells_bytes(rate < (double)INT64_MAX ? (uint64_t)rate : INT64_MAX, out);
}

static enum text_style put_bytes(const top_row *row, uint64_t bytes, struct buf *out)
{
    return has_figures(row) ? cells_bytes(bytes, out) : put_nothing(out);
}

static enum text_style write_cpu(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    if (!has_figures(row)) {
        return put_nothing(out);
    }
    buf_printf(out, "%.1f", (double)row->cpu_millis / MILLIS_PER_PERCENT);
    bool is_full = row->cpu_limit_millis > 0 && row->cpu_millis * 10 >= row->cpu_limit_millis * 9;
    return is_full ? TEXT_WARN : TEXT_PLAIN;
}

static enum text_style write_memory(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    bool is_full = has_figures(row) && row->memory_limit_bytes > 0
        && row->memory_bytes / 9 >= row->memory_limit_bytes / 10;
    enum text_style style = put_bytes(row, row->memory_bytes, out);
    return is_full ? TEXT_WARN : style;
}

static enum text_style put_limit(uint64_t limit, enum text_style style, struct buf *out)
{
    return limit == 0 ? put_nothing(out) : style;
}

static enum text_style write_cpu_limit(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    if (row->cpu_limit_millis > 0) {
        buf_printf(out, "%g", (double)row->cpu_limit_millis / MILLIS_PER_PERCENT);
    }
    return put_limit(row->cpu_limit_millis, TEXT_PLAIN, out);
}

static enum text_style write_memory_limit(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    if (row->memory_limit_bytes > 0) {
        (void)cells_bytes(row->memory_limit_bytes, out);
    }
    return put_limit(row->memory_limit_bytes, TEXT_PLAIN, out);
}

static enum text_style write_processes(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    return has_figures(row) ? cells_number((int64_t)row->processes, out) : put_nothing(out);
}

static enum text_style write_age(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    if (!has_figures(row)) {
        return put_nothing(out);
    }
    if (row->age_ms < STALE_MS) {
        buf_printf(out, "%.1fs", (double)row->age_ms / 1000);
        return TEXT_DIM;
    }
    cells_duration((int64_t)row->age_ms * US_PER_MS, out);
    return TEXT_WARN;
}

static enum text_style write_phase(const struct view_cell *cell, struct buf *out)
{
    const top_row *row = cell->item;
    (void)cells_text(row->phase, out);
    if (!row->agent_online && row->agent_name[0] != '\0') {
        buf_append_str(out, STR(", agent away"));
    }
    return has_figures(row) ? TEXT_PLAIN : TEXT_DIM;
}

CELL_TEXT(write_workspace, top_row, workspace)
CELL_TEXT(write_name, top_row, sandbox_name)
CELL_TEXT(write_owner, top_row, owner)
CELL_TEXT(write_agent, top_row, agent_name)
CELL_DEFINE_(write_sent, top_row, put_rate(item, item->sent_bytes, out))
CELL_DEFINE_(write_received, top_row, put_rate(item, item->received_bytes, out))
CELL_DEFINE_(write_read, top_row, put_rate(item, item->read_bytes, out))
CELL_DEFINE_(write_written, top_row, put_rate(item, item->written_bytes, out))
CELL_DEFINE_(write_disk, top_row, put_bytes(item, item->disk_bytes, out))
CELL_NAME(name_of, top_row, sandbox_name)

/* A number, never cut; where it goes when the terminal is too narrow. */
#define FIGURE(name, order)                                            \
    {                                                                  \
        .title = (name), .right = true, .whole = true, .goes = (order) \
    }

#define FIGURES                                                                                    \
    { { .title = "SANDBOX", .keep = 16 }, 0, write_name }, { FIGURE("CPU%", 0), 0, write_cpu },    \
        { FIGURE("OF CPU%", 3), VIEW_WIDE, write_cpu_limit },                                      \
        { FIGURE("MEMORY", 0), 0, write_memory },                                                  \
        { FIGURE("OF MEMORY", 4), VIEW_WIDE, write_memory_limit },                                 \
        { FIGURE("PIDS", 11), 0, write_processes }, { FIGURE("SENT/S", 9), 0, write_sent },        \
        { FIGURE("RECV/S", 8), 0, write_received }, { FIGURE("READ/S", 7), 0, write_read },        \
        { FIGURE("WRITE/S", 6), 0, write_written }, { FIGURE("DISK", 5), 0, write_disk },          \
        { FIGURE("AGE", 10), 0, write_age }, { { .title = "PHASE", .goes = 12 }, 0, write_phase }, \
        { { .title = "AGENT", .goes = 2 }, VIEW_WIDE, write_agent },                               \
    {                                                                                              \
        { .title = "OWNER", .goes = 1 }, VIEW_WIDE, write_owner                                    \
    }

static const struct view_column COLUMNS[] = { FIGURES };
static const struct view_column COLUMNS_OF_ALL[] = {
    { { .title = "WORKSPACE" }, 0, write_workspace },
    FIGURES,
};
static const struct view VIEW_TOP = VIEW(COLUMNS, name_of);
static const struct view VIEW_TOP_OF_ALL = VIEW(COLUMNS_OF_ALL, name_of);

const struct view *top_view(const struct cli *cli)
{
    return args_flag(cli->args, "all-workspaces") ? &VIEW_TOP_OF_ALL : &VIEW_TOP;
}

/* ---- order ---- */

const char *const TOP_ORDERS[] = { "cpu", "memory", "processes", "network", "disk", "name", NULL };

static uint64_t per_second(const top_row *row, uint64_t bytes)
{
    return row->interval_us == 0
        ? 0
        : (uint64_t)((double)bytes / (double)row->interval_us * (double)US_PER_SECOND);
}

static uint64_t weight(const top_row *row, enum top_order order)
{
    switch (order) {
    case TOP_CPU:
        return row->cpu_millis;
    case TOP_MEMORY:
        return row->memory_bytes;
    case TOP_PROCESSES:
        return row->processes;
    case TOP_NETWORK:
        return per_second(row, row->sent_bytes / 2 + row->received_bytes / 2);
    case TOP_DISK:
        return per_second(row, row->read_bytes / 2 + row->written_bytes / 2);
    case TOP_NAME:
    case TOP_COUNT:
        break;
    }
    return 0;
}

static int compare(const void *a, const void *b, void *context)
{
    const top_row *left = *(const top_row *const *)a;
    const top_row *right = *(const top_row *const *)b;
    enum top_order order = *(const enum top_order *)context;
    uint64_t left_weight = weight(left, order);
    uint64_t right_weight = weight(right, order);
    if (left_weight != right_weight) {
        return left_weight > right_weight ? -1 : 1;
    }
    if (order != TOP_NAME && has_figures(left) != has_figures(right)) {
        return has_figures(left) ? -1 : 1;
    }
    int by_name = strcmp(left->sandbox_name, right->sandbox_name);
    return by_name != 0 ? by_name : strcmp(left->workspace, right->workspace);
}

void top_sort(top_row **rows, size_t count, enum top_order order)
{
    if (count > 0) {
        qsort_r(rows, count, sizeof(void *), compare, &order);
    }
}

bool top_is_awaited(const top_row *row)
{
    return row->agent_online && strcmp(row->phase, "ready") == 0
        && (!has_figures(row) || row->age_ms > FRESH_MS);
}

/* ---- asking ---- */

enum err_code top_request(struct cli *cli, request_type *ret_request)
{
    size_t count = args_word_count(cli->args);
    agentgateway__v1__list_sandbox_figures_request__init(ret_request);
    ret_request->all_workspaces = args_flag(cli->args, "all-workspaces");
    if (ret_request->all_workspaces && args_is_set(cli->args, "workspace")) {
        return cli_usage(cli, "--all-workspaces and --workspace exclude each other");
    }
    ret_request->workspace =
        ret_request->all_workspaces ? cli_text(cli, "") : connection_workspace(cli);
    ret_request->sandboxes = arena_alloc(cli->arena, (count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        ret_request->sandboxes[i] = cli_text(cli, args_word(cli->args, i));
    }
    ret_request->n_sandboxes = count;
    return ERR_OK;
}

/* Who names one wants to hear that it is not there. */
static enum err_code check_names(
    struct cli *cli, const request_type *request, const reply_type *reply)
{
    for (size_t i = 0; i < request->n_sandboxes; i++) {
        bool found = false;
        for (size_t r = 0; r < reply->n_figures; r++) {
            found = found || strcmp(reply->figures[r]->sandbox_name, request->sandboxes[i]) == 0;
        }
        if (!found) {
            return ERR_SET(
                &cli->err, ERR_NOT_FOUND, "sandbox \"%s\" does not exist", request->sandboxes[i]);
        }
    }
    return ERR_OK;
}

static enum err_code ask(struct cli *cli, request_type *request, reply_type **ret_reply)
{
    TRY(connection_list(
        cli,
        "ListSandboxFigures",
        &request->base,
        &agentgateway__v1__list_sandbox_figures_response__descriptor,
        0,
        ret_reply));
    request->page_token = CONST_CAST(char *, protobuf_c_empty_string);
    return check_names(cli, request, *ret_reply);
}

static size_t count_awaited(const reply_type *reply)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->n_figures; i++) {
        count += top_is_awaited(reply->figures[i]);
    }
    return count;
}

static enum top_order order_of(const struct cli *cli)
{
    const char *word = args_text(cli->args, "sort");
    enum top_order order = TOP_CPU;
    for (int i = 0; TOP_ORDERS[i] != NULL; i++) {
        order = strcmp(TOP_ORDERS[i], word) == 0 ? (enum top_order)i : order;
    }
    return order;
}

/* The first question has the agents read; the answer is worth showing once they have. */
static enum err_code show_once(struct cli *cli, request_type *request)
{
    reply_type *reply = NULL;
    int64_t end = clock_mono(cli->io->clock).value + PATIENCE_US;
    TRY(ask(cli, request, &reply));
    while (count_awaited(reply) > 0 && clock_mono(cli->io->clock).value < end) {
        (void)poll(NULL, 0, POLL_MS);
        TRY(ask(cli, request, &reply));
    }
    if (reply->n_figures == 0 && !output_is_structured(cli)) {
        output_note(cli, "No sandbox here. To make one: belay sandbox create");
    }
    top_sort(reply->figures, reply->n_figures, order_of(cli));
    return output_list(cli, top_view(cli), &reply->base, reply->figures, reply->n_figures);
}

/* Somewhere to draw, and somebody to press a key. */
static bool is_screen(const struct cli *cli)
{
    const char *term = cli_env(cli, "TERM");
    bool is_table = cli->output.format == OUTPUT_TABLE || cli->output.format == OUTPUT_WIDE;
    return is_table && cli->output.is_tty && isatty(fileno(cli->io->in)) == 1 && term != NULL
        && strcmp(term, "dumb") != 0;
}

static enum err_code run(struct cli *cli)
{
    request_type request;
    reply_type *first = NULL;
    TRY(top_request(cli, &request));
    if (args_flag(cli->args, "once") || !is_screen(cli)) {
        return show_once(cli, &request);
    }
    TRY(ask(cli, &request, &first)); /* what is wrong is said before the screen is taken */
    return top_screen_run(cli, &request);
}

/* ---- table ---- */

static const struct cli_argument ARGUMENTS[] = {
    { .name = "SANDBOX",
      .flags = CLI_OPTIONAL | CLI_REPEAT,
      .complete = CLI_COMPLETE_SANDBOX,
      .help = "Names of sandboxes; without one all of them" },
};
static const struct cli_option OPTIONS[] = {
    { .name = "interval",
      .type = CLI_DURATION,
      .argument = "TIME",
      .fallback = "2s",
      .min = US_PER_SECOND,
      .max = 10 * US_PER_SECOND,
      .help = "How often to look again" },
    { .name = "sort",
      .type = CLI_CHOICE,
      .argument = "ORDER",
      .fallback = "cpu",
      .choices = TOP_ORDERS,
      .help = "The greatest first, by" },
    { .name = "once", .type = CLI_FLAG, .help = "One table and no screen, also on a terminal" },
    { .name = "all-workspaces",
      .letter = 'A',
      .type = CLI_FLAG,
      .help = "Of every workspace; for the platform's admin" },
};
static const struct cli_example EXAMPLES[] = {
    { "belay sandbox top", "What runs, the busiest first; q ends it" },
    { "belay sandbox top web --once -o json | jq '.figures[0].cpuMillis'",
      "Thousandths of a CPU, for a script" },
};
const struct cli_command CMD_SANDBOX_TOP = {
    .name = "top",
    .summary = "Show what sandboxes use now",
    .description =
        "While somebody looks, agents read their sandboxes every two seconds; AGE says how old the "
        "figures of a row are. 100 CPU% is one CPU. SENT, RECV, READ and WRITE are bytes a second; "
        "RECV and SENT are what passed the proxy, DISK what the workspace holds where it has a cap. "
        "On a terminal the table is drawn again and again, and the keys c, m, p, n, d and a sort it "
        "by CPU, memory, processes, network, disk and name; elsewhere, with --once and with -o json "
        "or yaml it is shown once, as soon as there are fresh figures, at most five seconds later.",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, EXAMPLES),
    .run = run,
};
