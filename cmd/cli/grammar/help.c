#include "cmd/cli/grammar/docs.h"
#include "common/base/cleanup.h"

enum {
    WIDTH_DEFAULT = 100,
    LEFT_COLUMN = 30,
    TEXT_BYTES_MAX = 8192
};

/* Appends text wrapped at width, every line after the first indented; newlines in text are kept. */
static void wrap(
    struct str_view text, unsigned indent, unsigned column, unsigned width, struct buf *buf)
{
    struct str_view line = STR_NONE;
    for (bool more = true; more;) {
        more = str_cut(text, '\n', &line, &text);
        line = more ? line : text;
        struct str_view word = STR_NONE;
        for (bool words = line.len > 0; words;) {
            words = str_cut(line, ' ', &word, &line);
            word = words ? word : line;
            if (column > indent && column + 1 + word.len > width) {
                buf_printf(buf, "\n%*s", (int)indent, "");
                column = indent;
            } else if (column > indent) {
                buf_append_char(buf, ' ');
                column++;
            }
            buf_append_str(buf, word);
            column += (unsigned)word.len;
        }
        if (more) {
            buf_printf(buf, "\n%*s", text.len > 0 && text.ptr[0] != '\n' ? (int)indent : 0, "");
            column = indent;
        }
    }
    buf_append_char(buf, '\n');
}

static void row(struct str_view left, struct str_view right, unsigned width, struct buf *buf)
{
    buf_printf(buf, "  %.*s", STR_ARG(left));
    if (left.len + 4 > LEFT_COLUMN) {
        buf_printf(buf, "\n%*s", LEFT_COLUMN, "");
    } else {
        buf_printf(buf, "%*s", (int)(LEFT_COLUMN - 2 - left.len), "");
    }
    wrap(right, LEFT_COLUMN, LEFT_COLUMN, width, buf);
}

static void help_commands(const struct cli_command *group, unsigned width, struct buf *buf)
{
    buf_append_str(buf, STR("\nCommands:\n"));
    for (size_t i = 0; i < group->command_count; i++) {
        if (!group->commands[i]->hidden) {
            row(str_of(group->commands[i]->name), str_of(group->commands[i]->summary), width, buf);
        }
    }
}

static void help_arguments(const struct cli_command *command, unsigned width, struct buf *buf)
{
    buf_append_str(buf, STR("\nArguments:\n"));
    for (size_t i = 0; i < command->argument_count; i++) {
        row(str_of(command->arguments[i].name), str_of(command->arguments[i].help), width, buf);
    }
}

static void help_options(
    const char *title,
    const struct cli_option *options,
    size_t count,
    unsigned width,
    struct buf *buf)
{
    buf_printf(buf, "\n%s:\n", title);
    for (size_t i = 0; i < count; i++) {
        if ((options[i].flags & CLI_HIDDEN) != 0) {
            continue;
        }
        AUTO_BUF struct buf left = BUF_INIT(256);
        AUTO_BUF struct buf right = BUF_INIT(TEXT_BYTES_MAX);
        cli_option_write(&options[i], &left);
        cli_option_help_write(&options[i], &right);
        row(buf_view(&left), buf_view(&right), width, buf);
    }
}

static void help_examples(const struct cli_command *command, struct buf *buf)
{
    buf_append_str(buf, STR("\nExamples:\n"));
    for (size_t i = 0; i < command->example_count; i++) {
        buf_printf(buf, "  %s\n      %s\n", command->examples[i].line, command->examples[i].text);
    }
}

static void help_exits(const struct cli_grammar *grammar, unsigned width, struct buf *buf)
{
    buf_append_str(buf, STR("\nExit status:\n"));
    for (size_t i = 0; i < grammar->exit_count; i++) {
        row(str_of(grammar->exits[i].name), str_of(grammar->exits[i].text), width, buf);
    }
}

void docs_help(
    const struct cli_grammar *grammar, const struct cli_path *path, unsigned width, struct buf *buf)
{
    const struct cli_command *command = cli_path_end(path);
    width = width == 0 ? WIDTH_DEFAULT : width;
    width = width < LEFT_COLUMN + 20 ? LEFT_COLUMN + 20 : width;
    wrap(str_of(command->summary), 0, 0, width, buf);
    buf_append_str(buf, STR("\nUsage: "));
    cli_usage_write(path, buf);
    buf_append_char(buf, '\n');
    if (command->description != NULL) {
        buf_append_char(buf, '\n');
        wrap(str_of(command->description), 0, 0, width, buf);
    }
    if (command->command_count > 0) {
        help_commands(command, width, buf);
    }
    if (command->argument_count > 0) {
        help_arguments(command, width, buf);
    }
    if (command->option_count > 0) {
        help_options("Options", command->options, command->option_count, width, buf);
    }
    help_options("Global options", grammar->globals, grammar->global_count, width, buf);
    row(STR("-h, --help"), STR("Show this help"), width, buf);
    if (command->example_count > 0) {
        help_examples(command, buf);
    }
    if (path->depth == 1) {
        help_exits(grammar, width, buf);
    }
    if (command->command_count > 0) {
        buf_append_str(buf, STR("\nMore: "));
        cli_path_write(path, ' ', buf);
        buf_append_str(buf, STR(" COMMAND --help\n"));
    }
}
