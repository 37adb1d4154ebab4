#include "cmd/cli/output.h"

#include "cmd/cli/cli.h"
#include "cmd/cli/term/yaml.h"
#include "common/wire/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    OUTPUT_BYTES_MAX = 256 * 1024 * 1024,
    CELL_BYTES_MAX = 65536,
    LINE_BYTES_MAX = 4 * CELL_BYTES_MAX
};

/* ---- setup ---- */

static const char *const FORMATS[] = {
    [OUTPUT_TABLE] = "table", [OUTPUT_WIDE] = "wide", [OUTPUT_JSON] = "json",
    [OUTPUT_YAML] = "yaml",   [OUTPUT_NAME] = "name",
};

static bool wants_color(const struct cli *cli)
{
    const char *choice = args_text(cli->args, "color");
    const char *term = cli_env(cli, "TERM");
    if (strcmp(choice, "auto") != 0) {
        return strcmp(choice, "always") == 0;
    }
    return cli->output.is_tty && cli_env(cli, "NO_COLOR") == NULL && term != NULL
        && strcmp(term, "dumb") != 0;
}

void output_init(struct cli *cli)
{
    struct output *output = &cli->output;
    const char *format = args_text(cli->args, "output");
    for (size_t i = 0; i < ARRAY_LENGTH(FORMATS); i++) {
        if (strcmp(format, FORMATS[i]) == 0) {
            output->format = (enum output_format)i;
        }
    }
    int fd = fileno(cli->io->out);
    struct winsize size = { 0 };
    output->headers = !args_flag(cli->args, "no-headers");
    output->is_tty = fd >= 0 && isatty(fd) == 1;
    output->color = wants_color(cli);
    if (output->is_tty && ioctl(fd, TIOCGWINSZ, &size) == 0) {
        output->width = size.ws_col;
        output->height = size.ws_row;
    }
}

bool output_is_structured(const struct cli *cli)
{
    return cli->output.format == OUTPUT_JSON || cli->output.format == OUTPUT_YAML;
}

/* ---- writing ---- */

enum err_code output_text(struct cli *cli, struct str_view text)
{
    if (text.len > 0 && fwrite(text.ptr, 1, text.len, cli->io->out) == text.len
        && fflush(cli->io->out) == 0) {
        return ERR_OK;
    }
    if (text.len == 0) {
        return ERR_OK;
    }
    if (errno == EPIPE) {
        return ERR_SET(&cli->err, ERR_CANCELED, "nobody reads the output");
    }
    return ERR_SET_ERRNO(&cli->err, ERR_UNAVAILABLE, errno, "cannot write the output");
}

void output_note(struct cli *cli, const char *format, ...)
{
    AUTO_BUF struct buf escaped = BUF_INIT(CELL_BYTES_MAX);
    char text[2048];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    text_escape(str_of(text), &escaped);
    (void)fprintf(cli->io->err, "%s\n", buf_text(&escaped));
}

enum err_code output_json(struct cli *cli, struct str_view json, bool as_yaml)
{
    AUTO_BUF struct buf yaml = BUF_INIT(OUTPUT_BYTES_MAX);
    AUTO_BUF struct buf text = BUF_INIT(OUTPUT_BYTES_MAX);
    if (as_yaml) {
        TRY(yaml_from_json(json, &yaml, &cli->err));
    }
    text_escape_quoted(as_yaml ? buf_view(&yaml) : json, as_yaml, &text);
    if (!as_yaml) {
        buf_append_char(&text, '\n');
    }
    return buf_ok(&text) ? output_text(cli, buf_view(&text))
                         : ERR_SET(&cli->err, ERR_LIMIT, "more than can be shown at once");
}

static enum err_code put_json(
    struct cli *cli,
    const ProtobufCMessage *message,
    unsigned flags,
    unsigned extra,
    struct buf *buf)
{
    unsigned json = WIRE_JSON_DEFAULTS | extra;
    json |= (flags & OUTPUT_SECRETS) != 0 ? WIRE_JSON_SHOW_SECRETS : 0;
    return wire_to_json(cli->schema, message, json, buf, &cli->err);
}

/* live: JSON on one line, YAML as one document of many. */
static enum err_code put_structured(
    struct cli *cli, const ProtobufCMessage *message, unsigned flags, bool live)
{
    AUTO_BUF struct buf json = BUF_INIT(OUTPUT_BYTES_MAX);
    bool yaml = cli->output.format == OUTPUT_YAML;
    TRY(put_json(cli, message, flags, live || yaml ? 0 : WIRE_JSON_INDENT, &json));
    if (live && yaml) {
        TRY(output_text(cli, STR("---\n")));
    }
    return output_json(cli, buf_view(&json), yaml);
}

enum err_code output_message(struct cli *cli, const ProtobufCMessage *message, unsigned flags)
{
    return put_structured(cli, message, flags, false);
}

/* ---- views ---- */

/* The columns a view shows in this format. */
static size_t pick(
    const struct view *view,
    unsigned allowed,
    const struct view_column *ret_picked[TABLE_COLUMNS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < view->count && count < TABLE_COLUMNS_MAX; i++) {
        if ((view->columns[i].flags & ~allowed) == 0) {
            ret_picked[count++] = &view->columns[i];
        }
    }
    return count;
}

struct picked {
    const struct view_column *views[TABLE_COLUMNS_MAX];
    struct table_column columns[TABLE_COLUMNS_MAX];
    size_t count;
};

static void picked_init(struct picked *picked, const struct view *view, unsigned allowed)
{
    picked->count = pick(view, allowed, picked->views);
    for (size_t i = 0; i < picked->count; i++) {
        picked->columns[i] = picked->views[i]->column;
    }
}

static void add_row(
    struct cli *cli,
    const struct picked *picked,
    struct table *table,
    const void *item,
    bool detail)
{
    struct view_cell cell = { .cli = cli, .item = item, .now = cli_now(cli), .detail = detail };
    for (size_t i = 0; i < picked->count; i++) {
        AUTO_BUF struct buf text = BUF_INIT(CELL_BYTES_MAX);
        enum text_style style = picked->views[i]->write(&cell, &text);
        table_add(table, buf_view(&text), style);
    }
}

static struct table_options options_of(const struct cli *cli)
{
    return (struct table_options){
        .headers = cli->output.headers,
        .color = cli->output.color,
        .width = cli->output.width,
    };
}

enum err_code output_line(struct cli *cli, struct str_view text)
{
    AUTO_BUF struct buf line = BUF_INIT(LINE_BYTES_MAX);
    text_escape(text, &line);
    buf_append_char(&line, '\n');
    return output_text(cli, buf_view(&line));
}

static enum err_code put_name(struct cli *cli, const struct view *view, const void *item)
{
    AUTO_BUF struct buf name = BUF_INIT(CELL_BYTES_MAX);
    view->name(item, &name);
    return output_line(cli, buf_view(&name));
}

static unsigned allowed_columns(const struct cli *cli)
{
    return cli->output.format == OUTPUT_WIDE ? VIEW_WIDE : 0;
}

void output_table(
    struct cli *cli, const struct view *view, const void *items, size_t count, struct buf *out)
{
    const void *const *list = items;
    struct picked picked;
    picked_init(&picked, view, allowed_columns(cli));
    AUTO_TABLE struct table *table = table_create(picked.columns, picked.count);
    for (size_t i = 0; i < count; i++) {
        add_row(cli, &picked, table, list[i], false);
    }
    struct table_options options = options_of(cli);
    table_write(table, &options, out);
}

enum err_code output_list(
    struct cli *cli,
    const struct view *view,
    const ProtobufCMessage *reply,
    const void *items,
    size_t count)
{
    const void *const *list = items;
    if (output_is_structured(cli)) {
        return put_structured(cli, reply, 0, false);
    }
    if (cli->output.format == OUTPUT_NAME) {
        for (size_t i = 0; i < count; i++) {
            TRY(put_name(cli, view, list[i]));
        }
        return ERR_OK;
    }
    AUTO_BUF struct buf text = BUF_INIT(OUTPUT_BYTES_MAX);
    output_table(cli, view, items, count, &text);
    return output_text(cli, buf_view(&text));
}

enum err_code output_one(
    struct cli *cli, const struct view *view, const ProtobufCMessage *item, unsigned flags)
{
    if (output_is_structured(cli)) {
        return put_structured(cli, item, flags, false);
    }
    if (cli->output.format == OUTPUT_NAME) {
        return put_name(cli, view, item);
    }
    struct picked picked;
    picked_init(&picked, view, VIEW_WIDE | VIEW_DETAIL);
    AUTO_TABLE struct table *table = table_create(picked.columns, picked.count);
    add_row(cli, &picked, table, item, true);
    AUTO_BUF struct buf text = BUF_INIT(OUTPUT_BYTES_MAX);
    struct table_options options = options_of(cli);
    table_write_details(table, &options, &text);
    return output_text(cli, buf_view(&text));
}

enum err_code output_row(struct cli *cli, const struct view *view, const ProtobufCMessage *item)
{
    return output_list(cli, view, item, &item, 1);
}

/* ---- live ---- */

struct output_live {
    struct cli *cli;
    const struct view *view;
    struct picked picked;
    struct table *table;
};

struct output_live *output_live_create(struct cli *cli, const struct view *view)
{
    struct output_live *live = mem_alloc(sizeof(*live));
    live->cli = cli;
    live->view = view;
    picked_init(&live->picked, view, allowed_columns(cli));
    live->table = table_create(live->picked.columns, live->picked.count);
    return live;
}

void output_live_destroy(struct output_live *live)
{
    if (live == NULL) {
        return;
    }
    table_destroy(live->table);
    mem_free(live);
}

enum err_code output_live_row(struct output_live *live, const ProtobufCMessage *item)
{
    struct cli *cli = live->cli;
    if (output_is_structured(cli)) {
        return put_structured(cli, item, 0, true);
    }
    if (cli->output.format == OUTPUT_NAME) {
        return put_name(cli, live->view, item);
    }
    add_row(cli, &live->picked, live->table, item, false);
    AUTO_BUF struct buf text = BUF_INIT(OUTPUT_BYTES_MAX);
    struct table_options options = options_of(cli);
    table_flush(live->table, &options, &text);
    return output_text(cli, buf_view(&text));
}
